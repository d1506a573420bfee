//! The root channel's end on a node: one request from standard input, checked against the node's own files, carried out,
//! answered in frames on standard output.
//!
//! sshd starts it as the forced command of one key; whoever holds that key can send bytes and nothing else. What may be
//! touched stands on the command line, which is in root's `authorized_keys` and which a client cannot change. Each request
//! must pass, in this order: length, form, version, verb, arguments (all in `proto::verb`), then the guest's existence on
//! this node, pool and tag, then its state. No shell runs here, programs get argument lists and an empty environment.
//!
//! ```text
//!  sshd ── stdin ──► Input ─► decode_request ─► admit ─► guest_work / gpu / zpool ─► run ─► pct, zpool, nvidia-smi
//!       ◄─ stdout ── Output ◄──────────── frames ◄───────────────┘
//!                                └──► journal (verb, guest, outcome; never values)
//! ```
//!
//! It is synchronous: one request, then the process ends. When the client goes away the program in the guest is killed.

mod conf;
mod gpu;
mod guest_work;
mod input;
mod journal;
mod output;
mod revoke;
mod run;
mod zpool;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::domain::id::{NodeName, PoolId};
use crate::domain::vmid::{Tag, Vmid};
use crate::plan::join::brief;
use crate::proto::verb::{Answer, Frame, Malformed, Request, Rule, Verb, decode_request};

use conf::GuestConf;
use input::Input;
use output::Output;
use run::{Said, run_short};

/// Time that one short command of the node may take. `pct` alone takes one to two seconds.
const SHORT: Duration = Duration::from_secs(90);

/// What the node's side may touch and where it looks. All of it is fixed by the forced command.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct AgentConfig {
    /// The node that this key is for; on another one, which shares the cluster's keys, it opens nothing
    #[arg(long, value_name = "NAME")]
    pub node: Option<NodeName>,
    /// Pool that a guest must be in
    #[arg(long, value_name = "POOL")]
    pub pool: PoolId,
    /// Folder of this node that may be mounted into guests, with everything below it
    #[arg(long, value_name = "DIR")]
    pub bind_source: Vec<PathBuf>,
    /// ZFS pool that may be imported
    #[arg(long, value_name = "NAME")]
    pub zpool: Vec<String>,
    /// Where the cluster's configuration is
    #[arg(long, value_name = "DIR", default_value = "/etc/pve")]
    pub pve_dir: PathBuf,
    /// Where the kernel shows devices
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    pub sys_dir: PathBuf,
    /// Where the kernel shows drivers
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    pub proc_dir: PathBuf,
    /// Where device nodes and the log's socket are
    #[arg(long, value_name = "DIR", default_value = "/dev", hide = true)]
    pub dev_dir: PathBuf,
    /// Where pushed files wait for `pct`; memory, so that secrets in them reach no disk
    #[arg(long, value_name = "DIR", default_value = "/run", hide = true)]
    pub run_dir: PathBuf,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    /// Nothing was done.
    Refused(Rule, String),
    /// It was tried.
    Failed(String),
    /// Nobody listens any more; what ran was killed.
    Gone,
}

impl From<Malformed> for Stop {
    fn from(error: Malformed) -> Self {
        Self::Refused(error.rule, error.detail)
    }
}

fn refused(rule: Rule, detail: impl Into<String>) -> Stop {
    Stop::Refused(rule, detail.into())
}

fn failed(detail: impl Into<String>) -> Stop {
    Stop::Failed(detail.into())
}

/// Answers one request on standard input and output. Returns the exit code: 0 done, 1 failed, 3 refused.
#[must_use]
pub fn serve(config: &AgentConfig) -> u8 {
    let mut output = Output::stdout();
    let begun = Instant::now();
    let mut seen = None;
    let ended =
        Input::stdin().and_then(|mut input| answer(config, &mut input, &mut output, &mut seen));
    journal::note(&config.dev_dir, seen.as_ref(), &ended, begun.elapsed());
    let (frame, code) = match ended {
        Ok(status) => (Frame::Done { status }, 0),
        Err(Stop::Refused(rule, detail)) => {
            (Frame::Refused { rule: rule.as_str().to_owned(), detail }, 3)
        }
        Err(Stop::Failed(detail)) => (Frame::Failed { detail }, 1),
        Err(Stop::Gone) => return 1,
    };
    // Nobody may be listening: then there is nobody to tell.
    let _ = output.frame(&frame);
    code
}

fn answer(
    config: &AgentConfig,
    input: &mut Input,
    output: &mut Output,
    seen: &mut Option<Verb>,
) -> Result<i32, Stop> {
    let request = decode_request(&input.line()?)?;
    let guest = right_node(config).and_then(|()| admit(config, &request));
    let verb = &*seen.insert(request.verb);
    let mut agent = Agent { config, output };
    match guest? {
        Some(guest) => agent.guest_verb(verb, &guest, input),
        None => agent.node_verb(verb),
    }
}

/// The name of this node, as the cluster file system says it.
fn own_name(config: &AgentConfig) -> Result<String, Stop> {
    let local = std::fs::canonicalize(config.pve_dir.join("local"))
        .map_err(|_| absent("the node's own folder"))?;
    Ok(local.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())
}

fn right_node(config: &AgentConfig) -> Result<(), Stop> {
    match &config.node {
        Some(node) if own_name(config)? != node.as_str() => {
            Err(refused(Rule::Node, format!("this key is for the node {node}")))
        }
        _ => Ok(()),
    }
}

fn absent(what: &str) -> Stop {
    failed(format!(
        "{what} cannot be read: the node's cluster file system (pve-cluster) may be down"
    ))
}

/// A guest that passed the checks: it is on this node, in the pool, and carries the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Admitted {
    vmid: Vmid,
    conf: GuestConf,
}

/// Whether the guest of a request is ours. `None`: the request concerns no guest.
fn admit(config: &AgentConfig, request: &Request) -> Result<Option<Admitted>, Stop> {
    let Some(vmid) = request.verb.vmid() else {
        return Ok(None);
    };
    let users = conf::read(&config.pve_dir.join("user.cfg")).map_err(|_| absent("user.cfg"))?;
    if !config.pve_dir.join("local/lxc").is_dir() {
        return Err(absent("the node's own folder"));
    }
    let file = config.pve_dir.join(format!("local/lxc/{vmid}.conf"));
    let text = conf::read(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            refused(Rule::Guest, format!("there is no container {vmid} on this node"))
        }
        _ => failed(format!("the configuration of container {vmid} cannot be read: {error}")),
    })?;
    if !conf::pool_has(&users, &config.pool, vmid) {
        return Err(refused(
            Rule::Pool,
            format!("container {vmid} is not in the pool {}", config.pool),
        ));
    }
    let conf = GuestConf::parse(&text);
    if !Tag::list(conf.get("tags").unwrap_or_default()).contains(&Tag::managed()) {
        return Err(refused(
            Rule::Tag,
            format!("container {vmid} does not carry the tag {}", Tag::managed()),
        ));
    }
    Ok(Some(Admitted { vmid, conf }))
}

/// One request being carried out.
struct Agent<'a> {
    config: &'a AgentConfig,
    output: &'a mut Output,
}

impl Agent<'_> {
    /// Verbs that concern the node itself.
    fn node_verb(&mut self, verb: &Verb) -> Result<i32, Stop> {
        let answer = match verb {
            Verb::Hello => self.hello()?,
            Verb::Gpus => Answer::Gpu { report: gpu::report(self.config) },
            Verb::DriverCheck => {
                gpu::load_uvm(self.config);
                Answer::Gpu { report: gpu::report(self.config) }
            }
            Verb::ImportablePools => Answer::Pools { pools: zpool::importable()? },
            Verb::ImportPool { name, id, foreign } => {
                zpool::import(&self.config.zpool, name, *id, *foreign)?;
                return Ok(0);
            }
            Verb::Revoke => {
                revoke::revoke(self.config, &own_name(self.config)?)?;
                return Ok(0);
            }
            // `admit` gives a guest to every other verb; the compiler cannot know.
            _ => return Err(refused(Rule::Verb, format!("{} needs a guest", verb.name()))),
        };
        self.output.frame(&Frame::Answer(answer)).map_err(|_| Stop::Gone)?;
        Ok(0)
    }

    fn hello(&self) -> Result<Answer, Stop> {
        let said = run_short(&["pveversion"], SHORT)?.success("pveversion")?;
        let pve = said.lines().next().unwrap_or_default().trim().to_owned();
        let node = own_name(self.config)?;
        Ok(Answer::Hello {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pve,
            node,
            pool: self.config.pool.to_string(),
        })
    }
}

impl Said {
    /// Standard output of a program that ended with 0; else the failure with what it said.
    fn success(self, program: &str) -> Result<String, Stop> {
        if self.status == 0 { Ok(self.stdout) } else { Err(self.failure(program)) }
    }

    fn failure(&self, program: &str) -> Stop {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.trim().lines().collect();
        let last = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join("; ");
        failed(format!("{program} ended with status {}: {}", self.status, brief(&last)))
    }
}

#[cfg(test)]
mod test;
