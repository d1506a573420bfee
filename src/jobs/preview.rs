//! What a host would be sent, for a look: the composition of the real answer with stand-ins for the secrets that only a
//! rebuild has. Nothing is armed by it, and nothing is written.

use schemars::JsonSchema;
use serde::Serialize;

use super::check;
use super::engine::Engine;
use crate::config::reload::ServerTypesView;
use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId};
use crate::domain::image::Image;
use crate::domain::job::{Job, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::ServerType;
use crate::plan::answer::preview::{
    Check, Named, Outcome, PasswordOrigin, Preview, named, preview, unseen,
};
use crate::plan::answer::{AnswerInputs, Dialect, Layer, Layered, Template};
use crate::store::{HostReads as _, ImageReads as _, JobReads as _, Snapshot};

/// An answer that would be sent, with the story of each of its values.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AnswerPreview {
    /// The host's name.
    pub hostname: String,
    /// The image that it is made for.
    pub image: Option<ImageId>,
    /// That image's release.
    pub release: Option<String>,
    /// The form of answer that its installer takes.
    pub dialect: Option<String>,
    /// The server type.
    pub server_type: String,
    /// The answer template.
    pub template: Option<String>,
    /// Whether every rule is kept.
    pub is_sendable: bool,
    /// Every rule with what became of it.
    pub checks: Vec<Check>,
    /// Which disks it names.
    pub disk: Option<Named>,
    /// Each value with its layer and what it replaced; secrets masked.
    pub values: Vec<Layered>,
    /// Remarks.
    pub notes: Vec<String>,
    /// The whole text as TOML, secrets blanked; `None` when the installer would reject it.
    pub text: Option<String>,
}

impl AnswerPreview {
    /// What breaks the first rule that is broken.
    #[must_use]
    pub fn first_broken(&self) -> Option<String> {
        let broken = self.checks.iter().find(|check| check.outcome == Outcome::Failed)?;
        Some(broken.said.first().unwrap_or(&broken.rule).clone())
    }
}

/// What an answer is previewed for.
pub(super) struct Subject {
    pub(super) host: Host,
    /// The image of the rebuild that runs, else the newest.
    pub(super) image: Option<Image>,
    /// The rebuild that runs.
    pub(super) job: Option<Job>,
}

impl Engine {
    /// What the host would be sent now; `image` is the running rebuild's, or the newest, unless told.
    ///
    /// # Errors
    /// No such host or image, or a failing database. An answer that cannot be made is no error: its rules tell why.
    pub async fn preview_answer(
        &self,
        host: HostId,
        image: Option<ImageId>,
    ) -> Result<AnswerPreview, Refusal> {
        let subject = self.subject(host, image).await?;
        let view = self.context().types.borrow().clone();
        Ok(look(self, &view, &subject))
    }

    pub(super) async fn subject(
        &self,
        host: HostId,
        wanted: Option<ImageId>,
    ) -> Result<Subject, Refusal> {
        self.store().read(move |read| subject_in(read, host, wanted.as_ref())).await
    }
}

/// What an answer of this host is previewed for, as a snapshot has it.
///
/// # Errors
/// No such host or image, or a failing database.
pub(super) fn subject_in(
    read: &Snapshot,
    host: HostId,
    wanted: Option<&ImageId>,
) -> Result<Subject, Refusal> {
    let missing = |what: &str| {
        let hint = "List them to see what there is.";
        Refusal::new(RefusalKind::NotFound, format!("There is no such {what}."), hint)
    };
    let host = read.host(host)?.ok_or_else(|| missing("host"))?;
    let job = host.active_job.map(|id| read.job(id)).transpose()?.flatten();
    let job = job.filter(|job| matches!(job.work, Work::Rebuild(_)));
    let running = match job.as_ref().map(|job| &job.work) {
        Some(Work::Rebuild(work)) => Some(&work.image),
        _ => None,
    };
    let image = match wanted.or(running) {
        Some(id) => read.image(id)?,
        None => read.images()?.into_iter().next(),
    };
    if wanted.is_some() && image.is_none() {
        return Err(missing("image"));
    }
    Ok(Subject { host, image, job })
}

/// Looks at every rule, and composes the answer when all that it is made of is there.
pub(super) fn look(engine: &Engine, view: &ServerTypesView, subject: &Subject) -> AnswerPreview {
    let Subject { host, image, job } = subject;
    let mut checks = Vec::new();
    note(&mut checks, ANOTHER_MACHINE, check::another_machine(engine, host), "");
    let dialect = image_of(&mut checks, host, image.as_ref());
    let server_type = type_of(&mut checks, engine, view, host);
    let template = server_type.and_then(|server_type| {
        note(&mut checks, PROMISED_MEMORY, check::promised_memory(host, server_type), "");
        let template = check::template_of(view, server_type);
        let name = server_type.answer_template.clone();
        note(&mut checks, TEMPLATE, template.as_ref().map(|_| ()).map_err(Clone::clone), &name);
        template.ok()
    });
    let Preview { text, values, checks: more, notes } = match (dialect, server_type, template) {
        (Some(dialect), Some(server_type), Some(template)) => {
            compose(engine, view, host, (dialect, server_type, template))
        }
        _ => Preview { text: None, values: vec![], checks: unseen(), notes: vec![] },
    };
    checks.extend(more);
    let disk = server_type.map(|server_type| check::disk_of(host, server_type));
    if let (Some(job), Some(disk)) = (job, &disk) {
        note(&mut checks, CONFIRMED, check::still_confirmed(job, host, disk), "");
    }
    let layer = if host.overrides.boot_disk.is_some() { Layer::Host } else { Layer::ServerType };
    AnswerPreview {
        hostname: host.hostname.to_string(),
        image: image.as_ref().map(|image| image.id.clone()),
        release: image.as_ref().map(|image| image.release.release.clone()),
        dialect: dialect.map(|dialect| dialect.to_string()),
        server_type: host.server_type.to_string(),
        template: template.map(|template| template.name.clone()),
        is_sendable: checks.iter().all(|check| check.outcome == Outcome::Passed),
        checks,
        disk: disk.and_then(|disk| named(&disk, layer, &host.inventory)),
        values,
        notes,
        text,
    }
}

const ANOTHER_MACHINE: &str = "The host is not the machine that Ironhatch runs on.";
const IMAGE: &str = "There is an image that can be installed without a hand.";
const CALL_BACK: &str =
    "The image's installer can run a first-boot script, so that the node calls back.";
const MEMORY: &str = "The machine has the memory that the image needs.";
const TYPE: &str = "The server type can be used.";
const PROMISED_MEMORY: &str = "The machine has the memory that its server type promises.";
const TEMPLATE: &str = "The server type's answer template is there.";
const CONFIRMED: &str = "The disk is the one that was confirmed with the running rebuild.";

fn note(checks: &mut Vec<Check>, rule: &str, outcome: Result<(), Refusal>, said: &str) {
    checks.push(match outcome {
        Ok(()) => Check::passed(rule, said),
        Err(refusal) => Check::failed(rule, refusal.detail, refusal.hint),
    });
}

fn image_of(checks: &mut Vec<Check>, host: &Host, image: Option<&Image>) -> Option<Dialect> {
    let Some(image) = image else {
        checks.push(Check::failed(IMAGE, "There is no image.", "Import one on the page Images."));
        checks.extend([CALL_BACK, MEMORY].map(Check::open));
        return None;
    };
    let found = check::dialect_of(image);
    let said = match &found {
        Ok(dialect) => format!("{}: its installer takes dialect {dialect}", image.id),
        Err(_) => String::new(),
    };
    note(checks, IMAGE, found.as_ref().map(|_| ()).map_err(Clone::clone), &said);
    match &found {
        Ok(dialect) => note(checks, CALL_BACK, check::can_call_back(*dialect, image), ""),
        Err(_) => checks.push(Check::open(CALL_BACK)),
    }
    let said = match host.inventory.memory_mib {
        Some(seen) => format!("{seen} MiB were seen"),
        None => "its memory is not known yet; it is looked at when it boots".to_owned(),
    };
    checks.push(match check::memory(host, image) {
        Ok(()) => Check::passed(MEMORY, said),
        Err((reason, hint)) => Check::failed(MEMORY, reason, hint),
    });
    found.ok()
}

fn type_of<'a>(
    checks: &mut Vec<Check>,
    engine: &Engine,
    view: &'a ServerTypesView,
    host: &Host,
) -> Option<&'a ServerType> {
    let found = check::type_of(engine, view, host);
    let said = match (&found, engine.type_problem(&host.server_type)) {
        (Ok(_), Some(problem)) => {
            format!("its file has an error, so its last good version is used: {problem}")
        }
        _ => host.server_type.to_string(),
    };
    note(checks, TYPE, found.as_ref().map(|_| ()).map_err(Clone::clone), &said);
    if found.is_err() {
        checks.extend([PROMISED_MEMORY, TEMPLATE].map(Check::open));
    }
    found.ok()
}

fn compose(
    engine: &Engine,
    view: &ServerTypesView,
    host: &Host,
    (dialect, server_type, template): (Dialect, &ServerType, &Template),
) -> Preview {
    let enforced = check::enforced(engine, host, &check::stand_ins(engine));
    let inputs = AnswerInputs {
        dialect,
        host,
        server_type,
        template,
        time_zones: view.time_zones.as_ref(),
        enforced: &enforced,
    };
    let origin = match &engine.context().config.credentials.root_password_hash {
        Some(_) => PasswordOrigin::Configured,
        None => PasswordOrigin::Random,
    };
    preview(&inputs, origin)
}
