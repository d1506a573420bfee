//! Other services are told of a ready host: the Infrastructure registry and a webhook, again after they failed.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::heard::Heard;

/// A request that a receiver got.
#[derive(Debug, Clone)]
struct Told {
    path: String,
    bearer: Option<String>,
    key: String,
    body: Value,
}

/// A receiver that answers 503 to the first request of each path and 200 to the rest.
fn receiver() -> Arc<Mutex<Vec<Told>>> {
    let listener = TcpListener::bind("192.0.2.10:9000").unwrap();
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let notes = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let heard = Heard::read(&stream);
            let mut notes = notes.lock().unwrap();
            let is_first = !notes.iter().any(|t| t.path == heard.path);
            notes.push(Told {
                bearer: heard.header("authorization"),
                key: heard.header("idempotency-key").unwrap(),
                body: serde_json::from_slice(&heard.body).unwrap(),
                path: heard.path,
            });
            let status = if is_first { "503 Service Unavailable" } else { "200 OK" };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    told
}

#[test]
fn a_ready_host_is_registered_and_told_of_again_until_it_is_taken() {
    in_namespace(async |lab| {
        let told = receiver();
        let mut world = World::start(
            &lab,
            "[infrastructure]\nbase_url = \"http://192.0.2.10:9000/infra\"\nserver_type_map = { lab = \"compute-s\" }\n\
             [[webhook]]\nurl = \"http://192.0.2.10:9000/hook\"\nsecret = \"planted-webhook-secret\"\nevents = [\"host.ready\"]\n",
        );
        world.import_image();
        let _node = world.rebuild_to_ready("pve1", 11, |_, _| {});
        let begun = Instant::now();
        let of = |path: &str| -> Vec<Told> {
            told.lock().unwrap().iter().filter(|t| t.path == path).cloned().collect()
        };
        while of("/infra/api/hosts").len() < 2 || of("/hook").len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", told.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        let registered = &of("/infra/api/hosts")[1];
        assert_eq!(registered.body["hostname"], "pve1");
        assert_eq!(registered.body["server_type"], "compute-s");
        assert_eq!(registered.body["ip"], "192.0.2.11");
        let hook = of("/hook");
        assert_eq!(hook[1].bearer.as_deref(), Some("Bearer planted-webhook-secret"));
        assert_eq!(hook[1].body["event"], "host.ready");
        assert_eq!(hook[0].key, hook[1].key, "the receiver can tell a repeat");
        // Taken: not told a third time, and the job's log tells both.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!((of("/infra/api/hosts").len(), of("/hook").len()), (2, 2));
        let job = world.last_job("pve1");
        let log = world
            .daemon
            .get(&format!("/api/jobs/{}/logs", job["id"].as_str().unwrap()))
            .to_string();
        assert!(
            log.contains("was not told host.ready") && log.contains("was told host.ready"),
            "{log}"
        );
        assert!(!log.contains("planted") && !world.daemon.log().contains("planted"));
    });
}
