//! What to do differently for a machine whose boots fail: another form of the offer, another boot program.
//!
//! ```text
//!   two rounds of asking without a request for a file   -> the other form      (`pxe-netboot` 4.6)
//!   port 4011 answered, and no file was asked for       -> the other form
//!   the program loaded twice, and iPXE never spoke      -> the other program   (`pxe-netboot` 11.2)
//!   it worked                                           -> remembered, and counted from zero
//! ```
//!
//! Bounded by [`BOOT_CHANGES`]: away from the default and back to it. The operator's own settings are never changed. What
//! is decided here shapes an offer that the machine gets anyway; it never causes one.

use std::fmt::Display;

use super::course::{Course, SETTLE, courses};
use super::judge::times;
use crate::domain::boot::{BootLesson, BootLogEntry, BootProfile, BootProgram, Finding, OfferForm};
use crate::domain::time::Timestamp;
use crate::limits::machine::BOOT_CHANGES;

/// Failures in a row after which something else is tried.
const ENOUGH: u64 = 2;

/// The lesson of a boot log (oldest first), when it is another one than the present one. `settings` are the operator's.
#[must_use]
pub fn learn(
    entries: &[BootLogEntry],
    settings: BootProfile,
    present: &BootLesson,
    now: Timestamp,
) -> Option<BootLesson> {
    let all = courses(entries);
    let mut lesson = present.clone();
    learn_form(&all, settings, &mut lesson, now);
    learn_program(&all, settings, &mut lesson, now);
    (lesson != *present).then_some(lesson)
}

/// Whether a boot is over: another one followed, or nothing was heard for long.
fn is_over(all: &[Course<'_>], n: usize, now: Timestamp) -> bool {
    n + 1 < all.len() || all.get(n).is_some_and(|course| now.since(course.last) >= SETTLE)
}

/// The boots that are over, newest first.
fn finished<'c, 'a>(all: &'c [Course<'a>], now: Timestamp) -> impl Iterator<Item = &'c Course<'a>> {
    let over = move |(n, course)| is_over(all, n, now).then_some(course);
    all.iter().enumerate().rev().filter_map(over)
}

fn learn_form(all: &[Course<'_>], settings: BootProfile, lesson: &mut BootLesson, now: Timestamp) {
    let Some(newest) = all.iter().rev().find(|c| c.form().is_some()) else { return };
    let Some(form) = newest.form() else { return };
    if newest.asked_files() {
        confirm(&mut lesson.form, form);
        return;
    }
    let (mut failures, mut named) = (0, false);
    for course in finished(all, now) {
        // An attempt by HTTP, or one that was met with silence, says nothing about the form.
        let Some(tried) = course.form() else { continue };
        if tried != form || !course.ignored_the_offer() {
            break;
        }
        named |= course.named;
        failures += if course.named { ENOUGH } else { course.rounds };
    }
    let present = lesson.form.as_ref().map(|finding| finding.used);
    if failures < ENOUGH || settings.form.is_some() || present.is_some_and(|used| used != form) {
        return;
    }
    let because = if named {
        "it asked port 4011, got its answer, and asked for no file".to_owned()
    } else {
        format!("it was offered the other one {} and asked for no file", times(failures))
    };
    change(&mut lesson.form, form.other(), because, now);
}

fn learn_program(
    all: &[Course<'_>],
    settings: BootProfile,
    lesson: &mut BootLesson,
    now: Timestamp,
) {
    let Some(newest) = all.iter().rev().find(|c| c.program.is_some()) else { return };
    let Some(program) = newest.program else { return };
    if newest.spoke {
        confirm(&mut lesson.program, program);
        return;
    }
    let mut failures: u64 = 0;
    for course in finished(all, now) {
        let Some(loaded) = course.program else { continue };
        if course.spoke || loaded != program {
            break;
        }
        failures += 1;
    }
    let present = lesson.program.as_ref().map(|finding| finding.used);
    if failures < ENOUGH || settings.program.is_some() || present.is_some_and(|p| p != program) {
        return;
    }
    let Some(other) = program.other() else { return };
    let name = program.file_name();
    let because = format!("{name} was loaded {} and iPXE never spoke", times(failures));
    change(&mut lesson.program, other, because, now);
}

/// It works: this is remembered, and trouble is counted from zero.
fn confirm<T: PartialEq>(finding: &mut Option<Finding<T>>, works: T) {
    if let Some(finding) = finding.as_mut().filter(|finding| finding.used == works) {
        (finding.proven, finding.changes) = (true, 0);
    }
}

fn change<T>(finding: &mut Option<Finding<T>>, to: T, because: String, now: Timestamp) {
    let changes = finding.as_ref().map_or(0, |finding| finding.changes);
    if changes < BOOT_CHANGES {
        *finding =
            Some(Finding { used: to, changes: changes + 1, proven: false, since: now, because });
    }
}

/// The form in words.
pub(super) fn form_in_words(form: OfferForm) -> &'static str {
    match form {
        OfferForm::Discover => "the form that asks port 4011",
        OfferForm::Direct => "the form that names the file in the offer",
    }
}

/// What changed between two lessons, one sentence each: for the log of events.
#[must_use]
pub fn told(before: &BootLesson, after: &BootLesson) -> Vec<String> {
    let form = |form: &OfferForm| form_in_words(*form).to_owned();
    let program = |program: &BootProgram| program.file_name().to_owned();
    [
        tell(before.form.as_ref(), after.form.as_ref(), form),
        tell(before.program.as_ref(), after.program.as_ref(), program),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn tell<T: PartialEq>(
    before: Option<&Finding<T>>,
    after: Option<&Finding<T>>,
    words: impl Fn(&T) -> String,
) -> Option<String> {
    let after = after?;
    if before.is_none_or(|before| before.used != after.used) {
        return Some(format!("{}: trying {} next", after.because, words(&after.used)));
    }
    let works = after.proven && before.is_some_and(|before| !before.proven);
    works.then(|| format!("{} works, and is kept for this machine", words(&after.used)))
}

/// What is done differently for a machine, one sentence each: for pages.
#[must_use]
pub fn describe(lesson: &BootLesson, settings: BootProfile) -> Vec<String> {
    let form = lesson.form.as_ref().map(|finding| {
        let set = settings.form.map(|form| form_in_words(form).to_owned());
        sentence(finding, form_in_words(finding.used), set.as_deref())
    });
    let program = lesson.program.as_ref().map(|finding| {
        sentence(finding, finding.used.file_name(), settings.program.map(BootProgram::file_name))
    });
    form.into_iter().chain(program).collect()
}

fn sentence<T>(finding: &Finding<T>, used: impl Display, set: Option<&str>) -> String {
    if let Some(set) = set {
        return format!("The host's own setting is used: {set}.");
    }
    let since = finding.since.to_string().replace('T', " ").replace('Z', " UTC");
    let because = &finding.because;
    let standing = match (finding.proven, finding.changes >= BOOT_CHANGES) {
        (true, _) => " It works.",
        (false, true) => " Nothing more is changed by itself until a boot works.",
        (false, false) => "",
    };
    format!("It gets {used} since {since}, because {because}.{standing}")
}
