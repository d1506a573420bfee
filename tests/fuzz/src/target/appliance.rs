//! A daemon in memory: real store, engine and routers, without sockets and without drivers of jobs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::future::BoxFuture;
use ironhatch::assets::BootFiles;
use ironhatch::boot::rehearsal::Rehearsals;
use ironhatch::config::live::ConfigView;
use ironhatch::config::reload::ServerTypesView;
use ironhatch::config::{Config, ProcessSecrets};
use ironhatch::domain::boot::{BootObservation, BootSink};
use ironhatch::domain::host::{Host, HostOverrides, HostState};
use ironhatch::domain::id::JobId;
use ironhatch::domain::job::{Job, JobStatus};
use ironhatch::domain::mac::Mac;
use ironhatch::domain::refusal::{Refusal, RefusalKind};
use ironhatch::domain::secret::InstallToken;
use ironhatch::domain::time::Timestamp;
use ironhatch::image::{ImageStore, ImportLimits};
use ironhatch::jobs::{CallbackBase, Context, Engine, ImportRequest, NewHost, RebuildRequest};
use ironhatch::limits::over::Overruns;
use ironhatch::plan::doctor::rehearsal::{Firmware, Rehearsal};
use ironhatch::plan::doctor::{Facts, Report, examine};
use ironhatch::proto::iso9660::sample;
use ironhatch::store::{HostReads as _, HostWriteError, JobReads as _, MasterKey, Store, of_job};
use ironhatch::web::machine::MachineState;
use ironhatch::web::metrics::{Family, Meters};
use ironhatch::web::{self, ServerTypeList, Traffic, WebParts, WebState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the daemon says that it is.
const URL: &str = "http://192.0.2.10:8080";
/// The one registered machine.
pub(crate) const MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
/// What is sealed for a rebuild.
const SECRETS: [&str; 3] = ["install-token", "ssh-key", "root-password-hash"];

pub(crate) struct Appliance {
    pub(crate) store: Store,
    engine: Engine,
    /// Removed by whoever runs the fuzzer: it never ends in order.
    dir: std::path::PathBuf,
}

/// Nobody listens.
struct Deaf;

impl BootSink for Deaf {
    fn observe(&self, observation: BootObservation) {
        assert!(observation.message.len() < 4000, "a story without end");
    }
}

impl Appliance {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("appliance-").tempdir().expect("a folder").keep();
        let store = Store::open(
            &dir.join("fuzz.redb"),
            MasterKey::from_bytes(&[7; 32]),
            Arc::new(|| Timestamp(1_795_200_780_000)),
        )
        .expect("a database");
        let engine = engine(&dir, &store, CancellationToken::new());
        Self { store, engine, dir }
    }

    /// The routes for machines.
    pub(crate) fn machine(&self) -> Router {
        web::machine::router(MachineState {
            engine: self.engine.clone(),
            boot_files: Arc::new(boot_files()),
            sink: Arc::new(Deaf),
            rehearsals: Rehearsals::default(),
            public_url: URL.into(),
        })
    }

    /// The configuration, which nobody changes: a receiver keeps the last value.
    fn settings(&self) -> watch::Receiver<Arc<ConfigView>> {
        let config = Arc::clone(&self.engine.context().config);
        watch::channel(Arc::new(ConfigView::new(config, self.store.now()))).1
    }

    /// The routes for operators.
    pub(crate) fn operator(&self) -> Router {
        // The list does not change: a receiver keeps the last one.
        let (_, types) = watch::channel(Arc::new(ServerTypeList::default()));
        web::router(WebState::new(WebParts {
            operations: Arc::new(self.engine.clone()),
            guests: None,
            store: self.store.clone(),
            types,
            version: "0.0.0",
            public_url: URL.to_owned(),
            traffic: Traffic::new(overruns()),
            doctor: Arc::new(NoDoctor),
            config: self.settings(),
            notifier: Arc::new(NoNotifier),
            bundles: Arc::new(NoBundles),
            meters: Arc::new(NoMeters),
            proxy: None,
            cancel: CancellationToken::new(),
        }))
    }

    /// Imports an image, registers a host and arms it, all by the engine itself, which then stands still.
    pub(crate) async fn arm(&self) -> Armed {
        let stop = CancellationToken::new();
        let engine = engine(&self.dir, &self.store, stop.clone());
        let running = tokio::spawn(engine.clone().run());
        let iso = self.dir.join("proxmox-ve_9.2-1.iso");
        std::fs::write(&iso, sample::installer("9.2")).expect("an image");
        let source = iso.to_str().expect("text").to_owned();
        let import = engine.import_image(ImportRequest { source, sha256: None }).await;
        let import = import.expect("an import");
        self.until(|| self.job(import).status == JobStatus::Succeeded).await;
        let host = engine
            .register_host(NewHost {
                hostname: "pve1".parse().expect("a name"),
                macs: vec![MAC],
                server_type: "lab".parse().expect("a name"),
                overrides: HostOverrides::default(),
            })
            .await
            .expect("a host");
        let confirm = "pve1".to_owned();
        let request = RebuildRequest { image: None, confirm, replace_node: false };
        let job = engine.rebuild(host.id, request).await.expect("a rebuild");
        self.until(|| self.host(&host).state == HostState::PxeReady).await;
        stop.cancel();
        running.await.expect("the engine ends").expect("in order");
        let (host, job) = (self.host(&host), self.job(job));
        let id = job.id;
        let secrets = self.store.write(move |tx| {
            let open = |name: &str| {
                let plain = tx.open_secret(&of_job(id, name)).expect("a secret").expect("sealed");
                (of_job(id, name), plain.to_string())
            };
            Ok::<_, HostWriteError>(SECRETS.map(open).to_vec())
        });
        let secrets = secrets.await.expect("secrets");
        let token: InstallToken = secrets[0].1.parse().expect("a token");
        Armed { host, job, secrets, token }
    }

    /// As the host was when it had just been armed.
    pub(crate) fn reset(&self, armed: &Armed) {
        let (host, job, token) = (armed.host.clone(), armed.job.clone(), armed.token.hash());
        let secrets = armed.secrets.clone();
        let written = self.store.write_blocking(move |tx| -> Result<(), HostWriteError> {
            tx.save_job(&job)?;
            tx.save_token(token, job.id);
            secrets.iter().for_each(|(name, plain)| tx.put_secret(name, plain));
            tx.save_host(&host)
        });
        written.expect("a write");
    }

    pub(crate) fn host(&self, host: &Host) -> Host {
        let snapshot = self.store.snapshot().expect("a database");
        snapshot.host(host.id).expect("readable").expect("there")
    }

    pub(crate) fn job(&self, id: JobId) -> Job {
        let snapshot = self.store.snapshot().expect("a database");
        snapshot.job(id).expect("readable").expect("there")
    }

    async fn until(&self, done: impl Fn() -> bool) {
        for _ in 0..6000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the engine does not get there");
    }
}

/// A host that waits for its machine, with everything that belongs to its rebuild.
pub(crate) struct Armed {
    pub(crate) host: Host,
    pub(crate) job: Job,
    secrets: Vec<(String, String)>,
    pub(crate) token: InstallToken,
}

pub(crate) fn boot_files() -> BootFiles {
    BootFiles::embedded("#!ipxe\n")
}

/// A request that comes from a machine of the segment.
pub(crate) fn from_machine(mut request: Request<Body>) -> Request<Body> {
    let peer = SocketAddr::from(([192, 0, 2, 77], 40_000));
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

fn engine(dir: &Path, store: &Store, stop: CancellationToken) -> Engine {
    let text = format!(
        "data_dir = \"{}\"\n[server]\nlisten = \"192.0.2.10:8080\"\npublic_url = \"{URL}\"\n\
         [pxe]\nenabled = true\ninterface = \"eth0\"\nsubnet = \"192.0.2.0/24\"\n",
        dir.display()
    );
    let config = Config::parse(&dir.join("ironhatch.toml"), &text, &ProcessSecrets);
    let config = Arc::new(config.expect("a configuration").0);
    let types = dir.join("server-types");
    std::fs::create_dir_all(&types).expect("a folder");
    let lab = "boot_disk = { property = \"ID_SERIAL_SHORT\", value = \"DISK1\" }\nhostname_prefix = \"pve\"\n\
               answer_template = \"ext4-lvm\"\ndomain = \"lab.test\"\n";
    std::fs::write(types.join("lab.toml"), lab).expect("a server type");
    let view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
    let (_, types) = watch::channel(Arc::new(view));
    // In a thread of its own: the caller may be inside a runtime.
    let opened = std::thread::scope(|scope| {
        let folder = dir.join("images");
        let open = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(ImageStore::open(folder, ImportLimits::default()))
        };
        scope.spawn(open).join().expect("opened")
    });
    let context = Context {
        config,
        types,
        images: opened.expect("a folder of images"),
        appliance: Default::default(),
        callbacks: CallbackBase { url: URL.to_owned(), certificate: None },
        apps: None,
        power: Default::default(),
        over: overruns(),
    };
    Engine::new(store.clone(), context, stop)
}

fn overruns() -> Overruns {
    Overruns::new(Arc::new(|| 0))
}

/// Looks at nothing: what a doctor sends on the wire is not what is fuzzed here.
struct NoDoctor;

impl web::Doctor for NoDoctor {
    fn last(&self) -> Option<Arc<Report>> {
        None
    }

    fn check(&self) -> BoxFuture<'_, Arc<Report>> {
        Box::pin(std::future::ready(Arc::new(examine(&Facts::default()))))
    }

    fn simulate(&self, _: Firmware) -> BoxFuture<'_, Result<Rehearsal, Refusal>> {
        let refusal = Refusal::new(RefusalKind::Unavailable, "There is no wire.", "Only look.");
        Box::pin(std::future::ready(Err(refusal)))
    }
}

/// There is no DHCP or TFTP service beside this router.
struct NoMeters;

impl Meters for NoMeters {
    fn read(&self) -> Vec<Family> {
        Vec::new()
    }
}

struct NoNotifier;

impl web::Notifier for NoNotifier {
    fn test(&self, name: String) -> BoxFuture<'_, Result<web::Tested, Refusal>> {
        Box::pin(std::future::ready(Ok(web::Tested { name, failure: None })))
    }
}

struct NoBundles;

impl web::Bundles for NoBundles {
    fn make(&self, _: u32) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
