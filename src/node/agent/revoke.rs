//! The node takes off itself what its enrolment made. Whoever holds the channel's key can ask for it: it only takes rights
//! away, and the key's own at last. Until then every part may fail and be asked for again.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::run::run_short;
use super::{AgentConfig, SHORT, Stop, absent, conf, failed};
use crate::domain::id::NodeName;
use crate::plan::enroll::rights::was_done_already;
use crate::plan::enroll::{PROGRAM, UserCfg, marker, revoke_last, token_remove};

/// Removes token and rights, then the program, then the key's line.
pub(super) fn revoke(config: &AgentConfig, node: &str) -> Result<(), Stop> {
    let node: NodeName =
        node.parse().map_err(|_| failed("the node's own name is not one of a node"))?;
    let users = conf::read(&config.pve_dir.join("user.cfg")).map_err(|_| absent("user.cfg"))?;
    let users = UserCfg::parse(&users);
    let commands = token_remove(&node, &users).into_iter();
    for command in commands.chain(revoke_last(&node, &config.pool, &users)) {
        let argv: Vec<&str> = command.iter().map(String::as_str).collect();
        let said = run_short(&argv, SHORT)?;
        if said.status != 0 && !was_done_already(&command, &said.stderr) {
            return Err(said.failure(&argv.iter().take(3).copied().collect::<Vec<_>>().join(" ")));
        }
    }
    // A program elsewhere is not ours to remove: somebody runs it by hand.
    let program = Path::new(PROGRAM);
    if std::env::current_exe().is_ok_and(|own| own == program) {
        match fs::remove_file(program) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(format!("{PROGRAM} cannot be removed: {error}")));
            }
            _ => {}
        }
        if let Some(folder) = program.parent() {
            // Only when it is empty.
            let _ = fs::remove_dir(folder);
        }
    }
    drop_key(&config.pve_dir.join("priv/authorized_keys"), &marker(&node))
        .map_err(|e| failed(format!("the key's line cannot be removed: {e}")))
}

/// Takes every line with this comment out of a file of keys. Written over in one write and never renamed:
/// `/root/.ssh/authorized_keys` of every node is a link to it.
fn drop_key(file: &Path, comment: &str) -> std::io::Result<()> {
    let text = fs::read_to_string(file)?;
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| line.split_whitespace().next_back() != Some(comment))
        .collect();
    if kept == text {
        return Ok(());
    }
    fs::OpenOptions::new().write(true).truncate(true).open(file)?.write_all(kept.as_bytes())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_the_lines_with_the_comment_go_and_the_file_stays_the_same_file() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let other = "ssh-rsa AAAA root@pve1\n# ironhatch-node-pve1 is a node\ncommand=\"x\",restrict ssh-ed25519 A ironhatch-node-pve12\n";
        let ours = "command=\"x\",restrict ssh-ed25519 B ironhatch-node-pve1\n";
        fs::write(&file, format!("{ours}{other}{ours}")).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        for _ in 0..2 {
            drop_key(&file, "ironhatch-node-pve1").unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), other);
        }
        assert_eq!(fs::metadata(&file).unwrap().ino(), before);
    }
}
