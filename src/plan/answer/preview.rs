//! An answer as people may see it: the text with its secrets blanked, each rule with what became of it, and why the disks
//! that it names can be no others.
//!
//! It is made by the same composition as the answer that is served. Only what is blanked differs.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::compose::{AnswerInputs, inspect};
use super::disk::DiskChoice;
use super::layer::{Layer, Layered};
use super::model::{Answer, Password};
use super::{AnswerProblem, IN_THE_TEXT, checked_text, render_toml};
use crate::domain::inventory::{Disk, Inventory};
use crate::domain::secret::Secret;
use crate::domain::server_type::DiskSelection;

/// Stands in the place of root's password or its hash.
pub const PASSWORD: &str = "(password hash)";
/// Stands in the place of the public key that each rebuild makes.
pub const KEY: &str = "(public key of the rebuild)";
/// Stands in the place of the install token in addresses.
pub const TOKEN: &str = "(install token)";
/// Stands in the place of a subscription key.
pub const SUBSCRIPTION: &str = "(subscription key)";

/// Where root's password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordOrigin {
    /// Its hash is in the configuration.
    Configured,
    /// A random one is made for each rebuild.
    Random,
}

/// An answer for the eyes of an operator.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The whole text as TOML with secrets blanked; `None` when the installer would reject it.
    pub text: Option<String>,
    /// Each key with its origin; secrets masked. Keys of a rejected answer are there too.
    pub values: Vec<Layered>,
    /// Every rule.
    pub checks: Vec<Check>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// One rule and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "AnswerCheck")]
pub struct Check {
    /// What must be true.
    pub rule: String,
    /// Whether it is.
    pub outcome: Outcome,
    /// What was found, one sentence each.
    pub said: Vec<String>,
    /// What to do when it is not.
    pub hint: String,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is kept.
    Passed,
    /// It is broken: nothing would be sent.
    Failed,
    /// It could not be looked at, because of another one.
    Open,
}

impl Check {
    /// A rule that is kept.
    #[must_use]
    pub fn passed(rule: impl Into<String>, said: impl Into<String>) -> Self {
        let said = Some(said.into()).filter(|text| !text.is_empty()).into_iter().collect();
        Self { rule: rule.into(), outcome: Outcome::Passed, said, hint: String::new() }
    }

    /// A rule that is broken.
    #[must_use]
    pub fn failed(
        rule: impl Into<String>,
        said: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (rule, hint) = (rule.into(), hint.into());
        Self { rule, outcome: Outcome::Failed, said: vec![said.into()], hint }
    }

    /// A rule that another one hides.
    #[must_use]
    pub fn open(rule: impl Into<String>) -> Self {
        Self { rule: rule.into(), outcome: Outcome::Open, said: Vec::new(), hint: String::new() }
    }
}

/// What the rules of an answer are about, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Release,
    System,
    Access,
    Network,
    Disk,
    Storage,
    Callbacks,
    Text,
}

impl About {
    const ALL: [Self; 8] = [
        Self::Release,
        Self::System,
        Self::Access,
        Self::Network,
        Self::Disk,
        Self::Storage,
        Self::Callbacks,
        Self::Text,
    ];

    fn of(problem: &AnswerProblem) -> Self {
        let key = problem.key.as_str();
        let is_below = |tops: &[&str]| tops.iter().any(|top| key.starts_with(top));
        if problem.since.is_some() {
            Self::Release
        } else if problem.rule.ends_with(IN_THE_TEXT) {
            Self::Text
        } else if is_below(&["global.root-"]) {
            Self::Access
        } else if is_below(&["network"]) {
            Self::Network
        } else if is_below(&["disk-setup.filter", "disk-setup.disk-list"]) {
            Self::Disk
        } else if is_below(&["disk-setup"]) {
            Self::Storage
        } else if is_below(&["post-installation-webhook", "first-boot"]) {
            Self::Callbacks
        } else {
            Self::System
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Release => "The image's installer knows every key that is set.",
            Self::System => {
                "Country, keyboard, time zone, mail address and full name are ones that the installer takes."
            }
            Self::Access => "Root has a usable password hash and whole public keys.",
            Self::Network => {
                "The network is DHCP, or one fixed address with its gateway on exactly one NIC."
            }
            Self::Disk => "The disk selection can match only the disks that were named.",
            Self::Storage => "The file system's options exist and fit the number of disks.",
            Self::Callbacks => "The machine knows where to report and to call back.",
            Self::Text => {
                "A second reader, written after the installer's own, accepts the finished text."
            }
        }
    }
}

/// Composes an answer as [`super::prepare`] does, for a look.
#[must_use]
pub fn preview(inputs: &AnswerInputs<'_>, password: PasswordOrigin) -> Preview {
    let inspected = inspect(inputs);
    let (text, problems) = match inspected.outcome {
        Ok(answer) => match checked_text(&answer, inputs.dialect) {
            Ok(_) => (Some(render_toml(&blanked(&answer), inputs.dialect)), Vec::new()),
            Err(problems) => (None, problems),
        },
        Err(problems) => (None, problems),
    };
    let values = inspected.layers.into_iter().map(|value| shown(value, password)).collect();
    let mut notes = inspected.notes;
    for omitted in inspected.omitted {
        notes.push(format!(
            "this release has no {}; {} and newer do",
            omitted.section, omitted.since
        ));
    }
    Preview { text, values, checks: checks(&problems, inputs), notes }
}

/// The same rules when there is nothing to compose.
#[must_use]
pub fn unseen() -> Vec<Check> {
    About::ALL.into_iter().map(|about| Check::open(about.rule())).collect()
}

fn checks(problems: &[AnswerProblem], inputs: &AnswerInputs<'_>) -> Vec<Check> {
    let is_composed = problems.iter().all(|problem| About::of(problem) == About::Text);
    let check = |about: About| {
        let own: Vec<&AnswerProblem> =
            problems.iter().filter(|problem| About::of(problem) == about).collect();
        if own.is_empty() && about == About::Text && !is_composed {
            return Check::open(about.rule());
        }
        if own.is_empty() {
            return Check::passed(about.rule(), "");
        }
        Check {
            rule: about.rule().to_owned(),
            outcome: Outcome::Failed,
            said: own.iter().map(ToString::to_string).collect(),
            hint: hint(&own, inputs),
        }
    };
    About::ALL.into_iter().map(check).collect()
}

/// What to do about problems that one rule found.
fn hint(problems: &[&AnswerProblem], inputs: &AnswerInputs<'_>) -> String {
    let mut advice: Vec<String> = Vec::new();
    let mut add = |text: String| {
        if !advice.contains(&text) {
            advice.push(text);
        }
    };
    for problem in problems {
        if let Some(since) = problem.since {
            add(format!("Use an image of release {since} or newer, or take the key out."));
        }
        if inputs.host.overrides.boot_disk.is_none()
            && inputs.server_type.boot_disk == DiskSelection::PerHost
            && About::of(problem) == About::Disk
        {
            add(format!(
                "Name the host's disk (Edit this host), or name one in the server type {}.",
                inputs.server_type.name
            ));
            continue;
        }
        add(match problem.layer {
            Some(Layer::Template) => format!("Correct the answer template {}.", inputs.template.name),
            Some(Layer::ServerType) => format!("Correct the server type {}.", inputs.server_type.name),
            Some(Layer::Host) => "Correct the host's own values.".to_owned(),
            Some(Layer::Enforced | Layer::Rebuild) => {
                "Correct the appliance's configuration, or the host's name and its server type's domain."
                    .to_owned()
            }
            None => "Set it in the answer template, the server type or the host.".to_owned(),
        });
    }
    advice.join(" ")
}

/// The same answer without what must not be seen.
fn blanked(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    let hidden = || Secret::new(PASSWORD.to_owned());
    answer.global.password = match &answer.global.password {
        Password::Hashed(_) => Password::Hashed(hidden()),
        Password::Plain(_) => Password::Plain(hidden()),
    };
    // The rebuild's own key comes first; the others are the operator's, which the configuration shows as well.
    if let Some(own) = answer.global.ssh_keys.first_mut() {
        KEY.clone_into(own);
    }
    if let Some(key) = &mut answer.global.subscription_key {
        SUBSCRIPTION.clone_into(key);
    }
    let callbacks =
        [answer.webhook.as_mut(), answer.first_boot.as_mut().map(|boot| &mut boot.callback)];
    for callback in callbacks.into_iter().flatten() {
        callback.url = without_token(&callback.url);
    }
    answer
}

/// An address of a rebuild with its token blanked.
fn without_token(url: &str) -> String {
    match url.split_once("token=") {
        Some((address, _)) => format!("{address}token={TOKEN}"),
        None => url.to_owned(),
    }
}

/// A value as it is told: what a rebuild makes is named instead of the stand-in that was composed with.
fn shown(mut layered: Layered, password: PasswordOrigin) -> Layered {
    match layered.key.as_str() {
        "global.root-password" | "global.root-password-hashed" => {
            layered.value = PASSWORD.into();
            if password == PasswordOrigin::Random {
                layered.layer = Layer::Rebuild;
            }
        }
        "global.root-ssh-keys" => {
            layered.layer = Layer::Rebuild;
            if let Some(own) = layered.value.as_array_mut().and_then(|keys| keys.first_mut()) {
                *own = Value::from(KEY);
            }
        }
        "global.subscription-key" => layered.value = SUBSCRIPTION.into(),
        _ => {}
    }
    layered
}

/// Which disks an answer names, and why no others can be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "NamedDisk")]
pub struct Named {
    /// Which.
    pub disks: String,
    /// Who named them.
    pub layer: Layer,
    /// Why the selection can match only those.
    pub why: String,
    /// Those of the machine's known disks that it matches.
    pub known: Vec<String>,
}

/// Explains a disk selection; `None` when it names no disk that may be erased.
#[must_use]
pub fn named(selection: &DiskSelection, layer: Layer, inventory: &Inventory) -> Option<Named> {
    let choice = DiskChoice::of(selection).ok()?;
    let (disks, why) = match (choice.filter(), choice.list()) {
        (Some((property, value)), _) => (
            format!("the disk whose {property} is “{value}”"),
            format!(
                "The installer compares one property with this exact text: patterns, and properties that several disks share, are refused. {}",
                meaning(property)
            ),
        ),
        (None, paths) => (
            paths.unwrap_or_default().join(", "),
            "The installer takes disks whose whole path ends with one of these, and no other path does. The kernel gives these names in the order in which it finds disks: they are right only as long as the machine's disks stay as they are."
                .to_owned(),
        ),
    };
    let known = inventory.disks.iter().filter(|disk| is_named(&choice, disk)).map(words).collect();
    Some(Named { disks, layer, why, known })
}

/// What makes a property name one disk.
fn meaning(property: &str) -> &'static str {
    match property {
        "ID_SERIAL" | "ID_SERIAL_SHORT" => "A maker gives a serial number to one disk.",
        "ID_WWN" | "ID_WWN_WITH_EXTENSION" => "A world wide name is given to one disk.",
        _ => "It names a port of the machine: whatever disk is plugged in there is meant.",
    }
}

fn is_named(choice: &DiskChoice, disk: &Disk) -> bool {
    match (choice.filter(), choice.list()) {
        (Some(("ID_SERIAL_SHORT", value)), _) => disk.serial.as_deref() == Some(value),
        (Some(("ID_WWN", value)), _) => disk.wwn.as_deref() == Some(value),
        (None, Some(paths)) => {
            let bare = disk.device.trim_start_matches("/dev/");
            paths.iter().any(|path| path.trim_start_matches("/dev/") == bare)
        }
        _ => false,
    }
}

fn words(disk: &Disk) -> String {
    let parts = [
        Some(disk.device.clone()),
        disk.model.clone(),
        disk.serial.as_ref().map(|serial| format!("serial {serial}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// A line of two answers that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DifferenceLine")]
pub struct Line {
    /// `+`: it comes; `-`: it goes; a blank: it stays, and is there to show where.
    pub sign: char,
    /// The line.
    pub text: String,
}

/// Lines that go and come between two texts, with two that stay around them; empty when the texts are the same.
#[must_use]
pub fn lines_between(old: &str, new: &str) -> Vec<Line> {
    let difference = TextDiff::from_lines(old, new);
    let groups = difference.grouped_ops(2);
    let changes = groups.iter().flatten().flat_map(|part| difference.iter_changes(part));
    changes
        .map(|change| Line {
            sign: match change.tag() {
                ChangeTag::Insert => '+',
                ChangeTag::Delete => '-',
                ChangeTag::Equal => ' ',
            },
            text: change.value().trim_end_matches('\n').to_owned(),
        })
        .collect()
}
