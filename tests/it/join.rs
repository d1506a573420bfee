//! The cluster join over a real OpenSSH server, with a stand-in for `pvecm` that behaves as recorded.

pub(crate) mod lab;

use ironhatch::node::{ClusterLocks, EphemeralKey, ErrorClass, Join, Session};
use ironhatch::plan::join::JoinStep;

use lab::{Node, Story, drive, limits, story, whole};

/// The node is an online member with a certificate, and its ephemeral key is nowhere.
fn assert_joined(node: &Node, member: &Node, log: &Story) {
    let nodes = member.sh("pvecm nodes");
    assert!(nodes.contains(&format!(" {}", node.name)), "{nodes}\n{}", log.text());
    let own = node
        .sh("pvecm status >/dev/null && echo quorate; ls /etc/pve/nodes/$(hostname)/pve-ssl.pem");
    assert!(own.contains("quorate") && own.contains("pve-ssl.pem\n"), "{own}\n{}", log.text());
    assert_eq!(node.files_with_key(&node.key), "", "{}", log.text());
    assert_eq!(
        member.sh(&format!("grep -cF '{}' /etc/pve/priv/authorized_keys", node.key.public_body())),
        "0\n"
    );
    assert_eq!(node.sh("readlink /root/.ssh/authorized_keys"), "/etc/pve/priv/authorized_keys\n");
    assert_eq!(node.sh("ls -A /root/.ssh"), "authorized_keys\nid_rsa\nid_rsa.pub\n");
}

fn steps_of(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.strip_suffix(" begins")).collect()
}

async fn must(context: ironhatch::node::JoinContext, log: &Story) {
    if let Err(error) = whole(context, log).await {
        panic!("{}\n{}", error.reason(), log.text());
    }
}

async fn assert_refused(node: &Node, key: &EphemeralKey) {
    let error = Session::connect(&node.target(), key, limits().connect).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied, "{error}");
}

#[test]
fn a_fresh_node_joins_and_its_ephemeral_key_is_gone() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let log = Story::default();
        whole(node.joining(&member), &log)
            .await
            .unwrap_or_else(|e| panic!("{}\n{}", e.reason(), log.text()));
        assert_joined(&node, &member, &log);
        assert_refused(&node, &node.key).await;
        let text = log.text();
        assert!(
            text.contains("join.add Info successfully added node 'pve2' to cluster."),
            "{text}"
        );
        assert!(text.contains("join.proof Info 192.0.2.12:22 refused a new login"), "{text}");
        assert!(text.contains("on the member: 0 /etc/pve/priv/authorized_keys"), "{text}");
        assert!(text.contains("on the node: 0 /etc/pve/priv/authorized_keys"), "{text}");
    });
}

#[test]
fn a_join_that_is_given_up_takes_the_nodes_own_key_back() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let log = Story::default();
        let context = node.joining(&member);
        let before: Vec<JoinStep> = context
            .kind()
            .steps()
            .iter()
            .copied()
            .take_while(|s| *s != JoinStep::KnownHosts)
            .collect();
        drive(&mut Join::new(context.clone(), limits()), &before, &log).await.unwrap();
        let lent = "grep -c ' root@pve2$' /etc/pve/priv/authorized_keys";
        assert_eq!(member.sh(lent), "1\n", "{}", log.text());
        Join::new(context, limits()).withdraw_node_key().await.unwrap();
        assert_eq!(member.sh(lent), "0\n");
        assert!(
            member.sh("cat /etc/pve/priv/authorized_keys").contains(" root@pve1"),
            "the others stay"
        );
    });
}

#[test]
fn a_service_manager_runs_the_join_when_there_is_one() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        node.sh("mkdir -p /run/systemd/system");
        let log = Story::default();
        let steps = JoinStep::CleanUp;
        let mut join = Join::new(node.joining(&member), limits());
        let context = node.joining(&member);
        let before: Vec<JoinStep> =
            context.kind().steps().iter().copied().take_while(|s| *s != steps).collect();
        drive(&mut join, &before, &log).await.unwrap();
        assert_ne!(node.sh("cat /run/pvecm-double.unit"), "", "{}", log.text());
        drive(&mut join, &[JoinStep::CleanUp, JoinStep::Proof], &log).await.unwrap();
        assert_joined(&node, &member, &log);
    });
}

#[test]
fn the_first_node_founds_the_cluster_and_the_next_one_joins_by_the_lasting_key() {
    story(async |lab| {
        let lasting = EphemeralKey::generate(&mut rand::rng(), "ironhatch appliance").unwrap();
        let first = lab.fresh("pve1", 11);
        let log = Story::default();
        let mut context = first.founding();
        context.lasting_key = Some(lasting.public_line().to_owned());
        context.member_key = Some(lasting.clone());
        must(context, &log).await;
        assert_joined(&first, &first, &log);
        assert_refused(&first, &first.key).await;
        let session = Session::connect(&first.target(), &lasting, limits().connect).await.unwrap();
        session.close().await;

        let second = lab.fresh("pve2", 12);
        let mut context = second.joining(&first);
        context.member_key = Some(lasting.clone());
        context.lasting_key = Some(lasting.public_line().to_owned());
        must(context, &log).await;
        assert_joined(&second, &first, &log);
        // It came with the cluster's file, once.
        Session::connect(&second.target(), &lasting, limits().connect).await.unwrap();
        let count = format!("grep -cF '{}' /etc/pve/priv/authorized_keys", lasting.public_body());
        assert_eq!(first.sh(&count), "1\n");
    });
}

#[test]
fn a_founder_that_keeps_no_key_is_cleaned_up_and_proved_in_the_open_session() {
    story(async |lab| {
        let node = lab.fresh("pve1", 11);
        let log = Story::default();
        must(node.founding(), &log).await;
        assert_joined(&node, &node, &log);
        assert_refused(&node, &node.key).await;
        assert!(log.text().contains("join.proof Info lines with the ephemeral key on the node: 0"));

        // After a crash between removal and proof there is no session any more, and no key.
        let log = Story::default();
        let mut join = Join::new(node.founding(), limits());
        drive(&mut join, &[JoinStep::CleanUp, JoinStep::Proof], &log).await.unwrap();
        assert!(log.text().contains("no key of ours opens the node any more"), "{}", log.text());
    });
}

#[test]
fn the_proof_after_a_crash_finds_its_way_by_the_clusters_key_or_through_the_member() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let log = Story::default();
        let mut join = Join::new(node.joining(&member), limits());
        let steps = node.joining(&member).kind().steps();
        let (before, after) = steps.split_at(steps.len() - 1);
        drive(&mut join, before, &log).await.unwrap();
        drop(join);
        let log = Story::default();
        drive(&mut Join::new(node.joining(&member), limits()), after, &log).await.unwrap();
        assert!(
            log.text().contains("logged in to the node with the cluster's key"),
            "{}",
            log.text()
        );

        // A key that opens only the member: the look goes from node to node.
        let only = EphemeralKey::generate(&mut rand::rng(), "member only").unwrap();
        member
            .sh(&format!("umask 077; echo '{}' >/root/.ssh/authorized_keys2", only.public_line()));
        let mut context = node.joining(&member);
        context.member_key = Some(only);
        let log = Story::default();
        let steps = [JoinStep::CleanUp, JoinStep::Proof];
        drive(&mut Join::new(context, limits()), &steps, &log).await.unwrap();
        let text = log.text();
        assert!(!text.contains("logged in to the node"), "{text}");
        assert!(
            text.contains("join.proof Info lines with the ephemeral key on the node: 0"),
            "{text}"
        );
    });
}

#[test]
fn the_join_outlives_the_loss_of_every_ssh_session() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh_with("pve2", 12, "PVECM_DROP_SSH=1\nPVECM_DELAY=1");
        let log = Story::default();
        must(node.joining(&member), &log).await;
        assert_joined(&node, &member, &log);
    });
}

#[test]
fn a_crash_after_any_step_is_resumed_from_the_first_look() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let all = lab.fresh("probe", 29).joining(&member).kind().steps();
        // Up to the look at the member nothing was changed. After the clean-up the ephemeral key is gone: the engine goes on with the recorded step, not with a look.
        for (done, last) in [2, 4, 5, 6, 7].into_iter().zip(12..) {
            let node = lab.fresh(&format!("pve{last}"), last);
            let log = Story::default();
            let mut first = Join::new(node.joining(&member), limits());
            drive(&mut first, &all[..done], &log).await.unwrap();
            drop(first);
            let mut context = node.joining(&member);
            context.join_started = done >= 6;
            must(context, &log).await;
            assert_joined(&node, &member, &log);
        }
    });
}

#[test]
fn every_step_may_run_twice() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let log = Story::default();
        let mut started = false;
        for step in node.joining(&member).kind().steps() {
            started |= *step == JoinStep::Add;
            for _ in 0..2 {
                let mut context = node.joining(&member);
                context.join_started = started;
                let mut join = Join::new(context, limits());
                join.run_step(*step, &log)
                    .await
                    .unwrap_or_else(|e| panic!("{} {}\n{}", step.as_str(), e.reason(), log.text()));
            }
        }
        assert_joined(&node, &member, &log);
        let twice = log.text().matches("successfully added").count();
        assert_eq!(twice, 1, "the command ran once: {}", log.text());
    });
}

#[test]
fn a_join_killed_on_the_node_is_repaired_and_repeated() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        for (point, last) in ["stop", "quorum", "certificate"].into_iter().zip(12..) {
            let node = lab.fresh(&format!("pve{last}"), last);
            node.sh(&format!("echo {point} >/var/lib/pve-cluster/.double/die-at"));
            let log = Story::default();
            let error = whole(node.joining(&member), &log).await.unwrap_err();
            assert!(error.reason().contains("was killed on the node"), "{}", error.reason());
            let mut context = node.joining(&member);
            context.join_started = true;
            let log = Story::default();
            must(context, &log).await;
            assert_joined(&node, &member, &log);
            let repair = if point == "stop" { "stand-alone again" } else { "was not finished" };
            assert!(log.text().contains(repair), "{point}: {}", log.text());
        }
    });
}

#[test]
fn a_lost_vote_of_our_own_attempt_does_not_block_a_small_cluster() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        node.sh("echo stop >/var/lib/pve-cluster/.double/die-at");
        let log = Story::default();
        whole(node.joining(&member), &log).await.unwrap_err();
        assert!(log.text().contains("lowering the expected votes"), "{}", log.text());
        assert!(member.sh("pvecm status").contains("Quorate:          Yes"));
    });
}

#[test]
fn a_creation_killed_between_key_and_configuration_is_repaired() {
    story(async |lab| {
        let node = lab.fresh("pve1", 11);
        node.sh("echo created >/var/lib/pve-cluster/.double/die-at");
        let log = Story::default();
        whole(node.founding(), &log).await.unwrap_err();
        let log = Story::default();
        must(node.founding(), &log).await;
        assert!(log.text().contains("removing its unused key file"), "{}", log.text());
        assert_joined(&node, &node, &log);
    });
}

#[test]
fn a_dead_namesake_is_removed_only_when_that_was_confirmed() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let mut alive = Vec::new();
        for last in [12, 13] {
            let node = lab.fresh(&format!("pve{last}"), last);
            must(node.joining(&member), &Story::default()).await;
            if last == 13 {
                let log = Story::default();
                // While it lives its name is taken, confirmed or not.
                let thief = lab.fresh("pve13", 14);
                let mut context = thief.joining(&member);
                context.replace_node = true;
                let error = whole(context, &log).await.unwrap_err();
                assert!(
                    error.reason().contains("a live member of the cluster is called 'pve13'"),
                    "{}",
                    error.reason()
                );
                node.power_off(&member);
            } else {
                alive.push(node);
            }
        }
        let again = lab.fresh("pve13", 13);
        let log = Story::default();
        let error = whole(again.joining(&member), &log).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied);
        assert_eq!(error.reason(), "a dead node called 'pve13' is still in the cluster");
        assert!(error.hint().contains("confirm"), "{}", error.hint());
        assert!(member.sh("cat /etc/pve/corosync.conf").contains("name: pve13"));

        let mut context = again.joining(&member);
        context.replace_node = true;
        must(context, &log).await;
        assert!(log.text().contains("Killing node"), "{}", log.text());
        assert_joined(&again, &member, &log);
        assert_eq!(member.sh("grep -c ' root@pve13$' /etc/pve/priv/authorized_keys"), "1\n");
    });
}

#[test]
fn another_host_key_is_refused_with_both_fingerprints() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let mut context = node.joining(&member);
        context.node.host_keys = member.target().host_keys;
        let error = whole(context, &Story::default()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied);
        let reason = error.reason();
        assert_eq!(reason.matches("SHA256:").count(), 2, "{reason}");
        assert!(error.hint().contains("another machine"), "{}", error.hint());
        // Only a type that the machine does not have is known: also not the machine that was meant.
        let mut context = node.joining(&member);
        context.node.host_keys = vec!["ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=".to_owned()];
        let error = whole(context, &Story::default()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied, "{}", error.reason());
    });
}

#[test]
fn two_joins_of_one_cluster_wait_for_each_other() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let nodes = [lab.fresh("pve2", 12), lab.fresh("pve3", 13)];
        let locks = ClusterLocks::default();
        let logs = [Story::default(), Story::default()];
        let join = async |index: usize| {
            let _guard = locks.acquire("192.0.2.11").await;
            must(nodes[index].joining(&member), &logs[index]).await;
        };
        tokio::join!(join(0), join(1));
        assert_joined(&nodes[0], &member, &logs[0]);
        assert_joined(&nodes[1], &member, &logs[1]);
    });
}

#[test]
fn a_node_that_hangs_for_quorum_is_stopped_and_made_stand_alone() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let second = lab.fresh("pve2", 12);
        must(second.joining(&member), &Story::default()).await;
        let third = lab.fresh("pve3", 13);
        must(third.joining(&member), &Story::default()).await;
        // Somebody adds another node in the same moment, and its corosync.conf overtakes ours.
        let node = lab.fresh_with("pve4", 14, "PVECM_DELAY=3");
        let log = Story::default();
        let mut times = limits();
        times.join = std::time::Duration::from_secs(15);
        let mut join = Join::new(node.joining(&member), times);
        let steps = node.joining(&member).kind().steps();
        let (before, rest) = steps.split_at(5);
        drive(&mut join, before, &log).await.unwrap();
        let meddle = async {
            while !node.sh("cat /run/join.log").contains("copy corosync auth key") {
                tokio::task::yield_now().await;
            }
            member.sh("pvecm addnode pve9 --force 1 --link0 192.0.2.19");
        };
        join.mark_started();
        let (result, ()) = tokio::join!(join.run_step(JoinStep::Add, &log), meddle);
        let error = result.unwrap_err();
        assert!(
            error.reason().contains("waits for the quorum"),
            "{}\n{}",
            error.reason(),
            log.text()
        );
        assert_eq!(node.sh("ls /etc/corosync"), "", "{}", log.text());
        // The half-joined stranger is in the way until somebody removes it.
        let error = join.run_step(JoinStep::LookMember, &log);
        let error = error.await.unwrap_err();
        assert!(error.reason().contains("'pve9' is being joined"), "{}", error.reason());
        member.sh("pvecm delnode pve9");
        let mut context = node.joining(&member);
        context.join_started = true;
        must(context, &log).await;
        assert_eq!(rest.first(), Some(&JoinStep::Add));
        assert_joined(&node, &member, &log);
    });
}

#[test]
fn what_stands_in_the_way_is_refused_with_its_reason() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        node.sh("touch /etc/pve/nodes/pve2/lxc/101.conf");
        let error = whole(node.joining(&member), &Story::default()).await.unwrap_err();
        assert!(error.reason().contains("has guests (101.conf)"), "{}", error.reason());
        node.sh("rm /etc/pve/nodes/pve2/lxc/101.conf; echo '127.0.1.1 pve2' >/etc/hosts");
        let error = whole(node.joining(&member), &Story::default()).await.unwrap_err();
        assert!(error.reason().contains("means 127.0.1.1, not 192.0.2.12"), "{}", error.reason());
        let mut context = node.joining(&member);
        context.name = "pve5".parse().unwrap();
        let error = whole(context, &Story::default()).await.unwrap_err();
        assert!(error.reason().contains("calls itself 'pve2', not 'pve5'"), "{}", error.reason());
        let error = whole(member.founding(), &Story::default()).await;
        assert!(error.is_ok(), "a founder that is founded already only loses its key");
    });
}

#[test]
fn a_regular_authorized_keys_file_does_not_leak_into_the_cluster() {
    story(async |lab| {
        let member = lab.cluster("pve1", 11);
        let node = lab.fresh("pve2", 12);
        let line = node.key.public_line();
        node.sh(&format!(
            "rm /root/.ssh/authorized_keys; echo '{line}' >/root/.ssh/authorized_keys"
        ));
        let log = Story::default();
        must(node.joining(&member), &log).await;
        assert_joined(&node, &member, &log);
        assert_eq!(steps_of(&log.text()).len(), 9, "{}", log.text());
    });
}

#[test]
fn nodes_that_share_nothing_but_the_network_join_too() {
    story(async |lab| {
        let knobs = "PVECM_SHARED=\nPVECM_PROBE=ssh";
        let first = lab.fresh_with("pve1", 11, knobs);
        let lasting = EphemeralKey::generate(&mut rand::rng(), "ironhatch appliance").unwrap();
        let mut context = first.founding();
        context.lasting_key = Some(lasting.public_line().to_owned());
        let log = Story::default();
        must(context, &log).await;
        let second = lab.fresh_with("pve2", 12, knobs);
        let mut context = second.joining(&first);
        context.member_key = Some(lasting.clone());
        must(context, &log).await;
        assert_joined(&second, &first, &log);

        // Rebuilt under its name: dead as soon as the new system does not answer for the old membership.
        drop(second);
        let again = lab.fresh_with("pve2", 12, knobs);
        let mut context = again.joining(&first);
        context.member_key = Some(lasting);
        context.replace_node = true;
        must(context, &log).await;
        assert_joined(&again, &first, &log);
        assert!(log.text().contains("Killing node 2"), "{}", log.text());
    });
}
