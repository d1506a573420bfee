//! A machine that boots, installs and calls back as the vendor's installer does on the wire, over plain HTTP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::appliance::ADDRESS;

pub(crate) struct Machine {
    pub(crate) mac: String,
    pub(crate) uuid: String,
    /// Where it finds the daemon.
    pub(crate) server: String,
}

/// What iPXE was told to load.
#[derive(Debug)]
pub(crate) struct InstallScript {
    pub(crate) text: String,
    pub(crate) base: String,
}

/// What the installer learned.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) answer: toml::Table,
    pub(crate) webhook: String,
    pub(crate) token: String,
}

/// A raw HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One HTTP request on a connection of its own, to a URL or a path of the daemon.
pub(crate) fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    try_http(method, url, headers, body).expect("an HTTP answer")
}

/// The same; `None` when no answer comes, because the daemon is gone.
pub(crate) fn try_http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    if url.starts_with("https://") {
        return Some(https(method, url, headers, body));
    }
    let own = format!("{ADDRESS}:8080");
    let (server, path) = match url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
        Some((server, path)) => (server, format!("/{path}")),
        None => (own.as_str(), url.to_owned()),
    };
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
    if method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    // A refusal may come before the whole body is sent.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let split = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Reply { status, body: bytes[split + 4..].to_vec() })
}

/// The same over TLS. What an installer pins is looked at in `with_tls_the_answer_and_the_call_back_travel_over_a_pinned_certificate`.
fn https(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut command = Command::new("curl");
    command.args(["--silent", "--insecure", "--noproxy", "*", "--max-time", "30"]);
    command.args(["--request", method, "--data-binary", "@-", "--write-out", "%{http_code}", url]);
    for (name, value) in headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    let mut curl = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need curl");
    // A refusal may come before the whole body is sent.
    let _ = curl.stdin.take().unwrap().write_all(body);
    let mut body = curl.wait_with_output().unwrap().stdout;
    let status = body.split_off(body.len().saturating_sub(3));
    let status = String::from_utf8_lossy(&status).parse().expect("a status");
    Reply { status, body }
}

impl Machine {
    pub(crate) fn new(n: u8) -> Self {
        Self {
            mac: format!("52:54:00:00:00:{n:02x}"),
            uuid: format!("4c4c4544-0042-3010-8054-b5c04f4e59{n:02x}"),
            server: format!("http://{ADDRESS}:8080"),
        }
    }

    /// iPXE asks what to boot.
    pub(crate) fn script(&self) -> Reply {
        let query = format!(
            "uuid={}&serial=S1&vendor=QEMU&product=Lab%20PC&memory=16384&platform=efi",
            self.uuid
        );
        let mac = self.mac.replace(':', "-");
        http("GET", &format!("{}/ipxe/{mac}?{query}", self.server), &[], b"")
    }

    /// Boots from the network: script, kernel, initrd, and the ISO with its mode file.
    pub(crate) fn boot(&self, work: &Path) -> InstallScript {
        let reply = self.script();
        let text = reply.text();
        assert!(text.contains("proxmox-start-auto-installer"), "{text}");
        let url =
            text.split_whitespace().find(|w| w.ends_with("/proxmox.iso")).expect("an ISO URL");
        let base = url.trim_end_matches("/proxmox.iso").to_owned();
        for file in ["linux26", "initrd.img"] {
            let reply = http("GET", &format!("{base}/{file}"), &[], b"");
            assert_eq!(reply.status, 200, "{file}");
            assert!(!reply.body.is_empty());
        }
        let iso = http("GET", url, &[], b"");
        assert_eq!(iso.status, 200);
        fs::write(work.join("view.iso"), &iso.body).unwrap();
        InstallScript { text, base }
    }

    /// The answer URL, as the live system reads it from the ISO.
    pub(crate) fn answer_url(&self, work: &Path) -> String {
        let out = work.join("mode.toml");
        let _ = fs::remove_file(&out);
        let done = Command::new("xorriso")
            .args(["-osirrox", "on", "-indev"])
            .arg(work.join("view.iso"))
            .args(["-extract", "/auto-installer-mode.toml"])
            .arg(&out)
            .output()
            .expect("xorriso");
        assert!(done.status.success(), "{done:?}");
        let mode: toml::Table = fs::read_to_string(out).unwrap().parse().unwrap();
        mode["http"]["url"].as_str().unwrap().to_owned()
    }

    /// The body of an answer request of ISO 9.2.
    pub(crate) fn facts(&self) -> Value {
        json!({
            "$schema": { "version": "1.0" },
            "product": { "fullname": "Proxmox VE", "product": "pve", "enable_btrfs": true },
            "iso": { "release": "9.2", "isorelease": "1" },
            "dmi": {
                "system": { "name": "Lab PC", "serial": "S1", "sku": "", "uuid": self.uuid },
                "baseboard": {}, "chassis": {}
            },
            "network_interfaces": [
                { "link": "eno1", "mac": self.mac.to_uppercase() },
                { "link": "eno2", "mac": "52:54:00:FF:FF:01" }
            ]
        })
    }

    /// The installer asks for its answer, once.
    pub(crate) fn ask(&self, url: &str, facts: &Value) -> Reply {
        http(
            "POST",
            url,
            &[
                ("content-type", "application/json; charset=utf-8"),
                ("accept", "application/toml"),
                ("user-agent", "ureq/3.0.12"),
            ],
            facts.to_string().as_bytes(),
        )
    }

    /// Takes the answer and the first-boot script, as the installer does before it touches a disk.
    pub(crate) fn install(&self, url: &str) -> Installed {
        let reply = self.ask(url, &self.facts());
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer: toml::Table = reply.text().parse().unwrap();
        let webhook = answer["post-installation-webhook"]["url"].as_str().unwrap().to_owned();
        let first_boot = answer["first-boot"]["url"].as_str().unwrap().to_owned();
        let token = url.rsplit('/').next().unwrap().to_owned();
        let script = http("GET", &first_boot, &[], b"");
        assert_eq!(script.status, 200);
        assert!(script.text().starts_with("#!/bin/sh"), "{}", script.text());
        Installed { answer, webhook, token }
    }

    /// The installer's report of schema 1.2.
    pub(crate) fn report(
        &self,
        installed: &Installed,
        address: &str,
        host_keys: &[String],
    ) -> Reply {
        self.report_with(installed, address, host_keys, 3 << 20)
    }

    /// The same with so many bytes of udev properties.
    pub(crate) fn report_with(
        &self,
        installed: &Installed,
        address: &str,
        host_keys: &[String],
        filler: usize,
    ) -> Reply {
        let body = self.report_body(address, host_keys, filler);
        let headers = [("content-type", "application/json; charset=utf-8")];
        http("POST", &installed.webhook, &headers, body.to_string().as_bytes())
    }

    /// The body of the installer's report, with so many bytes of udev properties.
    pub(crate) fn report_body(&self, address: &str, host_keys: &[String], filler: usize) -> Value {
        let keys: serde_json::Map<String, Value> = host_keys
            .iter()
            .map(|key| {
                let kind = if key.starts_with("ssh-rsa") { "rsa" } else { "ed25519" };
                (kind.to_owned(), json!(format!("{key} root@node")))
            })
            .collect();
        json!({
            "$schema": { "version": "1.2" },
            "product": { "fullname": "Proxmox VE", "short": "pve", "version": "9.2.3" },
            "iso": { "release": "9.2", "isorelease": "1" },
            "boot-info": { "mode": "efi" },
            "fqdn": "node.lab.test",
            "machine-id": "0123456789abcdef0123456789abcdef",
            "disks": [{ "size": 1, "is-bootdisk": true,
                "udev-properties": { "DEVNAME": "/dev/sda", "ID_SERIAL_SHORT": "DISK1", "FILLER": "x".repeat(filler) } }],
            "network-interfaces": [{ "name": "eno1", "mac": self.mac, "address": format!("{address}/24"),
                "is-management": true, "udev-properties": {} }],
            "ssh-public-host-keys": keys,
        })
    }

    /// The body of the installed system's call.
    pub(crate) fn phone_home_body(&self, address: &str, host_keys: &[String]) -> Value {
        json!({
            "address": address, "hostname": "node", "machine_id": "x", "uuid": self.uuid, "serial": "S1",
            "booted_from": "efi", "macs": [self.mac], "ssh_host_keys": host_keys,
        })
    }

    /// The installed system calls back.
    pub(crate) fn phone_home(
        &self,
        host: &str,
        token: &str,
        address: &str,
        host_keys: &[String],
    ) -> Reply {
        let body = self.phone_home_body(address, host_keys);
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        http(
            "POST",
            &format!("{}/api/hosts/{host}/phone-home", self.server),
            &headers,
            body.to_string().as_bytes(),
        )
    }
}

/// A small installer ISO with the vendor's layout.
pub(crate) fn iso(dir: &Path) -> PathBuf {
    iso_of(dir, "proxmox-ve_9.2-1.iso", "pve", "-R")
}

/// The same of another product, or with another flag of mkisofs in place of `-R`.
pub(crate) fn iso_of(dir: &Path, name: &str, product: &str, flag: &str) -> PathBuf {
    let tree = dir.join("iso-tree");
    fs::create_dir_all(tree.join("boot")).unwrap();
    let info = format!(
        "PRODUCT='{product}'\nPRODUCTLONG='Proxmox {}'\nRELEASE='9.2'\nISORELEASE='1'\nISONAME='proxmox-{product}'\n",
        if product == "pve" { "VE" } else { "Backup Server" }
    );
    fs::write(tree.join(".cd-info"), info).unwrap();
    fs::write(tree.join("auto-installer-capable"), "").unwrap();
    fs::write(tree.join("boot/linux26"), vec![0x4B; 70_001]).unwrap();
    fs::write(tree.join("boot/initrd.img"), vec![0x49; 90_001]).unwrap();
    let iso = dir.join(name);
    let done = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", flag, "-V", "PVE", "-o"])
        .arg(&iso)
        .arg(&tree)
        .output()
        .expect("these tests need the program 'xorriso' (Debian package xorriso)");
    assert!(done.status.success(), "{done:?}");
    iso
}
