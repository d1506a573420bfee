//! Catalog entries: what an app is, what it asks for, how it is provisioned. The file format is `apps::manifest`; these
//! are the validated values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;

mod limits;

pub use limits::whole_value;

/// What `guest.…` in a template can name. `domain` is its service's, and empty when it is not exposed.
pub const GUEST_NAMES: [&str; 6] = ["name", "hostname", "ip", "vmid", "node", "domain"];
/// What `site.…` in a template can name: the configured domain, and the appliance's own URL.
pub const SITE_NAMES: [&str; 2] = ["domain", "url"];

/// Names an app: 1 to 40 of `a-z`, `0-9` and single hyphens inside (kebab case), the name of its folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct AppId(String);

impl AppId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for AppId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ok = (1..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && !text.contains("--")
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "app id",
                text: text.chars().take(60).collect(),
                rule: "1 to 40 of a-z, 0-9 and single hyphens, beginning with a letter",
            })
        }
    }
}
impl TryFrom<String> for AppId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<AppId> for String {
    fn from(id: AppId) -> Self {
        id.0
    }
}

/// SHA-256 (lower-case hex) over an app's folder: names, modes and contents in a fixed order. What was installed is
/// pinned by it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ContentHash(pub String);

/// A validated manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Kebab-case id, equal to the folder's name.
    pub id: AppId,
    /// For people.
    pub name: String,
    /// Semantic version of the app's packaging, `1.2.0`.
    pub version: String,
    /// One to three sentences.
    pub description: String,
    /// Where it is listed.
    pub categories: Vec<String>,
    /// Words to search by.
    pub tags: Vec<String>,
    /// Upstream's page.
    pub homepage: Option<String>,
    /// SPDX expression of what is installed.
    pub license: Option<String>,
    /// Who keeps the packaging.
    pub maintainers: Vec<String>,
    /// Shown first.
    pub featured: bool,
    /// Least Proxmox VE release, `8.2`.
    pub min_pve: Option<String>,
    /// The container it wants.
    pub lxc: LxcDefaults,
    /// What the operator is asked.
    pub inputs: Vec<Input>,
    /// How it is provisioned.
    pub provision: Provision,
    /// How success is verified. Without one, only that the container runs.
    pub healthcheck: Option<HealthCheck>,
    /// What is shown afterwards.
    pub outputs: Vec<Output>,
    /// What it can do with a GPU.
    pub gpu: Option<GpuNeed>,
    /// Volumes beside the root disk.
    pub mounts: Vec<Mount>,
    /// Whether and how a reverse proxy may point at it.
    pub expose: Option<Expose>,
    /// Prometheus targets besides the node exporter.
    pub metrics: Vec<MetricsPort>,
    /// Whether a node exporter is installed.
    pub node_exporter: NodeExporter,
}

/// The tag of a profile.
const PROFILE: &str = "profile";

impl Manifest {
    /// The packages of a profile, a plain server to begin with that is made of the distribution's packages alone; `None`: it
    /// is none.
    #[must_use]
    pub fn profile_packages(&self) -> Option<&[String]> {
        match &self.provision.kind {
            ProvisionKind::Packages { packages, .. } if self.tags.iter().any(|t| t == PROFILE) => {
                Some(packages)
            }
            _ => None,
        }
    }
}

/// The container an app wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LxcDefaults {
    /// Distribution and major release, `debian-12`: matches system templates `debian-12-…`.
    pub ostemplate: String,
    /// Unprivileged; `false` needs the site's permission.
    pub unprivileged: bool,
    /// Cores.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u32,
    /// MiB.
    pub swap_mb: u32,
    /// GiB of the root disk.
    pub disk_gb: u32,
    /// Least memory that makes sense, MiB.
    pub min_memory_mb: u32,
    /// Least root disk that makes sense, GiB.
    pub min_disk_gb: u32,
    /// Proposed bridge; the site's default when empty.
    pub bridge: Option<String>,
    /// Proposed storage; the site's default when empty.
    pub storage: Option<String>,
    /// Features it cannot do without.
    pub features: Vec<Feature>,
    /// Started when the node starts.
    pub onboot: bool,
}

/// Container features that an app may ask for. Everything but `nesting` is set over the root channel.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// Nested containers; also what current systemd wants.
    Nesting,
    /// The `keyctl` system call: Docker in an unprivileged container.
    Keyctl,
    /// FUSE file systems.
    Fuse,
}

impl Feature {
    /// The key in the `features` property.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nesting => "nesting",
            Self::Keyctl => "keyctl",
            Self::Fuse => "fuse",
        }
    }
}

/// One question of the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Name in forms, environment and templates: `[a-z][a-z0-9_]*`, at most 40.
    pub key: String,
    /// For people.
    pub label: String,
    /// What it takes.
    pub kind: InputKind,
    /// Value when nothing was entered.
    pub default: Option<InputValue>,
    /// Must be given.
    pub required: bool,
    /// A sentence below the field.
    pub help: String,
    /// Heading it stands under; empty: the first group.
    pub group: String,
    /// Shown, and taken, only when another input has one of these values.
    pub show_when: Option<ShowWhen>,
    /// May be changed after the installation.
    pub reconfigure: bool,
}

/// Types of inputs with their limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum InputKind {
    /// One line of text.
    String {
        /// Regular expression over the whole value (RE2 syntax, no look-around).
        regex: Option<String>,
        /// What the expression means, for the message.
        regex_hint: Option<String>,
        /// Least characters.
        min_length: u32,
        /// Most characters, at most 4096.
        max_length: u32,
    },
    /// A number.
    Number {
        /// Least.
        min: Option<f64>,
        /// Most.
        max: Option<f64>,
        /// Whole numbers only.
        integer: bool,
    },
    /// Yes or no.
    Boolean,
    /// Text that is sealed, never logged and never shown again except once.
    Secret {
        /// Least characters.
        min_length: u32,
        /// Most characters.
        max_length: u32,
        /// Drawn by us when left empty.
        generate: bool,
    },
    /// One of a list.
    Select {
        /// What can be chosen, in order.
        options: Vec<Choice>,
    },
}

/// One entry of a select.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The value.
    pub value: String,
    /// For people.
    pub label: String,
}

/// Condition of an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShowWhen {
    /// The other input; stands before this one and is no secret.
    pub key: String,
    /// Its values that show this one.
    pub values: Vec<InputValue>,
}

/// A value of an input that is no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InputValue {
    /// Yes or no.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// Text, or the chosen option.
    Text(String),
}

impl fmt::Display for InputValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(yes) => write!(f, "{yes}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// How an app gets into its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Provision {
    /// In which way.
    pub kind: ProvisionKind,
    /// Environment of the scripts; values are templates over `inputs`, `guest` and `site`. No secrets here.
    pub env: BTreeMap<String, String>,
    /// Further files of the folder that are pushed, by their path in it.
    pub assets: Vec<String>,
    /// Most seconds of one script.
    pub timeout_sec: u32,
    /// User in the container that runs the script.
    pub user: String,
    /// Inputs that are redacted in logs besides the secret ones.
    pub redact_keys: Vec<String>,
    /// Script that upgrades an installed version; relative path in the folder.
    pub upgrade: Option<String>,
    /// Script that runs before the container is destroyed.
    pub uninstall: Option<String>,
    /// The install script may be run again after it failed.
    pub retry_safe: bool,
    /// Pushed files stay in the container.
    pub keep_assets: bool,
}

/// Kinds of provisioning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ProvisionKind {
    /// Packages of the distribution, then an optional script.
    Packages {
        /// Debian package names.
        packages: Vec<String>,
        /// systemd units that are enabled and started afterwards.
        services: Vec<String>,
        /// Script that runs between the two; relative path in the folder.
        script: Option<String>,
    },
    /// A script of the folder.
    Script {
        /// Relative path in the folder.
        script: String,
    },
}

/// How success is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What is looked at.
    pub kind: HealthKind,
    /// How long it may take until it first succeeds, seconds.
    pub timeout_sec: u32,
    /// Between two looks, seconds.
    pub interval_sec: u32,
}

/// Kinds of health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HealthKind {
    /// `GET http://<guest>:port/path` from the appliance.
    Http {
        /// Port.
        port: u16,
        /// Path with its leading slash.
        path: String,
        /// Status codes that count as healthy; empty: 200 to 399.
        status: Vec<u16>,
    },
    /// A TCP connection from the appliance.
    Tcp {
        /// Port.
        port: u16,
    },
    /// A script of the folder, run in the container; exit status 0 is healthy.
    Command {
        /// Relative path in the folder.
        script: String,
    },
}

/// One result that is shown and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Name.
    pub key: String,
    /// For people.
    pub label: String,
    /// Template over `inputs`, `guest` (`ip`, `hostname`, `vmid`, `node`), `secrets` and `site`.
    pub value: String,
    /// How it is shown. A value that names a secret is sealed and shown once on demand.
    pub kind: OutputKind,
}

/// How an output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// A link.
    Url,
    /// Text.
    Text,
    /// A secret: sealed, revealed on demand.
    Secret,
}

/// What an app can do with a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuNeed {
    /// Vendors it works with.
    pub supported: Vec<super::gpu::GpuVendor>,
    /// Cannot be installed without.
    pub required: bool,
    /// Device profiles, the preferred one first.
    pub profiles: Vec<super::gpu::GpuProfile>,
    /// For people.
    pub notes: String,
    /// Runtime libraries that it brings or needs: `cuda`, `vaapi`, `rocm`.
    pub libraries: Vec<String>,
    /// Who must be able to open the devices in the container: the user of its service.
    pub user: String,
    /// Programs that must succeed in the container for that user: `vainfo`, `nvidia-smi`, also with their whole path.
    pub check: Vec<String>,
}

/// A volume beside the root disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Name in forms.
    pub key: String,
    /// For people.
    pub label: String,
    /// Absolute path in the container.
    pub path: String,
    /// Proposed size in GiB.
    pub size_gb: u32,
    /// May be left out.
    pub optional: bool,
    /// Part of backups.
    pub backup: bool,
}

/// Whether and how a reverse proxy may point at an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expose {
    /// Port the proxy talks to.
    pub port: u16,
    /// May be exposed to the public, not only internally.
    pub public: bool,
    /// Path that a proxy can ask for health.
    pub health_path: Option<String>,
}

/// A Prometheus target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsPort {
    /// Port.
    pub port: u16,
    /// Path.
    pub path: String,
}

/// Whether a node exporter is installed in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeExporter {
    /// Never.
    No,
    /// When the operator wants it.
    Ask,
    /// Always.
    Yes,
}

/// Where a catalog entry comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The source's name in the configuration; `built-in` for those in the binary.
    pub source: String,
    /// Git commit, when it comes from a repository.
    pub commit: Option<String>,
    /// What the folder hashes to.
    pub hash: ContentHash,
    /// It was really provisioned by the tests of this version; `false` is shown as "not exercised in CI".
    pub exercised: bool,
    /// Its folder has an icon.
    pub icon: bool,
    /// When its folder last changed, as its repository tells; `None` for what has no history.
    pub updated: Option<super::time::Timestamp>,
}

/// An app that can be installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogApp {
    /// What it is.
    pub manifest: Manifest,
    /// Where it comes from.
    pub provenance: Provenance,
    /// Its README, Markdown.
    pub readme: String,
}

/// An app that cannot be installed because its folder is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenApp {
    /// The folder's name.
    pub folder: String,
    /// The source's name.
    pub source: String,
    /// What is wrong, with file, line and column, one sentence each.
    pub problems: Vec<String>,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Name.
    pub name: String,
    /// Where it is: `built in`, a folder, or URL and reference.
    pub location: String,
    /// Commit of the copy in use.
    pub commit: Option<String>,
    /// When it was last read with success.
    pub refreshed: Option<super::time::Timestamp>,
    /// Why the last try failed; the copy before it stays in use.
    pub problem: Option<String>,
}

/// All apps of all sources, as last read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// By id; of two with the same id the one from the source named first.
    pub apps: Vec<CatalogApp>,
    /// What is broken.
    pub broken: Vec<BrokenApp>,
    /// Its sources.
    pub sources: Vec<SourceStatus>,
}

impl Catalog {
    /// The app with this id.
    #[must_use]
    pub fn get(&self, id: &AppId) -> Option<&CatalogApp> {
        self.apps.iter().find(|a| a.manifest.id == *id)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn app_ids_are_kebab_case() {
        for good in ["a", "static-website", "n8n"] {
            assert!(good.parse::<AppId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "A", "a_b", "8n", "../x", &"x".repeat(41)] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
    }
}
