//! A machine's boot log as boots, each with how far it came.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::domain::boot::{
    BootFact, BootLogEntry, BootProgram, InstallerFile, OfferForm, OfferWay, ScriptGiven, Silence,
    Withheld,
};
use crate::domain::host::HostState;
use crate::domain::time::Timestamp;

/// After this long without a sign a boot counts as stopped where it was. EDK2 and PXE ROMs give up after 60 s of asking
/// for an offer, and wait less for everything else (`pxe-netboot` 3.1, 3.2).
pub(super) const SETTLE: Duration = Duration::from_secs(60);

/// After its answer a machine that asks the network has restarted, for this long.
const INSTALLATION: Duration = Duration::from_hours(1);

/// How a TFTP transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// Only the size was asked for.
    Sized,
    /// Data flows.
    Open,
    /// The machine has it.
    Done,
    /// The machine ended it.
    Aborted,
    /// The machine fell silent.
    Stalled {
        /// Whether it had confirmed anything.
        heard: bool,
    },
}

/// How a download of the installer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Load {
    /// Not asked for.
    #[default]
    Missing,
    /// Is being sent.
    Open,
    /// Broke off.
    Broken,
    /// Is there.
    Whole,
}

/// One boot: from the firmware's first question to the last that was heard.
#[derive(Debug, Clone)]
pub(super) struct Course<'a> {
    pub(super) entries: Vec<&'a BootLogEntry>,
    pub(super) began: Timestamp,
    pub(super) last: Timestamp,
    /// What firmware was offered last.
    pub(super) offered: Option<(BootProgram, OfferWay)>,
    /// How often it asked, and how many whole rounds of asking that is.
    pub(super) asked: u64,
    pub(super) rounds: u64,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) named: bool,
    pub(super) transfer: Option<(String, Transfer)>,
    pub(super) foreign: Option<String>,
    pub(super) limited: bool,
    /// The boot program that it has.
    pub(super) program: Option<BootProgram>,
    /// An iPXE was heard.
    pub(super) spoke: bool,
    pub(super) script: Option<ScriptGiven>,
    loads: [Load; 3],
    pub(super) answered: bool,
    pub(super) reported: bool,
    pub(super) called_back: bool,
    pub(super) refused: Option<(Withheld, String)>,
    pub(super) silent: Option<(Silence, String)>,
    /// How often it asked the network although it should start from its disk.
    pub(super) idle_asks: u64,
    /// What the boot script said, when it was a refusal or a local boot.
    pub(super) script_said: String,
}

impl<'a> Course<'a> {
    fn new(at: Timestamp) -> Self {
        Self {
            entries: Vec::new(),
            began: at,
            last: at,
            offered: None,
            asked: 0,
            rounds: 0,
            server: None,
            named: false,
            transfer: None,
            foreign: None,
            limited: false,
            program: None,
            spoke: false,
            script: None,
            loads: [Load::Missing; 3],
            answered: false,
            reported: false,
            called_back: false,
            refused: None,
            silent: None,
            idle_asks: 0,
            script_said: String::new(),
        }
    }

    /// How the download of one part stands.
    pub(super) fn load(&self, file: InstallerFile) -> Load {
        let [kernel, initrd, iso] = self.loads;
        match file {
            InstallerFile::Kernel => kernel,
            InstallerFile::Initrd => initrd,
            InstallerFile::Iso => iso,
        }
    }

    fn set_load(&mut self, file: InstallerFile, load: Load) {
        let [kernel, initrd, iso] = &mut self.loads;
        *match file {
            InstallerFile::Kernel => kernel,
            InstallerFile::Initrd => initrd,
            InstallerFile::Iso => iso,
        } = load;
    }

    /// The first part whose download stands like this.
    pub(super) fn first_load(&self, load: Load) -> Option<InstallerFile> {
        InstallerFile::ALL.into_iter().find(|file| self.load(*file) == load)
    }

    /// Whether it came further than being offered something.
    fn took_up(&self) -> bool {
        self.server.is_some() || self.named || self.asked_files() || self.spoke
    }

    /// Whether it asked for a file: the proof that it understood the offer.
    pub(super) fn asked_files(&self) -> bool {
        self.transfer.is_some() || self.foreign.is_some() || self.limited || self.program.is_some()
    }

    /// The form of the offer, where there are two.
    pub(super) fn form(&self) -> Option<OfferForm> {
        self.offered.and_then(|(_, way)| way.form())
    }

    /// Whether this offer came to nothing before any file was asked for.
    pub(super) fn ignored_the_offer(&self) -> bool {
        self.offered.is_some() && !self.asked_files() && !self.spoke
    }

    /// Whether it loaded a boot program that then never spoke.
    pub(super) fn lost_the_program(&self) -> Option<BootProgram> {
        self.program.filter(|_| !self.spoke)
    }

    /// Whether an observation begins another boot.
    fn ends_before(&self, fact: Option<&BootFact>, at: Timestamp) -> bool {
        let paused = at.since(self.last) > SETTLE;
        match fact {
            Some(BootFact::Silent { cause: Silence::Idle }) => {
                // After its answer the machine restarts, and many ask the network before they turn to their disk.
                let restarts =
                    self.answered && !self.called_back && at.since(self.last) < INSTALLATION;
                !restarts && (self.took_up() || self.offered.is_some() || self.answered || paused)
            }
            Some(BootFact::Offered { .. } | BootFact::Silent { .. }) => {
                self.took_up() || self.silent.is_some() || self.answered || paused
            }
            Some(BootFact::OfferedScript) => self.script.is_some() || self.answered || paused,
            _ => false,
        }
    }

    fn take(&mut self, entry: &'a BootLogEntry) {
        self.last = self.last.max(entry.last);
        self.entries.push(entry);
        let Some(fact) = &entry.observation.fact else { return };
        let said = || entry.observation.message.clone();
        match fact {
            BootFact::Offered { program, way } => {
                if self.offered != Some((*program, *way)) {
                    (self.offered, self.asked, self.rounds) = (Some((*program, *way)), 0, 0);
                }
                self.asked += entry.count;
                self.rounds +=
                    1 + entry.last.since(entry.observation.at).as_secs() / SETTLE.as_secs();
            }
            BootFact::Named { .. } => self.named = true,
            BootFact::OfferedScript => self.spoke = true,
            BootFact::TookAddress { server } => self.server = Some(*server),
            BootFact::Silent { cause } => {
                if *cause == Silence::Idle {
                    self.idle_asks += entry.count;
                }
                self.silent = Some((*cause, said()));
            }
            BootFact::Sized { file } => self.transfer = Some((file.clone(), Transfer::Sized)),
            BootFact::Sending { file } => self.transfer = Some((file.clone(), Transfer::Open)),
            BootFact::Sent { file } => {
                self.transfer = Some((file.clone(), Transfer::Done));
                self.program = BootProgram::named(file).or(self.program);
            }
            BootFact::Aborted { file } => self.transfer = Some((file.clone(), Transfer::Aborted)),
            BootFact::Stalled { file, heard } => {
                self.transfer = Some((file.clone(), Transfer::Stalled { heard: *heard }));
            }
            BootFact::NoSuchFile { name } => self.foreign = Some(name.clone()),
            BootFact::Limited => self.limited = true,
            BootFact::Fetched { program } => self.program = Some(*program),
            BootFact::Script { given } => {
                self.spoke = true;
                self.script = Some(*given);
                self.script_said = said();
            }
            BootFact::Loading { file } => self.set_load(*file, Load::Open),
            BootFact::Loaded { file, whole } => {
                self.set_load(*file, if *whole { Load::Whole } else { Load::Broken });
            }
            BootFact::Answered => {
                self.answered = true;
                self.refused = None;
                self.idle_asks = 0;
            }
            BootFact::FirstBootScript => {}
            BootFact::Reported => {
                self.reported = true;
                self.refused = None;
                self.idle_asks = 0;
            }
            BootFact::CalledBack => {
                self.called_back = true;
                self.refused = None;
            }
            BootFact::Refused { what } => self.refused = Some((*what, said())),
        }
    }

    /// What the host's record proves, should the log have lost it.
    pub(super) fn learn_from(&mut self, state: HostState, since: Timestamp) {
        let boots_from_disk =
            self.silent.is_some() && self.offered.is_none() && self.script.is_none();
        if since < self.began || boots_from_disk {
            return;
        }
        match state {
            HostState::PxeBooted => self.script = self.script.or(Some(ScriptGiven::Install)),
            HostState::Installing => self.answered = true,
            HostState::Installed => (self.answered, self.reported) = (true, true),
            HostState::FirstBoot | HostState::Joining | HostState::Ready => self.called_back = true,
            HostState::Registered | HostState::PxeReady | HostState::Failed => return,
        }
        self.last = self.last.max(since);
    }
}

/// The boots of a log that is in order of time, oldest first.
pub(super) fn courses(entries: &[BootLogEntry]) -> Vec<Course<'_>> {
    let mut all: Vec<Course<'_>> = Vec::new();
    for entry in entries {
        let (fact, at) = (entry.observation.fact.as_ref(), entry.observation.at);
        let fresh = all.last().is_none_or(|course| course.ends_before(fact, at));
        if fresh {
            all.push(Course::new(at));
        }
        if let Some(course) = all.last_mut() {
            course.take(entry);
        }
    }
    all
}
