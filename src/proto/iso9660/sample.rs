//! Small images for tests: a root directory with files, and directories with files, in Rock Ridge. What a real
//! mastering program writes is tested with `xorriso` in `tests/it/iso.rs`.

#![allow(clippy::cast_possible_truncation)] // samples are small

use super::both_endian;

/// Builds an image. Names with a `/` are files in a directory of the root.
#[must_use]
pub fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
    Sample::default().build(files)
}

/// What an installer image has at the least.
#[must_use]
pub fn installer(release: &str) -> Vec<u8> {
    let info = cd_info("pve", "Proxmox VE", release);
    image(&[
        (".cd-info", info.as_bytes()),
        ("auto-installer-capable", b""),
        ("boot/linux26", &[0x4B; 5000]),
        ("boot/initrd.img", &[0x49; 9001]),
    ])
}

/// Text of `/.cd-info`.
pub(crate) fn cd_info(product: &str, long: &str, release: &str) -> String {
    format!(
        "PRODUCT='{product}'\nPRODUCTLONG='{long}'\nRELEASE='{release}'\nISORELEASE='1'\nISONAME='x'\n"
    )
}

/// Knobs for the odd cases.
pub(crate) struct Sample {
    /// Whether there is an `SP` field in the root.
    pub(crate) rock_ridge: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self { rock_ridge: true }
    }
}

impl Sample {
    pub(crate) fn build(&self, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut directories: Vec<&str> = files
            .iter()
            .filter_map(|(name, _)| name.split_once('/').map(|(directory, _)| directory))
            .collect();
        directories.dedup();
        // 16 system sectors, descriptor, end, two path tables, the root (as long as it needs), directories, files.
        let in_root = |(name, _): &&(&str, &[u8])| !name.contains('/');
        let mut measured = Directory::new((0, 0), (0, 0), self.rock_ridge);
        directories.iter().for_each(|name| measured.add(name, (0, 0), 0));
        files.iter().filter(in_root).for_each(|(name, _)| measured.add(name, (0, 0), 0));
        let root_len = measured.bytes.len().next_multiple_of(2048) as u32;
        let mut next = 20 + root_len / 2048;
        let mut sectors: Vec<(u32, Vec<u8>)> = Vec::new();
        let root_place = (20, root_len);

        let mut root = Directory::new(root_place, root_place, self.rock_ridge);
        for directory in &directories {
            let place = (next, 2048);
            next += 1;
            root.add(directory, place, 0o040_555);
            let mut inner = Directory::new(place, root_place, false);
            for (name, content) in files {
                if let Some((parent, name)) = name.split_once('/')
                    && parent == *directory
                {
                    inner.add(name, (next, content.len() as u32), 0o100_444);
                    sectors.push((next, content.to_vec()));
                    next += (content.len() as u32).div_ceil(2048);
                }
            }
            sectors.push((place.0, inner.finish(2048)));
        }
        for (name, content) in files.iter().filter(in_root) {
            root.add(name, (next, content.len() as u32), 0o100_444);
            sectors.push((next, content.to_vec()));
            next += (content.len() as u32).div_ceil(2048);
        }
        sectors.push((20, root.finish(root_len as usize)));

        let mut image = vec![0; next as usize * 2048];
        sectors.push((16, descriptor(next, root_place)));
        sectors.push((17, [&[255][..], b"CD001", &[1]].concat()));
        sectors.push((18, [&[1, 0][..], &20u32.to_le_bytes(), &[1, 0, 0, 0]].concat()));
        sectors.push((19, [&[1, 0][..], &20u32.to_be_bytes(), &[0, 1, 0, 0]].concat()));
        for (sector, bytes) in sectors {
            let at = sector as usize * 2048;
            image[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        image
    }
}

fn descriptor(total: u32, root: (u32, u32)) -> Vec<u8> {
    let mut d = vec![0; 2048];
    d[0] = 1;
    d[1..6].copy_from_slice(b"CD001");
    d[40..72].copy_from_slice(format!("{:32}", "SAMPLE").as_bytes());
    d[80..88].copy_from_slice(&both_endian(total));
    d[128..132].copy_from_slice(&[0, 8, 8, 0]);
    d[140..144].copy_from_slice(&18u32.to_le_bytes());
    d[148..152].copy_from_slice(&19u32.to_be_bytes());
    let record = record(&[0], root, 2, &[]);
    d[156..156 + record.len()].copy_from_slice(&record);
    d
}

struct Directory {
    bytes: Vec<u8>,
    names: usize,
}

impl Directory {
    fn new(own: (u32, u32), parent: (u32, u32), rock_ridge: bool) -> Self {
        let sp: &[u8] = if rock_ridge { &[b'S', b'P', 7, 1, 0xBE, 0xEF, 0] } else { &[] };
        let dot = record(&[0], own, 2, &[sp, &px(0o040_555)].concat());
        Self { bytes: [dot, record(&[1], parent, 2, &px(0o040_555))].concat(), names: 0 }
    }

    fn add(&mut self, name: &str, place: (u32, u32), mode: u32) {
        let identifier = format!("F{:06}.;1", self.names);
        self.names += 1;
        let nm = [&[b'N', b'M', 5 + name.len() as u8, 1, 0][..], name.as_bytes()].concat();
        let flags = if mode & 0o040_000 == 0 { 0 } else { 2 };
        let new = record(identifier.as_bytes(), place, flags, &[px(mode), nm].concat());
        if self.bytes.len() % 2048 + new.len() > 2048 {
            self.bytes.resize(self.bytes.len().next_multiple_of(2048), 0);
        }
        self.bytes.extend(new);
    }

    fn finish(mut self, len: usize) -> Vec<u8> {
        assert!(self.bytes.len() <= len);
        self.bytes.resize(len, 0);
        self.bytes
    }
}

fn px(mode: u32) -> Vec<u8> {
    let mut field = vec![b'P', b'X', 36, 1];
    for value in [mode, 1, 0, 0] {
        field.extend(both_endian(value));
    }
    field
}

fn record(identifier: &[u8], place: (u32, u32), flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both_endian(place.0));
    record.extend(both_endian(place.1));
    record.extend([126, 11, 20, 12, 0, 0, 0, flags, 0, 0, 1, 0, 0, 1]);
    record.push(identifier.len() as u8);
    record.extend(identifier);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}
