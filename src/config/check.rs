//! `ironhatch check`: finds what would fail when a host is armed, without starting anything.
//!
//! Reads the configuration, every server type and template, and composes every (server type × dialect) answer for a specimen
//! host.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::apps::{CatalogSource, SourceLocation};
use super::reload::{ServerTypesView, no_template};
use super::{Config, Problem, SecretSource, Warning, effective, server_type};
use crate::domain::host::Host;
use crate::domain::id::{HostId, Hostname};
use crate::domain::inventory::Inventory;
use crate::domain::mac::Mac;
use crate::domain::server_type::{DiskSelection, ServerType};
use crate::domain::time::Timestamp;
use crate::plan::answer::access::{RootPassword, generated_password};
use crate::plan::answer::{
    AnswerInputs, AnswerProblem, Callback, Dialect, Enforced, Ordering, Template, prepare,
};

/// What `ironhatch check` found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What stops the start or a rebuild.
    pub errors: Vec<Problem>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// The effective configuration with secrets masked; `None` when it has errors.
    pub effective: Option<String>,
}

/// Of an installed node with neither an SSH key nor a known root password. The fact alone: what to do about it depends on
/// where it is said.
pub const NOBODY_GETS_IN: &str = "nobody but this appliance can log in on a fresh node: it gets no SSH key and no root password that you know";

/// Checks a configuration file and all that lies beside it.
#[must_use]
pub fn check(path: &Path, secrets: &dyn SecretSource) -> Report {
    let (config, warnings) = match Config::load(path, secrets) {
        Ok(loaded) => loaded,
        Err(errors) => return Report { errors: errors.0, ..Report::default() },
    };
    let view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
    let mut report = Report { errors: Vec::new(), warnings, effective: Some(effective(&config)) };
    report.errors.extend(view.errors.values().flatten().cloned());
    if view.types.is_empty() && report.errors.is_empty() {
        report.warnings.push(Problem {
            file: config.server_types.path().to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: "no server type is there yet; hosts need one".to_owned(),
        });
    }
    if config.pxe.is_some() && config.credentials.lets_nobody_in() {
        report.warnings.push(Problem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: "credentials".to_owned(),
            message: format!(
                "{NOBODY_GETS_IN}; set ssh_keys or root_password_hash before the first rebuild"
            ),
        });
    }
    if needs_git(&config) && !crate::git::is_installed() {
        report.warnings.push(Problem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: "apps".to_owned(),
            message: "git is not installed, and repositories are configured: catalogs in Git are not read and services \
                      not published; install the package git"
                .to_owned(),
        });
    }
    let boot_files = config.pxe.as_ref().and_then(|pxe| pxe.boot_files_dir.as_ref());
    if let Some(dir) = boot_files.filter(|dir| !dir.is_dir()) {
        report.errors.push(Problem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: "pxe.boot_files_dir".to_owned(),
            message: format!("{} is not a directory", dir.display()),
        });
    }
    let Some(enforced) = specimen_enforced(&config) else { return report };
    for server_type in view.types.values() {
        let Some(template) = view.templates.get(&server_type.answer_template) else { continue };
        let subject = Subject { view: &view, server_type, template, enforced: &enforced };
        check_answers(&config, &subject, &mut report);
    }
    report
}

/// What is found in the text of one server type.
#[derive(Debug, Clone, Default)]
pub struct TypeReport {
    /// The type; `None` when the text is none.
    pub server_type: Option<ServerType>,
    /// What stops a rebuild.
    pub errors: Vec<Problem>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
}

/// Checks one text as [`check`] does the file that holds it: the text, its template, the answers of every dialect.
#[must_use]
pub fn check_type(config: &Config, view: &ServerTypesView, file: &Path, text: &str) -> TypeReport {
    let server_type = match server_type::parse(file, text) {
        Ok(server_type) => server_type,
        Err(errors) => return TypeReport { errors, ..TypeReport::default() },
    };
    let mut report = Report::default();
    match view.templates.get(&server_type.answer_template) {
        None => report.errors.push(no_template(file, &server_type, &view.templates)),
        Some(template) => {
            if let Some(enforced) = specimen_enforced(config) {
                let subject =
                    Subject { view, server_type: &server_type, template, enforced: &enforced };
                check_answers(config, &subject, &mut report);
            }
        }
    }
    let Report { errors, warnings, .. } = report;
    TypeReport { server_type: Some(server_type), errors, warnings }
}

/// Whether a repository is configured, of a catalog or for services.
fn needs_git(config: &Config) -> bool {
    config.apps.as_ref().is_some_and(|apps| {
        let is_git = |s: &CatalogSource| matches!(s.location, SourceLocation::Git { .. });
        apps.services.is_some() || apps.sources.iter().any(is_git)
    })
}

/// One server type with what its answers are made of.
struct Subject<'a> {
    view: &'a ServerTypesView,
    server_type: &'a ServerType,
    template: &'a Template,
    enforced: &'a Enforced,
}

fn check_answers(config: &Config, subject: &Subject<'_>, report: &mut Report) {
    let file = config.server_types.file_of(&subject.server_type.name);
    let mut told: Vec<String> = Vec::new();
    for dialect in Dialect::ALL {
        let problems = try_dialect(subject, dialect);
        let gated = !problems.is_empty() && problems.iter().all(|p| p.since.is_some());
        for problem in problems {
            let text = problem.to_string();
            if gated {
                let message =
                    format!("hosts of this type cannot be installed from ISO {dialect}: {text}");
                report.warnings.push(finding(&file, subject.server_type, message));
            } else if problem.since.is_none() && !told.contains(&text) {
                report.errors.push(finding(&file, subject.server_type, text.clone()));
                told.push(text);
            }
        }
    }
}

fn finding(file: &Path, server_type: &ServerType, message: String) -> Problem {
    let file: PathBuf = file.to_owned();
    Problem { file, line: 0, column: 0, key: format!("type {}", server_type.name), message }
}

/// What stands in the way of an answer in one dialect; empty when nothing does.
fn try_dialect(subject: &Subject<'_>, dialect: Dialect) -> Vec<AnswerProblem> {
    let mut first: Option<Vec<AnswerProblem>> = None;
    for host in specimen_hosts(subject.server_type) {
        let inputs = AnswerInputs {
            dialect,
            host: &host,
            server_type: subject.server_type,
            template: subject.template,
            time_zones: subject.view.time_zones.as_ref(),
            enforced: subject.enforced,
        };
        match prepare(&inputs, None) {
            Ok(_) => return Vec::new(),
            Err(problems) => {
                first.get_or_insert(problems);
            }
        }
    }
    first.unwrap_or_default()
}

/// One host of this type. Where each host names its own disks, hosts with 1 to 6 of them: one must fit the RAID level.
#[must_use]
pub fn specimen_hosts(server_type: &ServerType) -> Vec<Host> {
    let name = format!("{}1", server_type.hostname_prefix).parse::<Hostname>();
    let Ok(hostname) = name else { return Vec::new() };
    let host = Host {
        uuid: "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok(),
        address: Some(Ipv4Addr::new(192, 0, 2, 21)),
        inventory: Inventory { serial: Some("SPECIMEN1".to_owned()), ..Inventory::default() },
        ..Host::new(
            HostId(Uuid::nil()),
            hostname,
            vec![Mac([0x52, 0x54, 0, 0, 0, 1])],
            server_type.name.clone(),
            Timestamp(0),
        )
    };
    if server_type.boot_disk != DiskSelection::PerHost {
        return vec![host];
    }
    ["a", "b", "c", "d", "e", "f"]
        .iter()
        .scan(Vec::new(), |names: &mut Vec<String>, letter| {
            names.push(format!("sd{letter}"));
            Some(names.clone())
        })
        .map(|names| {
            let mut own = host.clone();
            own.overrides.boot_disk = Some(DiskSelection::Devices { names });
            own
        })
        .collect()
}

/// What Ironhatch would set, with a key and tokens that open nothing.
fn specimen_enforced(config: &Config) -> Option<Enforced> {
    let mut ssh_keys = vec![SPECIMEN_KEY.to_owned()];
    ssh_keys.extend(config.credentials.ssh_keys.iter().cloned());
    let root_password = match &config.credentials.root_password_hash {
        Some(hash) => RootPassword::Configured(hash.clone()),
        None => RootPassword::Generated(generated_password([0; 24], [0; 12]).ok()?),
    };
    let base = &config.server.public_url;
    let callback = |path: &str| Callback { url: format!("{base}{path}"), cert_fingerprint: None };
    Some(Enforced {
        ssh_keys,
        root_password,
        webhook: callback("/api/hosts/specimen/installed"),
        first_boot: callback("/api/hosts/specimen/first-boot-script"),
        ordering: Ordering::NetworkOnline,
    })
}

/// An Ed25519 public key of counted bytes; its private half does not exist.
const SPECIMEN_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f specimen";
