//! One appliance with its machines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::{Lab, Node};
use crate::support::daemon::{Answer, Daemon};
use crate::support::machine::{self, Machine};

/// What the machine does, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Boot,
    Answer,
    Webhook,
    PhoneHome,
}

/// Something that is done with each node as it is installed.
type OnNode = Box<dyn FnMut(&Node) + Send + Sync>;

pub(crate) struct World<'a> {
    lab: &'a Lab,
    dir: tempfile::TempDir,
    pub(crate) daemon: Daemon,
    /// Told of each node as it is installed, before it calls back.
    pub(crate) on_node: Option<OnNode>,
    /// Rebuilds are asked for with the removal of a dead node of the same name.
    pub(crate) replace_node: bool,
}

impl<'a> World<'a> {
    pub(crate) fn start(lab: &'a Lab, more: &str) -> Self {
        Self::start_with(lab, "enabled = false\n", more)
    }

    /// The same with the keys of `[pxe]`.
    pub(crate) fn start_with(lab: &'a Lab, pxe: &str, more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("rebuild-").tempdir_in("/tmp").unwrap();
        let daemon = Daemon::start_with(dir.path(), pxe, more);
        Self { lab, dir, daemon, on_node: None, replace_node: false }
    }

    /// The same with more keys for `[server]`.
    pub(crate) fn start_serving(lab: &'a Lab, server: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("rebuild-").tempdir_in("/tmp").unwrap();
        let daemon = Daemon::start_serving(dir.path(), server);
        Self { lab, dir, daemon, on_node: None, replace_node: false }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn import_image(&mut self) {
        let iso: PathBuf = machine::iso(self.dir.path());
        let job = self.daemon.post("/api/images", &json!({ "source": iso }));
        self.daemon.wait_for_job(job["job"].as_str().unwrap(), "succeeded");
    }

    /// Registers a host, unless it is registered; returns its id.
    pub(crate) fn add_host(&mut self, name: &str, n: u8) -> String {
        let known = self.daemon.request("GET", &format!("/api/hosts/{name}"), None);
        if let Some(id) = known.body["id"].as_str().filter(|_| known.status == 200) {
            return id.to_owned();
        }
        let host = self.daemon.post(
            "/api/hosts",
            &json!({ "hostname": name, "macs": [Machine::new(n).mac], "server_type": "lab" }),
        );
        host["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn try_rebuild(&self, name: &str, confirm: &str) -> Answer {
        let body = json!({ "confirm": confirm, "replace_node": self.replace_node });
        self.daemon.request("POST", &format!("/api/hosts/{name}/rebuild"), Some(&body))
    }

    /// Asks for a rebuild; returns the job's id.
    pub(crate) fn rebuild(&self, name: &str) -> String {
        let answer = self.try_rebuild(name, name);
        assert!(answer.status < 300, "{answer:?}");
        answer.body["job"].as_str().unwrap().to_owned()
    }

    /// The cluster as soon as it is seen so: on a busy machine a member may not have told everything at the first look.
    pub(crate) fn cluster_until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let seen = self.daemon.get("/api/cluster");
            if is_so(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{seen:#}\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(crate) fn last_job(&self, host: &str) -> Value {
        let jobs = self.daemon.get("/api/jobs");
        let id = jobs["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|j| j["title"].as_str().unwrap().ends_with(host))
            .unwrap()["id"]
            .clone();
        self.daemon.get(&format!("/api/jobs/{}", id.as_str().unwrap()))
    }

    /// A whole rebuild; `at` is told each state once it is reached.
    pub(crate) fn rebuild_to_ready(
        &mut self,
        name: &str,
        last: u8,
        at: impl FnMut(&mut Self, &str),
    ) -> Node {
        let all = [Stage::Boot, Stage::Answer, Stage::Webhook, Stage::PhoneHome];
        self.rebuild_through(name, last, &all, at)
    }

    /// A rebuild in which the machine goes through these stages.
    pub(crate) fn rebuild_through(
        &mut self,
        name: &str,
        last: u8,
        stages: &[Stage],
        mut at: impl FnMut(&mut Self, &str),
    ) -> Node {
        let id = self.add_host(name, last);
        let machine = Machine::new(last);
        let job = self.rebuild(name);
        self.daemon.wait_for_state(name, "pxe_ready");
        at(self, "pxe_ready");
        let address = format!("192.0.2.{last}");
        let mut installed = None;
        let mut node: Option<Node> = None;
        for stage in stages {
            match stage {
                Stage::Boot => {
                    let script = machine.boot(self.dir.path());
                    assert!(script.text.contains(name), "{}", script.text);
                    self.daemon.wait_for_state(name, "pxe_booted");
                    at(self, "pxe_booted");
                }
                Stage::Answer => {
                    let taken = machine.install(&machine.answer_url(self.dir.path()));
                    let keys = taken.answer["global"]["root-ssh-keys"].as_array().unwrap();
                    let key = keys[0].as_str().unwrap();
                    let fresh = self.lab.installed(name, last, key);
                    if let Some(told) = &mut self.on_node {
                        told(&fresh);
                    }
                    node = Some(fresh);
                    installed = Some(taken);
                    self.daemon.wait_for_state(name, "installing");
                    at(self, "installing");
                }
                Stage::Webhook => {
                    let keys = node.as_ref().unwrap().host_keys();
                    let reply = machine.report(installed.as_ref().unwrap(), &address, &keys);
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    let state = self.daemon.get(&format!("/api/hosts/{name}"))["state"].clone();
                    if state == "installed" {
                        at(self, "installed");
                    }
                }
                Stage::PhoneHome => {
                    let keys = node.as_ref().unwrap().host_keys();
                    let token = &installed.as_ref().unwrap().token;
                    let reply = machine.phone_home(&id, token, &address, &keys);
                    assert_eq!(reply.status, 200, "{}", reply.text());
                }
            }
        }
        self.watch_the_join(name, &job, &mut at);
        self.daemon.wait_for_job(&job, "succeeded");
        self.daemon.wait_for_state(name, "ready");
        at(self, "ready");
        assert_eq!(self.daemon.get(&format!("/api/hosts/{name}"))["state"], "ready");
        node.unwrap()
    }

    /// Tells `first_boot` and `joining`, the latter at each of the join's steps.
    fn watch_the_join(&mut self, name: &str, job: &str, at: &mut impl FnMut(&mut Self, &str)) {
        let mut told = false;
        loop {
            let state = self.daemon.get(&format!("/api/hosts/{name}"))["state"].clone();
            match state.as_str().unwrap() {
                "ready" => return,
                "failed" => panic!(
                    "{:#}\n{}",
                    self.daemon.get(&format!("/api/jobs/{job}")),
                    self.daemon.log()
                ),
                state => {
                    let state = state.to_owned();
                    if !told {
                        // The join begins at once: the state after the phone-home may be seen too late.
                        at(self, "first_boot");
                        told = true;
                    }
                    if state == "joining" {
                        at(self, "joining");
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ephemeral key and the token are nowhere any more: not on the nodes, not in the database, not in the log.
    pub(crate) fn assert_no_secret_left(&self, host: &str, nodes: &[&Node]) {
        let job = self.last_job(host);
        let public = job["public_key"].as_str().expect("the job tells its public key").to_owned();
        let body = public.split(' ').nth(1).unwrap();
        for node in nodes {
            let left = node.sh(&format!(
                "grep -rlF -- '{body}' /root /etc /run /var/lib 2>/dev/null; ls /root/.ssh/authorized_keys2 2>/dev/null"
            ));
            assert_eq!(left, "", "the ephemeral key of {host} is still on a node");
        }
        let log = self.daemon.log();
        assert!(!log.contains("PRIVATE KEY"), "{log}");
        let secrets = self.dir.path().join("check.redb");
        let answer =
            self.daemon.request("POST", "/api/db/backup", Some(&json!({ "path": secrets })));
        assert!(answer.status < 300, "{answer:?}");
        let names = sealed_names(&secrets);
        let _ = std::fs::remove_file(&secrets);
        let id = job["id"].as_str().unwrap();
        assert!(!names.iter().any(|n| n.contains(id)), "sealed secrets are left: {names:?}");
    }
}

/// Names of the sealed secrets in a backup.
fn sealed_names(backup: &Path) -> Vec<String> {
    let database = redb::Database::open(backup).unwrap();
    let read = redb::ReadableDatabase::begin_read(&database).unwrap();
    let table: redb::ReadOnlyTable<&[u8], &[u8]> =
        read.open_table(redb::TableDefinition::new("secrets")).unwrap();
    redb::ReadableTable::iter(&table)
        .unwrap()
        .map(|entry| String::from_utf8_lossy(entry.unwrap().0.value()).into_owned())
        .collect()
}
