//! What the double's cluster consists of besides its files: storages, tasks, and what tests told it to do wrong.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Access, Pool};
use super::files::{Conf, Files};
use super::schema::Schema;
use super::{Appliance, Scripted, Seen, Storage};
use crate::proto::pve::Upid;

/// Everything, behind one lock.
#[derive(Debug)]
pub(super) struct World {
    pub(super) files: Files,
    pub(super) schema: Option<Schema>,
    pub(super) nodes: Vec<Node>,
    pub(super) storages: Vec<Storage>,
    pub(super) bridges: Vec<String>,
    pub(super) appliances: Vec<Appliance>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) tasks: Vec<Task>,
    pub(super) quorate: bool,
    pub(super) release: String,
    /// How long tasks take.
    pub(super) task_time: Duration,
    pub(super) denied_delay: Duration,
    pub(super) addresses: BTreeMap<u32, Ipv4Addr>,
    pub(super) scripts: VecDeque<Scripted>,
    /// Kind of task and the text that it will end with.
    pub(super) task_faults: VecDeque<(String, String)>,
    pub(super) seen: Vec<Seen>,
    pub(super) problems: Vec<String>,
    counter: u32,
}

/// A member.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) up: bool,
    pub(super) fingerprint: [u8; 32],
}

/// Something on a storage.
#[derive(Debug, Clone, Default)]
pub(super) struct Volume {
    pub(super) storage: String,
    /// `vztmpl`, `rootdir` or `backup`.
    pub(super) content: &'static str,
    pub(super) format: String,
    pub(super) size: u64,
    pub(super) vmid: Option<u32>,
    pub(super) notes: String,
    pub(super) protected: bool,
    pub(super) made: i64,
    /// What a backup was made of.
    pub(super) conf: Option<Conf>,
}

/// What a task does at its end: lines for its log, or why it failed.
pub(super) type Effect = Box<dyn FnOnce(&mut World) -> Result<Vec<String>, String> + Send>;
/// What is taken back when it fails.
pub(super) type Undo = Box<dyn FnOnce(&mut World) + Send>;

/// A task.
pub(super) struct Task {
    pub(super) upid: Upid,
    ends: Instant,
    pub(super) log: Vec<String>,
    /// Its exit status; `None`: it runs.
    pub(super) exit: Option<String>,
    pub(super) ended: i64,
    effect: Option<(Effect, Undo)>,
    fault: Option<String>,
    /// The node forgot it.
    pub(super) lost: bool,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.upid, self.exit)
    }
}

/// No success.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) errors: BTreeMap<String, String>,
}

/// Answer of a call: its data, or why not.
pub(super) type Outcome = Result<Value, Refusal>;

/// Status 500 with a sentence.
pub(super) fn refuse(text: impl Into<String>) -> Refusal {
    Refusal { status: 500, text: text.into(), errors: BTreeMap::new() }
}
/// Status 403 for a privilege on a path.
pub(super) fn denied(path: &str, privilege: &str) -> Refusal {
    forbidden(&format!("Permission check failed ({path}, {privilege})"))
}
/// Status 403 for what only `root@pam` itself may do.
pub(super) fn root_only(what: &str) -> Refusal {
    forbidden(&format!("Permission check failed ({what} is only allowed for root@pam)"))
}
/// Status 403.
pub(super) fn forbidden(text: &str) -> Refusal {
    Refusal { status: 403, text: text.to_owned(), errors: BTreeMap::new() }
}
/// Status 400 for one parameter.
pub(super) fn invalid(key: &str, text: &str) -> Refusal {
    invalid_all(BTreeMap::from([(key.to_owned(), text.to_owned())]))
}
/// Status 400.
pub(super) fn invalid_all(errors: BTreeMap<String, String>) -> Refusal {
    Refusal { status: 400, text: "Parameter verification failed.".to_owned(), errors }
}

/// One call: who, what, with which parameters.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) token: String,
    pub(super) access: Access,
    /// Variables of the path.
    pub(super) vars: BTreeMap<&'static str, String>,
    pub(super) params: BTreeMap<String, String>,
}

impl Request {
    /// A variable of the path.
    pub(super) fn var(&self, name: &str) -> &str {
        self.vars.get(name).map(String::as_str).unwrap_or_default()
    }
    /// The node of the path.
    pub(super) fn node(&self) -> &str {
        self.var("node")
    }
    /// The guest's number in the path.
    pub(super) fn vmid(&self) -> u32 {
        self.var("vmid").parse().unwrap_or(0)
    }
    /// A parameter.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }
    /// A boolean parameter.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|t| t == "1" || t == "true")
    }
    /// A number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
    /// Whether the token has the privilege.
    pub(super) fn may(&self, path: &str, privilege: &str) -> bool {
        self.access.allows(&self.token, path, privilege)
    }
    /// Refuses a token without the privilege.
    pub(super) fn need(&self, path: &str, privilege: &str) -> Result<(), Refusal> {
        if self.may(path, privilege) { Ok(()) } else { Err(denied(path, privilege)) }
    }
}

impl World {
    pub(super) fn new(root: &Path, nodes: Vec<Node>, schema: Option<Schema>) -> Self {
        let names: Vec<String> = nodes.iter().map(|n| n.name.clone()).collect();
        Self {
            files: Files::open(root, &names),
            schema,
            nodes,
            storages: Vec::new(),
            bridges: vec!["vmbr0".to_owned()],
            appliances: Vec::new(),
            volumes: BTreeMap::new(),
            tasks: Vec::new(),
            quorate: true,
            release: "9.2.11".to_owned(),
            task_time: Duration::from_millis(20),
            denied_delay: Duration::ZERO,
            addresses: BTreeMap::new(),
            scripts: VecDeque::new(),
            task_faults: VecDeque::new(),
            seen: Vec::new(),
            problems: Vec::new(),
            counter: 0x250,
        }
    }

    /// Seconds since 1970.
    pub(super) fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// A number that was not given before.
    pub(super) fn draw(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn is_up(&self, node: &str) -> bool {
        self.nodes.iter().any(|n| n.name == node && n.up)
    }

    pub(super) fn is_older_than(&self, major: u32, minor: u32) -> bool {
        crate::proto::pve::PveVersion::parse(&self.release)
            .is_some_and(|release| !release.is_at_least(major, minor))
    }

    pub(super) fn storage(&self, name: &str) -> Option<&Storage> {
        self.storages.iter().find(|s| s.name == name)
    }

    /// A container's file on the node of the path, or the cluster's words for there being none.
    pub(super) fn conf(&self, node: &str, vmid: u32) -> Result<Conf, Refusal> {
        self.files.conf(node, vmid).ok_or_else(|| {
            refuse(format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"))
        })
    }

    /// Changes a container's file, when it is still there.
    pub(super) fn edit_conf(&self, node: &str, vmid: u32, edit: impl FnOnce(&mut Conf)) {
        if let Some(mut conf) = self.files.conf(node, vmid) {
            edit(&mut conf);
            self.files.write_conf(node, vmid, &conf);
        }
    }

    /// Sets or removes a container's lock.
    pub(super) fn set_lock(&self, node: &str, vmid: u32, lock: Option<&str>) {
        self.edit_conf(node, vmid, |conf| {
            conf.now.raw.remove("lock");
            conf.now.raw.extend(lock.map(|l| ("lock".to_owned(), l.to_owned())));
        });
    }

    /// Changes a pool.
    pub(super) fn edit_pool(&self, name: &str, edit: impl FnOnce(&mut Pool)) {
        let text = self.files.user_cfg();
        let mut pool = Access::read(&text).pools.get(name).cloned().unwrap_or_default();
        edit(&mut pool);
        self.files.write_user_cfg(&Access::with_pool(&text, name, &pool));
    }

    /// Starts a task and gives its name.
    pub(super) fn start_task(
        &mut self,
        request: &Request,
        node: &str,
        kind: &str,
        id: &str,
        (effect, undo): (Effect, Undo),
    ) -> Outcome {
        let pid = self.draw();
        let start = u32::try_from(Self::now()).unwrap_or(0);
        let ticks = 0x0008_0000 + u64::from(pid) * 16;
        let upid = Upid::new(node, (pid, ticks), start, kind, id, &request.token)
            .expect("the parts of a task were checked");
        let at = self.task_faults.iter().position(|(k, _)| k == kind);
        let fault = at.and_then(|at| self.task_faults.remove(at)).map(|(_, text)| text);
        let name = upid.to_string();
        self.tasks.push(Task {
            upid,
            ends: Instant::now() + self.task_time,
            log: Vec::new(),
            exit: None,
            ended: 0,
            effect: Some((effect, undo)),
            fault,
            lost: false,
        });
        Ok(json!(name))
    }

    /// Ends the tasks whose time has come, in the order in which they started.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        for index in 0..self.tasks.len() {
            let Some(task) = self.tasks.get_mut(index) else { continue };
            if task.exit.is_some() || now < task.ends {
                continue;
            }
            let Some((effect, undo)) = task.effect.take() else { continue };
            let result = match task.fault.take() {
                Some(text) => Err(text),
                None => effect(self),
            };
            if result.is_err() {
                undo(self);
            }
            self.end(index, result);
        }
    }

    /// Ends a task from outside.
    pub(super) fn kill(&mut self, index: usize) {
        let Some(task) = self.tasks.get_mut(index) else { return };
        if task.exit.is_some() {
            return;
        }
        if let Some((_, undo)) = task.effect.take() {
            undo(self);
        }
        self.end(index, Err("received interrupt".to_owned()));
    }

    fn end(&mut self, index: usize, result: Result<Vec<String>, String>) {
        let Some(task) = self.tasks.get_mut(index) else { return };
        let exit = match result {
            Ok(lines) => {
                task.log.extend(lines);
                task.log.push("TASK OK".to_owned());
                "OK".to_owned()
            }
            Err(text) => {
                // A worker that was killed leaves no last line.
                if text.starts_with("WARNINGS: ") {
                    task.log.push(format!("TASK {text}"));
                } else if text != crate::proto::pve::task::UNEXPECTED {
                    task.log.push(format!("TASK ERROR: {text}"));
                }
                text
            }
        };
        task.exit = Some(exit);
        task.ended = Self::now();
    }

    /// Makes a volume for a guest and gives its id, as the storage's kind names it.
    pub(super) fn allocate(
        &mut self,
        storage: &str,
        vmid: u32,
        size: u64,
    ) -> Result<String, String> {
        let found = self.storage(storage).ok_or(format!("storage '{storage}' does not exist"))?;
        let kind = found.kind.clone();
        let id = (0..)
            .map(|n| match kind.as_str() {
                "dir" | "nfs" | "cifs" => format!("{storage}:{vmid}/vm-{vmid}-disk-{n}.raw"),
                "zfspool" | "btrfs" => format!("{storage}:subvol-{vmid}-disk-{n}"),
                _ => format!("{storage}:vm-{vmid}-disk-{n}"),
            })
            .find(|id| !self.volumes.contains_key(id))
            .expect("numbers do not run out");
        let volume = Volume {
            storage: storage.to_owned(),
            content: "rootdir",
            format: if kind == "zfspool" { "subvol" } else { "raw" }.to_owned(),
            size,
            vmid: Some(vmid),
            made: Self::now(),
            ..Volume::default()
        };
        self.volumes.insert(id.clone(), volume);
        Ok(id)
    }
}

/// Nothing to take back.
pub(super) fn no_undo() -> Undo {
    Box::new(|_| {})
}
