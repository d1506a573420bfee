//! Gathers what `plan::doctor` judges: this machine, its segment, the cluster. Looks only; what it sends on the wire are
//! questions of made-up machines that leave no trace (`boot::rehearsal`).
//!
//! | where | has | cannot see |
//! |---|---|---|
//! | in the daemon ([`Doctor`]) | its sockets, database, tokens; may bind low ports | – |
//! | on the command line without a daemon ([`alone`]) | the configuration, the rights of whoever typed it | images, token rights, whether packets reach the daemon |

mod certificate;
mod machine;
mod play;
mod segment;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::assets::BootFiles;
use crate::boot::dhcp::{Counted, DhcpCounters};
use crate::boot::rehearsal::Rehearsals;
use crate::config::check::check;
use crate::config::reload::ServerTypesView;
use crate::config::{Config, PxeMode, SecretSource};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::jobs::{Engine, configured_member};
use crate::plan::doctor::facts::{
    ClusterFacts, Configuration, Daemon, Facts, Heard, NetworkBoot, PublicUrl, Segment,
};
use crate::plan::doctor::rehearsal::{Firmware, Rehearsal};
use crate::plan::doctor::{Problem, Report, examine};
use crate::web;

/// What the doctor of a running daemon has at hand.
#[derive(Clone)]
pub struct Inside {
    /// The job engine, with configuration, server types and database.
    pub engine: Engine,
    /// What DHCP counted; `None`: network boot is off.
    pub dhcp: Option<DhcpCounters>,
    /// The machines that we play.
    pub rehearsals: Rehearsals,
    /// What machines load, to compare with what a played one got.
    pub boot_files: Arc<BootFiles>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inside")
    }
}

/// The doctor of a running daemon. Keeps the last report.
#[derive(Debug)]
pub struct Doctor {
    inside: Inside,
    /// Held during a look: one at a time asks the segment.
    looking: tokio::sync::Mutex<()>,
    last: watch::Sender<Option<Arc<Report>>>,
}

impl Doctor {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(inside: Inside) -> Self {
        Self { inside, looking: tokio::sync::Mutex::default(), last: watch::Sender::default() }
    }

    /// Each report as it comes.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.last.subscribe()
    }

    async fn look(&self) -> Report {
        let engine = &self.inside.engine;
        let config = Arc::clone(&engine.context().config);
        let now = engine.store().now();
        let types = engine.context().types.borrow().clone();
        let (boot, answer, images, newest, cluster) = tokio::join!(
            self.network_boot(&config),
            machine::who_answers(&config.server.public_url),
            engine.look_at_images(),
            engine.newest_record(),
            engine.look_at_cluster(),
        );
        let mut facts = of_machine(&config, now);
        facts.configuration = of_types(&types);
        facts.ports = machine::ports_of_daemon(&config);
        facts.network_boot = boot;
        facts.images = images.ok();
        facts.clock.newest_record = newest.ok().flatten();
        facts.cluster = Some(cluster);
        if let Some(public) = &mut facts.public_url {
            public.answer = Some(answer);
        }
        examine(&facts)
    }

    async fn network_boot(&self, config: &Config) -> Option<NetworkBoot> {
        let mut boot = of_network_boot(config)?;
        boot.relayed = self.inside.dhcp.as_ref().map(|dhcp| dhcp.get(Counted::Relayed));
        for segment in &mut boot.segments {
            segment.heard = segment::ask(segment, Some(&self.inside.rehearsals)).await;
        }
        Some(boot)
    }
}

impl web::Doctor for Doctor {
    fn last(&self) -> Option<Arc<Report>> {
        self.last.borrow().clone()
    }

    fn check(&self) -> BoxFuture<'_, Arc<Report>> {
        Box::pin(async move {
            let before = self.last();
            let _turn = self.looking.lock().await;
            // Somebody else's look ended while this one waited for its turn.
            let meanwhile = self
                .last()
                .filter(|now| before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, now)));
            if let Some(report) = meanwhile {
                return report;
            }
            let report = Arc::new(self.look().await);
            self.last.send_replace(Some(Arc::clone(&report)));
            report
        })
    }

    fn simulate(&self, firmware: Firmware) -> BoxFuture<'_, Result<Rehearsal, Refusal>> {
        Box::pin(async move {
            let _turn = self.looking.lock().await;
            let refuse =
                |detail: String, hint: &str| Refusal::new(RefusalKind::Unprocessable, detail, hint);
            let config = &self.inside.engine.context().config;
            let boot = of_network_boot(config).ok_or_else(|| {
                refuse("Network boot is switched off.".to_owned(), Problem::NetworkBootOff.fix())
            })?;
            let usable = |s: &&Segment| {
                s.link.as_ref().is_some_and(|l| l.carries && !l.addresses.is_empty())
            };
            let segment = boot.segments.iter().find(usable).ok_or_else(|| {
                let detail = "No boot interface is up with an address.".to_owned();
                refuse(detail, "Run `ironhatch doctor`; it says what the interface lacks.")
            })?;
            play::play(&self.inside, &segment.interface, firmware).await.map_err(|why| {
                refuse(format!("No machine can be played: {why}."), "Run `ironhatch doctor`.")
            })
        })
    }
}

/// Looks without a daemon, which could not be reached for this reason.
pub async fn alone(path: &Path, secrets: &dyn SecretSource, why: &str) -> Report {
    let now = wall_clock();
    let checked = check(path, secrets);
    let daemon = Daemon::Absent(why.trim_end_matches('.').to_owned());
    let errors = checked.errors.iter().map(ToString::to_string).collect();
    let Ok((config, _)) = Config::load(path, secrets) else {
        let configuration = Configuration { errors, ..Configuration::default() };
        return examine(&Facts { now, daemon, configuration, ..Facts::default() });
    };
    // That there is no server type yet is a finding of its own.
    let warnings = checked.warnings.iter().filter(|w| w.file != config.server_types.path());
    let warnings = warnings.map(ToString::to_string).collect();
    let view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
    let mut facts = of_machine(&config, now);
    facts.daemon = daemon;
    facts.configuration = Configuration { errors, warnings, server_types: view.types.len() };
    facts.ports = machine::ports_by_trying(&config);
    facts.network_boot = of_network_boot(&config);
    for segment in facts.network_boot.iter_mut().flat_map(|boot| &mut boot.segments) {
        segment.heard = segment::ask(segment, None).await;
    }
    let member = configured_member(&config).await;
    facts.cluster = Some(ClusterFacts { member, api: None });
    examine(&facts)
}

fn of_types(view: &ServerTypesView) -> Configuration {
    Configuration {
        errors: view.errors.values().flatten().map(ToString::to_string).collect(),
        warnings: Vec::new(),
        server_types: view.types.len(),
    }
}

/// What can be seen with and without a daemon.
fn of_machine(config: &Config, now: Timestamp) -> Facts {
    let address = config.server.public_ip;
    Facts {
        now,
        public_url: Some(PublicUrl {
            url: config.server.public_url.clone(),
            address,
            is_here: machine::has_address(address),
            answer: None,
        }),
        storage: Some(machine::storage(&config.data_dir)),
        clock: machine::clock(),
        certificate: config.server.tls_listen.map(|_| certificate::read(&config.data_dir)),
        ..Facts::default()
    }
}

/// Asks which DHCP servers answer on the segment of an interface with this address. It takes some seconds.
pub async fn who_answers(interface: &str, own: ipnet::Ipv4Net) -> Heard {
    let link = machine::link(interface, own.trunc());
    let segment = Segment { interface: interface.to_owned(), link, ..Segment::default() };
    segment::ask(&segment, None).await
}

fn of_network_boot(config: &Config) -> Option<NetworkBoot> {
    let pxe = config.pxe.as_ref()?;
    let segment = |interface: &String| Segment {
        interface: interface.clone(),
        link: machine::link(interface, pxe.subnet),
        ..Segment::default()
    };
    Some(NetworkBoot {
        full: matches!(pxe.mode, PxeMode::Full(_)),
        subnet: pxe.subnet,
        segments: pxe.interfaces.iter().map(segment).collect(),
        relayed: None,
    })
}

fn wall_clock() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
