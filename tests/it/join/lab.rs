//! Nodes for join tests: each one an OpenSSH server in its own mount, process and host name namespaces with its own `/etc`,
//! `/root`, `/run` and `/var/lib`, all in one private network namespace. Nothing of the real machine is touched.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ironhatch::domain::event::Level;
use ironhatch::node::{
    EphemeralKey, Join, JoinContext, JoinError, JoinLimits, JoinLog, StepOutcome, Target,
};
use ironhatch::plan::join::JoinStep;

/// Runs a story on a thread of its own that has its own network, with addresses 192.0.2.10 to 192.0.2.29.
pub(crate) fn story(body: impl AsyncFnOnce(Lab) + Send + 'static) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "join tests start sshd in namespaces: run them as root"
    );
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        run("ip", &["link", "set", "lo", "up"]);
        for last in 10..30 {
            run("ip", &["address", "add", &format!("192.0.2.{last}/32"), "dev", "lo"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body(Lab::new()));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// A machine with sshd and the stand-in for the cluster commands.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) key: EphemeralKey,
    dir: PathBuf,
    process: Child,
}

impl Lab {
    fn new() -> Self {
        // Not in /run or /root: the nodes see their own ones there.
        Self { dir: tempfile::Builder::new().prefix("join-").tempdir_in("/tmp").unwrap() }
    }

    /// A freshly installed node that booted once, with a new ephemeral key in its authorized_keys.
    pub(crate) fn fresh(&self, name: &str, last: u8) -> Node {
        self.fresh_with(name, last, "")
    }

    /// A freshly installed node that booted once, with the key that its answer carried.
    pub(crate) fn installed(&self, name: &str, last: u8, authorized_key: &str) -> Node {
        let node = self.fresh_with(name, last, "");
        node.sh(&format!(
            "echo '{authorized_key}' > /run/k; cat /run/k > /root/.ssh/authorized_keys; rm /run/k"
        ));
        node
    }

    /// The same with knobs of the stand-in (shell assignments, one per line).
    pub(crate) fn fresh_with(&self, name: &str, last: u8, knobs: &str) -> Node {
        let machine = fs::read_dir(self.dir.path()).unwrap().count();
        let dir = self.dir.path().join(format!("{name}-{machine}"));
        let address: IpAddr = format!("192.0.2.{last}").parse().unwrap();
        let key =
            EphemeralKey::generate(&mut rand::rng(), &format!("ironhatch rebuild {name}")).unwrap();
        let etc = dir.join("etc");
        for sub in ["etc/ssh", "etc/default", "root/.ssh", "run/sshd", "var", "sbin"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(dir.join(path), text).unwrap();
        write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
        );
        write("etc/shadow", "root:*:19000:0:99999:7:::\n");
        write("etc/group", "root:x:0:\nnogroup:x:65534:\n");
        write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        write("etc/hosts", &format!("127.0.0.1 localhost\n{address} {name}.lab.test {name}\n"));
        write("etc/hostname", &format!("{name}\n"));
        write("root/.ssh/authorized_keys", &format!("{}\n", key.public_line()));
        write(
            "etc/ssh/sshd_config",
            &format!(
                "ListenAddress {address}\nPidFile none\nUsePAM no\nPasswordAuthentication no\n\
                 PermitRootLogin yes\nMaxStartups 100\nLogLevel VERBOSE\nUseDNS no\n"
            ),
        );
        let shared = self.dir.path().join("shared");
        write(
            "etc/default/pvecm-double",
            &format!("PVECM_SHARED={}\nPVECM_DELAY=0.3\n{knobs}\n", shared.display()),
        );
        for tree in ["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"] {
            let from = Path::new("/etc").join(tree);
            if from.exists() {
                run("cp", &["-a", from.to_str().unwrap(), etc.to_str().unwrap()]);
            }
        }
        for kind in ["ed25519", "rsa"] {
            let file = etc.join(format!("ssh/ssh_host_{kind}_key"));
            let file = file.to_str().unwrap();
            run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", "host", "-f", file]);
        }
        let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/pvecm");
        for command in ["pvecm", "pvesh", "pveversion", "systemctl", "systemd-run"] {
            fs::copy(&double, dir.join("sbin").join(command)).unwrap();
        }
        let process = start(name, &dir);
        let node = Node { name: name.to_owned(), address, key, dir, process };
        node.wait_for_sshd();
        node
    }

    /// A cluster of one node, made without the code under test, that a lasting key opens.
    pub(crate) fn cluster(&self, name: &str, last: u8) -> Node {
        let node = self.fresh(name, last);
        let done =
            node.sh(&format!("cd /; pvecm create lab --link0 {} && pvecm status", node.address));
        assert!(done.contains("Quorate:          Yes"), "{done}");
        node
    }
}

fn start(name: &str, dir: &Path) -> Child {
    let script = format!(
        "hostname {name} && cd {dir} && for d in etc root run; do mount --bind $d /$d || exit 1; done; \
         mount --bind var /var/lib && mount --bind sbin /usr/local/sbin && cd / && pvecm _double boot && \
         exec /usr/sbin/sshd -D -e",
        dir = dir.display()
    );
    let log = fs::File::create(dir.join("sshd.log")).unwrap();
    Command::new("unshare")
        .args(["-mpu", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("unshare")
}

impl Node {
    /// Its root directory as it sees it itself, `/etc/pve` mounted.
    pub(crate) fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.process.id()).into()
    }

    /// Runs a shell command inside the node and returns its standard output.
    pub(crate) fn sh(&self, command: &str) -> String {
        let unshare = self.process.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        let inside = children.unwrap().trim().to_owned();
        let output = Command::new("nsenter")
            .args(["-t", &inside, "-m", "-p", "-u", "sh", "-c", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    fn wait_for_sshd(&self) {
        let begun = Instant::now();
        while std::net::TcpStream::connect((self.address, 22)).is_err() {
            let log = fs::read_to_string(self.dir.join("sshd.log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "sshd of {} is not up: {log}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The node's SSH host keys, as the installer reports them.
    pub(crate) fn host_keys(&self) -> Vec<String> {
        ["ed25519", "rsa"]
            .into_iter()
            .map(|kind| {
                let file = self.dir.join(format!("etc/ssh/ssh_host_{kind}_key.pub"));
                let line = fs::read_to_string(file).unwrap();
                line.split(' ').take(2).collect::<Vec<_>>().join(" ")
            })
            .collect()
    }

    /// The node as an SSH target with its host keys pinned.
    pub(crate) fn target(&self) -> Target {
        let pinned = fs::read_to_string(self.dir.join("etc/ssh/ssh_host_ed25519_key.pub")).unwrap();
        Target {
            address: SocketAddr::new(self.address, 22),
            user: "root".to_owned(),
            host_keys: vec![pinned.trim().to_owned()],
        }
    }

    /// A context for joining this node through `member`, whose own ephemeral key serves as the key that opens it.
    pub(crate) fn joining(&self, member: &Self) -> JoinContext {
        JoinContext {
            member: Some(member.target()),
            member_key: Some(member.key.clone()),
            ..self.founding()
        }
    }

    /// A context for founding a cluster on this node.
    pub(crate) fn founding(&self) -> JoinContext {
        JoinContext {
            node: self.target(),
            name: self.name.parse().unwrap(),
            address: self.address,
            member: None,
            ephemeral: self.key.clone(),
            member_key: None,
            lasting_key: None,
            cluster_name: "lab".to_owned(),
            replace_node: false,
            join_started: false,
            others: Vec::new(),
        }
    }

    /// Files of the node in which the base64 body of its ephemeral key occurs, the whole disk of the node searched.
    pub(crate) fn files_with_key(&self, key: &EphemeralKey) -> String {
        self.sh(&format!(
            "grep -rlF -- '{}' /root /etc /run /var/lib 2>/dev/null; ls /var/lib/pve-cluster/backup/* 2>/dev/null",
            key.public_body()
        ))
    }

    /// The node dies: its sshd and everything on it.
    pub(crate) fn power_off(mut self, seen_by: &Self) {
        self.stop();
        seen_by.sh(&format!("pvecm _double offline {}", self.name));
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Records what the join told.
#[derive(Default)]
pub(crate) struct Story(Mutex<Vec<String>>);

impl Story {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl JoinLog for Story {
    fn started(&self, step: JoinStep) {
        self.push(format!("{} begins", step.as_str()));
    }
    fn line(&self, step: JoinStep, level: Level, message: &str) {
        self.push(format!("{} {level:?} {message}", step.as_str()));
    }
    fn finished(&self, step: JoinStep, detail: &str) {
        self.push(format!("{} done: {detail}", step.as_str()));
    }
}

pub(crate) fn limits() -> JoinLimits {
    JoinLimits {
        connect: Duration::from_secs(10),
        reconnect: Duration::from_secs(20),
        backoff: Duration::from_millis(50),
        refused: Duration::ZERO,
        poll: Duration::from_millis(100),
        join: Duration::from_secs(60),
        settle: Duration::from_secs(20),
    }
}

/// Runs the steps from `from` to the end as the job engine does.
pub(crate) async fn drive(
    join: &mut Join,
    steps: &[JoinStep],
    log: &Story,
) -> Result<(), JoinError> {
    let mut wanted = None;
    for step in steps {
        if wanted.is_some_and(|w| w != *step) {
            continue;
        }
        wanted = None;
        if *step == JoinStep::Add {
            join.mark_started();
        }
        if let StepOutcome::GoTo { step, .. } = join.run_step(*step, log).await? {
            wanted = Some(step);
        }
    }
    Ok(())
}

/// A whole join from the beginning.
pub(crate) async fn whole(context: JoinContext, log: &Story) -> Result<(), JoinError> {
    let steps = context.kind().steps();
    drive(&mut Join::new(context, limits()), steps, log).await
}
