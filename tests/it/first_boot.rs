//! The first-boot script, run by a real shell against a server on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;

use ironhatch::domain::secret::InstallToken;
use ironhatch::plan::script::{FirstBoot, ScriptUrl};

const HOST: &str = "018f0000-0000-7000-8000-000000000001";

struct Request {
    head: String,
    body: serde_json::Value,
}

/// Answers as many requests as there are statuses, and gives back what came.
fn appliance(statuses: Vec<&'static str>) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let answer = |status: &str| {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).expect("a head") > 0, "cut head: {head}");
            }
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .expect("a length");
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let reply =
                format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n");
            reader.into_inner().write_all(reply.as_bytes()).expect("sent");
            Request { head, body: serde_json::from_slice(&body).expect("JSON") }
        };
        statuses.into_iter().map(answer).collect()
    });
    (base, server)
}

fn install(folder: &Path, base: &str, token: Option<&InstallToken>) -> PathBuf {
    let base = ScriptUrl::parse(base).expect("a URL");
    let script = FirstBoot::new(base, HOST.parse().expect("an id"), token, None).render();
    let path = folder.join("proxmox-first-boot");
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("executable");
    path
}

fn run(script: &Path) -> Output {
    Command::new("sh").arg(script).arg("network-online").env_clear().output().expect("a shell")
}

#[test]
fn the_first_boot_script_reports_the_machine_and_removes_its_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, server) = appliance(vec!["500 Internal Server Error", "200 OK"]);
    let token = InstallToken::from_random([0xab; 16]);
    let script = install(folder.path(), &base, Some(&token));
    let output = run(&script);
    assert!(output.status.success(), "{output:?}");
    assert!(!script.exists(), "the file with the token is gone");

    let requests = server.join().expect("both requests came");
    for request in &requests {
        let first = request.head.lines().next().unwrap_or_default();
        assert_eq!(first, format!("POST /api/hosts/{HOST}/phone-home HTTP/1.1"));
        assert!(
            request.head.contains(&format!("Authorization: Bearer {}\r\n", token.reveal())),
            "{}",
            request.head
        );
    }
    let body = &requests[1].body;
    for key in ["address", "hostname", "machine_id", "uuid", "serial", "booted_from"] {
        assert!(body[key].is_string(), "{key}: {body}");
    }
    for key in ["macs", "ssh_host_keys"] {
        assert!(body[key].as_array().is_some_and(|a| a.iter().all(|v| v.is_string())), "{body}");
    }
    assert!(["efi", "bios"].contains(&body["booted_from"].as_str().expect("a string")), "{body}");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("readable");
    assert_eq!(body["hostname"], hostname.trim());
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).expect("text");
    assert!(!printed.contains(&token.reveal()), "the token is in the journal: {printed}");
}

#[test]
fn a_script_without_a_token_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = install(folder.path(), "http://127.0.0.1:9", None);
    let output = run(&script);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("IRONHATCH_TOKEN"), "{output:?}");
    assert!(script.exists());
}

#[test]
fn the_generated_scripts_are_valid_for_a_posix_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = install(folder.path(), "http://192.0.2.10:8080", None);
    let output = Command::new("sh").arg("-n").arg(&script).output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
}
