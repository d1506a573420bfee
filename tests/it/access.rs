//! Who may use the real daemon, and what it keeps of what they did.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::join::lab::story;
use crate::support::daemon::{ADDRESS, Daemon};

/// One request over TCP; status and body.
fn over_tcp(method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {ADDRESS}\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn what_is_asked_of_the_daemon_is_in_its_audit_log_also_after_a_kill() {
    story(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path(), "");
        daemon
            .post("/api/accounts", &json!({ "name": "ann", "password": "planted-correct-horse" }));
        let made = daemon.post("/api/tokens", &json!({ "name": "script", "scope": "operate" }));
        let bearer = format!("authorization: Bearer {}\r\n", made["token"].as_str().unwrap());
        let host = json!({
            "hostname": "pve1", "macs": ["52:54:00:00:00:01"], "server_type": "lab",
            "answer": { "global": { "root-password": "planted-in-an-answer" } },
        });
        let (status, body) = over_tcp("POST", "/api/hosts", &bearer, &host.to_string());
        assert_eq!(status, 201, "{body}");
        daemon.kill_and_restart();
        let log = daemon.get("/api/audit");
        let newest = &log["entries"][0];
        assert_eq!(newest["who"], json!({ "kind": "token", "name": "script" }));
        assert_eq!(
            (&newest["address"], &newest["action"]),
            (&json!(ADDRESS), &json!("POST /api/hosts"))
        );
        assert_eq!(newest["changes"][0]["subject"], "host pve1");
        let first = &log["entries"][2];
        assert_eq!(first["who"], json!({ "kind": "socket", "name": "root" }));
        let told = log.to_string();
        assert!(!told.contains("planted") && !told.contains("argon2"), "{told}");
        // The token still works, and what it may not do it may not.
        assert_eq!(over_tcp("GET", "/api/hosts", &bearer, "").0, 200);
        assert_eq!(over_tcp("GET", "/api/audit", &bearer, "").0, 403);
        let id = made["id"].as_str().unwrap();
        assert_eq!(daemon.request("DELETE", &format!("/api/tokens/{id}"), None).status, 204);
        assert_eq!(over_tcp("GET", "/api/hosts", &bearer, "").0, 401);
    });
}
