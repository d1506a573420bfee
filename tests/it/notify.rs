//! Who is told what happened: each kind of target gets its own form, a test tells at once how it went, and what is not
//! taken is told again.

mod receiver;
mod smtp;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::daemon::Daemon;
use receiver::{Answer, Receiver, Told};
use smtp::{Greeting, MailServer, PASSWORD};

/// Stand in addresses and as tokens; must be shown nowhere.
const SECRETS: [&str; 5] =
    ["planted-path", "planted-token", "planted-topic", PASSWORD, smtp::LOGIN_BASE64];

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/notices").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn golden_json(name: &str) -> Value {
    serde_json::from_str(&golden(name)).unwrap()
}

fn typed(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironhatch"))
        .arg("--socket")
        .arg(daemon.socket())
        .args(arguments)
        .output()
        .unwrap()
}

/// Tries a target out by the command; whether it arrived, and what was said.
fn test(daemon: &Daemon, target: &str) -> (bool, String) {
    let typed = typed(daemon, &["notify", "test", target]);
    let said = String::from_utf8_lossy(&typed.stdout).into_owned();
    match typed.status.code() {
        Some(0) => (true, said),
        Some(1) => (false, said),
        other => panic!("{other:?}: {typed:?}"),
    }
}

fn assert_shown_nowhere(daemon: &Daemon) {
    let mut shown = daemon.log();
    for path in ["/api/notifications", "/api/audit", "/settings", "/api/settings"] {
        shown += &daemon.page(path);
    }
    for secret in SECRETS {
        assert!(!shown.contains(secret), "'{secret}' is shown:\n{shown}");
    }
}

const HTTP_TARGETS: &str = r#"
[[notify]]
name = "hook"
kind = "webhook"
url = "http://192.0.2.10:9000/planted-path/hook"
token = "file:token"
[[notify]]
name = "phone"
kind = "ntfy"
url = "http://192.0.2.10:9000/planted-topic"
token = "file:token"
[[notify]]
name = "team"
kind = "slack"
url = "http://192.0.2.10:9000/planted-path/slack"
[[notify]]
name = "lab"
kind = "discord"
url = "http://192.0.2.10:9000/planted-path/discord?wait=true"
[[notify]]
name = "room"
kind = "matrix"
homeserver = "http://192.0.2.10:9000"
room = "!a/b:lab.test"
token = "file:token"
"#;

/// The one request that a receiver got, without what differs each time.
fn only(receiver: &Receiver) -> Told {
    let mut told = receiver.take();
    assert_eq!(told.len(), 1, "{told:#?}");
    let told = told.remove(0);
    assert!(told.key.starts_with("ironhatch-test-"), "{told:?}");
    assert_eq!(told.content_type, "application/json");
    told
}

#[test]
fn every_kind_of_target_gets_its_own_form_and_a_test_tells_how_it_went() {
    in_namespace(async |_lab| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "planted-token\n").unwrap();
        let receiver = Receiver::listen("192.0.2.10:9000");
        let daemon = Daemon::start(dir.path(), HTTP_TARGETS);
        let bearer = Some("Bearer planted-token".to_owned());
        for (target, form, path, token) in [
            ("hook", "webhook", "/planted-path/hook", &bearer),
            ("phone", "ntfy", "/", &bearer),
            ("team", "slack", "/planted-path/slack", &None),
            ("lab", "discord", "/planted-path/discord?wait=true", &None),
        ] {
            let (arrived, said) = test(&daemon, target);
            assert!(arrived && said == format!("{target} took the test\n"), "{said}");
            let told = only(&receiver);
            let mut wanted = golden_json(&format!("{form}/test.json"));
            match form {
                "webhook" => wanted["at"] = told.body["at"].clone(),
                "ntfy" => wanted["topic"] = json!("planted-topic"),
                _ => {}
            }
            assert_eq!(told.body, wanted);
            assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", path));
            assert_eq!(told.authorization, *token, "{target}");
        }
        assert!(test(&daemon, "room").0);
        let told = only(&receiver);
        assert_eq!(told.body, golden_json("matrix/test.json"));
        assert_eq!((told.method.as_str(), &told.authorization), ("PUT", &bearer));
        let path = "/_matrix/client/v3/rooms/%21a%2Fb%3Alab.test/send/m.room.message/";
        assert_eq!(told.path, format!("{path}{}", told.key));

        // What goes wrong is said as it is, and a redirect leads nowhere.
        for (answer, reason) in [
            (Answer::Status(404), "status 404; the address is not known there"),
            (Answer::Redirect, "status 302; redirects are not followed"),
            (Answer::Endless, ""),
            (Answer::Hangup, ""),
        ] {
            receiver.answer(vec![answer]);
            let (arrived, said) = test(&daemon, "team");
            // An endless body behind a good status is not read.
            assert_eq!(arrived, matches!(answer, Answer::Endless), "{answer:?}: {said}");
            assert!(said.contains(reason), "{said}");
            assert_eq!(receiver.take().len(), 1, "told once, whatever came");
        }
        receiver.close();
        let (arrived, said) = test(&daemon, "hook");
        assert!(!arrived && said.to_lowercase().contains("refused"), "{said}");
        let unknown = typed(&daemon, &["notify", "test", "nobody"]);
        assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");

        let list = daemon.get("/api/notifications");
        let hook = &list["targets"][0];
        assert_eq!(
            (hook["name"].as_str(), hook["last"]["delivered"].as_bool()),
            (Some("hook"), Some(false))
        );
        let audit = daemon.get("/api/audit").to_string();
        assert!(audit.contains("test of the notification target team: delivered"), "{audit}");
        assert_shown_nowhere(&daemon);
    });
}

fn mail_target(name: &str, port: u16, tls: &str, login: &str) -> String {
    format!(
        "[[notify]]\nname = \"{name}\"\nkind = \"email\"\nserver = \"192.0.2.10:{port}\"\ntls = \"{tls}\"\n{login}\
         from = \"ironhatch@lab.test\"\nto = [\"ops@lab.test\", \"night@lab.test\"]\n"
    )
}

#[test]
fn email_goes_through_a_protected_connection_or_not_at_all() {
    in_namespace(async |_lab| {
        let dir = tempfile::tempdir().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["192.0.2.10".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let login = format!("user = \"{}\"\npassword = \"file:password\"\n", smtp::USER);
        let stranger = rcgen::generate_simple_self_signed(["192.0.2.10".to_owned()]).unwrap();
        let servers = [
            ("starttls", 2525, "starttls", &*login, &certificate, Greeting::StartTls),
            ("implicit", 2465, "implicit", &*login, &certificate, Greeting::Implicit),
            ("relay", 2526, "off", "", &certificate, Greeting::Plain),
            ("bare", 2527, "starttls", &*login, &certificate, Greeting::Plain),
            ("stranger", 2528, "starttls", &*login, &stranger, Greeting::StartTls),
            ("refuses", 2529, "starttls", &*login, &certificate, Greeting::RefusesLogin),
            ("babbler", 2530, "off", "", &certificate, Greeting::Endless),
        ];
        let mut more = String::new();
        let mut running = Vec::new();
        for (name, port, tls, login, certificate, greeting) in servers {
            more += &mail_target(name, port, tls, login);
            running.push(MailServer::listen(port, certificate, greeting));
        }
        let daemon = Daemon::start(dir.path(), &more);
        for (n, name) in ["starttls", "implicit", "relay"].into_iter().enumerate() {
            let (arrived, said) = test(&daemon, name);
            assert!(arrived, "{name}: {said}\n{:?}", running[n].faults());
            let letters = running[n].take();
            assert_eq!(letters.len(), 1, "{name}");
            let letter = &letters[0];
            assert_eq!(letter.logged_in, name != "relay");
            assert_eq!(letter.from, "ironhatch@lab.test");
            assert_eq!(letter.to, ["ops@lab.test", "night@lab.test"]);
            let (head, body) = letter.text.split_once("\r\n\r\n").unwrap();
            for line in
                ["Subject: [Ironhatch] Test of a notification", "Auto-Submitted: auto-generated"]
            {
                assert!(head.lines().any(|l| l == line), "{head}");
            }
            assert!(head.contains("Message-ID: <ironhatch-test-"), "{head}");
            let plain = |text: &str| {
                let lines = text.lines().filter(|line| !line.starts_with("Time: "));
                lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
            };
            assert_eq!(plain(body), plain(&golden("letter/test.txt")));
        }
        for (n, (name, reason)) in [
            ("bare", "does not offer STARTTLS; nothing was sent"),
            ("stranger", "the connection could not be protected"),
            ("refuses", "did not accept the login: 535"),
            ("babbler", "did not greet"),
        ]
        .into_iter()
        .enumerate()
        {
            let (arrived, said) = test(&daemon, name);
            assert!(!arrived && said.contains(reason), "{name}: {said}");
            assert!(running[3 + n].take().is_empty(), "{name}");
        }
        // The one that repeats what it was told.
        assert!(!daemon.log().contains(smtp::LOGIN_BASE64));
        for server in &running {
            assert_eq!(server.faults(), [""; 0]);
        }
        assert_shown_nowhere(&daemon);
    });
}

/// Waits until the receiver was told so many times.
fn wait_for(receiver: &Receiver, many: usize, daemon: &Daemon) -> Vec<Told> {
    let begun = Instant::now();
    loop {
        let told = receiver.told();
        if told.len() >= many {
            return told;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{told:#?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn targets_of_a_changed_file_are_told_of_a_host_again_until_they_take_it() {
    in_namespace(async |lab| {
        let receiver = Receiver::listen("192.0.2.10:9000");
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 11);
        let file = world.dir().join("ironhatch.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        let target = |events: &str| {
            format!(
                "{before}[[notify]]\nname = \"team\"\nkind = \"webhook\"\n\
                 url = \"http://192.0.2.10:9000/planted-path\"\nevents = [{events}]\n"
            )
        };
        let targets = |world: &World| world.daemon.get("/api/notifications")["targets"].clone();
        assert_eq!(targets(&world), json!([]), "nobody is told yet");
        std::fs::write(&file, target("\"host.waiting\", \"host.failed\"")).unwrap();
        let begun = Instant::now();
        while targets(&world)[0]["events"] != json!(["host.waiting", "host.failed"]) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", world.daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        // It is down for the first notice, and gone for the second try.
        receiver.answer(vec![Answer::Status(503), Answer::Hangup]);
        let job = world.rebuild("pve1");
        let told = wait_for(&receiver, 3, &world.daemon);
        assert!(told.iter().all(|t| t.body == told[0].body && t.key == told[0].key), "{told:#?}");
        assert_eq!(told[0].body["event"], "host.waiting");
        assert_eq!(told[0].body["title"], "pve1: Turn it on now");
        let host = world.daemon.get("/api/hosts/pve1");
        let page = format!("http://192.0.2.10:8080/hosts/{}", host["id"].as_str().unwrap());
        assert_eq!(told[0].body["link"], json!(page));

        // A file that cannot be used changes nothing.
        std::fs::write(&file, target("\"host.redy\"")).unwrap();
        world.daemon.wait_for_page("/settings", "is not an event");
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        let told = wait_for(&receiver, 4, &world.daemon);
        assert_eq!(told[3].body["event"], "host.failed");
        let text = told[3].body["text"].as_str().unwrap();
        assert!(text.starts_with("Cancelled by the operator."), "{text}");
        // Taken: not told once more.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(receiver.told().len(), 4);
        assert_eq!(targets(&world)[0]["last"]["delivered"], true);
        // What waits for a target that is taken out of the file is told to nobody, and that is not called told.
        receiver.answer(vec![Answer::Status(503); 50]);
        let job = world.rebuild("pve1");
        wait_for(&receiver, 5, &world.daemon);
        std::fs::write(&file, &before).unwrap();
        let said = "team was not told host.waiting: it is not in the configuration any more";
        world.daemon.wait_for_page(&format!("/jobs/{job}"), said);
        assert_shown_nowhere(&world.daemon);
    });
}
