//! The real daemon as a child process that is struck again and again.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::UnixStream;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::http::{self, Reply};
use crate::place::Place;

/// How long a start, a stop or an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;
/// How far what the daemon shows may be from its clock: it may wait for a processor.
const CLOCK_TOLERANCE_MS: i64 = 3_600_000;

/// What happens to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// SIGKILL and a new start.
    Kill,
    /// SIGTERM, an orderly end, and a new start.
    Term,
    /// The wall clock jumps a day ahead or back, while it runs.
    Clock,
    /// The same while it is down after SIGKILL.
    ClockAndKill,
    /// SIGKILL; at the next start the data directory is read-only, and the start is refused.
    ReadOnly,
    /// Its disk is full for a moment, sometimes with SIGKILL in it.
    DiskFull,
    /// A second daemon is started on the same data directory, and refuses.
    Second,
}

impl Strike {
    pub(crate) const ALL: [Self; 7] = [
        Self::Kill,
        Self::Term,
        Self::Clock,
        Self::ClockAndKill,
        Self::ReadOnly,
        Self::DiskFull,
        Self::Second,
    ];
}

pub(crate) struct Daemon {
    place: Rc<Place>,
    child: RefCell<Option<Child>>,
    gate: tokio::sync::Mutex<()>,
    clock: Arc<Clock>,
    /// How often each strike was carried out, in the order of [`Strike::ALL`].
    pub(crate) strikes: RefCell<[usize; Strike::ALL.len()]>,
    /// What was seen that must not be.
    pub(crate) wrong: RefCell<Vec<String>>,
    /// Strikes that are on their way.
    planned: Cell<usize>,
}

impl Daemon {
    pub(crate) fn new(place: Rc<Place>) -> Self {
        Self {
            place,
            child: RefCell::new(None),
            gate: tokio::sync::Mutex::new(()),
            clock: Arc::default(),
            strikes: RefCell::default(),
            wrong: RefCell::default(),
            planned: Cell::new(0),
        }
    }

    pub(crate) fn complain(&self, text: String) {
        self.wrong.borrow_mut().push(text);
    }

    fn socket(&self) -> PathBuf {
        self.place.data().join("control.sock")
    }

    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.place.path().join("daemon.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.borrow().as_ref().map(Child::id)
    }

    /// Runs the program on the data directory of a daemon that is not running.
    ///
    /// # Errors
    /// What it said when it failed.
    pub(crate) fn offline(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.place.path().join("ironhatch.toml")).args(arguments);
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(said) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--config")
            .arg(self.place.path().join("ironhatch.toml"))
            .arg("serve")
            // A starved machine must not have one worker per core and per daemon.
            .env("TOKIO_WORKER_THREADS", "2")
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it answers. False: it ended instead.
    pub(crate) async fn start(&self) -> bool {
        let log = self.place.path().join("daemon.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = self.command();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.clock.spawn(&mut command).expect("the daemon under its own clock");
        *self.child.borrow_mut() = Some(child);
        let begun = Instant::now();
        loop {
            if UnixStream::connect(self.socket()).await.is_ok()
                && http::control(&self.socket(), "GET", "/api/health", None).await.is_some()
            {
                return true;
            }
            let ended = self.child.borrow_mut().as_mut().and_then(|c| c.try_wait().unwrap());
            if ended.is_some() || begun.elapsed() > PATIENCE {
                self.kill();
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn start_or_complain(&self) {
        if !self.start().await {
            self.complain(format!("the daemon does not start:\n{}", self.log_end()));
        }
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; complains when it does not end in order.
    pub(crate) async fn terminate(&self) {
        let Some(mut child) = self.child.borrow_mut().take() else { return };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        loop {
            match child.try_wait().unwrap() {
                Some(status) if status.success() => return,
                Some(status) => {
                    self.complain(format!(
                        "after SIGTERM it ended with {status}:\n{}",
                        self.log_end()
                    ));
                    return;
                }
                None if begun.elapsed() > PATIENCE => {
                    self.complain(format!("SIGTERM does not end it:\n{}", self.log_end()));
                    let _ = child.kill();
                    let _ = child.wait();
                    return;
                }
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Runs a start that must be refused; returns what was said.
    pub(crate) async fn refused_start(&self, what: &str) -> String {
        let mut child =
            self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                self.complain(format!("{what}: it started"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = child.kill();
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.code() != Some(1) || said.contains("panicked") {
            self.complain(format!("{what}: ended with {}: {said}", done.status));
        }
        said
    }

    fn step_clock(&self, ahead: bool) {
        let day = if ahead { DAY_MS } else { -DAY_MS };
        // Never more than a day from the truth: back and forth.
        self.clock.set_error_ms(if self.clock.error_ms() == 0 { day } else { 0 });
    }

    /// Complains when a daemon that was just started does not see the clock that it was given. Its answers tell; later they
    /// would not, because hyper keeps the date that it wrote when the clock goes back. A daemon that is gone tells nothing.
    async fn look_at_the_clock(&self) {
        let Some(reply) = self.ask("GET", "/api/health", None).await else { return };
        let now = jiff::Timestamp::now().as_millisecond() + self.clock.error_ms();
        if reply.date.is_none_or(|date| (date * 1000 - now).abs() > CLOCK_TOLERANCE_MS) {
            self.complain(format!("its clock shows {:?} s, not {} ms", reply.date, now));
        }
    }

    /// Carries a strike out after a while.
    pub(crate) fn strike_later(self: &Rc<Self>, strike: Strike, delay: Duration, mut dice: Dice) {
        self.planned.set(self.planned.get() + 1);
        let daemon = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            daemon.strike(strike, &mut dice).await;
            daemon.planned.set(daemon.planned.get() - 1);
        });
    }

    /// Waits until nothing is on its way any more.
    pub(crate) async fn quiet(&self) {
        while self.planned.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Carries a strike out, one at a time.
    pub(crate) async fn strike(&self, strike: Strike, dice: &mut Dice) {
        let _turn = self.gate.lock().await;
        let index = Strike::ALL.iter().position(|s| *s == strike).unwrap();
        self.strikes.borrow_mut()[index] += 1;
        match strike {
            Strike::Kill => {
                self.kill();
                self.start_or_complain().await;
            }
            Strike::Term => {
                self.terminate().await;
                self.start_or_complain().await;
            }
            Strike::Clock => self.step_clock(dice.percent(50)),
            Strike::ClockAndKill => {
                self.kill();
                self.step_clock(dice.percent(50));
                self.start_or_complain().await;
                self.look_at_the_clock().await;
            }
            Strike::ReadOnly => {
                self.kill();
                self.place.set_read_only(true);
                let said = self.refused_start("a read-only data directory").await;
                self.place.set_read_only(false);
                if !said.contains("ead-only") {
                    self.complain(format!("a read-only data directory is not named: {said}"));
                }
                self.start_or_complain().await;
            }
            Strike::DiskFull => {
                self.place.fill();
                tokio::time::sleep(dice.up_to(Duration::from_millis(400))).await;
                let killed = dice.percent(40);
                if killed {
                    self.kill();
                }
                self.place.free();
                if killed {
                    self.start_or_complain().await;
                }
            }
            Strike::Second => {
                let said = self.refused_start("a second daemon").await;
                if !said.contains("ironhatch.redb") {
                    self.complain(format!("a second daemon does not say why it refuses: {said}"));
                }
            }
        }
    }

    /// A request of the operator; `None` when no answer comes, because the daemon is gone.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Reply> {
        http::control(&self.socket(), method, path, body).await
    }

    /// Asks until an answer comes that is not an error of the daemon's disk.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(reply) = self.ask("GET", path, None).await
                && reply.status < 500
            {
                return reply.json();
            }
            if begun.elapsed() > PATIENCE {
                self.complain(format!("GET {path} is not answered:\n{}", self.log_end()));
                return Value::Null;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All events so far.
    pub(crate) async fn events(&self) -> Vec<Value> {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
        let marker = format!("marker-{:x}", rand::random::<u32>());
        let mac: [u8; 3] = rand::random();
        let body = serde_json::json!({ "hostname": marker, "server_type": "lab",
            "macs": [format!("52:54:01:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2])] });
        let _ = self.ask("POST", "/api/hosts", Some(&body)).await;
        let mut events = Vec::new();
        let reading = async {
            let Ok(stream) = UnixStream::connect(self.socket()).await else { return };
            let mut stream = BufReader::new(stream);
            let head = b"GET /events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let _ = stream.write_all(head).await;
            let mut lines = stream.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
                let is_last = event["message"].as_str().is_some_and(|m| m.contains(&marker));
                events.push(event);
                if is_last {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            self.complain("the event log does not come to its end".to_owned());
        }
        events
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program under test, which was built beside this one.
fn program() -> PathBuf {
    std::env::current_exe().expect("this program's place").with_file_name("ironhatch")
}
