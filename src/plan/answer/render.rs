//! A typed answer to the text of one dialect. Built as values and serialised, never pasted together.

use serde_json::{Map, Number, Value};

use super::Callback;
use super::dialect::{Dialect, Feature};
use super::model::{Answer, FileSystem, Lvm, Password, Source};

/// The answer as TOML 1.0, sections in the order in which people read them.
#[must_use]
pub fn render_toml(answer: &Answer, dialect: Dialect) -> String {
    let mut text = String::new();
    for (name, section) in sections(answer, dialect) {
        let document = Map::from_iter([(name.to_owned(), Value::Object(section))]);
        // Maps of strings, numbers, booleans and lists of strings: TOML can hold all of them.
        let part = toml::to_string(&document).unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&part);
    }
    text
}

/// The answer as JSON; the caller asks [`super::negotiate`] whether the client and its dialect take it (9.2).
#[must_use]
pub fn render_json(answer: &Answer, dialect: Dialect) -> String {
    let whole: Map<String, Value> = sections(answer, dialect)
        .into_iter()
        .map(|(name, section)| (name.to_owned(), Value::Object(section)))
        .collect();
    format!("{:#}\n", Value::Object(whole))
}

fn sections(answer: &Answer, dialect: Dialect) -> Vec<(&'static str, Map<String, Value>)> {
    let spell = Spelling { hyphens: dialect.has(Feature::HyphenatedKeys) };
    let mut sections = vec![
        ("global", global(answer, spell)),
        ("network", network(answer)),
        ("disk-setup", disk_setup(answer, spell)),
    ];
    if let Some(hook) = &answer.webhook {
        sections.push(("post-installation-webhook", callback(hook, spell)));
    }
    if let Some(boot) = &answer.first_boot {
        let mut section = callback(&boot.callback, spell);
        section.insert("source".to_owned(), "from-url".into());
        section.insert("ordering".to_owned(), boot.ordering.as_str().into());
        sections.push(("first-boot", section));
    }
    sections
}

/// Key style (reference 3.1): underscores before 8.4, hyphens since. Section names always have hyphens.
#[derive(Clone, Copy)]
struct Spelling {
    hyphens: bool,
}

impl Spelling {
    fn key(self, name: &str) -> String {
        if self.hyphens { name.to_owned() } else { name.replace('-', "_") }
    }
}

fn global(answer: &Answer, spell: Spelling) -> Map<String, Value> {
    let global = &answer.global;
    let mut map = Map::new();
    map.insert("country".to_owned(), global.country.as_str().into());
    map.insert("keyboard".to_owned(), global.keyboard.as_str().into());
    map.insert("timezone".to_owned(), global.timezone.as_str().into());
    map.insert("fqdn".to_owned(), global.fqdn.as_str().into());
    map.insert("mailto".to_owned(), global.mailto.as_str().into());
    let (key, password) = match &global.password {
        Password::Hashed(hash) => ("root-password-hashed", hash),
        Password::Plain(plain) => ("root-password", plain),
    };
    map.insert(spell.key(key), password.expose().as_str().into());
    map.insert(spell.key("root-ssh-keys"), global.ssh_keys.clone().into());
    if let Some(reboot) = global.reboot_on_error {
        map.insert(spell.key("reboot-on-error"), reboot.into());
    }
    if global.says_reboot_mode {
        map.insert("reboot-mode".to_owned(), "reboot".into());
    }
    if let Some(key) = &global.subscription_key {
        map.insert("subscription-key".to_owned(), key.as_str().into());
    }
    map
}

fn network(answer: &Answer) -> Map<String, Value> {
    let mut map = Map::new();
    match &answer.network.source {
        Source::Dhcp => {
            map.insert("source".to_owned(), "from-dhcp".into());
        }
        Source::Fixed { cidr, gateway, dns, nic: (property, value) } => {
            map.insert("source".to_owned(), "from-answer".into());
            map.insert("cidr".to_owned(), cidr.as_str().into());
            map.insert("gateway".to_owned(), gateway.to_string().into());
            map.insert("dns".to_owned(), dns.to_string().into());
            map.insert("filter".to_owned(), single(property, value.as_str().into()));
        }
    }
    if let Some(names) = &answer.network.pinning {
        // Lower-case MACs: installers 9.1.1 to 9.1.6 compare them as text.
        let names: Map<String, Value> =
            names.iter().map(|(mac, name)| (mac.to_string(), name.as_str().into())).collect();
        let mut table = Map::new();
        table.insert("enabled".to_owned(), true.into());
        if !names.is_empty() {
            table.insert("mapping".to_owned(), Value::Object(names));
        }
        map.insert("interface-name-pinning".to_owned(), Value::Object(table));
    }
    map
}

fn disk_setup(answer: &Answer, spell: Spelling) -> Map<String, Value> {
    let mut map = Map::new();
    let (name, table, options) = match &answer.disk_setup.file_system {
        FileSystem::Ext4(lvm) => ("ext4", "lvm", lvm_options(lvm)),
        FileSystem::Xfs(lvm) => ("xfs", "lvm", lvm_options(lvm)),
        FileSystem::Zfs(zfs) => {
            let mut options = vec![("raid", Some(Value::from(zfs.raid)))];
            options.push(("ashift", zfs.ashift.map(Value::from)));
            options.push(("arc-max", zfs.arc_max.map(Value::from)));
            options.push(("checksum", zfs.checksum.clone().map(Value::from)));
            options.push(("compress", zfs.compress.clone().map(Value::from)));
            options.push(("copies", zfs.copies.map(Value::from)));
            options.push(("hdsize", zfs.hdsize.map(gib)));
            ("zfs", "zfs", options)
        }
        FileSystem::Btrfs(btrfs) => {
            let mut options = vec![("raid", Some(Value::from(btrfs.raid)))];
            options.push(("compress", btrfs.compress.clone().map(Value::from)));
            options.push(("hdsize", btrfs.hdsize.map(gib)));
            ("btrfs", "btrfs", options)
        }
    };
    map.insert("filesystem".to_owned(), name.into());
    let options: Map<String, Value> =
        options.into_iter().filter_map(|(k, v)| Some((spell.key(k), v?))).collect();
    if !options.is_empty() {
        map.insert(table.to_owned(), Value::Object(options));
    }
    if let Some((property, value)) = answer.disk_setup.disks.filter() {
        map.insert("filter".to_owned(), single(property, value.into()));
    }
    if let Some(paths) = answer.disk_setup.disks.list() {
        map.insert(spell.key("disk-list"), paths.to_vec().into());
    }
    map
}

fn lvm_options(lvm: &Lvm) -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("hdsize", lvm.hdsize.map(gib)),
        ("swapsize", lvm.swapsize.map(gib)),
        ("maxroot", lvm.maxroot.map(gib)),
        ("maxvz", lvm.maxvz.map(gib)),
        ("minfree", lvm.minfree.map(gib)),
    ]
}

fn callback(callback: &Callback, spell: Spelling) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("url".to_owned(), callback.url.as_str().into());
    if let Some(bytes) = callback.cert_fingerprint {
        map.insert(spell.key("cert-fingerprint"), hex(bytes).into());
    }
    map
}

/// Lower-case hex without colons, which every release takes (reference 2.3).
pub(super) fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn single(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

/// Sizes were checked to be finite; whole ones are written without a fraction.
fn gib(size: f64) -> Value {
    let text = if size.fract() == 0.0 { format!("{size:.0}") } else { size.to_string() };
    text.parse::<i64>().map_or_else(
        |_| Number::from_f64(size).map_or(Value::Null, Value::Number),
        |whole| Value::Number(whole.into()),
    )
}
