//! The counterpart's view: reads a finished answer as the installer of that release would, and more strictly where the
//! installer is careless with disks.
//!
//! A second opinion just before an answer leaves the building. It shares no code with the composer: it starts from the text,
//! with its own table of the format (reference 3; installer sources 8.2 to 9.2).

use toml::{Table, Value};

use super::dialect::Dialect;

use Dialect::{V8_2, V8_3, V8_4, V9_1, V9_2};

/// What a key must hold.
#[derive(Clone, Copy)]
enum Want {
    Text,
    Flag,
    Whole,
    Number,
    Texts,
    /// A table of free keys with text values.
    TextMap,
    Word(&'static [&'static str]),
    Table(&'static [Entry]),
    /// A host name, or since 8.4 a table.
    Fqdn,
}

/// One key: name in the new spelling, first release, whether an old spelling with underscores exists, content.
#[derive(Clone, Copy)]
struct Entry(&'static str, Dialect, Old, Want);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Old {
    /// The same name in all releases.
    Same,
    /// Underscores only before 8.4, both from then on.
    Underscored,
    /// Introduced with hyphens and an alias (9.2).
    Alias,
}

use Old::{Alias, Same, Underscored};
use Want::{Flag, Fqdn, Number, Text, TextMap, Texts, Whole, Word};

const ROOT: &[Entry] = &[
    Entry("global", V8_2, Same, Want::Table(GLOBAL)),
    Entry("network", V8_2, Same, Want::Table(NETWORK)),
    Entry("disk-setup", V8_2, Same, Want::Table(DISKS)),
    Entry("post-installation-webhook", V8_3, Same, Want::Table(WEBHOOK)),
    Entry("first-boot", V8_3, Same, Want::Table(FIRST_BOOT)),
];

const GLOBAL: &[Entry] = &[
    Entry("country", V8_2, Same, Text),
    Entry("keyboard", V8_2, Same, Word(LAYOUTS)),
    Entry("timezone", V8_2, Same, Text),
    Entry("fqdn", V8_2, Same, Fqdn),
    Entry("mailto", V8_2, Same, Text),
    Entry("root-password", V8_2, Underscored, Text),
    Entry("root-password-hashed", V8_3, Underscored, Text),
    Entry("root-ssh-keys", V8_2, Underscored, Texts),
    Entry("reboot-on-error", V8_2, Underscored, Flag),
    Entry("reboot-mode", V8_4, Alias, Word(&["reboot", "power-off"])),
    Entry("subscription-key", V9_2, Alias, Text),
];

const LAYOUTS: &[&str] = &[
    "de", "de-ch", "dk", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is",
    "it", "jp", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "se", "si", "tr",
];

const NETWORK: &[Entry] = &[
    Entry("source", V8_2, Same, Word(&["from-dhcp", "from-answer"])),
    Entry("cidr", V8_2, Same, Text),
    Entry("gateway", V8_2, Same, Text),
    Entry("dns", V8_2, Same, Text),
    Entry("filter", V8_2, Same, TextMap),
    Entry("interface-name-pinning", V9_1, Same, Want::Table(PINNING)),
];

const PINNING: &[Entry] =
    &[Entry("enabled", V9_1, Same, Flag), Entry("mapping", V9_1, Same, TextMap)];

const DISKS: &[Entry] = &[
    Entry("filesystem", V8_2, Same, Word(&["ext4", "xfs", "zfs", "btrfs"])),
    Entry("disk-list", V8_2, Underscored, Texts),
    Entry("filter", V8_2, Same, TextMap),
    Entry("filter-match", V8_2, Underscored, Word(&["any", "all"])),
    Entry("zfs", V8_2, Same, Want::Table(ZFS)),
    Entry("lvm", V8_2, Same, Want::Table(LVM)),
    Entry("btrfs", V8_2, Same, Want::Table(BTRFS)),
];

const ZFS: &[Entry] = &[
    Entry("raid", V8_2, Same, Word(&["raid0", "raid1", "raid10", "raidz-1", "raidz-2", "raidz-3"])),
    Entry("ashift", V8_2, Same, Whole),
    Entry("arc-max", V8_2, Underscored, Whole),
    Entry("checksum", V8_2, Same, Word(&["on", "fletcher4", "sha256"])),
    Entry("compress", V8_2, Same, Word(&["on", "off", "lzjb", "lz4", "zle", "gzip", "zstd"])),
    Entry("copies", V8_2, Same, Whole),
    Entry("hdsize", V8_2, Same, Number),
];

const LVM: &[Entry] = &[
    Entry("hdsize", V8_2, Same, Number),
    Entry("swapsize", V8_2, Same, Number),
    Entry("maxroot", V8_2, Same, Number),
    Entry("maxvz", V8_2, Same, Number),
    Entry("minfree", V8_2, Same, Number),
];

const BTRFS: &[Entry] = &[
    Entry("raid", V8_2, Same, Word(&["raid0", "raid1", "raid10"])),
    Entry("compress", V8_3, Same, Word(&["off", "on", "zlib", "lzo", "zstd"])),
    Entry("hdsize", V8_2, Same, Number),
];

const WEBHOOK: &[Entry] = &[
    Entry("url", V8_3, Same, Text),
    Entry("cert-fingerprint", V8_3, Underscored, Text),
    Entry("auth-token", V9_2, Alias, Text),
];

const FIRST_BOOT: &[Entry] = &[
    Entry("source", V8_3, Same, Word(&["from-url", "from-iso"])),
    Entry("ordering", V8_3, Same, Word(&["before-network", "network-online", "fully-up"])),
    Entry("url", V8_3, Same, Text),
    Entry("cert-fingerprint", V8_3, Underscored, Text),
];

/// Longer than any answer that is not an accident; the installer itself stops at 10 MB.
const MAX_BYTES: usize = 256 * 1024;

/// Reads a rendered TOML answer as the installer of `dialect` would.
///
/// # Errors
/// One line per finding: the key as written and what that release wants.
pub fn validate_answer_text(text: &str, dialect: Dialect) -> Result<(), Vec<String>> {
    if text.len() > MAX_BYTES {
        return Err(vec![format!(
            "the answer has {} bytes, at most {MAX_BYTES} are sent",
            text.len()
        )]);
    }
    let root: Table = match text.parse() {
        Ok(root) => root,
        Err(error) => return Err(vec![format!("not valid TOML: {}", error.message())]),
    };
    let mut reader = Reader { dialect, found: Vec::new() };
    reader.table("", &root, ROOT);
    for section in ["global", "network", "disk-setup"] {
        if !root.contains_key(section) {
            reader.note(format!("{section}: is missing"));
        }
    }
    if let Some(Value::Table(global)) = root.get("global") {
        reader.global(global);
    }
    if let Some(Value::Table(network)) = root.get("network") {
        reader.network(network);
    }
    if let Some(Value::Table(disks)) = root.get("disk-setup") {
        reader.disks(disks);
    }
    reader.hooks(&root);
    if reader.found.is_empty() { Ok(()) } else { Err(reader.found) }
}

struct Reader {
    dialect: Dialect,
    found: Vec<String>,
}

impl Reader {
    fn note(&mut self, finding: String) {
        self.found.push(finding);
    }

    fn table(&mut self, prefix: &str, table: &Table, entries: &'static [Entry]) {
        for (key, value) in table {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            let Some(entry) = entries.iter().find(|e| self.spelled(**e, key)) else {
                self.note(format!(
                    "{path}: release {} knows no such key, which aborts the installation",
                    self.dialect
                ));
                continue;
            };
            self.value(&path, value, entry.3);
        }
        for Entry(name, ..) in entries {
            if name.contains('-')
                && table.contains_key(*name)
                && table.contains_key(&name.replace('-', "_"))
            {
                self.note(format!("{prefix}.{name}: is given in both spellings"));
            }
        }
    }

    fn spelled(&self, Entry(name, since, old, _): Entry, key: &str) -> bool {
        if self.dialect < since {
            return false;
        }
        let underscored = name.replace('-', "_");
        match old {
            Same => key == name,
            Underscored if self.dialect < V8_4 => key == underscored,
            Underscored | Alias => key == name || key == underscored,
        }
    }

    fn value(&mut self, path: &str, value: &Value, want: Want) {
        let fits = match want {
            Text => value.is_str(),
            Flag => value.is_bool(),
            Whole => value.as_integer().is_some_and(|n| n >= 0),
            Number => {
                value.as_integer().is_some_and(|n| n >= 0)
                    || value.as_float().is_some_and(|n| n.is_finite() && n >= 0.0)
            }
            Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_str)),
            TextMap => value.as_table().is_some_and(|map| map.values().all(Value::is_str)),
            Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Want::Table(entries) => {
                if let Value::Table(table) = value {
                    self.table(path, table, entries);
                }
                value.is_table()
            }
            Fqdn => value.is_str() || (value.is_table() && self.dialect >= V8_4),
        };
        if !fits {
            let wanted = match want {
                Text => "a string".to_owned(),
                Flag => "true or false".to_owned(),
                Whole => "a whole number from 0".to_owned(),
                Number => "a number from 0".to_owned(),
                Texts => "a list of strings".to_owned(),
                TextMap => "a table of strings".to_owned(),
                Word(words) => format!("one of {}", words.join(", ")),
                Want::Table(_) => "a table".to_owned(),
                Fqdn => "a full host name".to_owned(),
            };
            self.note(format!("{path}: must be {wanted}"));
        }
    }

    /// A value under either spelling.
    fn get<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
        table.get(name).or_else(|| table.get(&name.replace('-', "_")))
    }

    fn global(&mut self, global: &Table) {
        for key in ["country", "keyboard", "timezone", "fqdn", "mailto"] {
            if !global.contains_key(key) {
                self.note(format!("global.{key}: is missing"));
            }
        }
        let plain = Self::get(global, "root-password");
        let hashed = Self::get(global, "root-password-hashed");
        match (plain, hashed) {
            (None, None) => self.note("global.root-password: one of root-password and root-password-hashed is needed".to_owned()),
            (Some(_), Some(_)) => self.note("global.root-password: only one of root-password and root-password-hashed is allowed".to_owned()),
            (Some(Value::String(text)), None) if self.dialect >= V8_4 && text.len() < 8 => {
                self.note("global.root-password: at least 8 bytes are needed".to_owned());
            }
            _ => {}
        }
        let country = global.get("country").and_then(Value::as_str);
        if country.is_some_and(|c| c.len() != 2 || !c.bytes().all(|b| b.is_ascii_lowercase())) {
            self.note("global.country: two lower-case letters are needed".to_owned());
        }
        let zone = global.get("timezone").and_then(Value::as_str);
        if zone.is_some_and(|z| z != "UTC" && (!z.contains('/') || z.starts_with("Etc/"))) {
            self.note("global.timezone: Area/City of zone.tab or UTC is needed".to_owned());
        }
        if let Some(Value::String(name)) = global.get("fqdn") {
            let labels: Vec<&str> = name.split('.').collect();
            let label_ok = |l: &&str| {
                (1..=63).contains(&l.len())
                    && !l.starts_with('-')
                    && !l.ends_with('-')
                    && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            let numeric = labels.first().is_none_or(|l| l.bytes().all(|b| b.is_ascii_digit()));
            if labels.len() < 2 || name.len() > 253 || !labels.iter().all(label_ok) || numeric {
                self.note("global.fqdn: not a full host name".to_owned());
            }
        }
        let mail = global.get("mailto").and_then(Value::as_str);
        if mail.is_some_and(|m| m == "mail@example.invalid" || m.split('@').count() != 2) {
            self.note("global.mailto: not an accepted e-mail address".to_owned());
        }
    }

    fn network(&mut self, network: &Table) {
        let source = network.get("source").and_then(Value::as_str);
        if source.is_none() && self.dialect >= V9_2 {
            self.note("network.source: is mandatory since 9.2".to_owned());
        }
        let fixed = ["cidr", "gateway", "dns", "filter"];
        if source == Some("from-answer") {
            for key in fixed.iter().filter(|k| !network.contains_key(**k)) {
                self.note(format!("network.{key}: is needed with from-answer"));
            }
            let cidr = network.get("cidr").and_then(Value::as_str);
            if cidr.is_some_and(|c| c.parse::<ipnet::IpNet>().is_err()) {
                self.note("network.cidr: an address with a prefix is needed".to_owned());
            }
            for key in ["gateway", "dns"] {
                let ip = network.get(key).and_then(Value::as_str);
                if ip.is_some_and(|i| i.parse::<std::net::IpAddr>().is_err()) {
                    self.note(format!("network.{key}: one IP address is needed"));
                }
            }
            self.exact_filter("network.filter", network.get("filter"));
        } else {
            for key in fixed.iter().filter(|k| network.contains_key(**k)) {
                self.note(format!("network.{key}: is not allowed with from-dhcp"));
            }
        }
        let pinning = network.get("interface-name-pinning").and_then(Value::as_table);
        if let Some(table) = pinning {
            if table.get("enabled").and_then(Value::as_bool) != Some(true) {
                self.note("network.interface-name-pinning: pins all NICs by its mere presence; leave it out".to_owned());
            }
            let names = table.get("mapping").and_then(Value::as_table);
            for (mac, _) in names.into_iter().flatten() {
                if mac.len() != 17 || mac.bytes().any(|b| b.is_ascii_uppercase()) {
                    self.note(format!("network.interface-name-pinning.mapping.{mac}: a lower-case MAC address with colons is needed"));
                }
            }
        }
    }

    fn disks(&mut self, disks: &Table) {
        let filesystem = disks.get("filesystem").and_then(Value::as_str).unwrap_or_default();
        if filesystem.is_empty() {
            self.note("disk-setup.filesystem: is missing".to_owned());
        }
        let own = if matches!(filesystem, "ext4" | "xfs") { "lvm" } else { filesystem };
        for table in ["zfs", "lvm", "btrfs"] {
            if table != own && disks.contains_key(table) {
                self.note(format!("disk-setup.{table}: does not go with {filesystem}"));
            }
        }
        let options = disks.get(own).and_then(Value::as_table);
        let raid = options.and_then(|o| o.get("raid")).and_then(Value::as_str);
        if matches!(own, "zfs" | "btrfs") && raid.is_none() {
            self.note(format!("disk-setup.{own}.raid: is missing"));
        }
        if Self::get(disks, "filter-match").is_some() {
            self.note(
                "disk-setup.filter-match: could match disks that nobody named; never served"
                    .to_owned(),
            );
        }
        let list = Self::get(disks, "disk-list").and_then(Value::as_array);
        let filter = disks.get("filter");
        let count = match (list, filter) {
            (None, None) => {
                return self.note("disk-setup: one of disk-list and filter is needed".to_owned());
            }
            (Some(_), Some(_)) => {
                return self
                    .note("disk-setup: only one of disk-list and filter is allowed".to_owned());
            }
            (None, Some(_)) => {
                self.exact_filter("disk-setup.filter", filter);
                1
            }
            (Some(list), None) => {
                self.disk_list(list);
                list.len()
            }
        };
        let (least, even) = match raid {
            Some("raid1") => (2, false),
            Some("raid10") => (4, true),
            Some("raidz-1") => (3, false),
            Some("raidz-2") => (4, false),
            Some("raidz-3") => (5, false),
            _ => (1, false),
        };
        if count < least || (even && count % 2 != 0) || (own == "lvm" && count > 1) {
            self.note(format!(
                "disk-setup: {count} disks do not fit {filesystem} {}",
                raid.unwrap_or("")
            ));
        }
        let size = |key| {
            let value = options.and_then(|o| o.get(key))?;
            value.as_float().or_else(|| value.to_string().parse().ok())
        };
        if let (Some(swap), Some(whole)) = (size("swapsize"), size("hdsize"))
            && swap > whole / 2.0
        {
            self.note("disk-setup.lvm.swapsize: more than half of hdsize".to_owned());
        }
    }

    fn disk_list(&mut self, list: &[Value]) {
        if list.is_empty() {
            self.note("disk-setup.disk-list: is empty".to_owned());
        }
        for (index, item) in list.iter().enumerate() {
            let name = item.as_str().unwrap_or_default();
            let rest = name.strip_prefix("/dev/").unwrap_or_default();
            let plain = rest.len() >= 3
                && !rest.starts_with("disk/")
                && !rest.starts_with("mmcblk")
                && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'/');
            if !plain {
                self.note(format!(
                    "disk-setup.disk-list: '{name}' is not the whole path of a disk"
                ));
            }
            if list.iter().take(index).any(|other| other == item) {
                self.note(format!("disk-setup.disk-list: '{name}' is named twice"));
            }
        }
    }

    /// One property, one exact value: the installer or-s several, and takes globs.
    fn exact_filter(&mut self, path: &str, filter: Option<&Value>) {
        let Some(Value::Table(filter)) = filter else {
            return self.note(format!("{path}: a table with one property is needed"));
        };
        if filter.len() != 1 {
            self.note(format!(
                "{path}: exactly one property is allowed, there are {}",
                filter.len()
            ));
        }
        for (property, value) in filter {
            let value = value.as_str().unwrap_or_default();
            if value.trim().is_empty() || value.contains(['*', '?', '[', ']', '!']) {
                self.note(format!("{path}.{property}: an exact value without patterns is needed"));
            }
        }
    }

    fn hooks(&mut self, root: &Table) {
        for section in ["post-installation-webhook", "first-boot"] {
            let Some(Value::Table(table)) = root.get(section) else { continue };
            let url = table.get("url").and_then(Value::as_str);
            let from_iso = table.get("source").and_then(Value::as_str) == Some("from-iso");
            if !from_iso
                && !url.is_some_and(|u| u.starts_with("http://") || u.starts_with("https://"))
            {
                self.note(format!("{section}.url: an http(s) URL is needed"));
            }
            if section == "first-boot" && !table.contains_key("source") {
                self.note("first-boot.source: is missing".to_owned());
            }
            let print = Self::get(table, "cert-fingerprint").and_then(Value::as_str);
            let digits = |p: &str| p.bytes().filter(u8::is_ascii_hexdigit).count();
            if print.is_some_and(|p| {
                digits(p) != 64 || p.contains(|c: char| c != ':' && !c.is_ascii_hexdigit())
            }) {
                self.note(format!("{section}.cert-fingerprint: 64 hex digits are needed"));
            }
        }
    }
}
