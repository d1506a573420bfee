//! Composition root: a configuration becomes bound sockets, an open store and running tasks. The only place that knows
//! everybody.
//!
//! ```text
//!  build: master key -> store -> server types -> images -> engine -> bind HTTP, control socket, DHCP, TFTP
//!  run:   engine · recorder · reporter · reload of configuration and server types · watch over health · HTTP · control socket · DHCP · TFTP · housekeeping · backups
//!         with apps: catalog refresh · schedule of guests
//!  stop:  one token: listeners close, streams end, drivers reach a safe point, the store is flushed
//! ```

mod boot;
mod bundle;
mod database;
mod health;
mod heap;
mod leases;
mod meters;
mod recorder;
mod tally;
mod types;

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::apps::Library;
use crate::apps::publish::Publisher;
use crate::assets::BootFiles;
use crate::boot::rehearsal::Rehearsals;
use crate::boot::{dhcp, port_owner, tftp};
use crate::config::apps::Apps;
use crate::config::live::{ConfigReloader, ConfigView};
use crate::config::reload::{self, Reloader, ServerTypesView};
use crate::config::{Config, ProcessSecrets, UnknownPolicy};
use crate::doctor::{Doctor, Inside};
use crate::domain::boot::BootSink;
use crate::domain::time::Timestamp;
use crate::image::{ImageStore, ImportLimits};
use crate::jobs::{Appliance, CallbackBase, Context, Engine, Layer, PinnedCertificate};
use crate::limits::{over::Overruns, work::GRACE};
use crate::observe::logging::Recent;
use crate::plan::script::{BootScript, ScriptUrl, Start};
use crate::report::Reporter;
use crate::store::{MasterKey, Store, StoreError};
use crate::web::machine::MachineState;
use crate::web::metrics::Meters;
use crate::web::serve::Transport;
use crate::web::tls::{Identity, LOOK_EVERY, OwnCertificate};
use crate::web::{self, GuestOperations, Traffic, TrustedProxy, WebParts, WebState};

pub use bundle::bundle_alone;
pub use heap::use_one_heap;

/// The database's file below the data directory.
pub const DATABASE: &str = "ironhatch.redb";
/// The control socket below the data directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Why the daemon does not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No master key.
    #[error("{}", chain(.0))]
    MasterKey(#[from] crate::store::MasterKeyError),
    /// No database.
    #[error("{}", chain(.0))]
    Store(#[from] StoreError),
    /// Something of the configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The HTTP port is not to be had.
    #[error("cannot listen for HTTP on {address}: {reason}")]
    Http {
        /// Where.
        address: String,
        /// Why, with the program that holds the port.
        reason: String,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] web::tls::IdentityError),
    /// The control socket cannot be made.
    #[error("cannot make the control socket {path}: {reason}")]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// DHCP cannot listen.
    #[error("{}", chain(.0))]
    Dhcp(#[from] dhcp::BindError),
    /// TFTP cannot listen.
    #[error("{}", chain(.0))]
    Tftp(#[from] tftp::BindError),
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// The built daemon: everything is bound and open, nothing is served yet.
pub struct App {
    traffic: Traffic,
    store: Store,
    engine: Engine,
    config: Arc<Config>,
    types: Reloader,
    reload: ConfigReloader,
    live: watch::Receiver<Arc<ConfigView>>,
    view: watch::Receiver<Arc<ServerTypesView>>,
    recorder: recorder::Writer,
    stages: Arc<tally::Stages>,
    log: Recent,
    rehearsals: Rehearsals,
    http: TcpListener,
    tls: Option<Tls>,
    control: UnixListener,
    machine: MachineState,
    dhcp: Option<(dhcp::Server, dhcp::DhcpCounters)>,
    tftp: Option<tftp::Server>,
    stop: CancellationToken,
}

/// The second listener.
struct Tls {
    listener: TcpListener,
    identity: Identity,
    own: Option<OwnCertificate>,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("http", &self.http).finish_non_exhaustive()
    }
}

fn wall_clock() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    #[cfg(feature = "fakes")]
    let now = now.saturating_add(crate::fakes::clock::error_ms());
    Timestamp(now)
}

/// The master key: from systemd's credential directory when it has one, else a file in the data directory.
///
/// # Errors
/// When it cannot be read, or can be read by others.
pub fn master_key(data_dir: &Path) -> Result<MasterKey, crate::store::MasterKeyError> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|dir| PathBuf::from(dir).join("master-key"))
        .filter(|path| path.exists());
    match credential {
        Some(path) => MasterKey::open_credential(&path),
        None => MasterKey::open_or_create(&data_dir.join("master.key")),
    }
}

impl App {
    /// Opens and binds everything. Nothing is answered before [`App::run`].
    ///
    /// # Errors
    /// [`StartError`]: the first thing that stands in the way, with what to do.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let stop = CancellationToken::new();
        let data_dir = config.data_dir.clone();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&data_dir)
            .map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        let store = database::open(&data_dir)?;
        let (types, view) = Reloader::new(
            config.server_types.clone(),
            config.answer_templates_dir.clone(),
            reload::COALESCE,
        )
        .map_err(|e| StartError::Config(format!("server types cannot be watched: {e}")))?;
        let (reload, live) = ConfigReloader::new(
            Arc::clone(&config),
            Arc::new(ProcessSecrets),
            Arc::new(wall_clock),
            reload::COALESCE,
        )
        .map_err(|e| StartError::Config(format!("the configuration cannot be watched: {e}")))?;
        let images = ImageStore::open(data_dir.join("images"), ImportLimits::default())
            .await
            .map_err(|e| StartError::Config(chain(&e)))?;
        let tls = bind_tls(&config).await?;
        let callbacks = callback_base(&config, tls.as_ref());
        let apps = match &config.apps {
            Some(apps) => {
                let library = Library::open(&data_dir, apps, Arc::new(wall_clock)).await;
                let publisher = publisher(&data_dir, apps)?;
                Some(Arc::new(Layer::new(apps.clone(), library, publisher)))
            }
            None => None,
        };
        let over = Overruns::new(Arc::new(|| wall_clock().0));
        let context = Context {
            over: over.clone(),
            config: Arc::clone(&config),
            types: view.clone(),
            images,
            appliance: Appliance::read(),
            callbacks,
            power: Default::default(),
            apps,
        };
        let engine = Engine::new(store.clone(), context, stop.clone());
        web::adopt_old_access(&store).await?;
        engine.settle_after_restore().await.map_err(|e| StartError::Config(e.to_string()))?;
        let keeps_strangers =
            config.pxe.as_ref().is_some_and(|pxe| pxe.unknown == UnknownPolicy::Enroll);
        let rehearsals = Rehearsals::default();
        let (sink, recorder) = recorder::recorder(
            store.clone(),
            keeps_strangers,
            &config.server.public_url,
            over.clone(),
            rehearsals.clone(),
        );
        let stages = sink.stages();
        let sink: Arc<dyn BootSink> = Arc::new(sink);
        let boot_files = Arc::new(boot_files(&config)?);
        let http = bind_http(&config).await?;
        let control = bind_control(&data_dir.join(CONTROL_SOCKET))?;
        let machine = MachineState {
            engine: engine.clone(),
            boot_files: Arc::clone(&boot_files),
            sink: Arc::clone(&sink),
            rehearsals: rehearsals.clone(),
            public_url: Arc::from(config.server.public_url.as_str()),
        };
        let (dhcp, tftp) = boot::bind(&config, &store, &boot_files, &sink, &over).await?;
        let traffic = Traffic::new(over);
        Ok(Self {
            traffic,
            store,
            engine,
            config,
            types,
            reload,
            live,
            view,
            recorder,
            stages,
            log: Recent::default(),
            rehearsals,
            http,
            tls,
            control,
            machine,
            dhcp,
            tftp,
            stop,
        })
    }

    /// Puts the newest lines of the log into debug bundles.
    #[must_use]
    pub fn with_log(self, log: Recent) -> Self {
        Self { log, ..self }
    }

    /// Ends everything when cancelled.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Where HTTP is really served; the port is the system's choice when 0 was configured.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn http_address(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// The link that sets the operator's password, as long as there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn setup_link(&self) -> Result<Option<String>, StoreError> {
        web::setup_link(&self.store, &self.config.server.public_url).await
    }

    /// Tells the operator and the service manager that everything is up.
    pub fn announce(&self) {
        let dashboard = &self.config.server.public_url;
        let boot = if self.dhcp.is_some() { "on" } else { "off" };
        if let Some(tls) = &self.tls {
            let fingerprint = tls.identity.fingerprint_text();
            tracing::info!(fingerprint, "HTTPS is served with this certificate");
        }
        tracing::info!(
            dashboard,
            network_boot = boot,
            version = env!("CARGO_PKG_VERSION"),
            "ironhatch is up"
        );
        // Without a service manager there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Serves until the stop token is cancelled, then ends everything in order.
    ///
    /// # Errors
    /// When tasks did not end within the grace period.
    pub async fn run(self) -> Result<(), String> {
        let stop = self.stop;
        let mut tasks = tokio::task::JoinSet::new();
        let tally = tally::Tally::default();
        let heard = self.store.subscribe();
        tasks.spawn(tally.clone().follow(self.store.clone(), heard, stop.clone()));
        if let Some(guests) = self.engine.guests() {
            tasks.spawn(guests.library().run(stop.clone()));
            tasks.spawn(guests.keep_house(stop.clone()));
        }
        let engine = self.engine.clone();
        tasks.spawn(async move {
            if let Err(error) = engine.run().await {
                // Without it nothing that is asked for happens: better a restart than an appliance that only looks
                // alive. The panic ends this task, and with it the daemon, with a failing exit status.
                panic!("the job engine stopped: {error}");
            }
        });
        // Observations made while the others stop are still written.
        let recorder_stop = CancellationToken::new();
        let recorder = tokio::spawn(self.recorder.run(recorder_stop.clone()));
        let reporter = Reporter::new(self.store.clone(), self.live.clone());
        tasks.spawn(reporter.clone().run(stop.clone()));
        tasks.spawn(self.reload.run(stop.clone()));
        tasks.spawn(self.types.run(stop.clone()));
        let (list, types) = watch::channel(Arc::new(types::list_of(&self.view.borrow())));
        tasks.spawn(types::follow(self.view, list, stop.clone()));
        let meters = meters::Numbers {
            store: self.store.clone(),
            dhcp: self.dhcp.as_ref().map(|(_, counters)| counters.clone()),
            tftp: self.tftp.as_ref().map(tftp::Server::counters),
            tally,
            stages: self.stages,
        };
        let doctor = Doctor::new(Inside {
            engine: self.engine.clone(),
            dhcp: self.dhcp.as_ref().map(|(_, counters)| counters.clone()),
            rehearsals: self.rehearsals,
            boot_files: Arc::clone(&self.machine.boot_files),
        });
        let found = doctor.follow();
        let (doctor, meters): (Arc<dyn web::Doctor>, Arc<dyn Meters>) =
            (Arc::new(doctor), Arc::new(meters));
        let watch = health::Watch {
            doctor: Arc::clone(&doctor),
            found,
            store: self.store.clone(),
            config: self.live.clone(),
        };
        tasks.spawn(watch.run(stop.clone()));
        let bundles = bundle::Gatherer {
            store: self.store.clone(),
            config: self.live.clone(),
            doctor: Arc::clone(&doctor),
            traffic: self.traffic.clone(),
            meters: Arc::clone(&meters),
            log: self.log,
            turn: tokio::sync::Mutex::default(),
        };
        let operator = web::router(WebState::new(WebParts {
            operations: Arc::new(self.engine.clone()),
            guests: self.engine.guests().map(|guests| Arc::new(guests) as Arc<dyn GuestOperations>),
            store: self.store.clone(),
            types,
            version: env!("CARGO_PKG_VERSION"),
            public_url: self.config.server.public_url.clone(),
            traffic: self.traffic.clone(),
            doctor,
            config: self.live,
            notifier: Arc::new(reporter),
            bundles: Arc::new(bundles),
            meters,
            proxy: trusted_proxy(&self.config),
            cancel: stop.clone(),
        }));
        let router = operator
            .clone()
            .merge(web::machine::router(self.machine))
            .fallback(web::not_found)
            .layer(tower_http::catch_panic::CatchPanicLayer::new());
        let traffic = self.traffic;
        let router = web::counted(router, traffic.clone());
        if let Some(Tls { listener, own, acceptor, .. }) = self.tls {
            if let Some(own) = own {
                tasks.spawn(own.follow(LOOK_EVERY, stop.clone()));
            }
            let transport = Transport::Tls(acceptor);
            tasks.spawn(web::serve::tcp(
                listener,
                transport,
                router.clone(),
                traffic.clone(),
                stop.clone(),
            ));
        }
        tasks.spawn(web::serve::tcp(self.http, Transport::Plain, router, traffic, stop.clone()));
        tasks.spawn(web::serve::unix(self.control, operator, stop.clone()));
        if let Some((dhcp, _)) = self.dhcp {
            tasks.spawn(dhcp.run(stop.clone()));
        }
        if let Some(tftp) = self.tftp {
            tasks.spawn(tftp.run(stop.clone()));
        }
        tasks.spawn(database::housekeeping(self.store.clone(), stop.clone()));
        tasks.spawn(database::backups(self.store.clone(), stop.clone()));

        let mut defect = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a part of the daemon ended by a defect; stopping, to be started again");
                    defect = true;
                    stop.cancel();
                },
            }
        }
        let ended =
            tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
        recorder_stop.cancel();
        let _ = recorder.await;
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        ended.map_err(|_| format!("some tasks did not end within {} s", GRACE.as_secs()))?;
        if defect {
            Err("a part of the daemon ended by a defect; see the log".to_owned())
        } else {
            Ok(())
        }
    }
}

fn trusted_proxy(config: &Config) -> Option<Arc<TrustedProxy>> {
    let trusted = config.server.trusted_header.as_ref()?;
    TrustedProxy::new(&trusted.name, trusted.from.clone(), trusted.forwarded_for).map(Arc::new)
}

fn publisher(data_dir: &Path, apps: &Apps) -> Result<Option<Publisher>, StartError> {
    let Some(services) = &apps.services else { return Ok(None) };
    let made = Publisher::new(data_dir, services);
    made.map(Some).map_err(|e| StartError::Config(format!("apps.services: {}", chain(&e))))
}

fn boot_files(config: &Config) -> Result<BootFiles, StartError> {
    let base = ScriptUrl::parse(&config.server.public_url)
        .map_err(|e| StartError::Config(e.to_string()))?;
    let mut files = BootFiles::embedded(&BootScript::Start(Start { base }).render());
    if let Some(folder) = config.pxe.as_ref().and_then(|pxe| pxe.boot_files_dir.as_ref()) {
        files.replace_from(folder).map_err(|e| StartError::Config(chain(&e)))?;
    }
    Ok(files)
}

async fn bind_http(config: &Config) -> Result<TcpListener, StartError> {
    bind_tcp(config.server.listen).await
}

async fn bind_tls(config: &Config) -> Result<Option<Tls>, StartError> {
    let Some(address) = config.server.tls_listen else { return Ok(None) };
    let identity = Identity::load_or_create(&config.data_dir, config.server.public_ip)?;
    let files = config.server.tls_files.clone();
    let own = files.map(|files| OwnCertificate::open(files.certificate, files.key)).transpose()?;
    let acceptor = identity.acceptor(own.as_ref())?;
    Ok(Some(Tls { listener: bind_tcp(address).await?, identity, own, acceptor }))
}

/// Installers and installed systems call back over HTTPS when there is a listener for it; firmware and iPXE cannot.
fn callback_base(config: &Config, tls: Option<&Tls>) -> CallbackBase {
    let port = tls.and_then(|tls| tls.listener.local_addr().ok()).map(|a| a.port());
    let (Some(Tls { identity, .. }), Some(port)) = (tls, port) else {
        return CallbackBase { url: config.server.public_url.clone(), certificate: None };
    };
    CallbackBase {
        url: format!("https://{}", SocketAddr::new(config.server.public_ip, port)),
        certificate: Some(PinnedCertificate {
            fingerprint: identity.fingerprint,
            fingerprint_text: identity.fingerprint_text(),
            base64: identity.base64(),
        }),
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|e| {
        let mut reason = e.to_string();
        if e.kind() == std::io::ErrorKind::AddrInUse
            && let Some(owner) = port_owner::find(port_owner::Transport::Tcp, address.port())
        {
            reason = format!("the port is taken by {owner}");
        }
        StartError::Http { address: address.to_string(), reason }
    })
}

fn bind_control(path: &Path) -> Result<UnixListener, StartError> {
    let fail =
        |e: std::io::Error| StartError::Control { path: path.to_owned(), reason: e.to_string() };
    // The store's lock is held: whatever socket is there was left by a daemon that is gone.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(listener)
}

/// Cancels the token at SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be received.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}
