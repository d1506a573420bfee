//! What a guest's page shows, gathered from one snapshot, the catalog and, when asked for, the cluster.

use super::field::{Field, Group, input_groups};
use super::host_view::JobRow;
use super::wizard::gpu_fields;
use crate::domain::app::{Catalog, CatalogApp, OutputKind};
use crate::domain::form::{FieldError, Submitted};
use crate::domain::gpu::{Gpu, PciAddress};
use crate::domain::guest::{Guest, GuestState, OutputValue};
use crate::domain::id::GuestId;
use crate::domain::job::Job;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::plan::guest::order::reorder::present;
use crate::store::{
    GuestReads as _, JobReads as _, NodeReads as _, SHOWN_ONCE, SecretReads as _, Snapshot,
    StoreError, of_guest,
};
use crate::web::view::app::{gpu_name, gpu_obstacle, short_hash, web_link};
use crate::web::view::guest::{Gauge, gauges, power_tone};
use crate::web::view::story::{Line, from_log};
use crate::web::view::{When, size};
use crate::web::{Archive, Archives, Site, Vitals};

/// Jobs on a guest's page.
const JOB_LINES: usize = 20;
/// Lines of the active job's log on a guest's page.
const LOG_LINES: usize = 200;

/// One result of the provisioning.
pub(super) struct OutputRow {
    pub(super) key: String,
    pub(super) label: String,
    /// The value; empty: a secret.
    pub(super) value: String,
    /// A secret that was not shown yet.
    pub(super) sealed: bool,
    /// Where it leads, when it is an address of the web.
    pub(super) link: Option<String>,
}

impl OutputRow {
    /// `sealed` are the keys of the secrets that were not shown yet.
    pub(super) fn new(output: &OutputValue, sealed: &[String]) -> Self {
        Self {
            sealed: output.value.is_none() && sealed.contains(&output.key),
            key: output.key.clone(),
            label: output.label.clone(),
            value: output.value.clone().unwrap_or_default(),
            link: match (output.kind, &output.value) {
                (OutputKind::Url, Some(value)) => web_link(value),
                _ => None,
            },
        }
    }
}

/// Keys of a guest's secrets that were not shown yet.
pub(super) fn sealed_keys(read: &Snapshot, guest: GuestId) -> Result<Vec<String>, StoreError> {
    let prefix = of_guest(guest, SHOWN_ONCE);
    let names = read.secret_names(&prefix)?;
    Ok(names.iter().filter_map(|n| n.strip_prefix(&prefix)).map(str::to_owned).collect())
}

/// What a guest gives, and the generated secrets of its inputs.
fn outputs(
    read: &Snapshot,
    guest: &Guest,
    app: Option<&CatalogApp>,
) -> Result<Vec<OutputRow>, StoreError> {
    let sealed = sealed_keys(read, guest.id)?;
    let mut rows: Vec<OutputRow> =
        guest.outputs.iter().map(|o| OutputRow::new(o, &sealed)).collect();
    for key in sealed.iter().filter(|key| !guest.outputs.iter().any(|o| o.key == **key)) {
        let input = app.and_then(|a| a.manifest.inputs.iter().find(|i| i.key == *key));
        rows.push(OutputRow {
            key: key.clone(),
            label: input.map_or_else(|| key.clone(), |i| i.label.clone()),
            value: String::new(),
            sealed: true,
            link: None,
        });
    }
    Ok(rows)
}

/// One backup.
pub(super) struct ArchiveRow {
    pub(super) volid: String,
    pub(super) storage: String,
    pub(super) size: String,
    pub(super) made: When,
}

/// What the cluster says.
pub(super) struct Looked {
    pub(super) status: String,
    pub(super) tone: &'static str,
    pub(super) gauges: Vec<Gauge>,
    pub(super) addresses: String,
    pub(super) console: Option<String>,
    pub(super) problem: String,
    pub(super) archives: Vec<ArchiveRow>,
    /// Why there is no list of backups, or what is missing in it.
    pub(super) no_archives: String,
}

impl Looked {
    pub(super) fn new(
        vitals: Result<Vitals, Refusal>,
        archives: Result<Archives, Refusal>,
        now: Timestamp,
    ) -> Self {
        let row = |a: &Archive| ArchiveRow {
            volid: a.volid.clone(),
            storage: a.storage.to_string(),
            size: size(a.size),
            made: When::new(a.made, now),
        };
        let (archives, no_archives) = match archives {
            Ok(all) => {
                let missing = if all.problems.is_empty() { "" } else { "Not looked at: " };
                (
                    all.found.iter().map(row).collect(),
                    format!("{missing}{}", all.problems.join("; ")),
                )
            }
            Err(refusal) => (Vec::new(), refusal.to_string()),
        };
        match vitals {
            Ok(vitals) => Self {
                tone: power_tone(&vitals.status),
                gauges: if vitals.status == "running" { gauges(&vitals) } else { Vec::new() },
                addresses: vitals
                    .addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                console: web_link(&vitals.console),
                problem: vitals.problem,
                status: vitals.status,
                archives,
                no_archives,
            },
            Err(refusal) => Self {
                status: "unknown".to_owned(),
                tone: power_tone("unknown"),
                gauges: Vec::new(),
                addresses: String::new(),
                console: None,
                problem: refusal.to_string(),
                archives,
                no_archives,
            },
        }
    }
}

/// What an upgrade would change.
pub(super) struct Upgrade {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) changes: Vec<String>,
}

fn upgrade(guest: &Guest, app: Option<&CatalogApp>) -> Option<Upgrade> {
    let (installed, offered) = (guest.app.as_ref()?, app?);
    let provenance = &offered.provenance;
    if installed.hash == provenance.hash {
        return None;
    }
    let mut changes = Vec::new();
    if installed.version == offered.manifest.version {
        changes.push("Its files changed, its version did not.".to_owned());
    }
    if installed.source != provenance.source {
        changes.push(format!(
            "It comes from {} now, not from {}.",
            provenance.source, installed.source
        ));
    }
    changes.push(match &offered.manifest.provision.upgrade {
        Some(script) => format!("The app's script {script} is run in the container."),
        None => "The app has no upgrade script: its installation is run again.".to_owned(),
    });
    let known = |key: &String| offered.manifest.inputs.iter().any(|i| i.key == *key);
    let gone: Vec<&str> =
        installed.inputs.keys().filter(|k| !known(k)).map(String::as_str).collect();
    if !gone.is_empty() {
        changes.push(format!("Settings that it does not have any more: {}.", gone.join(", ")));
    }
    let new: Vec<&str> = offered
        .manifest
        .inputs
        .iter()
        .filter(|i| {
            !matches!(i.kind, crate::domain::app::InputKind::Secret { .. })
                && !installed.inputs.contains_key(&i.key)
        })
        .map(|i| i.label.as_str())
        .collect();
    if !new.is_empty() {
        changes.push(format!("New settings, with their defaults: {}.", new.join(", ")));
    }
    Some(Upgrade {
        from: format!("{} ({})", installed.version, short_hash(&installed.hash.0)),
        to: format!("{} ({})", offered.manifest.version, short_hash(&provenance.hash.0)),
        changes,
    })
}

/// The GPUs of a guest's node. What the guest has stays a choice, whatever became of it: a box that cannot be ticked would
/// take it away behind the operator's back.
fn devices(
    guest: &Guest,
    app: &CatalogApp,
    site: &Site,
    node: Option<&EnrolledNode>,
) -> Vec<(String, String, String)> {
    let has = |address: &PciAddress| guest.spec.gpu.iter().any(|g| g.address == *address);
    let report = node.map(|n| &n.gpu);
    let gpus = || report.into_iter().flat_map(|r| &r.gpus);
    let offer = |gpu: &Gpu| {
        let policy = &site.boundary.gpu;
        let refused = report.and_then(|r| gpu_obstacle(&app.manifest, policy, &guest.node, r, gpu));
        let text = gpu_name(gpu);
        match refused {
            Some(reason) if has(&gpu.address) => {
                (gpu.address.to_string(), format!("{text} (not usable: {reason})"), String::new())
            }
            refused => (gpu.address.to_string(), text, refused.unwrap_or_default()),
        }
    };
    let gone = guest.spec.gpu.iter().filter(|had| !gpus().any(|g| g.address == had.address));
    let gone = gone.map(|had| {
        let address = had.address.to_string();
        (address.clone(), format!("{address} (not in the node any more)"), String::new())
    });
    gpus().map(offer).chain(gone).collect()
}

/// The fields of a reconfiguration.
fn reconfiguration(
    guest: &Guest,
    app: Option<&CatalogApp>,
    site: &Site,
    node: Option<&EnrolledNode>,
) -> Vec<Group> {
    let caps = site.boundary.caps;
    let mut fields = vec![
        Field::number("cores", "Cores", 1, caps.cores),
        Field::number("memory_mb", "Memory, MiB", 16, caps.memory_mb),
        Field::number("disk_gb", "Root disk, GiB", guest.spec.disk_gb, caps.disk_gb)
            .help("A disk only grows."),
        Field::text("description", "Description", 200),
        Field::tick("onboot", "Start it when its node starts"),
    ];
    if let Some(app) = app
        && let Some(need) = &app.manifest.gpu
    {
        let devices = devices(guest, app, site, node);
        let help = "Those of its node. When others are chosen, the app's installation runs again where it allows that.";
        fields.extend(gpu_fields(need, devices, help));
    }
    let mut groups = vec![Group::new("Container", "", fields)];
    if let Some(app) = app {
        let wanted = |i: &crate::domain::app::Input| i.reconfigure;
        // A secret is there already: left empty it stays.
        groups.extend(input_groups(&app.manifest.inputs, wanted, |_| true));
    }
    groups
}

/// Everything below the header of a guest's page.
pub(super) struct GuestView {
    pub(super) outputs: Vec<OutputRow>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) jobs: Vec<JobRow>,
    /// Log of the active job, when there is one.
    pub(super) log: Vec<Line>,
    pub(super) groups: Vec<Group>,
    pub(super) stray: Vec<FieldError>,
    /// What was found before the adoption.
    pub(super) found: Vec<(String, String)>,
    /// The newest job, when it failed and may be tried again.
    pub(super) failed_install: bool,
}

/// Properties of a container's configuration that may hold secrets.
const NOT_SHOWN: [&str; 2] = ["env", "entrypoint"];

impl GuestView {
    pub(super) fn read(
        read: &Snapshot,
        guest: &Guest,
        catalog: &Catalog,
        site: &Site,
        asked: Option<(&Submitted, &[FieldError])>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let app = guest.app.as_ref().and_then(|a| catalog.get(&a.id));
        let jobs = read.jobs_of_guest(guest.id, JOB_LINES)?;
        let log = match guest.active_job {
            Some(job) => read.job_log(job, 0, usize::MAX)?,
            None => Vec::new(),
        };
        let surplus = log.len().saturating_sub(LOG_LINES);
        let node = read.enrolled_node(&guest.node)?;
        let groups = reconfiguration(guest, app, site, node.as_ref());
        let (groups, stray) = match asked {
            Some((form, errors)) => Group::filled(groups, form, errors),
            None => Group::filled(groups, &present(app, guest), &[]),
        };
        let shown = |(name, value): (&String, &String)| {
            let hidden = NOT_SHOWN.iter().any(|n| name.starts_with(n));
            (name.clone(), if hidden { "(not shown)".to_owned() } else { value.clone() })
        };
        let install = |job: &Job| matches!(job.kind(), "install");
        Ok(Self {
            outputs: outputs(read, guest, app)?,
            upgrade: if guest.state == GuestState::Ready { upgrade(guest, app) } else { None },
            failed_install: guest.state == GuestState::Failed && jobs.first().is_some_and(install),
            jobs: jobs.iter().map(|j| JobRow::new(j, now)).collect(),
            log: log.iter().skip(surplus).map(from_log).collect(),
            groups,
            stray,
            found: guest.adopted.iter().flat_map(|a| &a.config).map(shown).collect(),
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::app::ContentHash;
    use crate::domain::guest::sample;
    use crate::web::test::catalog::catalog;

    #[test]
    fn an_upgrade_is_offered_when_the_content_differs_and_says_what_changes() {
        let catalog = catalog();
        let app = catalog.get(&"static-website".parse().unwrap()).unwrap();
        let mut guest = sample::guest(101);
        let told = upgrade(&guest, Some(app)).unwrap();
        assert!(told.from.starts_with("1.0.0") && told.to.starts_with("1.1.0"), "{}", told.to);
        assert!(told.changes.iter().any(|c| c.contains("New settings")), "{:?}", told.changes);
        guest.app.as_mut().unwrap().hash = app.provenance.hash.clone();
        assert!(upgrade(&guest, Some(app)).is_none());
        guest.app.as_mut().unwrap().hash = ContentHash("1".repeat(64));
        guest.app.as_mut().unwrap().version = "1.1.0".into();
        let told = upgrade(&guest, Some(app)).unwrap();
        assert!(told.changes[0].contains("its version did not"));
        assert!(upgrade(&guest, None).is_none());
    }

    #[test]
    fn gpus_of_the_node_are_offered_and_one_that_is_gone_stays_a_choice() {
        let catalog = catalog();
        let app = catalog.get(&"jellyfin".parse().unwrap()).unwrap();
        let mut guest = sample::guest(101);
        guest.spec.gpu = vec![crate::domain::guest::GpuAttachment {
            address: "0000:09:00.0".parse().unwrap(),
            profile: crate::domain::gpu::GpuProfile::DriRender,
            driver_version: None,
        }];
        let node = crate::web::test::catalog::enrolled(1, "");
        let site = crate::web::test::catalog::site();
        let groups = reconfiguration(&guest, Some(app), &site, Some(&node));
        let (groups, _) = Group::filled(groups, &present(Some(app), &guest), &[]);
        let boxes = groups[0].fields.iter().find(|f| f.name == "gpu_devices").unwrap();
        let told: Vec<_> = boxes.options.iter().map(|o| (o.text.as_str(), o.selected)).collect();
        assert_eq!(told.len(), node.gpu.gpus.len() + 1, "{told:?}");
        assert_eq!(told.last(), Some(&("0000:09:00.0 (not in the node any more)", true)));
        assert!(told[..told.len() - 1].iter().all(|(_, selected)| !selected));
    }

    #[test]
    fn a_status_that_cannot_be_read_says_why() {
        let refused = || {
            Refusal::new(
                crate::domain::refusal::RefusalKind::Unavailable,
                "pve1 does not answer.",
                "",
            )
        };
        let looked = Looked::new(Err(refused()), Err(refused()), Timestamp(0));
        assert_eq!((looked.status.as_str(), looked.console), ("unknown", None));
        assert!(looked.problem.contains("pve1") && looked.no_archives.contains("pve1"));
    }
}
