//! The body of the post-installation webhook: schema 1.0 (8.3), 1.1 (8.4, 9.0), 1.2 (9.1 and later).

use std::fs;

use serde_json::{Map, Value, json};

use crate::Release;
use crate::answer::Answer;
use crate::hardware::{Disk, Machine};
use crate::system::Installed;

pub(crate) fn body(
    release: &Release,
    answer: &Answer,
    machine: &Machine,
    disk: &Disk,
    installed: &Installed,
) -> Vec<u8> {
    let version = if release.at_least(9, 1) {
        "1.2"
    } else if release.at_least(8, 4) {
        "1.1"
    } else {
        "1.0"
    };
    let mut body = json!({
        "$schema": { "version": version },
        "debian-version": if release.major >= 9 { "13.5" } else { "12.8" },
        "product": {
            "fullname": release.full_name,
            "short": release.product,
            "version": format!("{}.{}.3", release.major, release.minor),
        },
        "iso": { "release": format!("{}.{}", release.major, release.minor), "isorelease": release.iso_release },
        "kernel-version": kernel(),
        "boot-info": { "mode": if fs::exists("/sys/firmware/efi").unwrap_or(false) { "efi" } else { "bios" } },
        "cpu-info": cpu(),
        "dmi": machine.dmi,
        "filesystem": filesystem(answer),
        "fqdn": installed.fqdn,
        "machine-id": installed.machine_id,
        "disks": machine.disks.iter().map(|each| {
            // The same size for every disk: upstream's bug.
            let mut entry = json!({ "size": disk.bytes, "udev-properties": each.properties });
            if each.path == disk.path {
                entry["is-bootdisk"] = true.into();
            }
            entry
        }).collect::<Vec<_>>(),
        "network-interfaces": nics(release, machine, installed),
        "ssh-public-host-keys": installed.host_keys.iter()
            .map(|(kind, line)| ((*kind).to_owned(), Value::from(line.as_str())))
            .collect::<Map<_, _>>(),
    });
    if release.at_least(8, 4) {
        body["reboot-mode"] = answer.global.reboot_mode.as_deref().unwrap_or("reboot").into();
    }
    if let Some(token) =
        answer.post_installation_webhook.as_ref().and_then(|webhook| webhook.auth_token.as_deref())
    {
        body["token"] = token.into();
    }
    body.to_string().into_bytes()
}

fn nics(release: &Release, machine: &Machine, installed: &Installed) -> Vec<Value> {
    let entry = |nic: &crate::hardware::Nic| {
        let mut entry = json!({ "mac": nic.mac, "udev-properties": nic.properties });
        if release.at_least(9, 1) {
            entry["name"] = nic.name.as_str().into();
        }
        if nic.name == installed.management_nic {
            entry["is-management"] = true.into();
            entry["address"] = installed.cidr.as_str().into();
        }
        entry
    };
    machine.nics.iter().map(entry).collect()
}

fn filesystem(answer: &Answer) -> String {
    let setup = &answer.disk_setup;
    let raid = setup
        .zfs
        .as_ref()
        .and_then(|zfs| zfs.raid.as_deref())
        .or_else(|| setup.btrfs.as_ref().and_then(|btrfs| btrfs.raid.as_deref()));
    match raid {
        Some(raid) => format!("{} ({})", setup.filesystem, raid.to_uppercase()),
        None => setup.filesystem.clone(),
    }
}

fn kernel() -> Value {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default().trim().to_owned()
    };
    json!({ "sysname": read("ostype"), "release": read("osrelease"), "version": read("version"), "machine": "x86_64" })
}

fn cpu() -> Value {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cpus = text.lines().filter(|line| line.starts_with("processor")).count();
    json!({ "model": field("model name"), "sockets": 1, "cores": cpus, "cpus": cpus, "flags": field("flags"), "hvm": false })
}
