//! The agent on a node: where its program is, and the line of `authorized_keys` that lets one key start it and do nothing
//! else.

use crate::domain::id::{NodeName, PoolId};

/// Where the agent's program is on a node.
pub const PROGRAM: &str = "/usr/local/lib/ironhatch/ironhatch";

/// What the agent may touch; it becomes the forced command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOptions {
    /// Pool of our guests.
    pub pool: PoolId,
    /// Folders of the node that may be mounted into guests.
    pub bind_sources: Vec<String>,
    /// ZFS pools that may be imported.
    pub zpools: Vec<String>,
}

/// A folder or pool cannot stand on the forced command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot be allowed on a node: letters, digits, '/', '.', '_' and '-' only")]
pub struct OddName(pub String);

/// The comment by which the line of a node is found again.
#[must_use]
pub fn marker(node: &NodeName) -> String {
    format!("ironhatch-node-{node}")
}

/// The line of `authorized_keys` for a node's channel key, given as `ssh-ed25519 BODY …`.
///
/// The text between the quotes is run by root's shell (sshd(8), AUTHORIZED_KEYS FILE FORMAT): only names that mean nothing
/// to it are let through.
///
/// # Errors
/// [`OddName`].
pub fn key_line(
    node: &NodeName,
    public_line: &str,
    options: &AgentOptions,
) -> Result<String, OddName> {
    let mut command = format!("{PROGRAM} node serve --node {node} --pool {}", options.pool);
    for (flag, name) in options
        .bind_sources
        .iter()
        .map(|name| ("--bind-source", name))
        .chain(options.zpools.iter().map(|name| ("--zpool", name)))
    {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-');
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(plain) {
            return Err(OddName(name.chars().take(80).collect()));
        }
        command.push_str(&format!(" {flag} {name}"));
    }
    let key: Vec<&str> = public_line.split_whitespace().take(2).collect();
    Ok(format!("command=\"{command}\",restrict {} {}", key.join(" "), marker(node)))
}
