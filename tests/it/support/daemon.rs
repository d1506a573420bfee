//! The real daemon as a child process, reached over its control socket.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::described::{Described, Seen};
use super::appliance::configure;

#[path = "../../../src/web/test/described.rs"]
#[allow(dead_code)] // the router's own tests ask it for more
mod described;

/// What the API's document says of answers: the same for every daemon.
static DESCRIBED: OnceLock<Described> = OnceLock::new();

/// How long anything may take before the story fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long something may take that happens within a second on an idle machine.
const SOON: Duration = Duration::from_secs(15);

pub(crate) struct Daemon {
    dir: PathBuf,
    process: Child,
}

/// An answer of the control socket.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Daemon {
    /// Starts the daemon with its state below `dir` and without network boot; `more` is added to its configuration.
    pub(crate) fn start(dir: &Path, more: &str) -> Self {
        Self::start_with(dir, "enabled = false\n", more)
    }

    /// The same with more keys for `[server]`.
    pub(crate) fn start_serving(dir: &Path, server: &str) -> Self {
        configure(dir, "enabled = false\n", "");
        let file = dir.join("ironhatch.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("[pxe]", &format!("{server}[pxe]"))).unwrap();
        Self::start_configured(dir)
    }

    /// The same with the keys of `[pxe]`.
    pub(crate) fn start_with(dir: &Path, pxe: &str, more: &str) -> Self {
        configure(dir, pxe, more);
        Self::start_configured(dir)
    }

    /// Starts the daemon with the configuration that is there.
    pub(crate) fn start_configured(dir: &Path) -> Self {
        let mut daemon = Self { dir: dir.to_owned(), process: spawn(dir) };
        daemon.wait_for_socket();
        daemon
    }

    /// SIGKILL, as a power cut would be for the process, and a start on what is on the disk.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.dir);
        self.wait_for_socket();
    }

    /// What the daemon takes for the time is so much later than it is.
    pub(crate) fn set_clock_ahead(&self, by: Duration) {
        // In one step: the file is read at any moment.
        let (new, file) = (self.dir.join("clock.new"), self.dir.join("clock"));
        fs::write(&new, by.as_millis().to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("the daemon runs");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// SIGTERM; the exit status tells whether everything ended in order.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap()
    }

    fn wait_for_socket(&mut self) {
        let begun = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon did not start: {ended:?}\n{}", self.log());
            assert!(begun.elapsed() < PATIENCE, "the daemon does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("data/control.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// The link that sets the operator's password, as the log shows it at the first start.
    pub(crate) fn setup_link(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("password once at ").unwrap_or_else(|| panic!("{log}"));
        rest.lines().next().unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        answer.body
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.request("POST", path, Some(body));
        assert!(answer.status < 300, "POST {path}: {answer:?}");
        answer.body
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_request(method, path, body).unwrap_or_else(|| {
            panic!("no answer to {method} {path}; the daemon's log:\n{}", self.log())
        })
    }

    /// The same; `None` when no answer comes, because the daemon is gone. What comes must be what the API's document says.
    pub(crate) fn try_request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        if DESCRIBED.get().is_none() {
            let (_, document) = self.exchange("GET", "/api/openapi.json", None)?;
            // Cut off when the daemon is killed meanwhile.
            let document: Value = serde_json::from_str(&document).ok()?;
            DESCRIBED.get_or_init(|| Described::new(&document));
        }
        let (head, text) = self.exchange(method, path, body)?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match serde_json::from_str(&text) {
            Ok(body) => {
                let headers = head.lines().filter_map(|line| line.split_once(": "));
                let mut kinds = headers.filter(|(n, _)| n.eq_ignore_ascii_case("content-type"));
                let content_type = kinds.next().map_or("", |(_, kind)| kind);
                let path = path.split('?').next().unwrap();
                let seen = Seen { method, path, status, content_type, body: &text };
                DESCRIBED.get().unwrap().check(&seen);
                body
            }
            Err(_) => Value::String(text),
        };
        Some(Answer { status, body })
    }

    /// Head and body of what comes back.
    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(String, String)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        // In one write: what the server has not read when it closes would reset the connection under its answer.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        // The answer counts, not how the connection ends after it.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    /// A page's HTML.
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.request("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        match answer.body {
            Value::String(html) => html,
            other => other.to_string(),
        }
    }

    /// Waits until a page contains this text.
    pub(crate) fn wait_for_page(&self, path: &str, text: &str) {
        let begun = Instant::now();
        loop {
            let page = self.page(path);
            if page.contains(text) {
                return;
            }
            assert!(begun.elapsed() < SOON, "{path} never told '{text}':\n{page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All events from the first to the one whose message contains `last`.
    pub(crate) fn events_to(&self, last: &str) -> Vec<Value> {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        (&stream).write_all(b"GET /events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut events = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap_or_else(|e| panic!("no event told '{last}' ({e}): {events:#?}"));
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).unwrap();
            let ended = event["message"].as_str().unwrap().contains(last);
            events.push(event);
            if ended {
                break;
            }
        }
        events
    }

    /// Waits until the host is in this state.
    pub(crate) fn wait_for_state(&self, host: &str, state: &str) -> Value {
        self.wait_for(&format!("/api/hosts/{host}"), state, |value| {
            let now = value["state"].as_str().unwrap_or_default();
            // A host that failed before is armed again by a new job.
            let is_over = now == "failed" && value["job"].is_null();
            assert!(!is_over || state == "failed", "{value:#}\n{}", self.log());
            now == state
        })
    }

    /// Waits until the job has this status.
    pub(crate) fn wait_for_job(&self, job: &str, status: &str) -> Value {
        self.wait_for(&format!("/api/jobs/{job}"), status, |value| value["status"] == status)
    }

    fn wait_for(&self, path: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.get(path);
            if done(&value) {
                return value;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{path} never became {what}: {value:#}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path) -> Child {
    let log =
        fs::OpenOptions::new().create(true).append(true).open(dir.join("daemon.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironhatch"));
    // The machine's CA store, for stories whose servers have certificates.
    let store = dir.join("ca.pem");
    if store.exists() {
        command.env("SSL_CERT_FILE", store).env_remove("SSL_CERT_DIR");
    }
    command
        .arg("--config")
        .arg(dir.join("ironhatch.toml"))
        .arg("serve")
        .env(ironhatch::fakes::clock::FILE, dir.join("clock"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
