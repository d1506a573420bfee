//! The SSH side of every simulated machine: a real SSH server for each address, behind one socket, and a stand-in for the
//! programs that a join runs.
//!
//! What it prints has the form of the vendor's commands, and only what the join reads. The cluster that it shows has the
//! member and the node that joined last: real clusters have a few dozen nodes at most, and the fleet is about the daemon.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, Msg};
use russh::{Channel, ChannelId};
use tokio::net::TcpListener;

use super::super::place::CLIENT;

/// The cluster's first member.
pub const MEMBER: &str = "member";
const CLUSTER: &str = "lab";
/// A key that only has the form of one; nobody logs in with it here.
const RSA_KEY: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDbenchbenchbenchbenchbenchbenchbench";

/// What the fleet's machines share.
#[derive(Default)]
pub struct Cluster {
    nodes: Mutex<HashMap<Ipv4Addr, Node>>,
    /// Name and address of the node that joined last.
    newest: Mutex<Option<(String, Ipv4Addr)>>,
}

struct Node {
    name: String,
    host_key: PrivateKey,
    /// Body of the key that opens it; none for the member, which the appliance's own key opens.
    opened_by: Option<String>,
    joined: bool,
}

impl Cluster {
    /// Installs a system at this address; returns its public host key.
    pub fn install(
        &self,
        name: &str,
        address: Ipv4Addr,
        authorized: Option<&str>,
    ) -> anyhow::Result<String> {
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
        let public = host_key.public_key().to_openssh()?;
        let opened_by = authorized.map(|line| body(line).to_owned());
        let node = Node { name: name.to_owned(), host_key, opened_by, joined: false };
        self.lock().insert(address, node);
        Ok(public)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Ipv4Addr, Node>> {
        self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Serves all addresses of the namespace until the runtime ends.
    pub async fn serve(self: Arc<Self>) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 22)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            // As OpenSSH does: otherwise each answer waits 40 ms for an acknowledgement.
            stream.set_nodelay(true)?;
            let Ok(SocketAddr::V4(local)) = stream.local_addr() else { continue };
            let address = *local.ip();
            let Some(key) = self.lock().get(&address).map(|n| n.host_key.clone()) else { continue };
            let config = server::Config {
                keys: vec![key],
                auth_rejection_time: Duration::ZERO,
                inactivity_timeout: Some(Duration::from_secs(600)),
                ..server::Config::default()
            };
            let peer = Peer { cluster: Arc::clone(&self), address, waiting: HashMap::new() };
            tokio::spawn(async move {
                if let Ok(running) = server::run_stream(Arc::new(config), stream, peer).await {
                    let _ = running.await;
                }
            });
        }
    }

    /// Runs one command line on a machine; what it prints.
    fn run(&self, address: Ipv4Addr, argv: &[String]) -> String {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["pvecm", "status"] => self.status("").join("\n"),
            ["cat", "/root/.ssh/id_rsa.pub"] => format!("{RSA_KEY} root@node\n"),
            ["cat", "/etc/pve/corosync.conf"] => self.corosync("").join("\n"),
            ["cat", ..] => {
                let key = self.lock().get(&address).map(|n| n.host_key.public_key().to_openssh());
                format!(
                    "{} root@node\n{RSA_KEY} root@node\n",
                    key.and_then(Result::ok).unwrap_or_default()
                )
            }
            // `plan::join::script` starts its texts as `sh -c TEXT NAME ARGUMENTS`.
            ["sh", "-c", _, name, arguments @ ..] => self.run_script(address, name, arguments),
            _ => String::new(),
        }
    }

    fn run_script(&self, address: Ipv4Addr, script: &str, arguments: &[&str]) -> String {
        let mut nodes = self.lock();
        let Some(node) = nodes.get_mut(&address) else { return String::new() };
        let name = node.name.clone();
        let now = jiff::Timestamp::now().as_second();
        let known = format!("version=pve-manager/9.2.3/abc\nepoch={now}");
        let mut out: Vec<String> = Vec::new();
        if script == "ironhatch-look-node" {
            out.extend([format!("hostname={name}"), format!("address={address}")]);
            out.extend(["mounted=yes".to_owned(), known]);
        } else if script == "ironhatch-look-member" {
            drop(nodes);
            out.extend(self.status("status="));
            out.extend(self.present("present=", MEMBER));
            out.push(format!("view={}", self.view()));
            out.extend(self.corosync("corosync="));
            out.extend(self.members().iter().map(|(name, _)| format!("finished={name}")));
            out.push(known);
        } else if script == "ironhatch-look-membership" {
            drop(nodes);
            out.extend(self.status("status="));
            out.extend(self.present("present=", &name));
            out.push("certificate=yes".to_owned());
        } else if script == "ironhatch-own-key" {
            let files = "keyfiles=.ssh/authorized_keys .ssh/authorized_keys2";
            out.extend(["linked=yes", "nodekey=yes", files].map(str::to_owned));
        } else if script == "ironhatch-known-hosts" {
            out.extend(["node=1", "member=1"].map(str::to_owned));
        } else if script == "ironhatch-start" {
            node.joined = true;
            let newest = Some((name, address));
            *self.newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = newest;
            out.push("started=yes".to_owned());
        } else if script == "ironhatch-poll" && node.joined {
            out.extend(["attempt=ended", "rc=0", "log=copy corosync auth key"].map(str::to_owned));
            out.push(format!("log=successfully added node '{name}' to cluster."));
        } else if script == "ironhatch-clean-up" && arguments.get(1) == Some(&"node") {
            // The key does not open it any more.
            node.opened_by = Some(String::new());
        } else if script == "ironhatch-check" {
            out.push("count=0 /etc/pve/priv/authorized_keys".to_owned());
            out.push("checked=yes".to_owned());
        } else if script == "ironhatch-shared-keys" {
            out.push("written=yes".to_owned());
        }
        out.join("\n") + "\n"
    }

    fn members(&self) -> Vec<(String, Ipv4Addr)> {
        let newest = self.newest.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        [(MEMBER.to_owned(), CLIENT)].into_iter().chain(newest).collect()
    }

    fn status(&self, prefix: &str) -> Vec<String> {
        let votes = self.members().len();
        let lines = [
            format!("Name:             {CLUSTER}"),
            "Quorate:          Yes".to_owned(),
            format!("Expected votes:   {votes}"),
            format!("Total votes:      {votes}"),
        ];
        lines.into_iter().map(|line| format!("{prefix}{line}")).collect()
    }

    fn present(&self, prefix: &str, own: &str) -> Vec<String> {
        let members = self.members().into_iter().enumerate();
        let line = |(n, (name, _)): (usize, (String, Ipv4Addr))| {
            let local = if name == own { " (local)" } else { "" };
            format!("{prefix}         {}          1 {name}{local}", n + 1)
        };
        members.map(line).collect()
    }

    fn view(&self) -> String {
        let node = |(name, address): (String, Ipv4Addr)| serde_json::json!({ "type": "node", "name": name, "ip": address, "online": 1 });
        let cluster = serde_json::json!({ "type": "cluster", "name": CLUSTER, "quorate": 1 });
        let all: Vec<_> =
            [cluster].into_iter().chain(self.members().into_iter().map(node)).collect();
        serde_json::Value::from(all).to_string()
    }

    fn corosync(&self, prefix: &str) -> Vec<String> {
        let mut lines = vec!["nodelist {".to_owned()];
        for (n, (name, address)) in self.members().into_iter().enumerate() {
            lines.extend([
                "  node {".to_owned(),
                format!("    name: {name}"),
                format!("    nodeid: {}", n + 1),
                format!("    ring0_addr: {address}"),
                "  }".to_owned(),
            ]);
        }
        lines.extend(["}", "totem {"].map(str::to_owned));
        lines.extend([format!("  cluster_name: {CLUSTER}"), "}".to_owned()]);
        lines.into_iter().map(|line| format!("{prefix}{line}")).collect()
    }
}

fn body(line: &str) -> &str {
    line.split(' ').nth(1).unwrap_or_default()
}

/// One connection to one machine.
struct Peer {
    cluster: Arc<Cluster>,
    address: Ipv4Addr,
    /// Commands that read standard input to its end.
    waiting: HashMap<ChannelId, String>,
}

impl server::Handler for Peer {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let line = key.public_key.to_openssh().unwrap_or_default();
        let nodes = self.cluster.lock();
        let wanted = nodes.get(&self.address).map(|n| n.opened_by.as_deref());
        let opens = wanted.is_some_and(|key| key.is_none_or(|key| key == body(&line)));
        Ok(if opens { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let argv = taken_apart(&String::from_utf8_lossy(command));
        let printed = self.cluster.run(self.address, &argv);
        self.waiting.insert(channel, printed);
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut server::Session,
    ) -> Result<(), Self::Error> {
        let Some(printed) = self.waiting.remove(&channel) else { return Ok(()) };
        session.data(channel, printed.into_bytes())?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

/// Takes a command line apart in which every argument is in single quotes.
fn taken_apart(line: &str) -> Vec<String> {
    let mut argv = Vec::new();
    let mut argument = String::new();
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quoted) {
            ('\'', _) => quoted = !quoted,
            ('\\', false) => argument.extend(characters.next()),
            (' ', false) => argv.push(std::mem::take(&mut argument)),
            (c, _) => argument.push(c),
        }
    }
    argv.push(argument);
    argv
}
