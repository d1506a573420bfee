//! Configuration: `ironhatch.toml` (or a `provisioning.yaml`), server types and answer templates.
//!
//! A file becomes a tree that knows its lines ([`document`]), then typed and validated values ([`Config`]). All problems
//! of a file are reported at once, each with file, line, key and what is allowed. Nothing here binds a socket; `ironhatch
//! check` and the start use the same code. Called by `app` and the command line.

pub mod apps;
mod changes;
pub mod check;
pub mod cover;
pub mod document;
pub mod effective;
mod file;
pub mod live;
pub mod notify;
mod problem;
pub(crate) mod read;
pub mod reload;
pub mod secret;
pub mod server_type;
pub mod template;
#[cfg(test)]
mod test;
pub mod zones;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::domain::secret::Secret;
use crate::plan::script::KernelArgument;

pub use effective::effective;
pub use problem::{ConfigErrors, Problem, Warning};
pub use secret::{ProcessSecrets, SecretSource};

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Database, images, master key, control socket.
    pub data_dir: PathBuf,
    /// Where server types are; default `server-types` beside the file.
    pub server_types: ServerTypesSource,
    /// Where the operator's answer templates are; default `answer-templates` beside the file. Need not exist.
    pub answer_templates_dir: PathBuf,
    /// The HTTP side.
    pub server: Server,
    /// Network boot; `None`: switched off, only the dashboard runs.
    pub pxe: Option<Pxe>,
    /// The cluster that hosts join.
    pub proxmox: Proxmox,
    /// What is installed for access.
    pub credentials: Credentials,
    /// The registry that is told of ready hosts; `None`: nobody is told.
    pub infrastructure: Option<Infrastructure>,
    /// Who is told what happened.
    pub targets: Vec<notify::Target>,
    /// The app layer; `None`: off, and then no key stays on any node.
    pub apps: Option<apps::Apps>,
    /// All secrets of the above once more, so that what leaves the appliance can be cleared of them.
    pub known_secrets: Vec<Secret<String>>,
}

/// Where server types are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTypesSource {
    /// A directory with one TOML file per type.
    Directory(PathBuf),
    /// One YAML file with a map from name to type.
    File(PathBuf),
}

/// Listening addresses and the address that machines are told.
#[derive(Debug, Clone)]
pub struct Server {
    /// Plain HTTP listener.
    pub listen: SocketAddr,
    /// Base URL that machines reach, without a trailing slash; its host is an IP literal.
    pub public_url: String,
    /// The host of `public_url`.
    pub public_ip: IpAddr,
    /// The port of `public_url`.
    pub public_port: u16,
    /// The second listener with a self-signed certificate; `None`: off.
    pub tls_listen: Option<SocketAddr>,
    /// The operator's own certificate, for who asks by a name; `None`: the self-signed one for everybody.
    pub tls_files: Option<TlsFiles>,
    /// A reverse proxy that logs people in; `None`: nobody is believed.
    pub trusted_header: Option<TrustedHeader>,
}

/// The operator's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the own one first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Who may say in which header who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHeader {
    /// The header's name, in small letters.
    pub name: String,
    /// The proxy's addresses. Never empty, never everybody.
    pub from: Vec<IpNet>,
    /// It also sets `X-Forwarded-For`, which then counts.
    pub forwarded_for: bool,
}

/// Network boot.
#[derive(Debug, Clone)]
pub struct Pxe {
    /// Interfaces to listen on; never empty.
    pub interfaces: Vec<String>,
    /// The segment that is served.
    pub subnet: Ipv4Net,
    /// Beside a DHCP server, or being one.
    pub mode: PxeMode,
    /// What unregistered machines get.
    pub unknown: UnknownPolicy,
    /// Boot programs that replace the embedded ones; `None`: the embedded ones.
    pub boot_files_dir: Option<PathBuf>,
    /// More words for the installer's kernel command line, `console=ttyS0,115200` for example.
    pub kernel_arguments: Vec<KernelArgument>,
}

/// How DHCP is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PxeMode {
    /// Proxy-DHCP beside the LAN's own server.
    Proxy,
    /// Leases from a pool on an isolated segment.
    Full(LeasePool),
}

/// The pool of `mode = "full"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePool {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address, included.
    pub last: Ipv4Addr,
    /// Default gateway; `None`: the clients get none.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers; may be empty.
    pub dns: Vec<Ipv4Addr>,
    /// Lease time.
    pub lease: Duration,
}

/// What unregistered machines get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownPolicy {
    /// Recorded as a sighting, shown a notice, sent on to local boot.
    Enroll,
    /// Silence.
    Ignore,
}

/// The cluster.
#[derive(Debug, Clone)]
pub struct Proxmox {
    /// Address of any member; `None`: the first host founds the cluster.
    pub existing_node: Option<String>,
    /// SHA-256 of that member's API certificate, lower-case hex without colons.
    pub join_fingerprint: Option<[u8; 32]>,
    /// Private SSH key (OpenSSH form) that opens the member as root.
    pub member_key: Option<Secret<String>>,
    /// The member's SSH host key as `type base64`, when pinned by the operator.
    pub member_host_key: Option<String>,
    /// Name for `pvecm create`: 1 to 15 of letters, digits, hyphen.
    pub cluster_name: String,
}

/// What is installed for access.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// crypt(3) hash of root's password; `None`: a random one per rebuild, keys only.
    pub root_password_hash: Option<Secret<String>>,
    /// The operator's public keys, one OpenSSH line each.
    pub ssh_keys: Vec<String>,
}

impl Credentials {
    /// Neither a key nor a password: an installed node is open to this appliance only.
    #[must_use]
    pub fn lets_nobody_in(&self) -> bool {
        self.root_password_hash.is_none() && self.ssh_keys.is_empty()
    }
}

/// The external registry of hosts.
#[derive(Debug, Clone)]
pub struct Infrastructure {
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// Our server type names to the registry's.
    pub server_type_map: BTreeMap<String, String>,
}

/// The value of a secret that may be written as `env:NAME` or `file:PATH`; relative paths start where the program does.
///
/// # Errors
/// What is wrong with the reference; never the secret itself.
pub fn resolve_secret(text: &str, source: &dyn SecretSource) -> Result<Secret<String>, String> {
    secret::resolve(text, Path::new(""), source).map(|(secret, _)| secret)
}

/// Default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/ironhatch/ironhatch.toml";

impl Config {
    /// Reads and validates a configuration file; `.yaml` and `.yml` are read as YAML.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(
        path: &Path,
        secrets: &dyn SecretSource,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::parse(path, &text_of(path)?, secrets)
    }

    /// Only where the appliance keeps its data, and so its control socket. Who asks a running appliance need not be able to read
    /// its secrets, and still gets in when the file was spoiled meanwhile.
    ///
    /// # Errors
    /// The file cannot be read, or is neither TOML nor YAML.
    pub fn data_dir_of(path: &Path) -> Result<PathBuf, ConfigErrors> {
        file::data_dir(path, &text_of(path)?)
    }

    /// Validates the text of a configuration file; `path` gives the format, the names in messages, and the directory that
    /// relative paths start from.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(
        path: &Path,
        text: &str,
        secrets: &dyn SecretSource,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        file::parse(path, text, secrets)
    }
}

fn text_of(path: &Path) -> Result<String, ConfigErrors> {
    std::fs::read_to_string(path).map_err(|error| {
        ConfigErrors(vec![Problem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        }])
    })
}
