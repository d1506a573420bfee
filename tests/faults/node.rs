//! The machines' SSH servers: one listener per address, all in this process, speaking the real protocol, and misbehaving
//! where the plan says so.

pub(crate) mod command;
pub(crate) mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use world::World;

/// What goes wrong at one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtConnect {
    /// It is accepted and nothing is said, until this time is over.
    Hang(Duration),
    /// It is closed at once.
    Drop,
    /// Another machine's key is shown.
    Lie,
}

/// What goes wrong at one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtExec {
    /// The connection ends before the command ran.
    LostBefore,
    /// The command ran, its answer is lost with the connection.
    LostAfter,
    /// It takes this long.
    Slow(Duration),
    /// The daemon is struck while the command waits, then it goes on.
    StrikeBefore,
    /// The command ran, the daemon is struck before the answer leaves.
    StrikeAfter,
    /// The cluster's member is gone for this long.
    MemberGone(Duration),
}

#[derive(Debug, Default)]
struct Behaviour {
    connections: usize,
    execs: usize,
    at_connect: HashMap<usize, AtConnect>,
    at_exec: HashMap<usize, AtExec>,
    is_down: bool,
}

struct Shared {
    world: Mutex<World>,
    behaviour: Mutex<HashMap<String, Behaviour>>,
    strikes: mpsc::UnboundedSender<()>,
    /// Address of the member that can be made to go away.
    member: Mutex<Option<String>>,
}

/// All SSH servers of one life.
#[derive(Clone)]
pub(crate) struct Sshd {
    shared: Arc<Shared>,
    listeners: Arc<Mutex<HashMap<String, JoinHandle<()>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sshd {
    /// No machines yet; `strikes` is told when a plan wants the daemon struck.
    pub(crate) fn new(strikes: mpsc::UnboundedSender<()>) -> Self {
        let shared = Shared {
            world: Mutex::default(),
            behaviour: Mutex::default(),
            strikes,
            member: Mutex::default(),
        };
        Self { shared: Arc::new(shared), listeners: Arc::default() }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared.world)
    }

    /// Names the machine that goes away when a plan says that the member does.
    pub(crate) fn set_member(&self, address: &str) {
        *lock(&self.shared.member) = Some(address.to_owned());
    }

    pub(crate) fn plan_connect(&self, address: &str, n: usize, fault: AtConnect) {
        lock(&self.shared.behaviour)
            .entry(address.to_owned())
            .or_default()
            .at_connect
            .insert(n, fault);
    }

    pub(crate) fn plan_exec(&self, address: &str, n: usize, fault: AtExec) {
        lock(&self.shared.behaviour)
            .entry(address.to_owned())
            .or_default()
            .at_exec
            .insert(n, fault);
    }

    /// Nothing goes wrong at this machine any more.
    pub(crate) fn calm(&self, address: &str) {
        lock(&self.shared.behaviour).remove(address);
    }

    /// Starts the SSH server of a machine with this host key; one that ran there before is gone.
    pub(crate) async fn serve(&self, address: &str, key: PrivateKey) {
        let old = lock(&self.listeners).remove(address);
        if let Some(old) = old {
            old.abort();
            let _ = old.await;
        }
        let at: SocketAddr = format!("{address}:22").parse().unwrap();
        let listener = bind(at).await;
        let (shared, address) = (Arc::clone(&self.shared), address.to_owned());
        let task = tokio::spawn(accept(shared, address.clone(), listener, key));
        lock(&self.listeners).insert(address, task);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if Arc::strong_count(&self.listeners) == 1 {
            for (_, task) in lock(&self.listeners).drain() {
                task.abort();
            }
        }
    }
}

/// A fresh host key and its public line without comment.
pub(crate) fn host_key() -> (PrivateKey, String) {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let line = key.public_key().to_openssh().unwrap();
    (key, line.trim().to_owned())
}

async fn bind(at: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn accept(shared: Arc<Shared>, address: String, listener: TcpListener, key: PrivateKey) {
    let config = |key: PrivateKey| {
        Arc::new(server::Config {
            auth_rejection_time: Duration::from_millis(1),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![key],
            nodelay: true,
            ..server::Config::default()
        })
    };
    let honest = config(key);
    let liar = config(host_key().0);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let fault = {
            let mut all = lock(&shared.behaviour);
            let behaviour = all.entry(address.clone()).or_default();
            let n = behaviour.connections;
            behaviour.connections += 1;
            if behaviour.is_down { Some(AtConnect::Drop) } else { behaviour.at_connect.remove(&n) }
        };
        let config = match fault {
            Some(AtConnect::Drop) => continue,
            Some(AtConnect::Hang(time)) => {
                tokio::spawn(hang(stream, time));
                continue;
            }
            Some(AtConnect::Lie) => Arc::clone(&liar),
            None => Arc::clone(&honest),
        };
        // As OpenSSH does: otherwise each answer waits 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let handler = Handler {
            shared: Arc::clone(&shared),
            address: address.clone(),
            commands: HashMap::new(),
        };
        tokio::spawn(async move {
            // How a client leaves is its own affair.
            if let Ok(session) = server::run_stream(config, stream, handler).await {
                let _ = session.await;
            }
        });
    }
}

async fn hang(stream: TcpStream, time: Duration) {
    tokio::time::sleep(time).await;
    drop(stream);
}

struct Handler {
    shared: Arc<Shared>,
    address: String,
    commands: HashMap<ChannelId, (String, Vec<u8>)>,
}

impl Handler {
    fn next_fault(&self) -> Result<Option<AtExec>, russh::Error> {
        let mut all = lock(&self.shared.behaviour);
        let behaviour = all.entry(self.address.clone()).or_default();
        if behaviour.is_down {
            return Err(russh::Error::Disconnect);
        }
        let n = behaviour.execs;
        behaviour.execs += 1;
        Ok(behaviour.at_exec.remove(&n))
    }

    fn member_goes(&self, time: Duration) {
        let Some(member) = lock(&self.shared.member).clone() else { return };
        lock(&self.shared.behaviour).entry(member.clone()).or_default().is_down = true;
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            lock(&shared.behaviour).entry(member).or_default().is_down = false;
        });
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let line = key.public_key.to_openssh().unwrap_or_default();
        let body = line.split(' ').nth(1).unwrap_or("none").to_owned();
        let accepted = lock(&self.shared.world).accepts(&self.address, &body);
        Ok(if accepted { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        let line = String::from_utf8_lossy(line).into_owned();
        self.commands.insert(channel, (line, Vec::new()));
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some((_, stdin)) = self.commands.get_mut(&channel) {
            stdin.extend_from_slice(data);
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some((line, stdin)) = self.commands.remove(&channel) else { return Ok(()) };
        let fault = self.next_fault()?;
        match fault {
            Some(AtExec::LostBefore) => return Err(russh::Error::Disconnect),
            Some(AtExec::Slow(time)) => tokio::time::sleep(time).await,
            Some(AtExec::StrikeBefore) => {
                let _ = self.shared.strikes.send(());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Some(AtExec::MemberGone(time)) => self.member_goes(time),
            _ => {}
        }
        let stdin = String::from_utf8_lossy(&stdin).into_owned();
        let done = command::run(&mut lock(&self.shared.world), &self.address, &line, &stdin);
        match fault {
            Some(AtExec::LostAfter) => return Err(russh::Error::Disconnect),
            Some(AtExec::StrikeAfter) => {
                let _ = self.shared.strikes.send(());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => {}
        }
        if !done.stdout.is_empty() {
            session.data(channel, done.stdout.into_bytes())?;
        }
        if !done.stderr.is_empty() {
            session.extended_data(channel, 1, done.stderr.into_bytes())?;
        }
        session.exit_status_request(channel, done.status)?;
        session.eof(channel)?;
        session.close(channel)
    }
}
