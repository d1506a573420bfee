mod recorded;

use proptest::prelude::*;

use super::closing::{FileCheck, Login};
use super::pvecm::*;
use super::*;

const STATUS: &str = "Cluster information\n-------------------\nName:             lab\nConfig Version:   3\nTransport:        knet\nSecure auth:      on\n\nQuorum information\n------------------\nDate:             Fri Nov 20 16:30:16 2026\nQuorum provider:  corosync_votequorum\nNodes:            2\nNode ID:          0x00000001\nRing ID:          1.11\nQuorate:          Yes\n\nVotequorum information\n----------------------\nExpected votes:   3\nHighest expected: 3\nTotal votes:      2\nQuorum:           2  \nFlags:            Quorate \n";
const NODES: &str = "\nMembership information\n----------------------\n    Nodeid      Votes Name\n         1          1 pve1 (local)\n         2          1 pve2\n";
const CONF: &str = "nodelist {\n  node {\n    name: pve1\n    nodeid: 1\n    quorum_votes: 1\n    ring0_addr: 192.0.2.11\n  }\n  node {\n    name: pve3\n    nodeid: 3\n    ring0_addr: 192.0.2.13\n    ring1_addr: 198.51.100.13\n  }\n}\n\ntotem {\n  cluster_name: lab\n  config_version: 1\n  interface {\n    linknumber: 0\n  }\n}\n";
const SUCCESS: &str = "successfully added node 'pve2' to cluster.";

fn facts() -> Facts {
    Facts {
        node: "pve2".parse().unwrap(),
        address: "192.0.2.12".parse().unwrap(),
        member: Some("192.0.2.11".parse().unwrap()),
        cluster: "lab".to_owned(),
        replace_node: false,
        join_started: false,
        others: vec![],
    }
}

fn founding() -> Facts {
    Facts { member: None, ..facts() }
}

fn attempt(state: AttemptState, log: &[&str]) -> Attempt {
    Attempt { state, status: Some(0), log: log.iter().map(|l| (*l).to_owned()).collect() }
}

fn fresh() -> NodeLook {
    NodeLook::parse(
        "hostname=pve2\naddress=192.0.2.12\nmounted=yes\nversion=pve-manager/9.2.11/14a2 (running)\nepoch=1000\n",
    )
}

fn member_conf(names: &[(&str, &str)]) -> CorosyncConf {
    let nodes = names
        .iter()
        .map(|(name, address)| ConfiguredNode {
            name: (*name).to_owned(),
            addresses: vec![(*address).to_owned()],
        })
        .collect();
    CorosyncConf { cluster: "lab".to_owned(), nodes }
}

/// A cluster of pve1 (online) and the given others: name, last byte of the address, online.
fn cluster(others: &[(&str, u8, bool)]) -> MemberLook {
    let mut names = vec![("pve1".to_owned(), "192.0.2.11".to_owned(), true)];
    names.extend(others.iter().map(|(n, a, o)| ((*n).to_owned(), format!("192.0.2.{a}"), *o)));
    let pairs: Vec<(&str, &str)> = names.iter().map(|(n, a, _)| (n.as_str(), a.as_str())).collect();
    let online = u32::try_from(names.iter().filter(|(_, _, o)| *o).count()).unwrap();
    let all = u32::try_from(names.len()).unwrap();
    MemberLook {
        state: Some(ClusterState {
            name: "lab".to_owned(),
            quorate: online > all / 2,
            expected_votes: all,
            total_votes: online,
        }),
        conf: member_conf(&pairs),
        view: Some(ClusterView {
            cluster: Some("lab".to_owned()),
            quorate: online > all / 2,
            nodes: names
                .iter()
                .map(|(n, a, o)| NodeState { name: n.clone(), address: a.parse().ok(), online: *o })
                .collect(),
        }),
        finished: names.iter().map(|(n, _, _)| n.clone()).collect(),
        version: "pve-manager/9.2.11/14a2".to_owned(),
        epoch: Some(1000),
        node: ("pve-manager/9.2.11/14a2".to_owned(), Some(1001)),
        ..MemberLook::default()
    }
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Next { .. } => "next".to_owned(),
        Verdict::GoTo { step, .. } => format!("go to {}", step.as_str()),
        Verdict::Repair(repair) => format!("{repair:?}"),
        Verdict::Wait { reason, hint } => {
            assert!(!hint.is_empty());
            format!("wait: {reason}")
        }
        Verdict::Behind { host, hint, .. } => {
            assert!(hint.contains(host.as_str()));
            format!("behind {host}")
        }
        Verdict::Fail { reason, hint } => {
            assert!(!hint.is_empty());
            format!("fail: {reason}")
        }
    }
}

#[test]
fn every_step_has_a_valid_id_that_names_it() {
    for step in JoinStep::ALL {
        assert_eq!(JoinStep::from_id(step.id().as_str()), Some(step));
    }
    assert_eq!(JoinStep::from_id("preflight"), None);
    for kind in [Kind::Joining, Kind::Founding] {
        assert_eq!(kind.steps().first(), Some(&JoinStep::LookNode));
        assert_eq!(kind.steps().last(), Some(&JoinStep::Proof));
    }
}

#[test]
fn the_crash_table_decides_by_what_is_on_the_node() {
    let conf = Some(member_conf(&[("pve1", "192.0.2.11"), ("pve2", "192.0.2.12")]));
    let alone = Some(member_conf(&[("pve2", "192.0.2.12")]));
    let done = attempt(AttemptState::Ended, &["waiting for quorum...OK", SUCCESS]);
    let cases: Vec<(&str, NodeLook, Facts, &str)> = vec![
        ("nothing happened", fresh(), facts(), "next"),
        ("nothing happened, founder", fresh(), founding(), "next"),
        (
            "key, not mounted",
            NodeLook { authkey: true, mounted: false, ..fresh() },
            facts(),
            "StandAlone",
        ),
        ("key, no conf", NodeLook { authkey: true, ..fresh() }, facts(), "StandAlone"),
        ("key, no conf, founder", NodeLook { authkey: true, ..fresh() }, founding(), "DropKeyFile"),
        (
            "key, not mounted, founder",
            NodeLook { authkey: true, mounted: false, ..fresh() },
            founding(),
            "StandAlone",
        ),
        ("not mounted", NodeLook { mounted: false, ..fresh() }, facts(), "StartFileSystem"),
        (
            "no certificate",
            NodeLook { authkey: true, conf: conf.clone(), ..fresh() },
            facts(),
            "FinishMember",
        ),
        (
            "no success line",
            NodeLook { conf: conf.clone(), certificate: true, ..fresh() },
            facts(),
            "FinishMember",
        ),
        (
            "all done",
            NodeLook { conf: conf.clone(), certificate: true, attempt: done.clone(), ..fresh() },
            facts(),
            "go to join.verify",
        ),
        (
            "founded",
            NodeLook { conf: alone.clone(), certificate: true, ..fresh() },
            founding(),
            "go to join.verify",
        ),
        (
            "still running",
            NodeLook {
                authkey: true,
                mounted: false,
                attempt: attempt(AttemptState::Running, &[]),
                ..fresh()
            },
            facts(),
            "go to join.add",
        ),
        (
            "creation running",
            NodeLook { attempt: attempt(AttemptState::Running, &[]), ..fresh() },
            founding(),
            "go to join.create",
        ),
        (
            "another cluster",
            NodeLook { conf: alone, certificate: true, ..fresh() },
            facts(),
            "fail: the node is already in the cluster 'lab', which is not the one of 192.0.2.11",
        ),
        (
            "not alone",
            NodeLook { conf, certificate: true, ..fresh() },
            founding(),
            "fail: the node is already in the cluster 'lab', which is not a new one called 'lab'",
        ),
        (
            "guests",
            NodeLook { guests: vec!["101.conf".to_owned()], ..fresh() },
            facts(),
            "fail: the node has guests (101.conf); only a node without guests can join",
        ),
        (
            "guests of a founder",
            NodeLook { guests: vec!["101.conf".to_owned()], ..fresh() },
            founding(),
            "next",
        ),
        (
            "other name",
            NodeLook { hostname: "pve9".to_owned(), ..fresh() },
            facts(),
            "fail: the machine calls itself 'pve9', not 'pve2'",
        ),
        (
            "no address",
            NodeLook { addresses: vec![], ..fresh() },
            facts(),
            "fail: on the node its name 'pve2' means nothing, not 192.0.2.12",
        ),
        (
            "other address",
            NodeLook { addresses: vec!["127.0.1.1".parse().unwrap()], ..fresh() },
            facts(),
            "fail: on the node its name 'pve2' means 127.0.1.1, not 192.0.2.12",
        ),
    ];
    for (name, look, facts, expected) in cases {
        assert_eq!(word(&interpret(&Observation::Node(look), &facts)), expected, "{name}");
    }
}

#[test]
fn the_cluster_takes_a_node_only_when_name_address_and_quorum_allow_it() {
    let plain = facts();
    let started = Facts { join_started: true, ..facts() };
    let confirmed = Facts { replace_node: true, ..facts() };
    let both = Facts { join_started: true, ..confirmed.clone() };
    let unfinished = MemberLook {
        finished: vec!["pve1".to_owned(), "pve3".to_owned()],
        ..cluster(&[("pve3", 13, true), ("pve4", 14, false)])
    };
    let with_pve4 =
        Facts { others: vec!["pve3".parse().unwrap(), "pve4".parse().unwrap()], ..facts() };
    let left_alone =
        MemberLook { finished: vec!["pve1".to_owned()], ..cluster(&[("pve4", 14, false)]) };
    let left_both = MemberLook {
        finished: vec!["pve1".to_owned(), "pve3".to_owned(), "pve5".to_owned()],
        ..cluster(&[
            ("pve3", 13, true),
            ("pve5", 15, true),
            ("pve2", 12, false),
            ("pve4", 14, false),
        ])
    };
    let started_with_pve4 = Facts { join_started: true, ..with_pve4.clone() };
    let confirmed_with_pve4 = Facts { replace_node: true, ..with_pve4.clone() };
    let no_view = MemberLook { view: None, ..cluster(&[]) };
    let adding = MemberLook { adding: true, ..cluster(&[]) };
    let cases: Vec<(&str, MemberLook, &Facts, &str)> = vec![
        ("free", cluster(&[]), &plain, "next"),
        ("dead stranger", cluster(&[("pve3", 13, true), ("pve4", 14, false)]), &plain, "next"),
        (
            "live namesake",
            cluster(&[("pve2", 12, true)]),
            &plain,
            "fail: a live member of the cluster is called 'pve2'",
        ),
        (
            "live namesake, confirmed",
            cluster(&[("pve2", 12, true)]),
            &confirmed,
            "fail: a live member of the cluster is called 'pve2'",
        ),
        (
            "live, our own",
            cluster(&[("pve2", 12, true)]),
            &started,
            "wait: the cluster still sees 'pve2' online from the interrupted attempt",
        ),
        (
            "dead namesake",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &plain,
            "fail: a dead node called 'pve2' is still in the cluster",
        ),
        (
            "dead namesake, confirmed",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &confirmed,
            "RemoveDeadNode",
        ),
        (
            "half joined by us",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &started,
            "next",
        ),
        (
            "half joined by us, confirmed",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &both,
            "next",
        ),
        (
            "our vote took the quorum",
            cluster(&[("pve2", 12, false)]),
            &started,
            "LowerExpectedVotes { votes: 1 }",
        ),
        (
            "a dead namesake took the quorum",
            cluster(&[("pve2", 12, false)]),
            &confirmed,
            "LowerExpectedVotes { votes: 1 }",
        ),
        (
            "a dead namesake elsewhere took the quorum",
            cluster(&[("pve2", 22, false)]),
            &confirmed,
            "wait: the cluster has no quorum, so it cannot take a new member",
        ),
        (
            "others are missing too",
            cluster(&[("pve2", 12, false), ("pve3", 13, false)]),
            &started,
            "wait: the cluster has no quorum, so it cannot take a new member",
        ),
        (
            "address taken",
            cluster(&[("pve3", 12, true)]),
            &plain,
            "fail: the address 192.0.2.12 belongs to the node 'pve3' of the cluster",
        ),
        (
            "a join in flight",
            unfinished.clone(),
            &plain,
            "wait: 'pve4' is being joined to the cluster at this moment, or was left half joined",
        ),
        ("left by a host of ours", unfinished.clone(), &with_pve4, "behind pve4"),
        ("left by a host of ours, whose vote is missing", left_alone, &with_pve4, "behind pve4"),
        ("left by a host of ours, and by us", left_both.clone(), &started_with_pve4, "next"),
        ("the same, confirmed", left_both.clone(), &confirmed_with_pve4, "RemoveDeadNode"),
        (
            "left by us, and by a stranger",
            left_both,
            &started,
            "wait: 'pve4' is being joined to the cluster at this moment, or was left half joined",
        ),
        (
            "a command in flight",
            adding,
            &plain,
            "wait: another node is being joined to the cluster at this moment, or was left half joined",
        ),
        ("silent", no_view, &plain, "wait: the member does not tell the state of its cluster"),
    ];
    for (name, look, facts, expected) in cases {
        assert_eq!(word(&interpret(&Observation::Member(look), facts)), expected, "{name}");
    }
}

#[test]
fn a_look_ahead_lets_a_host_be_rebuilt_whose_own_vote_is_missing() {
    let plain = facts();
    let confirmed = Facts { replace_node: true, ..facts() };
    let others = Facts { others: vec!["pve4".parse().unwrap()], ..facts() };
    let left = MemberLook { finished: vec!["pve1".to_owned()], ..cluster(&[("pve4", 14, false)]) };
    let cases: Vec<(&str, MemberLook, &Facts, &str)> = vec![
        ("free", cluster(&[]), &plain, "next"),
        ("no cluster", MemberLook::default(), &plain, "fail: is in no cluster"),
        (
            "namesake",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &plain,
            "fail: knows a node 'pve2' already",
        ),
        (
            "namesake, confirmed",
            cluster(&[("pve3", 13, true), ("pve2", 12, false)]),
            &confirmed,
            "next",
        ),
        (
            "its vote took the quorum",
            cluster(&[("pve2", 12, false)]),
            &plain,
            "wait: has no quorum",
        ),
        (
            "its vote took the quorum, confirmed",
            cluster(&[("pve2", 12, false)]),
            &confirmed,
            "next",
        ),
        (
            "a namesake elsewhere",
            cluster(&[("pve2", 22, false)]),
            &confirmed,
            "wait: has no quorum",
        ),
        (
            "others are missing too",
            cluster(&[("pve2", 12, false), ("pve3", 13, false)]),
            &confirmed,
            "wait: has no quorum",
        ),
        (
            "a stranger's vote took the quorum",
            cluster(&[("pve9", 14, false)]),
            &others,
            "wait: has no quorum",
        ),
        ("a host of ours took the quorum", cluster(&[("pve4", 14, false)]), &others, "behind pve4"),
        ("another one was left half joined", left, &others, "behind pve4"),
    ];
    for (name, look, facts, expected) in cases {
        assert_eq!(word(&ahead(&look, facts)), expected, "{name}");
    }
}

#[test]
fn different_versions_and_clocks_are_warned_about() {
    assert_eq!(cluster(&[]).warnings(&facts()), Vec::<String>::new());
    let look = MemberLook {
        node: ("pve-manager/8.4.1/abc".to_owned(), Some(1090)),
        ..cluster(&[("pve3", 13, false), ("pve2", 12, false)])
    };
    let warnings = look.warnings(&facts()).join("\n");
    for part in ["runs Proxmox VE 8.4.1, the member 9.2.11", "90 s apart", "offline: pve3"] {
        assert!(warnings.contains(part), "{warnings}");
    }
}

#[test]
fn only_the_last_line_proves_a_join() {
    let cases: Vec<(&str, Attempt, &str)> = vec![
        ("success", attempt(AttemptState::Ended, &["copy corosync auth key", SUCCESS]), "next"),
        (
            "success seen before the exit status",
            attempt(AttemptState::Running, &[SUCCESS, ""]),
            "next",
        ),
        (
            "another node's line",
            attempt(AttemptState::Ended, &["successfully added node 'pve20' to cluster."]),
            "fail: pvecm add did not succeed: successfully added node 'pve20' to cluster.",
        ),
        (
            "not the last line",
            attempt(AttemptState::Ended, &[SUCCESS, "unable to restart"]),
            "fail: pvecm add did not succeed: successfully added node 'pve2' to cluster.; unable to restart",
        ),
        (
            "exit 0 and refused",
            attempt(
                AttemptState::Ended,
                &[
                    "detected the following error(s):",
                    "* this host already contains virtual guests",
                    "Check if node may join a cluster failed!",
                ],
            ),
            "fail: pvecm add did not succeed: * this host already contains virtual guests; Check if node may join a cluster failed!",
        ),
        (
            "exit 0 and silent",
            attempt(AttemptState::Ended, &[]),
            "fail: pvecm add did not succeed: it printed nothing",
        ),
        (
            "killed",
            attempt(AttemptState::Killed, &["stopping pve-cluster service"]),
            "fail: pvecm add was killed on the node before it finished",
        ),
        (
            "gone",
            attempt(AttemptState::None, &[]),
            "fail: pvecm add left no trace on the node: it was restarted, or the command could not be started",
        ),
        (
            "running",
            attempt(AttemptState::Running, &["stopping pve-cluster service"]),
            "wait: pvecm add has not finished on the node",
        ),
        (
            "hanging",
            attempt(AttemptState::Running, &["waiting for quorum..."]),
            "wait: the node waits for the quorum of the cluster and does not get it",
        ),
    ];
    for (name, attempt, expected) in cases {
        assert_eq!(word(&interpret(&Observation::Attempt(attempt), &facts())), expected, "{name}");
    }
    let created = attempt(AttemptState::Ended, &["Restart corosync and cluster filesystem"]);
    assert_eq!(word(&interpret(&Observation::Attempt(created.clone()), &founding())), "next");
    assert_ne!(word(&interpret(&Observation::Attempt(created), &facts())), "next");
}

#[test]
fn a_member_is_proved_from_both_sides() {
    let good = || VerifyLook {
        member_nodes: nodes(NODES),
        member_view: cluster(&[("pve2", 12, true)]).view,
        node_state: status(STATUS),
        node_nodes: vec![PresentNode { id: 2, name: "pve2".to_owned(), local: true }],
        certificate: true,
    };
    let cases: Vec<(&str, VerifyLook, &str)> = vec![
        ("good", good(), "next"),
        ("no certificate yet", VerifyLook { certificate: false, ..good() }, "FinishMember"),
        (
            "member does not list it",
            VerifyLook { member_nodes: vec![], ..good() },
            "wait: the member does not list 'pve2' among its nodes",
        ),
        (
            "offline",
            VerifyLook {
                member_view: cluster(&[("pve3", 13, true), ("pve2", 12, false)]).view,
                ..good()
            },
            "wait: the member does not see 'pve2' online",
        ),
        (
            "no quorum",
            VerifyLook { member_view: cluster(&[("pve2", 12, false)]).view, ..good() },
            "wait: the cluster has no quorum",
        ),
        (
            "silent node",
            VerifyLook { node_state: None, ..good() },
            "wait: 'pve2' does not tell the state of its cluster",
        ),
        (
            "not itself",
            VerifyLook { node_nodes: nodes(NODES), ..good() },
            "wait: 'pve2' does not list itself as a node",
        ),
        (
            "silent member",
            VerifyLook { member_view: None, ..good() },
            "wait: the member does not tell the state of its cluster",
        ),
    ];
    for (name, look, expected) in cases {
        assert_eq!(word(&interpret(&Observation::Verify(look), &facts())), expected, "{name}");
    }
}

#[test]
fn the_key_is_gone_only_when_every_look_says_so() {
    let clean = || Some(FileCheck { complete: true, ..FileCheck::default() });
    let dirty = || Some(FileCheck::parse("count=1 /root/.ssh/x\nleft=/root/.ssh/x\nchecked=yes\n"));
    let cut = || Some(FileCheck::parse("checked=no\n"));
    let proof = |login, node, member| {
        word(&interpret(&Observation::Proof(ProofLook { login, node, member }), &facts()))
    };
    assert_eq!(proof(Login::Refused, clean(), clean()), "next");
    assert_eq!(proof(Login::Refused, None, None), "next");
    assert!(proof(Login::Accepted, clean(), clean()).starts_with("fail: the node still accepts"));
    assert!(proof(Login::Unknown("x".to_owned()), clean(), clean()).starts_with("wait"));
    assert!(proof(Login::Refused, dirty(), clean()).contains("still on the node: /root/.ssh/x"));
    assert!(proof(Login::Refused, clean(), dirty()).contains("still on the member"));
    assert!(proof(Login::Refused, clean(), cut()).starts_with("wait"));
    let look = CleanUpLook { node: dirty(), member: clean() };
    assert!(word(&interpret(&Observation::CleanUp(look), &facts())).starts_with("fail"));
    let look = CleanUpLook { node: None, member: clean() };
    assert_eq!(word(&interpret(&Observation::CleanUp(look), &facts())), "next");
}

#[test]
fn our_login_must_survive_the_join() {
    let good = "linked=yes\nnodekey=yes\nkeyfiles=.ssh/authorized_keys .ssh/authorized_keys2\n";
    let verdict = |text: &str, login| {
        word(&interpret(&Observation::OwnKey(OwnKeyLook::parse(text, login)), &facts()))
    };
    assert_eq!(verdict(good, true), "next");
    assert_eq!(verdict("linked=yes\nnodekey=yes\n", true), "next");
    assert!(verdict(good, false).starts_with("wait"));
    assert!(verdict("nodekey=yes\n", true).starts_with("wait"));
    assert!(verdict("linked=yes\n", true).starts_with("wait"));
    let only = "linked=yes\nnodekey=yes\nkeyfiles=.ssh/authorized_keys\n";
    assert!(verdict(only, true).starts_with("fail: the node's sshd reads only"));
    let trial = |text| {
        word(&interpret(
            &Observation::KnownHosts(KnownHostsLook::parse(text, "Connection refused")),
            &facts(),
        ))
    };
    assert_eq!(trial("node=1\nmember=1\n"), "next");
    assert!(trial("node=1\nmember=2\n").starts_with("fail: the join API versions differ"));
    assert_eq!(
        trial("node=1\nmember=\n"),
        "wait: the node cannot log in to 192.0.2.11: Connection refused"
    );
}

#[test]
fn written_lines_are_made_of_checked_parts() {
    let name = "pve2".parse().unwrap();
    let line = |text| prepare::node_key_line(text, &name);
    assert_eq!(
        line("ssh-rsa AAAAB3NzaC1yc2EAAAA= root@old.lab").as_deref(),
        Some("ssh-rsa AAAAB3NzaC1yc2EAAAA= root@pve2\n")
    );
    for bad in [
        "",
        "ssh-rsa",
        "ssh-rsa $(id)AAAAAAAAAAAAAAAA",
        "command=\"x\" ssh-rsa AAAAB3NzaC1yc2EAAAA",
        "ssh-rsa AAAAB3NzaC1yc2EAAAA\nssh-rsa AAAAB3NzaC1yc2EAAAA",
    ] {
        assert_eq!(line(bad), None, "{bad}");
    }
    assert_eq!(
        prepare::known_hosts_lines(
            "192.0.2.11".parse().unwrap(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1 root@pve1\ncat: no such file\n"
        ),
        "192.0.2.11 ssh-ed25519 AAAAC3NzaC1lZDI1\n"
    );
}

#[test]
fn the_vendors_tables_are_read() {
    let state = status(STATUS).unwrap();
    assert_eq!((state.quorate, state.expected_votes, state.total_votes), (true, 3, 2));
    assert_eq!(
        status(&STATUS.replace("Quorate:          Yes", "Quorate:          No")).map(|s| s.quorate),
        Some(false)
    );
    assert_eq!(status("Cluster information\nName: lab\nCannot initialize CMAP service\n"), None);
    let present = nodes(NODES);
    assert_eq!(
        present.iter().map(|n| (n.name.as_str(), n.local)).collect::<Vec<_>>(),
        [("pve1", true), ("pve2", false)]
    );
    let with_device = "    Nodeid      Votes    Qdevice Name\n         1          1    A,V,NMW pve1 (local)\n         0          1            Qdevice\n";
    assert_eq!(nodes(with_device).len(), 1);
    let conf = corosync_conf(CONF);
    assert_eq!(conf.cluster, "lab");
    assert_eq!(
        conf.node_at("198.51.100.13".parse().unwrap()).map(|n| n.name.as_str()),
        Some("pve3")
    );
    assert!(conf.node("pve").is_none());
    let view = cluster_status(r#"[{"id":"node/pve1","ip":"192.0.2.11","level":"","local":1,"name":"pve1","nodeid":1,"online":1,"type":"node"},{"id":"cluster","name":"lab","nodes":1,"quorate":"1","type":"cluster","version":8}]"#).unwrap();
    assert!(view.quorate && view.node("pve1").is_some_and(|n| n.online));
    assert_eq!(cluster_status("not json"), None);
}

proptest! {
    #[test]
    fn no_output_of_a_machine_breaks_a_decision(text in "(?s).{0,300}", keyed in prop::collection::vec(("(hostname|address|conf|corosync|attempt|rc|log|guest|status|view|present|count|left|checked|epoch)", "[ -~é]{0,40}"), 0..12)) {
        let keyed: String = keyed.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        for text in [text, keyed] {
            let observations = [
                Observation::Node(NodeLook::parse(&text)),
                Observation::Member(MemberLook::parse(&text, &text)),
                Observation::OwnKey(OwnKeyLook::parse(&text, true)),
                Observation::KnownHosts(KnownHostsLook::parse(&text, &text)),
                Observation::Attempt(Attempt::parse(&text)),
                Observation::Verify(VerifyLook::parse(&text, &text)),
                Observation::CleanUp(CleanUpLook { node: Some(FileCheck::parse(&text)), member: None }),
            ];
            for observation in &observations {
                for facts in [facts(), founding()] {
                    let _ = interpret(observation, &facts);
                }
            }
            let _ = MemberLook::parse(&text, &text).warnings(&facts());
            let _ = (status(&text), nodes(&text), cluster_status(&text), corosync_conf(&text));
            let _ = prepare::node_key_line(&text, &"a".parse().unwrap());
            prop_assert!(prepare::known_hosts_lines("::1".parse().unwrap(), &text).lines().all(|l| l.starts_with("::1 ")));
        }
    }
}
