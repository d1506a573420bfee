//! Which OS template file a wish such as `debian-12` means. Their names carry the point release
//! (`debian-12-standard_12.7-1_amd64.tar.zst`), so the file that is used changes over time and is recorded with the guest.

use std::cmp::Ordering;

use crate::domain::id::StorageId;

/// Where a container's first files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChoice {
    /// This volume is there: `local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst`.
    Present(String),
    /// This file has to be downloaded first.
    Download {
        /// Its name in the index of appliances.
        file: String,
        /// The volume that it becomes.
        volume: String,
    },
}

impl TemplateChoice {
    /// The volume to create the container from, once it is there.
    #[must_use]
    pub fn volume(&self) -> &str {
        match self {
            Self::Present(volume) | Self::Download { volume, .. } => volume,
        }
    }
}

/// Chooses a template on a node's template storage: the newest point release that is there, or the newest that could be
/// downloaded. `wanted` is a distribution and release (`debian-12`, `ubuntu-24.04`) or the whole name of a file.
#[must_use]
pub fn choose(
    wanted: &str,
    storage: &StorageId,
    volumes: &[String],
    downloadable: &[String],
) -> Option<TemplateChoice> {
    let prefix = format!("{storage}:vztmpl/");
    let present = volumes
        .iter()
        .filter_map(|volume| volume.strip_prefix(&prefix))
        .filter(|file| matches(wanted, file))
        .max_by(|a, b| compare(a, b));
    if let Some(file) = present {
        return Some(TemplateChoice::Present(format!("{prefix}{file}")));
    }
    let file =
        downloadable.iter().filter(|file| matches(wanted, file)).max_by(|a, b| compare(a, b))?;
    Some(TemplateChoice::Download { file: file.clone(), volume: format!("{prefix}{file}") })
}

/// Whether a file is a plain system template of the wanted release for amd64. Appliances with software in them
/// (`debian-12-turnkey-nginx_…`) are none.
fn matches(wanted: &str, file: &str) -> bool {
    if wanted == file {
        return true;
    }
    let Some(rest) = file.strip_prefix(wanted).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    let Some((flavour, version)) = rest.split_once('_') else { return false };
    PLAIN.contains(&flavour) && version.contains("_amd64.")
}

/// What the vendor calls its plain templates.
const PLAIN: [&str; 4] = ["standard", "default", "base", "cloud"];

/// Compares names with the numbers in them as numbers: `12.10-1` comes after `12.7-1`.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (pieces(a).into_iter(), pieces(b).into_iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => x.cmp(&y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A run of digits, without leading zeros and longest last, or a run of anything else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Text(&'a str),
    Number(usize, &'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        found.push(if digits {
            let plain = piece.trim_start_matches('0');
            Piece::Number(plain.len(), plain)
        } else {
            Piece::Text(piece)
        });
        rest = after;
    }
    found
}

#[cfg(test)]
mod test {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn chosen(wanted: &str, volumes: &[&str], downloadable: &[&str]) -> Option<String> {
        let storage = "local".parse().unwrap();
        choose(wanted, &storage, &list(volumes), &list(downloadable)).map(|c| match c {
            TemplateChoice::Present(volume) => volume,
            TemplateChoice::Download { file, volume } => {
                assert_eq!(volume, format!("local:vztmpl/{file}"));
                format!("get {file}")
            }
        })
    }

    #[test]
    fn the_newest_point_release_of_the_wanted_release_is_chosen() {
        let there = [
            "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
            "local:vztmpl/debian-12-standard_12.10-1_amd64.tar.zst",
            "local:vztmpl/debian-12-standard_12.2-1_amd64.tar.zst",
            "local:vztmpl/debian-12-turnkey-nginx_18.0-1_amd64.tar.gz",
            "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
            "other:vztmpl/debian-12-standard_12.99-1_amd64.tar.zst",
            "local:vztmpl/debian-12-standard_12.99-1_arm64.tar.zst",
        ];
        let newest = "local:vztmpl/debian-12-standard_12.10-1_amd64.tar.zst";
        assert_eq!(chosen("debian-12", &there, &[]).unwrap(), newest);
        assert_eq!(chosen("debian-1", &there, &[]), None);
        assert_eq!(chosen("debian", &there, &[]), None);
        // What is there is used even when a newer one could be had.
        let newer = ["debian-12-standard_12.11-1_amd64.tar.zst"];
        assert_eq!(chosen("debian-12", &there, &newer).unwrap(), newest);
    }

    #[test]
    fn what_is_missing_is_downloaded() {
        let index = [
            "alpine-3.20-default_20240908_amd64.tar.xz",
            "debian-11-standard_11.7-1_amd64.tar.zst",
            "debian-12-standard_12.7-1_amd64.tar.zst",
            "debian-12-turnkey-wordpress_18.1-1_amd64.tar.gz",
            "ubuntu-24.04-standard_24.04-2_amd64.tar.zst",
        ];
        let get = |wanted| chosen(wanted, &[], &index);
        assert_eq!(get("debian-12").unwrap(), "get debian-12-standard_12.7-1_amd64.tar.zst");
        assert_eq!(get("alpine-3.20").unwrap(), "get alpine-3.20-default_20240908_amd64.tar.xz");
        assert_eq!(get("ubuntu-24.04").unwrap(), "get ubuntu-24.04-standard_24.04-2_amd64.tar.zst");
        assert_eq!(get("debian-13"), None);
        assert_eq!(get("../debian-12"), None);
    }

    #[test]
    fn a_whole_file_name_means_that_file() {
        let there = ["local:vztmpl/notes-1.2.0.tar.zst"];
        assert_eq!(chosen("notes-1.2.0.tar.zst", &there, &[]).unwrap(), there[0]);
        assert_eq!(chosen("notes-1.3.0.tar.zst", &there, &[]), None);
    }
}
