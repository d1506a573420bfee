//! Server types as the dashboard shows and changes them: files of the configuration, edited as text.
//!
//! A text is judged by the code of `ironhatch check`, compared with what is on the disk, put in place in one step and
//! noted in the audit log by the same write. What happens then is what happens after any edit of the file: it is read
//! again. Nothing here arms a host; an armed one is looked at once more before its answer leaves.

#[cfg(test)]
mod test;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::engine::Engine;
use super::type_file::{self, Opened};
use crate::config::check::{self, TypeReport};
use crate::config::cover::{cover, uncover};
use crate::config::reload::ServerTypesView;
use crate::config::{Problem, ServerTypesSource};
use crate::domain::audit::{Change, Fate, FieldChange, difference};
use crate::domain::event::{EventKind, Level, Subject as EventSubject};
use crate::domain::form::{Declined, FieldError};
use crate::domain::host::Host;
use crate::domain::id::{HostId, ServerTypeName};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::ServerType;
use crate::limits::operator::TYPE_BYTES;
use crate::store::{HostReads as _, NewEvent, Tx};

pub use trial::{Lost, TypeTrial};

/// How long a change is waited for until the files are read again; it takes [`crate::config::reload::COALESCE`].
const REREAD: Duration = Duration::from_secs(4);

/// All server types.
#[derive(Debug, Clone, Serialize)]
pub struct TypeOverview {
    /// The directory, or the one file.
    pub place: PathBuf,
    /// Why nothing can be changed here, and what to do.
    pub read_only: Option<ReadOnly>,
    /// Each type, and each file that is none.
    pub rows: Vec<TypeRow>,
}

/// Why a file cannot be changed from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReadOnly {
    /// What stands in the way.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// One server type in the list.
#[derive(Debug, Clone, Serialize)]
pub struct TypeRow {
    /// Its name, when its file's name can be one.
    pub name: Option<ServerTypeName>,
    /// Its file.
    pub file: PathBuf,
    /// What is in use: the file as it was last good.
    pub server_type: Option<ServerType>,
    /// Hosts of this type.
    pub hosts: usize,
    /// What is wrong with the file.
    pub errors: Vec<String>,
}

/// One server type with its file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TypeFile {
    /// Its name.
    pub name: ServerTypeName,
    /// Where it is.
    pub path: PathBuf,
    /// What it holds; secrets in it are covered, see [`crate::config::cover`].
    pub text: String,
    /// SHA-256 of the file; a change must name it.
    pub hash: String,
    /// Why it cannot be changed here.
    pub read_only: Option<ReadOnly>,
    /// What is in use.
    pub server_type: Option<ServerType>,
    /// What is wrong with the text.
    pub errors: Vec<Finding>,
    /// What is probably not meant.
    pub warnings: Vec<Finding>,
    /// Hosts of this type.
    pub hosts: Vec<HostOfType>,
}

/// A host that has a type.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HostOfType {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub hostname: String,
    /// A rebuild of it runs.
    pub is_busy: bool,
}

/// Something in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TypeFinding")]
pub struct Finding {
    /// Line, from 1; 0 when it is about the whole.
    pub line: usize,
    /// Key; may be empty.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        let Problem { line, key, message, .. } = problem;
        Self { line, key, message }
    }
}

/// A text that was not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsaved {
    /// What is wrong with the text; never empty.
    Findings(Vec<Finding>),
    /// Another reason.
    Refused(Refusal),
}

impl From<Refusal> for Unsaved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::fmt::Display for Unsaved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Findings(found) => {
                let found: Vec<String> = found.iter().map(Finding::to_string).collect();
                f.write_str(&found.join("; "))
            }
        }
    }
}

impl std::error::Error for Unsaved {}

/// For who names errors by field: `line 3, boot_disk`.
impl From<Unsaved> for Declined {
    fn from(unsaved: Unsaved) -> Self {
        match unsaved {
            Unsaved::Findings(found) => Self::Fields(found.into_iter().map(field_error).collect()),
            Unsaved::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl Engine {
    /// All server types, with how many hosts use each.
    ///
    /// # Errors
    /// A failing database.
    pub async fn list_types(&self) -> Result<TypeOverview, Refusal> {
        let hosts: Vec<Host> = self.store().read::<_, Refusal, _>(|read| Ok(read.hosts()?)).await?;
        let source = self.context().config.server_types.clone();
        let view = self.context().types.borrow().clone();
        let place = source.path().to_owned();
        let rows = rows(&source, &view, &hosts);
        let read_only = off_thread(move || type_file::read_only_place(&source)).await?;
        Ok(TypeOverview { place, read_only, rows })
    }

    /// One server type with its file.
    ///
    /// # Errors
    /// There is no such type, its file cannot be read, a failing database.
    pub async fn read_type(&self, name: ServerTypeName) -> Result<TypeFile, Refusal> {
        let opened = self.open_type(&name).await?;
        let hosts = self.hosts_of(&name).await?;
        match opened {
            Some(opened) => Ok(self.described(name, opened, &hosts)),
            None if hosts.is_empty() => Err(no_such(&name)),
            None => Err(gone(&name)),
        }
    }

    /// A type with its file, which was read.
    fn described(&self, name: ServerTypeName, opened: Opened, hosts: &[Host]) -> TypeFile {
        let Opened { path, text, hash, read_only } = opened;
        let view = self.context().types.borrow().clone();
        let source = &self.context().config.server_types;
        let (errors, warnings) = match source {
            ServerTypesSource::Directory(_) => {
                let TypeReport { errors, warnings, .. } = self.judge(&view, &path, &text);
                (errors, warnings)
            }
            // Its text is that of all types; it was judged when it was read.
            ServerTypesSource::File(_) => (problems_of(source, &view, &name), Vec::new()),
        };
        TypeFile {
            server_type: view.types.get(&name).cloned().map(ServerType::shown),
            hosts: hosts.iter().map(host_of_type).collect(),
            errors: errors.into_iter().map(Finding::from).collect(),
            warnings: warnings.into_iter().map(Finding::from).collect(),
            name,
            path,
            text: cover(&text),
            hash,
            read_only,
        }
    }

    /// Puts a text in place as the file of this type. `replaces` is the hash of the text that was edited; `None` makes a
    /// new type. Returns when the file was read again.
    ///
    /// # Errors
    /// Findings of `ironhatch check`, by line; a file that is another one now, exists already, or cannot be written.
    pub async fn save_type(
        &self,
        name: ServerTypeName,
        text: String,
        replaces: Option<String>,
    ) -> Result<TypeFile, Unsaved> {
        check_length(&text)?;
        // A browser's form ends lines with CR and LF.
        let text = with_line_ends(&text);
        let opened = self.open_type(&name).await?;
        let text = opened.as_ref().map_or_else(|| text.clone(), |old| uncover(&text, &old.text));
        let view = self.context().types.borrow().clone();
        let path = self.writable_path(&name)?;
        let TypeReport { server_type, errors, .. } = self.judge(&view, &path, &text);
        let (Some(edited), true) = (server_type, errors.is_empty()) else {
            return Err(Unsaved::Findings(errors.into_iter().map(Finding::from).collect()));
        };
        let (old_text, old_hash) = opened.map(|old| (old.text, old.hash)).unzip();
        // With the look inside the write this makes sure that the old text which is put back is the one that was replaced.
        type_file::same(&path, replaces.as_deref(), old_hash.as_deref())?;
        let before = view.types.get(&name).cloned();
        let (place, new) = (path.clone(), text.clone());
        let prepare = move || type_file::prepare(&place, &new, old_text.as_deref());
        let mut edit = off_thread(prepare).await??;
        let change =
            change_of(&name, before.as_ref(), Some(&edited), replaces.as_deref(), Some(&text));
        let word = if replaces.is_some() { "changed" } else { "made" };
        let message = format!("The server type {name} was {word}. Nothing is armed by it.");
        let place = path.clone();
        self.store()
            .write::<_, Refusal, _>(move |tx| {
                type_file::still(&place, replaces.as_deref())?;
                note(tx, change, message)?;
                edit.make()?;
                // Where the note does not come to the disk the file is the old one again.
                tx.when_kept(|| edit.keep());
                Ok(())
            })
            .await?;
        self.reread(|view| view.types.get(&name) == Some(&edited)).await;
        let hosts = self.hosts_of(&name).await?;
        let written = Opened { path, hash: type_file::hash_of(&text), text, read_only: None };
        Ok(self.described(name, written, &hosts))
    }

    /// Removes the file of a type that no host has; `hash` of its text, unless it does not matter which it is.
    ///
    /// # Errors
    /// Hosts of this type, a file that is another one now or cannot be removed.
    pub async fn delete_type(
        &self,
        name: ServerTypeName,
        hash: Option<String>,
    ) -> Result<(), Refusal> {
        let path = self.writable_path(&name)?;
        let opened = self.open_type(&name).await?.ok_or_else(|| no_such(&name))?;
        if let Some(ReadOnly { reason, hint }) = opened.read_only {
            return Err(Refusal::new(RefusalKind::Conflict, reason, hint));
        }
        let hash = hash.unwrap_or(opened.hash);
        let before = self.context().types.borrow().types.get(&name).cloned();
        let change = change_of(&name, before.as_ref(), None, Some(&hash), None);
        let wanted = name.clone();
        self.store()
            .write::<_, Refusal, _>(move |tx| {
                let users = tx.hosts()?.into_iter().filter(|host| host.server_type == wanted);
                let users: Vec<String> = users.map(|host| host.hostname.to_string()).collect();
                if !users.is_empty() {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!("The server type {wanted} is used by {}.", listed(&users)),
                        "Give these hosts another server type first.",
                    ));
                }
                type_file::still(&path, Some(&hash))?;
                note(tx, change, format!("The server type {wanted} was deleted."))?;
                let mut edit = type_file::prepare_removal(&path);
                edit.make()?;
                tx.when_kept(|| edit.keep());
                Ok(())
            })
            .await?;
        self.reread(|view| !view.types.contains_key(&name)).await;
        Ok(())
    }

    /// The text with the secrets of the file that there is, where they are covered.
    async fn uncovered(&self, name: &ServerTypeName, text: String) -> Result<String, Refusal> {
        let before = self.open_type(name).await?;
        Ok(before.map_or_else(|| text.clone(), |before| uncover(&text, &before.text)))
    }

    /// The same judgement as that of `ironhatch check`.
    fn judge(&self, view: &ServerTypesView, path: &Path, text: &str) -> TypeReport {
        check::check_type(&self.context().config, view, path, text)
    }

    async fn open_type(&self, name: &ServerTypeName) -> Result<Option<Opened>, Refusal> {
        let source = self.context().config.server_types.clone();
        let name = name.clone();
        off_thread(move || type_file::open(&source, &name)).await?
    }

    /// Where the file of a type is written.
    fn writable_path(&self, name: &ServerTypeName) -> Result<PathBuf, Refusal> {
        match &self.context().config.server_types {
            source @ ServerTypesSource::Directory(_) => Ok(source.file_of(name)),
            ServerTypesSource::File(file) => {
                let ReadOnly { reason, hint } = type_file::one_file(file);
                Err(Refusal::new(RefusalKind::Conflict, reason, hint))
            }
        }
    }

    async fn hosts_of(&self, name: &ServerTypeName) -> Result<Vec<Host>, Refusal> {
        let name = name.clone();
        let hosts = self.store().read::<_, Refusal, _>(|read| Ok(read.hosts()?)).await?;
        Ok(hosts.into_iter().filter(|host| host.server_type == name).collect())
    }

    /// Waits until the files were read again; a reader that is slower is no failure.
    async fn reread(&self, is_done: impl Fn(&ServerTypesView) -> bool) {
        let mut views = self.context().types.clone();
        let seen = views.wait_for(|view: &Arc<ServerTypesView>| is_done(view));
        if tokio::time::timeout(REREAD, seen).await.is_err() {
            tracing::warn!("a changed server type was not read again yet");
        }
    }
}

/// Each type and each broken file, in the order of their files.
fn rows(source: &ServerTypesSource, view: &ServerTypesView, hosts: &[Host]) -> Vec<TypeRow> {
    let mut used: BTreeMap<ServerTypeName, usize> = BTreeMap::new();
    for host in hosts {
        *used.entry(host.server_type.clone()).or_default() += 1;
    }
    let mut rows: BTreeMap<(PathBuf, Option<ServerTypeName>), TypeRow> = BTreeMap::new();
    let words = |problems: Vec<Problem>| -> Vec<String> {
        problems.into_iter().map(|problem| Finding::from(problem).to_string()).collect()
    };
    let whole = |file: &Path| TypeRow {
        name: None,
        file: file.to_owned(),
        server_type: None,
        hosts: 0,
        errors: words(view.errors.get(file).cloned().unwrap_or_default()),
    };
    let row = |name: &ServerTypeName| TypeRow {
        name: Some(name.clone()),
        file: source.file_of(name),
        server_type: view.types.get(name).cloned(),
        hosts: used.get(name).copied().unwrap_or_default(),
        errors: words(problems_of(source, view, name)),
    };
    for name in view.types.keys() {
        rows.insert((source.file_of(name), Some(name.clone())), row(name));
    }
    for file in view.errors.keys() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name: Option<ServerTypeName> = match source {
            ServerTypesSource::File(all) if all == file => None,
            ServerTypesSource::Directory(dir) if file.parent() == Some(dir) => stem.parse().ok(),
            // A template's.
            _ => continue,
        };
        let broken = || name.as_ref().map_or_else(|| whole(file), row);
        rows.entry((file.clone(), name.clone())).or_insert_with(broken);
    }
    for name in used.keys() {
        rows.entry((source.file_of(name), Some(name.clone()))).or_insert_with(|| {
            let mut row = row(name);
            if row.errors.is_empty() {
                row.errors.push("its file is gone, and hosts have this type".to_owned());
            }
            row
        });
    }
    rows.into_values().collect()
}

/// What is wrong with the file of a type, or with its part of the one file.
fn problems_of(
    source: &ServerTypesSource,
    view: &ServerTypesView,
    name: &ServerTypeName,
) -> Vec<Problem> {
    let all = view.errors.get(&source.file_of(name)).into_iter().flatten();
    let is_meant = |problem: &&Problem| match source {
        ServerTypesSource::Directory(_) => true,
        ServerTypesSource::File(_) => {
            let key = problem.key.strip_prefix("server_types.").unwrap_or(&problem.key);
            let rest = key.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
    };
    all.filter(is_meant).cloned().collect()
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

fn host_of_type(host: &Host) -> HostOfType {
    HostOfType {
        id: host.id,
        hostname: host.hostname.to_string(),
        is_busy: host.active_job.is_some(),
    }
}

fn field_error(Finding { line, key, message }: Finding) -> FieldError {
    let field = match (line, key.as_str()) {
        (0, "") => "text".to_owned(),
        (0, key) => key.to_owned(),
        (line, "") => format!("line {line}"),
        (line, key) => format!("line {line}, {key}"),
    };
    FieldError::new(&field, &message)
}

/// What the audit log tells: each value that differs, and which file it was.
fn change_of(
    name: &ServerTypeName,
    before: Option<&ServerType>,
    after: Option<&ServerType>,
    old_hash: Option<&str>,
    new_text: Option<&str>,
) -> Change {
    let record = |it: Option<&ServerType>| it.and_then(|it| serde_json::to_value(it).ok());
    let (old, new) = (record(before), record(after));
    let names: std::collections::BTreeSet<&str> = [&old, &new]
        .into_iter()
        .filter_map(|record| record.as_ref()?.as_object())
        .flat_map(|record| record.keys().map(String::as_str))
        .collect();
    let shown: Vec<&str> = names.into_iter().collect();
    let mut fields = difference(old.as_ref(), new.as_ref(), &shown);
    let short = |hash: &str| format!("sha256 {}", hash.chars().take(12).collect::<String>());
    fields.push(FieldChange {
        field: "file".to_owned(),
        before: old_hash.map(short),
        after: new_text.map(|text| short(&type_file::hash_of(text))),
    });
    let fate = match (old_hash, new_text) {
        (None, _) => Fate::Added,
        (_, None) => Fate::Removed,
        _ => Fate::Changed,
    };
    Change { subject: format!("server type {name}"), fate, fields }
}

fn note(tx: &mut Tx<'_, '_>, change: Change, message: String) -> Result<(), Refusal> {
    tx.tell(change);
    let (level, kind, subject) = (Level::Info, EventKind::System, EventSubject::default());
    tx.emit(NewEvent { level, subject, kind, message })?;
    Ok(())
}

fn no_such(name: &ServerTypeName) -> Refusal {
    let hint = "List them to see what there is.";
    Refusal::new(RefusalKind::NotFound, format!("There is no server type {name}."), hint)
}

fn gone(name: &ServerTypeName) -> Refusal {
    let detail = format!("The file of the server type {name} is gone, and hosts have this type.");
    let hint = "Make a new server type of this name, or give the hosts another one.";
    Refusal::new(RefusalKind::NotFound, detail, hint)
}

fn check_length(text: &str) -> Result<(), Refusal> {
    if text.len() <= TYPE_BYTES {
        return Ok(());
    }
    let detail = format!("The text has {} bytes, at most {TYPE_BYTES} are taken.", text.len());
    let hint = "A server type is a page of text at most.";
    Err(Refusal::new(RefusalKind::TooLarge, detail, hint).about("text"))
}

/// Lines end with LF, and the last one does.
fn with_line_ends(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The first few of many names.
fn listed(names: &[String]) -> String {
    const MOST: usize = 5;
    let first: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    match names.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Work on files, away from the threads that serve.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|defect| {
        tracing::error!(%defect, "work on a server type's file ended by a defect");
        let hint = "This is a bug; report it with the daemon's log.";
        Refusal::new(RefusalKind::Internal, "The work on the file failed.", hint)
    })
}
