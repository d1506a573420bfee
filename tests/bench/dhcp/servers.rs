//! The peers, configured for the same work.

use std::fs;

use serde_json::json;

use super::super::place::{INTERFACE, Namespace, SERVER};
use super::super::program::{Program, peer_command};
use super::super::work::fresh_dir;

/// dnsmasq beside another DHCP server: names a boot file to PXE machines, gives no address.
pub fn dnsmasq_proxy(namespace: &Namespace) -> anyhow::Result<Program> {
    let range = format!("--dhcp-range={SERVER},proxy,255.255.128.0");
    let service = "--pxe-service=x86-64_EFI,boot,snponly.efi";
    started(dnsmasq(namespace, &[&range, service, "--pxe-prompt=boot,0"])?, 67)
}

/// dnsmasq as the only DHCP server.
pub fn dnsmasq_full(namespace: &Namespace) -> anyhow::Result<Program> {
    let range = "--dhcp-range=198.18.16.1,198.18.127.254,255.255.128.0,1h";
    let more = [range, "--dhcp-lease-max=200000", "--dhcp-authoritative"];
    started(dnsmasq(namespace, &more)?, 67)
}

/// dnsmasq with what all its uses here have in common.
pub fn dnsmasq(namespace: &Namespace, more: &[&str]) -> anyhow::Result<Program> {
    let dir = fresh_dir("dnsmasq")?;
    let mut command = peer_command("dnsmasq")?;
    let leases = format!("--dhcp-leasefile={}", dir.join("leases").display());
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"]);
    command.args(["--user=root", "--pid-file=", "--log-facility=-", "--quiet-dhcp"]);
    command.arg(format!("--interface={INTERFACE}")).arg("--bind-interfaces").arg(leases).args(more);
    Program::start(namespace, command, &dir.join("log"))
}

/// Kea with its usual lease file.
pub fn kea(namespace: &Namespace) -> anyhow::Result<Program> {
    let dir = fresh_dir("kea")?;
    let config = json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": [INTERFACE] },
        "lease-database": { "type": "memfile", "persist": true, "name": dir.join("leases.csv"), "lfc-interval": 0 },
        "valid-lifetime": 3600,
        "subnet4": [{ "id": 1, "subnet": "198.18.0.0/17",
            "pools": [{ "pool": "198.18.16.1 - 198.18.127.254" }] }],
        "loggers": [{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [{ "output": "stderr" }] }]
    }});
    let file = dir.join("kea.json");
    fs::write(&file, config.to_string())?;
    let mut command = peer_command("kea-dhcp4")?;
    command.env("KEA_PIDFILE_DIR", &dir).env("KEA_LOCKFILE_DIR", &dir).arg("-c").arg(file);
    let program = Program::start(namespace, command, &dir.join("log"))?;
    started(program, 67)
}

/// Waits until somebody in the namespace holds the UDP port.
pub fn started(mut program: Program, port: u16) -> anyhow::Result<Program> {
    let table = format!("/proc/{}/net/udp", program.pid());
    let wanted = format!(":{port:04X} ");
    // The second column is the local address and port in hex (proc(5)).
    let holds = |line: &str| line.split_once(": ").is_some_and(|(_, l)| l[..14].ends_with(&wanted));
    program.wait_until(|| fs::read_to_string(&table).unwrap_or_default().lines().any(holds))?;
    Ok(program)
}
