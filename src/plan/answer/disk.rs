//! Rule 2 of the design: the disk selection of an answer can match only the disks that the operator named.
//!
//! The installer's filters are dangerous (reference 3.6): several properties are or-ed for ext4 and xfs whatever
//! `filter-match` says, a property that no disk has matches every disk under `all`, values are globs. So the only forms
//! that leave this module are *one* property with *one* exact value, or whole kernel paths.

use crate::domain::server_type::DiskSelection;

/// A selection that passed every rule. There is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskChoice(Choice);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Filter { property: String, value: String },
    List(Vec<String>),
}

/// udev properties that name one disk. `ID_MODEL` and the like name a kind of disk.
pub const DISK_PROPERTIES: [&str; 5] =
    ["ID_SERIAL_SHORT", "ID_SERIAL", "ID_WWN", "ID_WWN_WITH_EXTENSION", "ID_PATH"];

impl DiskChoice {
    /// Checks a selection.
    ///
    /// # Errors
    /// The rule that it breaks and what is allowed.
    pub fn of(selection: &DiskSelection) -> Result<Self, String> {
        match selection {
            DiskSelection::PerHost => Err(
                "the server type leaves the disk to each host, and this host names none; set the host's boot disk"
                    .to_owned(),
            ),
            DiskSelection::Property { property, value } => {
                check_property(property)?;
                check_value(property, value)?;
                Ok(Self(Choice::Filter { property: property.clone(), value: value.clone() }))
            }
            DiskSelection::Devices { names } => device_paths(names).map(|p| Self(Choice::List(p))),
        }
    }

    /// The one property and its exact value, when disks are chosen by a property.
    #[must_use]
    pub fn filter(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Choice::Filter { property, value } => Some((property, value)),
            Choice::List(_) => None,
        }
    }

    /// The kernel paths (`/dev/sda`), when disks are chosen by name.
    ///
    /// Whole paths on purpose: the installer takes every disk whose path *ends with* the text (reference 3.4), so `vda`
    /// would also take `/dev/xvda`.
    #[must_use]
    pub fn list(&self) -> Option<&[String]> {
        match &self.0 {
            Choice::List(paths) => Some(paths),
            Choice::Filter { .. } => None,
        }
    }

    /// How many disks it can match.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.0 {
            Choice::Filter { .. } => 1,
            Choice::List(paths) => paths.len(),
        }
    }
}

fn check_property(property: &str) -> Result<(), String> {
    if DISK_PROPERTIES.contains(&property) {
        return Ok(());
    }
    let why = match property {
        "ID_MODEL" | "ID_VENDOR" | "ID_BUS" | "ID_REVISION" | "ID_TYPE" => {
            "names a kind of disk, so it could match other disks too"
        }
        "DEVNAME" => "is a kernel name; write it as { devices = [\"sda\"] }",
        "DEVLINKS" => "is a list of links, never equal to one of them",
        _ => "is not a property that names one disk",
    };
    let shown: String = property.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(format!("'{shown}' {why}; allowed: {}", DISK_PROPERTIES.join(", ")))
}

fn check_value(property: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("the value of {property} is empty; the exact value is needed"));
    }
    if value.len() > 200 {
        return Err(format!("the value of {property} is longer than 200 bytes"));
    }
    // The glob characters of the installer are `?`, `*`, `[…]` with `!`; the others belong to other glob dialects and
    // to escapes, and appear in no serial number.
    if let Some(glob) = value.chars().find(|c| "*?[]!{}\\^".contains(*c)) {
        return Err(format!(
            "the value of {property} has the pattern character '{glob}': it could match other disks; the exact value is needed"
        ));
    }
    if !value.chars().all(|c| c.is_ascii_graphic() || c == ' ') || value.trim() != value {
        return Err(format!(
            "the value of {property} must be printable ASCII without blanks at its ends; 'udevadm info --query=property /dev/sdX' shows it"
        ));
    }
    if value.starts_with("/dev/") || value.contains("by-id/") {
        return Err(format!(
            "{property} is not a path; the value is what 'udevadm info --query=property /dev/sdX' shows for it"
        ));
    }
    if crate::domain::identity::usable_serial(value).is_none()
        || value.bytes().all(|b| b == b'0' || b == b' ')
    {
        return Err(format!(
            "'{value}' is a placeholder that many disks share, so it could match other disks; choose ID_WWN or ID_PATH"
        ));
    }
    Ok(())
}

fn device_paths(names: &[String]) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("the list of devices is empty; at least one disk must be named".to_owned());
    }
    if names.len() > MAX_DISKS {
        return Err(format!("more than {MAX_DISKS} disks are named"));
    }
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        let path = format!("/dev/{}", check_device(name)?);
        if paths.contains(&path) {
            return Err(format!("{path} is named twice"));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// More disks than any chassis has in one root pool.
const MAX_DISKS: usize = 64;

/// Checks one kernel name and returns it without `/dev/`.
///
/// # Errors
/// Why the installer could not use it, and what is allowed.
pub fn check_device(name: &str) -> Result<&str, String> {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    let bare = name.strip_prefix("/dev/").unwrap_or(name);
    if bare.starts_with("disk/")
        || ["ata-", "wwn-", "nvme-", "scsi-", "pci-"].iter().any(|p| bare.starts_with(p))
    {
        return Err(format!(
            "'{shown}': the installer never matches names below /dev/disk; use {{ property = \"ID_SERIAL_SHORT\", value = \"…\" }}"
        ));
    }
    if bare.starts_with("mmcblk") {
        return Err(format!("'{shown}': the installer cannot use eMMC and SD cards (mmcblk)"));
    }
    let letters =
        |rest: &str| (1..=3).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_lowercase());
    let digits =
        |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let whole_disk = ["sd", "hd", "vd", "xvd"]
        .iter()
        .any(|prefix| bare.strip_prefix(prefix).is_some_and(letters))
        || bare
            .strip_prefix("nvme")
            .and_then(|rest| rest.split_once('n'))
            .is_some_and(|(controller, namespace)| digits(controller) && digits(namespace))
        || bare
            .strip_prefix("cciss/c")
            .and_then(|rest| rest.split_once('d'))
            .is_some_and(|(controller, disk)| digits(controller) && digits(disk));
    if whole_disk {
        Ok(bare)
    } else {
        Err(format!(
            "'{shown}' is not the name of a whole disk that the installer can use: sda, vda, hda, xvda, nvme0n1 or cciss/c0d0"
        ))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn by(property: &str, value: &str) -> Result<DiskChoice, String> {
        let (property, value) = (property.to_owned(), value.to_owned());
        DiskChoice::of(&DiskSelection::Property { property, value })
    }

    fn named(names: &[&str]) -> Result<DiskChoice, String> {
        DiskChoice::of(&DiskSelection::Devices {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        })
    }

    #[test]
    fn one_property_with_an_exact_value_is_taken() {
        for (property, value) in [
            ("ID_SERIAL_SHORT", "S4EWNX0N100000"),
            ("ID_SERIAL", "Samsung_SSD_970 PRO_512GB_S463NF0K1"),
            ("ID_WWN", "0x5002538e40a1b2c3"),
            ("ID_WWN", "eui.0025385881b0f3e2"),
            ("ID_PATH", "pci-0000:00:17.0-ata-1.0"),
        ] {
            assert_eq!(by(property, value).unwrap().filter(), Some((property, value)));
        }
    }

    #[test]
    fn what_could_match_other_disks_is_refused_with_the_reason() {
        for (property, value, want) in [
            ("ID_SERIAL_SHORT", "S4*", "pattern character '*'"),
            ("ID_SERIAL_SHORT", "S4?", "pattern character '?'"),
            ("ID_SERIAL_SHORT", "S[0-9]", "pattern character '['"),
            ("ID_SERIAL_SHORT", "!S4", "pattern character '!'"),
            ("ID_SERIAL_SHORT", "", "is empty"),
            ("ID_SERIAL_SHORT", " S4", "without blanks at its ends"),
            ("ID_SERIAL_SHORT", "S\u{e9}", "printable ASCII"),
            ("ID_SERIAL_SHORT", "None", "placeholder"),
            ("ID_SERIAL_SHORT", "0000000000", "placeholder"),
            ("ID_WWN", "/dev/disk/by-id/wwn-0x5", "is not a path"),
            ("ID_MODEL", "X", "names a kind of disk"),
            ("DEVNAME", "/dev/sda", "devices = "),
            ("id_serial", "X", "allowed: ID_SERIAL_SHORT"),
        ] {
            let reason = by(property, value).unwrap_err();
            assert!(reason.contains(want), "{property}={value}: {reason}");
        }
    }

    #[test]
    fn devices_become_whole_paths_that_end_no_other_path() {
        let names = ["sda", "/dev/sdb", "vda", "xvda", "hda", "nvme0n1", "nvme10n12", "cciss/c0d0"];
        let choice = named(&names).unwrap();
        let paths = choice.list().unwrap();
        assert_eq!(paths.len(), names.len());
        for (i, path) in paths.iter().enumerate() {
            assert!(path.starts_with("/dev/"));
            for (j, other) in paths.iter().enumerate() {
                assert!(i == j || !other.ends_with(path.as_str()), "{path} also takes {other}");
            }
        }
    }

    #[test]
    fn names_that_are_no_whole_disk_are_refused_with_the_reason() {
        for (names, want) in [
            (&[][..], "the list of devices is empty"),
            (&["sda", "/dev/sda"], "named twice"),
            (&["sda", "mmcblk0"], "eMMC and SD cards"),
            (&["/dev/disk/by-id/ata-X"], "never matches names below /dev/disk"),
            (&["ata-Samsung_SSD"], "never matches names below /dev/disk"),
            (&["sda1"], "not the name of a whole disk"),
            (&["nvme0n1p1"], "not the name of a whole disk"),
            (&["nvme0"], "not the name of a whole disk"),
            (&["a"], "not the name of a whole disk"),
            (&["da"], "not the name of a whole disk"),
            (&[""], "not the name of a whole disk"),
            (&["sd*"], "not the name of a whole disk"),
            (&["../sda"], "not the name of a whole disk"),
            (&["md0"], "not the name of a whole disk"),
            (&["dm-0"], "not the name of a whole disk"),
            (&["loop0"], "not the name of a whole disk"),
        ] {
            let reason = named(names).unwrap_err();
            assert!(reason.contains(want), "{names:?}: {reason}");
        }
    }
}
