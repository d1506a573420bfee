//! One machine from its network boot to its call back, as firmware, iPXE, installer and first boot speak.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::super::dhcp::{mac, mac_text};
use super::super::place::{SERVER, machine};
use super::Goal;
use super::node::Cluster;

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Machine {
    pub number: usize,
    pub name: String,
    /// The host's id at the appliance.
    pub id: String,
}

impl Machine {
    fn mac(&self) -> String {
        mac_text(self.number as u32)
    }

    fn address(&self) -> Ipv4Addr {
        machine(self.number)
    }

    fn uuid(&self) -> String {
        format!("4c4c4544-0042-3010-8054-{:012x}", self.number)
    }

    /// Boots, installs and calls back.
    pub async fn live(
        &self,
        cluster: &Cluster,
        program: &Arc<[u8]>,
        goal: Goal,
    ) -> anyhow::Result<()> {
        self.ask_boot_server().await.context("boot server")?;
        if goal == Goal::Ready {
            self.fetch_program(program).await.context("TFTP")?;
        }
        let path = format!(
            "/ipxe/{}?uuid={}&serial=S1&vendor=QEMU&product=Lab%20PC&memory=16384&platform=efi",
            self.mac().replace(':', "-"),
            self.uuid()
        );
        let script = self.get(&path).await.context("script")?;
        let script = String::from_utf8_lossy(&script).into_owned();
        let iso = script.split_whitespace().find(|w| w.ends_with("/proxmox.iso"));
        let iso = iso.with_context(|| format!("no ISO in the script: {script}"))?;
        let base = iso.trim_end_matches("proxmox.iso");
        for file in ["linux26", "initrd.img"].iter().filter(|_| goal == Goal::Ready) {
            self.get(&format!("{base}{file}")).await.context(*file)?;
        }
        let image = self.get(iso).await.context("ISO")?;
        let answer_url =
            found(&image, "http://", "/api/boot/answer/").context("no answer URL in the ISO")?;
        drop(image);
        let answer = self.post(&answer_url, self.facts(), &[]).await.context("answer")?;
        let answer: toml::Table = String::from_utf8_lossy(&answer).parse()?;
        let text = |a: &str, b: &str| answer.get(a)?.get(b)?.as_str().map(str::to_owned);
        let webhook = text("post-installation-webhook", "url").context("no webhook")?;
        let first_boot = text("first-boot", "url").context("no first-boot script")?;
        let key = answer.get("global").and_then(|g| g.get("root-ssh-keys")?.get(0)?.as_str());
        self.get(&first_boot).await.context("first-boot script")?;
        let host_key = cluster.install(&self.name, self.address(), Some(key.context("no key")?))?;
        self.post(&webhook, self.report(&host_key), &[]).await.context("report")?;
        let token = answer_url.rsplit('/').next().context("no token")?;
        let bearer = format!("authorization: Bearer {token}\r\n");
        let path = format!("/api/hosts/{}/phone-home", self.id);
        self.post(&path, self.phone_home(&host_key), &[&bearer]).await.context("phone-home")?;
        Ok(())
    }

    /// UEFI firmware with an address asks the boot server for its file (port 4011).
    async fn ask_boot_server(&self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind(SocketAddrV4::new(self.address(), 0)).await?;
        let mut packet = vec![0; 240];
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet[4..8].copy_from_slice(&(self.number as u32 + 1).to_be_bytes());
        packet[12..16].copy_from_slice(&self.address().octets());
        packet[28..34].copy_from_slice(&mac(self.number as u32));
        packet[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        packet.extend([53, 1, 3, 57, 2, 5, 0xc0, 93, 2, 0, 7, 94, 3, 1, 3, 16]);
        packet.extend(b"\x3c\x20PXEClient:Arch:00007:UNDI:003016\xff");
        packet.resize(300, 0);
        let mut buffer = [0; 1500];
        for _ in 0..20 {
            socket.send_to(&packet, (SERVER, 4011)).await?;
            // EDK2 repeats itself after 4 s.
            let Ok(answer) = timeout(Duration::from_secs(4), socket.recv_from(&mut buffer)).await
            else {
                continue;
            };
            let (length, _) = answer?;
            let names = buffer[..length].windows(11).any(|w| w == b"snponly.efi");
            anyhow::ensure!(names, "the answer names no boot file");
            return Ok(());
        }
        anyhow::bail!("no answer")
    }

    async fn fetch_program(&self, program: &Arc<[u8]>) -> anyhow::Result<()> {
        use super::super::tftp::client::{Load, fetch};
        let load = Load {
            clients: 1,
            name: "snponly.efi",
            block: 1468,
            window: 4,
            length: PATIENCE,
            transfers_each: 1,
            file: Arc::clone(program),
        };
        timeout(PATIENCE, fetch(self.number, &load)).await?
    }

    async fn get(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        self.http("GET", url, String::new(), &[]).await
    }

    async fn post(&self, url: &str, body: String, headers: &[&str]) -> anyhow::Result<Vec<u8>> {
        self.http("POST", url, body, headers).await
    }

    /// One request on a connection of its own.
    async fn http(
        &self,
        method: &str,
        url: &str,
        body: String,
        headers: &[&str],
    ) -> anyhow::Result<Vec<u8>> {
        let path = url.strip_prefix(&format!("http://{SERVER}:8080")).unwrap_or(url);
        let exchange = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((self.address(), 0)))?;
            let mut stream = socket.connect(SocketAddr::from((SERVER, 8080))).await?;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {SERVER}:8080\r\nconnection: close\r\n\
                 content-type: application/json; charset=utf-8\r\naccept: application/toml\r\n\
                 content-length: {}\r\n{}\r\n{body}",
                body.len(),
                headers.concat()
            );
            stream.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, anyhow::Error>(answer)
        };
        let mut answer = timeout(PATIENCE, exchange).await.context("too slow")??;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("no answer")?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).unwrap_or_default();
        anyhow::ensure!(status == "200", "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// The body of an answer request of ISO 9.2.
    fn facts(&self) -> String {
        json!({
            "$schema": { "version": "1.0" },
            "product": { "fullname": "Proxmox VE", "product": "pve", "enable_btrfs": true },
            "iso": { "release": "9.2", "isorelease": "1" },
            "dmi": {
                "system": { "name": "Lab PC", "serial": "S1", "sku": "", "uuid": self.uuid() },
                "baseboard": {}, "chassis": {}
            },
            "network_interfaces": [{ "link": "eno1", "mac": self.mac().to_uppercase() }]
        })
        .to_string()
    }

    /// The installer's report of schema 1.2, with as many udev properties as a small server has.
    fn report(&self, host_key: &str) -> String {
        json!({
            "$schema": { "version": "1.2" },
            "product": { "fullname": "Proxmox VE", "short": "pve", "version": "9.2.3" },
            "iso": { "release": "9.2", "isorelease": "1" },
            "boot-info": { "mode": "efi" },
            "fqdn": format!("{}.lab.test", self.name),
            "machine-id": format!("{:032x}", self.number + 1),
            "disks": [{ "size": 1, "is-bootdisk": true,
                "udev-properties": { "DEVNAME": "/dev/sda", "ID_SERIAL_SHORT": "DISK1", "FILLER": "x".repeat(16_384) } }],
            "network-interfaces": [{ "name": "eno1", "mac": self.mac(), "address": format!("{}/17", self.address()),
                "is-management": true, "udev-properties": {} }],
            "ssh-public-host-keys": { "ed25519": format!("{host_key} root@node") },
        })
        .to_string()
    }

    fn phone_home(&self, host_key: &str) -> String {
        json!({
            "address": self.address(), "hostname": self.name, "machine_id": "x", "uuid": self.uuid(), "serial": "S1",
            "booted_from": "efi", "macs": [self.mac()], "ssh_host_keys": [host_key],
        })
        .to_string()
    }
}

/// The quoted text in a file that begins with `start` and contains `inside`.
fn found(bytes: &[u8], start: &str, inside: &str) -> Option<String> {
    let at = bytes.windows(inside.len()).position(|w| w == inside.as_bytes())?;
    let begin = bytes[..at].windows(start.len()).rposition(|w| w == start.as_bytes())?;
    let length = bytes[at..].iter().position(|b| *b == b'"')?;
    Some(String::from_utf8_lossy(&bytes[begin..at + length]).into_owned())
}
