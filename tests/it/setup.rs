//! `ironhatch setup` as somebody at a terminal meets it, beside a real DHCP server; and from a file of answers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::join::lab::story as in_namespace;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::wire::Wire;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE you@desk";
/// The question for DHCP servers alone takes 7 seconds where nobody answers.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ENTER: &str = "\r";

/// The command on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Receiver<Vec<u8>>,
    text: String,
    /// What was looked at already.
    seen: usize,
}

impl Terminal {
    pub(crate) fn start(dir: &Path) -> Self {
        let command = format!(
            "stty rows 60 cols 250; exec {} --config {}/ironhatch.toml setup",
            env!("CARGO_BIN_EXE_ironhatch"),
            dir.display()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
            .env("HOME", dir)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("SUDO_USER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script is installed");
        let keys = child.stdin.take().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, text: String::new(), seen: 0 }
    }

    /// Waits until a text is shown that was not looked at yet.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: &str) -> &mut Self {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                self.seen += at + wanted.len();
                return self;
            }
            assert!(begun.elapsed() < PATIENCE, "'{wanted}' never came:\n{}", self.text);
            if let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(200)) {
                self.text += &String::from_utf8_lossy(&bytes);
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
        self
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.text);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("setup-").tempdir_in("/tmp").unwrap();
    fs::create_dir(dir.path().join(".ssh")).unwrap();
    fs::write(dir.path().join(".ssh/id_ed25519.pub"), KEY).unwrap();
    dir
}

pub(crate) fn dnsmasq(wire: &Wire) -> Dnsmasq {
    let quick = &["--dhcp-range=198.51.100.50,198.51.100.60,1h", "--no-ping"];
    wire.inside(move || Dnsmasq::start("them0", quick))
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironhatch"))
        .arg("--config")
        .arg(dir.join("ironhatch.toml"))
        .args(arguments)
        .env("HOME", dir)
        .env_remove("SUDO_USER")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn somebody_at_a_terminal_leaves_it_takes_it_up_again_and_changes_nothing_the_third_time() {
    in_namespace(async |_| {
        let wire = Wire::plug();
        let _dnsmasq = dnsmasq(&wire);
        let dir = folder();
        let config = dir.path().join("ironhatch.toml");

        let mut terminal = Terminal::start(dir.path());
        terminal.until("On which interface").until("us0  198.51.100.10/24").press(ENTER);
        terminal
            .until("DHCP is served by 198.51.100.77")
            .until("How are they answered?")
            .press(ENTER);
        terminal.until("How do machines reach").until("http://198.51.100.10:8080");
        terminal.press("\u{15}").press("http://198.51.100.10:9090").press(ENTER);
        terminal.until("over HTTPS").press(ENTER);
        terminal.until("SSH keys that open").press("\u{3}");
        assert_ne!(terminal.end(), 0);
        assert!(!config.exists(), "something was written before it was agreed to");

        let mut terminal = Terminal::start(dir.path());
        terminal.until("On which interface").press(ENTER);
        terminal.until("How are they answered?").press(ENTER);
        terminal.until("How do machines reach").until("9090").press(ENTER);
        terminal.until("over HTTPS").press(ENTER);
        terminal.until("SSH keys that open").until("you@desk").press(ENTER);
        terminal.until("Another public key").press(ENTER);
        terminal.until("Root password").press(ENTER);
        terminal.until("Which cluster").press(ENTER);
        terminal.until("Its name").press(ENTER);
        terminal.until("first server type").press(ENTER);
        terminal.until("What they are").press(ENTER);
        terminal.until("may be erased").press(ENTER);
        terminal.until("Proxmox VE image").press(ENTER);
        terminal.until("+interface = \"us0\"").until("+boot_disk = \"per-host\"");
        terminal.until("Write this?").press(ENTER);
        terminal.until("wrote");
        assert_eq!(terminal.end(), 0);

        let text = fs::read_to_string(&config).unwrap();
        for line in [
            "public_url = \"http://198.51.100.10:9090\"",
            "subnet = \"198.51.100.0/24\"",
            "mode = \"proxy\"",
            "tls = \"auto\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.contains(KEY) && text.contains("# dashboard, API and machines"), "{text}");
        let checked = run(dir.path(), &["check", "--quiet"]);
        assert!(checked.status.success(), "{}", said(&checked));
        assert!(dir.path().join("server-types/small.toml").exists());
        assert!(!dir.path().join("ironhatch.setup-draft").exists());

        let mut terminal = Terminal::start(dir.path());
        terminal.until("On which interface").press(ENTER);
        terminal.until("How are they answered?").press(ENTER);
        terminal.until("How do machines reach").until("9090").press(ENTER);
        terminal.until("over HTTPS").press(ENTER);
        terminal.until("SSH keys that open").press(ENTER);
        terminal.until("Another public key").press(ENTER);
        terminal.until("Root password").press(ENTER);
        terminal.until("Which cluster").press(ENTER);
        terminal.until("Its name").press(ENTER);
        terminal.until("Proxmox VE image").press(ENTER);
        terminal.until("as they should be already");
        assert_eq!(terminal.end(), 0);
        assert_eq!(fs::read_to_string(&config).unwrap(), text);

        // Without the key and without a password nobody could log in on a node: is that meant?
        let mut terminal = Terminal::start(dir.path());
        terminal.until("On which interface").press(ENTER);
        terminal.until("How are they answered?").press(ENTER);
        terminal.until("How do machines reach").until("9090").press(ENTER);
        terminal.until("over HTTPS").press(ENTER);
        terminal.until("SSH keys that open").until("you@desk").press(" ").press(ENTER);
        terminal.until("Another public key").press(ENTER);
        terminal.until("Root password").press(ENTER);
        terminal.until("nobody but this appliance can log in").press("n");
        terminal.until("Root password").press("\u{3}");
        assert_ne!(terminal.end(), 0);
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
    });
}

#[test]
fn answers_from_a_file_are_completed_with_what_is_found() {
    in_namespace(async |_| {
        let _wire = Wire::plug();
        let dir = folder();
        let answers = dir.path().join("answers.toml");
        let secret = dir.path().join("root.password");
        fs::write(&secret, "planted root password\n").unwrap();
        fs::write(
            &answers,
            format!(
                "root_password = \"file:{}\"\nserver_type = {{ name = \"small\", disks = [\"nvme0n1\"] }}\ncluster_name = \"home\"\n",
                secret.display()
            ),
        )
        .unwrap();
        let given = ["setup", "--answers", answers.to_str().unwrap()];
        let dry = run(dir.path(), &[given[0], given[1], given[2], "--dry-run"]);
        assert!(dry.status.success(), "{}", said(&dry));
        assert!(!dir.path().join("ironhatch.toml").exists());
        let done = run(dir.path(), &given);
        assert!(done.status.success(), "{}", said(&done));
        let text = fs::read_to_string(dir.path().join("ironhatch.toml")).unwrap();
        // Nobody else lends addresses there.
        for line in
            ["mode = \"full\"", "pool = \"198.51.100.128-198.51.100.227\"", "interface = \"us0\""]
        {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.contains("root_password_hash = \"$6$"), "{text}");
        let all = text.clone() + &said(&dry) + &said(&done);
        assert!(!all.contains("planted root password"), "{all}");
        assert!(
            !said(&done).contains("$6$") || said(&done).contains("$6$[redacted]"),
            "{}",
            said(&done)
        );
        let mode = fs::metadata(dir.path().join("ironhatch.toml")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o640);

        // What is missing or wrong is said, and nothing is written.
        for (answers_text, complaint) in [
            ("interface = \"eth9\"", "there is no interface eth9"),
            ("existing_node = \"192.0.2.99\"", "member_fingerprint"),
            ("pasword = \"x\"", "unknown field"),
            ("public_url = \"http://name.example\"", "public_url"),
            ("operator_password = \"short\"", "at least 10"),
        ] {
            fs::write(&answers, answers_text).unwrap();
            let refused = run(dir.path(), &given);
            assert!(!refused.status.success(), "{answers_text}");
            assert!(said(&refused).contains(complaint), "{answers_text}: {}", said(&refused));
            assert_eq!(fs::read_to_string(dir.path().join("ironhatch.toml")).unwrap(), text);
        }
        let without = run(dir.path(), &["setup"]);
        assert!(said(&without).contains("--answers"), "{}", said(&without));
    });
}

#[test]
fn a_member_of_the_cluster_is_asked_for_its_key_and_compared() {
    in_namespace(async |lab| {
        let node = lab.fresh("pve1", 21);
        let dir = folder();
        let answers = dir.path().join("answers.toml");
        let write = |fingerprint: &str| {
            let text = format!(
                "mode = \"off\"\npublic_url = \"http://192.0.2.10:8080\"\nexisting_node = \"{}\"\nmember_fingerprint = \"{fingerprint}\"\n",
                node.address
            );
            fs::write(&answers, text).unwrap();
            run(dir.path(), &["setup", "--answers", answers.to_str().unwrap()])
        };
        let wrong = write("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let text = said(&wrong);
        assert!(!wrong.status.success() && text.contains("nothing was written"), "{text}");
        let shown = text.split_whitespace().find(|w| w.starts_with("SHA256:")).unwrap();
        let right = write(shown.trim_end_matches([',', '.']));
        assert!(right.status.success(), "{}", said(&right));
        assert!(said(&right).contains("`ironhatch cluster key`"), "{}", said(&right));
        let config = fs::read_to_string(dir.path().join("ironhatch.toml")).unwrap();
        assert!(config.contains("member_host_key = \"ssh-ed25519 "), "{config}");
    });
}
