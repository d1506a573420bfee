//! Where one test happens: its copy of the tree, its containers, its log.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::app::LIBRARY;
use crate::container::{Container, MIRROR_PORT, OUTSIDE, Run};
use crate::mirror::Mirror;
use crate::root::{Root, remove};

/// Everything that a test works with.
pub(crate) struct Bench<'a> {
    pub(crate) root: &'a Root,
    pub(crate) mirror: &'a Arc<Mirror>,
    /// Folder for this test's copy of the tree.
    pub(crate) tree: PathBuf,
    /// What the operator would see.
    pub(crate) log: PathBuf,
    /// Name of the container on this machine.
    pub(crate) machine: String,
    /// When it began.
    pub(crate) started: Instant,
}

impl Bench<'_> {
    /// Makes the copy, does something with it, and removes it.
    pub(crate) fn with_tree(
        &self,
        hostname: &str,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let _ = std::fs::remove_file(&self.log);
        self.root.copy(&self.tree, hostname, self.mirror)?;
        let done = work();
        remove(&self.tree)?;
        done
    }

    /// Boots the copy with the mirror on the other end of its cable. `keyring`: as with the feature `keyctl`.
    pub(crate) fn boot(&self, keyring: bool) -> Result<Container> {
        let console = self.log.with_extension("console");
        let container = Container::boot(&self.tree, &self.machine, keyring, &console)?;
        let listener = container.outside(|| TcpListener::bind((OUTSIDE, MIRROR_PORT)))??;
        self.mirror.serve(listener);
        Ok(container)
    }

    /// Adds a line to the log.
    pub(crate) fn note(&self, line: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        // A log that cannot be written is seen when somebody wants to read it.
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }

    /// Adds a heading to the log, with the seconds so far.
    pub(crate) fn head(&self, title: &str) {
        self.note(&format!("[{:3} s] {title}", self.started.elapsed().as_secs()));
    }

    /// Tries the helper library by itself; `library.sh` says what it must do.
    pub(crate) fn library(&self) -> Result<()> {
        self.with_tree("library", || {
            let container = self.boot(false).context("boot")?;
            let inputs = br#"{
                "text": "a \"b\" \\ \/ c\td \u00e4\ud83d\ude00 $HOME `id`",
                "number": 8080, "flag" : true, "empty": "", "none": null
            }"#;
            container.push("/opt/appstore/inputs.json", 0o600, inputs)?;
            container.push("/opt/appstore/lib.sh", 0o644, LIBRARY)?;
            container.push("/opt/appstore/library.sh", 0o755, TRIAL)?;
            let limit = Duration::from_secs(300);
            let argv = ["bash", "/opt/appstore/library.sh"];
            let run = Run { argv: &argv, env: &[], input: b"", limit };
            match container.run(&run, &mut |line| self.note(line))? {
                Some(0) => Ok(()),
                status => bail!("ended with {status:?}"),
            }
        })
    }
}

const TRIAL: &[u8] = include_bytes!("library.sh");
