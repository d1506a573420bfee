//! `[disk-setup]`: which disks, which file system, and whether they fit each other (reference 3.4 and 3.6).

use super::super::disk::DiskChoice;
use super::super::layer::{Layer, Lower};
use super::super::model::{Btrfs, DiskSetup, FileSystem, Lvm, Zfs};
use super::super::{AnswerProblem, rules};
use super::Work;

impl Work<'_> {
    pub(super) fn disk_setup(&mut self) -> Option<DiskSetup> {
        let file_system = self.file_system();
        let (selection, layer) = match &self.inputs.host.overrides.boot_disk {
            Some(own) => (own, Layer::Host),
            None => (&self.inputs.server_type.boot_disk, Layer::ServerType),
        };
        let disks = match DiskChoice::of(selection) {
            Ok(disks) => disks,
            Err(rule) => {
                self.problems.push(AnswerProblem::new("disk-setup.filter", Some(layer), rule));
                return None;
            }
        };
        if let Some((property, value)) = disks.filter() {
            self.set(&format!("disk-setup.filter.{property}"), layer, value);
        }
        if let Some(paths) = disks.list() {
            self.set("disk-setup.disk-list", layer, paths.to_vec());
        }
        if layer == Layer::Host {
            self.replaced_disk(&disks);
        }
        let file_system = file_system?;
        self.check_disk_count(&file_system, disks.count(), layer);
        Some(DiskSetup { file_system, disks })
    }

    /// Notes the server type's disk, which the host's own replaces.
    fn replaced_disk(&mut self, own: &DiskChoice) {
        let Ok(disks) = DiskChoice::of(&self.inputs.server_type.boot_disk) else { return };
        let value = match (disks.filter(), disks.list()) {
            (Some((property, value)), _) => format!("{property} = {value}").into(),
            (None, paths) => paths.unwrap_or_default().to_vec().into(),
        };
        let key = own.filter().map_or_else(
            || "disk-setup.disk-list".to_owned(),
            |(property, _)| format!("disk-setup.filter.{property}"),
        );
        self.below.entry(key).or_default().push(Lower { layer: Layer::ServerType, value });
    }

    fn check_disk_count(&mut self, file_system: &FileSystem, count: usize, layer: Layer) {
        let (key, level) = match file_system {
            FileSystem::Ext4(_) | FileSystem::Xfs(_) => {
                if count != 1 {
                    let rule = format!("ext4 and xfs take exactly one disk, {count} are named");
                    let problem = AnswerProblem::new("disk-setup.disk-list", Some(layer), rule);
                    self.problems.push(problem);
                }
                return;
            }
            FileSystem::Zfs(zfs) => ("disk-setup.zfs.raid", zfs.raid),
            FileSystem::Btrfs(btrfs) => ("disk-setup.btrfs.raid", btrfs.raid),
        };
        let (least, even) = rules::raid_disks(level);
        if count < least {
            self.wrong(
                key,
                format!("{level} needs at least {least} disks, boot_disk names {count}"),
            );
        } else if even && !count.is_multiple_of(2) {
            self.wrong(
                key,
                format!("{level} needs an even number of disks, boot_disk names {count}"),
            );
        }
    }

    fn file_system(&mut self) -> Option<FileSystem> {
        const KEY: &str = "disk-setup.filesystem";
        let name =
            self.needed(KEY, |text| rules::one_of(text, &["ext4", "xfs", "zfs", "btrfs"]))?;
        let own = if matches!(name.as_str(), "ext4" | "xfs") { "lvm" } else { name.as_str() };
        let foreign: Vec<String> = ["lvm", "zfs", "btrfs"]
            .iter()
            .filter(|table| **table != own)
            .flat_map(|table| {
                let prefix = format!("disk-setup.{table}.");
                self.layers.keys().filter(move |k| k.starts_with(&prefix)).cloned()
            })
            .collect();
        for key in foreign {
            self.wrong(
                &key,
                format!("does not go with filesystem = \"{name}\"; only disk-setup.{own} does"),
            );
        }
        match name.as_str() {
            "ext4" => Some(FileSystem::Ext4(self.lvm())),
            "xfs" => Some(FileSystem::Xfs(self.lvm())),
            "zfs" => self.zfs().map(FileSystem::Zfs),
            _ => self.btrfs().map(FileSystem::Btrfs),
        }
    }

    fn lvm(&mut self) -> Lvm {
        let lvm = Lvm {
            hdsize: self.size("disk-setup.lvm.hdsize", MIN_GIB),
            swapsize: self.size("disk-setup.lvm.swapsize", 0.0),
            maxroot: self.size("disk-setup.lvm.maxroot", 2.0),
            maxvz: self.size("disk-setup.lvm.maxvz", 0.0),
            minfree: self.size("disk-setup.lvm.minfree", 0.0),
        };
        if let Some(whole) = lvm.hdsize {
            if lvm.swapsize.is_some_and(|swap| swap > whole / 2.0) {
                self.wrong(
                    "disk-setup.lvm.swapsize",
                    format!("at most half of hdsize ({whole} GiB) is allowed"),
                );
            }
            let parts = lvm.swapsize.unwrap_or(0.0) + lvm.minfree.unwrap_or(0.0);
            if parts + 2.0 > whole {
                self.wrong(
                    "disk-setup.lvm.hdsize",
                    "swapsize and minfree leave less than 2 GiB for the system",
                );
            }
            if lvm.maxroot.is_some_and(|root| root > whole) {
                self.wrong("disk-setup.lvm.maxroot", format!("more than hdsize ({whole} GiB)"));
            }
        }
        lvm
    }

    fn zfs(&mut self) -> Option<Zfs> {
        let raid = self.raid(
            "disk-setup.zfs.raid",
            &["raid0", "raid1", "raid10", "raidz-1", "raidz-2", "raidz-3"],
        );
        let checksum = ["on", "fletcher4", "sha256"];
        let compress = ["on", "off", "lzjb", "lz4", "zle", "gzip", "zstd"];
        let ashift = self.count("disk-setup.zfs.ashift", 9, 16, "");
        let arc_max = self.count("disk-setup.zfs.arc-max", 64, 16 * 1024 * 1024, " MiB");
        let checksum = self.optional("disk-setup.zfs.checksum", |t| rules::one_of(t, &checksum));
        let compress = self.optional("disk-setup.zfs.compress", |t| rules::one_of(t, &compress));
        let copies = self.count("disk-setup.zfs.copies", 1, 3, "");
        let hdsize = self.size("disk-setup.zfs.hdsize", MIN_GIB);
        Some(Zfs { raid: raid?, ashift, arc_max, checksum, compress, copies, hdsize })
    }

    fn btrfs(&mut self) -> Option<Btrfs> {
        let raid = self.raid("disk-setup.btrfs.raid", &["raid0", "raid1", "raid10"]);
        let compress = ["off", "on", "zlib", "lzo", "zstd"];
        let compress = self.optional("disk-setup.btrfs.compress", |t| rules::one_of(t, &compress));
        let hdsize = self.size("disk-setup.btrfs.hdsize", MIN_GIB);
        Some(Btrfs { raid: raid?, compress, hdsize })
    }

    fn raid(&mut self, key: &str, levels: &[&'static str]) -> Option<&'static str> {
        let given = self.needed(key, |text| rules::one_of(text, levels))?;
        levels.iter().find(|level| **level == given).copied()
    }
}

/// The installer asks a question about disks below 8 GB, which ends an automated installation.
const MIN_GIB: f64 = 8.0;
