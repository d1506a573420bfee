//! One case: an app with some inputs, installed as the daemon installs it, then looked at, repeated, rebooted, upgraded.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ironhatch::domain::app::{HealthCheck, HealthKind};
use serde::Deserialize;

use crate::container::{Container, GUEST, MIRROR_PORT, OUTSIDE, Run, guest};
use crate::mirror::Mirror;
use crate::root::Root;

/// What a file below `cases/` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Name of the file without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    /// The app.
    pub(crate) app: String,
    /// Inputs that differ from the manifest's defaults.
    #[serde(default)]
    inputs: BTreeMap<String, toml::Value>,
    /// Bash that runs in the container after each successful health check, with `PLANTED`, the value of all secrets.
    verify: String,
}

/// Value of every secret input. Odd on purpose: what quotes badly shows here. It must not turn up in any log.
const PLANTED: &str = "planted \"secret\" 'of' $HOME \\n `id` %s & äö";

/// Runs one case; every line that the operator would see goes to `log`.
pub(crate) fn run(
    case: &Case,
    root: &Root,
    mirror: &std::sync::Arc<Mirror>,
    place: &Place<'_>,
) -> Result<()> {
    let subject = crate::subject::read(&case.app, &case.inputs, PLANTED)?;
    let tree = place.cache.join("trees").join(&case.name);
    let done = Stage { case, subject: &subject, log: &place.log }.whole(root, mirror, &tree, place);
    crate::root::remove(&tree)?;
    done
}

/// Where a case keeps its things.
pub(crate) struct Place<'a> {
    pub(crate) cache: &'a Path,
    pub(crate) log: std::path::PathBuf,
    pub(crate) machine: String,
}

struct Stage<'a> {
    case: &'a Case,
    subject: &'a crate::subject::Subject,
    log: &'a Path,
}

impl Stage<'_> {
    fn whole(
        &self,
        root: &Root,
        mirror: &std::sync::Arc<Mirror>,
        tree: &Path,
        place: &Place<'_>,
    ) -> Result<()> {
        root.copy(tree, &self.case.app, mirror)?;
        let console = place.log.with_extension("console");
        let boot = || -> Result<Container> {
            let features = format!("{:?}", self.subject.raw["lxc"]["defaults"].get("features"));
            let container =
                Container::boot(tree, &place.machine, features.contains("keyctl"), &console)?;
            let listener =
                container.outside(|| std::net::TcpListener::bind((OUTSIDE, MIRROR_PORT)))??;
            mirror.serve(listener);
            Ok(container)
        };
        let container = boot().context("boot")?;
        self.provision(&container).context("provision")?;
        self.healthy(&container).context("health check")?;
        self.verify(&container).context("verify")?;
        self.provision(&container).context("provision again")?;
        self.healthy(&container).context("health check after the repetition")?;
        container.shut_down().context("shut down")?;
        let container = boot().context("boot again")?;
        self.healthy(&container).context("health check after a reboot")?;
        self.verify(&container).context("verify after a reboot")?;
        let upgrade = "provision/upgrade.sh";
        if self.subject.dir.join(upgrade).exists() {
            self.push(&container)?;
            self.script(&container, upgrade).context("upgrade")?;
            self.healthy(&container).context("health check after the upgrade")?;
        }
        Ok(())
    }

    fn note(&self, line: &str) -> Result<()> {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.log)?;
        writeln!(file, "{line}")?;
        Ok(())
    }

    fn push(&self, container: &Container) -> Result<()> {
        container.push(
            "/opt/appstore/inputs.json",
            0o600,
            serde_json::to_string(&self.subject.inputs)?.as_bytes(),
        )?;
        container.push(
            "/opt/appstore/lib.sh",
            0o644,
            &std::fs::read(self.subject.dir.join("../lib.sh"))?,
        )?;
        push_tree(container, &self.subject.dir, "")?;
        Ok(())
    }

    fn provision(&self, container: &Container) -> Result<()> {
        self.push(container)?;
        let p = &self.subject.raw["provision"];
        if let Some(packages) = p.get("packages").and_then(|p| p.as_array()) {
            self.command(container, &["apt-get", "update", "-qq"], &[])?;
            let mut argv = vec![
                "apt-get",
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "-o",
                "Dpkg::Use-Pty=0",
            ];
            argv.extend(packages.iter().filter_map(|p| p.as_str()));
            self.command(container, &argv, &[])?;
        }
        if let Some(script) = p.get("script").and_then(|p| p.as_str()) {
            self.script(container, script)?;
        }
        for unit in p.get("services").and_then(|p| p.as_array()).into_iter().flatten() {
            self.command(
                container,
                &["systemctl", "enable", "--now", unit.as_str().unwrap()],
                &[],
            )?;
        }
        Ok(())
    }

    fn env(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = vec![
            ("APP_ID".into(), self.case.app.clone()),
            ("APP_VERSION".into(), "1.0.0".into()),
            ("GUEST_NAME".into(), self.case.app.clone()),
            ("GUEST_IP".into(), GUEST.to_string()),
        ];
        for (k, v) in &self.subject.inputs {
            if !self.subject.secrets.contains(k) {
                let v = match v {
                    serde_json::Value::String(s) => s.clone(),
                    o => o.to_string(),
                };
                env.push((format!("INPUT_{}", k.to_uppercase()), v));
            }
        }
        env.push(("SERVER_NAME".into(), String::new()));
        env
    }

    fn script(&self, container: &Container, script: &str) -> Result<()> {
        let path = format!("/opt/appstore/{script}");
        self.command(container, &["bash", &path], &self.env())
    }

    fn command(
        &self,
        container: &Container,
        argv: &[&str],
        env: &[(String, String)],
    ) -> Result<()> {
        let mut leaked = false;
        self.note(&format!("$ {}", argv.join(" ")))?;
        let run = Run { argv, env, input: b"", limit: Duration::from_secs(600) };
        let status = container.run(&run, &mut |line| {
            leaked |= line.contains(PLANTED) || line.contains("planted");
            let _ = self.note(line);
        })?;
        if leaked {
            bail!("a secret is in the log");
        }
        match status {
            Some(0) => Ok(()),
            other => bail!("{} ended with {other:?}", argv.join(" ")),
        }
    }

    fn healthy(&self, container: &Container) -> Result<()> {
        let Some(check) = &self.subject.health else { return Ok(()) };
        if let HealthKind::Command { script } = &check.kind {
            self.push(container)?;
            let _ = script;
        }
        let started = Instant::now();
        loop {
            let now = self.look(container, check);
            match now {
                Ok(()) => {
                    self.note(&format!("healthy after {:.1} s", started.elapsed().as_secs_f32()))?;
                    return Ok(());
                }
                Err(why) if started.elapsed().as_secs() >= u64::from(check.timeout_sec) => {
                    return Err(why.context("not healthy in time"));
                }
                Err(_) => std::thread::sleep(Duration::from_secs(u64::from(check.interval_sec))),
            }
        }
    }

    fn look(&self, container: &Container, check: &HealthCheck) -> Result<()> {
        match &check.kind {
            HealthKind::Tcp { port } => {
                container.outside(|| {
                    TcpStream::connect_timeout(&guest(*port), Duration::from_secs(5))
                })??;
                Ok(())
            }
            HealthKind::Http { port, path, status } => {
                let code = container.outside(|| get(*port, path))??;
                let fine = if status.is_empty() {
                    (200..400).contains(&code)
                } else {
                    status.contains(&code)
                };
                if fine { Ok(()) } else { bail!("port {port}{path} answers with status {code}") }
            }
            HealthKind::Command { script } => self.script(container, script),
        }
    }

    fn verify(&self, container: &Container) -> Result<()> {
        let mut env = self.env();
        env.push(("PLANTED".into(), PLANTED.into()));
        self.note("$ verify")?;
        let script = format!("set -eu\n{}", self.case.verify);
        let run = Run {
            argv: &["bash", "-s"],
            env: &env,
            input: script.as_bytes(),
            limit: Duration::from_secs(180),
        };
        match container.run(&run, &mut |line| {
            let _ = self.note(line);
        })? {
            Some(0) => Ok(()),
            other => bail!("ended with {other:?}"),
        }
    }
}

fn get(port: u16, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&guest(port), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {GUEST}:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer);
    head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).context("no HTTP answer")
}

fn push_tree(container: &Container, dir: &Path, below: &str) -> Result<()> {
    for entry in std::fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            push_tree(container, dir, &format!("{name}/"))?;
        } else if name.contains('/') {
            container.push(
                &format!("/opt/appstore/{name}"),
                0o755,
                &std::fs::read(entry.path())?,
            )?;
        }
    }
    Ok(())
}
