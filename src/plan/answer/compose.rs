//! From inputs to a typed answer: layers are merged, placeholders filled, every rule checked, all problems collected.

mod storage;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::access::{self, RootPassword};
use super::dialect::{Dialect, Feature};
use super::keys::{self, PINNING_MAP};
use super::layer::{Layer, Layered, Lower, Template, flatten};
use super::model::{Answer, FirstBoot, Global, Network, Ordering, Password, Source};
use super::placeholder::{self, Context};
use super::{AnswerProblem, rules};
use crate::domain::host::Host;
use crate::domain::mac::Mac;
use crate::domain::server_type::ServerType;

/// Everything that an answer is made of.
#[derive(Debug, Clone, Copy)]
pub struct AnswerInputs<'a> {
    /// The dialect of the image.
    pub dialect: Dialect,
    /// The host.
    pub host: &'a Host,
    /// Its server type.
    pub server_type: &'a ServerType,
    /// The template that the server type names.
    pub template: &'a Template,
    /// Zones of zone.tab, when this machine has the file.
    pub time_zones: Option<&'a BTreeSet<String>>,
    /// What Ironhatch sets.
    pub enforced: &'a Enforced,
}

/// What Ironhatch sets for one rebuild.
#[derive(Debug, Clone)]
pub struct Enforced {
    /// The ephemeral key first, then the operator's. Never empty.
    pub ssh_keys: Vec<String>,
    /// Root's password.
    pub root_password: RootPassword,
    /// Post-installation webhook, with the install token in its path.
    pub webhook: Callback,
    /// First-boot script, with the install token in its path.
    pub first_boot: Callback,
    /// When the first-boot script runs.
    pub ordering: Ordering,
}

/// An address that the installer calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// http(s) URL. Contains a secret.
    pub url: String,
    /// SHA-256 of our certificate when the URL is https with a self-signed one.
    pub cert_fingerprint: Option<[u8; 32]>,
}

/// Everything that can be told of an answer, whether it can be made or not.
#[derive(Debug, Clone)]
pub(super) struct Inspected {
    /// The answer, or everything that is wrong.
    pub(super) outcome: Result<Answer, Vec<AnswerProblem>>,
    /// As in [`Composed`]; what is wrong is among them.
    pub(super) layers: Vec<Layered>,
    /// As in [`Composed`].
    pub(super) omitted: Vec<Omission>,
    /// As in [`Composed`].
    pub(super) notes: Vec<String>,
}

/// An answer with the story of its keys.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The answer.
    pub answer: Answer,
    /// Each final key with its origin, sorted by key; secrets masked.
    pub layers: Vec<Layered>,
    /// Sections that this dialect has not, which the caller must make up for.
    pub omitted: Vec<Omission>,
    /// Remarks for the operator.
    pub notes: Vec<String>,
}

/// A section that the dialect does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Omission {
    /// What was left out.
    pub section: &'static str,
    /// The first dialect that has it.
    pub since: Dialect,
}

/// Makes the answer for one host.
///
/// # Errors
/// Everything that is wrong, with key, layer, rule and what is allowed.
pub fn compose(inputs: &AnswerInputs<'_>) -> Result<Composed, Vec<AnswerProblem>> {
    let Inspected { outcome, layers, omitted, notes } = inspect(inputs);
    outcome.map(|answer| Composed { answer, layers, omitted, notes })
}

/// The same, with what is known of the keys even when no answer can be made.
pub(super) fn inspect(inputs: &AnswerInputs<'_>) -> Inspected {
    let mut work = Work::collect(inputs);
    let global = work.global();
    let network = work.network();
    let disk_setup = work.disk_setup();
    let (webhook, first_boot) = work.callbacks();
    let Work { layers, mut below, problems, omitted, notes, .. } = work;
    let layers = layers
        .into_iter()
        .map(|(key, (layer, value))| {
            let overridden = below.remove(&key).unwrap_or_default();
            Layered { key, value, layer, overridden }
        })
        .collect();
    let outcome = match (global, network, disk_setup) {
        (Some(global), Some(network), Some(disk_setup)) if problems.is_empty() => {
            Ok(Answer { global, network, disk_setup, webhook, first_boot })
        }
        _ => Err(problems),
    };
    Inspected { outcome, layers, omitted, notes }
}

struct Work<'a> {
    inputs: &'a AnswerInputs<'a>,
    fqdn: String,
    layers: BTreeMap<String, (Layer, Value)>,
    /// Values of lower layers that a higher one replaced, the lowest first.
    below: BTreeMap<String, Vec<Lower>>,
    problems: Vec<AnswerProblem>,
    omitted: Vec<Omission>,
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    fn collect(inputs: &'a AnswerInputs<'a>) -> Self {
        let AnswerInputs { host, server_type, template, .. } = *inputs;
        let fqdn = if server_type.domain.is_empty() {
            host.hostname.to_string()
        } else {
            format!("{}.{}", host.hostname, server_type.domain)
        };
        let mut work = Self {
            inputs,
            fqdn,
            layers: BTreeMap::new(),
            below: BTreeMap::new(),
            problems: Vec::new(),
            omitted: Vec::new(),
            notes: Vec::new(),
        };
        let upper = [
            (Layer::Template, Ok(template.keys.clone())),
            (Layer::ServerType, flatten(&server_type.answer, Layer::ServerType)),
            (Layer::Host, flatten(&host.overrides.answer, Layer::Host)),
        ];
        for (layer, keys) in upper {
            match keys {
                Ok(keys) => {
                    for (key, value) in keys {
                        if let Some((layer, value)) =
                            work.layers.insert(key.clone(), (layer, value))
                        {
                            work.below.entry(key).or_default().push(Lower { layer, value });
                        }
                    }
                }
                Err(problems) => work.problems.extend(problems),
            }
        }
        work.fill_placeholders();
        work.check_gates();
        work
    }

    fn fill_placeholders(&mut self) {
        let context = Context::of(self.inputs.host, self.inputs.server_type, &self.fqdn);
        for (key, (layer, value)) in &mut self.layers {
            let Value::String(text) = value else { continue };
            match placeholder::render(text, &context) {
                Ok(rendered) => *value = Value::String(rendered),
                Err(rule) => {
                    self.problems.push(AnswerProblem::new(key.as_str(), Some(*layer), rule));
                }
            }
        }
    }

    fn check_gates(&mut self) {
        let dialect = self.inputs.dialect;
        for (key, (layer, _)) in &self.layers {
            let feature = if key.starts_with(PINNING_MAP) {
                Some(Feature::NamePinning)
            } else {
                keys::find(key).and_then(|k| k.feature)
            };
            if let Some(feature) = feature.filter(|f| !dialect.has(*f)) {
                let problem =
                    AnswerProblem::gate(key.as_str(), Some(*layer), feature.since(), dialect);
                self.problems.push(problem);
            }
        }
    }

    fn wrong(&mut self, key: &str, rule: impl Into<String>) {
        let layer = self.layers.get(key).map(|(layer, _)| *layer);
        self.problems.push(AnswerProblem::new(key, layer, rule));
    }

    /// Notes a value that Ironhatch itself sets, or that comes from a typed field of a layer.
    fn set(&mut self, key: &str, layer: Layer, value: impl Into<Value>) {
        self.layers.insert(key.to_owned(), (layer, value.into()));
    }

    fn text(&self, key: &str) -> Option<String> {
        self.layers.get(key).and_then(|(_, v)| v.as_str()).map(str::to_owned)
    }

    /// A text that must be there and keep a rule.
    fn needed(&mut self, key: &str, rule: impl Fn(&str) -> Result<(), String>) -> Option<String> {
        let Some(text) = self.text(key) else {
            self.wrong(
                key,
                "is missing; the answer template, the server type or the host must set it",
            );
            return None;
        };
        self.keeps(key, &text, rule).then_some(text)
    }

    fn optional(&mut self, key: &str, rule: impl Fn(&str) -> Result<(), String>) -> Option<String> {
        let text = self.text(key)?;
        self.keeps(key, &text, rule).then_some(text)
    }

    fn keeps(&mut self, key: &str, text: &str, rule: impl Fn(&str) -> Result<(), String>) -> bool {
        match rule(text) {
            Ok(()) => true,
            Err(message) => {
                self.wrong(key, message);
                false
            }
        }
    }

    fn count(&mut self, key: &str, low: u64, high: u64, unit: &str) -> Option<u64> {
        let value = self.layers.get(key).map(|(_, v)| v.clone())?;
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                self.wrong(key, format!("{value} is out of range; {low} to {high}{unit}"));
                None
            }
        }
    }

    fn size(&mut self, key: &str, least: f64) -> Option<f64> {
        let value = self.layers.get(key).map(|(_, v)| v.clone())?;
        match value.as_f64() {
            Some(number) if number.is_finite() && (least..=MAX_GIB).contains(&number) => {
                Some(number)
            }
            _ => {
                self.wrong(key, format!("{value} is out of range; {least} to {MAX_GIB} GiB"));
                None
            }
        }
    }

    fn global(&mut self) -> Option<Global> {
        let dialect = self.inputs.dialect;
        let zones = self.inputs.time_zones;
        let country = self.needed("global.country", rules::country);
        let keyboard = self.needed("global.keyboard", rules::keyboard);
        let timezone = self.needed("global.timezone", |text| rules::timezone(text, zones));
        let mailto = self.needed("global.mailto", rules::mailto);
        let fqdn = self.fqdn.clone();
        self.set("global.fqdn", Layer::Enforced, fqdn.as_str());
        self.keeps("global.fqdn", &fqdn, rules::fqdn);
        let reboot_on_error =
            self.layers.get("global.reboot-on-error").and_then(|(_, v)| v.as_bool());
        let subscription_key = self.optional("global.subscription-key", rules::subscription_key);
        self.mask("global.subscription-key");
        let password = self.password();
        let ssh_keys = self.ssh_keys();
        let says_reboot_mode = dialect.has(Feature::RebootMode);
        if says_reboot_mode {
            self.set("global.reboot-mode", Layer::Enforced, "reboot");
        }
        Some(Global {
            country: country?,
            keyboard: keyboard?,
            timezone: timezone?,
            fqdn,
            mailto: mailto?,
            password: password?,
            ssh_keys,
            reboot_on_error,
            says_reboot_mode,
            subscription_key,
        })
    }

    fn mask(&mut self, key: &str) {
        let masked = || Value::from("(secret)");
        if let Some((_, value)) = self.layers.get_mut(key) {
            *value = masked();
        }
        for lower in self.below.get_mut(key).into_iter().flatten() {
            lower.value = masked();
        }
    }

    fn password(&mut self) -> Option<Password> {
        let dialect = self.inputs.dialect;
        let hashed = dialect.has(Feature::HashedPassword);
        let key = if hashed { "global.root-password-hashed" } else { "global.root-password" };
        let password = match &self.inputs.enforced.root_password {
            RootPassword::Configured(_) if !hashed => {
                let mut problem = AnswerProblem::gate(
                    "global.root-password-hashed",
                    Some(Layer::Enforced),
                    Feature::HashedPassword.since(),
                    dialect,
                );
                problem.rule.push_str("; or leave credentials.root_password_hash empty");
                self.problems.push(problem);
                return None;
            }
            RootPassword::Configured(hash) => Password::Hashed(hash.clone()),
            RootPassword::Generated(made) if hashed => Password::Hashed(made.hash.clone()),
            RootPassword::Generated(made) => Password::Plain(made.plain.clone()),
        };
        self.set(key, Layer::Enforced, "(secret)");
        match &password {
            Password::Hashed(hash) => {
                if let Err(reason) = access::check_crypt(hash.expose()) {
                    self.wrong(key, reason);
                }
            }
            Password::Plain(plain) if plain.expose().len() < 8 => {
                self.wrong(key, "at least 8 bytes are needed");
            }
            Password::Plain(_) => {}
        }
        Some(password)
    }

    fn ssh_keys(&mut self) -> Vec<String> {
        let keys: Vec<String> =
            self.inputs.enforced.ssh_keys.iter().map(|k| k.trim().to_owned()).collect();
        self.set("global.root-ssh-keys", Layer::Enforced, keys.clone());
        if keys.is_empty() {
            self.wrong("global.root-ssh-keys", "at least the key of this rebuild is needed");
        }
        for key in &keys {
            if let Err(reason) = access::check_public_key(key) {
                self.wrong("global.root-ssh-keys", format!("not a public key: {reason}"));
            }
        }
        keys
    }

    fn network(&mut self) -> Option<Network> {
        let pinning = self.pinning();
        let Some(fixed) = &self.inputs.host.overrides.network else {
            self.set("network.source", Layer::Enforced, "from-dhcp");
            if self.inputs.server_type.management_nic.is_some() {
                let note = "management_nic has no effect while the address comes from DHCP: the installer takes the NIC of the default route";
                self.notes.push(note.to_owned());
            }
            return Some(Network { source: Source::Dhcp, pinning });
        };
        self.set("network.source", Layer::Host, "from-answer");
        self.set("network.cidr", Layer::Host, fixed.cidr.as_str());
        self.set("network.gateway", Layer::Host, fixed.gateway.to_string());
        self.set("network.dns", Layer::Host, fixed.dns.to_string());
        self.keeps("network.cidr", &fixed.cidr, |text| rules::cidr(text, fixed.gateway));
        let (property, value, layer) = self.nic()?;
        self.set(&format!("network.filter.{property}"), layer, value.as_str());
        Some(Network {
            source: Source::Fixed {
                cidr: fixed.cidr.clone(),
                gateway: fixed.gateway,
                dns: fixed.dns.into(),
                nic: (property, value),
            },
            pinning,
        })
    }

    /// Exactly one exact property: the installer takes the first NIC for which any property matches.
    fn nic(&mut self) -> Option<(String, String, Layer)> {
        match &self.inputs.server_type.management_nic {
            Some(text) => match nic_property(text) {
                Ok((property, value)) => Some((property, value, Layer::ServerType)),
                Err(rule) => {
                    let problem =
                        AnswerProblem::new("network.filter", Some(Layer::ServerType), rule);
                    self.problems.push(problem);
                    None
                }
            },
            None => {
                let Some(mac) = self.inputs.host.macs.first() else {
                    self.wrong("network.filter", "the host has no MAC address to find its NIC by");
                    return None;
                };
                Some(("ID_NET_NAME_MAC".to_owned(), enx(*mac), Layer::Enforced))
            }
        }
    }

    fn pinning(&mut self) -> Option<BTreeMap<Mac, String>> {
        const ENABLED: &str = "network.interface-name-pinning.enabled";
        let enabled = self.layers.get(ENABLED).and_then(|(_, v)| v.as_bool());
        let given: Vec<(String, String)> = self
            .layers
            .iter()
            .filter_map(|(key, (_, v))| Some((key.clone(), v.as_str()?.to_owned())))
            .filter(|(key, _)| key.starts_with(PINNING_MAP))
            .collect();
        if enabled != Some(true) {
            for (key, _) in &given {
                self.wrong(
                    key,
                    "has no effect unless network.interface-name-pinning.enabled = true",
                );
            }
            if enabled == Some(false) {
                // QUIRK(pinning): 9.2 pins all NICs when the table is there at all, so "off" means no table.
                self.layers.remove(ENABLED);
            }
            return None;
        }
        let mut map: BTreeMap<Mac, String> = BTreeMap::new();
        for (key, name) in given {
            let Ok(mac) = key.trim_start_matches(PINNING_MAP).parse::<Mac>() else {
                self.wrong(&key, "a MAC address is expected as the key, as in 52:54:00:aa:bb:01");
                continue;
            };
            if !self.keeps(&key, &name, rules::nic_name) {
                continue;
            }
            if map.values().any(|other| *other == name) {
                self.wrong(&key, format!("the name {name} is given to two NICs"));
            } else if map.insert(mac, name).is_some() {
                self.wrong(&key, "this MAC address is listed twice");
            }
        }
        Some(map)
    }

    fn callbacks(&mut self) -> (Option<Callback>, Option<FirstBoot>) {
        let Enforced { webhook, first_boot, ordering, .. } = self.inputs.enforced;
        let hook = self.callback("post-installation-webhook", Feature::Webhook, webhook);
        let boot = self.callback("first-boot", Feature::FirstBoot, first_boot);
        if boot.is_some() {
            self.set("first-boot.source", Layer::Enforced, "from-url");
            self.set("first-boot.ordering", Layer::Enforced, ordering.as_str());
        }
        (hook, boot.map(|callback| FirstBoot { callback, ordering: *ordering }))
    }

    fn callback(
        &mut self,
        section: &'static str,
        feature: Feature,
        callback: &Callback,
    ) -> Option<Callback> {
        if !self.inputs.dialect.has(feature) {
            self.omitted.push(Omission { section, since: feature.since() });
            return None;
        }
        let key = format!("{section}.url");
        self.set(&key, Layer::Rebuild, "(secret)");
        self.keeps(&key, &callback.url, rules::callback_url);
        if let Some(bytes) = callback.cert_fingerprint {
            let key = format!("{section}.cert-fingerprint");
            self.set(&key, Layer::Enforced, super::render::hex(bytes));
        }
        Some(callback.clone())
    }
}

/// A mebi-GiB: beyond any disk, small enough to print exactly.
const MAX_GIB: f64 = 1_048_576.0;

/// `ID_NET_NAME_MAC` of a NIC.
fn enx(mac: Mac) -> String {
    format!("enx{}", mac.to_string().replace(':', ""))
}

/// Checks a server type's `management_nic`.
///
/// # Errors
/// What is allowed.
pub fn check_nic(text: &str) -> Result<(), String> {
    nic_property(text).map(|_| ())
}

/// `management_nic` as one udev property with its exact value: a MAC address, `PROPERTY=value` or an interface name.
///
/// # Errors
/// What is allowed.
fn nic_property(text: &str) -> Result<(String, String), String> {
    const PROPERTIES: [&str; 6] = [
        "ID_NET_NAME_MAC",
        "INTERFACE",
        "ID_PATH",
        "ID_NET_NAME_PATH",
        "ID_NET_NAME_SLOT",
        "ID_NET_NAME_ONBOARD",
    ];
    if let Ok(mac) = text.parse::<Mac>() {
        return Ok(("ID_NET_NAME_MAC".to_owned(), enx(mac)));
    }
    let (property, value) = text.split_once('=').unwrap_or(("INTERFACE", text));
    let (property, value) = (property.trim(), value.trim());
    let shown: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if !PROPERTIES.contains(&property) {
        return Err(format!(
            "'{shown}' names no property of one NIC; allowed: {}",
            PROPERTIES.join(", ")
        ));
    }
    let exact = !value.is_empty()
        && value.len() <= 100
        && value.bytes().all(|b| b.is_ascii_graphic() && !b"*?[]!{}\\^".contains(&b));
    if !exact {
        return Err(format!(
            "'{shown}' must name exactly one NIC: a MAC address, an interface name, or PROPERTY=value without patterns and blanks"
        ));
    }
    Ok((property.to_owned(), value.to_owned()))
}
