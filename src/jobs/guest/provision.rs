//! An app gets into its container: files pushed, programs run, their output in the job's log with secrets blanked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::create::{call, refused};
use super::{Working, change, reveal};
use crate::apps::built_in;
use crate::apps::folder::AppFolder;
use crate::domain::event::Level;
use crate::domain::guest::{Guest, InstalledApp};
use crate::domain::id::GuestId;
use crate::domain::job::GuestTask;
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::secret::Secret;
use crate::jobs::Engine;
use crate::jobs::record;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::limits::work::{OUTPUT_LINE, OUTPUT_LINES};
use crate::node::channel::CallLimits;
use crate::plan::guest::context::{SiteNames, Subject};
use crate::plan::guest::outputs;
use crate::plan::guest::provision::{self as plan, Content, Phase, PushedFile, Run, Tidy};
use crate::plan::guest::redaction::{Lines, Redactor};
use crate::proto::verb::{Request, Stream, Verb};
use crate::store::{SecretReads as _, StoreError, Tx, of_guest};

/// Name of the sealed facts of a guest.
const KEPT_FACTS: &str = "facts";

/// Values of an app's secret inputs, by key.
pub(super) type Secrets = BTreeMap<String, Secret<String>>;

/// The folder of the app that the job is about: the version to come for an upgrade, else the installed one.
pub(super) async fn load(
    layer: &super::Layer,
    guest: &Guest,
    task: &GuestTask,
) -> Result<Arc<AppFolder>, String> {
    let hash = match (task, &guest.app) {
        (GuestTask::Upgrade { to, .. }, _) => &to.hash,
        (_, Some(app)) => &app.hash,
        (_, None) => return Err("no app of the catalog runs in it".to_owned()),
    };
    layer.library.files(hash).await.map_err(|e| with_causes(&e))
}

/// The folder that the driver loaded.
pub(super) fn folder(working: &Working<'_>) -> Result<Arc<AppFolder>, StepFailure> {
    match &working.app {
        Ok(app) => Ok(Arc::clone(app)),
        Err(reason) => Err(StepFailure::for_good(
            reason.clone(),
            "refresh the catalog source that had it, or uninstall the guest",
        )),
    }
}

fn phase(working: &Working<'_>) -> Phase {
    match working.task {
        GuestTask::Upgrade { .. } => Phase::Upgrade,
        GuestTask::Reconfigure(_) => Phase::Reconfigure,
        GuestTask::Uninstall { .. } => Phase::Uninstall,
        _ => Phase::Install,
    }
}

/// What templates of the app may name, for the guest as it is now.
fn subject<'a>(working: &'a Working<'_>, app: &'a AppFolder) -> Subject<'a> {
    let apps = &working.layer.apps;
    Subject {
        manifest: &app.manifest,
        guest: &working.guest,
        site: SiteNames {
            domain: apps.defaults.domain.as_deref().unwrap_or_default(),
            url: &working.engine.context().config.server.public_url,
        },
    }
}

/// The guest's secret inputs, opened.
pub(super) async fn secrets(working: &Working<'_>) -> Result<Secrets, StepFailure> {
    Ok(sealed_inputs(working.engine, working.guest.id).await?)
}

/// The same, without a job.
async fn sealed_inputs(engine: &Engine, guest: GuestId) -> Result<Secrets, Refusal> {
    let key = engine.store().master_key();
    let prefix = of_guest(guest, &reveal::input(""));
    engine
        .store()
        .read::<_, Refusal, _>(move |r| {
            let mut found = Secrets::new();
            for name in r.secret_names(&prefix)? {
                let value = r.secret(&key, &name)?;
                if let (Some(field), Some(value)) = (name.strip_prefix(&prefix), value) {
                    found.insert(field.to_owned(), Secret::new(value.to_string()));
                }
            }
            Ok(found)
        })
        .await
}

/// A redactor for everything secret that is known of a guest: inputs, secret outputs, and facts that stand in those. An
/// app whose files are gone names none besides the sealed inputs.
pub(super) async fn redactor_of(engine: &Engine, guest: &Guest) -> Result<Redactor, Refusal> {
    let layer = engine.layer()?;
    let secrets = sealed_inputs(engine, guest.id).await?;
    let files = match &guest.app {
        Some(app) => layer.library.files(&app.hash).await.ok(),
        None => None,
    };
    let Some(app) = files else {
        return Ok(Redactor::new(secrets.values().map(|s| s.expose().as_str())));
    };
    let facts = kept_facts(engine, guest.id).await.map_err(|reason| {
        Refusal::new(RefusalKind::Internal, reason, "upgrade the app: that writes them anew")
    })?;
    let site = SiteNames {
        domain: layer.apps.defaults.domain.as_deref().unwrap_or_default(),
        url: &engine.context().config.server.public_url,
    };
    let subject = Subject { manifest: &app.manifest, guest, site };
    Ok(plan::redactor_with_outputs(&subject, &secrets, &facts))
}

/// Pushes the app's files and inputs.
pub(super) async fn push(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if !change::provisions(working) {
        return Ok(StepDone::Skipped("its inputs stay as they are".to_owned()));
    }
    let pushed = stage(working, phase(working)).await?;
    Ok(StepDone::Done(format!("{pushed} files")))
}

/// Pushes the files of a phase; returns how many.
async fn stage(working: &mut Working<'_>, phase: Phase) -> Result<usize, StepFailure> {
    working.ours().await?;
    let app = folder(working)?;
    let secrets = secrets(working).await?;
    let files = plan::files(&subject(working, &app), phase, &secrets)
        .map_err(|reason| StepFailure::for_good(reason, "look for a newer version of the app"))?;
    let vmid = working.guest.vmid;
    let count = files.len();
    for PushedFile { path, mode, content } in files {
        let bytes: &[u8] = match &content {
            Content::App(name) => {
                app.files.get(name).map(|file| &*file.bytes).ok_or_else(|| {
                    StepFailure::for_good(format!("the app has no file {name}"), "")
                })?
            }
            Content::Library => built_in::helpers().as_bytes(),
            Content::Text(text) => text.expose().as_bytes(),
        };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let request = Request::new(Verb::Push { vmid, path, mode, uid: 0, gid: 0, size });
        let limits = CallLimits::for_verb(&request.verb);
        let channel = working.channel().await?;
        channel.call(&request, bytes, limits, &mut |_, _| {}).await.map_err(refused)?;
    }
    Ok(count)
}

/// Runs the app's programs, one after the other.
pub(super) async fn run(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if !change::provisions(working) {
        return Ok(StepDone::Skipped("its inputs stay as they are".to_owned()));
    }
    let phase = phase(working);
    let count = run_all(working, phase).await?;
    if let GuestTask::Upgrade { to, .. } = working.task.clone() {
        let app = folder(working)?;
        let message = format!("{} runs {} {}", working.guest.name, to.id, to.version);
        working
            .record(message, move |guest| {
                let inputs = guest.app.take().map(|a| a.inputs).unwrap_or_default();
                guest.app = Some(InstalledApp {
                    id: to.id,
                    version: to.version,
                    source: to.source,
                    hash: app.hash.clone(),
                    inputs,
                });
            })
            .await?;
    }
    Ok(StepDone::Done(format!("{count} programs ended well")))
}

/// Runs the app's script for its end: its files are pushed first.
pub(super) async fn run_uninstall(working: &mut Working<'_>) -> Result<(), StepFailure> {
    stage(working, Phase::Uninstall).await?;
    run_all(working, Phase::Uninstall).await.map(drop)
}

async fn run_all(working: &mut Working<'_>, phase: Phase) -> Result<usize, StepFailure> {
    working.ours().await?;
    let app = folder(working)?;
    let secrets = secrets(working).await?;
    let (runs, redactor) = {
        let subject = subject(working, &app);
        let runs = plan::runs(&subject, phase)
            .map_err(|reason| StepFailure::for_good(reason, "correct the app"))?;
        (runs, plan::redactor(&subject, &secrets))
    };
    let count = runs.len();
    for run in runs {
        let title = run.title.clone();
        working.log(Level::Info, format!("{title} …")).await?;
        let status = exec(working, run, &redactor, Kept::Lines).await?;
        if status != 0 {
            return Err(StepFailure::for_good(
                format!("{title}: ended with status {status}"),
                "the last lines above tell why; correct it and try again",
            ));
        }
    }
    Ok(count)
}

/// Runs the script of the health check once; returns its status.
pub(super) async fn run_health_script(working: &mut Working<'_>) -> Result<i32, StepFailure> {
    stage(working, Phase::Check).await?;
    let app = folder(working)?;
    let secrets = secrets(working).await?;
    let (runs, redactor) = {
        let subject = subject(working, &app);
        let runs = plan::runs(&subject, Phase::Check)
            .map_err(|reason| StepFailure::for_good(reason, "correct the app"))?;
        (runs, plan::redactor(&subject, &secrets))
    };
    let mut status = 0;
    for run in runs {
        // Looked at every few seconds: its lines would drown the log.
        status = exec(working, run, &redactor, Kept::Nothing).await?;
    }
    Ok(status)
}

/// What of a program's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Lines,
    Nothing,
}

/// Runs one program in the guest and returns its status.
async fn exec(
    working: &mut Working<'_>,
    run: Run,
    redactor: &Redactor,
    kept: Kept,
) -> Result<i32, StepFailure> {
    let vmid = working.guest.vmid;
    let Run { argv, env, user, timeout_sec, .. } = run;
    let request = Request::new(Verb::Exec { vmid, argv, env, user, timeout_sec });
    let limits = CallLimits::for_verb(&request.verb);
    working.channel().await?;
    let Some(channel) = &working.channel else {
        return Err(StepFailure::passing("no root channel", ""));
    };
    // Unbounded, because the sender cannot wait; the channel's limit on output bounds it.
    let (sender, mut pieces) = mpsc::unbounded_channel::<(Stream, String)>();
    let mut sink = move |stream: Stream, text: &str| {
        if kept == Kept::Lines {
            let _ = sender.send((stream, text.to_owned()));
        }
    };
    let mut printed = Printed::default();
    let outcome = {
        let running = channel.call(&request, &[], limits, &mut sink);
        tokio::pin!(running);
        loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                Some((stream, text)) = pieces.recv() => {
                    let mut lines = printed.take(stream, &text, redactor);
                    while let Ok((stream, text)) = pieces.try_recv() {
                        lines.extend(printed.take(stream, &text, redactor));
                    }
                    tell(working, lines).await?;
                }
            }
        }
    };
    drop(sink);
    let mut rest = Vec::new();
    while let Some((stream, text)) = pieces.recv().await {
        rest.extend(printed.take(stream, &text, redactor));
    }
    rest.extend(printed.rest(redactor));
    tell(working, rest).await?;
    Ok(outcome.map_err(refused)?.status)
}

async fn tell(working: &Working<'_>, lines: Vec<(Level, String)>) -> Result<(), StepFailure> {
    if lines.is_empty() {
        return Ok(());
    }
    Ok(record::log_all(working.engine, working.id, Some(working.step.clone()), lines).await?)
}

/// What both streams of a program printed, line by line with secrets blanked, up to a limit.
#[derive(Debug, Default)]
struct Printed {
    stdout: Lines,
    stderr: Lines,
    written: usize,
}

impl Printed {
    /// Takes a piece of a stream; returns the lines that it completed.
    fn take(&mut self, stream: Stream, text: &str, redactor: &Redactor) -> Vec<(Level, String)> {
        let lines = match stream {
            Stream::Stdout => self.stdout.push(text, redactor),
            Stream::Stderr => self.stderr.push(text, redactor),
        };
        self.limited(lines)
    }

    /// What is left at the end.
    fn rest(&mut self, redactor: &Redactor) -> Vec<(Level, String)> {
        let rest = [self.stdout.finish(redactor), self.stderr.finish(redactor)];
        self.limited(rest.into_iter().flatten().collect())
    }

    fn limited(&mut self, mut lines: Vec<String>) -> Vec<(Level, String)> {
        lines.retain(|line| !line.trim().is_empty());
        let room = OUTPUT_LINES.saturating_sub(self.written);
        let more = lines.len() > room;
        let first_time = more && self.written <= OUTPUT_LINES;
        self.written = self.written.saturating_add(lines.len());
        lines.truncate(room);
        let mut told: Vec<(Level, String)> = lines
            .into_iter()
            .map(|line| (Level::Info, line.chars().take(OUTPUT_LINE).collect()))
            .collect();
        if first_time {
            told.push((
                Level::Warn,
                format!("more than {OUTPUT_LINES} lines: the rest is not kept"),
            ));
            self.written = OUTPUT_LINES + 1;
        }
        told
    }
}

/// Facts that the scripts wrote; none when there is no such file.
async fn written_facts(working: &mut Working<'_>) -> Result<BTreeMap<String, String>, StepFailure> {
    const MOST: u64 = 64 * 1024;
    let verb = Verb::Pull { vmid: working.guest.vmid, path: plan::FACTS.to_owned(), most: MOST };
    let limits = CallLimits::for_verb(&verb);
    let channel = working.channel().await?;
    match channel.call(&Request::new(verb), &[], limits, &mut |_, _| {}).await {
        Ok(outcome) => Ok(outputs::facts(&outcome.data)),
        // Most apps write none.
        Err(crate::node::channel::ChannelError::Failed { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(refused(error)),
    }
}

/// Facts of the guest: those that were kept, and over them what its scripts have written now. A script of an upgrade
/// need not write again what an installation found out, and none runs when only resources change.
pub(super) async fn known_facts(
    working: &mut Working<'_>,
) -> Result<BTreeMap<String, String>, StepFailure> {
    let mut facts = kept_facts(working.engine, working.guest.id)
        .await
        .map_err(|reason| StepFailure::for_good(reason, "upgrade the app"))?;
    facts.extend(written_facts(working).await?);
    Ok(facts)
}

/// The facts that were kept; the error is why they cannot be read.
async fn kept_facts(engine: &Engine, guest: GuestId) -> Result<BTreeMap<String, String>, String> {
    let key = engine.store().master_key();
    let name = of_guest(guest, KEPT_FACTS);
    let kept: Result<_, StoreError> = engine.store().read(move |r| r.secret(&key, &name)).await;
    match kept.map_err(|e| with_causes(&e))? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|e| format!("the kept facts cannot be read: {e}"))
        }
        None => Ok(BTreeMap::new()),
    }
}

/// Keeps the facts of a guest. They are sealed: a script may have put a credential among them.
pub(super) fn keep_facts(
    tx: &mut Tx<'_, '_>,
    guest: GuestId,
    facts: &BTreeMap<String, String>,
) -> Result<(), serde_json::Error> {
    if !facts.is_empty() {
        let text = Zeroizing::new(serde_json::to_string(facts)?);
        tx.put_secret(&of_guest(guest, KEPT_FACTS), &text);
    }
    Ok(())
}

/// The outputs with their values.
pub(super) async fn outputs(
    working: &Working<'_>,
    facts: &BTreeMap<String, String>,
) -> Result<Vec<outputs::Found>, StepFailure> {
    let secrets = secrets(working).await?;
    let app = folder(working)?;
    outputs::collect(&subject(working, &app), &secrets, facts)
        .map_err(|e| StepFailure::for_good(e.to_string(), "correct the app"))
}

/// Takes the staged files away.
pub(super) async fn tidy(working: &mut Working<'_>) -> Result<(), StepFailure> {
    let app = folder(working)?;
    match plan::tidy(&app.manifest) {
        Tidy::All => {
            let vmid = working.guest.vmid;
            call(working, &Request::new(Verb::RemoveStaged { vmid })).await
        }
        Tidy::Secrets(run) => {
            let nothing = Redactor::new([]);
            let status = exec(working, run, &nothing, Kept::Nothing).await?;
            if status == 0 {
                return Ok(());
            }
            Err(StepFailure::passing(
                format!("the staged inputs could not be removed (status {status})"),
                "look into /opt/appstore of the guest",
            ))
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_program_that_prints_without_end_fills_no_log() {
        let redactor = Redactor::new([]);
        let mut printed = Printed::default();
        let kept = printed.take(Stream::Stdout, &"y\n".repeat(OUTPUT_LINES + 5), &redactor);
        assert_eq!(kept.len(), OUTPUT_LINES + 1, "with the note of what is left out");
        assert_eq!(kept.last().map(|(level, _)| *level), Some(Level::Warn));
        assert!(printed.take(Stream::Stderr, "z\n", &redactor).is_empty());
        assert!(printed.rest(&redactor).is_empty());
    }

    #[test]
    fn streams_do_not_mix_inside_a_line() {
        let redactor = Redactor::new(["correct-horse-battery"]);
        let mut printed = Printed::default();
        assert!(printed.take(Stream::Stdout, "key: correct-hor", &redactor).is_empty());
        let other = printed.take(Stream::Stderr, "warning\n", &redactor);
        assert_eq!(other, [(Level::Info, "warning".to_owned())]);
        let line = printed.take(Stream::Stdout, "se-battery\n", &redactor);
        assert_eq!(line, [(Level::Info, "key: [secret]".to_owned())]);
    }
}
