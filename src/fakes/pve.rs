//! A strict double of the Proxmox VE API, several nodes in one process, each behind TLS with a certificate of its own.
//!
//! It checks every request against the vendor's schema when that is given, behaves as a cluster of 9.2 (or 8.2) does where
//! clients get it wrong, keeps its containers as files in a folder shaped like `/etc/pve` (`files`), and records
//! what it saw. A request that it does not model is answered 501 and makes [`FakePve::assert_clean`] fail.
//!
//! Time passes only with requests: a task whose time has come ends when the next request arrives.

mod access;
mod calls;
mod create;
mod files;
mod format;
mod guest;
mod power;
mod route;
mod schema;
mod server;
mod task;
mod world;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use self::files::Conf;
pub use self::schema::Schema;
use self::server::Listener;
use self::world::{Node, World};
use crate::domain::id::NodeName;
use crate::domain::secret::Secret;
use crate::domain::vmid::Vmid;
use crate::proto::pve::ContainerConfig;
use crate::pve::{ApiToken, Cluster, Limits, Member};

/// How the double begins.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that stands for `/etc/pve`; made when it is not there.
    pub root: PathBuf,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Where each node serves; empty: ports of loopback that are free.
    pub addresses: Vec<SocketAddr>,
    /// `pve-api-schema.json`; a file that is not there is left out.
    pub schema: Option<PathBuf>,
    /// Begin with pool, role, user and token of [`FakePve::token`]; else there is only `root@pam`.
    pub enrolled: bool,
}

/// A storage of all nodes.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// `dir`, `zfspool`, `lvmthin`, …; decides about snapshots and names of volumes.
    pub kind: String,
    /// What it may hold.
    pub content: Vec<String>,
    /// Bytes.
    pub total: u64,
    /// Bytes in use besides the volumes that the double made.
    pub used: u64,
    /// Shared.
    pub shared: bool,
    /// Only on these nodes; empty: on all.
    pub nodes: Vec<String>,
}

/// A row of the index of OS templates.
#[derive(Debug, Clone)]
pub struct Appliance {
    /// File name.
    pub template: String,
    /// SHA-512, hex.
    pub sha512: String,
    /// `debian-12`.
    pub os: String,
    /// Version.
    pub version: String,
    /// For people.
    pub headline: String,
}

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The member that got it.
    pub member: String,
    /// Method.
    pub method: String,
    /// Path below `/api2/json`, decoded.
    pub path: String,
    /// Parameters of query and body.
    pub params: BTreeMap<String, String>,
    /// Status that it was answered with.
    pub status: u16,
}

/// Something that happens once, to the first request of this method whose path contains this text.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    method: String,
    path: String,
    what: Script,
}

#[derive(Debug, Clone)]
enum Script {
    /// Answered like this, without being carried out. The body is empty.
    Answer(u16, String),
    /// Carried out, and the connection closed without an answer.
    Dropped,
}

/// The double. Everything ends when it is dropped.
#[derive(Debug)]
pub struct FakePve {
    world: Arc<Mutex<World>>,
    listeners: Vec<(Listener, SocketAddr)>,
    _serving: JoinSet<()>,
}

/// The token of the enrolled user.
pub const TOKEN: &str = "svc@pve!app";
/// A token of `root@pam`.
pub const ROOT_TOKEN: &str = "root@pam!admin";
const SECRET: &str = "1c9b07f4-35a4-4f11-8f3e-6d2e5a7cbb10";
const ROOT_SECRET: &str = "7e0c9a7a-9c0f-4d0e-b2f5-0d6a1f0a3c55";
/// The pool of the enrolled user.
pub const POOL: &str = "ironhatch";
/// An OS template that is there from the beginning.
pub const TEMPLATE: &str = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";

const USER_CFG: &str = "user:root@pam:1:0::::::\ntoken:root@pam!admin:0:0::\n";
const ENROLLED_CFG: &str = "user:svc@pve:1:0::::::\ntoken:svc@pve!app:0:0:daemon:\n\
    role:IronhatchGuests:Pool.Audit,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CPU,VM.Config.Disk,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Migrate,VM.PowerMgmt,VM.Snapshot:\n\
    role:IronhatchStorage:Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit:\n\
    role:IronhatchNode:Sys.AccessNetwork,Sys.Audit:\n\
    role:IronhatchNet:SDN.Audit,SDN.Use:\n\
    acl:1:/pool/ironhatch:svc@pve:IronhatchGuests:\n\
    acl:1:/storage/local:svc@pve:IronhatchStorage:\n\
    acl:1:/storage/local-zfs:svc@pve:IronhatchStorage:\n\
    acl:1:/storage/tank:svc@pve:IronhatchStorage:\n\
    acl:1:/nodes:svc@pve:IronhatchNode:\n\
    acl:1:/sdn/zones/localnetwork:svc@pve:IronhatchNet:\n\
    pool:ironhatch:managed:::\n";

impl FakePve {
    /// Starts it. A node whose folder is there finds its certificate in it, as on a real one.
    ///
    /// # Panics
    /// When an address or the folder cannot be used.
    pub async fn start(options: Options) -> Self {
        let mut nodes = Vec::new();
        let mut listeners = Vec::new();
        for (n, name) in options.nodes.iter().enumerate() {
            let (listener, fingerprint, certificate) =
                Listener::bind(name, options.addresses.get(n).copied()).await;
            let folder = options.root.join("nodes").join(name);
            if folder.is_dir() {
                std::fs::write(folder.join("pve-ssl.pem"), certificate)
                    .expect("the node's folder can be written");
            }
            nodes.push(Node { name: name.clone(), up: true, fingerprint });
            listeners.push(listener);
        }
        let schema = options.schema.as_deref().and_then(Schema::open);
        let mut world = World::new(&options.root, nodes, schema);
        world.storages = storages();
        world.appliances = appliances();
        world.add_template("local", TEMPLATE.rsplit('/').next().unwrap_or_default());
        if world.files.user_cfg().is_empty() {
            let more = if options.enrolled { ENROLLED_CFG } else { "" };
            world.files.write_user_cfg(&format!("{USER_CFG}{more}"));
            let more = if options.enrolled { format!("{TOKEN} {SECRET}\n") } else { String::new() };
            world.files.write_token_cfg(&format!("{ROOT_TOKEN} {ROOT_SECRET}\n{more}"));
        }
        let world = Arc::new(Mutex::new(world));
        let mut serving = JoinSet::new();
        let listeners = listeners
            .into_iter()
            .map(|(listener, socket, address)| {
                serving.spawn(listener.clone().serve(socket, Arc::clone(&world)));
                (listener, address)
            })
            .collect();
        Self { world, listeners, _serving: serving }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes as a client knows them, with the certificates of now.
    ///
    /// # Panics
    /// When a name is no node name.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let world = self.world();
        let nodes = world.nodes.iter().zip(&self.listeners);
        nodes
            .map(|(node, (_, address))| Member {
                name: node.name.parse::<NodeName>().expect("names of nodes are valid"),
                address: *address,
                fingerprint: node.fingerprint,
            })
            .collect()
    }

    /// The enrolled user's token.
    #[must_use]
    pub fn token(&self) -> ApiToken {
        ApiToken { id: TOKEN.to_owned(), secret: Secret::new(SECRET.to_owned()) }
    }

    /// The token of `root@pam`, which has every privilege and still is not `root@pam`.
    #[must_use]
    pub fn root_token(&self) -> ApiToken {
        ApiToken { id: ROOT_TOKEN.to_owned(), secret: Secret::new(ROOT_SECRET.to_owned()) }
    }

    /// A client with the enrolled user's token that does not wait long between two looks.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.cluster_with(self.token())
    }

    /// The same with another token.
    #[must_use]
    pub fn cluster_with(&self, token: ApiToken) -> Cluster {
        let quick = Duration::from_millis(10);
        let limits = Limits { pause: quick, poll: quick, ..Limits::default() };
        Cluster::new(self.members(), token, limits)
    }

    /// The folder that stands for `/etc/pve`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.world().files.root().to_owned()
    }

    /// Whether requests are checked against the vendor's schema.
    #[must_use]
    pub fn has_schema(&self) -> bool {
        self.world().schema.is_some()
    }

    /// Every request that arrived, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// What was wrong about requests: not modelled, not in the schema, credentials of another kind.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.world().problems.clone()
    }

    /// Fails when something was wrong about a request.
    ///
    /// # Panics
    /// With everything that was wrong.
    pub fn assert_clean(&self) {
        let problems = self.problems();
        assert!(problems.is_empty(), "the double of the API saw:\n{}", problems.join("\n"));
    }

    /// Release, for example `8.2.4`: before 8.3 errors have no `message`, before 8.4 interfaces have no list of addresses.
    pub fn set_release(&self, version: &str) {
        version.clone_into(&mut self.world().release);
    }

    /// How long a task takes; 20 ms at the beginning.
    pub fn set_task_time(&self, time: Duration) {
        self.world().task_time = time;
    }

    /// How long a refused token waits; nothing at the beginning, 3 s in reality.
    pub fn set_denied_delay(&self, delay: Duration) {
        self.world().denied_delay = delay;
    }

    /// Gives or takes quorum.
    pub fn set_quorate(&self, quorate: bool) {
        self.world().quorate = quorate;
    }

    /// Switches a node off: it refuses connections, and the others cannot reach it.
    pub fn set_down(&self, node: &str) {
        self.set_power(node, false);
    }

    /// Switches a node on.
    pub fn set_up(&self, node: &str) {
        self.set_power(node, true);
    }

    fn set_power(&self, node: &str, up: bool) {
        let mut world = self.world();
        world.nodes.iter_mut().filter(|n| n.name == node).for_each(|n| n.up = up);
    }

    /// Gives a node another certificate.
    pub fn renew_certificate(&self, node: &str) {
        let mut world = self.world();
        for (known, (listener, _)) in world.nodes.iter_mut().zip(&self.listeners) {
            if known.name == node {
                known.fingerprint = listener.renew(node);
            }
        }
    }

    /// Takes a token away from `user.cfg` and `priv/token.cfg`.
    pub fn revoke_token(&self, token: &str) {
        let world = self.world();
        let without = |text: String, start: String| -> String {
            let kept = text.lines().filter(|l| !l.starts_with(&start));
            kept.map(|l| format!("{l}\n")).collect()
        };
        let users = without(world.files.user_cfg(), format!("token:{token}:"));
        world.files.write_user_cfg(&users);
        let secrets = without(world.files.token_cfg(), format!("{token} "));
        world.files.write_token_cfg(&secrets);
    }

    /// The next task of this kind ends with this text. `WARNINGS: n` is success with warnings, but nothing is done then.
    pub fn fail_next_task(&self, kind: &str, text: &str) {
        self.world().task_faults.push_back((kind.to_owned(), text.to_owned()));
    }

    /// All tasks so far are unknown to their nodes from now on.
    pub fn lose_tasks(&self) {
        self.world().tasks.iter_mut().for_each(|task| task.lost = true);
    }

    /// The next request of this method whose path contains this text is answered like this, with an empty body, and not
    /// carried out.
    pub fn answer_next(&self, method: &str, path: &str, status: u16, reason: &str) {
        self.script(method, path, Script::Answer(status, reason.to_owned()));
    }

    /// The next request of this method whose path contains this text is carried out, and its connection closed.
    pub fn drop_next(&self, method: &str, path: &str) {
        self.script(method, path, Script::Dropped);
    }

    fn script(&self, method: &str, path: &str, what: Script) {
        let scripted = Scripted { method: method.to_owned(), path: path.to_owned(), what };
        self.world().scripts.push_back(scripted);
    }

    /// Adds a storage, or takes the place of the one of its name.
    pub fn set_storage(&self, storage: Storage) {
        let mut world = self.world();
        world.storages.retain(|s| s.name != storage.name);
        world.storages.push(storage);
    }

    /// The bridges of all nodes.
    pub fn set_bridges(&self, bridges: &[&str]) {
        self.world().bridges = bridges.iter().map(|b| (*b).to_owned()).collect();
    }

    /// Removes a template, or anything else, from its storage.
    pub fn remove_volume(&self, volid: &str) {
        self.world().volumes.remove(volid);
    }

    /// Puts a volume of a guest on a storage and gives its id.
    ///
    /// # Panics
    /// When there is no such storage.
    pub fn add_volume(&self, storage: &str, vmid: Vmid) -> String {
        self.world().allocate(storage, vmid.get(), 1 << 30).expect("the storage exists")
    }

    /// Takes a guest out of a pool.
    pub fn remove_from_pool(&self, pool: &str, vmid: Vmid) {
        self.world().edit_pool(pool, |pool| {
            pool.guests.remove(&vmid.get());
        });
    }

    /// Ids of everything on all storages.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        self.world().volumes.keys().cloned().collect()
    }

    /// The address that a guest gets at its next start; else it is the fixed one of its interface, or 192.0.2.(100 + the
    /// last two digits of its number) from DHCP.
    pub fn set_address(&self, vmid: Vmid, address: Ipv4Addr) {
        self.world().addresses.insert(vmid.get(), address);
    }

    /// Puts a container on a node, outside every pool, with this text as its file.
    pub fn add_container(&self, node: &str, vmid: Vmid, file: &str) {
        let now = ContainerConfig::read_file(file);
        self.world().files.write_conf(node, vmid.get(), &Conf { now, snapshots: Vec::new() });
    }

    /// Makes a guest a member of a pool.
    pub fn add_to_pool(&self, pool: &str, vmid: Vmid) {
        self.world().edit_pool(pool, |pool| {
            pool.guests.insert(vmid.get());
        });
    }

    /// Locks a guest, or takes the lock away.
    pub fn set_lock(&self, node: &str, vmid: Vmid, lock: Option<&str>) {
        self.world().set_lock(node, vmid.get(), lock);
    }

    /// A container's configuration as its file holds it.
    #[must_use]
    pub fn config(&self, node: &str, vmid: Vmid) -> Option<ContainerConfig> {
        let mut world = self.world();
        world.settle();
        world.files.conf(node, vmid.get()).map(|conf| conf.now)
    }

    /// Whether a container runs.
    #[must_use]
    pub fn is_running(&self, vmid: Vmid) -> bool {
        let mut world = self.world();
        world.settle();
        world.files.runs(vmid.get())
    }

    /// Turns a container on or off behind the cluster's back.
    pub fn set_running(&self, vmid: Vmid, address: Option<Ipv4Addr>) {
        self.world().files.set_running(vmid.get(), address);
    }

    /// A container died.
    pub fn set_stopped(&self, vmid: Vmid) {
        self.world().files.set_stopped(vmid.get());
    }
}

fn storages() -> Vec<Storage> {
    let storage = |name: &str, kind: &str, content: &[&str]| Storage {
        name: name.to_owned(),
        kind: kind.to_owned(),
        content: content.iter().map(|c| (*c).to_owned()).collect(),
        total: 270_553_174_016,
        used: 23_470_854_144,
        shared: false,
        nodes: Vec::new(),
    };
    vec![
        storage("local", "dir", &["iso", "vztmpl", "backup", "snippets"]),
        storage("local-zfs", "zfspool", &["rootdir", "images"]),
        storage("tank", "dir", &["rootdir", "images", "backup"]),
    ]
}

fn appliances() -> Vec<Appliance> {
    let appliance = |template: &str, os: &str, version: &str| Appliance {
        template: template.to_owned(),
        sha512: "d0".repeat(64),
        os: os.to_owned(),
        version: version.to_owned(),
        headline: format!("LXC default image for {os}"),
    };
    vec![
        appliance("debian-12-standard_12.7-1_amd64.tar.zst", "debian-12", "12.7-1"),
        appliance("debian-13-standard_13.1-2_amd64.tar.zst", "debian-13", "13.1-2"),
    ]
}

#[cfg(test)]
mod test;
