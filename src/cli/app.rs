//! `ironhatch app …`: the catalog and installations.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::call::{Call, segment};
use super::client::ClientError;
use super::print;

/// `ironhatch app …`
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Check apps' folders without an appliance; the exit code is 0 when nothing is wrong
    #[command(after_help = "Example:\n  ironhatch app lint apps/")]
    Lint {
        /// An app's folder, a folder of apps, or a repository with `apps/`
        #[arg(required = true, value_name = "DIR")]
        dirs: Vec<PathBuf>,
    },
    /// Print the JSON Schema of manifests
    Schema,
    /// List apps
    #[command(after_help = "Example:\n  ironhatch app list --category media")]
    List {
        /// Only apps with these words
        search: Option<String>,
        /// Only apps of this category
        #[arg(long)]
        category: Option<String>,
        /// Only apps with this tag
        #[arg(long)]
        tag: Option<String>,
    },
    /// Show one app: what it asks, what it is made of
    Show {
        /// The app's id
        app: String,
    },
    /// Read the catalog's sources again
    Refresh {
        /// Only this source
        source: Option<String>,
        /// Wait for the end and show the log
        #[arg(long)]
        wait: bool,
    },
    /// Install an app in a new container
    #[command(after_help = "\
Examples:
  ironhatch app install static-website club --set title='The club' --wait
  ironhatch app install redis-cache cache1 --node pve2 --memory-mb 1024 --review
  ironhatch app install grafana charts --set-file admin_password=/run/secrets/grafana --field ipv4=static \\
      --field address=192.0.2.60/24 --field gateway=192.0.2.1

A secret that is left out is generated where the app allows it; `ironhatch guest reveal` shows it once.")]
    Install(Install),
}

/// What is installed, and how.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// The app's id
    pub app: String,
    /// Host name of the new container
    pub name: String,
    /// An input of the app, as KEY=VALUE; several times for several
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// An input of the app whose value is a file's content (`-`: standard input): for secrets
    #[arg(long, value_name = "KEY=PATH")]
    pub set_file: Vec<String>,
    /// Another field of the form (bridge, vlan, ipv4, address, gateway, expose, domain, monitoring, gpu, gpu_devices,
    /// volume.KEY, onboot, start, swap_mb), as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    pub field: Vec<String>,
    /// What is noted with it
    #[arg(long)]
    pub description: Option<String>,
    /// Node; the one with most free memory when left out
    #[arg(long)]
    pub node: Option<String>,
    /// Storage
    #[arg(long)]
    pub storage: Option<String>,
    /// Cores
    #[arg(long)]
    pub cores: Option<u32>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB")]
    pub memory_mb: Option<u32>,
    /// Root disk in GiB
    #[arg(long, value_name = "GIB")]
    pub disk_gb: Option<u32>,
    /// Only show what would happen
    #[arg(long, conflicts_with = "wait")]
    pub review: bool,
    /// Wait for the end and show the log
    #[arg(long)]
    pub wait: bool,
}

/// Splits `NAME=VALUE`.
pub(super) fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), ClientError> {
    text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        // Only the name is repeated: the rest may be a secret.
        let name: String = text.chars().take_while(|c| *c != '=').take(40).collect();
        ClientError::Usage(format!("{option} {name}: NAME=VALUE is expected"))
    })
}

/// Content of a file for an option; `-` is standard input. One line end at its end is not part of it.
fn content(path: &str) -> Result<String, ClientError> {
    let read = if path == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = read.map_err(|e| ClientError::Usage(format!("{path} cannot be read: {e}")))?;
    let text = text.strip_suffix('\n').map(str::to_owned).unwrap_or(text);
    Ok(text.strip_suffix('\r').map(str::to_owned).unwrap_or(text))
}

/// Options of inputs as fields of a form.
pub(super) fn inputs(
    body: &mut Map<String, Value>,
    set: &[String],
    set_file: &[String],
) -> Result<(), ClientError> {
    for text in set {
        let (key, value) = pair("--set", text)?;
        body.insert(format!("input.{key}"), json!(value));
    }
    for text in set_file {
        let (key, path) = pair("--set-file", text)?;
        body.insert(format!("input.{key}"), json!(content(path)?));
    }
    Ok(())
}

fn order(install: &Install) -> Result<Value, ClientError> {
    let mut body = Map::new();
    body.insert("app".into(), json!(install.app));
    body.insert("name".into(), json!(install.name));
    for (name, value) in [
        ("description", install.description.clone().map(Value::from)),
        ("node", install.node.clone().map(Value::from)),
        ("storage", install.storage.clone().map(Value::from)),
        ("cores", install.cores.map(Value::from)),
        ("memory_mb", install.memory_mb.map(Value::from)),
        ("disk_gb", install.disk_gb.map(Value::from)),
    ] {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    for text in &install.field {
        let (name, value) = pair("--field", text)?;
        body.insert(name.to_owned(), json!(value));
    }
    inputs(&mut body, &install.set, &install.set_file)?;
    Ok(Value::Object(body))
}

impl AppCommand {
    /// The request; `None` for what needs no appliance.
    pub(super) fn call(&self) -> Result<Option<Call>, ClientError> {
        Ok(Some(match self {
            Self::Lint { .. } | Self::Schema => return Ok(None),
            Self::List { search, category, tag } => {
                let part = |name: &str, value: &Option<String>| {
                    value.as_ref().map(|v| format!("{name}={}", segment(v)))
                };
                let query = [part("q", search), part("category", category), part("tag", tag)];
                let query: Vec<String> = query.into_iter().flatten().collect();
                Call::get(format!("/api/apps?{}", query.join("&")))
            }
            Self::Show { app } => Call::get(format!("/api/apps/{}", segment(app))),
            Self::Refresh { source, .. } => {
                Call::post("/api/apps/refresh", json!({ "source": source }))
            }
            Self::Install(install) if install.review => {
                Call::post("/api/install/review", order(install)?)
            }
            Self::Install(install) => Call::post("/api/install", order(install)?),
        }))
    }

    /// Whether the job's end is waited for.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Refresh { wait: true, .. })
            || matches!(self, Self::Install(install) if install.wait)
    }

    /// Prints the answer for people.
    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::Lint { .. } | Self::Schema => {}
            Self::List { .. } => {
                let columns = [
                    ("APP", "id"),
                    ("NAME", "name"),
                    ("VERSION", "version"),
                    ("GPU", "gpu"),
                    ("IN CI", "exercised"),
                    ("SOURCE", "source"),
                    ("WHAT", "description"),
                ];
                print::list(value, "apps", &columns, "no app fits");
                for broken in value.get("broken").and_then(Value::as_array).into_iter().flatten() {
                    let (folder, why) =
                        (print::text(broken, "folder"), print::text(broken, "problems"));
                    print::line(&format!("broken: {folder}: {why}"));
                }
            }
            Self::Show { .. } => {
                let paths = ["id", "name", "version", "description", "homepage", "license"];
                print::facts(value.get("manifest").unwrap_or(&Value::Null), &paths);
                print::facts(value.get("provenance").unwrap_or(&Value::Null), &["source", "hash"]);
                let columns = [
                    ("INPUT", "key"),
                    ("TYPE", "kind.type"),
                    ("REQUIRED", "required"),
                    ("DEFAULT", "default"),
                    ("WHAT", "label"),
                ];
                let manifest = value.get("manifest").unwrap_or(&Value::Null);
                print::list(manifest, "inputs", &columns, "it asks nothing");
            }
            Self::Refresh { .. } => {
                for job in value.get("jobs").and_then(Value::as_array).into_iter().flatten() {
                    print::line(&format!("job {}", job.as_str().unwrap_or_default()));
                }
            }
            Self::Install(install) if install.review => review(value),
            Self::Install(_) => print::started(value),
        }
    }
}

fn review(value: &Value) {
    let lines = value.get("lines").and_then(Value::as_array).into_iter().flatten();
    for (n, step) in lines.enumerate() {
        print::line(&format!(
            "{:2}. {}: {}",
            n + 1,
            print::text(step, "what"),
            print::text(step, "detail")
        ));
    }
    if let Some(service) = value.get("service").and_then(Value::as_str) {
        print::line("service definition:");
        for text in service.lines() {
            let shown: String = text.chars().filter(|c| !c.is_control()).collect();
            print::line(&format!("    {shown}"));
        }
    }
    for warning in value.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        print::line(&format!("note: {}", warning.as_str().unwrap_or_default()));
    }
}
