//! Work on guests in one process: the real engine and database, and the strict double of the API with two nodes. The nodes
//! have no root channel: guests here need nothing that goes over it.

mod change;
mod failed;
mod look;
mod removal;
mod restore;
mod settle;
mod stack;
mod task;

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access::{Layer, TOKEN_SECRET};
use crate::apps::Library;
use crate::config::Config;
use crate::config::reload::ServerTypesView;
use crate::config::secret::ProcessSecrets;
use crate::domain::guest::{Adoption, Guest, sample};
use crate::domain::id::{GuestId, JobId};
use crate::domain::job::{GuestTask, GuestWork, Job, JobStatus, Work};
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;
use crate::fakes::pve::{FakePve, Options, POOL, Storage, TOKEN};
use crate::image::{ImageStore, ImportLimits};
use crate::jobs::appliance::Appliance;
use crate::jobs::engine::{CallbackBase, Context, Engine};
use crate::store::{GuestReads as _, JobReads as _, MasterKey, Store, Tx, of_node};

/// How long a job may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(100);

pub(super) struct Site {
    pub(super) engine: Engine,
    pub(super) pve: FakePve,
    dir: tempfile::TempDir,
}

impl Site {
    /// Two nodes, both enrolled; apps are switched on.
    pub(super) async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more configuration.
    pub(super) async fn start_with(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pve = FakePve::start(Options {
            root: dir.path().join("pve"),
            nodes: vec!["pve1".to_owned(), "pve2".to_owned()],
            addresses: Vec::new(),
            schema: Some(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../shared/reference/pve-api-schema.json"),
            ),
            enrolled: true,
        })
        .await;
        pve.set_storage(shared("tank"));
        let text = format!(
            "data_dir = \"{}\"\n[server]\nlisten = \"127.0.0.1:8080\"\npublic_url = \"http://192.0.2.10:8080\"\n\
             [pxe]\nenabled = false\n[apps]\nenabled = true\npool = \"{POOL}\"\nstorages = [\"local-zfs\", \"tank\"]\n\
             backup_storages = [\"tank\"]\nbridges = [\"vmbr0\"]\nvmids = \"200-203\"\n{more}",
            dir.path().join("data").display()
        );
        let (config, _) = Config::parse(Path::new("test.toml"), &text, &ProcessSecrets).unwrap();
        let apps = config.apps.clone().unwrap();
        let clock = Arc::new(|| Timestamp(jiff::Timestamp::now().as_millisecond()));
        let library = Library::open(dir.path(), &apps, clock.clone()).await;
        let layer = Arc::new(Layer::new(apps, library, None));
        let path = dir.path().join("db.redb");
        let store = Store::open(&path, MasterKey::from_bytes(&[7; 32]), clock).unwrap();
        let nodes = ["pve1", "pve2"].map(enrolled);
        // The double's ports are any that are free, and it need not be asked with pauses.
        let known = Some((nodes.to_vec(), pve.cluster()));
        *layer.cluster.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let images = ImageStore::open(dir.path().join("images"), ImportLimits::default());
        let context = Context {
            over: crate::limits::over::Overruns::new(Arc::new(|| 0)),
            config: Arc::new(config),
            types: watch::channel(Arc::new(ServerTypesView::default())).1,
            images: images.await.unwrap(),
            appliance: Appliance::default(),
            power: Default::default(),
            callbacks: CallbackBase { url: String::new(), certificate: None },
            apps: Some(layer),
        };
        let site = Self { engine: Engine::new(store, context, CancellationToken::new()), pve, dir };
        let value = site.pve.token().secret;
        site.write(move |tx| {
            for node in &nodes {
                tx.save_node(node, "enrolled")?;
                tx.put_secret(&of_node(&node.name, TOKEN_SECRET), value.expose());
            }
            Ok(())
        })
        .await;
        site
    }

    pub(super) async fn write(
        &self,
        with: impl FnOnce(&mut Tx<'_, '_>) -> Result<(), Refusal> + Send + 'static,
    ) {
        self.engine.store().write(with).await.unwrap();
    }

    /// A guest of ours that runs on pve1, adopted, so that no app of the catalog is needed.
    pub(super) async fn adopted(&self, number: u32) -> Guest {
        let mut guest = sample::guest(number);
        guest.app = None;
        guest.spec.storage = "local-zfs".parse().unwrap();
        let confirmed = Some(Timestamp(0));
        guest.adopted = Some(Adoption { config: [].into(), pool: None, confirmed });
        self.pve.add_container("pve1", guest.vmid, &file(&guest, ""));
        self.pve.add_to_pool(POOL, guest.vmid);
        self.pve.set_running(guest.vmid, Some([192, 0, 2, 60].into()));
        let saved = guest.clone();
        self.write(move |tx| Ok(tx.save_guest(&saved, "adopted")?)).await;
        guest
    }

    /// A guest with an app of the catalog, made by an installation that succeeded; its container is stopped and has no
    /// volumes.
    pub(super) async fn installed(&self, number: u32) -> Guest {
        let mut guest = sample::guest(number);
        let library = &self.engine.layer().unwrap().library;
        let app = library.catalog().get(&guest.app.as_ref().unwrap().id).cloned().unwrap();
        library.keep(&app.provenance.hash).await.unwrap();
        let installed = guest.app.as_mut().unwrap();
        (installed.version, installed.hash) = (app.manifest.version, app.provenance.hash);
        guest.spec.storage = "local-zfs".parse().unwrap();
        let task = GuestTask::Install { app: installed.id.clone() };
        let job = job(u128::from(number), &guest, task, JobStatus::Succeeded);
        let notes = format!("#installed (guest {}, job {})\n", guest.id, job.id);
        self.pve.add_container("pve1", guest.vmid, &file(&guest, &notes));
        self.pve.add_to_pool(POOL, guest.vmid);
        let saved = guest.clone();
        self.write(move |tx| {
            tx.save_guest(&saved, "installed")?;
            Ok(tx.save_job(&job)?)
        })
        .await;
        guest
    }

    /// The newest job of a guest.
    pub(super) async fn newest(&self, id: GuestId) -> Option<Job> {
        let read = self.engine.store().read::<_, Refusal, _>(move |r| Ok(r.jobs_of_guest(id, 1)?));
        read.await.unwrap().into_iter().next()
    }

    pub(super) async fn guest(&self, id: GuestId) -> Guest {
        let read = self.engine.store().read::<_, Refusal, _>(move |r| Ok(r.guest(id)?));
        read.await.unwrap().unwrap()
    }

    pub(super) async fn job(&self, id: JobId) -> Job {
        let read = self.engine.store().read::<_, Refusal, _>(move |r| Ok(r.job(id)?));
        read.await.unwrap().unwrap()
    }

    /// Waits for the end of a job, which must be this one.
    pub(super) async fn wait(&self, id: JobId, status: JobStatus) -> Job {
        let begun = tokio::time::Instant::now();
        loop {
            let job = self.job(id).await;
            if job.status.is_terminal() {
                assert_eq!(job.status, status, "{:?}\n{:#?}", job.failure, job.steps);
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "{job:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A container's file, as somebody with a shell on a member sees it.
    pub(super) fn conf(&self, node: &str, vmid: Vmid) -> std::path::PathBuf {
        self.dir.path().join(format!("pve/nodes/{node}/lxc/{vmid}.conf"))
    }
}

/// A job as it was recorded, without steps.
fn job(number: u128, guest: &Guest, task: GuestTask, status: JobStatus) -> Job {
    let name = guest.name.clone();
    Job {
        id: JobId(uuid::Uuid::from_u128(number)),
        work: Work::Guest(GuestWork { guest: guest.id, name, task, parent: None, pending: None }),
        status,
        created: Timestamp(0),
        started: None,
        finished: None,
        steps: Vec::new(),
        failure: None,
        cancel_requested: false,
    }
}

fn enrolled(name: &str) -> EnrolledNode {
    EnrolledNode {
        name: name.parse().unwrap(),
        address: [127, 0, 0, 1].into(),
        api_fingerprint: "ab".repeat(32),
        ssh_host_keys: Vec::new(),
        release: "9.2".to_owned(),
        token_id: TOKEN.to_owned(),
        host: None,
        enrolled: Timestamp(1),
        gpu: Default::default(),
        gpu_seen: None,
        problem: String::new(),
    }
}

/// A storage that every node has and that is the same on all.
fn shared(name: &str) -> Storage {
    Storage {
        name: name.to_owned(),
        kind: "dir".to_owned(),
        content: ["backup", "images", "rootdir"].map(str::to_owned).into(),
        total: 270_553_174_016,
        used: 0,
        shared: true,
        nodes: Vec::new(),
    }
}

fn file(guest: &Guest, notes: &str) -> String {
    format!(
        "{notes}arch: amd64\ncores: 1\nhostname: {}\nmemory: 512\nnet0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\n\
         ostype: debian\nrootfs: local-zfs:subvol-{}-disk-0,size=4G\ntags: ironhatch\nunprivileged: 1\n",
        guest.name, guest.vmid
    )
}
