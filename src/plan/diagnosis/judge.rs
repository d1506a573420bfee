//! The verdict on one boot: the furthest point that it reached, and what did not follow.

use std::time::Duration;

use super::course::{Course, Load, SETTLE, Transfer};
use super::kind::Patience;
use super::lesson::form_in_words;
use super::{Case, Kind, Verdict, Who};
use crate::domain::boot::{
    BootProgram, InstallerFile, OfferForm, OfferWay, ScriptGiven, Silence, Withheld,
};
use crate::domain::host::HostState;
use crate::domain::time::Timestamp;
use crate::limits::machine::BOOT_CHANGES;

/// Requests to the network after which a freshly installed machine counts as one that does not find its disk.
const NETWORK_AGAIN: u64 = 3;

impl Verdict {
    fn of(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), next: String::new() }
    }
}

/// The verdict on an armed host that was not heard since it was armed.
pub(super) fn waiting(who: Who, newest: Option<&Course<'_>>, now: Timestamp) -> Option<Verdict> {
    let Who::Host { state: HostState::PxeReady, since } = who else { return None };
    if newest.is_some_and(|course| course.last >= since) {
        return None;
    }
    let passed = now.since(since);
    Some(if passed < Patience::ARMED {
        Verdict::of(Kind::Waiting, "Armed; the machine was not heard yet.")
    } else {
        let minutes = passed.as_secs() / 60;
        Verdict::of(
            Kind::NothingHeard,
            format!("Armed for {minutes} minutes, and nothing was heard of the machine."),
        )
    })
}

/// The verdict on boot `n`; of the first `over` boots nothing more can come. `None` when its log tells nothing.
pub(super) fn verdict(
    case: &Case<'_>,
    all: &[Course<'_>],
    n: usize,
    over: usize,
    now: Timestamp,
) -> Option<Verdict> {
    let course = all.get(n)?;
    let before = all.get(..n).unwrap_or_default();
    let view = View { case, course, before, closed: n < over, quiet: now.since(course.last) };
    view.late().or_else(|| view.script()).or_else(|| view.program()).or_else(|| view.offer())
}

struct View<'v, 'a> {
    case: &'v Case<'a>,
    course: &'v Course<'a>,
    before: &'v [Course<'a>],
    /// Another boot followed, or a new rebuild.
    closed: bool,
    /// Time since the last sign.
    quiet: Duration,
}

fn under_way(what: impl Into<String>) -> Option<Verdict> {
    Some(Verdict::of(Kind::UnderWay, what))
}

fn told(kind: Kind, what: impl Into<String>) -> Option<Verdict> {
    Some(Verdict::of(kind, what))
}

/// A number of times in words.
pub(super) fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

impl View<'_, '_> {
    /// Whether it may still go on: no other boot followed, and the last sign is younger than `patience`.
    fn hopes(&self, patience: Duration) -> bool {
        !self.closed && self.quiet < patience
    }

    /// From the answer on.
    fn late(&self) -> Option<Verdict> {
        let course = self.course;
        if course.called_back {
            return told(Kind::CalledBack, "The installed system called back.");
        }
        if let Some((what, said)) = &course.refused {
            let kind = match what {
                Withheld::CallBack | Withheld::FirstBootScript => Kind::CallBackRefused,
                Withheld::Report => Kind::ReportRefused,
                Withheld::Answer => Kind::AnswerRefused,
                Withheld::Installer => Kind::InstallerRefused,
            };
            return told(kind, sentence(said));
        }
        if (course.answered || course.reported) && course.idle_asks >= NETWORK_AGAIN {
            let what = format!(
                "It took its answer, and asked the network {} since then instead of starting from its disk.",
                times(course.idle_asks)
            );
            return told(Kind::NetworkAgain, what);
        }
        if course.reported {
            return if self.hopes(Patience::CALL_BACK) {
                under_way("The installer reported its end; the machine restarts.")
            } else {
                let minutes = Patience::CALL_BACK.as_secs() / 60;
                told(
                    Kind::NoCallBack,
                    format!(
                        "The installer reported its end, and the installed system did not call back within {minutes} minutes."
                    ),
                )
            };
        }
        if course.answered {
            return if self.hopes(Patience::REPORT) {
                under_way("The installer has its answer and writes the disk.")
            } else {
                let minutes = Patience::REPORT.as_secs() / 60;
                told(
                    Kind::NoReport,
                    format!(
                        "The installer took its answer and did not report within {minutes} minutes."
                    ),
                )
            };
        }
        None
    }

    /// From the script to the answer.
    fn script(&self) -> Option<Verdict> {
        let course = self.course;
        match course.script? {
            ScriptGiven::Refusal => {
                return told(Kind::ScriptRefused, sentence(&course.script_said));
            }
            ScriptGiven::OwnDisk => return told(Kind::OwnDisk, sentence(&course.script_said)),
            ScriptGiven::Notice => {
                return told(
                    Kind::Notice,
                    "iPXE showed the notice for unregistered machines, then it starts from its disk.",
                );
            }
            ScriptGiven::Install => {}
        }
        if let Some(file) = course.first_load(Load::Broken) {
            return told(Kind::DownloadBroken, format!("{} broke off.", file.file_name()));
        }
        if InstallerFile::ALL.into_iter().all(|file| course.load(file) == Load::Whole) {
            return if self.hopes(Patience::ANSWER) {
                under_way("Kernel, initrd and ISO are loaded; the installer starts.")
            } else {
                let minutes = Patience::ANSWER.as_secs() / 60;
                told(
                    Kind::NoAnswerRequest,
                    format!(
                        "Kernel, initrd and ISO were loaded, and no answer request came within {minutes} minutes: the installer had no network."
                    ),
                )
            };
        }
        // The end of an open download is always told: nothing to be guessed from the time.
        if let Some(file) = course.first_load(Load::Open).filter(|_| !self.closed) {
            return under_way(format!("Loads {}.", file.file_name()));
        }
        if self.hopes(SETTLE) {
            return under_way("Has its boot script and loads the installer.");
        }
        if course.load(InstallerFile::Kernel) == Load::Missing {
            return told(
                Kind::NoKernel,
                "The boot script was loaded, and the kernel was not asked for.",
            );
        }
        let missing = InstallerFile::ALL.into_iter().find(|file| course.load(*file) != Load::Whole);
        let name = missing.map_or("a part", InstallerFile::file_name);
        told(Kind::DownloadStopped, format!("The kernel was asked for, and {name} was not loaded."))
    }

    /// From the first request for a file to iPXE's first word.
    fn program(&self) -> Option<Verdict> {
        let course = self.course;
        if course.spoke {
            if self.hopes(SETTLE) {
                return under_way("iPXE runs and got its offer.");
            }
            if course.form().is_some() && !course.asked_files() {
                let what = "It asked nothing of us after the offer, and then an iPXE spoke that was not loaded from here.";
                return told(Kind::OtherServer, what);
            }
            return told(
                Kind::NoScript,
                "iPXE got its offer and never fetched its script by HTTP.",
            );
        }
        if let Some(program) = course.program {
            return self.lost_program(program);
        }
        if course.limited {
            return told(
                Kind::TftpLimited,
                "A TFTP request was refused because too many transfers run.",
            );
        }
        match &course.transfer {
            Some((file, Transfer::Stalled { heard: false })) => told(
                Kind::TftpUnanswered,
                format!("It asked for {file} and never confirmed our answer."),
            ),
            Some((file, Transfer::Stalled { heard: true })) => {
                told(Kind::TftpStalled, format!("The transfer of {file} stopped in the middle."))
            }
            Some((file, Transfer::Aborted)) => {
                told(Kind::TftpAborted, format!("It ended the transfer of {file} with an error."))
            }
            Some((file, Transfer::Open)) if self.closed => {
                told(Kind::TftpStalled, format!("The transfer of {file} stopped in the middle."))
            }
            Some((file, Transfer::Open)) => under_way(format!("Loads {file}.")),
            Some((file, _)) if self.hopes(SETTLE) => under_way(format!("Asks for {file}.")),
            Some((file, _)) => told(
                Kind::TftpAborted,
                format!("It asked how large {file} is, and never loaded it."),
            ),
            None => course.foreign.as_ref().and_then(|name| {
                told(Kind::ForeignFile, format!("It asked for '{name}', which we never offered."))
            }),
        }
    }

    fn lost_program(&self, program: BootProgram) -> Option<Verdict> {
        let name = program.file_name();
        if self.hopes(SETTLE) {
            return under_way(format!("{name} is loaded and starts."));
        }
        let mut loaded = 1;
        let mut other = None;
        // Boots that loaded nothing say nothing about programs.
        for earlier in self.before.iter().rev().filter(|c| c.program.is_some()) {
            match earlier.lost_the_program() {
                None => break,
                Some(lost) if lost == program => loaded += 1,
                Some(lost) => {
                    other = Some(lost);
                    break;
                }
            }
        }
        if let Some(other) = other {
            let what = format!(
                "Loaded {name} and before that {}, and iPXE never spoke.",
                other.file_name()
            );
            return Some(Verdict {
                next: self.next_program(program),
                ..Verdict::of(Kind::SecureBoot, what)
            });
        }
        let what = format!("Loaded {name} {}, and iPXE never spoke.", times(loaded));
        Some(Verdict { next: self.next_program(program), ..Verdict::of(Kind::ProgramSilent, what) })
    }

    /// Before any file was asked for.
    fn offer(&self) -> Option<Verdict> {
        let course = self.course;
        // Silence that followed an offer in the same boot is the last word.
        if let Some((cause, said)) = &course.silent {
            let kind = match cause {
                Silence::Idle => Kind::OwnDisk,
                Silence::Dismissed => Kind::Dismissed,
                Silence::Ignored => Kind::Ignored,
                Silence::Unserved => Kind::WrongArchitecture,
                Silence::SignedBoot => Kind::SignedBoot,
                Silence::Loop => Kind::IpxeLoop,
                Silence::NoAddress => Kind::NoLease,
            };
            return told(kind, sentence(said));
        }
        let (program, way) = course.offered?;
        let name = program.file_name();
        if course.named {
            if self.hopes(SETTLE) {
                return under_way(format!("Was told on port 4011 to load {name}."));
            }
            let what = format!("It asked port 4011, was told {name}, and never asked TFTP for it.");
            return Some(Verdict { next: self.next_form(), ..Verdict::of(Kind::Silent4011, what) });
        }
        let Some(server) = course.server else {
            if self.hopes(SETTLE) {
                return under_way(format!("Is offered {name}."));
            }
            let what =
                format!("It was offered {name} {} and took no address.", times(course.asked));
            return Some(Verdict { next: self.next_form(), ..Verdict::of(Kind::NoAddress, what) });
        };
        if self.hopes(SETTLE) {
            return under_way(format!("Took an address of {server} and the offer of {name}."));
        }
        let other_form = |form: OfferForm| {
            let mut before = self.before.iter().rev().take_while(|c| c.ignored_the_offer());
            before.any(|c| c.form().is_some_and(|tried| tried != form))
        };
        let verdict = match way {
            OfferWay::Http => Verdict::of(
                Kind::NeverFetched,
                format!("It took an address of {server} and never fetched {name} by HTTP."),
            ),
            _ if way.form().is_some_and(other_form) => Verdict::of(
                Kind::OfferIgnored,
                format!(
                    "It took an address of {server} and ignored both forms of the offer: it asked neither port 4011 nor TFTP."
                ),
            ),
            OfferWay::Discover => Verdict::of(
                Kind::NeverAsked4011,
                format!(
                    "It took an address of {server} and the offer, and never asked port 4011 or TFTP: firewall or UDP 4011."
                ),
            ),
            OfferWay::Direct | OfferWay::Replacement => Verdict::of(
                Kind::NeverAskedTftp,
                format!(
                    "It took an address of {server} and the offer, and never asked TFTP for {name}: firewall or UDP 69."
                ),
            ),
        };
        Some(Verdict { next: self.next_form(), ..verdict })
    }

    /// What happens with the form by itself.
    fn next_form(&self) -> String {
        let Some(form) = self.course.form() else { return String::new() };
        if let Some(set) = self.case.settings.form {
            return format!("The host's own setting stays: {}.", form_in_words(set));
        }
        let finding = self.case.lesson.and_then(|lesson| lesson.form.as_ref());
        match finding {
            Some(finding) if finding.used != form => {
                format!("Next: {}.", form_in_words(finding.used))
            }
            Some(finding) if finding.changes >= BOOT_CHANGES => {
                "Both forms were tried; nothing more is changed by itself.".to_owned()
            }
            _ => format!("If it happens again: {}.", form_in_words(form.other())),
        }
    }

    /// What happens with the program by itself.
    fn next_program(&self, program: BootProgram) -> String {
        let Some(other) = program.other() else { return String::new() };
        if let Some(set) = self.case.settings.program {
            return format!("The host's own setting stays: {}.", set.file_name());
        }
        let finding = self.case.lesson.and_then(|lesson| lesson.program.as_ref());
        match finding {
            Some(finding) if finding.used != program => {
                format!("Trying {} next.", finding.used.file_name())
            }
            Some(finding) if finding.changes >= BOOT_CHANGES => {
                "Both programs were tried; nothing more is changed by itself.".to_owned()
            }
            _ => format!("If it happens again, {} is tried.", other.file_name()),
        }
    }
}

/// A message as a sentence of its own.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    let text = format!("{first}{}", chars.as_str());
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}
