//! Who may use the real daemon, and what it keeps of what they did.

use serde_json::{Value, json};

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
