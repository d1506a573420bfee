//! A container's configuration: as the API shows it, and as the file `/etc/pve/nodes/NODE/lxc/VMID.conf` holds it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::encode;
use super::property_string::PropertyString;
use super::value;
use crate::domain::vmid::Tag;

/// A configuration, property by property. Raw `lxc.*` lines are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerConfig {
    /// All properties but `digest` and the raw lines. Booleans are `1` and `0`.
    pub raw: BTreeMap<String, String>,
    /// Lines `lxc.KEY: VALUE`, in their order. The API can neither set nor change them.
    pub lxc: Vec<(String, String)>,
    /// SHA-1 of the file, to be sent back with a change; empty when it was read from a file.
    pub digest: String,
}

impl ContainerConfig {
    /// Reads the answer of `GET /nodes/{node}/lxc/{vmid}/config`. `None`: it is no object.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        let mut config = Self::default();
        for (key, member) in answer.as_object()? {
            match (key.as_str(), member) {
                ("lxc", Value::Array(lines)) => {
                    config.lxc = lines.iter().filter_map(raw_line).collect();
                }
                ("digest", _) => config.digest = value::text(member).unwrap_or_default(),
                _ => {
                    if let Some(text) = value::text(member) {
                        config.raw.insert(key.clone(), text);
                    }
                }
            }
        }
        Some(config)
    }

    /// Reads a configuration file up to its first section: what follows are pending changes and snapshots.
    #[must_use]
    pub fn read_file(text: &str) -> Self {
        let mut config = Self::default();
        let mut description = String::new();
        for line in text.lines() {
            if line.starts_with('[') {
                break;
            }
            if let Some(comment) = line.strip_prefix('#') {
                description.push_str(&encode::decode(comment).unwrap_or_default());
                description.push('\n');
            } else if let Some((key, text)) = line.split_once(':') {
                let (key, text) = (key.trim().to_owned(), text.trim().to_owned());
                if key.starts_with("lxc.") {
                    config.lxc.push((key, text));
                } else {
                    config.raw.insert(key, text);
                }
            }
        }
        if !description.is_empty() {
            config.raw.insert("description".to_owned(), description);
        }
        config
    }

    /// The file's text up to its first section: description as comments, properties sorted, raw lines last.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        for line in self.raw.get("description").map(String::as_str).unwrap_or_default().lines() {
            let _ = writeln!(out, "#{}", comment(line));
        }
        for (key, text) in self.raw.iter().filter(|(key, _)| *key != "description") {
            let _ = writeln!(out, "{key}: {text}");
        }
        for (key, text) in &self.lxc {
            let _ = writeln!(out, "{key}: {text}");
        }
        out
    }

    /// A property.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.raw.get(key).map(String::as_str)
    }

    /// Its tags, those that are none of ours left out.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        Tag::list(self.get("tags").unwrap_or_default())
    }

    /// Its network interface `netN`.
    #[must_use]
    pub fn net(&self, index: u8) -> Option<PropertyString> {
        self.property(&format!("net{index}"))
    }

    /// Its root disk.
    #[must_use]
    pub fn rootfs(&self) -> Option<PropertyString> {
        self.property("rootfs")
    }

    /// Its volumes and bind mounts, by slot.
    #[must_use]
    pub fn mounts(&self) -> BTreeMap<u8, PropertyString> {
        self.numbered("mp")
    }

    /// Its device entries, by slot.
    #[must_use]
    pub fn devices(&self) -> BTreeMap<u8, PropertyString> {
        self.numbered("dev")
    }

    /// Volumes that it owns and does not use, by slot.
    #[must_use]
    pub fn unused(&self) -> BTreeMap<u8, String> {
        let volumes = self.numbered("unused");
        volumes.into_iter().filter_map(|(n, v)| Some((n, v.bare()?.to_owned()))).collect()
    }

    /// Its features; empty when it has none.
    #[must_use]
    pub fn features(&self) -> PropertyString {
        self.property("features").unwrap_or_default()
    }

    /// Whether its root is an ordinary user of the node.
    #[must_use]
    pub fn unprivileged(&self) -> bool {
        self.flag("unprivileged")
    }

    /// Whether it is a template.
    #[must_use]
    pub fn template(&self) -> bool {
        self.flag("template")
    }

    /// The lock on it: `create`, `backup`, …
    #[must_use]
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// Its description without the newline that the cluster adds.
    #[must_use]
    pub fn description(&self) -> &str {
        self.get("description").unwrap_or_default().trim_end_matches('\n')
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(value::flag_text).unwrap_or(false)
    }

    fn property(&self, key: &str) -> Option<PropertyString> {
        PropertyString::parse(self.get(key)?).ok()
    }

    fn numbered(&self, prefix: &str) -> BTreeMap<u8, PropertyString> {
        self.raw
            .iter()
            .filter_map(|(key, text)| {
                let number = key.strip_prefix(prefix)?.parse().ok()?;
                Some((number, PropertyString::parse(text).ok()?))
            })
            .collect()
    }
}

fn raw_line(line: &Value) -> Option<(String, String)> {
    Some((value::text(line.get(0)?)?, value::text(line.get(1)?)?))
}

/// A line of the description as the file holds it: `%` and `:` and everything outside printable ASCII is encoded.
fn comment(line: &str) -> String {
    let mut out = String::new();
    for byte in line.bytes() {
        if (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'%' | b':') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FILE: &str = "#line 1\n#line 2%3A %C3%A4\narch: amd64\ncores: 1\ndev0: /dev/null,gid=104,mode=0660\n\
        features: nesting=1,keyctl=1\nhostname: app1\nmp1: local:101/vm-101-disk-1.raw,mp=/srv,size=1G\n\
        net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:87:2E:2F,ip=dhcp,type=veth\ntags: b;ironhatch\n\
        unprivileged: 1\nlxc.apparmor.profile: unconfined\n";

    #[test]
    fn a_file_is_read_and_written_back() {
        let config = ContainerConfig::read_file(FILE);
        assert_eq!(config.description(), "line 1\nline 2: ä");
        assert_eq!(config.net(0).unwrap().get("bridge"), Some("vmbr0"));
        assert_eq!(config.mounts()[&1].get("mp"), Some("/srv"));
        assert_eq!(config.devices()[&0].bare(), Some("/dev/null"));
        assert!(config.features().flag("keyctl") && config.unprivileged() && !config.template());
        assert!(config.tags().contains(&Tag::managed()));
        assert_eq!(config.lxc.len(), 1);
        assert_eq!(config.to_file(), FILE);
    }

    #[test]
    fn snapshots_and_pending_changes_are_not_the_configuration() {
        let config =
            ContainerConfig::read_file("cores: 1\n\n[pve:pending]\ncores: 2\n[before]\nlock: x\n");
        assert_eq!(config.get("cores"), Some("1"));
        assert_eq!(config.lock(), None);
    }

    #[test]
    fn an_answer_is_read_with_numbers_flags_and_raw_lines() {
        let answer = json!({
            "cores": 2, "unprivileged": 1, "onboot": "0", "digest": "abc", "lock": "create",
            "unused0": "local:101/vm-101-disk-1.raw",
            "lxc": [["lxc.idmap", "u 0 1 2"]],
        });
        let config = ContainerConfig::read(&answer).unwrap();
        assert_eq!((config.get("cores"), config.digest.as_str()), (Some("2"), "abc"));
        assert_eq!(config.lock(), Some("create"));
        assert_eq!(config.unused()[&0], "local:101/vm-101-disk-1.raw");
        assert_eq!(config.lxc, [("lxc.idmap".to_owned(), "u 0 1 2".to_owned())]);
        assert_eq!(ContainerConfig::read(&json!([])), None);
    }

    proptest! {
        #[test]
        fn every_description_survives_the_file(lines in proptest::collection::vec("[^\\r\\n]{1,30}", 1..4)) {
            let mut config = ContainerConfig::default();
            config.raw.insert("description".to_owned(), format!("{}\n", lines.join("\n")));
            prop_assert_eq!(ContainerConfig::read_file(&config.to_file()), config);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,200}") {
            let _ = ContainerConfig::read_file(&text);
        }
    }
}
