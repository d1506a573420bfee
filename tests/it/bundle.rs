//! Secrets are planted wherever an appliance can have some; the debug bundle, pages, API, log and backup show none of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ironhatch::domain::boot::{BootObservation, BootStage};
use ironhatch::domain::event::{EventKind, Level, Subject};
use ironhatch::domain::id::{HostId, JobId};
use ironhatch::domain::job::{ImportImage, Job, JobStatus, Work};
use ironhatch::domain::mac::Mac;
use ironhatch::domain::time::Timestamp;
use ironhatch::store::{MasterKey, NewEvent, Store, StoreError, Tx};
use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::support::daemon::Daemon;

/// In the configuration, sealed in the database, or typed in by the operator: known to the appliance.
const WEBHOOK_SECRET: &str = "planted-webhook-secret";
const WEBHOOK_PATH: &str = "planted-webhook-address";
const ROOT_HASH: &str = "$6$plantedsalt$plantedhashplantedhashplantedhashplantedhashplantedhashplantedhashplantedhash123456789";
const GUEST_INPUT: &str = "planted \"guest\" input";
const MEMBER_KEY: &str = "planted-member-key-line-one\nplanted-member-key-line-two";
const OPERATOR_PASSWORD: &str = "planted operator password";
/// Known to nobody; recognised by its form.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PRIVATE_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nplantedkeybody\n-----END OPENSSH PRIVATE KEY-----\n";
/// Recognised by the name of its key.
const TEMPLATE_PASSWORD: &str = "planted-template-password";

/// What must be nowhere. Parts, so that a line of a secret counts as the secret.
const PLANTED: [&str; 11] = [
    WEBHOOK_SECRET,
    WEBHOOK_PATH,
    "plantedhash",
    "planted \"guest\"",
    "planted \\\"guest",
    "planted-member-key",
    OPERATOR_PASSWORD,
    "planted%20operator",
    TOKEN,
    "plantedkeybody",
    TEMPLATE_PASSWORD,
];

/// Pages and replies that tell of everything.
const PAGES: [&str; 9] = [
    "/",
    "/health",
    "/jobs",
    "/images",
    "/api/hosts",
    "/api/server-types",
    "/api/limits",
    "/metrics",
    "/api/doctor",
];

/// The files of the bundle that the command writes, by name.
pub(crate) fn bundle(socket: &Path, place: &Path) -> BTreeMap<String, String> {
    let _ = fs::remove_file(place);
    let made = Command::new(env!("CARGO_BIN_EXE_ironhatch"))
        .arg("--socket")
        .arg(socket)
        .arg("debug-bundle")
        .arg("--output")
        .arg(place)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    unpack(&fs::read(place).unwrap())
}

fn unpack(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name.trim_start_matches("ironhatch-debug/").to_owned(), text);
    }
    files
}

fn assert_clean(place: &str, text: &str) {
    for planted in PLANTED {
        assert!(!text.contains(planted), "{place} shows '{planted}':\n{text}");
    }
}

/// Secrets where only a defect would put them: in free texts of records.
fn everything(tx: &mut Tx<'_, '_>) -> Result<(), StoreError> {
    tx.put_secret("guest/1/input/password", GUEST_INPUT);
    tx.put_secret("member-key", MEMBER_KEY);
    let told = format!(
        "{GUEST_INPUT} {MEMBER_KEY} {WEBHOOK_SECRET} {ROOT_HASH} Bearer {TOKEN} {PRIVATE_KEY} http://h/?token={TOKEN}"
    );
    let id = JobId("0199c0de-0000-7000-8000-000000000009".parse().unwrap());
    let job = Job {
        id,
        work: Work::ImportImage(ImportImage {
            source: format!("/srv/{TOKEN}.iso"),
            expected_sha256: None,
            image: None,
        }),
        status: JobStatus::Succeeded,
        created: tx.now(),
        started: Some(tx.now()),
        finished: Some(tx.now()),
        steps: Vec::new(),
        failure: None,
        cancel_requested: false,
    };
    tx.save_job(&job)?;
    tx.log(&job, None, Level::Info, &told)?;
    let subject = Subject { host: None::<HostId>, ..Subject::default() };
    let level = Level::Warn;
    tx.emit(NewEvent { level, subject, kind: EventKind::System, message: told.clone() })?;
    tx.queue_report(
        "nobody",
        "host.ready",
        None,
        json!({ "note": told, "apiToken": "planted-template-password" }),
    )?;
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let mut sighting = ironhatch::domain::sighting::Sighting::first_heard(mac, tx.now());
    sighting.inventory.serial = Some(told.clone());
    tx.save_sighting(&sighting)?;
    tx.append_boot_log(
        mac,
        BootObservation {
            at: tx.now(),
            mac: Some(mac),
            address: None,
            stage: BootStage::Http,
            answered: true,
            message: told,
            fact: None,
            client: None,
        },
        1,
    )?;
    Ok(())
}

fn plant(dir: &Path) {
    let data = dir.join("data");
    let key = MasterKey::open_or_create(&data.join("master.key")).unwrap();
    let now = || {
        Timestamp(
            i64::try_from(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .as_millis(),
            )
            .unwrap(),
        )
    };
    let store = Store::open(&data.join("ironhatch.redb"), key, Arc::new(now)).unwrap();
    store.write_blocking(everything).unwrap();
    store.close();
}

#[test]
fn no_planted_secret_is_in_the_bundle() {
    in_namespace(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let more = format!(
            "[credentials]\nroot_password_hash = \"{ROOT_HASH}\"\n\
             [[webhook]]\nurl = \"http://192.0.2.10:9/{WEBHOOK_PATH}\"\nsecret = \"{WEBHOOK_SECRET}\"\nevents = [\"host.failed\"]\n\
             [apps]\nenabled = true\nstorages = [\"local\"]\nbridges = [\"vmbr0\"]\n"
        );
        let templates = dir.path().join("answer-templates");
        fs::create_dir_all(&templates).unwrap();
        let template =
            format!("# {GUEST_INPUT}\n[global]\nroot_password = \"{TEMPLATE_PASSWORD}\"\n");
        fs::write(templates.join("own.toml"), template).unwrap();
        let mut daemon = Daemon::start(dir.path(), &more);
        // Configuration and files hold secrets, and no record does yet: nothing shows one.
        for path in PAGES.into_iter().filter(|path| *path != "/api/doctor") {
            assert_clean(path, &daemon.page(path));
        }
        assert_clean("the log", &daemon.log());
        assert!(daemon.terminate().success());
        // On a thread of its own: the store must not block the one that drives this story.
        std::thread::scope(|scope| scope.spawn(|| plant(dir.path())).join()).unwrap();
        drop(daemon);
        let daemon = Daemon::start(dir.path(), &more);
        // The link of the second start; it ended the first one.
        let log = daemon.log();
        let token = log.rsplit("token=").next().unwrap().lines().next().unwrap().trim().to_owned();
        set_password(&token);
        let prometheus = daemon.post("/api/prometheus/token", &json!({}))["token"].clone();

        let files = bundle(&daemon.socket(), &dir.path().join("bundle.tar.gz"));
        for name in [
            "about.txt",
            "configuration.toml",
            "doctor.json",
            "metrics.txt",
            "log.txt",
            "events.jsonl",
            "outbox.json",
            "sightings.json",
            "server-types/lab.json",
            "answer-templates/own.json",
            "jobs/0199c0de-0000-7000-8000-000000000009.log.jsonl",
            "boot-logs/52_54_00_00_00_01.jsonl",
        ] {
            assert!(files.contains_key(name), "{name} is missing: {:?}", files.keys());
        }
        assert!(files["log.txt"].contains("ironhatch is up"), "{}", files["log.txt"]);
        assert!(files["configuration.toml"].contains("public_url"));
        for (name, text) in &files {
            assert_clean(name, text);
            assert!(!text.contains(&token), "{name} shows the set-up link");
            assert!(!text.contains(prometheus.as_str().unwrap()), "{name} shows Prometheus' token");
        }

        // What has its own place for secrets shows none of them: pages, API, log, and the copy of the database.
        let backup = dir.path().join("data/copy.redb");
        daemon.post("/api/db/backup", &json!({ "path": backup }));
        // What was planted into free texts is shown there as it was written: only what has its place elsewhere counts.
        let mut shown = daemon.log();
        for path in PAGES {
            shown += &daemon.page(path);
        }
        for planted in [WEBHOOK_PATH, OPERATOR_PASSWORD, TEMPLATE_PASSWORD] {
            assert!(!shown.contains(planted), "'{planted}' is shown:\n{shown}");
        }
        let copy = fs::read(&backup).unwrap();
        for planted in
            [OPERATOR_PASSWORD, WEBHOOK_PATH, prometheus.as_str().unwrap(), token.as_str()]
        {
            let found = copy.windows(planted.len()).any(|w| w == planted.as_bytes());
            assert!(!found, "'{planted}' is readable in the backup");
        }
    });
}

/// What the first visit does.
fn set_password(token: &str) {
    let password = OPERATOR_PASSWORD.replace(' ', "+");
    let form = format!("token={token}&password={password}&repeated={password}");
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "http://192.0.2.10:8080"),
    ];
    let answer = crate::support::machine::http("POST", "/setup", &headers, form.as_bytes());
    assert_eq!(answer.status, 303, "{}", answer.text());
}

#[test]
fn without_a_daemon_the_bundle_has_configuration_and_findings() {
    let dir = tempfile::tempdir().unwrap();
    let more =
        format!("[[webhook]]\nurl = \"http://192.0.2.10:9/\"\nsecret = \"{WEBHOOK_SECRET}\"\n");
    crate::support::appliance::configure(dir.path(), "enabled = false\n", &more);
    let place = dir.path().join("alone.tar.gz");
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_ironhatch"))
            .arg("--config")
            .arg(dir.path().join("ironhatch.toml"))
            .args(["debug-bundle", "--output"])
            .arg(&place)
            .output()
            .unwrap()
    };
    let made = run();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = unpack(&fs::read(&place).unwrap());
    assert!(files["about.txt"].contains("without the daemon"), "{}", files["about.txt"]);
    assert!(files["doctor.json"].contains("findings"));
    files.iter().for_each(|(name, text)| assert_clean(name, text));
    assert_eq!(run().status.code(), Some(2), "an existing file is not overwritten");
}
