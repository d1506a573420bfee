//! The client of the Proxmox VE API against a cluster that fails in every way that clusters fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ironhatch::domain::guest::{GuestNetwork, Ipv4Config};
use ironhatch::domain::id::NodeName;
use ironhatch::domain::secret::Secret;
use ironhatch::domain::time::Timestamp;
use ironhatch::domain::vmid::{Tag, Vmid};
use ironhatch::fakes::pve::{FakePve, Options, POOL, TEMPLATE, TOKEN};
use ironhatch::node::ErrorClass;
use ironhatch::pve::{
    ApiToken, Cluster, ConfigChange, Limits, Missing, NewContainer, PveError, TaskState,
};

struct Story {
    fake: FakePve,
    cluster: Cluster,
    node: NodeName,
    vmid: Vmid,
    _dir: tempfile::TempDir,
}

/// Two nodes, enrolled, with the vendor's schema when it is there.
async fn story() -> Story {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        addresses: Vec::new(),
        root: dir.path().to_owned(),
        nodes: vec!["pve1".to_owned(), "pve2".to_owned()],
        schema: Some(schema()),
        enrolled: true,
    };
    let fake = FakePve::start(options).await;
    if !fake.has_schema() {
        eprintln!("{} is not there: requests are not checked", schema().display());
    }
    let cluster = fake.cluster();
    let (node, vmid) = ("pve1".parse().unwrap(), "101".parse().unwrap());
    Story { fake, cluster, node, vmid, _dir: dir }
}

fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/pve-api-schema.json")
}

fn container(vmid: Vmid) -> NewContainer {
    NewContainer {
        vmid,
        pool: POOL.parse().unwrap(),
        ostemplate: TEMPLATE.to_owned(),
        hostname: "app1".parse().unwrap(),
        storage: "tank".parse().unwrap(),
        disk_gb: 8,
        cores: 2,
        memory_mb: 1024,
        swap_mb: 0,
        unprivileged: true,
        nesting: true,
        network: GuestNetwork {
            bridge: "vmbr0".parse().unwrap(),
            vlan: None,
            ipv4: Ipv4Config::Dhcp,
        },
        volumes: Vec::new(),
        onboot: false,
        description: String::new(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

impl Story {
    /// Makes the container and waits for it.
    async fn create(&self) {
        let upid = self.cluster.create_container(&self.node, &container(self.vmid)).await.unwrap();
        let end = self.cluster.wait(&upid, MINUTE, &mut |_| {}).await.unwrap();
        assert!(end.ok, "{}", end.text);
    }

    /// How many requests of this method and path arrived.
    fn count(&self, method: &str, path: &str) -> usize {
        let requests = self.fake.requests();
        requests.iter().filter(|r| r.method == method && r.path.ends_with(path)).count()
    }
}

#[tokio::test]
async fn another_member_answers_when_one_is_off() {
    let story = story().await;
    story.fake.set_down("pve1");
    assert_eq!(story.cluster.cluster_nodes().await.unwrap().len(), 2);
    // A change goes over too: it was certainly not sent to the dead one.
    let node: NodeName = "pve2".parse().unwrap();
    story.cluster.create_container(&node, &container(story.vmid)).await.unwrap();
    assert!(story.fake.requests().iter().all(|r| r.member == "pve2"));
    story.fake.assert_clean();
}

#[tokio::test]
async fn a_node_that_is_off_is_told_from_a_cluster_that_is() {
    let story = story().await;
    story.create().await;
    story.fake.set_down("pve1");
    let error = story.cluster.status(&story.node, story.vmid).await.unwrap_err();
    assert!(matches!(error, PveError::NotConnected { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
    let error =
        story.cluster.create_container(&story.node, &container(story.vmid)).await.unwrap_err();
    assert!(matches!(error, PveError::NotConnected { .. }), "{error}");
    story.fake.set_down("pve2");
    let error = story.cluster.version().await.unwrap_err();
    assert!(matches!(error, PveError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("pve1") && error.to_string().contains("pve2"), "{error}");
    story.fake.set_up("pve1");
    assert!(!story.cluster.status(&story.node, story.vmid).await.unwrap().running);
}

#[tokio::test]
async fn a_changed_certificate_is_named_and_nothing_is_sent() {
    let story = story().await;
    let old = story.fake.members();
    story.fake.renew_certificate("pve1");
    // The other member still is who it should be.
    assert!(story.cluster.version().await.is_ok());
    story.fake.renew_certificate("pve2");
    let sent = story.fake.requests().len();
    let error = story.cluster.version().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Denied);
    let PveError::Certificate { member, seen, expected } = error else { panic!("{error}") };
    let text = |f: [u8; 32]| f.map(|b| format!("{b:02X}")).join(":");
    let now = story.fake.members();
    let at = usize::from(member.as_str() == "pve2");
    assert_eq!((seen, expected), (text(now[at].fingerprint), text(old[at].fingerprint)));
    assert_eq!(story.fake.requests().len(), sent);
    assert!(story.fake.cluster().version().await.is_ok());
}

#[tokio::test]
async fn a_revoked_token_is_told_from_a_slow_node() {
    let story = story().await;
    // What Proxmox VE does with every refused token.
    story.fake.set_denied_delay(Duration::from_secs(3));
    story.fake.revoke_token(TOKEN);
    let error = story.cluster.version().await.unwrap_err();
    assert!(matches!(error, PveError::Unauthenticated { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Denied);
    assert_eq!(story.fake.requests().len(), 1, "a refused token is not tried again");
    let wrong = ApiToken { id: TOKEN.to_owned(), secret: Secret::new("s3cret".to_owned()) };
    let error = story.fake.cluster_with(wrong).version().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn errors_of_8_2_mean_the_same_as_those_of_9_2() {
    for release in ["8.2.4", "9.2.11"] {
        let story = story().await;
        story.fake.set_release(release);
        assert!(story.cluster.version().await.unwrap().is_supported());
        story.create().await;
        let admin = story.fake.cluster_with(story.fake.root_token());
        let error = admin.config(&story.node, "999".parse().unwrap()).await.unwrap_err();
        assert!(error.is_no_guest(), "{release}: {error}");
        let error =
            story.cluster.create_container(&story.node, &container(story.vmid)).await.unwrap_err();
        assert!(matches!(error, PveError::AlreadyExists { .. }), "{release}: {error}");
        story.fake.set_lock("pve1", story.vmid, Some("backup"));
        let change = ConfigChange::default().set("cores", 4);
        let error = story.cluster.set_config(&story.node, story.vmid, &change).await.unwrap_err();
        let PveError::Locked { lock, .. } = error else { panic!("{release}: {error}") };
        assert_eq!(lock.as_deref(), Some("backup"));
        story.fake.set_lock("pve1", story.vmid, None);
        let stale = change.clone().digest("0000");
        let error = story.cluster.set_config(&story.node, story.vmid, &stale).await.unwrap_err();
        assert!(matches!(error, PveError::Modified { .. }), "{release}: {error}");
        let error = story.cluster.stop(&story.node, story.vmid).await.unwrap_err();
        assert!(matches!(error, PveError::PowerState { .. }), "{release}: {error}");
        let unprivileged =
            NewContainer { unprivileged: false, ..container("102".parse().unwrap()) };
        let refused = story.cluster.create_container(&story.node, &unprivileged).await;
        // Making a privileged container became a privilege of its own in 9.0.
        let forbidden = matches!(refused, Err(PveError::Forbidden { ref privilege, .. }) if privilege == "Sys.Modify");
        // Before, only its feature is root's.
        let feature = matches!(refused, Err(PveError::Forbidden { ref privilege, .. }) if privilege.is_empty());
        assert!(
            if release.starts_with('9') { forbidden } else { feature },
            "{release}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn addresses_are_found_in_old_and_new_releases() {
    for release in ["8.2.4", "8.4.1", "9.2.11"] {
        let story = story().await;
        story.fake.set_release(release);
        story.create().await;
        assert!(story.cluster.interfaces(&story.node, story.vmid).await.unwrap().is_empty());
        let upid = story.cluster.start(&story.node, story.vmid).await.unwrap();
        assert!(story.cluster.wait(&upid, MINUTE, &mut |_| {}).await.unwrap().ok);
        let found = story.cluster.interfaces(&story.node, story.vmid).await.unwrap();
        let eth0 = found.iter().find(|i| i.name == "eth0").unwrap();
        assert_eq!(eth0.addresses, ["192.0.2.101/24".parse().unwrap()], "{release}");
    }
}

#[tokio::test]
async fn a_task_that_its_node_forgot_is_not_waited_for() {
    let story = story().await;
    story.fake.set_task_time(MINUTE);
    let upid = story.cluster.create_container(&story.node, &container(story.vmid)).await.unwrap();
    assert_eq!(story.cluster.task(&upid).await.unwrap(), TaskState::Running);
    story.fake.lose_tasks();
    let error = story.cluster.wait(&upid, MINUTE, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, PveError::NotFound { missing: Missing::Task, .. }), "{error}");
    // The guest is there, half made, and only the token of root may look at it.
    assert!(!story.cluster.is_free(story.vmid).await.unwrap());
    let error = story.cluster.config(&story.node, story.vmid).await.unwrap_err();
    assert!(matches!(error, PveError::Forbidden { ref privilege, .. } if privilege == "VM.Audit"));
    let admin = story.fake.cluster_with(story.fake.root_token());
    let config = admin.config(&story.node, story.vmid).await.unwrap();
    assert_eq!(config.lock(), Some("create"));
}

#[tokio::test]
async fn without_quorum_reads_work_and_changes_are_transient() {
    let story = story().await;
    story.create().await;
    story.fake.set_quorate(false);
    assert_eq!(story.cluster.guests().await.unwrap().len(), 1);
    let (node, vmid) = (&story.node, story.vmid);
    let change = ConfigChange::default().tags(&[Tag::managed()]);
    let admin = story.fake.cluster_with(story.fake.root_token());
    let other: Vmid = "102".parse().unwrap();
    for error in [
        story.cluster.set_config(node, vmid, &change).await.unwrap_err(),
        story.cluster.create_container(node, &container(other)).await.unwrap_err(),
        story.cluster.start(node, vmid).await.unwrap_err(),
        admin.add_to_pool(&POOL.parse().unwrap(), other).await.unwrap_err(),
    ] {
        assert!(matches!(error, PveError::NoQuorum { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Transient);
    }
    assert!(story.fake.config("pve1", other).is_none());
}

#[tokio::test]
async fn a_lost_answer_to_a_change_is_never_repeated_and_its_task_is_found() {
    let story = story().await;
    let (node, vmid) = (&story.node, story.vmid);
    story.fake.drop_next("POST", "/lxc");
    let error = story.cluster.create_container(node, &container(vmid)).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert_eq!(story.count("POST", "/lxc"), 1);
    let found = story.cluster.find_task(node, vmid, "vzcreate", Timestamp(0)).await.unwrap();
    let end = story.cluster.wait(&found.unwrap(), MINUTE, &mut |_| {}).await.unwrap();
    assert!(end.ok);
    // Answered 596 without having been carried out: the same for the caller, who looks and finds nothing.
    story.fake.answer_next("POST", "/status/start", 596, "Connection timed out");
    assert!(story.cluster.start(node, vmid).await.unwrap_err().is_unknown());
    let found = story.cluster.find_task(node, vmid, "vzstart", Timestamp(0)).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(story.count("POST", "/status/start"), 1);
    // Somebody else starts it: the token sees that task, which is none of ours.
    let admin = story.fake.cluster_with(story.fake.root_token());
    admin.start(node, vmid).await.unwrap();
    let found = story.cluster.find_task(node, vmid, "vzstart", Timestamp(0)).await.unwrap();
    assert_eq!(found, None);
    let found = admin.find_task(node, vmid, "vzstart", Timestamp(0)).await.unwrap();
    assert!(found.is_some(), "its owner finds it");
}

#[tokio::test]
async fn a_lost_answer_to_a_read_is_asked_for_again() {
    let story = story().await;
    story.fake.drop_next("GET", "/version");
    assert!(story.cluster.version().await.is_ok());
    for _ in 0..2 {
        story.fake.answer_next("GET", "/version", 596, "Connection timed out");
    }
    // Both members in the first round, then the second round.
    assert!(story.cluster.version().await.is_ok());
    for _ in 0..4 {
        story.fake.answer_next("GET", "/version", 595, "No route to host");
    }
    let error = story.cluster.version().await.unwrap_err();
    assert!(matches!(error, PveError::NotConnected { .. }), "{error}");
}

#[tokio::test]
async fn what_a_task_says_is_not_what_the_call_said() {
    let story = story().await;
    let (node, vmid) = (&story.node, story.vmid);
    story.fake.remove_volume(TEMPLATE);
    let upid = story.cluster.create_container(node, &container(vmid)).await.unwrap();
    let mut lines = Vec::new();
    let end = story.cluster.wait(&upid, MINUTE, &mut |l| lines.push(l.to_owned())).await.unwrap();
    assert!(!end.ok);
    assert_eq!(
        end.text,
        format!("unable to create CT {vmid} - volume '{TEMPLATE}' does not exist")
    );
    assert_eq!(lines, [format!("TASK ERROR: {}", end.text)]);
    assert!(story.cluster.is_free(vmid).await.unwrap(), "nothing is left of it");
}

#[tokio::test]
async fn a_killed_worker_is_told_from_a_failure() {
    let story = story().await;
    story.create().await;
    story.fake.fail_next_task("vzstart", "unexpected status");
    let upid = story.cluster.start(&story.node, story.vmid).await.unwrap();
    let end = story.cluster.wait(&upid, MINUTE, &mut |_| {}).await.unwrap();
    assert!(!end.ok && end.is_unknown());
    story.fake.fail_next_task("vzstart", "WARNINGS: 1");
    let upid = story.cluster.start(&story.node, story.vmid).await.unwrap();
    let end = story.cluster.wait(&upid, MINUTE, &mut |_| {}).await.unwrap();
    assert!(end.ok && end.warnings == 1);
}

#[tokio::test]
async fn waiting_ends_with_the_callers_patience_and_an_aborted_task_undoes_itself() {
    let story = story().await;
    let (node, vmid) = (&story.node, story.vmid);
    story.fake.set_task_time(MINUTE);
    let upid = story.cluster.create_container(node, &container(vmid)).await.unwrap();
    let short = Duration::from_millis(50);
    let error = story.cluster.wait(&upid, short, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, PveError::StillRunning { .. }), "{error}");
    story.cluster.abort(&upid).await.unwrap();
    let TaskState::Ended(end) = story.cluster.task(&upid).await.unwrap() else { panic!() };
    assert!(!end.ok);
    assert!(story.cluster.is_free(vmid).await.unwrap());
    story.fake.assert_clean();
}

#[tokio::test]
async fn a_node_that_goes_down_during_a_task_is_waited_for() {
    let story = story().await;
    let upid = story.cluster.create_container(&story.node, &container(story.vmid)).await.unwrap();
    story.fake.set_down("pve1");
    let waiting = story.cluster.clone();
    let waiting = tokio::spawn(async move { waiting.wait(&upid, MINUTE, &mut |_| {}).await });
    while story.count("GET", "/status") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    story.fake.set_up("pve1");
    assert!(waiting.await.unwrap().unwrap().ok);
}

#[tokio::test]
async fn what_only_root_may_do_is_forbidden_to_every_token() {
    let story = story().await;
    story.create().await;
    let admin = story.fake.cluster_with(story.fake.root_token());
    for cluster in [&story.cluster, &admin] {
        for change in [
            ConfigChange::default().set("features", "nesting=1,keyctl=1"),
            ConfigChange::default().set("dev0", "/dev/dri/renderD128,gid=104"),
            ConfigChange::default().set("mp0", "/srv,mp=/srv"),
            ConfigChange::default().delete("dev0"),
        ] {
            let error = cluster.set_config(&story.node, story.vmid, &change).await.unwrap_err();
            let PveError::Forbidden { message, .. } = error else { panic!("{change:?}: {error}") };
            assert!(message.contains("only allowed for root@pam"), "{message}");
        }
    }
    story.fake.assert_clean();
}

#[tokio::test]
async fn parameters_that_the_cluster_refuses_are_named() {
    let story = story().await;
    if !story.fake.has_schema() {
        return;
    }
    story.create().await;
    let change = ConfigChange::default().set("memory", 8).set("frob", 1).set("tags", "a:b");
    let error = story.cluster.set_config(&story.node, story.vmid, &change).await.unwrap_err();
    let PveError::Invalid { errors, .. } = error else { panic!("{error}") };
    assert_eq!(errors.into_keys().collect::<Vec<_>>(), ["frob", "memory", "tags"]);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let story = story().await;
    let limits = Limits { answer_bytes: 20, ..Limits::default() };
    let cluster = Cluster::new(story.fake.members(), story.fake.token(), limits);
    let error = cluster.cluster_nodes().await.unwrap_err();
    assert!(matches!(error, PveError::Unreadable { .. }), "{error}");
    // For a change that means that it was made.
    let error = cluster.create_container(&story.node, &container(story.vmid)).await.unwrap_err();
    assert!(error.is_unknown(), "{error}");
    assert!(!story.cluster.is_free(story.vmid).await.unwrap());
}

#[tokio::test]
async fn an_unexpected_request_is_refused_and_remembered() {
    let story = story().await;
    let upid = "UPID:nowhere:00000001:00000001:6B000000:vzcreate:101:a@pve!b:".parse().unwrap();
    let error = story.cluster.task(&upid).await.unwrap_err();
    assert!(matches!(error, PveError::NotFound { missing: Missing::Node, .. }), "{error}");
    story.fake.assert_clean();
    let error = story.cluster.delete_snapshot(&story.node, story.vmid, "a/b").await.unwrap_err();
    assert!(matches!(error, PveError::Refused { .. }), "{error}");
    assert_eq!(story.fake.problems().len(), 1);
}
