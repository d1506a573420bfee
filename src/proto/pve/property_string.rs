//! Property strings: `name=eth0,bridge=vmbr0,ip=dhcp`. A part without a key is the value of the format's default key.

use std::collections::BTreeMap;
use std::fmt;

/// A property string, independent of the order of its keys: Proxmox VE reorders them (PVE 8.2 to 9.2).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PropertyString {
    bare: Option<String>,
    values: BTreeMap<String, String>,
}

/// Why a text is no property string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProperty {
    /// A key stands twice.
    #[error("the key '{0}' is given twice")]
    Repeated(String),
    /// More than one part has no key.
    #[error("'{0}' has no key")]
    NoKey(String),
    /// A key or value has a character that the form has no room for.
    #[error("'{0}' cannot be written in a property string")]
    Unwritable(String),
}

impl PropertyString {
    /// Reads one. Empty parts are skipped, as Proxmox VE does.
    ///
    /// # Errors
    /// [`InvalidProperty`].
    pub fn parse(text: &str) -> Result<Self, InvalidProperty> {
        let mut read = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match part.split_once('=') {
                // A path may contain `=`; a key never contains anything but letters, digits, `-` and `_`.
                Some((key, value)) if is_key(key) => {
                    if read.values.insert(key.to_owned(), value.to_owned()).is_some() {
                        return Err(InvalidProperty::Repeated(key.to_owned()));
                    }
                }
                _ if read.bare.is_none() => read.bare = Some(part.to_owned()),
                _ => return Err(InvalidProperty::NoKey(part.chars().take(60).collect())),
            }
        }
        Ok(read)
    }

    /// One that begins with a value of the default key: a volume, a device.
    ///
    /// # Errors
    /// [`InvalidProperty::Unwritable`].
    pub fn of(bare: &str) -> Result<Self, InvalidProperty> {
        let reads_as_pair = bare.split_once('=').is_some_and(|(key, _)| is_key(key));
        if bare.trim() != bare || bare.is_empty() || bare.contains(',') || reads_as_pair {
            return Err(InvalidProperty::Unwritable(bare.chars().take(60).collect()));
        }
        Ok(Self { bare: Some(bare.to_owned()), values: BTreeMap::new() })
    }

    /// The same with one more value.
    ///
    /// # Errors
    /// [`InvalidProperty`].
    pub fn with(mut self, key: &str, value: &str) -> Result<Self, InvalidProperty> {
        if !is_key(key) || value.contains(',') || value.trim() != value {
            return Err(InvalidProperty::Unwritable(format!("{key}={value}")));
        }
        if self.values.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(InvalidProperty::Repeated(key.to_owned()));
        }
        Ok(self)
    }

    /// The value without a key.
    #[must_use]
    pub fn bare(&self) -> Option<&str> {
        self.bare.as_deref()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The value of a key that is a boolean; false when it is absent.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(super::value::flag_text).unwrap_or(false)
    }

    /// All keys with their values, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl fmt::Display for PropertyString {
    /// The default key's value first, then `name` (which nets begin with), then the rest sorted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        if let Some(bare) = &self.bare {
            f.write_str(bare)?;
            comma = ",";
        }
        let named = self.values.get_key_value("name");
        let rest = self.values.iter().filter(|(key, _)| *key != "name");
        for (key, value) in named.into_iter().chain(rest) {
            write!(f, "{comma}{key}={value}")?;
            comma = ",";
        }
        Ok(())
    }
}
impl fmt::Debug for PropertyString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let sent = PropertyString::parse("name=eth0,bridge=vmbr0,ip=dhcp,firewall=1").unwrap();
        let got = PropertyString::parse("name=eth0,bridge=vmbr0,firewall=1,ip=dhcp").unwrap();
        assert_eq!(sent, got);
        assert_eq!(sent.to_string(), "name=eth0,bridge=vmbr0,firewall=1,ip=dhcp");
        assert!(sent.flag("firewall") && !sent.flag("link_down"));
    }

    #[test]
    fn a_volume_comes_first_and_has_no_key() {
        let read = PropertyString::parse("local:101/vm-101-disk-0.raw,mp=/srv,size=1G").unwrap();
        assert_eq!(read.bare(), Some("local:101/vm-101-disk-0.raw"));
        assert_eq!((read.get("mp"), read.get("backup")), (Some("/srv"), None));
        let made = PropertyString::of("local:8").unwrap().with("mp", "/srv").unwrap();
        assert_eq!(made.to_string(), "local:8,mp=/srv");
    }

    #[test]
    fn what_means_two_things_is_refused() {
        assert_eq!(
            PropertyString::parse("a=1,a=2"),
            Err(InvalidProperty::Repeated("a".to_owned()))
        );
        assert!(PropertyString::parse("x,y").is_err());
        assert!(PropertyString::of("a,b").is_err());
        assert!(PropertyString::of("a=b").is_err());
        let base = PropertyString::default();
        assert!(base.clone().with("k", "a,b").is_err());
        assert!(base.with("a b", "1").is_err());
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_back(
            bare in proptest::option::of("[a-z]{1,5}:[a-z0-9/.-]{1,20}"),
            values in proptest::collection::btree_map("[a-z_-]{1,8}", "[^,\\s]{0,12}", 0..6),
        ) {
            let mut made = match &bare {
                Some(bare) => PropertyString::of(bare).unwrap(),
                None => PropertyString::default(),
            };
            for (key, value) in &values {
                made = made.with(key, value).unwrap();
            }
            prop_assert_eq!(PropertyString::parse(&made.to_string()).unwrap(), made);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,120}") {
            let _ = PropertyString::parse(&text);
        }
    }
}
