//! A change of an existing guest: the same rules as for an order, for the few fields that may change.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::app::{CatalogApp, InputValue, Manifest};
use crate::domain::form::{FieldError, Submitted};
use crate::domain::guest::Guest;
use crate::domain::job::Reconfigure;
use crate::domain::secret::Secret;

use super::super::gpu::{self, Wish};
use super::super::placement;
use super::field::{Fields, input_field};
use super::resource::{ALLOWED, LEAST_MEMORY_MB, NEEDED, wish_or};
use super::{Site, description, input};

/// A checked wish to change a guest.
#[derive(Debug)]
pub struct Change {
    /// What changes. Its inputs are the complete set afterwards: those that became hidden are left out.
    pub reconfigure: Reconfigure,
    /// New values of secret inputs; the others keep theirs.
    pub secrets: BTreeMap<String, Secret<String>>,
    /// The app's script has to run again.
    pub provisions: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// The fields that may change, besides `input.KEY` of inputs that may.
pub const FIELDS: [&str; 7] =
    ["description", "cores", "memory_mb", "disk_gb", "onboot", "gpu", "gpu_devices"];

/// The form of a change with the guest's present values filled in. Secrets are left empty.
#[must_use]
pub fn present(app: Option<&CatalogApp>, guest: &Guest) -> Submitted {
    let spec = &guest.spec;
    let mut form = Submitted::default();
    form.set("description", &spec.description);
    form.set("cores", &spec.cores.to_string());
    form.set("memory_mb", &spec.memory_mb.to_string());
    form.set("disk_gb", &spec.disk_gb.to_string());
    form.set("onboot", &spec.onboot.to_string());
    if app.is_some_and(|a| a.manifest.gpu.is_some()) {
        form.set("gpu", if spec.gpu.is_empty() { "none" } else { "pick" });
        let devices: Vec<&str> = spec.gpu.iter().map(|g| g.address.as_str()).collect();
        form.set("gpu_devices", &devices.join(","));
    }
    let values = guest.app.as_ref().map(|a| &a.inputs);
    for input in app.iter().flat_map(|a| &a.manifest.inputs).filter(|i| i.reconfigure) {
        if let Some(value) = values.and_then(|v| v.get(&input.key)) {
            form.set(&input_field(input), &value.to_string());
        }
    }
    form
}

/// Checks a change. `app` is the version that is installed; `None` for an adopted guest without an app. What was left
/// out stays as it is, and what equals the present value is no change. `stored` are the keys of the secrets that are
/// kept for it; `draw` is as for [`super::read`].
///
/// # Errors
/// Every field that is wrong.
pub fn read(
    app: Option<&CatalogApp>,
    guest: &Guest,
    site: &Site<'_>,
    form: &Submitted,
    stored: &BTreeSet<String>,
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> Result<Change, Vec<FieldError>> {
    let manifest = app.map(|a| &a.manifest);
    let mut fields = Fields::new(form);
    let inputs = manifest.into_iter().flat_map(|m| &m.inputs).filter(|i| i.reconfigure);
    fields.only_these(&FIELDS, inputs.map(input_field));
    let mut warnings = Vec::new();
    let mut reconfigure = resources(&mut fields, manifest, guest, site);
    reconfigure.gpu = gpus(&mut fields, manifest, guest, site);
    let mut secrets = BTreeMap::new();
    if let (Some(manifest), Some(installed)) = (manifest, &guest.app) {
        let (values, changed) =
            inputs_after(&mut fields, manifest, &installed.inputs, stored, draw);
        secrets = changed;
        reconfigure.inputs = (values != installed.inputs).then_some(values);
    }
    let provisions = reconfigure.inputs.is_some() || !secrets.is_empty();
    if let Some(manifest) = manifest.filter(|m| provisions && !m.provision.retry_safe) {
        let field = manifest.inputs.iter().find(|i| fields.text(&input_field(i)).is_some());
        let field = field.map_or_else(|| "input".to_owned(), input_field);
        fields.wrong(
            field,
            "the app's script may run only once (retry_safe is not set), so its inputs cannot change after the \
             installation; upgrade or reinstall it",
        );
    }
    if reconfigure.memory_mb.is_some_and(|new| new < guest.spec.memory_mb) {
        warnings.push("with less memory, programs that need more are killed".to_owned());
    }
    let errors = fields.into_errors();
    if !errors.is_empty() {
        return Err(errors);
    }
    if reconfigure == Reconfigure::default() && secrets.is_empty() {
        return Err(vec![FieldError::new("description", "nothing would change")]);
    }
    Ok(Change { reconfigure, secrets, provisions, warnings })
}

fn resources(
    fields: &mut Fields<'_>,
    manifest: Option<&Manifest>,
    guest: &Guest,
    site: &Site<'_>,
) -> Reconfigure {
    let spec = &guest.spec;
    let caps = site.boundary.caps;
    let mut change = Reconfigure::default();
    if fields.text("cores").is_some() {
        let most = (caps.cores, ALLOWED);
        let cores = fields.number("cores", spec.cores, " cores", (1, NEEDED), most);
        change.cores = (cores != spec.cores).then_some(cores);
    }
    if fields.text("memory_mb").is_some() {
        let least = manifest.map_or(0, |m| m.lxc.min_memory_mb).max(LEAST_MEMORY_MB);
        let most = (caps.memory_mb, ALLOWED);
        let memory = fields.number("memory_mb", spec.memory_mb, " MiB", (least, NEEDED), most);
        change.memory_mb = (memory != spec.memory_mb).then_some(memory);
    }
    if fields.text("disk_gb").is_some() {
        let volumes: u32 = spec.volumes.iter().map(|v| v.size_gb).sum();
        let most = (caps.disk_gb.saturating_sub(volumes), "this site allows, with its volumes,");
        let least = (spec.disk_gb, "a disk only grows, so enter");
        let disk = fields.number("disk_gb", spec.disk_gb, " GiB", least, most);
        if disk > spec.disk_gb && fields.is_clean("disk_gb") {
            let more = u64::from(disk - spec.disk_gb);
            let storage = site.discovery.node(&guest.node).and_then(|n| n.storage(&spec.storage));
            match storage.map(|s| placement::takes(s, more, &guest.node)) {
                Some(Ok(())) => change.disk_gb = Some(disk),
                Some(Err(reason)) => fields.wrong("disk_gb", reason),
                None => {
                    let (storage, node) = (&spec.storage, &guest.node);
                    fields.wrong("disk_gb", format!("{storage} is not active on {node} now"));
                }
            }
        }
    }
    let onboot = fields.boolean("onboot", spec.onboot);
    change.onboot = (onboot != spec.onboot).then_some(onboot);
    if fields.raw("description").is_some() {
        let text = description(fields);
        change.description = (text != spec.description).then_some(text);
    }
    change
}

fn gpus(
    fields: &mut Fields<'_>,
    manifest: Option<&Manifest>,
    guest: &Guest,
    site: &Site<'_>,
) -> Option<Vec<crate::domain::guest::GpuAttachment>> {
    if fields.text("gpu").is_none() && fields.text("gpu_devices").is_none() {
        return None;
    }
    let wish = wish_or(fields, "pick")?;
    let (Some(manifest), Some(app)) = (manifest, &guest.app) else {
        if wish != Wish::None {
            fields.wrong("gpu", "a guest without an app gets no GPU; choose none");
        }
        return None;
    };
    let Some(node) = site.discovery.node(&guest.node) else {
        fields.wrong("gpu", format!("{} cannot be looked at now", guest.node));
        return None;
    };
    let policy = &site.boundary.gpu;
    let need = manifest.gpu.as_ref();
    match gpu::choose(need, policy, &app.id, &guest.node, &node.gpu, &wish) {
        Ok(chosen) => (chosen != guest.spec.gpu).then_some(chosen),
        Err(refusal) => {
            let field = if matches!(wish, Wish::Pick(_)) { "gpu_devices" } else { "gpu" };
            fields.wrong(field, refusal.to_string());
            None
        }
    }
}

/// All values afterwards, and the secrets that change.
fn inputs_after(
    fields: &mut Fields<'_>,
    manifest: &Manifest,
    present: &BTreeMap<String, InputValue>,
    stored: &BTreeSet<String>,
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> (BTreeMap<String, InputValue>, BTreeMap<String, Secret<String>>) {
    let mut values: BTreeMap<String, InputValue> = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for input in &manifest.inputs {
        if !input::is_shown(input, &values) {
            continue;
        }
        let field = input_field(input);
        if input::is_secret(input) {
            let entered = fields.raw(&field).filter(|t| !t.is_empty() && input.reconfigure);
            let kept = stored.contains(&input.key);
            match entered.map(|text| input::entered_secret(input, text)) {
                Some(Ok(secret)) => {
                    secrets.insert(input.key.clone(), secret);
                }
                Some(Err(reason)) => fields.wrong(field, reason),
                None if kept => {}
                // It was hidden until now.
                None => match input::drawn_secret(input, draw) {
                    Some(secret) => {
                        secrets.insert(input.key.clone(), secret);
                    }
                    None if input.required => {
                        fields.wrong(field, format!("{} is needed", input.label));
                    }
                    None => {}
                },
            }
            continue;
        }
        let entered = fields.text(&field).filter(|_| input.reconfigure);
        // An optional text that was emptied is taken away.
        let emptied = input.reconfigure && fields.raw(&field).is_some() && entered.is_none();
        let old = present.get(&input.key).filter(|_| !emptied);
        let value = match entered {
            Some(text) => input::value(&input.kind, text).map(Some),
            None => Ok(old.cloned().or_else(|| input.default.clone())),
        };
        match value {
            Ok(Some(value)) => {
                values.insert(input.key.clone(), value);
            }
            Ok(None) if input.required => {
                fields.wrong(field, format!("{} is needed", input.label));
            }
            Ok(None) => {}
            Err(reason) => fields.wrong(field, reason),
        }
    }
    (values, secrets)
}
