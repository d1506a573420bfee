//! Calls about the cluster as a whole and about storages.

use serde_json::{Map, Value, json};

use super::World;
use super::world::{Outcome, Request, Volume, invalid, no_undo, refuse};

pub(super) fn version(world: &mut World, _: &Request) -> Outcome {
    let release: Vec<&str> = world.release.split('.').take(2).collect();
    Ok(json!({
        "version": world.release, "release": release.join("."), "repoid": "14a22df35955d97d",
    }))
}

pub(super) fn nodes(world: &mut World, request: &Request) -> Outcome {
    let rows = world.nodes.iter().map(|node| {
        let status = if node.up { "online" } else { "offline" };
        let fingerprint: Vec<String> =
            node.fingerprint.iter().map(|b| format!("{b:02X}")).collect();
        let mut row = json!({
            "node": node.name, "id": format!("node/{}", node.name), "type": "node", "level": "",
            "status": status, "ssl_fingerprint": fingerprint.join(":"),
        });
        let audited = request.may(&format!("/nodes/{}", node.name), "Sys.Audit");
        if let (true, true, Some(row)) = (audited, node.up, row.as_object_mut()) {
            row.extend(object(json!({
                "maxcpu": 8, "cpu": 0.05, "maxmem": 25_276_514_304_u64, "mem": 2_204_737_536_u64,
                "maxdisk": 270_553_174_016_u64, "disk": 23_464_497_152_u64, "uptime": 5637,
            })));
        }
        row
    });
    Ok(rows.collect())
}

pub(super) fn status(world: &mut World, _: &Request) -> Outcome {
    let nodes = world.nodes.len();
    let quorate = u8::from(world.quorate);
    let cluster = json!({
        "type": "cluster", "id": "cluster", "name": "lab", "nodes": nodes, "quorate": quorate, "version": 3,
    });
    let members = world.nodes.iter().enumerate().map(|(n, node)| {
        json!({
            "type": "node", "id": format!("node/{}", node.name), "name": node.name, "nodeid": n + 1,
            "online": u8::from(node.up), "local": u8::from(n == 0), "level": "",
        })
    });
    // A node that is in no cluster has no row for it.
    Ok((nodes > 1).then_some(cluster).into_iter().chain(members).collect())
}

pub(super) fn time(_: &mut World, _: &Request) -> Outcome {
    let now = World::now();
    Ok(json!({ "time": now, "localtime": now, "timezone": "UTC" }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn permissions(_: &mut World, request: &Request) -> Outcome {
    let flags = |held: &std::collections::BTreeMap<String, bool>| -> Map<String, Value> {
        held.iter().map(|(privilege, down)| (privilege.clone(), json!(u8::from(*down)))).collect()
    };
    let own = [request.token.as_str(), request.token.split('!').next().unwrap_or_default()];
    if request.get("userid").is_some_and(|user| !own.contains(&user)) {
        request.need("/access", "Sys.Audit")?;
    }
    if let Some(path) = request.get("path") {
        return Ok(json!({ path: flags(&request.access.held(&request.token, path)) }));
    }
    let paths = request.access.paths(&request.token).into_iter();
    let shown = paths.map(|(path, held)| (path, Value::Object(flags(&held))));
    Ok(Value::Object(shown.collect()))
}

pub(super) fn resources(world: &mut World, request: &Request) -> Outcome {
    let mut rows = Vec::new();
    for (node, vmid) in world.files.guests() {
        if !request.may(&format!("/vms/{vmid}"), "VM.Audit") {
            continue;
        }
        let Some(conf) = world.files.conf(&node, vmid) else { continue };
        let up = world.is_up(&node);
        let running = world.files.runs(vmid);
        let status = match (up, running) {
            (false, _) => "unknown",
            (true, true) => "running",
            (true, false) => "stopped",
        };
        let mut row = json!({
            "id": format!("lxc/{vmid}"), "vmid": vmid, "type": "lxc", "node": node, "status": status,
            "template": u8::from(conf.now.template()), "uptime": u8::from(running),
            "maxcpu": conf.now.get("cores").and_then(|c| c.parse::<u64>().ok()).unwrap_or(8),
        });
        for (key, value) in [
            ("name", conf.now.get("hostname")),
            ("tags", conf.now.get("tags")),
            ("lock", conf.now.lock()),
            ("pool", request.access.pool_of(vmid)),
        ] {
            if let Some(value) = value {
                row[key] = json!(value);
            }
        }
        rows.push(row);
    }
    // Rows of other kinds, which a client must skip.
    if request.get("type").is_none() {
        rows.extend(
            request
                .access
                .pools
                .keys()
                .map(|pool| json!({"id": format!("/pool/{pool}"), "type": "pool", "pool": pool})),
        );
        rows.push(json!({"id": "network/x/zone/localnetwork", "type": "network", "status": "ok"}));
    }
    Ok(Value::Array(rows))
}

pub(super) fn nextid(world: &mut World, request: &Request) -> Outcome {
    let taken: Vec<u32> = world.files.guests().into_iter().map(|(_, vmid)| vmid).collect();
    match request.get("vmid") {
        Some(asked) => match asked.parse() {
            Ok(vmid) if !taken.contains(&vmid) => Ok(json!(asked)),
            _ => Err(invalid("vmid", &format!("VM {asked} already exists"))),
        },
        None => {
            let free = (100..1_000_000).find(|vmid| !taken.contains(vmid));
            Ok(json!(free.map(|vmid: u32| vmid.to_string())))
        }
    }
}

pub(super) fn pools(world: &mut World, request: &Request) -> Outcome {
    let audited = |pool: &str| request.may(&format!("/pool/{pool}"), "Pool.Audit");
    let Some(name) = request.get("poolid") else {
        let pools = request.access.pools.iter().filter(|(name, _)| audited(name));
        return Ok(pools
            .map(|(name, pool)| json!({"poolid": name, "comment": pool.comment}))
            .collect());
    };
    request.need(&format!("/pool/{name}"), "Pool.Audit")?;
    let Some(pool) = request.access.pools.get(name) else {
        return Err(refuse(format!("pool '{name}' does not exist")));
    };
    let mut members: Vec<Value> = Vec::new();
    for vmid in &pool.guests {
        // A number without a guest is accepted as a member and not shown.
        let Some(node) = world.files.node_of(*vmid) else { continue };
        let status = if world.files.runs(*vmid) { "running" } else { "stopped" };
        members.push(json!({
            "id": format!("lxc/{vmid}"), "type": "lxc", "vmid": vmid, "node": node, "status": status,
        }));
    }
    for storage in &pool.storages {
        members.push(
            json!({"id": format!("storage/{storage}"), "type": "storage", "storage": storage}),
        );
    }
    Ok(json!([{"poolid": name, "comment": pool.comment, "members": members}]))
}

pub(super) fn set_pool(world: &mut World, request: &Request) -> Outcome {
    if !world.quorate {
        return Err(refuse("update pools failed: cfs-lock 'file-user_cfg' error: no quorum!"));
    }
    let name = request.get("poolid").unwrap_or_default().to_owned();
    if !request.access.pools.contains_key(&name) {
        return Err(refuse(format!("update pools failed: pool '{name}' does not exist")));
    }
    let listed = |key: &str| -> Vec<String> {
        let text = request.get(key).unwrap_or_default();
        text.split([',', ';', ' ']).filter(|p| !p.is_empty()).map(str::to_owned).collect()
    };
    let vmids: Vec<u32> = listed("vms").iter().filter_map(|v| v.parse().ok()).collect();
    for vmid in &vmids {
        request.need(&format!("/vms/{vmid}"), "VM.Allocate")?;
        let member = request.access.pool_of(*vmid);
        match (request.flag("delete"), member) {
            (true, Some(pool)) if pool == name => {}
            (true, _) => {
                return Err(refuse(format!("update pools failed: VM {vmid} is not a pool member")));
            }
            (false, Some(pool)) if pool == name || !request.flag("allow-move") => {
                return Err(refuse(format!(
                    "update pools failed: VM {vmid} is already a pool member"
                )));
            }
            (false, Some(pool)) => world.edit_pool(pool, |pool| {
                pool.guests.remove(vmid);
            }),
            (false, None) => {}
        }
    }
    let storages = listed("storage");
    let remove = request.flag("delete");
    world.edit_pool(&name, |pool| {
        if remove {
            pool.guests.retain(|g| !vmids.contains(g));
            pool.storages.retain(|s| !storages.contains(s));
        } else {
            pool.guests.extend(vmids);
            pool.storages.extend(storages);
        }
    });
    Ok(Value::Null)
}

pub(super) fn network(world: &mut World, request: &Request) -> Outcome {
    let usable = |bridge: &&String| {
        let path = format!("/sdn/zones/localnetwork/{bridge}");
        request.may(&path, "SDN.Audit") || request.may(&path, "SDN.Use")
    };
    let rows = world.bridges.iter().filter(usable).map(|bridge| {
        json!({"iface": bridge, "type": "bridge", "active": 1, "method": "static", "families": ["inet"]})
    });
    Ok(rows.collect())
}

pub(super) fn storages(world: &mut World, request: &Request) -> Outcome {
    let turn = world.draw() as usize;
    let wanted = request.get("content");
    let mut rows = Vec::new();
    for storage in &world.storages {
        let path = format!("/storage/{}", storage.name);
        let visible =
            request.may(&path, "Datastore.Audit") || request.may(&path, "Datastore.AllocateSpace");
        let fits =
            wanted.is_none_or(|w| w.split(',').any(|w| storage.content.iter().any(|c| c == w)));
        let here = storage.nodes.is_empty() || storage.nodes.iter().any(|n| n == request.node());
        if !visible || !fits || !here {
            continue;
        }
        let taken: u64 =
            world.volumes.values().filter(|v| v.storage == storage.name).map(|v| v.size).sum();
        let used = (storage.used + taken).min(storage.total);
        let mut content = storage.content.clone();
        // The order is random.
        content.rotate_left(turn % storage.content.len().max(1));
        rows.push(json!({
            "storage": storage.name, "type": storage.kind, "content": content.join(","), "active": 1,
            "enabled": 1, "shared": u8::from(storage.shared), "total": storage.total, "used": used,
            "avail": storage.total - used, "used_fraction": 0.1,
        }));
    }
    Ok(Value::Array(rows))
}

/// Whether a token may see a volume: backups and disks belong to a guest, and a token needs rights on that guest.
fn may_see(request: &Request, volume: &Volume) -> bool {
    let storage = format!("/storage/{}", volume.storage);
    let guest = volume.vmid.map(|vmid| format!("/vms/{vmid}")).unwrap_or_default();
    request.may(&storage, "Datastore.Allocate")
        || match volume.content {
            "backup" => {
                request.may(&storage, "Datastore.AllocateSpace") && request.may(&guest, "VM.Backup")
            }
            "rootdir" => request.may(&guest, "VM.Config.Disk"),
            _ => true,
        }
}

pub(super) fn content(world: &mut World, request: &Request) -> Outcome {
    let name = request.var("storage");
    if world.storage(name).is_none() {
        return Err(refuse(format!("storage '{name}' does not exist")));
    }
    let vmid = request.get("vmid").and_then(|v| v.parse::<u32>().ok());
    let rows = world.volumes.iter().filter(|(_, volume)| {
        volume.storage == name
            && request.get("content").is_none_or(|c| c == volume.content)
            && (vmid.is_none() || volume.vmid == vmid)
            && may_see(request, volume)
    });
    let rows = rows.map(|(volid, volume)| {
        let mut row = json!({
            "volid": volid, "content": volume.content, "format": volume.format, "size": volume.size,
            "ctime": volume.made,
        });
        if let Some(vmid) = volume.vmid {
            row["vmid"] = json!(vmid);
        }
        if volume.content == "backup" {
            row["subtype"] = json!("lxc");
            row["notes"] = json!(volume.notes);
            if volume.protected {
                row["protected"] = json!(1);
            }
        }
        row
    });
    Ok(rows.collect())
}

pub(super) fn delete_volume(world: &mut World, request: &Request) -> Outcome {
    let storage = request.var("storage").to_owned();
    let given = request.var("volume");
    let volid = if given.contains(':') { given.to_owned() } else { format!("{storage}:{given}") };
    let path = format!("/storage/{storage}");
    // Whose backup it is stands in its name; the file need not exist.
    let owner = world.volumes.get(&volid).and_then(|v| v.vmid).or_else(|| owner_in(&volid));
    match owner {
        Some(owner) if volid.contains(":backup/") && !request.may(&path, "Datastore.Allocate") => {
            request.need(&path, "Datastore.AllocateSpace")?;
            request.need(&format!("/vms/{owner}"), "VM.Backup")?;
        }
        _ => request.need(&path, "Datastore.Allocate")?,
    }
    let id = match owner {
        Some(owner) => format!("{owner}@{storage}"),
        None => format!("@{storage}"),
    };
    let node = request.node().to_owned();
    let effect = Box::new(move |world: &mut World| {
        let is_protected = world.volumes.get(&volid).is_some_and(|v| v.protected);
        if is_protected {
            let name = volid.split_once(':').map(|(_, name)| name).unwrap_or_default();
            return Err(format!("cannot remove protected volume '{name}' on '{storage}'"));
        }
        world.volumes.remove(&volid);
        Ok(vec![format!("Removed volume '{volid}'")])
    });
    world.start_task(request, &node, "imgdel", &id, (effect, no_undo()))
}

/// `101` of `tank:backup/vzdump-lxc-101-2026_11_20-17_51_01.tar.zst`.
fn owner_in(volid: &str) -> Option<u32> {
    volid.split_once("vzdump-lxc-")?.1.split('-').next()?.parse().ok()
}

pub(super) fn appliances(world: &mut World, _: &Request) -> Outcome {
    let rows = world.appliances.iter().map(|a| {
        json!({
            "template": a.template, "sha512sum": a.sha512, "os": a.os, "version": a.version,
            "package": a.template.split('_').next(), "section": "system", "type": "lxc",
            "architecture": "amd64", "headline": a.headline,
        })
    });
    Ok(rows.collect())
}

pub(super) fn download(world: &mut World, request: &Request) -> Outcome {
    let template = request.get("template").unwrap_or_default().to_owned();
    let storage = request.get("storage").unwrap_or_default().to_owned();
    if !world.appliances.iter().any(|a| a.template == template) {
        return Err(invalid("template", "no such template"));
    }
    match world.storage(&storage) {
        None => return Err(refuse(format!("storage '{storage}' does not exist"))),
        Some(found) if !found.content.iter().any(|c| c == "vztmpl") => {
            return Err(refuse(format!(
                "storage '{storage}' is not configured for content-type 'vztmpl'"
            )));
        }
        Some(_) => {}
    }
    let node = request.node().to_owned();
    let name = template.clone();
    let effect = Box::new(move |world: &mut World| {
        world.add_template(&storage, &template);
        Ok(vec![format!("downloading {template}"), "download finished".to_owned()])
    });
    world.start_task(request, &node, "download", &name, (effect, no_undo()))
}

impl World {
    /// Puts an OS template on a storage.
    pub(super) fn add_template(&mut self, storage: &str, file: &str) -> String {
        let volid = format!("{storage}:vztmpl/{file}");
        let volume = Volume {
            storage: storage.to_owned(),
            content: "vztmpl",
            format: "tzst".to_owned(),
            size: 1_078_274,
            made: Self::now(),
            ..Volume::default()
        };
        self.volumes.insert(volid.clone(), volume);
        volid
    }
}
