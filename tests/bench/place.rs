//! Two network namespaces on a veth pair: the servers in one, the load generator in the other. No route leads out.
//!
//! Each namespace belongs to a thread and ends with it, so nothing has to be cleaned up. Threads and processes that are
//! started by a job of a namespace's thread are in that namespace, too.

mod relay;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The servers' address (RFC 2544 gives 198.18.0.0/15 to benchmarks).
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The generator's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The network of both.
pub const SUBNET: &str = "198.18.0.0/17";
/// The interface of the servers' namespace.
pub const INTERFACE: &str = "srv0";
/// The generator's interface.
pub const CLIENT_INTERFACE: &str = "cli0";

/// The address of one of many machines; all of them are the generator's. They are routed instead of being neighbours,
/// because the kernel's table of neighbours is shared by all namespaces and holds a thousand.
pub fn machine(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 128, 0).to_bits() + 1 + n as u32)
}

type Job = Box<dyn FnOnce() + Send>;

/// A namespace with the thread that keeps it.
#[derive(Clone)]
pub struct Namespace {
    work: mpsc::Sender<Job>,
    thread: i32,
}

impl Namespace {
    pub fn new() -> anyhow::Result<Self> {
        let (work, jobs) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            let _ = tell.send(made.map(|()| nix::unistd::gettid().as_raw()));
            for job in jobs {
                job();
            }
        });
        let thread = told.recv()?.context("a network namespace (needs root)")?;
        let made = Self { work, thread };
        made.run(|| ip("link set lo up"))??;
        Ok(made)
    }

    /// Runs something in it, and waits.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = tell.send(job());
        });
        self.work.send(job).ok().context("the namespace's thread is gone")?;
        told.recv().context("the namespace's thread ended by a panic")
    }
}

/// What happens to packets on the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// In both directions.
    OnePercentLost,
    /// Towards the clients.
    FiveMillisecondsLate,
}

impl Trouble {
    /// The end of a row's name.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::OnePercentLost => ", 1 % lost",
            Self::FiveMillisecondsLate => ", 5 ms late",
        }
    }
}

/// The servers' and the generator's side.
pub struct Place {
    pub server: Namespace,
    pub client: Namespace,
    /// Where the relay is, when there is one.
    _middle: Option<Namespace>,
}

impl Place {
    pub fn new() -> anyhow::Result<Self> {
        let server = Namespace::new()?;
        let client = Namespace::new()?;
        connect((&server, INTERFACE), (&client, CLIENT_INTERFACE))?;
        Self { server, client, _middle: None }.with_addresses()
    }

    /// The same with a relay on the cable.
    pub fn with_trouble(trouble: Trouble) -> anyhow::Result<Self> {
        let (server, client, middle) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        connect((&server, INTERFACE), (&middle, "mid0"))?;
        connect((&client, CLIENT_INTERFACE), (&middle, "mid1"))?;
        // Frames as on a real cable: without this the kernel hands the relay whole windows uncut.
        for (namespace, end) in [(&server, INTERFACE), (&client, CLIENT_INTERFACE)] {
            namespace.run(move || ip(&format!("link set {end} gso_max_segs 1")))??;
        }
        relay::start(&middle, "mid0", "mid1", trouble)?;
        Self { server, client, _middle: Some(middle) }.with_addresses()
    }

    fn with_addresses(self) -> anyhow::Result<Self> {
        let Self { server, client, .. } = &self;
        server.run(|| {
            ip(&format!("address add {SERVER}/17 dev {INTERFACE}"))?;
            ip(&format!("route add 198.18.128.0/17 via {CLIENT}"))
        })??;
        client.run(|| {
            ip(&format!("address add {CLIENT}/17 dev {CLIENT_INTERFACE}"))?;
            ip("route add local 198.18.128.0/17 dev lo")
        })??;
        Ok(self)
    }
}

/// Lays a cable between two namespaces.
pub fn connect(a: (&Namespace, &'static str), b: (&Namespace, &'static str)) -> anyhow::Result<()> {
    let line = format!("link add {} type veth peer name {} netns {}", a.1, b.1, b.0.thread);
    a.0.run(move || ip(&line))??;
    for (namespace, name) in [a, b] {
        namespace.run(move || ip(&format!("link set {name} up")))??;
    }
    let begun = Instant::now();
    for (namespace, name) in [a, b] {
        while !namespace.run(move || is_up(name))? {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "{name} does not come up");
        }
    }
    Ok(())
}

pub fn ip(arguments: &str) -> anyhow::Result<()> {
    let done = Command::new("ip").args(arguments.split(' ')).output().context("ip (iproute2)")?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "ip {arguments}: {}", complaint.trim());
    Ok(())
}

fn is_up(name: &str) -> bool {
    let show = Command::new("ip").args(["-o", "link", "show", "dev", name]).output();
    show.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("state UP"))
}
