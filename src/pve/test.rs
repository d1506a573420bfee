//! The client against its double, the vendor's schema, recorded answers, and a member that is an impostor.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::call::{Ask, Try, judge};
use super::wire::Answer;
use super::*;
use crate::domain::guest::{GuestNetwork, Ipv4Config};
use crate::domain::time::Timestamp;
use crate::domain::vmid::{Tag, Vmid};
use crate::fakes::pve::{FakePve, Options, POOL, TEMPLATE};
use crate::proto::pve::Complaint;

fn cluster() -> Cluster {
    let member = |name: &str| Member {
        name: name.parse().unwrap(),
        address: "127.0.0.1:1".parse().unwrap(),
        fingerprint: [0; 32],
    };
    let token = ApiToken { id: "a@pve!b".to_owned(), secret: Secret::new("s3cret".to_owned()) };
    let limits = Limits { call: Duration::from_millis(1), rounds: 0, ..Limits::default() };
    Cluster::new(["n1", "n2", "n3"].map(member).to_vec(), token, limits)
}

#[test]
fn the_node_itself_is_asked_first_then_who_answered_last() {
    let cluster = cluster();
    assert_eq!(cluster.order(None), [0, 1, 2]);
    cluster.inner.answered.store(2, Ordering::Relaxed);
    assert_eq!(cluster.order(None), [2, 0, 1]);
    assert_eq!(cluster.order(Some("n2")), [1, 2, 0]);
    assert_eq!(cluster.order(Some("elsewhere")), [2, 0, 1]);
}

#[test]
fn no_caller_can_wait_less_than_a_refused_token_takes() {
    let limits = cluster().inner.limits;
    assert_eq!(limits.call, Limits::SHORTEST_CALL);
    assert_eq!(limits.rounds, 1);
}

#[test]
fn the_tokens_secret_is_not_printed() {
    assert!(!format!("{:?}", cluster()).contains("s3cret"));
}

/// A file of the collection beside the repository. `None`, and said so, when there is none.
fn shared(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("{} is not there: nothing is compared", file.display());
    None
}

async fn double(dir: &Path) -> FakePve {
    let options = Options {
        addresses: Vec::new(),
        root: dir.to_owned(),
        nodes: vec!["pve1".to_owned(), "pve2".to_owned()],
        schema: shared("reference/pve-api-schema.json"),
        enrolled: true,
    };
    FakePve::start(options).await
}

pub(crate) fn new_container(vmid: Vmid) -> NewContainer {
    NewContainer {
        vmid,
        pool: POOL.parse().unwrap(),
        ostemplate: TEMPLATE.to_owned(),
        hostname: "app1".parse().unwrap(),
        storage: "local-zfs".parse().unwrap(),
        disk_gb: 8,
        cores: 2,
        memory_mb: 1024,
        swap_mb: 256,
        unprivileged: true,
        nesting: true,
        network: GuestNetwork {
            bridge: "vmbr0".parse().unwrap(),
            vlan: Some(20),
            ipv4: Ipv4Config::Static {
                address: "192.0.2.50".parse().unwrap(),
                prefix: 24,
                gateway: Some("192.0.2.1".parse().unwrap()),
            },
        },
        volumes: vec![crate::domain::guest::Volume {
            key: "data".to_owned(),
            slot: 0,
            path: "/srv/data".to_owned(),
            size_gb: 4,
            backup: true,
            volid: None,
        }],
        onboot: true,
        description: "Managed by Ironhatch\nsecond line: ä".to_owned(),
    }
}

/// Names of all public calls, read from the sources of this module.
fn public_calls() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pve");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        if file.file_name() == "test.rs" {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        for rest in text.split("    pub async fn ").skip(1) {
            names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
        }
    }
    names
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // one line per call of the API
async fn every_call_is_as_the_schema_demands_and_does_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let fake = double(dir.path()).await;
    let cluster = fake.cluster();
    // Putting guests into pools needs more than the least rights.
    let admin = fake.cluster_with(fake.root_token());
    let node: NodeName = "pve1".parse().unwrap();
    let pool = POOL.parse().unwrap();
    let (local, tank) = ("local".parse().unwrap(), "tank".parse().unwrap());
    let vmid: Vmid = "101".parse().unwrap();
    let minute = Duration::from_secs(60);
    let mut covered = BTreeSet::new();
    let mut lines = Vec::new();
    macro_rules! call {
        ($on:ident . $name:ident ( $($argument:expr),* )) => {{
            covered.insert(stringify!($name).to_owned());
            $on.$name($($argument),*).await.unwrap()
        }};
    }
    macro_rules! task {
        ($name:ident ( $($argument:expr),* )) => {{
            let upid = call!(cluster.$name($($argument),*));
            let end = call!(cluster.wait(&upid, minute, &mut |line: &str| lines.push(line.to_owned())));
            assert!(end.ok, "{}: {}", stringify!($name), end.text);
            upid
        }};
    }

    assert!(call!(cluster.version()).is_supported());
    assert_eq!(call!(cluster.cluster_nodes()).len(), 2);
    assert!(call!(cluster.permissions()).allow("/pool/ironhatch", "VM.Allocate"));
    assert_eq!(call!(admin.is_quorate()), Some(true));
    assert_eq!(call!(cluster.node_version(&node)).major, 9);
    let clock = i64::try_from(call!(admin.clock(&node))).unwrap();
    assert!((jiff::Timestamp::now().as_second() - clock).abs() < 60, "{clock}");
    assert_eq!(call!(cluster.storages(&node)).len(), 3);
    assert_eq!(call!(cluster.bridges(&node)).len(), 1);
    assert_eq!(call!(cluster.content(&node, &local, Content::Template, None))[0].volid, TEMPLATE);
    let index = call!(cluster.appliance_index(&node));
    task!(download_template(&node, &local, &index[1].template));
    assert!(call!(cluster.is_free(vmid)));

    let since = Timestamp(0);
    let created = task!(create_container(&node, &new_container(vmid)));
    assert_eq!(call!(cluster.find_task(&node, vmid, "vzcreate", since)), Some(created.clone()));
    assert_eq!(call!(cluster.pool_members(&pool)).unwrap().guests, [vmid]);
    call!(admin.add_to_pool(&pool, vmid));
    let config = call!(cluster.config(&node, vmid));
    assert_eq!(config.description(), "Managed by Ironhatch\nsecond line: ä");
    assert_eq!(config.mounts()[&0].get("mp"), Some("/srv/data"));
    let change = ConfigChange::default()
        .tags(&[Tag::managed()])
        .flag("onboot", false)
        .net(0, &new_container(vmid).network, config.net(0).unwrap().get("hwaddr"))
        .delete("nameserver")
        .digest(&config.digest);
    call!(cluster.set_config(&node, vmid, &change));
    let row = &call!(cluster.guests())[0];
    assert_eq!((row.tags.as_slice(), row.pool.as_deref()), (&[Tag::managed()][..], Some(POOL)));
    task!(resize(&node, vmid, "rootfs", 16));
    assert_eq!(
        cluster.config(&node, vmid).await.unwrap().rootfs().unwrap().get("size"),
        Some("16G")
    );

    task!(start(&node, vmid));
    assert!(call!(cluster.status(&node, vmid)).running);
    let interfaces = call!(cluster.interfaces(&node, vmid));
    assert_eq!(interfaces[1].addresses, ["192.0.2.50/24".parse().unwrap()]);
    task!(reboot(&node, vmid));
    task!(shutdown(&node, vmid, Shutdown { timeout_secs: 30, force: true }));
    task!(start(&node, vmid));
    task!(stop(&node, vmid));

    // The volume is on ZFS, but the data of another guest could not be.
    task!(snapshot(&node, vmid, "before", "upgrade 1 to 2"));
    assert_eq!(call!(cluster.snapshots(&node, vmid))[0].description, "upgrade 1 to 2");
    task!(rollback(&node, vmid, "before"));
    task!(delete_snapshot(&node, vmid, "before"));

    let backup = Backup {
        storage: "tank".parse().unwrap(),
        mode: BackupMode::Snapshot,
        notes: "before the upgrade\nof app1".to_owned(),
        remove_older: false,
    };
    task!(backup(&node, vmid, &backup));
    let archives = call!(cluster.content(&node, &tank, Content::Backup, Some(vmid)));
    assert_eq!(archives[0].notes, "before the upgrade\nof app1");
    let restore = RestoreContainer {
        vmid: "102".parse().unwrap(),
        pool: Some(POOL.parse().unwrap()),
        archive: archives[0].volid.clone(),
        storage: "tank".parse().unwrap(),
        unprivileged: true,
        hostname: Some("copy".parse().unwrap()),
        force: false,
        unique: true,
    };
    task!(restore_container(&node, &restore));
    // Long enough for a look at it and its end from outside, on any machine.
    fake.set_task_time(Duration::from_secs(3600));
    let delete = call!(cluster.delete_volume(&node, &tank, &archives[0].volid)).unwrap();
    assert_eq!(call!(cluster.task(&delete)), TaskState::Running);
    call!(cluster.abort(&delete));
    fake.set_task_time(Duration::from_millis(20));
    let destroy = Destroy { purge: true, force: true, unreferenced_volumes: true };
    task!(destroy(&node, vmid, destroy));
    assert!(cluster.is_free(vmid).await.unwrap());
    let (log, next) = call!(cluster.task_log(&created, 0));
    assert_eq!((log.last().map(String::as_str), next), (Some("TASK OK"), log.len() as u64));
    assert!(lines.iter().any(|line| line.starts_with("extracting archive")));

    let missing: Vec<String> = public_calls().difference(&covered).cloned().collect();
    assert!(missing.is_empty(), "these calls were not made: {missing:?}");
    fake.assert_clean();
}

fn exchanges(file: &str) -> Option<Vec<Value>> {
    let text = std::fs::read_to_string(shared(&format!("fixtures/pve/{file}"))?).unwrap();
    serde_json::from_str(&text).unwrap()
}

const RECORDED: [&str; 8] = [
    "01-auth.json",
    "02-discovery.json",
    "03-lxc-change.json",
    "03-lxc-create.json",
    "04-qemu.json",
    "05-bootstrap-api.json",
    "06-backup.json",
    "07-cluster-api.json",
];

/// The bytes of a recorded body.
fn body_of(response: &Value) -> Vec<u8> {
    match &response["body"] {
        Value::String(text) => text.clone().into_bytes(),
        json => json.to_string().into_bytes(),
    }
}

#[test]
fn recorded_refusals_mean_the_same_with_and_without_a_message() {
    let mut seen = 0;
    for file in RECORDED {
        let Some(exchanges) = exchanges(file) else { return };
        for exchange in exchanges {
            let response = &exchange["response"];
            let status = u16::try_from(response["status"].as_u64().unwrap()).unwrap();
            if status < 400 {
                continue;
            }
            seen += 1;
            let reason = response["reason"].as_str().unwrap();
            let (now, text) = Complaint::read(status, reason, &body_of(response));
            let mut old = response["body"].clone();
            if let Some(body) = old.as_object_mut() {
                body.remove("message");
            }
            let old = body_of(&serde_json::json!({ "body": old }));
            let (before, _) = Complaint::read(status, reason, &old);
            // Which parameter it was is in the message's second line, and 8.2 has only the first.
            if !reason.starts_with("400 ") {
                assert_eq!(now, before, "{file}: {}: {text}", exchange["name"]);
            }
            let expected = match status {
                400 => !matches!(now, Complaint::Other),
                401 => now == Complaint::Unauthenticated,
                403 => {
                    matches!(now, Complaint::Forbidden { .. } | Complaint::NotFound(Missing::Pool))
                }
                501 => now == Complaint::NotImplemented,
                595 => now == Complaint::NotConnected,
                596 => now == Complaint::Interrupted,
                _ => true,
            };
            assert!(expected, "{file}: {}: {now:?}", exchange["name"]);
        }
    }
    assert!(seen > 150, "only {seen} refusals were found");
}

/// What the client makes of a recorded answer to a read, as far as it makes that read; `None`: it does not.
fn decoded(path: &str, data: &Value) -> Option<bool> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let rows = |read: fn(&Value) -> bool| Some(data.as_array().is_some_and(|r| r.iter().all(read)));
    match segments.as_slice() {
        ["version"] => Some(crate::proto::pve::cluster::read_version(data).is_some()),
        ["nodes"] => rows(|row| crate::proto::pve::cluster::read_node(row).is_some()),
        ["cluster", "resources"] => rows(|row| {
            let is_guest = matches!(row["type"].as_str(), Some("lxc" | "qemu"));
            crate::proto::pve::cluster::read_guest(row).is_some() == is_guest
        }),
        ["nodes", _, "storage"] => rows(|row| storage::read_storage(row).is_some()),
        ["nodes", _, "storage", _, "content"] => rows(|row| storage::read_volume(row).is_some()),
        ["nodes", _, "aplinfo"] => {
            rows(|row| storage::read_appliance(row).is_some_and(|a| a.sha512.len() == 128))
        }
        ["nodes", _, "lxc", _, "config"] => Some(ContainerConfig::read(data).is_some_and(|c| {
            c.digest.len() == 40 && c.get("arch").is_some() || c.lock().is_some()
        })),
        ["nodes", _, "lxc", _, "status", "current"] => Some(guest::read_status(data).is_some()),
        ["nodes", _, "lxc", _, "snapshot"] => rows(|row| guest::read_snapshot(row).is_none()),
        ["nodes", _, "tasks", _, "status"] => Some(TaskState::read(data).is_some()),
        ["nodes", _, "tasks"] => rows(|row| row["upid"].as_str().unwrap().parse::<Upid>().is_ok()),
        ["pools"] if data[0].get("members").is_some() => {
            Some(pool::read_members(&data[0]).is_some())
        }
        _ => None,
    }
}

#[test]
fn recorded_answers_are_understood() {
    let mut read = 0;
    for file in RECORDED {
        let Some(exchanges) = exchanges(file) else { return };
        for exchange in exchanges {
            let (request, response) = (&exchange["request"], &exchange["response"]);
            let path = request["path"].as_str().unwrap();
            let path = path.trim_start_matches("/api2/json").split('?').next().unwrap();
            if request["method"] != "GET" || response["status"] != 200 {
                continue;
            }
            if let Some(good) = decoded(path, &response["body"]["data"]) {
                assert!(good, "{file}: {}: {}", exchange["name"], response["body"]);
                read += 1;
            }
        }
    }
    assert!(read > 60, "only {read} answers were read");
}

/// What the client makes of an answer to a call of this method.
fn judged(ask: &Ask, status: u16, reason: &str, body: &str) -> Result<Value, PveError> {
    let member = cluster().members()[0].clone();
    let body = Bytes::from(body.to_owned());
    let answer = Answer { status, reason: reason.to_owned(), body };
    match judge(ask, &member, answer) {
        Try::Over(result) => result.map(|(data, _)| data),
        Try::Next(error) => Err(error),
    }
}

#[test]
fn the_fate_of_a_change_is_unknown_when_its_answer_is_no_answer() {
    let (read, change) = (Ask::get(&["version"]), Ask::post(&["nodes", "n", "lxc"]));
    for (status, reason, body) in [
        (596, "Connection timed out", ""),
        (599, "x", ""),
        (200, "OK", "<html>"),
        (200, "OK", "[]"),
    ] {
        assert!(judged(&change, status, reason, body).unwrap_err().is_unknown(), "{status} {body}");
        assert!(!judged(&read, status, reason, body).unwrap_err().is_unknown(), "{status} {body}");
    }
    // No connection to the node: certainly not carried out.
    let error = judged(&change, 595, "No route to host", "").unwrap_err();
    assert!(matches!(error, PveError::NotConnected { .. }), "{error}");
    assert_eq!(judged(&change, 200, "OK", r#"{"data":"x"}"#).unwrap(), Value::from("x"));
}

/// Shows a certificate without holding its key.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_copy_of_the_pinned_certificate_is_worth_nothing_without_its_key() {
    let pinned = rcgen::generate_simple_self_signed(vec!["pve1".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(other.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let certificate: CertificateDer<'static> = pinned.cert.der().clone();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let shown = Arc::new(CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(shown)));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let server = tokio::spawn(async move {
            let (stream, _) = socket.accept().await.unwrap();
            acceptor.accept(stream).await.is_ok()
        });
        let member = Member {
            name: "pve1".parse().unwrap(),
            address,
            fingerprint: Sha256::digest(&certificate).into(),
        };
        let token = ApiToken { id: "a@pve!b".to_owned(), secret: Secret::new("x".to_owned()) };
        let limits = Limits { rounds: 1, ..Limits::default() };
        let error = Cluster::new(vec![member], token, limits).version().await.unwrap_err();
        assert!(matches!(error, PveError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("BadSignature"), "{error}");
        assert!(!server.await.unwrap());
    }
}
