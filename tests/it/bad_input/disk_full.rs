//! The disk fills up under the daemon. What was acknowledged stays, what was refused is not there, and it works again once
//! there is room. The data directory is a small file system of its own, in a mount namespace of the test's thread.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::support::daemon::Daemon;
use crate::support::machine::{self, Machine};

const SERVER: &str = "192.0.2.20";

struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn of(size: &str) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let dir = tempfile::Builder::new().prefix("full-").tempdir_in("/tmp").unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let data = data.to_str().unwrap();
        let size = format!("size={size}");
        for arguments in
            [&["--make-rprivate", "/"][..], &["-t", "tmpfs", "-o", &size, "ironhatch-test", data]]
        {
            let done = Command::new("mount").args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("data/filler")
    }

    /// Takes the last byte.
    fn fill(&self) {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0x5A; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.path().join("data")).status();
    }
}

fn host(daemon: &Daemon, n: u8) -> u16 {
    let body = json!({ "hostname": format!("pve{n}"), "macs": [Machine::new(n).mac], "server_type": "lab" });
    let answer = daemon.request("POST", "/api/hosts", Some(&body));
    if answer.status >= 300 {
        let text = answer.body.to_string();
        assert_eq!(answer.status, 500, "{text}");
        assert!(text.contains("disk"), "the hint names the usual cause: {text}");
    }
    answer.status
}

fn names(daemon: &Daemon) -> Vec<String> {
    let hosts = daemon.get("/api/hosts");
    let hosts = hosts["hosts"].as_array().unwrap().iter();
    let mut names: Vec<String> =
        hosts.map(|h| h["hostname"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Registers hosts until one is refused, and a few more; returns those that were acknowledged.
fn register_until_full(daemon: &Daemon, from: u8) -> Vec<String> {
    let mut taken = Vec::new();
    let mut refused = 0;
    for n in from..=250 {
        if host(daemon, n) < 300 {
            taken.push(format!("pve{n}"));
        } else {
            refused += 1;
        }
        if refused > 3 {
            return taken;
        }
    }
    panic!("the database never filled up");
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_and_keeps_nothing_that_was_refused() {
    in_namespace(async |_| {
        let disk = SmallDisk::of("24m");
        let mut daemon = Daemon::start(disk.path(), "");
        let mut taken = vec!["pve1".to_owned()];
        assert_eq!(host(&daemon, 1), 201);
        disk.fill();
        taken.extend(register_until_full(&daemon, 2));
        assert_eq!(daemon.get("/api/health")["status"], "ok");
        disk.free();
        assert_eq!(host(&daemon, 251), 201, "works again once there is room");
        taken.push("pve251".to_owned());
        taken.sort();
        assert_eq!(names(&daemon), taken);
        daemon.kill_and_restart();
        assert_eq!(names(&daemon), taken);
        // And with the power cut while it is full.
        disk.fill();
        let more = register_until_full(&daemon, 150);
        disk.free();
        daemon.kill_and_restart();
        taken.extend(more);
        taken.sort();
        taken.dedup();
        assert_eq!(names(&daemon), taken);
        assert!(daemon.terminate().success());
    });
}

/// A server that sends the first part of a file, and the rest when it is told to.
struct SlowServer {
    begun: mpsc::Receiver<()>,
    go_on: mpsc::Sender<Rest>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Send,
    Break,
}

impl SlowServer {
    fn serve(file: Vec<u8>, first: usize) -> Self {
        let listener = TcpListener::bind((SERVER, 80)).unwrap();
        let (tell, begun) = mpsc::channel();
        let (go_on, rest) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let length = file.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                if head.starts_with(b"HEAD") {
                    continue;
                }
                let _ = stream.write_all(&file[..first]);
                if tell.send(()).is_err() {
                    return;
                }
                // Without a word, the test is over.
                let Ok(rest) = rest.recv() else { return };
                if rest == Rest::Send {
                    let _ = stream.write_all(&file[first..]);
                }
            }
        });
        Self { begun, go_on }
    }
}

/// An installer of 24 MiB.
fn big_iso(dir: &Path) -> Vec<u8> {
    machine::iso(dir);
    fs::write(dir.join("iso-tree/filler"), vec![7; 24 << 20]).unwrap();
    fs::read(machine::iso_of(dir, "big.iso", "pve", "-R")).unwrap()
}

#[test]
fn an_import_that_fills_the_disk_fails_with_the_reason_and_can_be_repeated() {
    in_namespace(async |_| {
        let disk = SmallDisk::of("330m");
        let daemon = Daemon::start(disk.path(), "");
        let server = SlowServer::serve(big_iso(disk.path()), 4 << 20);
        let source = json!({ "source": format!("http://{SERVER}/proxmox-ve_9.2-1.iso") });
        let job = daemon.post("/api/images", &source)["job"].as_str().unwrap().to_owned();
        server.begun.recv().unwrap();
        disk.fill();
        server.go_on.send(Rest::Send).unwrap();
        let failed = daemon.wait_for_job(&job, "failed");
        let reason = failed["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("is full"), "{reason}");
        let left: Vec<_> = fs::read_dir(disk.path().join("data/images")).unwrap().collect();
        assert!(left.is_empty(), "the partial file is gone: {left:?}");
        // Not enough room is seen before anything is written.
        let again = daemon.post("/api/images", &source)["job"].as_str().unwrap().to_owned();
        let failed = daemon.wait_for_job(&again, "failed");
        assert!(failed["failure"]["reason"].as_str().unwrap().contains("free space"), "{failed:#}");
        disk.free();
        let again = daemon.post("/api/images", &source)["job"].as_str().unwrap().to_owned();
        server.begun.recv().unwrap();
        server.go_on.send(Rest::Send).unwrap();
        daemon.wait_for_job(&again, "succeeded");
    });
}

#[test]
fn a_job_that_meets_a_full_database_comes_to_its_end_once_there_is_room() {
    in_namespace(async |_| {
        let disk = SmallDisk::of("330m");
        let daemon = Daemon::start(disk.path(), "");
        let server = SlowServer::serve(big_iso(disk.path()), 0);
        let source = json!({ "source": format!("http://{SERVER}/proxmox-ve_9.2-1.iso") });
        let job = daemon.post("/api/images", &source)["job"].as_str().unwrap().to_owned();
        server.begun.recv().unwrap();
        // The driver has to write that the connection broke, and cannot: every byte that becomes free is taken.
        disk.fill();
        server.go_on.send(Rest::Break).unwrap();
        let begun = std::time::Instant::now();
        let mut n = 0u16;
        let is_over = |daemon: &Daemon| {
            let job = daemon.request("GET", &format!("/api/jobs/{job}"), None);
            job.body["status"] == "failed"
        };
        // It may find room for its last words in what its own part took.
        while !daemon.log().contains("a job waits for the database") && !is_over(&daemon) {
            let [a, b] = n.to_be_bytes();
            let body = json!({ "hostname": format!("pve{n}"), "macs": [format!("52:54:00:01:{a:02x}:{b:02x}")],
                "server_type": "lab" });
            daemon.request("POST", "/api/hosts", Some(&body));
            disk.fill();
            n += 1;
            if server.begun.try_recv().is_ok() {
                server.go_on.send(Rest::Break).unwrap();
            }
            assert!(begun.elapsed().as_secs() < 20, "the driver met no error:\n{}", daemon.log());
        }
        disk.free();
        let begun = std::time::Instant::now();
        loop {
            if server.begun.try_recv().is_ok() {
                let _ = server.go_on.send(Rest::Send);
            }
            let status = daemon.get(&format!("/api/jobs/{job}"))["status"].clone();
            if ["failed", "succeeded"].iter().any(|s| status == *s) {
                break;
            }
            assert!(
                begun.elapsed().as_secs() < 40,
                "the job is {status} for ever:\n{}",
                daemon.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
}
