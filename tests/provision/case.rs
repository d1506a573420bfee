//! One case: an app with some inputs goes through its whole life in a container.
//!
//! ```text
//!  boot ─ install ─ health ─ verify ─ the same once more ─ reboot ─ health ─ verify ─ upgrade ─ health ─ outputs ─ uninstall
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ironhatch::domain::app::{Feature, HealthCheck, HealthKind};
use ironhatch::plan::guest::outputs::{collect, facts};
use ironhatch::plan::guest::provision::{self, FACTS, Phase, STAGE};
use serde::Deserialize;

use crate::app::{App, PLANTED};
use crate::bench::Bench;
use crate::container::{Container, GUEST, Run, guest};

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
    pub(crate) inputs: BTreeMap<String, toml::Value>,
    /// Bash that runs in the container after a successful health check, with the variables of the app's scripts and with
    /// `PLANTED`, the value of all secrets. `not COMMAND` is a command that must fail.
    pub(crate) verify: String,
}

impl Case {
    /// Reads all cases, in the order of their names.
    pub(crate) fn all(dir: &Path) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(dir).context("folder of the cases")? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let mut case: Self =
                toml::from_str(&text).with_context(|| path.display().to_string())?;
            case.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cases.push(case);
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    /// Runs it.
    pub(crate) fn run(&self, bench: &Bench<'_>) -> Result<()> {
        let app = App::read(&self.app, &self.inputs)?;
        bench.with_tree(&self.app, || Life { case: self, app: &app, bench }.whole())
    }
}

struct Life<'a> {
    case: &'a Case,
    app: &'a App,
    bench: &'a Bench<'a>,
}

impl Life<'_> {
    fn whole(&self) -> Result<()> {
        let container = self.boot().context("boot")?;
        let facts = self.phase(&container, Phase::Install).context("install")?;
        self.well(&container)?;
        if self.app.folder.manifest.provision.retry_safe {
            self.phase(&container, Phase::Install).context("install again")?;
            self.well(&container).context("after installing again")?;
        }
        container.shut_down().context("shut down")?;
        let container = self.boot().context("boot again")?;
        self.well(&container).context("after a reboot")?;
        self.phase(&container, Phase::Upgrade).context("upgrade")?;
        self.well(&container).context("after the upgrade")?;
        self.outputs(&facts).context("outputs")?;
        if self.app.folder.manifest.provision.uninstall.is_some() {
            self.phase(&container, Phase::Uninstall).context("uninstall")?;
        }
        Ok(())
    }

    fn boot(&self) -> Result<Container> {
        self.bench.head("Boot");
        self.bench.boot(self.app.guest.spec.features.contains(&Feature::Keyctl))
    }

    fn note(&self, line: &str) {
        self.bench.note(line);
    }

    /// Pushes what a phase needs, runs its programs, takes everything away again; returns what the scripts found out.
    fn phase(&self, container: &Container, phase: Phase) -> Result<BTreeMap<String, String>> {
        self.push(container, phase)?;
        for run in self.app.runs(phase)? {
            self.program(container, &run)?;
        }
        let (_, written) = container.output(&["cat", FACTS])?;
        self.tidy(container)?;
        Ok(facts(written.as_bytes()))
    }

    fn push(&self, container: &Container, phase: Phase) -> Result<()> {
        for file in self.app.files(phase)? {
            let bytes = self.app.bytes(&file.content)?;
            container.push(&file.path, u32::from(file.mode.bits()), bytes)?;
        }
        Ok(())
    }

    fn tidy(&self, container: &Container) -> Result<()> {
        match container.output(&["rm", "-rf", "--", STAGE])? {
            (0, _) => Ok(()),
            (_, said) => bail!("{STAGE} cannot be removed: {said}"),
        }
    }

    fn program(&self, container: &Container, run: &provision::Run) -> Result<()> {
        self.bench.head(&run.title);
        let env: Vec<(String, String)> = run.env.clone().into_iter().collect();
        let mut argv: Vec<&str> = run.argv.iter().map(String::as_str).collect();
        if let Some(user) = &run.user {
            argv.splice(0..0, ["/usr/sbin/runuser", "-u", user, "--"]);
        }
        let mut leaked = false;
        let limit = Duration::from_secs(u64::from(run.timeout_sec));
        let status =
            container.run(&Run { argv: &argv, env: &env, input: b"", limit }, &mut |line| {
                // However it was quoted, its first word shows.
                leaked |= line.contains("planted");
                self.note(line);
            })?;
        if leaked {
            bail!("{}: a secret is in the log", run.title);
        }
        match status {
            Some(0) => Ok(()),
            Some(status) => bail!("{}: exit status {status}", run.title),
            None => bail!("{}: not done after {} s", run.title, run.timeout_sec),
        }
    }

    /// Health check, then the case's own look.
    fn well(&self, container: &Container) -> Result<()> {
        self.healthy(container).context("health check")?;
        self.verify(container).context("verify")
    }

    fn healthy(&self, container: &Container) -> Result<()> {
        let check = self.app.folder.manifest.healthcheck.as_ref();
        let check = check.context("an app without a health check cannot be exercised")?;
        let started = Instant::now();
        self.push(container, Phase::Check)?;
        while let Err(why) = self.look(container, check) {
            if started.elapsed() > Duration::from_secs(u64::from(check.timeout_sec)) {
                return Err(why.context(format!("not healthy within {} s", check.timeout_sec)));
            }
            std::thread::sleep(Duration::from_secs(u64::from(check.interval_sec)));
        }
        self.bench.head("Healthy");
        self.tidy(container)?;
        if self.app.guest.spec.monitored {
            container.outside(|| connect(9100))?.context("node exporter")?;
        }
        Ok(())
    }

    fn look(&self, container: &Container, check: &HealthCheck) -> Result<()> {
        match &check.kind {
            HealthKind::Tcp { port } => {
                container.outside(|| connect(*port))??;
            }
            HealthKind::Http { port, path, status } => {
                let code = container.outside(|| get(*port, path))??;
                let good = match status.as_slice() {
                    [] => (200..400).contains(&code),
                    codes => codes.contains(&code),
                };
                if !good {
                    bail!("{path} on port {port} answers with status {code}");
                }
            }
            HealthKind::Command { .. } => {
                for run in self.app.runs(Phase::Check)? {
                    self.program(container, &run)?;
                }
            }
        }
        Ok(())
    }

    fn verify(&self, container: &Container) -> Result<()> {
        self.bench.head("Verify");
        let script = format!("set -euo pipefail\nnot() {{ ! \"$@\"; }}\n{}", self.case.verify);
        let env = provision::environment(&self.app.subject(), Phase::Check);
        let mut env: Vec<_> = env.map_err(anyhow::Error::msg)?.into_iter().collect();
        env.push(("PLANTED".to_owned(), PLANTED.to_owned()));
        let limit = Duration::from_secs(180);
        let run = Run { argv: &["bash", "-x", "-c", &script], env: &env, input: b"", limit };
        match container.run(&run, &mut |line| self.note(line))? {
            Some(0) => Ok(()),
            status => bail!("ended with {status:?}"),
        }
    }

    fn outputs(&self, facts: &BTreeMap<String, String>) -> Result<()> {
        for found in collect(&self.app.subject(), &self.app.secrets, facts)? {
            let shown = found.value.unwrap_or_else(|| "(secret)".to_owned());
            if shown.trim().is_empty() || shown.contains("planted") {
                bail!("{} is \"{shown}\"", found.key);
            }
            self.note(&format!("{}: {shown}", found.label));
        }
        Ok(())
    }
}

/// Longest wait for one answer; the manifest says how often is asked.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&guest(port), ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    Ok(stream)
}

/// The status code that a path answers with.
fn get(port: u16, path: &str) -> Result<u16> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {GUEST}:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer);
    head.split_whitespace().nth(1).and_then(|c| c.parse().ok()).context("no HTTP answer")
}
