//! What is put into the written system: identity, network, keys, the first-boot executable.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::answer::{self, Answer, Fqdn};
use crate::hardware::{Disk, Lease, Machine};
use crate::{Failure, http};

const TARGET: &str = "/target";
/// `from-url` bodies are cut here without a word by 8.4 and later.
const FIRST_BOOT_LIMIT: usize = 1_048_576;

pub(crate) struct FirstBoot {
    executable: Vec<u8>,
    ordering: String,
}

impl FirstBoot {
    /// Fetched before any disk is touched; a status of 400 or more aborts the installation.
    pub(crate) fn fetch(answer: &answer::FirstBoot, iso: &Path) -> Result<Self, Failure> {
        let mut executable = match answer.endpoint() {
            Some(endpoint) => {
                println!("installer: fetching the first-boot executable from {}", endpoint.url);
                let response = http::get(&endpoint, "first-boot")?;
                if response.status >= 300 {
                    return Err(format!("first-boot: status {}", response.status));
                }
                response.body
            }
            None => fs::read(iso.join("proxmox-first-boot"))
                .map_err(|error| format!("first-boot from the ISO: {error}"))?,
        };
        executable.truncate(FIRST_BOOT_LIMIT);
        let ordering = answer.ordering.clone().unwrap_or_else(|| "fully-up".to_owned());
        Ok(Self { executable, ordering })
    }
}

/// What the report says about the finished system.
pub(crate) struct Installed {
    pub fqdn: String,
    pub machine_id: String,
    pub management_nic: String,
    pub cidr: String,
    /// (kind, public key line)
    pub host_keys: Vec<(&'static str, String)>,
}

struct Network {
    nic: String,
    cidr: String,
    gateway: String,
    dns: String,
}

/// Mounts the written root, configures it and unmounts it again.
pub(crate) fn customise(
    disk: &Disk,
    answer: &Answer,
    machine: &Machine,
    first_boot: Option<&FirstBoot>,
) -> Result<Installed, Failure> {
    let device = disk.path.display().to_string();
    run("blockdev", &["--rereadpt", &device])?;
    fs::create_dir_all(TARGET).map_err(|error| format!("{TARGET}: {error}"))?;
    run("mount", &["-t", "ext4", &format!("{device}3"), TARGET])?;

    let network = network(answer, machine)?;
    let fqdn = fqdn(answer, machine.lease.as_ref())?;
    let (host, domain) = fqdn.split_once('.').unwrap_or((&fqdn, ""));
    let address = network.cidr.split('/').next().unwrap_or_default();
    write("etc/hostname", &format!("{host}\n"), 0o644)?;
    write("etc/hosts", &format!("127.0.0.1 localhost\n{address} {fqdn} {host}\n"), 0o644)?;
    write("etc/resolv.conf", &format!("search {domain}\nnameserver {}\n", network.dns), 0o644)?;
    write("etc/network/interfaces", &interfaces(&network, machine), 0o644)?;
    write("root/.ssh/authorized_keys", &answer.global.root_ssh_keys.join("\n"), 0o600)?;
    if let Some(hash) = &answer.global.root_password_hashed {
        let shadow =
            fs::read_to_string(path("etc/shadow")).map_err(|error| format!("shadow: {error}"))?;
        let lines: Vec<String> = shadow
            .lines()
            .map(|line| {
                if line.starts_with("root:") {
                    format!("root:{hash}:19000::::::")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        write("etc/shadow", &(lines.join("\n") + "\n"), 0o640)?;
    }
    let machine_id = fs::read_to_string("/proc/sys/kernel/random/uuid")
        .unwrap_or_default()
        .trim()
        .replace('-', "");
    write("etc/machine-id", &format!("{machine_id}\n"), 0o444)?;

    let devices = path("dev").display().to_string();
    run("mount", &["-o", "bind", "/dev", &devices])?;
    run("chroot", &[TARGET, "/usr/bin/ssh-keygen", "-q", "-A"])?;
    run("umount", &[&devices])?;
    let mut host_keys = Vec::new();
    for kind in ["ecdsa", "ed25519", "rsa"] {
        let file = path(&format!("etc/ssh/ssh_host_{kind}_key.pub"));
        let line =
            fs::read_to_string(file).map_err(|error| format!("ssh host key {kind}: {error}"))?;
        let fields: Vec<&str> = line.split_whitespace().take(2).collect();
        host_keys.push((kind, format!("{} root@{host}", fields.join(" "))));
    }
    if let Some(first_boot) = first_boot {
        let directory = path("var/lib/proxmox-first-boot");
        let show = |error: std::io::Error| format!("first-boot: {error}");
        let executable = directory.join("proxmox-first-boot");
        fs::write(&executable, &first_boot.executable).map_err(show)?;
        fs::set_permissions(&executable, fs::Permissions::from_mode(0o700)).map_err(show)?;
        write("var/lib/proxmox-first-boot/pending-first-boot-setup", "", 0o600)?;
        write("var/lib/proxmox-first-boot/ordering", &first_boot.ordering, 0o600)?;
    }
    run("umount", &[TARGET])?;
    run("sync", &[])?;
    Ok(Installed { fqdn, machine_id, management_nic: network.nic, cidr: network.cidr, host_keys })
}

/// `from-dhcp` freezes the lease, or installs the vendor's dummy address when there is none; the node never speaks DHCP.
fn network(answer: &Answer, machine: &Machine) -> Result<Network, Failure> {
    let wanted = &answer.network;
    if let (Some(cidr), Some(gateway), Some(dns)) = (&wanted.cidr, wanted.gateway, wanted.dns) {
        let nic = machine
            .nics
            .iter()
            .find(|nic| {
                wanted.filter.iter().any(|(key, glob)| {
                    nic.properties.get(key).is_some_and(|value| crate::disk::matches(glob, value))
                })
            })
            .ok_or("network: no interface matches the filter")?;
        return Ok(Network {
            nic: nic.name.clone(),
            cidr: cidr.clone(),
            gateway: gateway.to_string(),
            dns: dns.to_string(),
        });
    }
    let first = machine.nics.first().map(|nic| nic.name.clone()).unwrap_or_default();
    Ok(match &machine.lease {
        Some(lease) => Network {
            nic: lease.nic.clone(),
            cidr: lease.cidr.clone(),
            gateway: lease.gateway.clone().unwrap_or_default(),
            dns: lease.dns.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
        },
        None => Network {
            nic: first,
            cidr: "192.168.100.2/24".to_owned(),
            gateway: "192.168.100.1".to_owned(),
            dns: "127.0.0.1".to_owned(),
        },
    })
}

fn fqdn(answer: &Answer, lease: Option<&Lease>) -> Result<String, Failure> {
    match &answer.global.fqdn {
        Fqdn::Name(name) => Ok(name.clone()),
        Fqdn::FromDhcp(table) => {
            let host = lease
                .and_then(|lease| lease.hostname.clone())
                .ok_or("fqdn: DHCP gave no host name")?;
            let configured = table.domain.clone().filter(|domain| !domain.is_empty());
            let domain = configured
                .or_else(|| lease.and_then(|lease| lease.domain.clone()))
                .ok_or("fqdn: no domain")?;
            Ok(format!("{host}.{domain}"))
        }
    }
}

fn interfaces(network: &Network, machine: &Machine) -> String {
    let mut text = String::from("auto lo\niface lo inet loopback\n\n");
    for nic in &machine.nics {
        text += &format!("iface {} inet manual\n\n", nic.name);
    }
    text += &format!("auto vmbr0\niface vmbr0 inet static\n\taddress {}\n", network.cidr);
    if !network.gateway.is_empty() {
        text += &format!("\tgateway {}\n", network.gateway);
    }
    text += &format!(
        "\tbridge-ports {}\n\tbridge-stp off\n\tbridge-fd 0\n\nsource /etc/network/interfaces.d/*\n",
        network.nic
    );
    text
}

fn path(inside: &str) -> std::path::PathBuf {
    Path::new(TARGET).join(inside)
}

fn write(inside: &str, content: &str, mode: u32) -> Result<(), Failure> {
    let path = path(inside);
    fs::write(&path, content)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let status = Command::new("/bin/busybox").arg(program).args(arguments).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
