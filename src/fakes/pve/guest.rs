//! Calls about one container's configuration and state.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::World;
use super::files::Conf;
use super::world::{Outcome, Refusal, Request, denied, invalid, no_undo, refuse, root_only};
use crate::proto::pve::PropertyString;

/// Properties that the cluster shows as numbers.
const NUMBERS: &[&str] = &[
    "cores",
    "cpuunits",
    "memory",
    "onboot",
    "protection",
    "swap",
    "template",
    "tty",
    "unprivileged",
    "debug",
    "console",
];

pub(super) fn config(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node(), request.vmid());
    let conf = world.conf(node, vmid)?;
    let mut shown: Map<String, Value> = Map::new();
    for (key, text) in &conf.now.raw {
        let number = text.parse::<i64>().ok().filter(|_| NUMBERS.contains(&key.as_str()));
        shown.insert(key.clone(), number.map_or_else(|| json!(text), |n| json!(n)));
    }
    if !conf.now.lxc.is_empty() {
        shown.insert("lxc".to_owned(), json!(conf.now.lxc));
    }
    shown.insert("digest".to_owned(), json!(world.files.digest(node, vmid)));
    Ok(Value::Object(shown))
}

pub(super) fn status(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node(), request.vmid());
    let conf = world.conf(node, vmid)?;
    let running = world.files.runs(vmid);
    let mebibytes =
        |key: &str| conf.now.get(key).and_then(|m| m.parse::<u64>().ok()).unwrap_or(512) << 20;
    let mut row = json!({
        "vmid": vmid, "type": "lxc", "status": if running { "running" } else { "stopped" },
        "uptime": u8::from(running), "ha": {"managed": 0}, "cpu": 0, "mem": 0, "disk": 0, "swap": 0,
        "cpus": conf.now.get("cores").and_then(|c| c.parse::<u64>().ok()).unwrap_or(8),
        "maxmem": mebibytes("memory"), "maxswap": mebibytes("swap"), "maxdisk": 1 << 30,
    });
    for (key, value) in [
        ("name", conf.now.get("hostname")),
        ("lock", conf.now.lock()),
        ("tags", conf.now.get("tags")),
    ] {
        if let Some(value) = value {
            row[key] = json!(value);
        }
    }
    if conf.now.template() {
        row["template"] = json!(1);
    }
    Ok(row)
}

pub(super) fn interfaces(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node(), request.vmid());
    let conf = world.conf(node, vmid)?;
    if !world.files.runs(vmid) {
        return Ok(Value::Null);
    }
    let net = conf.now.net(0).unwrap_or_default();
    let mac = net.get("hwaddr").unwrap_or_default().to_lowercase();
    let length = net.get("ip").and_then(|ip| ip.split_once('/')).map_or("24", |(_, length)| length);
    let row = |name: &str, mac: &str, address: Option<String>| {
        let mut row = json!({"name": name, "hwaddr": mac, "hardware-address": mac});
        if let Some(address) = address {
            let (ip, length) = address.split_once('/').unwrap_or((&address, "24"));
            // The list exists since 8.4.
            if !world.is_older_than(8, 4) {
                let one = json!({"ip-address": ip, "ip-address-type": "inet", "prefix": length});
                row["ip-addresses"] = json!([one]);
            }
            row["inet"] = json!(address);
        }
        row
    };
    let address = world.files.address(vmid).map(|ip| format!("{ip}/{length}"));
    Ok(json!([
        row("lo", "00:00:00:00:00:00", Some("127.0.0.1/8".to_owned())),
        row(net.get("name").unwrap_or("eth0"), &mac, address),
    ]))
}

/// Refuses a change while the guest is locked.
pub(super) fn unlocked(conf: &Conf) -> Result<(), Refusal> {
    match conf.now.lock() {
        Some(lock) => Err(refuse(format!("CT is locked ({lock})"))),
        None => Ok(()),
    }
}

/// The privilege that setting or removing a property needs; `None`: no token has it.
fn privilege(key: &str) -> Option<&'static str> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    Some(match stem {
        "cores" | "cpulimit" | "cpuunits" => "VM.Config.CPU",
        "memory" | "swap" => "VM.Config.Memory",
        "net" | "nameserver" | "searchdomain" | "hostname" => "VM.Config.Network",
        "rootfs" | "mp" | "unused" => "VM.Config.Disk",
        "dev" | "hookscript" => return None,
        _ => "VM.Config.Options",
    })
}

/// Checks what a token may set. `allowed` says whether it has a privilege for the guest, its future pool counted in;
/// features that are as they were need nothing.
pub(super) fn may_set(
    request: &Request,
    conf: &Conf,
    key: &str,
    value: &str,
    unprivileged: bool,
    allowed: &dyn Fn(&str) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem {
        "dev" => return Err(root_only("configuring device passthrough")),
        "hookscript" => return Err(root_only("changing the hookscript")),
        "features" => {
            let wanted = PropertyString::parse(value).unwrap_or_default();
            if wanted == conf.now.features() {
                return Ok(());
            }
            if !unprivileged {
                return Err(root_only("changing feature flags for privileged container"));
            }
            if wanted.iter().any(|(feature, _)| feature != "nesting") {
                return Err(root_only("changing feature flags (except nesting)"));
            }
            return allowed("VM.Allocate");
        }
        "mp" if value.starts_with("/dev/") => return Err(root_only("mount point type device")),
        "mp" if value.starts_with('/') => return Err(root_only("mount point type bind")),
        "net" => {
            allowed("VM.Config.Network")?;
            let net = PropertyString::parse(value).unwrap_or_default();
            if let Some(bridge) = net.get("bridge") {
                let mut path = format!("/sdn/zones/localnetwork/{bridge}");
                path.extend(net.get("tag").map(|tag| format!("/{tag}")));
                request.need(&path, "SDN.Use")?;
            }
            return Ok(());
        }
        _ => {}
    }
    match privilege(key) {
        Some(privilege) => allowed(privilege),
        None => Err(denied("/", "Sys.Modify")),
    }
}

/// A property as it is stored: tags lower-cased and sorted, booleans as digits, interfaces with an address of their own and
/// keys in the cluster's order.
pub(super) fn stored(world: &mut World, key: &str, value: &str) -> String {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match stem {
        "tags" => {
            let parts = value.split([',', ';', ' ']).filter(|t| !t.is_empty());
            let tags: BTreeSet<String> = parts.map(str::to_lowercase).collect();
            tags.into_iter().collect::<Vec<_>>().join(";")
        }
        "net" => {
            let mut net = PropertyString::parse(value).unwrap_or_default();
            if net.get("hwaddr").is_none() {
                let n = world.draw();
                let mac = format!(
                    "BC:24:11:{:02X}:{:02X}:{:02X}",
                    (n >> 16) & 255,
                    (n >> 8) & 255,
                    n & 255
                );
                net = net.with("hwaddr", &mac).unwrap_or_default();
            }
            if net.get("type").is_none() {
                net = net.with("type", "veth").unwrap_or_default();
            }
            net.to_string()
        }
        "description" => format!("{}\n", value.trim_end_matches('\n')),
        "onboot" | "protection" | "unprivileged" | "template" | "console" | "debug"
            if value == "true" || value == "false" =>
        {
            u8::from(value == "true").to_string()
        }
        _ => value.to_owned(),
    }
}

/// Makes the volume of `STORAGE:SIZE,…` and gives the property as it is stored. What names a volume stays as it is.
pub(super) fn with_volume(world: &mut World, vmid: u32, value: &str) -> Result<String, String> {
    let property = PropertyString::parse(value).map_err(|e| e.to_string())?;
    let bare = property.bare().or_else(|| property.get("volume")).unwrap_or_default().to_owned();
    let Some((storage, size)) = bare.split_once(':') else { return Ok(value.to_owned()) };
    let Ok(gib) = size.parse::<f64>() else { return Ok(value.to_owned()) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // sizes of tests
    let mebibytes = (gib * 1024.0) as u64;
    let volid = world.allocate(storage, vmid, mebibytes << 20)?;
    let size = if mebibytes.is_multiple_of(1024) {
        format!("{}G", mebibytes / 1024)
    } else {
        format!("{mebibytes}M")
    };
    let mut out = PropertyString::of(&volid).map_err(|e| e.to_string())?;
    for (key, value) in property.iter().filter(|(key, _)| *key != "volume") {
        out = out.with(key, value).map_err(|e| e.to_string())?;
    }
    Ok(out.with("size", &size).map_err(|e| e.to_string())?.to_string())
}

pub(super) fn set_config(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let mut set = request.params.clone();
    let digest = set.remove("digest");
    let delete: Vec<String> = set
        .remove("delete")
        .map(|list| list.split([',', ';', ' ']).map(str::to_owned).collect())
        .unwrap_or_default();
    if set.is_empty() && delete.is_empty() {
        return Err(refuse("no options specified"));
    }
    for key in &delete {
        if set.contains_key(key) {
            let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(invalid("delete", &text));
        }
        let known = world.schema.as_ref().is_none_or(|schema| {
            let path = format!("/nodes/{node}/lxc/{vmid}/config");
            let params = [(key.clone(), String::new())].into_iter().collect();
            match schema.check("PUT", &path, &params, super::format::Place::Form) {
                super::schema::Verdict::Bad(errors) => !errors[key].contains("is not defined"),
                _ => true,
            }
        });
        if !known {
            return Err(invalid("delete", &format!("unknown option '{key}'")));
        }
    }
    let conf = world.conf(&node, vmid)?;
    let allowed = |privilege: &str| request.need(&format!("/vms/{vmid}"), privilege);
    let unprivileged = conf.now.unprivileged();
    for (key, value) in &set {
        may_set(request, &conf, key, value, unprivileged, &allowed)?;
    }
    for key in &delete {
        let device = key.strip_prefix("dev").is_some_and(|n| n.parse::<u8>().is_ok());
        if device || key == "features" || key == "hookscript" {
            may_set(request, &conf, key, "", unprivileged, &allowed)?;
        } else if let Some(privilege) = privilege(key) {
            allowed(privilege)?;
        }
    }
    unlocked(&conf)?;
    if digest.is_some_and(|digest| digest != world.files.digest(&node, vmid)) {
        return Err(refuse(
            "detected modified configuration - file changed by other user? Try again.",
        ));
    }
    if set.contains_key("unprivileged") {
        return Err(refuse("unable to modify read-only option: 'unprivileged'"));
    }
    if !world.quorate {
        let file = format!("/etc/pve/nodes/{node}/lxc/{vmid}.conf.tmp.233");
        return Err(refuse(format!("unable to open file '{file}' - Permission denied")));
    }
    apply(world, &node, vmid, conf, &set, &delete)
}

fn apply(
    world: &mut World,
    node: &str,
    vmid: u32,
    mut conf: Conf,
    set: &std::collections::BTreeMap<String, String>,
    delete: &[String],
) -> Outcome {
    for key in delete {
        let Some(old) = conf.now.raw.remove(key) else { continue };
        let volume = PropertyString::parse(&old).ok().and_then(|p| p.bare().map(str::to_owned));
        let Some(volume) = volume.filter(|v| world.volumes.contains_key(v)) else { continue };
        if key.starts_with("unused") {
            world.volumes.remove(&volume);
        } else if key.starts_with("mp") {
            let slot = (0..).find(|n| !conf.now.raw.contains_key(&format!("unused{n}")));
            conf.now.raw.insert(format!("unused{}", slot.unwrap_or(0)), volume);
        }
    }
    for (key, value) in set {
        let value = if key.starts_with("mp") || key == "rootfs" {
            with_volume(world, vmid, value).map_err(refuse)?
        } else {
            stored(world, key, value)
        };
        conf.now.raw.insert(key.clone(), value);
    }
    world.files.write_conf(node, vmid, &conf);
    Ok(Value::Null)
}

pub(super) fn resize(world: &mut World, request: &Request) -> Outcome {
    let (node, vmid) = (request.node().to_owned(), request.vmid());
    let conf = world.conf(&node, vmid)?;
    unlocked(&conf)?;
    if !world.quorate {
        return Err(refuse("cluster not ready - no quorum?"));
    }
    let disk = request.get("disk").unwrap_or_default().to_owned();
    let Some(property) = conf.now.get(&disk).and_then(|t| PropertyString::parse(t).ok()) else {
        let missing = "property is missing and it is not optional".to_owned();
        let errors = ["mp", "volume"].map(|key| (key.to_owned(), missing.clone()));
        return Err(Refusal { errors: errors.into(), ..refuse("format error") });
    };
    let old = property.get("size").map_or(0, mebibytes);
    let asked = request.get("size").unwrap_or_default();
    let new = match asked.strip_prefix('+') {
        Some(more) => old + mebibytes(more),
        None => mebibytes(asked),
    };
    if new < old {
        return Err(refuse("unable to shrink disk size"));
    }
    if new == old {
        return Err(refuse("disk is already at specified size"));
    }
    let id = vmid.to_string();
    let place = node.clone();
    let effect = Box::new(move |world: &mut World| {
        world.edit_conf(&node, vmid, |conf| {
            if let Some(text) = conf.now.raw.get_mut(&disk) {
                let kept: Vec<&str> = text.split(',').filter(|p| !p.starts_with("size=")).collect();
                *text = format!("{},size={}G", kept.join(","), new / 1024);
            }
        });
        Ok(vec![format!("resized {disk}")])
    });
    world.start_task(request, &place, "resize", &id, (effect, no_undo()))
}

/// MiB of `8G`, `512M`, or a number of bytes.
fn mebibytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.split('.').next().and_then(|d| d.parse().ok()).unwrap_or(0);
    match text.chars().next_back() {
        Some('T') => number << 20,
        Some('G') => number << 10,
        Some('M') => number,
        Some('K') => number >> 10,
        _ => number >> 20,
    }
}
