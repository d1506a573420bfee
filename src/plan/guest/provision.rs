//! What is pushed into a container and run there, for each phase of an app's life.
//!
//! ```text
//!  /opt/appstore/provision/install.sh    scripts and assets under their paths in the app's folder
//!  /opt/appstore/lib.sh                  our helper library
//!  /opt/appstore/inputs.json             every input, secrets too (0600)
//!  /opt/appstore/secrets/KEY             one secret each (0600)
//!  /opt/appstore/outputs.env             written by scripts: facts for outputs
//! ```
//!
//! Nothing from a form becomes a command: programs, packages, units and scripts come from the manifest, values go into files
//! and variables. No secret is an argument or a variable.

use std::collections::BTreeMap;

use crate::domain::app::{InputValue, Manifest, ProvisionKind};
use crate::domain::secret::Secret;
use crate::proto::verb::FileMode;

use super::context::{Subject, plain};
use super::outputs;
use super::redaction::Redactor;

/// Folder in the container that everything is staged in.
pub const STAGE: &str = "/opt/appstore";
/// What a script writes its facts to.
pub const FACTS: &str = "/opt/appstore/outputs.env";

/// Why the app's files are in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is installed.
    Install,
    /// Its inputs changed.
    Reconfigure,
    /// It is brought to another version.
    Upgrade,
    /// It is about to be taken away.
    Uninstall,
    /// Its health is checked by a script.
    Check,
}

impl Phase {
    /// `APP_ACTION` of scripts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Reconfigure => "reconfigure",
            Self::Upgrade => "upgrade",
            Self::Uninstall => "uninstall",
            Self::Check => "check",
        }
    }
}

/// A file that is pushed. Its owner is root.
#[derive(Debug, Clone)]
pub struct PushedFile {
    /// Absolute path in the container.
    pub path: String,
    /// Its mode.
    pub mode: FileMode,
    /// Its bytes.
    pub content: Content,
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file of the app's folder, by its path in it.
    App(String),
    /// Our helper library.
    Library,
    /// This text; it may hold secrets.
    Text(Secret<String>),
}

/// A program that is run in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it does, for the log.
    pub title: String,
    /// Absolute path and arguments.
    pub argv: Vec<String>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// User in the container; `None`: root.
    pub user: Option<String>,
    /// Seconds after which it is killed.
    pub timeout_sec: u32,
}

/// The script of a phase, by its path in the folder; `None`: the phase runs none.
///
/// # Errors
/// The app cannot do this, in one sentence.
pub fn script(manifest: &Manifest, phase: Phase) -> Result<Option<&str>, &'static str> {
    use crate::domain::app::HealthKind;
    let provision = &manifest.provision;
    let install = match &provision.kind {
        ProvisionKind::Packages { script, .. } => script.as_deref(),
        ProvisionKind::Script { script } => Some(script.as_str()),
    };
    let again = |without: &'static str| match install {
        Some(script) if provision.retry_safe => Ok(Some(script)),
        Some(_) => Err(without),
        None => Ok(None),
    };
    match phase {
        Phase::Install => Ok(install),
        Phase::Reconfigure => again(
            "its install script may run only once, and that is how new inputs would be applied",
        ),
        Phase::Upgrade => match &provision.upgrade {
            Some(script) => Ok(Some(script)),
            None => again("it has no upgrade script, and its install script may run only once"),
        },
        Phase::Uninstall => Ok(provision.uninstall.as_deref()),
        Phase::Check => Ok(match manifest.healthcheck.as_ref().map(|check| &check.kind) {
            Some(HealthKind::Command { script }) => Some(script),
            _ => None,
        }),
    }
}

/// The files of a phase, in the order in which they are pushed. Inputs and secrets only where a script needs them.
///
/// # Errors
/// As [`script`].
pub fn files(
    subject: &Subject<'_>,
    phase: Phase,
    secrets: &BTreeMap<String, Secret<String>>,
) -> Result<Vec<PushedFile>, &'static str> {
    let manifest = subject.manifest;
    let script = script(manifest, phase)?;
    let staged = |path: &str| format!("{STAGE}/{path}");
    let mut files = Vec::new();
    if let Some(script) = script {
        files.push(PushedFile {
            path: staged(script),
            mode: FileMode::PROGRAM,
            content: Content::App(script.to_owned()),
        });
        files.push(PushedFile {
            path: staged("lib.sh"),
            mode: FileMode::PUBLIC,
            content: Content::Library,
        });
    }
    if !matches!(phase, Phase::Check) {
        files.extend(manifest.provision.assets.iter().map(|asset| PushedFile {
            path: staged(asset),
            mode: FileMode::PUBLIC,
            content: Content::App(asset.clone()),
        }));
    }
    if script.is_some() {
        let private = |path: String, text: Secret<String>| PushedFile {
            path,
            mode: FileMode::PRIVATE,
            content: Content::Text(text),
        };
        let inputs = inputs_json(manifest, subject.inputs(), secrets);
        files.push(private(staged("inputs.json"), inputs));
        for (key, secret) in known_secrets(manifest, secrets) {
            files.push(private(staged(&format!("secrets/{key}")), secret.clone()));
        }
    }
    Ok(files)
}

/// Secrets that the manifest asks for: an older version's others stay outside.
fn known_secrets<'a>(
    manifest: &'a Manifest,
    secrets: &'a BTreeMap<String, Secret<String>>,
) -> impl Iterator<Item = (&'a String, &'a Secret<String>)> {
    let asked = move |key: &String| {
        manifest.inputs.iter().any(|input| input.key == *key && input.kind.is_secret())
    };
    secrets.iter().filter(move |(key, _)| asked(key))
}

/// All inputs as one JSON object: numbers, booleans and text as such. Inputs without a value are left out.
#[must_use]
pub fn inputs_json(
    manifest: &Manifest,
    inputs: &BTreeMap<String, InputValue>,
    secrets: &BTreeMap<String, Secret<String>>,
) -> Secret<String> {
    // Written by hand, so that no copy of a secret is left behind in a map that nobody wipes.
    let mut text = String::from("{");
    let mut add = |key: &str, value: &str| {
        text.push_str(if text.len() == 1 { "\n" } else { ",\n" });
        text.push_str(&format!("  {}: {value}", serde_json::Value::from(key)));
    };
    for (key, value) in inputs {
        add(key, &plain(value).to_string());
    }
    for (key, secret) in known_secrets(manifest, secrets) {
        let value = Secret::new(serde_json::Value::from(secret.expose().as_str()).to_string());
        add(key, value.expose());
    }
    text.push_str("\n}\n");
    Secret::new(text)
}

/// Variables of scripts: the manifest's, the app's and guest's names, and one `INPUT_KEY` for each input that is no
/// secret; one without a value is empty.
///
/// # Errors
/// A template of the manifest that cannot be filled in; never a value.
pub fn environment(
    subject: &Subject<'_>,
    phase: Phase,
) -> Result<BTreeMap<String, String>, String> {
    let (manifest, guest) = (subject.manifest, subject.guest);
    let mut env = BTreeMap::new();
    for (name, text) in &manifest.provision.env {
        let value =
            subject.render(text).map_err(|reason| format!("provision.env.{name}: {reason}"))?;
        env.insert(name.clone(), value);
    }
    for input in manifest.inputs.iter().filter(|i| !i.kind.is_secret()) {
        let value = subject.inputs().get(&input.key).map_or_else(String::new, ToString::to_string);
        env.insert(format!("INPUT_{}", input.key.to_ascii_uppercase()), value);
    }
    let own = [
        ("APP_ID", manifest.id.to_string()),
        ("APP_VERSION", manifest.version.clone()),
        ("APP_ACTION", phase.as_str().to_owned()),
        ("GUEST_NAME", guest.name.to_string()),
        ("GUEST_IP", guest.address.map_or_else(String::new, |ip| ip.to_string())),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

/// The programs of a phase, in order. The next one is run when the one before ended with 0.
///
/// # Errors
/// The app cannot do this, or a template of its manifest is wrong.
pub fn runs(subject: &Subject<'_>, phase: Phase) -> Result<Vec<Run>, String> {
    let manifest = subject.manifest;
    let provision = &manifest.provision;
    let script = script(manifest, phase)?;
    let (packages, services): (&[String], &[String]) = match &provision.kind {
        ProvisionKind::Packages { packages, services, .. } => (packages, services),
        ProvisionKind::Script { .. } => (&[], &[]),
    };
    let installs = matches!(phase, Phase::Install | Phase::Upgrade);
    let exporter =
        phase == Phase::Install && subject.guest.spec.monitored && takes_exporter(manifest);
    let mut runs = Vec::new();
    if installs && (!packages.is_empty() || exporter) {
        runs.push(apt("Refresh the package lists", UPDATE_SECS, &["update"], &[]));
    }
    if installs && !packages.is_empty() {
        let title = format!("Install {}", packages.join(", "));
        let arguments = ["install", "--yes", "--no-install-recommends"];
        runs.push(apt(&title, INSTALL_SECS, &arguments, packages));
    }
    if exporter {
        let arguments = ["install", "--yes", "--no-install-recommends"];
        let package = [EXPORTER.to_owned()];
        runs.push(apt("Install the node exporter", INSTALL_SECS, &arguments, &package));
    }
    if let Some(script) = script {
        let user = (provision.user != "root").then(|| provision.user.clone());
        if let Some(user) = &user {
            // Staged files belong to root and hold secrets that the user's script has to read.
            let owner = ["-R", "--", user, STAGE];
            runs.push(root("Hand the files to the script's user", "/bin/chown", &owner));
        }
        runs.push(Run {
            title: format!("Run {script}"),
            argv: vec!["/bin/bash".to_owned(), format!("{STAGE}/{script}")],
            env: environment(subject, phase)?,
            user,
            timeout_sec: match phase {
                Phase::Check => CHECK_SECS.min(provision.timeout_sec),
                _ => provision.timeout_sec,
            },
        });
    }
    if installs && !services.is_empty() {
        let arguments: Vec<&str> = ["enable", "--now", "--"]
            .into_iter()
            .chain(services.iter().map(String::as_str))
            .collect();
        runs.push(root(&format!("Start {}", services.join(", ")), SYSTEMCTL, &arguments));
    }
    if phase == Phase::Reconfigure && !services.is_empty() {
        let arguments: Vec<&str> =
            ["restart", "--"].into_iter().chain(services.iter().map(String::as_str)).collect();
        runs.push(root(&format!("Restart {}", services.join(", ")), SYSTEMCTL, &arguments));
    }
    Ok(runs)
}

/// The node exporter's package in Debian and Ubuntu; its unit starts by itself.
const EXPORTER: &str = "prometheus-node-exporter";
const SYSTEMCTL: &str = "/bin/systemctl";
/// Package lists, with slow mirrors.
const UPDATE_SECS: u32 = 600;
/// Packages, with slow mirrors.
const INSTALL_SECS: u32 = 1800;
/// Units and ownership.
const SHORT_SECS: u32 = 300;
/// One health check; it is repeated until its time is over.
const CHECK_SECS: u32 = 60;

/// Whether the node exporter can be installed as a package: in Debian and Ubuntu.
#[must_use]
pub fn takes_exporter(manifest: &Manifest) -> bool {
    let template = &manifest.lxc.ostemplate;
    template.starts_with("debian-") || template.starts_with("ubuntu-")
}

fn root(title: &str, program: &str, arguments: &[&str]) -> Run {
    let argv = std::iter::once(&program).chain(arguments).map(|a| (*a).to_owned()).collect();
    Run { title: title.to_owned(), argv, env: BTreeMap::new(), user: None, timeout_sec: SHORT_SECS }
}

/// `apt-get` that asks nothing, waits for a lock and tries downloads again; what follows is never taken for an option.
fn apt(title: &str, timeout_sec: u32, arguments: &[&str], packages: &[String]) -> Run {
    let options = [
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
    ];
    let all: Vec<&str> = options.iter().chain(arguments).copied().collect();
    let mut run = root(title, "/usr/bin/apt-get", &all);
    if !packages.is_empty() {
        run.argv.push("--".to_owned());
        run.argv.extend(packages.iter().cloned());
    }
    run.env.insert("NEEDRESTART_MODE".to_owned(), "a".to_owned());
    run.timeout_sec = timeout_sec;
    run
}

/// How staged files leave a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tidy {
    /// The whole folder goes.
    All,
    /// The app wants to keep its files; what holds secrets goes all the same.
    Secrets(Run),
}

/// Decides it.
#[must_use]
pub fn tidy(manifest: &Manifest) -> Tidy {
    if !manifest.provision.keep_assets {
        return Tidy::All;
    }
    let [inputs, secrets] = ["inputs.json", "secrets"].map(|name| format!("{STAGE}/{name}"));
    let arguments = ["-rf", "--", &inputs, &secrets, FACTS];
    Tidy::Secrets(root("Remove staged inputs", "/bin/rm", &arguments))
}

/// Keeps everything out of the log that must not be in it: all secrets, and the inputs that the manifest names.
#[must_use]
pub fn redactor(subject: &Subject<'_>, secrets: &BTreeMap<String, Secret<String>>) -> Redactor {
    let named = named_to_be_blanked(subject);
    let secret = secrets.values().map(|s| s.expose().as_str());
    Redactor::new(secret.chain(named.iter().map(String::as_str)))
}

fn named_to_be_blanked(subject: &Subject<'_>) -> Vec<String> {
    let keys = &subject.manifest.provision.redact_keys;
    keys.iter().filter_map(|key| subject.inputs().get(key).map(ToString::to_string)).collect()
}

/// The same for a guest that was provisioned: blanks its secret outputs too, and each fact that stands in one of them. A
/// template that cannot be filled in any more names no secret.
#[must_use]
pub fn redactor_with_outputs(
    subject: &Subject<'_>,
    secrets: &BTreeMap<String, Secret<String>>,
    facts: &BTreeMap<String, String>,
) -> Redactor {
    let found = outputs::collect(subject, secrets, facts).unwrap_or_default();
    let results: Vec<&str> =
        found.iter().filter_map(|o| o.secret.as_ref()).map(|s| s.expose().as_str()).collect();
    let told = facts.values().map(String::as_str).filter(|f| results.iter().any(|r| r.contains(f)));
    let named = named_to_be_blanked(subject);
    let secret = secrets.values().map(|s| s.expose().as_str());
    let all = secret.chain(results.iter().copied()).chain(told);
    Redactor::new(all.chain(named.iter().map(String::as_str)))
}

#[cfg(test)]
mod test;
