//! Who may use the real daemon, and what it keeps of what they did.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::join::lab::story;
use crate::support::daemon::{ADDRESS, Daemon};
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
