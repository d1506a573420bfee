//! Who may use the real daemon, and what it keeps of what they did.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::join::lab::story;
use crate::support::appliance::ADDRESS;
use crate::support::daemon::Daemon;
use crate::support::machine::http;

#[test]
fn what_is_asked_of_the_daemon_is_in_its_audit_log_also_after_a_kill() {
    story(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path(), "");
        let ann = json!({ "name": "ann", "password": "planted-correct-horse" });
        daemon.post("/api/accounts", &ann);
        let made = daemon.post("/api/tokens", &json!({ "name": "script", "scope": "operate" }));
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        let bearer = [("authorization", bearer.as_str())];
        let host = json!({
            "hostname": "pve1", "macs": ["52:54:00:00:00:01"], "server_type": "lab",
            "answer": { "global": { "root-password": "planted-in-an-answer" } },
        });
        let reply = http("POST", "/api/hosts", &bearer, host.to_string().as_bytes());
        assert_eq!(reply.status, 201, "{}", reply.text());
        daemon.kill_and_restart();
        let log = daemon.get("/api/audit");
        let newest = &log["entries"][0];
        assert_eq!(newest["who"], json!({ "kind": "token", "name": "script" }));
        assert_eq!(
            (&newest["address"], &newest["action"]),
            (&json!(ADDRESS), &json!("POST /api/hosts"))
        );
        let subjects = newest["changes"].as_array().unwrap().iter().map(|c| &c["subject"]);
        assert!(subjects.collect::<Vec<&Value>>().contains(&&json!("host pve1")), "{newest}");
        let first = &log["entries"][2];
        assert_eq!(first["who"], json!({ "kind": "socket", "name": "root" }));
        let told = log.to_string();
        assert!(!told.contains("planted") && !told.contains("argon2"), "{told}");
        // The token still works, and what it may not do it may not.
        assert_eq!(http("GET", "/api/hosts", &bearer, b"").status, 200);
        assert_eq!(http("GET", "/api/audit", &bearer, b"").status, 403);
        let path = format!("/api/tokens/{}", made["id"].as_str().unwrap());
        assert_eq!(daemon.request("DELETE", &path, None).status, 204);
        assert_eq!(http("GET", "/api/hosts", &bearer, b"").status, 401);
    });
}

/// One `GET` from this address with these headers.
fn get_from(from: &str, path: &str, headers: &str) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{from}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&format!("{ADDRESS}:8080").parse::<SocketAddr>().unwrap().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_word_of_a_proxy_counts_from_its_address_and_from_nowhere_else() {
    story(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let server = "trusted_header = \"X-Forwarded-User\"\ntrusted_proxies = [\"192.0.2.12\"]\n";
        let daemon = Daemon::start_serving(dir.path(), server);
        daemon.post("/api/accounts", &json!({ "name": "ann" }));
        let claim = "x-forwarded-user: ann\r\nx-forwarded-for: 198.51.100.1\r\n";
        let proxy = get_from("192.0.2.12", "/api/session", claim);
        assert!(proxy.starts_with("HTTP/1.1 200") && proxy.contains("csrf"), "{proxy}");
        let stranger = get_from("192.0.2.13", "/api/session", claim);
        assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
        let unnamed = get_from("192.0.2.12", "/", "");
        assert!(unnamed.contains("/login"), "{unnamed}");
    });
}

/// A token with this scope, made on the appliance.
fn token(daemon: &Daemon, scope: &str) -> String {
    let made = daemon.post("/api/tokens", &json!({ "name": scope, "scope": scope }));
    made["token"].as_str().unwrap().to_owned()
}

fn jobs(daemon: &Daemon) -> usize {
    daemon.get("/api/jobs")["jobs"].as_array().unwrap().len()
}

#[test]
fn a_key_starts_its_work_once_whatever_comes_between() {
    story(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path(), "");
        let tokens: Vec<String> = [1, 2].iter().map(|_| token(&daemon, "operate")).collect();
        let import = |token: &str, key: &str, source: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
            let body = json!({ "source": source }).to_string();
            let reply = http("POST", "/api/images", &headers, body.as_bytes());
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            (reply.status, body["job"].as_str().unwrap_or_default().to_owned())
        };
        // Many at once: one begins, the others get the same job or are told to ask again.
        let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..8).map(|_| scope.spawn(|| import(&tokens[0], "k1", "/srv/none.iso"))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (status, first) = import(&tokens[0], "k1", "/srv/none.iso");
        assert_eq!(status, 202);
        for (status, job) in answers {
            assert!(status == 409 || (status, &job) == (202, &first), "{status} {job}");
        }
        assert_eq!(jobs(&daemon), 1);
        daemon.kill_and_restart();
        assert_eq!(import(&tokens[0], "k1", "/srv/none.iso"), (202, first.clone()));
        assert_eq!(import(&tokens[0], "k1", "/srv/other.iso"), (422, first.clone()));
        assert_eq!(import(&tokens[0], "not one word", "/srv/none.iso").0, 400);
        assert_eq!(jobs(&daemon), 1);
        // Another key is other work, and so is another program's key of the same name.
        let (_, second) = import(&tokens[0], "k2", "/srv/second.iso");
        let (_, third) = import(&tokens[1], "k1", "/srv/third.iso");
        assert!(second != first && third != first && second != third);
        assert_eq!(jobs(&daemon), 3);
        // What was refused was not begun.
        assert_eq!(import(&tokens[0], "k3", "").0, 422);
        assert_eq!(import(&tokens[0], "k3", "/srv/fourth.iso").0, 202);
    });
}

/// The example of this language in `docs/api.md`.
fn example(language: &str) -> String {
    let text = include_str!("../../docs/api.md");
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```\n").unwrap().0.to_owned()
}

fn run(program: &str, script: &Path, token: &str, arguments: &[&str]) -> (bool, String) {
    let ended = Command::new(program)
        .arg(script)
        .args(arguments)
        .env("IRONHATCH_URL", format!("http://{ADDRESS}:8080"))
        .env("IRONHATCH_TOKEN", token)
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    (ended.status.success(), told.into_owned())
}

#[test]
fn the_examples_of_the_documentation_work_as_they_are_printed() {
    story(async |_| {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), "");
        let shell = dir.path().join("import.sh");
        std::fs::write(&shell, example("sh")).unwrap();
        let iso = crate::support::machine::iso(dir.path());
        let operate = token(&daemon, "operate");
        for _ in 0..2 {
            let (is_done, told) = run("sh", &shell, &operate, &[iso.to_str().unwrap()]);
            assert!(is_done && told.contains("succeeded"), "{told}");
        }
        assert_eq!(jobs(&daemon), 1, "imported once");
        let python = dir.path().join("hosts.py");
        std::fs::write(&python, example("python")).unwrap();
        for n in 1..=3 {
            let mac = format!("52:54:00:00:00:0{n}");
            let host =
                json!({ "hostname": format!("pve{n}"), "macs": [mac], "server_type": "lab" });
            daemon.post("/api/hosts", &host);
        }
        let (is_done, told) = run("python3", &python, &token(&daemon, "read"), &[]);
        assert!(is_done, "{told}");
        let mut lines: Vec<&str> = told.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["pve1 registered", "pve2 registered", "pve3 registered"]);
        let (is_done, told) = run("python3", &python, "nonsense", &[]);
        assert!(!is_done && told.contains("The token is not known"), "{told}");
    });
}
