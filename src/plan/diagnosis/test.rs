use std::net::Ipv4Addr;

use super::course::SETTLE;
use super::*;
use crate::domain::boot::{
    BootFact as F, BootObservation, BootProgram, BootStage, InstallerFile, OfferForm, OfferWay,
    ScriptGiven, Silence, Withheld,
};
use crate::limits::machine::BOOT_CHANGES;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SNPONLY: BootProgram = BootProgram::SnponlyEfi;
const IPXE: BootProgram = BootProgram::IpxeEfi;

fn at(secs: u64) -> Timestamp {
    Timestamp(1_795_200_000_000).after(std::time::Duration::from_secs(secs))
}

fn offered(way: OfferWay) -> F {
    F::Offered { program: SNPONLY, way }
}

fn took() -> F {
    F::TookAddress { server: SERVER }
}

fn file() -> String {
    "snponly.efi".to_owned()
}

fn silent(cause: Silence) -> F {
    F::Silent { cause }
}

fn script(given: ScriptGiven) -> F {
    F::Script { given }
}

fn refused(what: Withheld) -> F {
    F::Refused { what }
}

fn loads(whole: &[InstallerFile]) -> Vec<(u64, F)> {
    let mut all = vec![(5, F::OfferedScript), (6, script(ScriptGiven::Install))];
    for (n, file) in (7..).zip(whole) {
        all.push((n, F::Loading { file: *file }));
        all.push((n, F::Loaded { file: *file, whole: true }));
    }
    all
}

fn log(facts: &[(u64, F)]) -> Vec<BootLogEntry> {
    let entry = |(secs, fact): &(u64, F)| BootLogEntry {
        observation: BootObservation {
            at: at(*secs),
            mac: None,
            address: None,
            stage: BootStage::Dhcp,
            answered: !matches!(fact, F::Silent { .. } | F::TookAddress { .. } | F::Refused { .. }),
            message: "it said why".to_owned(),
            fact: Some(fact.clone()),
            client: None,
        },
        count: 1,
        last: at(*secs),
    };
    facts.iter().map(entry).collect()
}

fn diagnosis(facts: &[(u64, F)], who: Who, secs: u64) -> Diagnosis {
    let entries = log(facts);
    let case = Case { entries: &entries, who, settings: BootProfile::default(), lesson: None };
    diagnose(&case, at(secs))
}

fn kind(facts: &[(u64, F)], secs: u64) -> Option<Kind> {
    diagnosis(facts, Who::Sighting, secs).verdict.map(|verdict| verdict.kind)
}

fn armed(since: u64) -> Who {
    Who::Host { state: HostState::PxeReady, since: at(since) }
}

/// Facts with their seconds.
type Facts = Vec<(u64, F)>;

/// A verdict, the log that leads to it, whose log it is, and now.
type Row = (Kind, Facts, Who, u64);

/// Every verdict at least once.
fn table() -> Vec<Row> {
    use InstallerFile::{Initrd, Iso, Kernel};
    use Kind as K;
    let stranger = Who::Sighting;
    let direct = || vec![(0, offered(OfferWay::Direct)), (4, took())];
    let discover = || vec![(0, offered(OfferWay::Discover)), (4, took())];
    let with = |mut log: Vec<(u64, F)>, more: &[(u64, F)]| {
        log.extend_from_slice(more);
        log
    };
    let program =
        || with(direct(), &[(5, F::Sending { file: file() }), (6, F::Sent { file: file() })]);
    let whole = || loads(&[Kernel, Initrd, Iso]);
    let answered = || with(whole(), &[(60, F::Answered)]);
    let reported = || with(answered(), &[(600, F::Reported)]);
    let idle = |secs| (secs, silent(Silence::Idle));
    vec![
        (K::Waiting, vec![], armed(0), 200),
        (K::NothingHeard, vec![], armed(0), 301),
        // What was heard before the host was armed is no sign of life.
        (K::NothingHeard, direct(), armed(1000), 1301),
        (K::WrongArchitecture, vec![(0, silent(Silence::Unserved))], stranger, 1),
        (K::SignedBoot, vec![(0, silent(Silence::SignedBoot))], armed(0), 1),
        (K::NoLease, vec![(0, silent(Silence::NoAddress))], armed(0), 1),
        (K::Dismissed, vec![(0, silent(Silence::Dismissed))], stranger, 1),
        (K::Ignored, vec![(0, silent(Silence::Ignored))], stranger, 1),
        (K::OwnDisk, vec![idle(0)], Who::Host { state: HostState::Ready, since: at(1) }, 2),
        (
            K::IpxeLoop,
            vec![(0, offered(OfferWay::Replacement)), (1, silent(Silence::Loop))],
            armed(0),
            1,
        ),
        (K::UnderWay, direct(), stranger, 63),
        (K::NoAddress, vec![(0, offered(OfferWay::Discover))], stranger, 60),
        (K::NeverAsked4011, discover(), stranger, 64),
        (K::NeverAskedTftp, direct(), armed(0), 64),
        (K::NeverFetched, vec![(0, offered(OfferWay::Http)), (4, took())], stranger, 64),
        (
            K::OfferIgnored,
            with(direct(), &[(90, offered(OfferWay::Discover)), (94, took())]),
            stranger,
            154,
        ),
        (K::Silent4011, with(discover(), &[(5, F::Named { program: SNPONLY })]), stranger, 65),
        (K::OtherServer, with(direct(), &[(9, F::OfferedScript)]), stranger, 69),
        (
            K::ForeignFile,
            with(direct(), &[(5, F::NoSuchFile { name: "pxelinux.0".into() })]),
            stranger,
            5,
        ),
        (K::TftpLimited, with(direct(), &[(5, F::Limited)]), stranger, 5),
        (
            K::TftpUnanswered,
            with(direct(), &[(15, F::Stalled { file: file(), heard: false })]),
            stranger,
            15,
        ),
        (
            K::TftpStalled,
            with(direct(), &[(65, F::Stalled { file: file(), heard: true })]),
            stranger,
            65,
        ),
        (K::TftpAborted, with(direct(), &[(5, F::Aborted { file: file() })]), stranger, 5),
        (K::TftpAborted, with(direct(), &[(5, F::Sized { file: file() })]), stranger, 65),
        (K::UnderWay, program(), stranger, 65),
        (K::ProgramSilent, program(), stranger, 66),
        (
            K::ProgramSilent,
            vec![(0, offered(OfferWay::Http)), (4, took()), (5, F::Fetched { program: SNPONLY })],
            stranger,
            65,
        ),
        (
            K::SecureBoot,
            with(
                program(),
                &[
                    (70, F::Offered { program: IPXE, way: OfferWay::Direct }),
                    (74, took()),
                    (75, F::Sent { file: "ipxe.efi".into() }),
                ],
            ),
            stranger,
            135,
        ),
        (K::NoScript, with(program(), &[(9, F::OfferedScript)]), stranger, 69),
        (K::ScriptRefused, vec![(5, script(ScriptGiven::Refusal))], armed(0), 5),
        (K::OwnDisk, vec![(5, script(ScriptGiven::OwnDisk))], stranger, 5),
        (K::Notice, vec![(5, script(ScriptGiven::Notice))], stranger, 5),
        (K::NoKernel, loads(&[]), armed(0), 66),
        (K::DownloadStopped, loads(&[Kernel]), armed(0), 67),
        (
            K::DownloadBroken,
            with(
                loads(&[Kernel]),
                &[(8, F::Loading { file: Initrd }), (9, F::Loaded { file: Initrd, whole: false })],
            ),
            armed(0),
            9,
        ),
        // A long download is no trouble: its end is told.
        (
            K::UnderWay,
            with(loads(&[Kernel, Initrd]), &[(9, F::Loading { file: Iso })]),
            armed(0),
            900,
        ),
        (K::InstallerRefused, with(loads(&[]), &[(7, refused(Withheld::Installer))]), stranger, 7),
        (K::UnderWay, whole(), armed(0), 188),
        (K::NoAnswerRequest, whole(), armed(0), 189),
        (K::AnswerRefused, with(whole(), &[(60, refused(Withheld::Answer))]), armed(0), 60),
        (
            K::UnderWay,
            with(whole(), &[(60, refused(Withheld::Answer)), (61, F::Answered)]),
            armed(0),
            62,
        ),
        (K::NoReport, answered(), stranger, 60 + 1200),
        (K::ReportRefused, with(answered(), &[(600, refused(Withheld::Report))]), stranger, 600),
        (K::UnderWay, with(reported(), &[idle(700)]), stranger, 800),
        (K::NoCallBack, reported(), stranger, 1200),
        (K::NetworkAgain, with(reported(), &[idle(650), idle(700), idle(750)]), stranger, 751),
        (
            K::CallBackRefused,
            with(reported(), &[(700, refused(Withheld::CallBack))]),
            stranger,
            700,
        ),
        (K::CalledBack, with(reported(), &[(700, F::CalledBack)]), stranger, 9000),
    ]
}

#[test]
fn every_way_a_boot_ends_has_its_verdict() {
    for (n, (expected, facts, who, now)) in table().into_iter().enumerate() {
        let found = diagnosis(&facts, who, now).verdict;
        let found = found.unwrap_or_else(|| panic!("row {n}: no verdict, not {expected:?}"));
        assert_eq!(found.kind, expected, "row {n}: {}", found.what);
        assert!(found.what.ends_with('.') && !found.why().is_empty() && !found.fix().is_empty());
    }
}

#[test]
fn no_verdict_is_without_a_log_that_leads_to_it() {
    let reached: Vec<Kind> = table().into_iter().map(|(kind, ..)| kind).collect();
    for kind in Kind::ALL {
        assert!(reached.contains(kind), "{kind:?} is in no row of the table");
        assert_eq!(Kind::ALL.iter().filter(|k| k.slug() == kind.slug()).count(), 1);
    }
}

#[test]
fn the_list_of_boot_problems_is_the_one_of_the_program() {
    let mut text = String::from(
        "# When a machine does not boot\n\n\
         The page of a host or a sighting shows its newest boot on one time axis, with one of the verdicts below: what\n\
         happened, why probably, and what to do. `ironhatch host boot NAME`, `ironhatch sighting boot MAC` and the API\n\
         (`/api/hosts/ID/boot`, `/api/sightings/MAC/boot`) tell the same. The list is in the order of a boot; the name in\n\
         the first column is the one in the API. It is generated from the program.\n\n\
         Ironhatch learns from boots that fail. When a machine asked twice and took no file from the offer, it gets the\n\
         other form of the offer; when it loaded its boot program twice and iPXE never spoke, it gets the other program.\n\
         This is done at most twice per machine, away from the default and back again, until a boot works; what works\n\
         stays, also over a restart. The settings under *Edit this host* outrank what was learned, and *forget what it\n\
         told of itself* there forgets it. A machine that is not armed gets no installer, whatever was learned.\n",
    );
    for (title, tone) in [("Problems", Tone::Bad), ("As it should be", Tone::Good)] {
        let is_problem = |kind: &Kind| kind.tone() == Tone::Bad;
        text += &format!(
            "\n## {title}\n\n| name | what happened | why | what to do |\n|---|---|---|---|\n"
        );
        for kind in Kind::ALL.iter().filter(|kind| is_problem(kind) == (tone == Tone::Bad)) {
            text += &format!(
                "| `{}` | {} | {} | {} |\n",
                kind.slug(),
                kind.title(),
                kind.cause(),
                kind.fix()
            );
        }
    }
    crate::golden::assert_file("docs/boot-problems.md", &text);
}

#[test]
fn the_sentences_of_the_common_ones_name_what_matters() {
    let what = |facts: &[(u64, F)], now| diagnosis(facts, Who::Sighting, now).verdict.unwrap();
    let never = what(&[(0, offered(OfferWay::Discover)), (4, took())], 100);
    assert_eq!(
        never.what,
        "It took an address of 192.0.2.1 and the offer, and never asked port 4011 or TFTP: firewall or UDP 4011."
    );
    assert_eq!(never.next, "If it happens again: the form that names the file in the offer.");
    let boot = |secs| {
        [
            (secs, offered(OfferWay::Direct)),
            (secs + 1, took()),
            (secs + 2, F::Sent { file: file() }),
        ]
    };
    let twice: Vec<_> = boot(0).into_iter().chain(boot(70)).collect();
    let lesson = learn(&log(&twice), BootProfile::default(), &BootLesson::default(), at(200));
    let entries = log(&twice);
    let case = Case {
        entries: &entries,
        who: armed(0),
        settings: BootProfile::default(),
        lesson: lesson.as_ref(),
    };
    let verdict = diagnose(&case, at(200)).verdict.unwrap();
    assert_eq!(verdict.what, "Loaded snponly.efi twice, and iPXE never spoke.");
    assert_eq!(verdict.next, "Trying ipxe.efi next.");
    let set = BootProfile { program: Some(SNPONLY), ..BootProfile::default() };
    let verdict = diagnose(&Case { settings: set, ..case }, at(200)).verdict.unwrap();
    assert_eq!(verdict.next, "The host's own setting stays: snponly.efi.");
}

#[test]
fn a_boot_that_follows_closes_the_one_before_at_once() {
    let facts = [
        (0, offered(OfferWay::Direct)),
        (1, took()),
        (10, offered(OfferWay::Direct)),
        (11, took()),
        (12, F::Sending { file: file() }),
        (20, offered(OfferWay::Direct)),
    ];
    let found = diagnosis(&facts, armed(0), 21);
    assert_eq!(found.verdict.unwrap().kind, Kind::UnderWay);
    let earlier: Vec<_> = found.earlier.iter().map(|e| (e.began, e.verdict.kind)).collect();
    assert_eq!(earlier, [(at(10), Kind::TftpStalled), (at(0), Kind::NeverAskedTftp)]);
    assert_eq!(found.marks.len(), 1, "only the newest boot is drawn");
    // So does a new rebuild.
    let found = diagnosis(&facts[..2], armed(10), 11);
    assert_eq!(found.verdict.unwrap().kind, Kind::Waiting);
    assert_eq!(found.earlier[0].verdict.kind, Kind::NeverAskedTftp);
}

#[test]
fn a_restart_after_the_installation_is_part_of_it_and_a_later_one_is_not() {
    let mut facts = loads(&InstallerFile::ALL);
    facts.push((60, F::Answered));
    facts.push((700, silent(Silence::Idle)));
    assert!(diagnosis(&facts, Who::Sighting, 701).earlier.is_empty());
    facts.push((900, F::CalledBack));
    facts.push((5000, silent(Silence::Idle)));
    assert_eq!(kind(&facts, 5001), Some(Kind::OwnDisk));
    assert_eq!(diagnosis(&facts, Who::Sighting, 5001).earlier[0].verdict.kind, Kind::CalledBack);
    // An installation that never ended is over some time.
    facts.truncate(facts.len() - 3);
    facts.push((60 + 3600, silent(Silence::Idle)));
    assert_eq!(kind(&facts, 3661), Some(Kind::OwnDisk));
}

#[test]
fn what_the_host_proves_counts_when_the_log_lost_it() {
    let facts = loads(&[]);
    for (state, expected) in [
        (HostState::PxeBooted, Kind::NoKernel),
        (HostState::Installing, Kind::UnderWay),
        (HostState::Joining, Kind::CalledBack),
    ] {
        let found = diagnosis(&facts, Who::Host { state, since: at(100) }, 200).verdict.unwrap();
        assert_eq!(found.kind, expected, "{state}: {}", found.what);
    }
}

#[test]
fn transfers_are_one_mark_with_their_length() {
    let facts = [
        (0, offered(OfferWay::Direct)),
        (1, F::Sending { file: file() }),
        (3, F::Sent { file: file() }),
        (4, F::Loading { file: InstallerFile::Iso }),
        (9, F::Loaded { file: InstallerFile::Iso, whole: true }),
        (9, F::Loading { file: InstallerFile::Kernel }),
    ];
    let marks = diagnosis(&facts, armed(0), 10).marks;
    let told: Vec<_> = marks.iter().map(|m| (m.at, m.until, m.tone)).collect();
    assert_eq!(
        told,
        [
            (at(0), at(0), MarkTone::Good),
            (at(1), at(3), MarkTone::Good),
            (at(4), at(9), MarkTone::Good),
            (at(9), at(9), MarkTone::Open)
        ]
    );
}

/// A machine whose firmware understands one form and whose network chip one program, against what is learned.
struct Firmware {
    form: Option<OfferForm>,
    program: Option<BootProgram>,
    entries: Vec<(u64, F)>,
    lesson: BootLesson,
    now: u64,
    told: Vec<String>,
}

impl Firmware {
    fn new(form: Option<OfferForm>, program: Option<BootProgram>) -> Self {
        let (entries, told) = (Vec::new(), Vec::new());
        Self { form, program, entries, lesson: BootLesson::default(), now: 0, told }
    }

    /// One boot; the lesson is learned a minute after it.
    fn boot(&mut self, settings: BootProfile) -> BootProfile {
        let profile = settings.or(self.lesson.profile());
        let form = profile.form.unwrap_or(OfferForm::Discover);
        let program = profile.program.unwrap_or(SNPONLY);
        let name = program.file_name().to_owned();
        let mut seen = vec![F::Offered { program, way: form.into() }, took()];
        if self.form.is_none_or(|works| works == form) {
            seen.push(F::Sent { file: name });
            if self.program.is_none_or(|works| works == program) {
                seen.push(F::OfferedScript);
            }
        }
        for fact in seen {
            self.now += 1;
            self.entries.push((self.now, fact));
        }
        self.now += 61;
        let entries = log(&self.entries);
        if let Some(lesson) = learn(&entries, settings, &self.lesson, at(self.now)) {
            self.told.extend(told(&self.lesson, &lesson));
            self.lesson = lesson;
        }
        profile
    }

    fn boots(&mut self, n: usize) -> Vec<BootProfile> {
        (0..n).map(|_| self.boot(BootProfile::default())).collect()
    }
}

#[test]
fn a_form_that_fails_twice_is_changed_and_the_one_that_works_is_kept() {
    let mut picky = Firmware::new(Some(OfferForm::Direct), None);
    let forms: Vec<_> = picky.boots(5).into_iter().map(|profile| profile.form).collect();
    let direct = Some(OfferForm::Direct);
    assert_eq!(forms, [None, None, direct, direct, direct]);
    let finding = picky.lesson.form.clone().unwrap();
    assert!(finding.proven && finding.changes == 0, "{finding:?}");
    assert_eq!(
        picky.told,
        [
            "it was offered the other one twice and asked for no file: trying the form that names the file in the offer next",
            "the form that names the file in the offer works, and is kept for this machine"
        ]
    );
    let told = describe(&picky.lesson, BootProfile::default());
    assert!(told[0].ends_with("It works."), "{told:?}");
}

#[test]
fn a_program_that_never_speaks_twice_is_changed() {
    let mut chip = Firmware::new(None, Some(IPXE));
    let programs: Vec<_> = chip.boots(4).into_iter().map(|profile| profile.program).collect();
    assert_eq!(programs, [None, None, Some(IPXE), Some(IPXE)]);
    assert!(chip.lesson.form.is_none() && chip.lesson.program.clone().unwrap().proven);
    assert_eq!(
        chip.told[0],
        "snponly.efi was loaded twice and iPXE never spoke: trying ipxe.efi next"
    );
}

#[test]
fn changes_end_at_the_default_and_begin_anew_after_a_boot_that_worked() {
    let works = Some(BootProgram::UndionlyKpxe);
    let mut hopeless = Firmware::new(None, works);
    let programs: Vec<_> = hopeless.boots(12).into_iter().map(|profile| profile.program).collect();
    assert_eq!(programs[2..4], [Some(IPXE), Some(IPXE)]);
    assert!(programs[4..].iter().all(|program| *program == Some(SNPONLY)), "{programs:?}");
    assert_eq!(hopeless.lesson.program.clone().unwrap().changes, BOOT_CHANGES);
    assert!(describe(&hopeless.lesson, BootProfile::default())[0].contains("Nothing more"));
    // Secure Boot was switched off: it works, and the next trouble is met afresh.
    hopeless.program = None;
    hopeless.boots(1);
    assert_eq!(hopeless.lesson.program.clone().unwrap().changes, 0);
    hopeless.program = Some(IPXE);
    hopeless.boots(3);
    assert_eq!(hopeless.lesson.program.clone().unwrap().used, IPXE);
}

#[test]
fn the_operators_settings_are_not_changed() {
    let mut picky = Firmware::new(Some(OfferForm::Direct), Some(IPXE));
    let set = BootProfile { form: Some(OfferForm::Discover), program: Some(SNPONLY) };
    for _ in 0..6 {
        assert_eq!(picky.boot(set), set);
    }
    assert_eq!(picky.lesson, BootLesson::default());
}

#[test]
fn one_answer_on_4011_without_a_request_for_the_file_is_enough() {
    let facts = [(0, offered(OfferWay::Discover)), (1, took()), (2, F::Named { program: SNPONLY })];
    let learn = |now| learn(&log(&facts), BootProfile::default(), &BootLesson::default(), at(now));
    assert_eq!(learn(61), None, "it may still ask");
    assert_eq!(learn(62).unwrap().profile().form, Some(OfferForm::Direct));
}

#[test]
fn retries_of_one_round_count_once_and_a_machine_that_asks_for_ever_counts_each_minute() {
    let mut asking = log(&[(0, offered(OfferWay::Discover))]);
    let asks = |entries: &[BootLogEntry], now| {
        learn(entries, BootProfile::default(), &BootLesson::default(), at(now))
    };
    asking[0].count = 4;
    asking[0].last = at(28);
    assert_eq!(asks(&asking, 200), None);
    asking[0].last = at(28).after(SETTLE);
    assert!(asks(&asking, 200).is_some());
    // A form that was changed in the middle of a round has not failed yet.
    let mut changed = log(&[(0, offered(OfferWay::Discover)), (4, offered(OfferWay::Direct))]);
    changed[0].last = at(3);
    assert_eq!(asks(&changed, 200), None);
}

#[test]
fn attempts_by_http_and_silence_say_nothing_about_the_form() {
    let http = |secs| [(secs, offered(OfferWay::Http)), (secs + 1, took())];
    let pxe = |secs| [(secs, offered(OfferWay::Discover)), (secs + 1, took())];
    let facts: Vec<_> =
        pxe(0).into_iter().chain(http(100)).chain(pxe(200)).chain(http(300)).collect();
    let lesson = learn(&log(&facts), BootProfile::default(), &BootLesson::default(), at(500));
    assert_eq!(lesson.unwrap().profile().form, Some(OfferForm::Direct));
    let http_only: Vec<_> = http(0).into_iter().chain(http(100)).chain(http(200)).collect();
    assert_eq!(
        learn(&log(&http_only), BootProfile::default(), &BootLesson::default(), at(500)),
        None
    );
}

#[test]
fn logs_of_older_versions_are_drawn_and_judge_nothing() {
    let mut old = log(&[(0, offered(OfferWay::Direct)), (1, took())]);
    for entry in &mut old {
        entry.observation.fact = None;
    }
    let settings = BootProfile::default();
    let case = Case { entries: &old, who: Who::Sighting, settings, lesson: None };
    let found = diagnose(&case, at(1000));
    assert_eq!((found.verdict, found.marks.len()), (None, 2));
    let stored = serde_json::to_value(&old[0].observation).unwrap();
    assert!(stored.get("fact").is_none());
    let fresh = serde_json::to_value(&log(&[(0, took())])[0].observation).unwrap();
    assert_eq!(fresh["fact"], serde_json::json!({"is": "took-address", "server": "192.0.2.1"}));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn fact() -> impl Strategy<Value = F> {
        prop_oneof![
            Just(offered(OfferWay::Direct)),
            Just(offered(OfferWay::Discover)),
            Just(F::Offered { program: IPXE, way: OfferWay::Http }),
            Just(F::Named { program: SNPONLY }),
            Just(F::OfferedScript),
            Just(took()),
            Just(silent(Silence::Idle)),
            Just(F::Sending { file: file() }),
            Just(F::Sent { file: file() }),
            Just(F::Sent { file: "ipxe.efi".into() }),
            Just(F::Stalled { file: file(), heard: true }),
            Just(F::NoSuchFile { name: "x".into() }),
            Just(script(ScriptGiven::Install)),
            Just(F::Loading { file: InstallerFile::Iso }),
            Just(F::Loaded { file: InstallerFile::Iso, whole: false }),
            Just(F::Answered),
            Just(refused(Withheld::Report)),
            Just(F::CalledBack),
        ]
    }

    proptest! {
        #[test]
        fn any_log_is_told_and_changes_are_bounded(
            facts in proptest::collection::vec((0u64..200, fact()), 0..60)
        ) {
            let mut now = 0;
            let mut entries = Vec::new();
            let mut lesson = BootLesson::default();
            let mut since_it_worked = [0; 2];
            for (pause, fact) in facts {
                now += pause;
                entries.push((now, fact));
                let log = log(&entries);
                let case = Case { entries: &log, who: Who::Sighting, settings: BootProfile::default(), lesson: Some(&lesson) };
                let found = diagnose(&case, at(now));
                prop_assert!(found.earlier.len() <= EARLIER);
                prop_assert!(found.marks.iter().all(|mark| mark.at <= mark.until));
                if let Some(next) = learn(&log, BootProfile::default(), &lesson, at(now)) {
                    let changes = [
                        next.form.as_ref().map_or(0, |f| f.changes),
                        next.program.as_ref().map_or(0, |f| f.changes),
                    ];
                    for (n, changes) in changes.into_iter().enumerate() {
                        prop_assert!(changes <= BOOT_CHANGES);
                        since_it_worked[n] = changes;
                    }
                    // Deciding again on the same log decides nothing new.
                    prop_assert_eq!(learn(&log, BootProfile::default(), &next, at(now)), None);
                    lesson = next;
                }
            }
        }
    }
}
