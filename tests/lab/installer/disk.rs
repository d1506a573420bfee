//! Which disk is wiped, by the vendor's rules, and writing the prepared image to it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::Failure;
use crate::answer::DiskSetup;
use crate::hardware::{Disk, Machine};

/// Below this the vendor's installer asks a question, which aborts an unattended one.
const LEAST_BYTES: u64 = 8_000_000_000;

/// The disk that carries the system: the first one that the answer selects.
pub(crate) fn choose(setup: &DiskSetup, machine: &Machine) -> Result<Disk, Failure> {
    let chosen: Vec<&Disk> = machine
        .disks
        .iter()
        .filter(|disk| {
            if setup.filter.is_empty() {
                setup
                    .disk_list
                    .iter()
                    .any(|name| disk.path.to_string_lossy().ends_with(name.as_str()))
            } else if setup.filter_match.as_deref() == Some("all") {
                // A property that the disk lacks does not exclude it: the vendor's trap, kept on purpose.
                setup.filter.iter().all(|(key, glob)| {
                    disk.properties.get(key).is_none_or(|value| matches(glob, value))
                })
            } else {
                setup.filter.iter().any(|(key, glob)| {
                    disk.properties.get(key).is_some_and(|value| matches(glob, value))
                })
            }
        })
        .collect();
    let disk = *chosen.first().ok_or("disk-setup: no disk matches")?;
    if disk.bytes < LEAST_BYTES {
        return Err(format!("{} has {} bytes, too few", disk.path.display(), disk.bytes));
    }
    Ok(disk.clone())
}

/// Shell-style pattern over the whole value: `?`, `*`, `[ab]`, `[0-9]`, `[!a]`.
pub(crate) fn matches(glob: &str, value: &str) -> bool {
    let glob: Vec<char> = glob.chars().collect();
    let value: Vec<char> = value.chars().collect();
    matches_from(&glob, &value)
}

fn matches_from(glob: &[char], value: &[char]) -> bool {
    match (glob.split_first(), value.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(('*', rest)), _) => (0..=value.len()).any(|skip| matches_from(rest, &value[skip..])),
        (Some(_), None) => false,
        (Some(('?', rest)), Some((_, tail))) => matches_from(rest, tail),
        (Some(('[', rest)), Some((first, tail))) => {
            let Some(end) = rest.iter().skip(1).position(|part| *part == ']').map(|at| at + 1)
            else {
                return false;
            };
            let (set, negated) = match rest[..end].split_first() {
                Some(('!', set)) => (set, true),
                _ => (&rest[..end], false),
            };
            in_set(set, *first) != negated && matches_from(&rest[end + 1..], tail)
        }
        (Some((same, rest)), Some((first, tail))) => same == first && matches_from(rest, tail),
    }
}

fn in_set(set: &[char], wanted: char) -> bool {
    let mut at = 0;
    while let Some(low) = set.get(at) {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            if (*low..=set[at + 2]).contains(&wanted) {
                return true;
            }
            at += 3;
        } else {
            if *low == wanted {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// Copies the image over the start of the disk, zeros included: whatever was there is gone.
pub(crate) fn write_image(image: &Path, disk: &Disk) -> Result<(), Failure> {
    let mut from = File::open(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let show = |error: std::io::Error| format!("{}: {error}", disk.path.display());
    let mut to = OpenOptions::new().write(true).open(&disk.path).map_err(show)?;
    let mut block = vec![0; 1 << 20];
    loop {
        let count =
            from.read(&mut block).map_err(|error| format!("{}: {error}", image.display()))?;
        if count == 0 {
            break;
        }
        to.write_all(&block[..count]).map_err(show)?;
    }
    to.sync_all().map_err(show)
}
