//! From what was entered to an order. One path for page, API and command line.
//!
//! [`read`] checks everything at once: each field that is wrong is told, with what would be allowed, and never with a
//! secret's value. An [`Order`] lies inside the boundary, whatever the form said.

mod field;
mod input;
mod network;
pub mod reorder;
mod resource;

use std::collections::BTreeMap;

use crate::domain::app::{AppId, CatalogApp, InputValue, NodeExporter};
use crate::domain::boundary::{Boundary, Defaults};
use crate::domain::discovery::Discovery;
use crate::domain::form::{FieldError, Submitted};
use crate::domain::guest::{GuestNetwork, GuestSpec, InstalledApp};
use crate::domain::id::{Hostname, NodeName};
use crate::domain::secret::Secret;

use super::ostemplate::TemplateChoice;
use super::placement::{self, Needs, PassedOver, Placement};
use field::Fields;

pub use input::{LEAST_SECRET, hidden_inputs};
pub use network::domain_name;

/// What an order must keep to and can choose from.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// What may be touched.
    pub boundary: &'a Boundary,
    /// What is proposed.
    pub defaults: &'a Defaults,
    /// What there is.
    pub discovery: &'a Discovery,
    /// The app's source may ask for privileged containers.
    pub source_privileged: bool,
    /// Service definitions can be published.
    pub publishes: bool,
}

/// A checked wish for a new guest.
#[derive(Debug)]
pub struct Order {
    /// Which app.
    pub app: AppId,
    /// Host name.
    pub name: Hostname,
    /// The node that takes it.
    pub node: NodeName,
    /// Resources, network, volumes, devices; its description too.
    pub spec: GuestSpec,
    /// Values of the inputs that are no secrets; hidden ones are left out.
    pub inputs: BTreeMap<String, InputValue>,
    /// Values of the secret inputs, entered or drawn.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// Keys of the secrets that were drawn.
    pub drawn: Vec<String>,
    /// Its entry in the reverse proxy's repository.
    pub service: Option<ServiceOrder>,
    /// Its OS template on that node.
    pub template: TemplateChoice,
    /// Nodes that were not chosen.
    pub passed_over: Vec<PassedOver>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// How a guest is exposed. The address is the container's own and never comes from a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOrder {
    /// Domain, lower case.
    pub domain: String,
    /// Reachable from outside, not only internally.
    pub public: bool,
    /// Port that the proxy talks to.
    pub port: u16,
    /// Path that the proxy can ask for health.
    pub health_path: Option<String>,
}

impl Order {
    /// The app as it is recorded with the guest.
    #[must_use]
    pub fn installed(&self, app: &CatalogApp) -> InstalledApp {
        InstalledApp {
            id: app.manifest.id.clone(),
            version: app.manifest.version.clone(),
            source: app.provenance.source.clone(),
            hash: app.provenance.hash.clone(),
            inputs: self.inputs.clone(),
        }
    }
}

/// The fields of every installation, besides `volume.KEY` and `input.KEY`.
pub const FIELDS: [&str; 20] = [
    "name",
    "description",
    "node",
    "storage",
    "cores",
    "memory_mb",
    "swap_mb",
    "disk_gb",
    "onboot",
    "start",
    "bridge",
    "vlan",
    "ipv4",
    "address",
    "gateway",
    "expose",
    "domain",
    "monitoring",
    "gpu",
    "gpu_devices",
];

/// A form with the app's and the site's defaults filled in, within the boundary. Secrets are left empty.
#[must_use]
pub fn defaults(app: &CatalogApp, site: &Site<'_>) -> Submitted {
    let manifest = &app.manifest;
    let caps = site.boundary.caps;
    let mut form = Submitted::default();
    let mut set = |field: &str, value: &dyn std::fmt::Display| form.set(field, &value.to_string());
    if let Some(node) = &site.defaults.node {
        set("node", node);
    }
    let lxc = &manifest.lxc;
    set("storage", &resource::default_storage(manifest, site));
    set("bridge", &network::default_bridge(manifest, site));
    set("cores", &lxc.cores.min(caps.cores));
    set("memory_mb", &lxc.memory_mb.min(caps.memory_mb));
    set("swap_mb", &lxc.swap_mb.min(caps.memory_mb));
    set("disk_gb", &lxc.disk_gb.min(caps.disk_gb));
    set("onboot", &lxc.onboot);
    set("start", &true);
    set("ipv4", &"dhcp");
    if let Some(Some(tag)) = site.boundary.vlan_choices().first() {
        set("vlan", tag);
    }
    set("expose", &"none");
    set("monitoring", &resource::default_monitoring(manifest, site));
    set("gpu", &resource::default_gpu(manifest));
    for mount in &manifest.mounts {
        set(&format!("volume.{}", mount.key), &mount.size_gb);
    }
    for input in &manifest.inputs {
        if let Some(value) = input.default.as_ref().filter(|_| !input::is_secret(input)) {
            set(&format!("input.{}", input.key), value);
        }
    }
    form
}

/// Checks a form. `draw` gives a new secret of so many characters (letters and digits) from a cryptographic generator.
///
/// # Errors
/// Every field that is wrong.
pub fn read(
    app: &CatalogApp,
    site: &Site<'_>,
    form: &Submitted,
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> Result<Order, Vec<FieldError>> {
    let manifest = &app.manifest;
    let mut fields = Fields::new(form);
    fields.only_known(&FIELDS, manifest);
    let mut warnings = Vec::new();
    resource::app(&mut fields, manifest, site, &mut warnings);
    let name = name(&mut fields, site);
    let description = description(&mut fields);
    let node = fields.parsed::<NodeName>("node", "the name of an approved node");
    let size = resource::size(&mut fields, manifest, site);
    let network = network::network(&mut fields, manifest, site);
    let service = network::service(&mut fields, manifest, site, name.as_ref(), &mut warnings);
    let monitored = resource::monitored(&mut fields, manifest, site);
    let onboot = fields.boolean("onboot", manifest.lxc.onboot);
    let start = fields.boolean("start", true);
    let wish = resource::wish(&mut fields, manifest);
    let inputs = input::read(&mut fields, &manifest.inputs, draw);

    let placement = match (&size.storage, &network, &wish) {
        (Some(storage), Some(network), Some(wish)) if fields.is_clean("node") => {
            let needs = Needs {
                manifest,
                storage,
                bridge: &network.bridge,
                memory_mb: size.memory_mb,
                disk_gb: size.total_gb(),
                gpu: wish,
            };
            placed(&mut fields, site, &needs, node.as_ref())
        }
        _ => None,
    };
    let errors = fields.into_errors();
    let (Some(placement), Some(name), Some(network), Some(storage)) =
        (placement, name, network, size.storage)
    else {
        return Err(never_empty(errors));
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    warnings.extend(placement.warnings);
    warn_about_network(&network, service.as_ref(), &mut warnings);
    let lxc = &manifest.lxc;
    Ok(Order {
        app: manifest.id.clone(),
        name,
        node: placement.node,
        spec: GuestSpec {
            storage,
            cores: size.cores,
            memory_mb: size.memory_mb,
            swap_mb: size.swap_mb,
            disk_gb: size.disk_gb,
            unprivileged: lxc.unprivileged,
            features: lxc.features.clone(),
            network,
            volumes: size.volumes,
            gpu: placement.gpu,
            onboot,
            start,
            monitored,
            description,
            ostemplate: Some(placement.template.volume().to_owned()),
        },
        inputs: inputs.values,
        secrets: inputs.secrets,
        drawn: inputs.drawn,
        service,
        template: placement.template,
        passed_over: placement.passed_over,
        warnings,
    })
}

/// Something was missing, so at least one error was noted; this only guards against a rule that forgot to.
fn never_empty(mut errors: Vec<FieldError>) -> Vec<FieldError> {
    if errors.is_empty() {
        errors.push(FieldError::new("node", "no node can take this guest"));
    }
    errors
}

fn placed(
    fields: &mut Fields<'_>,
    site: &Site<'_>,
    needs: &Needs<'_>,
    wanted: Option<&NodeName>,
) -> Option<Placement> {
    match placement::choose(site, needs, wanted) {
        Ok(placement) => Some(placement),
        Err(reasons) => {
            let several = reasons.iter().any(|r| r.node != reasons[0].node);
            if reasons.is_empty() {
                fields.wrong("node", "no node is enrolled and approved; enrol one first");
            } else if several {
                let all: Vec<String> =
                    reasons.iter().map(|r| format!("{}: {}", r.node, r.reason)).collect();
                fields.wrong("node", format!("no node can take it. {}", all.join(". ")));
            } else {
                for over in reasons {
                    fields.wrong(over.field, over.reason);
                }
            }
            None
        }
    }
}

fn name(fields: &mut Fields<'_>, site: &Site<'_>) -> Option<Hostname> {
    if fields.text("name").is_none() {
        fields.wrong("name", format!("a host name is needed: {NAME_RULE}"));
        return None;
    }
    let name = fields.parsed::<Hostname>("name", NAME_RULE)?;
    if site.discovery.taken_names.iter().any(|taken| taken.eq_ignore_ascii_case(name.as_str())) {
        fields.wrong("name", format!("another guest is called {name}; choose another name"));
        return None;
    }
    if site.discovery.node(&name).is_some() {
        fields.wrong("name", format!("a node is called {name}; choose another name"));
        return None;
    }
    Some(name)
}

const NAME_RULE: &str =
    "1 to 63 of a-z, 0-9 and '-', a letter or digit at both ends, not only digits";

/// What the operator notes about a guest.
fn description(fields: &mut Fields<'_>) -> String {
    let text = fields.text("description").unwrap_or_default();
    if text.chars().count() > MOST_DESCRIPTION {
        fields.wrong("description", format!("at most {MOST_DESCRIPTION} characters are allowed"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        fields.wrong("description", "control characters are not allowed");
    }
    text.to_owned()
}

/// A note, not a document; it stands in the cluster's configuration.
const MOST_DESCRIPTION: usize = 2000;

fn warn_about_network(
    network: &GuestNetwork,
    service: Option<&ServiceOrder>,
    warnings: &mut Vec<String>,
) {
    use crate::domain::guest::Ipv4Config;
    if service.is_some() && network.ipv4 == Ipv4Config::Dhcp {
        warnings.push(
            "the address comes from a DHCP server: give the guest a fixed lease there, or its service definition will \
             point to an old address some day"
                .to_owned(),
        );
    }
    if let Ipv4Config::Static { gateway: None, .. } = network.ipv4 {
        warnings.push("without a gateway the guest reaches its own network only".to_owned());
    }
}

/// Whether a node exporter can be installed: never, when asked for, always.
fn exporter_is(exporter: NodeExporter, wanted: bool) -> Result<bool, &'static str> {
    match (exporter, wanted) {
        (NodeExporter::No, true) => {
            Err("this app cannot be monitored by a node exporter; only false is allowed")
        }
        (NodeExporter::Yes, false) => {
            Err("this app always brings its node exporter; only true is allowed")
        }
        (_, wanted) => Ok(wanted),
    }
}

#[cfg(test)]
mod test;
