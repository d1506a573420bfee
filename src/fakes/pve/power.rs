//! Tasks on existing containers: power, removal, snapshots, backups.

use serde_json::{Value, json};

use super::World;
use super::guest::unlocked;
use super::world::{Effect, Outcome, Request, Undo, Volume, invalid, no_undo, refuse};

/// Starts a task of this kind on the guest of the request.
fn task(world: &mut World, request: &Request, kind: &str, effect: Effect, undo: Undo) -> Outcome {
    let node = request.node().to_owned();
    world.start_task(request, &node, kind, &request.vmid().to_string(), (effect, undo))
}

fn need_quorum(world: &World) -> Result<(), super::world::Refusal> {
    if world.quorate { Ok(()) } else { Err(refuse("cluster not ready - no quorum?")) }
}

/// Refuses what only `root@pam` itself may say with a power call.
fn need_no_skiplock(request: &Request) -> Result<(), super::world::Refusal> {
    match request.get("skiplock") {
        Some(_) => Err(invalid("skiplock", "Only root may use this option.")),
        None => Ok(()),
    }
}

pub(super) fn start(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    need_no_skiplock(request)?;
    world.conf(&node, vmid)?;
    need_quorum(world)?;
    if world.files.runs(vmid) {
        return Err(refuse(format!("CT {vmid} already running")));
    }
    let effect: Effect = Box::new(move |world| boot(world, &node, vmid));
    task(world, request, "vzstart", effect, no_undo())
}

/// What a start does, and what keeps it from working.
fn boot(world: &mut World, node: &str, vmid: u32) -> Result<Vec<String>, String> {
    let conf = world.conf(node, vmid).map_err(|r| r.text)?;
    if let Some(lock) = conf.now.lock() {
        return Err(format!("CT is locked ({lock})"));
    }
    if conf.now.template() {
        return Err("you can't start a CT if it's a template".to_owned());
    }
    let net = conf.now.net(0).unwrap_or_default();
    if let Some(bridge) = net.get("bridge").filter(|b| !world.bridges.iter().any(|w| w == b)) {
        return Err(format!("bridge '{bridge}' does not exist"));
    }
    let fixed = net.get("ip").and_then(|ip| ip.split('/').next()).and_then(|ip| ip.parse().ok());
    let address = world.addresses.get(&vmid).copied().or(fixed).or_else(|| {
        // What a DHCP server would give: the same for the same guest.
        let host = u8::try_from(100 + vmid % 100).unwrap_or(100);
        net.get("ip").map(|_| std::net::Ipv4Addr::new(192, 0, 2, host))
    });
    world.files.set_running(vmid, address);
    Ok(Vec::new())
}

fn need_running(world: &World, request: &Request, word: &str) -> Result<(), super::world::Refusal> {
    world.conf(request.node(), request.vmid())?;
    need_quorum(world)?;
    if world.files.runs(request.vmid()) {
        Ok(())
    } else {
        Err(refuse(format!("{word} {} not running", request.vmid())))
    }
}

pub(super) fn stop(world: &mut World, request: &Request) -> Outcome {
    need_no_skiplock(request)?;
    need_running(world, request, "CT")?;
    halt(world, request, "vzstop")
}

pub(super) fn shutdown(world: &mut World, request: &Request) -> Outcome {
    need_running(world, request, "CT")?;
    halt(world, request, "vzshutdown")
}

fn halt(world: &mut World, request: &Request, kind: &str) -> Outcome {
    let vmid = request.vmid();
    let effect: Effect = Box::new(move |world| {
        world.files.set_stopped(vmid);
        Ok(Vec::new())
    });
    task(world, request, kind, effect, no_undo())
}

pub(super) fn reboot(world: &mut World, request: &Request) -> Outcome {
    // The word is wrong in the original too.
    need_running(world, request, "VM")?;
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let effect: Effect = Box::new(move |world| {
        world.files.set_stopped(vmid);
        boot(world, &node, vmid)
    });
    task(world, request, "vzreboot", effect, no_undo())
}

pub(super) fn destroy(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let conf = world.conf(&node, vmid)?;
    if conf.now.get("protection") == Some("1") {
        return Err(refuse(format!("can't remove CT {vmid} - protection mode enabled")));
    }
    if world.files.runs(vmid) && !request.flag("force") {
        return Err(refuse(format!("unable to destroy CT {vmid} - container is running")));
    }
    unlocked(&conf)?;
    need_quorum(world)?;
    let unreferenced = request.flag("destroy-unreferenced-disks");
    let effect: Effect = Box::new(move |world| {
        world.files.set_stopped(vmid);
        let named = |volid: &str| conf.now.raw.values().any(|v| v.split(',').next() == Some(volid));
        world.volumes.retain(|volid, volume| {
            let own = volume.vmid == Some(vmid) && volume.content == "rootdir";
            !(own && (unreferenced || named(volid)))
        });
        world.files.remove_conf(&node, vmid);
        let pool = super::access::Access::read(&world.files.user_cfg());
        if let Some(pool) = pool.pool_of(vmid) {
            world.edit_pool(pool, |pool| {
                pool.guests.remove(&vmid);
            });
        }
        Ok(vec![format!("purging CT {vmid} from related configurations..")])
    });
    task(world, request, "vzdestroy", effect, no_undo())
}

/// Whether every volume of the guest is on a storage that has snapshots.
fn has_snapshots(world: &World, node: &str, vmid: u32) -> bool {
    let Some(conf) = world.files.conf(node, vmid) else { return false };
    let disks = conf.now.raw.iter().filter(|(k, _)| *k == "rootfs" || k.starts_with("mp"));
    disks.filter_map(|(_, v)| v.split_once(':')).all(|(storage, _)| {
        world
            .storage(storage)
            .is_some_and(|s| matches!(s.kind.as_str(), "zfspool" | "lvmthin" | "rbd" | "btrfs"))
    })
}

pub(super) fn snapshots(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node(), request.vmid());
    let conf = world.conf(node, vmid)?;
    let mut rows: Vec<Value> = conf
        .snapshots
        .iter()
        .map(|(name, saved)| {
            let time = saved.get("snaptime").and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
            let mut row = json!({
                "name": name, "snaptime": time, "description": saved.get("description").unwrap_or_default(),
            });
            if let Some(parent) = saved.get("parent") {
                row["parent"] = json!(parent);
            }
            row
        })
        .collect();
    rows.push(json!({
        "name": "current", "running": u8::from(world.files.runs(vmid)), "description": "You are here!",
        "digest": world.files.digest(node, vmid),
    }));
    Ok(Value::Array(rows))
}

pub(super) fn snapshot(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let name = request.get("snapname").unwrap_or_default().to_owned();
    let description = request.get("description").unwrap_or_default().to_owned();
    world.conf(&node, vmid)?;
    need_quorum(world)?;
    let effect: Effect = Box::new(move |world| {
        let conf = world.conf(&node, vmid).map_err(|r| r.text)?;
        if let Some(lock) = conf.now.lock() {
            return Err(format!("CT is locked ({lock})"));
        }
        if conf.snapshots.iter().any(|(n, _)| *n == name) {
            return Err(format!("snapshot name '{name}' already used"));
        }
        if !has_snapshots(world, &node, vmid) {
            return Err("snapshot feature is not available".to_owned());
        }
        world.edit_conf(&node, vmid, |conf| {
            let mut saved = conf.now.clone();
            saved.raw.insert("snaptime".to_owned(), World::now().to_string());
            saved.raw.insert("description".to_owned(), description);
            conf.now.raw.insert("parent".to_owned(), name.clone());
            conf.snapshots.push((name, saved));
        });
        Ok(Vec::new())
    });
    task(world, request, "vzsnapshot", effect, no_undo())
}

pub(super) fn delete_snapshot(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let name = request.var("snapname").to_owned();
    world.conf(&node, vmid)?;
    need_quorum(world)?;
    let effect: Effect = Box::new(move |world| {
        let conf = world.conf(&node, vmid).map_err(|r| r.text)?;
        if !conf.snapshots.iter().any(|(n, _)| *n == name) {
            return Err(format!("snapshot '{name}' does not exist"));
        }
        world.edit_conf(&node, vmid, |conf| {
            conf.snapshots.retain(|(n, _)| *n != name);
            if conf.now.get("parent") == Some(name.as_str()) {
                conf.now.raw.remove("parent");
            }
        });
        Ok(Vec::new())
    });
    task(world, request, "vzdelsnapshot", effect, no_undo())
}

pub(super) fn rollback(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let name = request.var("snapname").to_owned();
    world.conf(&node, vmid)?;
    need_quorum(world)?;
    let effect: Effect = Box::new(move |world| {
        let conf = world.conf(&node, vmid).map_err(|r| r.text)?;
        let Some((_, saved)) = conf.snapshots.iter().find(|(n, _)| *n == name).cloned() else {
            return Err(format!("snapshot '{name}' does not exist"));
        };
        world.files.set_stopped(vmid);
        world.edit_conf(&node, vmid, |conf| {
            conf.now = saved;
            conf.now.raw.remove("snaptime");
            conf.now.raw.insert("parent".to_owned(), name);
        });
        Ok(Vec::new())
    });
    task(world, request, "vzrollback", effect, no_undo())
}

pub(super) fn backup(world: &mut World, request: &Request) -> Outcome {
    let Some(vmid) = request.get("vmid").and_then(|v| v.parse::<u32>().ok()) else {
        return Err(invalid("vmid", "property is missing and it is not optional"));
    };
    for key in ["tmpdir", "dumpdir", "script", "job-id"] {
        if request.get(key).is_some() {
            return Err(invalid(key, "Only root may set this option."));
        }
    }
    request.need(&format!("/vms/{vmid}"), "VM.Backup")?;
    let storage = request.get("storage").unwrap_or("local").to_owned();
    request.need(&format!("/storage/{storage}"), "Datastore.AllocateSpace")?;
    let node = request.node().to_owned();
    let notes = request
        .get("notes-template")
        .unwrap_or_default()
        .replace("\\n", "\n")
        .replace("\\\\", "\\");
    let is_locked = world.files.conf(&node, vmid).is_some_and(|conf| conf.now.lock().is_some());
    if !is_locked {
        world.set_lock(&node, vmid, Some("backup"));
    }
    let place = node.clone();
    let release: Undo = Box::new(move |world| {
        if !is_locked {
            world.set_lock(&place, vmid, None);
        }
    });
    let effect: Effect = Box::new(move |world| {
        if is_locked {
            return Err("job errors".to_owned());
        }
        let Some(found) = world.storage(&storage) else {
            return Err(format!(
                "could not get storage information for '{storage}': storage '{storage}' does not exist"
            ));
        };
        if !found.content.iter().any(|c| c == "backup") {
            return Err(format!("storage '{storage}' does not support backups"));
        }
        let Some(mut conf) = world.files.conf(&node, vmid) else {
            return Err("job errors".to_owned());
        };
        conf.now.raw.remove("lock");
        let name = conf.now.get("hostname").unwrap_or_default().to_owned();
        let made = World::now();
        let stamp = jiff::Timestamp::from_second(made)
            .map(|t| t.strftime("%Y_%m_%d-%H_%M_%S").to_string())
            .unwrap_or_default();
        let mut volid = format!("{storage}:backup/vzdump-lxc-{vmid}-{stamp}.tar.zst");
        // A second one in the same second.
        while world.volumes.contains_key(&volid) {
            volid = volid.replace(".tar.zst", "-1.tar.zst");
        }
        let volume = Volume {
            storage,
            content: "backup",
            format: "tar.zst".to_owned(),
            size: 1_083_852,
            vmid: Some(vmid),
            notes: notes.replace("{{guestname}}", &name),
            made,
            conf: Some(conf),
            ..Volume::default()
        };
        world.volumes.insert(volid.clone(), volume);
        world.set_lock(&node, vmid, None);
        Ok(vec![
            format!("INFO: Starting Backup of VM {vmid} (lxc)"),
            format!("INFO: creating vzdump archive '{volid}'"),
            "INFO: Backup job finished successfully".to_owned(),
        ])
    });
    let node = request.node().to_owned();
    world.start_task(request, &node, "vzdump", &vmid.to_string(), (effect, release))
}
