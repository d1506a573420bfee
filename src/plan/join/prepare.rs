//! Keys and known hosts before the join: what must hold, and the lines that are written.

use std::net::IpAddr;

use crate::domain::id::Hostname;

use super::{Facts, Verdict, brief, value, yes};

/// What [`script::OWN_KEY`](super::script::OWN_KEY) left on the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnKeyLook {
    /// Whether `/root/.ssh/authorized_keys` is the link into the cluster file system.
    pub linked: bool,
    /// Whether the node has an SSH key of its own.
    pub has_node_key: bool,
    /// What its sshd reads (`authorizedkeysfile` of `sshd -T`), when it could be asked.
    pub key_files: Option<String>,
    /// Whether a new login with the ephemeral key succeeded afterwards.
    pub login: bool,
}

impl OwnKeyLook {
    /// Reads the script's output; `login` is found out by the caller.
    #[must_use]
    pub fn parse(text: &str, login: bool) -> Self {
        Self {
            linked: yes(text, "linked"),
            has_node_key: yes(text, "nodekey"),
            key_files: value(text, "keyfiles").map(str::to_owned),
            login,
        }
    }
}

/// The join empties `authorized_keys` and closes it while the cluster file system is down; `authorized_keys2` suffers
/// from neither (13.6). A regular `authorized_keys` would be merged into the cluster's file and open every node.
pub(super) fn own_key(look: &OwnKeyLook) -> Verdict {
    if let Some(files) = &look.key_files
        && !files.contains("authorized_keys2")
    {
        return Verdict::fail(
            format!(
                "the node's sshd reads only {}, so no login would survive the join",
                brief(files)
            ),
            "remove AuthorizedKeysFile from the node's sshd_config (the default reads authorized_keys2 too), then retry",
        );
    }
    if !look.linked {
        return Verdict::wait(
            "/root/.ssh/authorized_keys of the node is not the link into /etc/pve, so its keys would reach the whole cluster",
            "run `pvecm updatecerts` on the node, which makes the link again",
        );
    }
    if !look.has_node_key {
        return Verdict::wait(
            "the node has no SSH key of its own (/root/.ssh/id_rsa.pub)",
            "run `pvecm updatecerts` on the node, which makes it",
        );
    }
    if !look.login {
        return Verdict::wait(
            "a new login with the ephemeral key did not succeed",
            "look at the node's sshd log",
        );
    }
    Verdict::next("our login does not depend on the cluster file system any more")
}

/// What [`script::KNOWN_HOSTS`](super::script::KNOWN_HOSTS) printed on the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownHostsLook {
    /// Join API version that the member answered to the node's trial login.
    pub member_version: Option<u32>,
    /// Join API version of the node itself.
    pub node_version: Option<u32>,
    /// What ssh printed on standard error.
    pub complaint: String,
}

impl KnownHostsLook {
    /// Reads the script's output and standard error.
    #[must_use]
    pub fn parse(text: &str, complaint: &str) -> Self {
        let number = |key| value(text, key).and_then(|v| v.parse().ok());
        Self {
            member_version: number("member"),
            node_version: number("node"),
            complaint: complaint.to_owned(),
        }
    }
}

pub(super) fn known_hosts(look: &KnownHostsLook, facts: &Facts) -> Verdict {
    let member = facts.member.map_or_else(|| "the member".to_owned(), |m| m.to_string());
    match (look.member_version, look.node_version) {
        (Some(theirs), Some(ours)) if theirs != ours => Verdict::fail(
            format!("the join API versions differ: {ours} on the node, {theirs} on the member"),
            "use an image of the version that the cluster runs",
        ),
        (Some(_), _) => Verdict::next(format!("the node can log in to {member}")),
        (None, _) => Verdict::wait(
            format!("the node cannot log in to {member}: {}", brief(&look.complaint)),
            "TCP port 22 must be open between the nodes, and the member must accept root logins by key",
        ),
    }
}

/// The node's own public key as it goes into the cluster's file: its comment is `root@NAME`, by which stale ones are
/// found. `None` when the text is not one public key line.
#[must_use]
pub fn node_key_line(public_key: &str, node: &Hostname) -> Option<String> {
    let (kind, blob) = key_parts(public_key)?;
    Some(format!("{kind} {blob} root@{node}\n"))
}

/// `known_hosts` lines for the member's address from its host public keys, one per key.
#[must_use]
pub fn known_hosts_lines(member: IpAddr, host_keys: &str) -> String {
    host_keys
        .lines()
        .filter_map(key_parts)
        .map(|(kind, blob)| format!("{member} {kind} {blob}\n"))
        .collect()
}

/// Type and base64 body of a public key line without options (`ssh-ed25519 AAAA… comment`).
#[must_use]
pub fn key_parts(line: &str) -> Option<(&str, &str)> {
    if line.trim().contains('\n') {
        return None;
    }
    let mut words = line.split_whitespace();
    let (kind, blob) = (words.next()?, words.next()?);
    let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    (known && blob.len() >= 16 && blob.bytes().all(base64)).then_some((kind, blob))
}
