//! `ironhatch guest …`: containers that Ironhatch made or adopted.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::app::{inputs, pair};
use super::call::{Call, segment};
use super::client::ClientError;
use super::print;
use crate::plan::guest::journal::USUAL_LINES;

/// One guest, and whether the job's end is waited for.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Name or id
    pub guest: String,
    /// Wait for the end and show the log
    #[arg(long)]
    pub wait: bool,
}

/// `ironhatch guest …`
#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// List guests
    #[command(after_help = "Example:\n  ironhatch guest list --state failed")]
    List {
        /// Only those in this state: observed, installing, ready, changing, failed, removing
        #[arg(long)]
        state: Option<String>,
        /// Only those on this node
        #[arg(long)]
        node: Option<String>,
        /// Only those that run this app
        #[arg(long)]
        app: Option<String>,
    },
    /// Show one guest
    Show {
        /// Name or id
        guest: String,
    },
    /// Show how a guest is just now
    Vitals {
        /// Name or id
        guest: String,
    },
    /// Print lines of its own journal
    #[command(after_help = "Example:\n  ironhatch guest logs club --lines 50 --unit nginx")]
    Logs {
        /// Name or id
        guest: String,
        /// The newest so many; at most 5000
        #[arg(long, default_value_t = USUAL_LINES)]
        lines: u32,
        /// Of this systemd unit only
        #[arg(long)]
        unit: Option<String>,
    },
    /// Start it
    Start(Target),
    /// Ask it to shut down
    Shutdown(Target),
    /// Stop it at once
    Stop(Target),
    /// Shut it down and start it
    Restart(Target),
    /// Bring its app to the catalog's version; a restore point is made first
    #[command(
        after_help = "Example:\n  ironhatch guest upgrade club --wait || ironhatch guest return club --wait"
    )]
    Upgrade(Target),
    /// Take it back to its restore point
    Return(Target),
    /// Back it up
    Backup {
        /// Which
        #[command(flatten)]
        target: Target,
        /// Where to; the first approved storage when left out
        #[arg(long)]
        storage: Option<String>,
    },
    /// List its backups
    Backups {
        /// Name or id
        guest: String,
    },
    /// Put a backup in its place
    #[command(
        after_help = "Example:\n  ironhatch guest restore club backup:backup/vzdump-lxc-101-….tar.zst --confirm club --wait"
    )]
    Restore {
        /// Which
        #[command(flatten)]
        target: Target,
        /// The backup's volume id, as `guest backups` shows it
        archive: String,
        /// On another node
        #[arg(long)]
        node: Option<String>,
        /// The guest's name once more: what is in it is replaced
        #[arg(long, value_name = "NAME")]
        confirm: String,
    },
    /// Change its inputs and resources
    #[command(
        after_help = "Example:\n  ironhatch guest reconfigure club --field memory_mb=1024 --set spa=true --wait"
    )]
    Reconfigure {
        /// Which
        #[command(flatten)]
        target: Target,
        /// An input of its app, as KEY=VALUE
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// An input of its app whose value is a file's content (`-`: standard input)
        #[arg(long, value_name = "KEY=PATH")]
        set_file: Vec<String>,
        /// cores, memory_mb, disk_gb, onboot, description, gpu or gpu_devices, as NAME=VALUE
        #[arg(long, value_name = "NAME=VALUE")]
        field: Vec<String>,
    },
    /// Take it away; also destroys what a failed installation left
    #[command(
        after_help = "Example:\n  ironhatch guest uninstall club --confirm club --keep-volumes --wait"
    )]
    Uninstall {
        /// Which
        #[command(flatten)]
        target: Target,
        /// Volumes beside the root disk stay on their storage
        #[arg(long)]
        keep_volumes: bool,
        /// The guest's name once more: its container is destroyed
        #[arg(long, value_name = "NAME")]
        confirm: String,
    },
    /// Record a container that exists, read-only
    #[command(
        after_help = "Example:\n  ironhatch guest observe pve1 105 && ironhatch guest adopt old-box --confirm old-box"
    )]
    Observe {
        /// The node that holds it
        node: String,
        /// Its number
        vmid: u32,
    },
    /// Make an observed container ours
    Adopt {
        /// Which
        #[command(flatten)]
        target: Target,
        /// The guest's name once more: its pool and tags are changed
        #[arg(long, value_name = "NAME")]
        confirm: String,
    },
    /// Forget an observed container; nothing about it changes
    Forget {
        /// Name or id
        guest: String,
    },
    /// List volumes that guests left when they were uninstalled, by the numbers that they hold
    Kept,
    /// Free the number that kept volumes hold; the volumes stay where they are
    #[command(after_help = "Example:\n  ironhatch guest forget-kept 203 --confirm 203")]
    ForgetKept {
        /// The number
        vmid: u32,
        /// The number once more: another guest may get it
        #[arg(long, value_name = "NUMBER")]
        confirm: String,
    },
    /// Print one of its secrets; it can be asked for once
    #[command(after_help = "Example:\n  ironhatch guest reveal charts admin_password")]
    Reveal {
        /// Name or id
        guest: String,
        /// The secret's key
        key: String,
    },
    /// Try a failed installation again
    Retry(Target),
    /// Push its service definition again
    Publish(Target),
}

fn of(guest: &str, what: &str) -> String {
    let slash = if what.is_empty() { "" } else { "/" };
    format!("/api/guests/{}{slash}{what}", segment(guest))
}

fn power(target: &Target, action: &str) -> Call {
    Call::post(of(&target.guest, "power"), json!({ "action": action }))
}

fn plain(target: &Target, what: &str) -> Call {
    Call::post(of(&target.guest, what), json!({}))
}

impl GuestCommand {
    /// The request.
    pub(super) fn call(&self) -> Result<Call, ClientError> {
        Ok(match self {
            Self::List { state, node, app } => {
                let part = |name: &str, value: &Option<String>| {
                    value.as_ref().map(|v| format!("{name}={}", segment(v)))
                };
                let query = [part("state", state), part("node", node), part("app", app)];
                let query: Vec<String> = query.into_iter().flatten().collect();
                Call::get(format!("/api/guests?{}", query.join("&")))
            }
            Self::Show { guest } => Call::get(of(guest, "")),
            Self::Vitals { guest } => Call::get(of(guest, "vitals")),
            Self::Logs { guest, lines, unit } => {
                let unit = unit.as_deref().unwrap_or_default();
                let query = format!("lines={lines}&unit={}", segment(unit));
                Call::get(format!("{}?{query}", of(guest, "logs")))
            }
            Self::Start(target) => power(target, "start"),
            Self::Shutdown(target) => power(target, "shutdown"),
            Self::Stop(target) => power(target, "stop"),
            Self::Restart(target) => power(target, "restart"),
            Self::Upgrade(target) => plain(target, "upgrade"),
            Self::Return(target) => plain(target, "return"),
            Self::Retry(target) => plain(target, "retry"),
            Self::Publish(target) => plain(target, "publish"),
            Self::Backup { target, storage } => {
                let storage = storage.clone().unwrap_or_default();
                Call::post(of(&target.guest, "backup"), json!({ "storage": storage }))
            }
            Self::Backups { guest } => Call::get(of(guest, "backups")),
            Self::Restore { target, archive, node, confirm } => {
                let node = node.clone().unwrap_or_default();
                let body = json!({ "archive": archive, "node": node, "confirm": confirm });
                Call::post(of(&target.guest, "restore"), body)
            }
            Self::Reconfigure { target, set, set_file, field } => {
                let mut body = Map::new();
                for text in field {
                    let (name, value) = pair("--field", text)?;
                    body.insert(name.to_owned(), json!(value));
                }
                inputs(&mut body, set, set_file)?;
                if body.is_empty() {
                    return Err(ClientError::Usage("nothing to change was given".to_owned()));
                }
                Call::post(of(&target.guest, "reconfigure"), Value::Object(body))
            }
            Self::Uninstall { target, keep_volumes, confirm } => Call::post(
                "/api/uninstall",
                json!({ "guest": target.guest, "keep_volumes": keep_volumes, "confirm": confirm }),
            ),
            Self::Observe { node, vmid } => {
                Call::post("/api/guests/observe", json!({ "node": node, "vmid": vmid }))
            }
            Self::Adopt { target, confirm } => {
                Call::post(of(&target.guest, "adopt"), json!({ "confirm": confirm }))
            }
            Self::Forget { guest } => {
                Call { method: Method::DELETE, path: of(guest, ""), body: None }
            }
            Self::Kept => Call::get("/api/kept-volumes"),
            Self::ForgetKept { vmid, confirm } => Call::post(
                format!("/api/kept-volumes/{vmid}/forget"),
                json!({ "confirm": confirm }),
            ),
            Self::Reveal { guest, key } => Call::post(of(guest, "reveal"), json!({ "key": key })),
        })
    }

    fn target(&self) -> Option<&Target> {
        match self {
            Self::Start(target)
            | Self::Shutdown(target)
            | Self::Stop(target)
            | Self::Restart(target)
            | Self::Upgrade(target)
            | Self::Return(target)
            | Self::Retry(target)
            | Self::Publish(target)
            | Self::Backup { target, .. }
            | Self::Restore { target, .. }
            | Self::Reconfigure { target, .. }
            | Self::Uninstall { target, .. }
            | Self::Adopt { target, .. } => Some(target),
            Self::List { .. }
            | Self::Show { .. }
            | Self::Vitals { .. }
            | Self::Logs { .. }
            | Self::Backups { .. }
            | Self::Observe { .. }
            | Self::Forget { .. }
            | Self::Kept
            | Self::ForgetKept { .. }
            | Self::Reveal { .. } => None,
        }
    }

    /// Whether the job's end is waited for.
    pub(super) fn waits(&self) -> bool {
        self.target().is_some_and(|target| target.wait)
    }

    /// Prints the answer for people.
    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::List { .. } => {
                let columns = [
                    ("NAME", "name"),
                    ("STATE", "state"),
                    ("APP", "app.id"),
                    ("VERSION", "app.version"),
                    ("NODE", "node"),
                    ("NUMBER", "vmid"),
                    ("ADDRESS", "address"),
                    ("REASON", "failure.reason"),
                ];
                let nothing =
                    "no guest; see `ironhatch app list` and `ironhatch app install --help`";
                print::list(value, "guests", &columns, nothing);
            }
            Self::Show { .. } | Self::Observe { .. } => {
                let paths = [
                    "name",
                    "state",
                    "state_since",
                    "app.id",
                    "app.version",
                    "node",
                    "vmid",
                    "address",
                    "job",
                    "failure.reason",
                    "failure.hint",
                    "restore_point.before",
                    "restore_point.made",
                    "service.domain",
                    "service.commit",
                    "id",
                ];
                print::facts(value, &paths);
                let columns = [("OUTPUT", "key"), ("VALUE", "value"), ("WHAT", "label")];
                if value.get("outputs").and_then(Value::as_array).is_some_and(|o| !o.is_empty()) {
                    print::list(value, "outputs", &columns, "");
                }
            }
            Self::Vitals { .. } => print::facts(
                value,
                &[
                    "status",
                    "cpu",
                    "memory",
                    "memory_max",
                    "disk",
                    "disk_max",
                    "uptime",
                    "addresses",
                    "console",
                    "problem",
                ],
            ),
            Self::Logs { .. } => {
                let lines = value.get("lines").and_then(Value::as_array);
                if lines.is_none_or(Vec::is_empty) {
                    print::line("the journal holds no such line");
                }
                for line in lines.into_iter().flatten().filter_map(Value::as_str) {
                    print::line(line);
                }
            }
            Self::Backups { .. } => {
                let columns = [
                    ("BACKUP", "volid"),
                    ("MADE", "made"),
                    ("BYTES", "size"),
                    ("STORAGE", "storage"),
                ];
                print::list(value, "backups", &columns, "there is none yet");
                let problems = value.get("problems").and_then(Value::as_array);
                for problem in problems.into_iter().flatten().filter_map(Value::as_str) {
                    print::line(&format!("not looked at: {problem}"));
                }
            }
            Self::Kept => {
                let columns =
                    [("NUMBER", "vmid"), ("GUEST", "guest"), ("NODE", "node"), ("SINCE", "since")];
                print::list(value, "kept", &columns, "there are none");
                let kept = value.get("kept").and_then(Value::as_array).into_iter().flatten();
                let volumes = kept.filter_map(|k| k.get("volumes")?.as_array()).flatten();
                for volume in volumes.filter_map(Value::as_str) {
                    print::line(&format!("left: {volume} (to remove it, on its node: pvesm free)"));
                }
            }
            Self::ForgetKept { vmid, .. } => print::line(&format!("the number {vmid} is free")),
            Self::Forget { guest } => print::line(&format!("{guest} is forgotten")),
            Self::Reveal { .. } => print::line(&print::text(value, "value")),
            _ => print::started(value),
        }
    }
}
