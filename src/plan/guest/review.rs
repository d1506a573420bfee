//! Everything that an installation will do, in that order, before it does it.

use crate::domain::app::{CatalogApp, HealthKind, Manifest, OutputKind, ProvisionKind};
use crate::domain::discovery::{Review, ReviewLine};
use crate::domain::guest::{GuestNetwork, GuestSpec, Ipv4Config};

use super::create;
use super::gpu;
use super::order::{Order, Site};
use super::ostemplate::TemplateChoice;
use super::provision::{self, Phase};
use super::vmid;

/// Reviews an order. `service` is the reverse proxy's definition as it would be written.
#[must_use]
pub fn install(
    app: &CatalogApp,
    order: &Order,
    site: &Site<'_>,
    service: Option<String>,
) -> Review {
    let manifest = &app.manifest;
    let spec = &order.spec;
    let mut lines = Vec::new();
    let mut add = |what: &str, detail: String| {
        lines.push(ReviewLine { what: what.to_owned(), detail });
    };
    let from = match &app.provenance.commit {
        Some(commit) => {
            let short: String = commit.chars().take(10).collect();
            format!("{} ({short})", app.provenance.source)
        }
        None => app.provenance.source.clone(),
    };
    add("App", format!("{} {} from {from}", manifest.name, manifest.version));
    add("Node", node(order));
    add("Number", number(site));
    match &order.template {
        TemplateChoice::Present(volume) => add("OS template", volume.clone()),
        TemplateChoice::Download { file, .. } => add(
            "Download the OS template",
            format!("{file} to {} on {}", site.boundary.template_storage, order.node),
        ),
    }
    add("Create the container", container(order));
    add("Root disk", format!("{} GiB on {}", spec.disk_gb, spec.storage));
    for volume in &spec.volumes {
        let backup = if volume.backup { "part of backups" } else { "not part of backups" };
        let (path, size) = (&volume.path, volume.size_gb);
        add("Volume", format!("{size} GiB on {} at {path}, {backup}", spec.storage));
    }
    add("Network", network(&spec.network));
    let marks = super::marks::property(&super::marks::tags("", Some(&manifest.id)));
    add("Mark it as ours", format!("pool {}, tags {marks}", site.boundary.pool));
    if let Some(features) = create::root_features(spec) {
        let names: Vec<&str> = features.iter().map(|f| f.as_str()).collect();
        add("Set features over the root channel", names.join(", "));
    }
    for attachment in &spec.gpu {
        let driver = attachment
            .driver_version
            .as_ref()
            .map_or_else(String::new, |version| format!(", driver {version}"));
        let profile = gpu::name(attachment.profile);
        add("Give it a GPU", format!("{} ({profile}{driver})", attachment.address));
    }
    add("Start it", "and wait for its address and for name resolution".to_owned());
    inputs(manifest, order, &mut add);
    provisioning(manifest, spec, &mut add);
    add("Verify", health(manifest));
    let shown: Vec<&str> = manifest.outputs.iter().map(|o| o.label.as_str()).collect();
    if !shown.is_empty() {
        let sealed = manifest.outputs.iter().any(|o| o.kind == OutputKind::Secret);
        let note = if sealed { "; secrets are sealed and shown once" } else { "" };
        add("Show", format!("{}{note}", shown.join(", ")));
    }
    if spec.monitored {
        let detail =
            format!("port {} is listed for Prometheus", super::monitoring::NODE_EXPORTER_PORT);
        add("Monitoring", detail);
    }
    if let Some(service) = &order.service {
        let reach = if service.public { "public" } else { "internal" };
        let detail = format!("{} to port {}, {reach}", service.domain, service.port);
        add("Publish its service definition", detail);
    }
    if !spec.start {
        add("Stop it", "because it shall not run after the installation".to_owned());
    }
    let mut warnings = order.warnings.clone();
    warnings.extend(about_the_app(app, order, site));
    Review { lines, service: order.service.as_ref().and(service), warnings }
}

fn node(order: &Order) -> String {
    if order.passed_over.is_empty() {
        return order.node.to_string();
    }
    let others: Vec<String> =
        order.passed_over.iter().map(|over| format!("{}: {}", over.node, over.reason)).collect();
    format!("{} (not {})", order.node, others.join("; not "))
}

fn number(site: &Site<'_>) -> String {
    let boundary = site.boundary;
    let taken = &site.discovery.taken_vmids;
    let range = format!("{} to {}", boundary.vmids.start(), boundary.vmids.end());
    match vmid::choose(&boundary.vmids, &boundary.reserved_vmids, taken, &[]) {
        Some(next) => format!("the lowest free one of {range}, {next} as it looks now"),
        None => format!("none of {range} is free now"),
    }
}

fn container(order: &Order) -> String {
    let spec = &order.spec;
    let kind = if spec.unprivileged { "unprivileged" } else { "PRIVILEGED" };
    let onboot = if spec.onboot { "starts" } else { "does not start" };
    let features: Vec<&str> = spec.features.iter().map(|f| f.as_str()).collect();
    let features = match features.as_slice() {
        [] => "no features".to_owned(),
        some => format!("features {}", some.join(", ")),
    };
    format!(
        "{}, {} cores, {} MiB memory, {} MiB swap, {kind}, {features}, {onboot} with the node",
        order.name, spec.cores, spec.memory_mb, spec.swap_mb
    )
}

fn network(network: &GuestNetwork) -> String {
    let vlan = network.vlan.map_or_else(|| "untagged".to_owned(), |tag| format!("VLAN {tag}"));
    let address = match &network.ipv4 {
        Ipv4Config::Dhcp => "address from DHCP".to_owned(),
        Ipv4Config::Static { address, prefix, gateway } => {
            let gateway =
                gateway.map_or_else(|| "no gateway".to_owned(), |g| format!("gateway {g}"));
            format!("{address}/{prefix}, {gateway}")
        }
    };
    format!("{}, {vlan}, {address}", network.bridge)
}

/// The answers; of a secret only that there is one.
fn inputs(manifest: &Manifest, order: &Order, add: &mut dyn FnMut(&str, String)) {
    for input in &manifest.inputs {
        let value = if order.secrets.contains_key(&input.key) {
            let drawn = order.drawn.contains(&input.key);
            if drawn { "a new secret is drawn" } else { "as entered (secret)" }.to_owned()
        } else if let Some(value) = order.inputs.get(&input.key) {
            // What the manifest keeps out of logs is no business of this page either.
            let hidden = manifest.provision.redact_keys.contains(&input.key);
            if hidden { "as entered".to_owned() } else { value.to_string() }
        } else {
            continue;
        };
        add("Input", format!("{}: {value}", input.label));
    }
}

fn provisioning(manifest: &Manifest, spec: &GuestSpec, add: &mut dyn FnMut(&str, String)) {
    let provision = &manifest.provision;
    let script = provision::script(manifest, Phase::Install).ok().flatten();
    let files: Vec<&str> =
        script.into_iter().chain(provision.assets.iter().map(String::as_str)).collect();
    if !files.is_empty() {
        let stay = if provision.keep_assets { "they stay there" } else { "removed afterwards" };
        let detail = format!("{} below {}, {stay}", files.join(", "), provision::STAGE);
        add("Push files", detail);
    }
    if let ProvisionKind::Packages { packages, .. } = &provision.kind {
        add("Install packages", packages.join(", "));
    }
    if spec.monitored && provision::takes_exporter(manifest) {
        add("Install the node exporter", "from the distribution".to_owned());
    }
    if let Some(script) = script {
        let minutes = provision.timeout_sec.div_ceil(60);
        add("Run the script", format!("{script} as {}, at most {minutes} min", provision.user));
    }
    if let ProvisionKind::Packages { services, .. } = &provision.kind
        && !services.is_empty()
    {
        add("Enable and start", services.join(", "));
    }
}

fn health(manifest: &Manifest) -> String {
    let Some(check) = &manifest.healthcheck else {
        return "the container runs; the app names no health check".to_owned();
    };
    let what = match &check.kind {
        HealthKind::Http { port, path, .. } => format!("http port {port}, {path} answers"),
        HealthKind::Tcp { port } => format!("port {port} takes connections"),
        HealthKind::Command { script } => format!("{script} succeeds"),
    };
    format!("{what} within {} s", check.timeout_sec)
}

fn about_the_app(app: &CatalogApp, order: &Order, site: &Site<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if !app.provenance.exercised {
        warnings.push("this app's installation is not exercised in CI".to_owned());
    }
    let storage = site.discovery.node(&order.node).and_then(|n| n.storage(&order.spec.storage));
    if storage.is_some_and(|s| !s.has_snapshots()) {
        let id = &order.spec.storage;
        warnings.push(if site.boundary.backup_storages.is_empty() {
            format!(
                "{id} has no snapshots and no backup storage is approved: there will be no restore point before changes"
            )
        } else {
            format!("{id} has no snapshots: restore points are backups, which take longer")
        });
    }
    let left_out = app
        .manifest
        .mounts
        .iter()
        .any(|m| m.backup && { !order.spec.volumes.iter().any(|v| v.key == m.key) });
    if left_out {
        warnings.push("a volume was left out: its data lie on the root disk".to_owned());
    }
    warnings
}

#[cfg(test)]
mod test {
    use super::super::{order, sample};
    use super::*;
    use crate::domain::form::Submitted;
    use crate::domain::secret::Secret;

    #[test]
    fn a_review_tells_everything_in_order_and_no_secret() {
        let place = sample::place();
        let app = sample::app();
        let mut form = Submitted::default();
        for (field, value) in [
            ("name", "wiki"),
            ("input.title", "home"),
            ("input.mail", "true"),
            ("input.relay", "mail.example.net"),
            ("input.relay_password", "pl4nted-secret"),
            ("expose", "internal"),
            ("ipv4", "static"),
            ("address", "192.0.2.30/24"),
            ("gateway", "192.0.2.1"),
            ("volume.media", ""),
            ("storage", "tank"),
            ("start", "false"),
        ] {
            form.set(field, value);
        }
        let mut draw = |n| Secret::new("d".repeat(n));
        let order = order::read(&app, &place.site(), &form, &mut draw).unwrap();
        let review = install(&app, &order, &place.site(), Some("name: wiki\n".to_owned()));
        let mut text = String::new();
        for line in &review.lines {
            text.push_str(&format!("{}: {}\n", line.what, line.detail));
        }
        text.push_str(&format!("---\n{}---\n", review.service.clone().unwrap()));
        for warning in &review.warnings {
            text.push_str(&format!("! {warning}\n"));
        }
        for secret in ["pl4nted", "dddd", "mail.example.net"] {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        crate::golden::assert_golden("guest/review.txt", &text);
    }
}
