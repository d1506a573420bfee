//! The folder that stands for `/etc/pve`, and the one that says which containers run. Read anew for each request, because the
//! double of the node's own commands writes there too.
//!
//! ```text
//! ROOT/nodes/NODE/lxc/VMID.conf     configuration, then a section per snapshot
//! ROOT/user.cfg                     users, roles, rights, pools
//! ROOT/priv/token.cfg               `TOKEN SECRET` lines
//! ROOT/run/lxc/VMID                 exists while the container runs; holds its IPv4 address
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::proto::pve::ContainerConfig;

/// A container's file.
#[derive(Debug, Clone, Default)]
pub(super) struct Conf {
    /// The configuration as it is now.
    pub(super) now: ContainerConfig,
    /// Snapshots in the order in which they were made.
    pub(super) snapshots: Vec<(String, ContainerConfig)>,
}

impl Conf {
    fn read(text: &str) -> Self {
        let mut conf = Self { now: ContainerConfig::read_file(text), snapshots: Vec::new() };
        let mut section: Option<(String, String)> = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                conf.snapshots.extend(section.take().map(read_section));
                section = Some((name.to_owned(), String::new()));
            } else if let Some((_, body)) = &mut section {
                body.push_str(line);
                body.push('\n');
            }
        }
        conf.snapshots.extend(section.map(read_section));
        conf
    }

    fn text(&self) -> String {
        let mut out = self.now.to_file();
        for (name, snapshot) in &self.snapshots {
            out.push_str(&format!("\n[{name}]\n{}", snapshot.to_file()));
        }
        out
    }
}

fn read_section((name, body): (String, String)) -> (String, ContainerConfig) {
    (name, ContainerConfig::read_file(&body))
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    /// The folder, made when it is not there.
    pub(super) fn open(root: &Path, nodes: &[String]) -> Self {
        let files = Self { root: root.to_owned() };
        for node in nodes {
            fs::create_dir_all(root.join("nodes").join(node).join("lxc")).expect(WRITABLE);
        }
        for folder in ["run/lxc", "priv"] {
            fs::create_dir_all(root.join(folder)).expect(WRITABLE);
        }
        files
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn conf_path(&self, node: &str, vmid: u32) -> PathBuf {
        self.root.join("nodes").join(node).join("lxc").join(format!("{vmid}.conf"))
    }

    /// A container's file.
    pub(super) fn conf(&self, node: &str, vmid: u32) -> Option<Conf> {
        fs::read_to_string(self.conf_path(node, vmid)).ok().map(|text| Conf::read(&text))
    }

    /// What the file's content is known by.
    pub(super) fn digest(&self, node: &str, vmid: u32) -> String {
        use sha2::Digest as _;
        let text = fs::read(self.conf_path(node, vmid)).unwrap_or_default();
        sha2::Sha256::digest(&text).iter().take(20).map(|b| format!("{b:02x}")).collect()
    }

    /// Writes a container's file in one piece, as the cluster's file system does.
    pub(super) fn write_conf(&self, node: &str, vmid: u32, conf: &Conf) {
        let path = self.conf_path(node, vmid);
        let part = path.with_extension("part");
        fs::write(&part, conf.text()).expect(WRITABLE);
        fs::rename(&part, &path).expect(WRITABLE);
    }

    /// Removes a container's file.
    pub(super) fn remove_conf(&self, node: &str, vmid: u32) {
        let _ = fs::remove_file(self.conf_path(node, vmid));
    }

    /// All containers as node and number.
    pub(super) fn guests(&self) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        let nodes = fs::read_dir(self.root.join("nodes")).into_iter().flatten().flatten();
        for node in nodes {
            let confs = fs::read_dir(node.path().join("lxc")).into_iter().flatten().flatten();
            for conf in confs {
                let name = conf.file_name().to_string_lossy().into_owned();
                if let Some(vmid) = name.strip_suffix(".conf").and_then(|v| v.parse().ok()) {
                    found.push((node.file_name().to_string_lossy().into_owned(), vmid));
                }
            }
        }
        found.sort();
        found
    }

    /// The node that holds a container.
    pub(super) fn node_of(&self, vmid: u32) -> Option<String> {
        self.guests().into_iter().find(|(_, v)| *v == vmid).map(|(node, _)| node)
    }

    pub(super) fn user_cfg(&self) -> String {
        fs::read_to_string(self.root.join("user.cfg")).unwrap_or_default()
    }
    pub(super) fn write_user_cfg(&self, text: &str) {
        fs::write(self.root.join("user.cfg"), text).expect(WRITABLE);
    }

    /// The secret of a token.
    pub(super) fn secret(&self, token: &str) -> Option<String> {
        let text = self.token_cfg();
        let line = text.lines().find_map(|l| l.strip_prefix(token)?.strip_prefix(' '));
        line.map(|secret| secret.trim().to_owned())
    }
    pub(super) fn token_cfg(&self) -> String {
        fs::read_to_string(self.root.join("priv/token.cfg")).unwrap_or_default()
    }
    pub(super) fn write_token_cfg(&self, text: &str) {
        fs::write(self.root.join("priv/token.cfg"), text).expect(WRITABLE);
    }

    fn run_path(&self, vmid: u32) -> PathBuf {
        self.root.join("run/lxc").join(vmid.to_string())
    }
    /// Whether a container runs.
    pub(super) fn runs(&self, vmid: u32) -> bool {
        self.run_path(vmid).exists()
    }
    /// The address of a running container; `None`: it has none yet.
    pub(super) fn address(&self, vmid: u32) -> Option<Ipv4Addr> {
        fs::read_to_string(self.run_path(vmid)).ok()?.trim().parse().ok()
    }
    pub(super) fn set_running(&self, vmid: u32, address: Option<Ipv4Addr>) {
        let text = address.map(|a| a.to_string()).unwrap_or_default();
        fs::write(self.run_path(vmid), text).expect(WRITABLE);
    }
    pub(super) fn set_stopped(&self, vmid: u32) {
        let _ = fs::remove_file(self.run_path(vmid));
    }
}

const WRITABLE: &str = "the folder of the double is writable";

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn snapshots_are_sections_of_the_file() {
        let text = "cores: 1\nhostname: a\n\n[before]\ncores: 2\nsnaptime: 5\n";
        let conf = Conf::read(text);
        assert_eq!(conf.now.get("cores"), Some("1"));
        assert_eq!(conf.snapshots[0].1.get("cores"), Some("2"));
        assert_eq!(conf.text(), text);
    }
}
