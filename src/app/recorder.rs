//! Takes what the boot services saw and writes it to the machines' boot logs, without ever making them wait.
//!
//! Fed by DHCP, TFTP and HTTP, which add to a bounded list in memory: what is seen again only counts, what does not fit is
//! counted and dropped. The list is written a few times per second in one transaction. Strangers are limited, so that a
//! flood of forged MACs costs neither disk nor memory.
//!
//! What it writes is also learned from: when a machine's boots fail in a way that another form of the offer or another
//! boot program may help, `plan::diagnosis::learn` says so, and the lesson is written with the observation that led to it,
//! or a minute after the last one of a boot that stopped.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::Stages;
use crate::boot::rehearsal::Rehearsals;
use crate::domain::boot::{BootFact, BootObservation, BootSink, ClientFacts};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::mac::Mac;
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::limits::over::{Over, Overruns};
use crate::limits::record::{OBSERVATIONS, REMEMBERED_ADDRESSES, STRANGERS_PER_FLUSH};
use crate::plan::diagnosis;
use crate::report::queue;
use crate::store::{
    BootLogReads as _, HostReads as _, NewEvent, SightingReads as _, Store, StoreError, Tx,
};

/// Pause between two writes: what a person sees as "at once".
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// When a boot that went silent is judged: just after it counts as stopped.
const JUDGE_AFTER: Duration = Duration::from_millis(60_500);

/// Entries of a boot log that are learned from: several boots of each program in each form.
const LEARNED_FROM: usize = 80;

/// The pause is at least so many times as long as the write was, so that a flood's bookkeeping leaves the processors to the
/// answers; but never longer than this.
const PAUSE_PER_WRITE: u32 = 100;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The end that the boot services hold.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    seen: Arc<Mutex<Seen>>,
    stages: Arc<Stages>,
    over: Overruns,
    rehearsals: Rehearsals,
}

impl Recorder {
    /// What it counts for metrics.
    pub(crate) fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }
}

impl BootSink for Recorder {
    fn observe(&self, observation: BootObservation) {
        if self.rehearsals.take(&observation) {
            return;
        }
        self.stages.count(&observation);
        if !lock(&self.seen).add(observation) {
            self.over.met(Over::Observations);
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was seen since the last write.
#[derive(Debug, Default)]
struct Seen {
    list: Vec<Counted>,
    /// Place of each machine's newest entry in the list.
    newest: HashMap<Mac, usize>,
    /// Who had an address last. Outlives the writes.
    macs: HashMap<Ipv4Addr, Mac>,
    dropped: u64,
}

/// The same thing seen several times in a row counts once with its number.
#[derive(Debug)]
struct Counted {
    mac: Mac,
    observation: BootObservation,
    times: u64,
}

impl Seen {
    /// False when it was dropped for want of room.
    fn add(&mut self, observation: BootObservation) -> bool {
        let Some(mac) = self.machine_of(&observation) else {
            tracing::debug!(message = %observation.message, "seen from an unknown address");
            return true;
        };
        let newest = self.newest.get(&mac).and_then(|at| self.list.get_mut(*at));
        if let Some(same) = newest.filter(|c| observation.repeats(&c.observation)) {
            same.times += 1;
            return true;
        }
        if self.list.len() >= OBSERVATIONS {
            self.dropped += 1;
            return false;
        }
        self.newest.insert(mac, self.list.len());
        self.list.push(Counted { mac, observation, times: 1 });
        true
    }

    /// The machine of an observation: told, or the one that had this address last.
    fn machine_of(&mut self, observation: &BootObservation) -> Option<Mac> {
        match (observation.mac, observation.address) {
            (Some(mac), Some(address)) => {
                if self.macs.len() >= REMEMBERED_ADDRESSES && !self.macs.contains_key(&address) {
                    self.macs.clear();
                }
                self.macs.insert(address, mac);
                Some(mac)
            }
            (Some(mac), None) => Some(mac),
            (None, Some(address)) => self.macs.get(&address).copied(),
            (None, None) => None,
        }
    }

    /// What is to be written, and how many observations were dropped.
    fn take(&mut self) -> (Vec<Counted>, u64) {
        self.newest.clear();
        (std::mem::take(&mut self.list), std::mem::take(&mut self.dropped))
    }
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    seen: Arc<Mutex<Seen>>,
    store: Store,
    keeps_strangers: bool,
    /// Where the dashboard is, for who is told of new machines.
    public_url: Arc<str>,
    /// Machines in the middle of a boot, and when it counts as stopped.
    booting: HashMap<Mac, Timestamp>,
    over: Overruns,
}

/// Makes both ends. `keeps_strangers`: whether machines that nobody registered become sightings. What is observed of
/// `rehearsals` goes back to them and is not written.
pub(crate) fn recorder(
    store: Store,
    keeps_strangers: bool,
    public_url: &str,
    over: Overruns,
    rehearsals: Rehearsals,
) -> (Recorder, Writer) {
    let seen = Arc::<Mutex<Seen>>::default();
    let writer = Writer {
        seen: Arc::clone(&seen),
        store,
        keeps_strangers,
        public_url: Arc::from(public_url),
        booting: HashMap::new(),
        over: over.clone(),
    };
    (Recorder { seen, stages: Arc::default(), over, rehearsals }, writer)
}

impl Writer {
    /// Writes until the stop, and then what is left.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopped = stop.is_cancelled();
            let begun = Instant::now();
            let dropped = self.flush().await;
            if stopped {
                return;
            }
            if dropped > 0 {
                tracing::warn!(dropped, "boot observations came faster than they can be written");
            }
            let pause = (begun.elapsed() * PAUSE_PER_WRITE).clamp(FLUSH_EVERY, LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Writes what was seen, and what it teaches; returns how many observations were dropped.
    async fn flush(&mut self) -> u64 {
        let (list, dropped) = lock(&self.seen).take();
        let now = self.store.now();
        let stopped: BTreeSet<Mac> =
            self.booting.extract_if(|_, until| *until <= now).map(|(mac, _)| mac).collect();
        if list.is_empty() && stopped.is_empty() {
            return dropped;
        }
        for (mac, sign) in self.write(list, stopped).await {
            match sign {
                Sign::GoesOn | Sign::Begins => self.watch(mac, now),
                Sign::Speaks => drop(self.booting.remove(&mac)),
            }
        }
        dropped
    }

    fn watch(&mut self, mac: Mac, now: Timestamp) {
        // More boots at once than this are a flood, which only costs the real ones that their lesson comes later.
        if self.booting.len() >= REMEMBERED_ADDRESSES && !self.booting.contains_key(&mac) {
            self.booting.clear();
        }
        self.booting.insert(mac, now.after(JUDGE_AFTER));
    }

    /// Writes a list, and the lessons of it and of boots that stopped. Returns the signs of machines that are kept.
    async fn write(&self, list: Vec<Counted>, stopped: BTreeSet<Mac>) -> Vec<(Mac, Sign)> {
        let public_url = Arc::clone(&self.public_url);
        let (keeps_strangers, over) = (self.keeps_strangers, self.over.clone());
        let written = self
            .store
            .write::<_, StoreError, _>(move |tx| {
                let mut strangers = Strangers { kept: keeps_strangers, new: 0, public_url };
                let mut signs = Vec::new();
                for counted in list {
                    let (mac, sign) = (counted.mac, Sign::of(counted.observation.fact.as_ref()));
                    let kept = record(tx, counted, &mut strangers, &over)?;
                    signs.extend(sign.filter(|_| kept).map(|sign| (mac, sign)));
                }
                let judged = signs.iter().filter(|(_, sign)| *sign != Sign::GoesOn);
                let judged: BTreeSet<Mac> = judged.map(|(mac, _)| *mac).chain(stopped).collect();
                for mac in judged {
                    learn(tx, mac)?;
                }
                Ok(signs)
            })
            .await;
        written.unwrap_or_else(|error| {
            tracing::error!(%error, "boot observations were lost");
            Vec::new()
        })
    }
}

/// What an observation means for the question whether a boot works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The firmware asks, or has a program now: what came before can be judged.
    Begins,
    /// On its way.
    GoesOn,
    /// iPXE is heard: nothing more is to be learned from this boot.
    Speaks,
}

impl Sign {
    fn of(fact: Option<&BootFact>) -> Option<Self> {
        match fact? {
            BootFact::Offered { .. } | BootFact::Sent { .. } | BootFact::Fetched { .. } => {
                Some(Self::Begins)
            }
            BootFact::Named { .. } | BootFact::TookAddress { .. } => Some(Self::GoesOn),
            BootFact::OfferedScript | BootFact::Script { .. } => Some(Self::Speaks),
            _ => None,
        }
    }
}

/// What becomes of machines that nobody registered, in one write.
struct Strangers {
    /// They become sightings.
    kept: bool,
    /// So many did in this write.
    new: usize,
    public_url: Arc<str>,
}

/// Writes one observation; `false`: it is of a machine that is not kept.
fn record(
    tx: &mut Tx<'_, '_>,
    counted: Counted,
    strangers: &mut Strangers,
    over: &Overruns,
) -> Result<bool, StoreError> {
    let Counted { mac, observation, times } = counted;
    if tx.host_by_mac(mac)?.is_some() {
        tx.append_boot_log(mac, observation, times)?;
        return Ok(true);
    }
    let known = tx.sighting(mac)?;
    if known.is_none() {
        // Only machines that were offered something become sightings: a laptop asking for an address does not, nor does
        // the doctor of another appliance.
        if !strangers.kept || !observation.answered || Rehearsals::is_made_up(mac) {
            return Ok(false);
        }
        if strangers.new >= STRANGERS_PER_FLUSH {
            over.met(Over::Strangers);
            return Ok(false);
        }
        strangers.new += 1;
    }
    let now = tx.now();
    let is_new = known.is_none();
    let mut sighting = known.unwrap_or_else(|| Sighting::first_heard(mac, now));
    if let Some(facts) = &observation.client {
        absorb(&mut sighting, facts);
    }
    sighting.address = observation.address.or(sighting.address);
    sighting.last_seen = now;
    sighting.times_seen = sighting.times_seen.saturating_add(times);
    tx.save_sighting(&sighting)?;
    tx.append_boot_log(mac, observation, times)?;
    if is_new {
        tx.emit(NewEvent {
            level: Level::Info,
            subject: Subject { mac: Some(mac), ..Subject::default() },
            kind: EventKind::Sighting,
            message: format!("a machine that is not registered was heard: {mac}"),
        })?;
        queue::sighting(tx, &strangers.public_url, &sighting)?;
    }
    Ok(true)
}

/// Writes down what the machine's boots taught, when that is something new.
fn learn(tx: &mut Tx<'_, '_>, mac: Mac) -> Result<(), StoreError> {
    let host = tx.host_by_mac(mac)?;
    if host.is_none() && tx.sighting(mac)?.is_none() {
        return Ok(());
    }
    let settings = host.as_ref().map(|host| host.boot).unwrap_or_default();
    let macs = host.as_ref().map_or_else(|| vec![mac], |host| host.macs.clone());
    let log = tx.boot_log_of(&macs, LEARNED_FROM)?;
    let present = tx.boot_lesson(mac)?.unwrap_or_default();
    let Some(lesson) = diagnosis::learn(&log, settings, &present, tx.now()) else {
        return Ok(());
    };
    for told in diagnosis::told(&present, &lesson) {
        let (subject, kind, name) = match &host {
            Some(host) => {
                let subject = Subject { host: Some(host.id), ..Subject::default() };
                (subject, EventKind::HostChanged, host.hostname.to_string())
            }
            None => {
                let subject = Subject { mac: Some(mac), ..Subject::default() };
                (subject, EventKind::Sighting, mac.to_string())
            }
        };
        tracing::info!(machine = name, told, "learned from a machine's boots");
        let message = format!("{name}: {told}");
        tx.emit(NewEvent { level: Level::Info, subject, kind, message })?;
    }
    tx.save_boot_lesson(mac, &lesson)
}

fn absorb(sighting: &mut Sighting, facts: &ClientFacts) {
    sighting.inventory.uuid = facts.uuid.or(sighting.inventory.uuid);
    sighting.inventory.firmware = facts.firmware.or(sighting.inventory.firmware);
    if facts.architecture.is_some() {
        sighting.architecture.clone_from(&facts.architecture);
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crate::domain::boot::{
        BootDirectory as _, BootProfile, BootProgram, BootStage, OfferForm, OfferWay, Standing,
    };
    use crate::store::{EventReads as _, MasterKey, OutboxReads as _};

    fn store(dir: &tempfile::TempDir) -> Store {
        let clock = Arc::new(|| Timestamp(5));
        Store::open(&dir.path().join("db.redb"), MasterKey::from_bytes(&[1; 32]), clock).unwrap()
    }

    const URL: &str = "http://192.0.2.10:8080";

    fn over() -> Overruns {
        Overruns::new(Arc::new(|| 5))
    }

    fn seen(mac: Mac, answered: bool, message: &str) -> BootObservation {
        BootObservation {
            at: Timestamp(1),
            mac: Some(mac),
            address: Some(Ipv4Addr::new(192, 0, 2, mac.0[5])),
            stage: BootStage::Dhcp,
            answered,
            message: message.to_owned(),
            fact: None,
            client: None,
        }
    }

    #[tokio::test]
    async fn a_flood_of_strangers_costs_a_bounded_number_of_records() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let over = over();
        let (sink, writer) =
            recorder(store.clone(), true, URL, over.clone(), Rehearsals::default());
        for n in 0..50_000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            sink.observe(seen(Mac([0x52, 0x54, 0, a, b, c]), true, "offered"));
        }
        let stop = CancellationToken::new();
        stop.cancel();
        writer.run(stop).await;
        assert_eq!(store.snapshot().unwrap().sightings().unwrap().len(), STRANGERS_PER_FLUSH);
        assert_eq!(store.snapshot().unwrap().outbox(100).unwrap().len(), 1, "one message");
        let rest = u64::try_from(OBSERVATIONS - STRANGERS_PER_FLUSH).unwrap();
        assert_eq!(over.of(Over::Strangers).times, rest);
        assert_eq!(
            over.of(Over::Observations).times,
            50_000 - u64::try_from(OBSERVATIONS).unwrap()
        );
    }

    /// A UEFI machine takes an address and is not heard any more.
    async fn fails(mac: Mac, sink: &Recorder, writer: &mut Writer, clock: &AtomicI64) {
        let (program, way) = (BootProgram::SnponlyEfi, OfferWay::Discover);
        let server = Ipv4Addr::new(192, 0, 2, 1);
        for (fact, message) in [
            (BootFact::Offered { program, way }, "offered"),
            (BootFact::TookAddress { server }, "took"),
        ] {
            let at = Timestamp(clock.fetch_add(1_000, Ordering::SeqCst));
            sink.observe(BootObservation { at, fact: Some(fact), ..seen(mac, true, message) });
        }
        writer.flush().await;
    }

    #[tokio::test]
    async fn two_boots_that_ignore_the_offer_change_its_form_a_minute_after_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(0));
        let read = Arc::clone(&time);
        let now = Arc::new(move || Timestamp(read.load(Ordering::SeqCst)));
        let key = MasterKey::from_bytes(&[1; 32]);
        let store = Store::open(&dir.path().join("db.redb"), key, now).unwrap();
        let (sink, mut writer) = recorder(store.clone(), true, URL, over(), Rehearsals::default());
        let mac = Mac([0x52, 0x54, 0, 0, 0, 7]);
        let form = || store.snapshot().unwrap().boot_lesson(mac).unwrap().and_then(|l| l.form);
        fails(mac, &sink, &mut writer, &time).await;
        time.fetch_add(100_000, Ordering::SeqCst);
        writer.flush().await;
        fails(mac, &sink, &mut writer, &time).await;
        time.fetch_add(50_000, Ordering::SeqCst);
        writer.flush().await;
        assert_eq!(form(), None, "it may still ask");
        time.fetch_add(11_000, Ordering::SeqCst);
        writer.flush().await;
        assert_eq!(form().map(|f| f.used), Some(OfferForm::Direct));
        let learned = BootProfile { form: Some(OfferForm::Direct), program: None };
        assert_eq!(store.standing(mac), Standing::Sighted { profile: learned });
        let events = store.snapshot().unwrap().events_after(0, 10).unwrap();
        assert!(events.iter().any(|e| e.message.contains("trying the form")), "{events:?}");
        assert!(writer.booting.is_empty(), "nothing is judged without end");
        // It works: nothing more is changed.
        let sent = BootFact::Sent { file: "snponly.efi".into() };
        let offered = BootFact::Offered { program: BootProgram::SnponlyEfi, way: OfferWay::Direct };
        for fact in [offered, sent, BootFact::OfferedScript] {
            let at = Timestamp(time.fetch_add(1, Ordering::SeqCst));
            sink.observe(BootObservation { at, fact: Some(fact), ..seen(mac, true, "works") });
        }
        writer.flush().await;
        assert!(form().unwrap().proven && writer.booting.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_learned_of_a_machine_that_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let (sink, mut writer) = recorder(store.clone(), false, URL, over(), Rehearsals::default());
        let mac = Mac([0x52, 0x54, 0, 0, 0, 7]);
        let clock = AtomicI64::new(0);
        for _ in 0..4 {
            fails(mac, &sink, &mut writer, &clock).await;
        }
        assert_eq!(store.snapshot().unwrap().boot_lesson(mac).unwrap(), None);
        assert_eq!(store.standing(mac), Standing::Unknown);
    }

    #[tokio::test]
    async fn a_transfer_that_knows_only_its_address_finds_its_machine_and_repeats_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let (sink, writer) = recorder(store.clone(), true, URL, over(), Rehearsals::default());
        let mac = Mac([0x52, 0x54, 0, 0, 0, 7]);
        for _ in 0..3 {
            sink.observe(seen(mac, true, "offered snponly.efi"));
        }
        let tftp = BootObservation { mac: None, stage: BootStage::Tftp, ..seen(mac, true, "sent") };
        sink.observe(tftp);
        sink.observe(seen(Mac([0x52, 0x54, 0, 0, 0, 8]), false, "silent: not a network boot"));
        sink.observe(seen(Rehearsals::mac([1, 2, 3]), true, "offered: another appliance asks"));
        let stop = CancellationToken::new();
        stop.cancel();
        writer.run(stop).await;
        let read = store.snapshot().unwrap();
        let log = read.boot_log(mac, 10).unwrap();
        let told: Vec<_> = log.iter().map(|e| (e.observation.message.as_str(), e.count)).collect();
        assert_eq!(told, [("sent", 1), ("offered snponly.efi", 3)]);
        assert_eq!(read.sightings().unwrap().len(), 1, "who was met with silence is no sighting");
    }
}
