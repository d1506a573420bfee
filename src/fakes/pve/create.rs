//! Making containers, new or from a backup: what is refused at once, and what shows only in the task.

use std::collections::BTreeMap;

use super::World;
use super::files::Conf;
use super::guest::{may_set, stored, with_volume};
use super::world::{Effect, Outcome, Refusal, Request, Undo, denied, forbidden, invalid, refuse};
use crate::proto::pve::{ContainerConfig, PropertyString};

/// Parameters that are no properties of the container.
const NOT_STORED: &[&str] = &[
    "vmid",
    "ostemplate",
    "pool",
    "storage",
    "restore",
    "force",
    "unique",
    "start",
    "password",
    "ssh-public-keys",
    "bwlimit",
    "ignore-unpack-errors",
    "ha-managed",
];

pub(super) fn create(world: &mut World, request: &Request) -> Outcome {
    let vmid: u32 = request.number("vmid").and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
    let node = request.node().to_owned();
    let restore = request.flag("restore");
    let unprivileged = match request.get("unprivileged") {
        Some(_) => request.flag("unprivileged"),
        None => !world.is_older_than(9, 0),
    };
    check_rights(world, request, vmid, unprivileged)?;
    let template = request.get("ostemplate").unwrap_or_default().to_owned();
    check_template(world, request, vmid, &template)?;
    let root = match (request.get("rootfs"), request.get("storage")) {
        (Some(rootfs), _) => rootfs.to_owned(),
        (None, storage) => format!("{}:4", storage.unwrap_or("local")),
    };
    let mounts = request.params.iter().filter(|(k, _)| k.starts_with("mp")).map(|(_, v)| v);
    for value in std::iter::once(&root).chain(mounts) {
        check_storage(world, request, value)?;
    }
    if !world.quorate {
        return Err(refuse("cluster not ready - no quorum?"));
    }
    let taken = world.files.node_of(vmid);
    let replaces = restore && request.flag("force");
    let before = match (&taken, replaces) {
        (Some(at), false) => {
            return Err(refuse(format!("CT {vmid} already exists on node '{at}'")));
        }
        (Some(at), true) if *at != node => {
            return Err(refuse(format!("CT {vmid} already exists on node '{at}'")));
        }
        (Some(_), true) if world.files.runs(vmid) => {
            return Err(refuse(format!("unable to restore CT {vmid} - container is running")));
        }
        (Some(at), true) => world.files.conf(at, vmid),
        (None, _) => None,
    };
    let task = if restore { "vzrestore" } else { "vzcreate" };
    // The number is taken from now on.
    let mut placeholder = Conf::default();
    placeholder.now.raw.insert("lock".to_owned(), "create".to_owned());
    world.files.write_conf(&node, vmid, &placeholder);
    let job = Making {
        node: node.clone(),
        vmid,
        template,
        restore,
        root,
        unprivileged,
        params: request.params.clone(),
        before: before.clone(),
    };
    let place = node.clone();
    let undo: Undo = Box::new(move |world| match &before {
        Some(conf) => world.files.write_conf(&place, vmid, conf),
        None => {
            world.files.remove_conf(&place, vmid);
            world.volumes.retain(|_, v| v.vmid != Some(vmid) || v.content != "rootdir");
        }
    });
    let effect: Effect = Box::new(move |world| job.run(world));
    world.start_task(request, &node, task, &vmid.to_string(), (effect, undo))
}

fn check_rights(
    world: &World,
    request: &Request,
    vmid: u32,
    unprivileged: bool,
) -> Result<(), Refusal> {
    let pool = request.get("pool");
    if let Some(pool) = pool
        && !request.access.pools.contains_key(pool)
    {
        return Err(forbidden(&format!("Permission check failed (pool '{pool}' does not exist)")));
    }
    let on_guest = format!("/vms/{vmid}");
    let on_pool = pool.map(|pool| format!("/pool/{pool}"));
    let has = |privilege: &str| {
        request.may(&on_guest, privilege)
            || on_pool.as_ref().is_some_and(|pool| request.may(pool, privilege))
    };
    let replaces =
        request.flag("restore") && request.flag("force") && world.files.node_of(vmid).is_some();
    let may_replace = replaces && request.may(&on_guest, "VM.Backup");
    if !has("VM.Allocate") && !may_replace {
        return Err(forbidden("Permission check failed"));
    }
    if !unprivileged && !world.is_older_than(9, 0) {
        request.need("/", "Sys.Modify")?;
    }
    let new = Conf::default();
    for (key, value) in &request.params {
        if NOT_STORED.contains(&key.as_str()) || key == "unprivileged" {
            continue;
        }
        // Tags are looked at on the guest alone, and its pool does not count yet.
        let allowed = |privilege: &str| {
            let ok = if key == "tags" { request.may(&on_guest, privilege) } else { has(privilege) };
            if ok { Ok(()) } else { Err(denied(&on_guest, privilege)) }
        };
        may_set(request, &new, key, value, unprivileged, &allowed)?;
    }
    if request.get("password").is_some_and(|p| p.len() < 5) {
        return Err(invalid("password", "value must be at least 5 characters long"));
    }
    let keys = request.get("ssh-public-keys").unwrap_or_default();
    let is_key = |line: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| line.starts_with(kind));
    if !keys.lines().filter(|line| !line.trim().is_empty()).all(is_key) {
        return Err(refuse("SSH public key validation error"));
    }
    Ok(())
}

fn check_template(
    world: &World,
    request: &Request,
    vmid: u32,
    template: &str,
) -> Result<(), Refusal> {
    let Some((storage, name)) = template.split_once(':') else {
        return Err(refuse("Only root can pass arbitrary filesystem paths."));
    };
    let path = format!("/storage/{storage}");
    if request.may(&path, "Datastore.Allocate") {
        return Ok(());
    }
    if name.starts_with("backup/") {
        let owner = world.volumes.get(template).and_then(|v| v.vmid);
        if owner.is_some() && owner != Some(vmid) {
            request.need(&path, "Datastore.AllocateSpace")?;
            request.need(&format!("/vms/{}", owner.unwrap_or(0)), "VM.Backup")?;
        }
        return Ok(());
    }
    if !request.may(&path, "Datastore.Audit") && !request.may(&path, "Datastore.AllocateSpace") {
        return Err(denied(&path, "Datastore.Audit|Datastore.AllocateSpace"));
    }
    Ok(())
}

fn check_storage(world: &World, request: &Request, value: &str) -> Result<(), Refusal> {
    let property = PropertyString::parse(value).map_err(|e| refuse(e.to_string()))?;
    let bare = property.bare().or_else(|| property.get("volume")).unwrap_or_default();
    let Some((storage, size)) = bare.split_once(':') else { return Ok(()) };
    request.need(&format!("/storage/{storage}"), "Datastore.AllocateSpace")?;
    let Some(found) = world.storage(storage) else {
        return Err(refuse(format!("storage '{storage}' does not exist")));
    };
    if !found.content.iter().any(|c| c == "rootdir") {
        let text = format!("storage '{storage}' does not support container directories");
        return Err(invalid("storage", &text));
    }
    if size.parse::<f64>().is_err() && !world.volumes.contains_key(bare) {
        return Err(refuse(format!("unable to parse directory volume name '{size}'")));
    }
    Ok(())
}

/// What the task does.
struct Making {
    node: String,
    vmid: u32,
    template: String,
    restore: bool,
    root: String,
    unprivileged: bool,
    params: BTreeMap<String, String>,
    /// The container that is replaced.
    before: Option<Conf>,
}

impl Making {
    fn run(self, world: &mut World) -> Result<Vec<String>, String> {
        let Self { node, vmid, template, .. } = &self;
        let verb = if self.restore { "restore" } else { "create" };
        let failed = |why: String| format!("unable to {verb} CT {vmid} - {why}");
        let Some(source) = world.volumes.get(template).cloned() else {
            return Err(failed(format!("volume '{template}' does not exist")));
        };
        if self.before.is_some() {
            world.volumes.retain(|_, v| v.vmid != Some(*vmid) || v.content != "rootdir");
        }
        let mut conf = match (&source.conf, self.restore) {
            (Some(saved), true) => self.saved(world, saved).map_err(failed)?,
            (None, true) => return Err(failed("it is no backup of a container".to_owned())),
            (_, false) => self.fresh(world).map_err(failed)?,
        };
        for (key, value) in &self.params {
            if NOT_STORED.contains(&key.as_str()) || key == "rootfs" || key.starts_with("mp") {
                continue;
            }
            let value = stored(world, key, value);
            conf.now.raw.insert(key.clone(), value);
        }
        conf.now.raw.insert("unprivileged".to_owned(), u8::from(self.unprivileged).to_string());
        conf.now.raw.entry("hostname".to_owned()).or_insert_with(|| format!("CT{vmid}"));
        world.files.write_conf(node, *vmid, &conf);
        // Only now is it in the pool.
        if let Some(pool) = self.params.get("pool") {
            world.edit_pool(pool, |pool| {
                pool.guests.insert(*vmid);
            });
        }
        let file = template.rsplit('/').next().unwrap_or_default();
        Ok(vec![
            format!("extracting archive '/var/lib/vz/template/cache/{file}'"),
            "Total bytes read: 2007040 (2.0MiB, 42MiB/s)".to_owned(),
            "Detected container architecture: amd64".to_owned(),
        ])
    }

    fn fresh(&self, world: &mut World) -> Result<Conf, String> {
        let mut conf = Conf::default();
        let file = self.template.rsplit('/').next().unwrap_or_default();
        let ostype = file.split('-').next().unwrap_or("unmanaged");
        let raw = &mut conf.now.raw;
        for (key, value) in
            [("arch", "amd64"), ("ostype", ostype), ("memory", "512"), ("swap", "512")]
        {
            raw.insert(key.to_owned(), value.to_owned());
        }
        raw.insert("rootfs".to_owned(), with_volume(world, self.vmid, &self.root)?);
        for (key, value) in self.params.iter().filter(|(k, _)| k.starts_with("mp")) {
            raw.insert(key.clone(), with_volume(world, self.vmid, value)?);
        }
        Ok(conf)
    }

    /// The saved configuration with new volumes on the storage that was asked for.
    fn saved(&self, world: &mut World, saved: &Conf) -> Result<Conf, String> {
        let storage = self.params.get("storage").map_or("local", String::as_str);
        let mut now: ContainerConfig = saved.now.clone();
        now.raw.remove("lock");
        now.raw.retain(|key, _| !key.starts_with("unused"));
        let disks: Vec<String> =
            now.raw.keys().filter(|k| *k == "rootfs" || k.starts_with("mp")).cloned().collect();
        for key in disks {
            let old = PropertyString::parse(&now.raw[&key]).map_err(|e| e.to_string())?;
            // A bind mount is not part of the backup, and stays what it is.
            if old.bare().is_some_and(|b| b.starts_with('/')) {
                continue;
            }
            let size = old.get("size").unwrap_or("1G").trim_end_matches('G').to_owned();
            let gib = size.parse::<f64>().map_or("1".to_owned(), |_| size);
            let mut value = format!("{storage}:{gib}");
            for (name, text) in old.iter().filter(|(name, _)| !matches!(*name, "size" | "volume")) {
                value.push_str(&format!(",{name}={text}"));
            }
            let value = with_volume(world, self.vmid, &value)?;
            now.raw.insert(key, value);
        }
        if self.params.contains_key("unique") {
            let nets: Vec<String> =
                now.raw.keys().filter(|k| k.starts_with("net")).cloned().collect();
            for key in nets {
                let text = now.raw[&key].clone();
                let kept: Vec<&str> =
                    text.split(',').filter(|p| !p.starts_with("hwaddr=")).collect();
                let value = stored(world, &key, &kept.join(","));
                now.raw.insert(key, value);
            }
        }
        Ok(Conf { now, snapshots: Vec::new() })
    }
}
