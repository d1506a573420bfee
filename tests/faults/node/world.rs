//! The nodes of one life as values: what is in their files, who is in the cluster, and what `pvecm` would print.
//!
//! A model of what the programs of `plan::join::script` look at, by the behaviour that tests/lab/pvecm stands in for with
//! real files. Machines here cost microseconds, so that thousands of joins can be broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What the last line of a successful `pvecm add` says, and that of `pvecm create`.
const CREATED: &str = "Restart corosync and cluster filesystem";

/// The detached command of a join.
#[derive(Debug, Clone)]
pub(crate) enum Attempt {
    None,
    Running { kind: Kind, over: Instant },
    Ended { log: Vec<String>, status: i32 },
    Killed { log: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Add { member: String },
    Create { cluster: String },
}

/// Where the next `pvecm add` is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DieAt {
    /// The node has the cluster's key and its own file system is down.
    Stop,
    /// It is a member without a certificate.
    Certificate,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) address: String,
    /// Lines of `/root/.ssh/authorized_keys` while it is a plain file; `None` once it is the link into `/etc/pve`.
    pub(crate) plain_keys: Option<Vec<String>>,
    /// `/root/.ssh/authorized_keys2`.
    pub(crate) second_keys: Vec<String>,
    /// `/etc/pve/priv/authorized_keys` while it is alone.
    own_shared: Vec<String>,
    pub(crate) host_key: String,
    node_key: String,
    pub(crate) mounted: bool,
    pub(crate) authkey: bool,
    pub(crate) member: bool,
    certificate: bool,
    pub(crate) online: bool,
    pub(crate) attempt: Attempt,
    pub(crate) die_at: Option<DieAt>,
    /// How long its `pvecm` takes.
    pub(crate) pace: Duration,
    /// How often `pvecm add` came to its end here.
    pub(crate) joins: usize,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    machines: BTreeMap<String, Machine>,
    /// Name of the cluster; empty while there is none.
    pub(crate) cluster: String,
    /// Nodes of its configuration: id, name, address.
    members: Vec<(u32, String, String)>,
    shared: Vec<String>,
    expected: Option<usize>,
    /// Nodes with a certificate in the cluster's tree. It stays there when a machine is wiped.
    finished: BTreeSet<String>,
    epoch: u64,
}

/// What a command left.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) status: u32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn say(text: impl Into<String>) -> Self {
        Self { stdout: text.into(), ..Self::default() }
    }

    pub(crate) fn fail(status: u32, text: &str) -> Self {
        Self { status, stderr: format!("{text}\n"), ..Self::default() }
    }
}

impl World {
    /// A freshly installed machine that booted once, with these lines in its authorized_keys.
    pub(crate) fn install(&mut self, name: &str, address: &str, host_key: &str, keys: Vec<String>) {
        self.epoch += 1;
        let node_key = format!("ssh-rsa {} root@{name}", base64_like(name, self.epoch));
        self.machines.insert(
            address.to_owned(),
            Machine {
                name: name.to_owned(),
                address: address.to_owned(),
                plain_keys: Some(keys),
                second_keys: Vec::new(),
                own_shared: Vec::new(),
                host_key: host_key.to_owned(),
                node_key,
                mounted: true,
                authkey: false,
                member: false,
                certificate: true,
                online: false,
                attempt: Attempt::None,
                die_at: None,
                pace: Duration::from_millis(200),
                joins: 0,
            },
        );
    }

    /// A cluster of one machine that this key opens, made without the code under test.
    pub(crate) fn found(&mut self, name: &str, address: &str, host_key: &str, key: &str) {
        self.install(name, address, host_key, Vec::new());
        self.cluster = "lab".to_owned();
        self.members = vec![(1, name.to_owned(), address.to_owned())];
        self.shared = vec![key.to_owned()];
        self.finished.insert(name.to_owned());
        let machine = self.machines.get_mut(address).unwrap();
        machine.plain_keys = None;
        (machine.member, machine.authkey, machine.online) = (true, true, true);
        let own = machine.node_key.clone();
        self.shared.push(own);
    }

    pub(crate) fn machine(&mut self, address: &str) -> Option<&mut Machine> {
        self.machines.get_mut(address)
    }

    /// Switched off, as before a new installation: a member is missing from then on.
    pub(crate) fn power_off(&mut self, address: &str) {
        if let Some(machine) = self.machines.get_mut(address) {
            machine.online = false;
            if matches!(machine.attempt, Attempt::Running { .. }) {
                machine.attempt = Attempt::Killed { log: Vec::new() };
            }
        }
    }

    /// What the operator does where two or more members are off, because all of them are to be rebuilt, and the others lost
    /// their majority by it (`pvecm expected`): nothing could go on, and no fault would be to blame. With one that is off the
    /// appliance helps itself.
    pub(crate) fn keep_quorum(&mut self) {
        let online = self.online().len();
        if online > 0 && online + 2 <= self.members.len() && !self.quorate() {
            self.expected = Some(online);
        }
    }

    /// Whether sshd of this machine accepts a key with this base64 body.
    pub(crate) fn accepts(&self, address: &str, body: &str) -> bool {
        let Some(machine) = self.machines.get(address) else { return false };
        let holds = |lines: &[String]| lines.iter().any(|l| l.contains(body));
        holds(&machine.second_keys)
            || match &machine.plain_keys {
                Some(lines) => holds(lines),
                None => machine.mounted && holds(self.shared_of(machine)),
            }
    }

    /// Places where a key is, on any machine.
    pub(crate) fn places_of(&self, body: &str) -> Vec<String> {
        let mut found = Vec::new();
        for machine in self.machines.values() {
            let lists = [
                ("authorized_keys", machine.plain_keys.as_deref().unwrap_or_default()),
                ("authorized_keys2", &machine.second_keys[..]),
                ("/etc/pve of its own", &machine.own_shared[..]),
            ];
            for (place, lines) in lists {
                if lines.iter().any(|l| l.contains(body)) {
                    found.push(format!("{}: {place}", machine.name));
                }
            }
        }
        if self.shared.iter().any(|l| l.contains(body)) {
            found.push("the cluster's file".to_owned());
        }
        found
    }

    pub(crate) fn is_online_member(&self, name: &str) -> bool {
        self.members.iter().any(|(_, n, _)| n == name)
            && self.machines.values().any(|m| m.name == name && m.member && m.online)
    }

    fn shared_of<'a>(&'a self, machine: &'a Machine) -> &'a [String] {
        if machine.member { &self.shared } else { &machine.own_shared }
    }

    pub(crate) fn shared_mut(&mut self, address: &str) -> Option<&mut Vec<String>> {
        let machine = self.machines.get_mut(address)?;
        if !machine.mounted {
            return None;
        }
        Some(if machine.member { &mut self.shared } else { &mut machine.own_shared })
    }

    fn online(&self) -> Vec<&(u32, String, String)> {
        let is_online =
            |address: &str| self.machines.get(address).is_some_and(|m| m.member && m.online);
        self.members.iter().filter(|(_, _, address)| is_online(address)).collect()
    }

    fn wanted(&self) -> usize {
        self.expected.unwrap_or(self.members.len())
    }

    fn quorate(&self) -> bool {
        self.online().len() > self.wanted() / 2
    }

    /// Brings detached commands forward that are over by now.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        let over: Vec<(String, Kind)> = self
            .machines
            .values()
            .filter_map(|m| match &m.attempt {
                Attempt::Running { kind, over } if *over <= now => {
                    Some((m.address.clone(), kind.clone()))
                }
                _ => None,
            })
            .collect();
        for (address, kind) in over {
            match kind {
                Kind::Add { member } => self.finish_add(&address, &member),
                Kind::Create { cluster } => self.finish_create(&address, &cluster),
            }
        }
    }

    pub(crate) fn start(&mut self, address: &str, kind: Kind) -> Done {
        self.tick();
        let Some(machine) = self.machines.get_mut(address) else { return Done::fail(1, "off") };
        if matches!(machine.attempt, Attempt::Running { .. }) {
            return Done::say("started=already\n");
        }
        machine.attempt = Attempt::Running { kind, over: Instant::now() + machine.pace };
        Done::say("started=yes\n")
    }

    fn finish_add(&mut self, address: &str, member: &str) {
        let through = self.machines.get(member).is_some_and(|m| m.member && m.online);
        let quorate = self.quorate();
        let name = self.machines[address].name.clone();
        let node_key = self.machines[address].node_key.clone();
        let may_log_in = self.shared.contains(&node_key);
        let id = self.members.iter().map(|m| m.0).max().unwrap_or(0) + 1;
        let machine = self.machines.get_mut(address).unwrap();
        let refused = if machine.authkey {
            Some(
                "detected the following error(s):\n* authentication key '/etc/corosync/authkey' already exists",
            )
        } else if !through || !may_log_in {
            Some("unable to copy ssh ID: exit code 1")
        } else if !quorate {
            Some("cluster not ready - no quorum?")
        } else {
            None
        };
        if let Some(text) = refused {
            let log = text.lines().map(str::to_owned).collect();
            machine.attempt = Attempt::Ended { log, status: 0 };
            return;
        }
        let mut log = vec!["copy corosync auth key".to_owned()];
        log.push("stopping pve-cluster service".to_owned());
        machine.authkey = true;
        let die_at = machine.die_at.take();
        if !self.members.iter().any(|(_, n, _)| *n == name) {
            self.members.push((id, name.clone(), address.to_owned()));
            self.expected = None;
        }
        if die_at == Some(DieAt::Stop) {
            machine.mounted = false;
            machine.attempt = Attempt::Killed { log };
            return;
        }
        log.push("waiting for quorum...OK".to_owned());
        machine.mounted = true;
        machine.member = true;
        machine.online = true;
        machine.own_shared.clear();
        // What was in a plain file goes into the cluster's: the leak that the own-key step is there to prevent.
        let leak = machine.plain_keys.take().unwrap_or_default();
        self.shared.extend(leak);
        if die_at == Some(DieAt::Certificate) {
            machine.certificate = false;
            machine.attempt = Attempt::Killed { log };
            return;
        }
        log.push(format!("successfully added node '{name}' to cluster."));
        machine.certificate = true;
        machine.joins += 1;
        machine.attempt = Attempt::Ended { log, status: 0 };
        self.finished.insert(name);
    }

    fn finish_create(&mut self, address: &str, cluster: &str) {
        let machine = self.machines.get_mut(address).unwrap();
        if machine.member || machine.authkey {
            let log = vec!["authentication key '/etc/corosync/authkey' already exists".to_owned()];
            machine.attempt = Attempt::Ended { log, status: 255 };
            return;
        }
        self.cluster = cluster.to_owned();
        self.members = vec![(1, machine.name.clone(), address.to_owned())];
        self.expected = None;
        self.shared = std::mem::take(&mut machine.own_shared);
        (machine.member, machine.online, machine.authkey) = (true, true, true);
        self.finished.insert(machine.name.clone());
        machine.joins += 1;
        machine.attempt = Attempt::Ended { log: vec![CREATED.to_owned()], status: 0 };
    }

    pub(crate) fn expect_votes(&mut self, votes: usize) -> Done {
        self.expected = Some(votes);
        Done::default()
    }

    pub(crate) fn remove_node(&mut self, name: &str) -> Done {
        if !self.quorate() {
            return Done::fail(255, "cluster not ready - no quorum?");
        }
        let before = self.members.len();
        self.members.retain(|(_, n, _)| n != name);
        if before == self.members.len() {
            return Done::fail(
                255,
                &format!("Node/IP: {name} is not a known host of the cluster."),
            );
        }
        Done::say("Killing node 2\n")
    }

    /// Makes it stand-alone again, as the repair does.
    pub(crate) fn stand_alone(&mut self, address: &str) {
        let machine = self.machines.get_mut(address).unwrap();
        machine.authkey = false;
        machine.member = false;
        machine.online = false;
        machine.mounted = true;
        machine.attempt = Attempt::None;
        self.link_keys(address);
    }

    /// What the cluster file system does at its start and `pvecm updatecerts` does too.
    pub(crate) fn link_keys(&mut self, address: &str) {
        let machine = self.machines.get_mut(address).unwrap();
        if !machine.mounted {
            return;
        }
        if let Some(lines) = machine.plain_keys.take() {
            let target = if machine.member { &mut self.shared } else { &mut machine.own_shared };
            target.extend(lines);
        }
        let key = machine.node_key.clone();
        let target = if machine.member { &mut self.shared } else { &mut machine.own_shared };
        if !target.contains(&key) {
            target.push(key);
        }
    }

    pub(crate) fn finish_member(&mut self, address: &str) {
        let machine = self.machines.get_mut(address).unwrap();
        machine.certificate = true;
        self.finished.insert(machine.name.clone());
        machine.joins += 1;
    }

    // --- what is printed ---

    pub(crate) fn node_key(&self, address: &str) -> String {
        self.machines[address].node_key.clone()
    }

    pub(crate) fn status(&self, address: &str) -> Option<String> {
        let machine = self.machines.get(address)?;
        if !machine.member || !machine.mounted || !machine.online {
            return None;
        }
        Some(format!(
            "Cluster information\nName:             {}\nQuorate:          {}\nExpected votes:   {}\nTotal votes:      {}\n",
            self.cluster,
            if self.quorate() { "Yes" } else { "No" },
            self.wanted(),
            self.online().len(),
        ))
    }

    pub(crate) fn present(&self, address: &str) -> String {
        if self.status(address).is_none() {
            return String::new();
        }
        let row = |(id, name, at): &&(u32, String, String)| {
            let local = if at == address { " (local)" } else { "" };
            format!("{id:>10}          1 {name}{local}\n")
        };
        self.online().iter().map(row).collect()
    }

    pub(crate) fn view(&self, address: &str) -> Option<String> {
        self.status(address)?;
        let online: Vec<&str> = self.online().iter().map(|m| m.1.as_str()).collect();
        let mut rows = vec![serde_json::json!({
            "type": "cluster", "name": self.cluster, "quorate": u8::from(self.quorate()),
        })];
        for (id, name, ip) in &self.members {
            let is_online = u8::from(online.contains(&name.as_str()));
            rows.push(serde_json::json!({ "type": "node", "name": name, "ip": ip, "nodeid": id, "online": is_online }));
        }
        Some(serde_json::Value::from(rows).to_string())
    }

    pub(crate) fn conf(&self, address: &str) -> Option<String> {
        let machine = self.machines.get(address)?;
        if !machine.member || !machine.mounted {
            return None;
        }
        let mut text = "nodelist {\n".to_owned();
        for (id, name, ip) in &self.members {
            text += &format!(
                "  node {{\n    name: {name}\n    nodeid: {id}\n    quorum_votes: 1\n    ring0_addr: {ip}\n  }}\n"
            );
        }
        text += &format!(
            "}}\n\nquorum {{\n  provider: corosync_votequorum\n}}\n\ntotem {{\n  cluster_name: {}\n  config_version: {}\n}}\n",
            self.cluster,
            self.members.len()
        );
        Some(text)
    }

    /// Nodes with a certificate in the cluster's tree.
    pub(crate) fn finished(&self) -> &BTreeSet<String> {
        &self.finished
    }

    pub(crate) fn certificate(&self, address: &str) -> bool {
        self.machines.get(address).is_some_and(|m| m.mounted && m.certificate)
    }
}

/// Text in the alphabet of base64 that differs for each installation of each name.
fn base64_like(name: &str, epoch: u64) -> String {
    let mut dice = crate::dice::Dice::new(epoch ^ name.bytes().map(u64::from).sum::<u64>() << 8);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..64).map(|_| char::from(*dice.pick(alphabet))).collect()
}
