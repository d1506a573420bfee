//! A small fleet in a real database, with a clock that stands still.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::described::Seen;
use super::operations::Recorder;
use super::sample::{NOW, ago, host};
use crate::config::live::ConfigView;
use crate::domain::account::{Account, AccountName};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::{HostEvent, HostState};
use crate::domain::id::{Hostname, JobId};
use crate::domain::image::Image;
use crate::domain::inventory::{Disk, Firmware, Inventory};
use crate::domain::job::{ImportImage, Job, JobStatus, Rebuild, Step, StepClass, StepStatus, Work};
use crate::domain::mac::Mac;
use crate::domain::server_type::{DiskSelection, ServerType};
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::limits::over::Overruns;
use crate::store::{HostReads as _, HostWriteError, MasterKey, NewEvent, Session, Store, Tx};
use crate::web::{
    GuestOperations, ServerTypeList, Traffic, TrustedProxy, WebParts, WebState, router,
};

/// The browser's session id and its form token.
pub(crate) const SESSION: [u8; 64] = [b'a'; 64];
pub(crate) const CSRF: &str = "the-form-token";
/// Must be on no page.
pub(crate) const PLANTED_HASH: &str = "5ec7e75ec7e75ec7e7";
/// What hostile machines say about themselves.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>";

pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) router: Router,
    pub(crate) asked: Recorder,
    pub(crate) traffic: Traffic,
    pub(crate) cancel: CancellationToken,
    clock: Arc<AtomicI64>,
    _types: watch::Sender<Arc<ServerTypeList>>,
    pub(super) dir: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

fn types() -> ServerTypeList {
    let lab = ServerType {
        name: "lab".parse().unwrap(),
        display_name: "Lab machine".into(),
        boot_disk: DiskSelection::PerHost,
        management_nic: None,
        gpu: false,
        pools: vec![],
        hostname_prefix: "pve".into(),
        domain: "lab.example".into(),
        answer_template: "zfs-single".into(),
        answer: Default::default(),
        min_memory_mib: None,
        matching: None,
        boot_on_rebuild: false,
        labels: Default::default(),
    };
    ServerTypeList { types: vec![lab], errors: vec!["gpu.toml: unknown key 'dsik'".into()] }
}

impl Scene {
    /// An empty appliance with one logged-in browser; apps are switched off.
    pub(crate) fn empty() -> Self {
        Self::with(None)
    }

    /// The same with operations on guests, or without.
    pub(super) fn with(guests: Option<Arc<dyn GuestOperations>>) -> Self {
        Self::built(guests, super::notify::CONFIGURED).0
    }

    /// The same with this configuration, and what changes it.
    pub(super) fn configured(text: &str) -> (Self, watch::Sender<Arc<ConfigView>>) {
        Self::built(None, text)
    }

    fn built(
        guests: Option<Arc<dyn GuestOperations>>,
        configuration: &str,
    ) -> (Self, watch::Sender<Arc<ConfigView>>) {
        let settings = super::notify::config(configuration);
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(NOW.0));
        let read = Arc::clone(&clock);
        let path = dir.path().join("db.redb");
        let now = Arc::new(move || Timestamp(read.load(Ordering::SeqCst)));
        let store = Store::open(&path, MasterKey::from_bytes(&[7; 32]), now).unwrap();
        let (sender, receiver) = watch::channel(Arc::new(types()));
        let asked = Recorder::default();
        let engine = super::types::engine(dir.path(), &store);
        assert!(asked.engine.set(engine).is_ok());
        let cancel = CancellationToken::new();
        let traffic = Traffic::new(Overruns::new(Arc::new(|| NOW.0 - 90_000)));
        let state = WebState::new(WebParts {
            guests,
            operations: Arc::new(asked.clone()),
            store: store.clone(),
            types: receiver,
            version: "0.0.0-test",
            public_url: "http://192.0.2.10:8080".into(),
            traffic: traffic.clone(),
            doctor: Arc::new(super::doctor::Canned::default()),
            config: settings.subscribe(),
            notifier: Arc::new(super::notify::Deaf),
            bundles: Arc::new(super::limits::NoBundle),
            meters: Arc::new(super::limits::Still),
            proxy: TrustedProxy::new(
                "x-forwarded-user",
                vec!["192.0.2.5/32".parse().unwrap()],
                true,
            )
            .map(Arc::new),
            cancel: cancel.clone(),
        });
        let scene = Self {
            store,
            router: router(state),
            asked,
            traffic,
            cancel,
            clock,
            _types: sender,
            dir,
        };
        scene.write(0, |tx| {
            let id = std::str::from_utf8(&SESSION).unwrap();
            let id_hash = crate::web::auth::token_hash(id);
            let expires = NOW.after(std::time::Duration::from_hours(12));
            let csrf = CSRF.to_owned();
            let account = AccountName::first();
            // The first account is there; nobody knows a password of it.
            tx.save_account(&Account::new(account.clone(), None, NOW)).unwrap();
            let (address, agent) = (Some(IpAddr::from([192, 0, 2, 77])), "Browser/1".to_owned());
            let session = Session { id_hash, csrf, created: NOW, expires, account, address, agent };
            tx.save_session(&session).unwrap();
        });
        (scene, settings)
    }

    /// The fleet of the pages' golden files.
    pub(crate) fn fleet() -> Self {
        let scene = Self::empty();
        scene.last_run();
        scene.present_run();
        scene.others();
        scene
    }

    /// Writes as if it were `secs` before now.
    pub(crate) fn write(&self, secs: i64, with: impl FnOnce(&mut Tx<'_, '_>) + Send + 'static) {
        self.clock.store(ago(secs).0, Ordering::SeqCst);
        let write = || {
            self.store.write_blocking(|tx| -> Result<(), HostWriteError> {
                with(tx);
                Ok(())
            })
        };
        let written = tokio::task::block_in_place(write);
        written.unwrap();
        self.clock.store(NOW.0, Ordering::SeqCst);
    }

    pub(crate) fn move_host(&self, secs: i64, n: u8, event: HostEvent, message: &'static str) {
        self.write(secs, move |tx| {
            let mut host = tx.host(host(n, |_| ()).id).unwrap().unwrap();
            assert!(tx.move_host(&mut host, event, message).unwrap().is_ok());
        });
    }

    fn last_run(&self) {
        self.write(90_000, |tx| {
            tx.save_image(&image()).unwrap();
            tx.save_host(&host(2, |h| {
                h.active_job = Some(job_id(1));
                h.inventory = inventory();
                h.address = Some([192, 0, 2, 22].into());
                h.overrides.boot_disk = Some(DiskSelection::Property {
                    property: "ID_SERIAL_SHORT".into(),
                    value: "S6B0NX0T1".into(),
                });
            }))
            .unwrap();
        });
        for (secs, event) in [
            (89_900, HostEvent::Armed),
            (89_840, HostEvent::ScriptFetched),
            (89_820, HostEvent::AnswerServed),
            (89_600, HostEvent::InstalledReported),
            (89_500, HostEvent::PhonedHome),
            (89_499, HostEvent::JoinStarted),
            (89_440, HostEvent::JoinVerified),
        ] {
            self.move_host(secs, 2, event, "moved");
        }
        self.write(89_440, |tx| {
            let mut job = rebuild(1, 2, 89_900, [StepStatus::Succeeded; 4]);
            (job.status, job.finished) = (JobStatus::Succeeded, Some(ago(89_440)));
            tx.save_job(&job).unwrap();
            let mut host = tx.host(host(2, |_| ()).id).unwrap().unwrap();
            host.active_job = Some(job_id(2));
            tx.save_host(&host).unwrap();
        });
    }

    fn present_run(&self) {
        self.move_host(200, 2, HostEvent::Armed, "pve2 is armed for one installation.");
        self.write(199, |tx| {
            let states = [
                StepStatus::Succeeded,
                StepStatus::Running,
                StepStatus::Pending,
                StepStatus::Pending,
            ];
            let job = rebuild(2, 2, 200, states);
            tx.save_job(&job).unwrap();
            let step = "preflight".parse().unwrap();
            tx.log(&job, Some(&step), Level::Info, "The image is readable.").unwrap();
            tx.log(&job, None, Level::Warn, HOSTILE).unwrap();
        });
        self.write(170, |tx| {
            super::boot_scene::installing(tx, host(2, |_| ()).macs[0]);
        });
        self.move_host(174, 2, HostEvent::ScriptFetched, "pve2 fetched its installer script.");
        self.move_host(150, 2, HostEvent::AnswerServed, "The answer was handed out.");
    }

    fn others(&self) {
        self.write(120, |tx| {
            tx.save_host(&host(1, |h| {
                (h.state, h.state_since) = (HostState::Ready, ago(7_300));
                h.address = Some([192, 0, 2, 21].into());
            }))
            .unwrap();
            tx.save_host(&host(3, |h| {
                h.state = HostState::Installing;
                h.inventory.vendor = Some(HOSTILE.into());
            }))
            .unwrap();
            let mut failed = tx.host(host(3, |_| ()).id).unwrap().unwrap();
            let hint = "Look at the machine's console, then try again.";
            let reason = "The installer did not report within 45 minutes.";
            assert!(tx.fail_host(&mut failed, reason, hint).unwrap().is_ok());
            tx.save_host(&host(4, |_| ())).unwrap();
            for (n, ignored) in [(0x51, false), (0x52, true)] {
                tx.save_sighting(&Sighting {
                    mac: Mac([0x52, 0x54, 0, 0xcc, 0, n]),
                    inventory: Inventory {
                        product: Some(format!("ProLiant {HOSTILE}")),
                        ..inventory()
                    },
                    architecture: Some("UEFI x64".into()),
                    address: None,
                    first_seen: ago(600),
                    last_seen: ago(30),
                    times_seen: 4,
                    ignored,
                    by_hand: false,
                })
                .unwrap();
            }
        });
        self.write(60, |tx| {
            super::boot_scene::never_speaks(tx, host(3, |_| ()).macs[0]);
            super::boot_scene::asks_elsewhere(tx, Mac([0x52, 0x54, 0, 0xcc, 0, 0x51]));
            let import = import_job();
            tx.save_job(&import).unwrap();
            tx.emit(NewEvent {
                level: Level::Info,
                subject: Subject { job: Some(import.id), ..Subject::default() },
                kind: EventKind::Progress { done: 600, total: Some(1000) },
                message: "1.0 of 1.6 GiB".into(),
            })
            .unwrap();
        });
    }

    /// Sends a request as it is. What comes back must be what the API's document says.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        super::answer::DESCRIBED.check(&Seen {
            method: method.as_str(),
            path: &path,
            status: answer.status.as_u16(),
            content_type: answer.header("content-type"),
            body: &answer.body,
        });
        answer
    }

    /// Gets a page as the logged-in browser.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(browser("GET", path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form as the logged-in browser.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        let request = browser("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()));
        self.send(request.unwrap()).await
    }
}

/// A JSON body of the logged-in browser.
pub(super) fn json(method: &str, path: &str, body: &str) -> Request<Body> {
    let request = browser(method, path).header("x-csrf-token", CSRF);
    request.body(Body::from(body.to_owned())).unwrap()
}

/// A request of the logged-in browser.
pub(crate) fn browser(method: &str, path: &str) -> axum::http::request::Builder {
    let id = std::str::from_utf8(&SESSION).unwrap();
    let cookie = format!("ironhatch_session={id}");
    Request::builder().method(method).uri(path).header("cookie", cookie)
}

pub(crate) fn job_id(n: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n))
}

fn inventory() -> Inventory {
    Inventory {
        vendor: Some("Example Corp".into()),
        product: Some("Rack 1U".into()),
        serial: Some("CZJ0000001".into()),
        memory_mib: Some(32_768),
        firmware: Some(Firmware::Uefi),
        disks: vec![Disk {
            device: "/dev/sda".into(),
            serial: Some("S6B0NX0T1".into()),
            model: Some("SSD 980".into()),
            wwn: None,
            is_boot_disk: true,
        }],
        ..Inventory::default()
    }
}

pub(super) fn image() -> Image {
    Image { imported_at: ago(90_000), ..crate::fakes::sample::image() }
}

fn rebuild(n: u128, of: u8, secs: i64, statuses: [StepStatus; 4]) -> Job {
    let hostname: Hostname = host(of, |_| ()).hostname;
    let titles = [
        ("preflight", "Check everything before the machine is touched"),
        ("install", "Wait for the installation"),
        ("join", "Join the cluster"),
        ("cleanup", "Destroy the ephemeral key"),
    ];
    let begun = |status| status != StepStatus::Pending;
    let over = |status| !matches!(status, StepStatus::Pending | StepStatus::Running);
    let step = |((id, title), status): ((&str, &str), StepStatus)| Step {
        id: id.parse().unwrap(),
        title: title.into(),
        class: StepClass::Wait,
        status,
        attempts: u32::from(begun(status)),
        started: begun(status).then(|| ago(secs)),
        finished: over(status).then(|| ago(secs - 12)),
        detail: String::new(),
    };
    Job {
        id: job_id(n),
        work: Work::Rebuild(Rebuild {
            host: host(of, |_| ()).id,
            hostname,
            image: image().id,
            disk: None,
            replace_node: false,
            token_hash: Some(PLANTED_HASH.into()),
            public_key: None,
            answer_served: None,
            join_started: false,
            part_of: None,
        }),
        status: JobStatus::Running,
        created: ago(secs),
        started: Some(ago(secs)),
        finished: None,
        steps: titles.into_iter().zip(statuses).map(step).collect(),
        failure: None,
        cancel_requested: false,
    }
}

/// An image import.
pub(crate) fn import_job() -> Job {
    let source = "http://192.0.2.9/proxmox-ve_8.4-1.iso".to_owned();
    Job {
        work: Work::ImportImage(ImportImage { source, expected_sha256: None, image: None }),
        steps: vec![],
        ..rebuild(3, 2, 60, [StepStatus::Pending; 4])
    }
}
