//! The release daemon with a real configuration, reached over its control socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::place::{INTERFACE, Namespace, SERVER, SUBNET};
use super::program::Program;
use super::work::built;

/// How long anything may take before the part fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Daemon {
    pub dir: PathBuf,
    pub program: Program,
}

impl Daemon {
    /// Starts it with network boot on and its state below `dir`. `pxe` and `more` are added to its configuration.
    pub fn start(namespace: &Namespace, dir: &Path, pxe: &str, more: &str) -> anyhow::Result<Self> {
        let mut daemon = Self::start_unready(namespace, dir, pxe, more)?;
        daemon.wait_until_up()?;
        Ok(daemon)
    }

    /// The same without waiting until it answers.
    pub fn start_unready(
        namespace: &Namespace,
        dir: &Path,
        pxe: &str,
        more: &str,
    ) -> anyhow::Result<Self> {
        configure(dir, pxe, more)?;
        let program = spawn(namespace, dir)?;
        Ok(Self { dir: dir.to_owned(), program })
    }

    /// In full mode it listens for other DHCP servers for five seconds before it is up.
    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let log = self.dir.join("daemon.log");
        let is_up = || fs::read_to_string(&log).unwrap_or_default().contains("ironhatch is up");
        self.program.wait_until(is_up).context("ironhatch")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("data/control.sock")
    }

    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request("GET", path, &Value::Null)
    }

    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request("POST", path, body)
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        anyhow::ensure!(status.starts_with('2'), "{method} {path}: {status} {body}");
        Ok(serde_json::from_str(body).unwrap_or(Value::String(body.into())))
    }

    /// Imports an installer ISO.
    pub fn import(&self, iso: &Path) -> anyhow::Result<()> {
        let job = self.post("/api/images", &json!({ "source": iso }))?;
        let job = job["job"].as_str().context("the import's job")?.to_owned();
        self.wait_for(&format!("/api/jobs/{job}"), "status", "succeeded")
    }

    /// Registers a host; returns its id.
    pub fn register(&self, name: &str, mac: &str) -> anyhow::Result<String> {
        let host = json!({ "hostname": name, "macs": [mac], "server_type": "lab" });
        let host = self.post("/api/hosts", &host)?;
        Ok(host["id"].as_str().context("the host's id")?.to_owned())
    }

    /// Asks for a rebuild.
    pub fn rebuild(&self, name: &str) -> anyhow::Result<Value> {
        self.post(&format!("/api/hosts/{name}/rebuild"), &json!({ "confirm": name }))
    }

    pub fn wait_for_state(&self, host: &str, state: &str) -> anyhow::Result<()> {
        self.wait_for(&format!("/api/hosts/{host}"), "state", state)
    }

    /// Registers hosts `NAME1`… with these MACs and arms them all.
    pub fn arm(&self, name: &str, macs: &[String]) -> anyhow::Result<()> {
        for (n, mac) in macs.iter().enumerate() {
            self.register(&format!("{name}{n}"), mac)?;
            self.rebuild(&format!("{name}{n}"))?;
        }
        for n in 0..macs.len() {
            self.wait_for_state(&format!("{name}{n}"), "pxe_ready")?;
        }
        Ok(())
    }

    fn wait_for(&self, path: &str, field: &str, wanted: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let value = self.get(path)?;
            if value[field] == wanted {
                return Ok(());
            }
            let ended = value[field] == "failed" || begun.elapsed() > PATIENCE;
            anyhow::ensure!(!ended, "{path} is not {wanted}: {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn configure(dir: &Path, pxe: &str, more: &str) -> anyhow::Result<()> {
    fs::create_dir_all(dir.join("server-types"))?;
    let config = format!(
        "data_dir = \"{dir}/data\"\n[server]\nlisten = \"{SERVER}:8080\"\npublic_url = \"http://{SERVER}:8080\"\n\
         [pxe]\nenabled = true\ninterface = \"{INTERFACE}\"\nsubnet = \"{SUBNET}\"\n{pxe}\n{more}",
        dir = dir.display()
    );
    fs::write(dir.join("ironhatch.toml"), config)?;
    let lab = "display_name = \"Lab machine\"\nboot_disk = { property = \"ID_SERIAL_SHORT\", value = \"DISK1\" }\n\
               hostname_prefix = \"pve\"\nanswer_template = \"ext4-lvm\"\ndomain = \"lab.test\"\n";
    fs::write(dir.join("server-types/lab.toml"), lab)?;
    Ok(())
}

fn spawn(namespace: &Namespace, dir: &Path) -> anyhow::Result<Program> {
    let log = dir.join("daemon.log");
    // What an earlier start wrote would pass for this one's.
    fs::write(&log, "")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(built()?.join("ironhatch"));
    command.arg("--config").arg(dir.join("ironhatch.toml")).arg("serve");
    Program::start(namespace, command, &log)
}

/// A small installer ISO with the vendor's layout, padded to at least `size` bytes.
pub fn iso(dir: &Path, size: u64) -> anyhow::Result<PathBuf> {
    let tree = dir.join("iso-tree");
    fs::create_dir_all(tree.join("boot"))?;
    let info = "PRODUCT='pve'\nPRODUCTLONG='Proxmox VE'\nRELEASE='9.2'\nISORELEASE='1'\nISONAME='proxmox-pve'\n";
    fs::write(tree.join(".cd-info"), info)?;
    fs::write(tree.join("auto-installer-capable"), "")?;
    fs::write(tree.join("boot/linux26"), vec![0x4B; 70_001])?;
    fs::write(tree.join("boot/initrd.img"), vec![0x49; 90_001])?;
    let mut filler = fs::File::create(tree.join("pve-base.squashfs"))?;
    let mut block: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
    for n in 0..size.div_ceil(1 << 20) {
        // Every block is another one, so that a wrong offset shows.
        block[..8].copy_from_slice(&n.to_be_bytes());
        filler.write_all(&block)?;
    }
    let iso = dir.join("proxmox-ve_9.2-1.iso");
    let done = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-iso-level", "3", "-R", "-V", "PVE", "-o"])
        .arg(&iso)
        .arg(&tree)
        .output()
        .context("xorriso")?;
    anyhow::ensure!(done.status.success(), "xorriso: {}", String::from_utf8_lossy(&done.stderr));
    fs::remove_dir_all(&tree)?;
    Ok(iso)
}
