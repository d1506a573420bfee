//! A built-in app as the daemon would install it: manifest, files, inputs and the guest's record, all through the
//! product's own code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ironhatch::apps::folder::{AppFolder, load};
use ironhatch::domain::app::{InputKind, InputValue, NodeExporter};
use ironhatch::domain::guest::{
    Guest, GuestNetwork, GuestSpec, GuestState, InstalledApp, Ipv4Config,
};
use ironhatch::domain::secret::Secret;
use ironhatch::domain::time::Timestamp;
use ironhatch::domain::vmid::Vmid;
use ironhatch::plan::guest::context::{SiteNames, Subject};
use ironhatch::plan::guest::order::hidden_inputs;
use ironhatch::plan::guest::provision::{Content, Phase, PushedFile, Run, files, runs};

use crate::container::{GUEST, OUTSIDE};

/// Value of every secret input. Odd on purpose: what quotes badly shows here. It must not turn up in any log.
pub(crate) const PLANTED: &str = "planted \"secret\" 'of' $HOME \\n `id` %s & äö";

/// An app with inputs, ready to be installed.
pub(crate) struct App {
    pub(crate) folder: AppFolder,
    pub(crate) guest: Guest,
    pub(crate) secrets: BTreeMap<String, Secret<String>>,
}

/// What the daemon pushes as `lib.sh`.
pub(crate) const LIBRARY: &[u8] = include_bytes!("../../apps/lib.sh");

/// The folder of the built-in apps.
pub(crate) fn built_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("apps")
}

impl App {
    /// Reads an app and gives it inputs: those of a case, else the manifest's defaults.
    pub(crate) fn read(id: &str, given: &BTreeMap<String, toml::Value>) -> Result<Self> {
        let loaded = load(&built_in().join(id), &Path::new("apps").join(id));
        let findings: Vec<String> = loaded
            .problems
            .iter()
            .map(ToString::to_string)
            .chain(loaded.warnings.iter().map(|w| format!("{w:?}")))
            .collect();
        if !findings.is_empty() {
            bail!("the linter finds: {}", findings.join("; "));
        }
        let folder = loaded.app.context("no manifest")?;
        let manifest = &folder.manifest;
        let mut inputs = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for input in &manifest.inputs {
            if let InputKind::Secret { .. } = input.kind {
                let value =
                    if id == "cloudflared" { "planted".repeat(8) } else { PLANTED.to_owned() };
                secrets.insert(input.key.clone(), Secret::new(value));
                continue;
            }
            let value = match given.get(&input.key) {
                Some(value) => Some(input_value(value)?),
                None => input.default.clone(),
            };
            if let Some(value) = value {
                input.kind.check(&value).map_err(|rule| anyhow::anyhow!("{} {rule}", input.key))?;
                inputs.insert(input.key.clone(), value);
            }
        }
        for key in hidden_inputs(&manifest.inputs, &inputs) {
            inputs.remove(&key);
            secrets.remove(&key);
        }
        if let Some(key) = given.keys().find(|key| !inputs.contains_key(*key)) {
            bail!("{id} has no input {key}, or hides it");
        }
        let guest = guest(&folder, inputs)?;
        Ok(Self { folder, guest, secrets })
    }

    /// What the planner knows.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            manifest: &self.folder.manifest,
            guest: &self.guest,
            site: SiteNames { domain: "example.net", url: "http://192.0.2.1:8080" },
        }
    }

    /// The files of a phase.
    pub(crate) fn files(&self, phase: Phase) -> Result<Vec<PushedFile>> {
        files(&self.subject(), phase, &self.secrets).map_err(anyhow::Error::msg)
    }

    /// The programs of a phase.
    pub(crate) fn runs(&self, phase: Phase) -> Result<Vec<Run>> {
        runs(&self.subject(), phase).map_err(anyhow::Error::msg)
    }

    /// The bytes of a file.
    pub(crate) fn bytes<'a>(&'a self, content: &'a Content) -> Result<&'a [u8]> {
        Ok(match content {
            Content::App(path) => &self.folder.files.get(path).context("no such file")?.bytes,
            Content::Library => LIBRARY,
            Content::Text(text) => text.expose().as_bytes(),
        })
    }
}

fn input_value(value: &toml::Value) -> Result<InputValue> {
    Ok(match value {
        toml::Value::String(text) => InputValue::Text(text.clone()),
        toml::Value::Boolean(yes) => InputValue::Boolean(*yes),
        toml::Value::Integer(number) => InputValue::Number(f64::from(i32::try_from(*number)?)),
        other => bail!("{other} is no input"),
    })
}

/// The record that the daemon would have of it.
fn guest(folder: &AppFolder, inputs: BTreeMap<String, InputValue>) -> Result<Guest> {
    let manifest = &folder.manifest;
    let lxc = &manifest.lxc;
    let now = Timestamp(1);
    Ok(Guest {
        id: "01890000-0000-7000-8000-000000000001".parse()?,
        vmid: Vmid::try_from(201)?,
        node: "pve1".parse()?,
        name: manifest.id.as_str().parse()?,
        app: Some(InstalledApp {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            source: "built-in".to_owned(),
            hash: folder.hash.clone(),
            inputs,
        }),
        spec: GuestSpec {
            storage: "local".parse()?,
            cores: lxc.cores,
            memory_mb: lxc.memory_mb,
            swap_mb: lxc.swap_mb,
            disk_gb: lxc.disk_gb,
            unprivileged: lxc.unprivileged,
            features: lxc.features.clone(),
            network: GuestNetwork {
                bridge: "vmbr0".parse()?,
                vlan: None,
                ipv4: Ipv4Config::Static { address: GUEST, prefix: 24, gateway: Some(OUTSIDE) },
            },
            volumes: Vec::new(),
            gpu: Vec::new(),
            onboot: lxc.onboot,
            start: true,
            monitored: manifest.node_exporter != NodeExporter::No,
            description: String::new(),
            ostemplate: None,
        },
        state: GuestState::Installing,
        state_since: now,
        failure: None,
        active_job: None,
        address: Some(GUEST.into()),
        outputs: Vec::new(),
        restore_point: None,
        service: None,
        adopted: None,
        stack_of: None,
        created: now,
    })
}
