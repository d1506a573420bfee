//! Arguments as requests of the API.

use std::path::Path;

use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::ClientError;
use super::{
    ClusterCommand, Command, DbCommand, HostCommand, HostSettings, ImageCommand, JobCommand,
    SightingCommand, SystemCommand, Which,
};

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body) }
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None }
    }
}

/// One path segment, with everything escaped that has a meaning in an address.
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// A path as the appliance must see it: relative ones begin where the command was typed.
fn absolute(source: &str) -> String {
    if source.contains("://") {
        return source.to_owned();
    }
    std::path::absolute(source).map_or_else(|_| source.to_owned(), |p| p.display().to_string())
}

fn boot_disk(settings: &HostSettings) -> Result<Option<Value>, ClientError> {
    if let Some(serial) = &settings.disk_serial {
        let property = "ID_SERIAL_SHORT";
        return Ok(Some(json!({ "by": "property", "property": property, "value": serial })));
    }
    if let Some(pair) = &settings.disk_property {
        let (property, value) = pair.split_once('=').ok_or_else(|| {
            ClientError::Usage(format!("--disk-property {pair}: NAME=VALUE is expected"))
        })?;
        return Ok(Some(json!({ "by": "property", "property": property, "value": value })));
    }
    let names: Vec<&str> =
        settings.disk_device.iter().map(|n| n.trim_start_matches("/dev/")).collect();
    Ok((!names.is_empty()).then(|| json!({ "by": "devices", "names": names })))
}

fn network(settings: &HostSettings) -> Option<Value> {
    let address = settings.address.as_ref()?;
    Some(json!({ "cidr": address, "gateway": settings.gateway, "dns": settings.dns }))
}

impl Which {
    fn query(&self) -> String {
        let problem = self.problem.then(|| "yes".to_owned());
        [
            ("state", &self.state),
            ("type", &self.server_type),
            ("problem", &problem),
            ("q", &self.search),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))))
        .collect::<Vec<_>>()
        .join("&")
    }
}

fn host_call(command: &HostCommand) -> Result<Call, ClientError> {
    Ok(match command {
        HostCommand::List { which } => {
            let query = which.query();
            let sign = if query.is_empty() { "" } else { "?" };
            Call::get(format!("/api/hosts{sign}{query}"))
        }
        HostCommand::Show { host } => Call::get(format!("/api/hosts/{}", segment(host))),
        HostCommand::Boot { host } => Call::get(format!("/api/hosts/{}/boot", segment(host))),
        HostCommand::Answer { host, image, text: _ } => {
            let image = image.as_ref().map(|id| format!("?image={}", segment(id)));
            let image = image.unwrap_or_default();
            Call::get(format!("/api/hosts/{}/answer{image}", segment(host)))
        }
        HostCommand::Delete { host } => Call::delete(format!("/api/hosts/{}", segment(host))),
        HostCommand::Add { name, mac, server_type, settings } => {
            let mut body = json!({ "hostname": name, "macs": mac, "server_type": server_type });
            body["boot_disk"] = boot_disk(settings)?.unwrap_or(Value::Null);
            body["network"] = network(settings).unwrap_or(Value::Null);
            Call::post("/api/hosts", body)
        }
        HostCommand::Rebuild { host, image, confirm, replace_node, wait: _ } => Call::post(
            format!("/api/hosts/{}/rebuild", segment(host)),
            json!({ "image": image, "confirm": confirm, "replace_node": replace_node }),
        ),
        HostCommand::RebuildMany(many) => many.call()?,
        HostCommand::Export { format } => Call::get(format!("/api/host-file?format={format}")),
        HostCommand::Import { file, format, dry_run } => import(file, format.as_deref(), *dry_run)?,
        HostCommand::Power(command) => command.call()?,
        HostCommand::Edit {
            host,
            mac,
            server_type,
            settings,
            no_disk,
            no_address,
            forget_uuid,
        } => {
            let mut body = Map::new();
            if !mac.is_empty() {
                body.insert("macs".into(), json!(mac));
            }
            if let Some(server_type) = server_type {
                body.insert("server_type".into(), json!(server_type));
            }
            match boot_disk(settings)? {
                Some(disk) => drop(body.insert("boot_disk".into(), disk)),
                None if *no_disk => drop(body.insert("boot_disk".into(), Value::Null)),
                None => {}
            }
            match network(settings) {
                Some(network) => drop(body.insert("network".into(), network)),
                None if *no_address => drop(body.insert("network".into(), Value::Null)),
                None => {}
            }
            if *forget_uuid {
                body.insert("forget_uuid".into(), Value::Bool(true));
            }
            if body.is_empty() {
                return Err(ClientError::Usage("nothing to change was given".to_owned()));
            }
            let path = format!("/api/hosts/{}", segment(host));
            Call { method: Method::PATCH, path, body: Some(Value::Object(body)) }
        }
    })
}

fn import(file: &Path, format: Option<&str>, dry_run: bool) -> Result<Call, ClientError> {
    let ending = file.extension().map(|e| e.to_string_lossy().to_lowercase());
    let format =
        format.or(ending.as_deref()).filter(|f| matches!(*f, "csv" | "toml")).ok_or_else(|| {
            ClientError::Usage(
                "the file's ending does not say its form; add --format csv or toml".to_owned(),
            )
        })?;
    let text = std::fs::read_to_string(file)
        .map_err(|e| ClientError::Usage(format!("{} cannot be read: {e}", file.display())))?;
    Ok(Call::post("/api/host-file", json!({ "format": format, "text": text, "dry_run": dry_run })))
}

fn job_call(command: &JobCommand) -> Call {
    match command {
        JobCommand::List { limit, kind, status } => {
            let part = |name: &str, value: &Option<String>| {
                value.as_ref().map(|v| format!("&{name}={}", segment(v))).unwrap_or_default()
            };
            let (kind, status) = (part("kind", kind), part("status", status));
            Call::get(format!("/api/jobs?limit={limit}{kind}{status}"))
        }
        JobCommand::Show { job } | JobCommand::Follow { job } => {
            Call::get(format!("/api/jobs/{}", segment(job)))
        }
        JobCommand::Cancel { job } => {
            Call::post(format!("/api/jobs/{}/cancel", segment(job)), json!({}))
        }
        JobCommand::Retry { job, confirm, wait: _ } => {
            Call::post(format!("/api/jobs/{}/retry", segment(job)), json!({ "confirm": confirm }))
        }
    }
}

fn offline() -> ClientError {
    ClientError::Usage("this command does not need the appliance".to_owned())
}

/// The request of a client command.
pub(super) fn call(command: &Command) -> Result<Call, ClientError> {
    Ok(match command {
        Command::Host(command) => host_call(command)?,
        Command::Job(command) => job_call(command),
        Command::Image(ImageCommand::List) => Call::get("/api/images"),
        Command::Image(ImageCommand::Import { source, sha256, wait: _ }) => {
            Call::post("/api/images", json!({ "source": absolute(source), "sha256": sha256 }))
        }
        Command::Image(ImageCommand::Delete { id }) => {
            Call::delete(format!("/api/images/{}", segment(id)))
        }
        Command::Sighting(SightingCommand::List) => Call::get("/api/sightings"),
        Command::Sighting(SightingCommand::Boot { mac }) => {
            Call::get(format!("/api/sightings/{}/boot", segment(mac)))
        }
        Command::Sighting(SightingCommand::Ignore { mac, undo }) => Call::post(
            format!("/api/sightings/{}/ignore", segment(mac)),
            json!({ "ignored": !undo }),
        ),
        Command::ServerType(command) => command.call()?,
        Command::Cluster(ClusterCommand::Show) => Call::get("/api/cluster"),
        Command::Cluster(ClusterCommand::Key) => Call::get("/api/cluster/key"),
        Command::Db(DbCommand::Backup { path }) => {
            let path = absolute(&path.to_string_lossy());
            Call::post("/api/db/backup", json!({ "path": path }))
        }
        Command::App(command) => command.call()?.ok_or_else(offline)?,
        Command::Guest(command) => command.call()?,
        Command::Node(command) => command.call()?.ok_or_else(offline)?,
        Command::Account(command) => command.call()?,
        Command::Session(command) => command.call(),
        Command::Token(command) => command.call(),
        Command::Notify(command) => command.call(),
        Command::Audit(audit) => audit.call(),
        Command::System(SystemCommand::Discovery) => Call::get("/api/system/discovery"),
        Command::Serve
        | Command::Check { .. }
        | Command::Doctor(_)
        | Command::DebugBundle(_)
        | Command::Setup(_)
        | Command::Db(_) => {
            return Err(offline());
        }
    })
}
