//! The Debian package in a Debian container with systemd: made twice with the same bytes, installed over an older version whose
//! database has the previous schema, run inside its sandbox, removed and purged. `package.sh` says what must hold inside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::bench::Bench;
use crate::container::Run;
use crate::mirror::output;

/// A program in the place of an older one: it says that it is ready, and waits.
const OLDER: &str = "#!/bin/sh\ncase \" $* \" in *' serve '*) systemd-notify --ready; exec sleep infinity ;; esac\n";
/// Time of the files in the package; any fixed one.
const EPOCH: &str = "1760000000";

impl Bench<'_> {
    /// Builds the packages and takes one through its life.
    pub(crate) fn package(&self) -> Result<()> {
        self.with_tree("appliance", || {
            let inside = self.tree.join("root/package");
            std::fs::create_dir_all(&inside)?;
            self.build(&inside)?;
            write_database(&inside.join("v1.redb"))?;
            let container = self.boot(false).context("boot")?;
            let trial = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision/package.sh");
            container.push("/root/package/package.sh", 0o755, &std::fs::read(trial)?)?;
            let run = Run {
                argv: &["bash", "/root/package/package.sh", env!("CARGO_PKG_VERSION")],
                env: &[],
                input: b"",
                limit: Duration::from_secs(600),
            };
            match container.run(&run, &mut |line| self.note(line))? {
                Some(0) => Ok(()),
                status => bail!("ended with {status:?}"),
            }
        })
    }

    /// The package of this program and one of an older version, into `folder`.
    fn build(&self, folder: &Path) -> Result<()> {
        let work = self.tree.join("tmp/build");
        std::fs::create_dir_all(&work)?;
        let program = work.join("ironhatch");
        output("strip", &["-o", text(&program)?, env!("CARGO_BIN_EXE_ironhatch")])?;
        let version = env!("CARGO_PKG_VERSION");
        let bytes: Vec<Vec<u8>> = ["first", "second"]
            .iter()
            .map(|name| {
                let place = work.join(name);
                make_package(&program, &place, version)?;
                Ok(std::fs::read(place.join(format!("ironhatch_{version}_amd64.deb")))?)
            })
            .collect::<Result<_>>()?;
        if bytes.first() != bytes.last() {
            bail!("two packages of the same program differ");
        }
        self.note("ok: the same program gives the same package");
        self.image(&program)?;
        make_package(&program, folder, version)?;
        let older = work.join("older");
        std::fs::write(&older, OLDER)?;
        output("chmod", &["755", text(&older)?])?;
        make_package(&older, folder, "0.0.1")?;
        std::fs::remove_dir_all(&work)?;
        Ok(())
    }
}

impl Bench<'_> {
    /// The Containerfile builds without a registry, and the program runs in its image.
    fn image(&self, program: &Path) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("ironhatch-image-").tempdir()?;
        let (store, state) = (folder.path().join("store"), folder.path().join("state"));
        let buildah = |arguments: &[&str]| -> Result<String> {
            let paths = ["--root", text(&store)?, "--runroot", text(&state)?];
            let all: Vec<&str> = ["--storage-driver", "vfs"]
                .iter()
                .chain(&paths)
                .chain(arguments)
                .copied()
                .collect();
            output("buildah", &all)
        };
        let context = text(program.parent().context("no folder")?)?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Containerfile");
        let isolation = ["--isolation", "chroot", "--network", "host"];
        let bud = ["bud", "-t", "ironhatch", "-f", text(&file)?, context];
        let bud: Vec<&str> = bud[..1].iter().chain(&isolation).chain(&bud[1..]).copied().collect();
        buildah(&bud)?;
        let container = buildah(&["from", "ironhatch"])?;
        let run =
            ["run", "--isolation", "chroot", container.trim(), "--", "/ironhatch", "--version"];
        let said = buildah(&run)?;
        if said.trim() != format!("ironhatch {}", env!("CARGO_PKG_VERSION")) {
            bail!("the image's program says '{said}'");
        }
        buildah(&["rm", "--all"])?;
        self.note("ok: the Containerfile gives an image whose program runs");
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

fn make_package(program: &Path, folder: &Path, version: &str) -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(root.join(".ci/deb"))
        .args([program, folder])
        .arg(version)
        .current_dir(&root)
        .envs([("SOURCE_DATE_EPOCH", EPOCH), ("DEB_COMPRESSION", "none")])
        .output()
        .context(".ci/deb")?;
    if !made.status.success() {
        bail!(".ci/deb: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    Ok(())
}

/// A line of `fixtures/db/v1.jsonl`: keys and values are text, JSON or hex digits; without a key, an empty table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    key: Option<String>,
    hex_key: Option<String>,
    value: Option<serde_json::Value>,
    hex: Option<String>,
}

/// A database as the program with schema 1 wrote it: its tables, its records.
fn write_database(path: &Path) -> Result<()> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/db/v1.jsonl");
    let database = redb::Database::create(path)?;
    let txn = database.begin_write()?;
    for line in std::fs::read_to_string(fixture)?.lines() {
        let line: Line = serde_json::from_str(line)?;
        let definition = redb::TableDefinition::<&[u8], &[u8]>::new(&line.table);
        let mut table = txn.open_table(definition)?;
        let key = match (line.key, line.hex_key) {
            (Some(key), None) => key.into_bytes(),
            (None, Some(hex)) => unhex(&hex)?,
            (None, None) => continue,
            _ => bail!("a record has one key"),
        };
        let value = match (line.value, line.hex) {
            (Some(value), None) => serde_json::to_vec(&value)?,
            (None, Some(hex)) => unhex(&hex)?,
            _ => bail!("a record has one value"),
        };
        table.insert(key.as_slice(), value.as_slice())?;
    }
    txn.commit()?;
    Ok(())
}

fn unhex(digits: &str) -> Result<Vec<u8>> {
    (0..digits.len() / 2).map(|n| Ok(u8::from_str_radix(&digits[2 * n..2 * n + 2], 16)?)).collect()
}
