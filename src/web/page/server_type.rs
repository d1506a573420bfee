//! Server types: the list, one type with its file, a new one. A text is shown with what it would do before it is saved.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::answer::Rule;
use super::host::Choice;
use super::{Frame, Page, missing, render, render_with};
use crate::domain::audit::HIDDEN;
use crate::domain::id::{HostId, ServerTypeName};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::{DiskSelection, Matching, ServerType};
use crate::jobs::{Finding, HostOfType, ReadOnly, TypeFile, TypeRow, TypeTrial, Unsaved};
use crate::plan::answer::preview::{Line, Outcome};
use crate::store::{HostReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::{PageProblem, status};
use crate::web::view::size;

/// Hosts to choose from for a look.
const CHOICES: usize = 200;
/// What a new server type begins with.
const BEGINNING: &str = include_str!("server_type/beginning.toml");
/// Keys of the file with what they mean, as in docs/server-types.md.
const KEYS: [(&str, &str); 12] = [
    (
        "boot_disk",
        "needed: which disk may be erased. { property = \"ID_SERIAL_SHORT\", value = \"…\" }, { devices = [\"nvme0n1\"] }, or \"per-host\": each host names its own",
    ),
    ("display_name", "a name for people"),
    ("hostname_prefix", "proposed names begin with it: pve1, pve2, …"),
    ("domain", "makes the full name of each host"),
    ("answer_template", "ext4-lvm, zfs-single, zfs-mirror, btrfs-single, or one of your own files"),
    (
        "management_nic",
        "for hosts with a fixed address: MAC address, interface name, or PROPERTY=value",
    ),
    ("min_memory_mib", "a host of this type with less memory is not rebuilt"),
    ("boot_on_rebuild", "true: a rebuild boots the machine by its power method"),
    (
        "[match]",
        "vendor, product, oui, min_memory_mib, max_memory_mib: which machines are of this type; register = true registers them by themselves, and arms none",
    ),
    ("[labels]", "texts for placeholders, as in {{ labels.rack }}"),
    (
        "[answer.global]",
        "over the template: country, keyboard, timezone, mailto, reboot-on-error, subscription-key",
    ),
    ("[answer.disk-setup]", "filesystem, and the options below zfs, lvm or btrfs"),
];

type Facts = Vec<(&'static str, String)>;

fn disk_words(disk: &DiskSelection) -> String {
    match disk {
        DiskSelection::Property { property, value } => format!("{property} = {value}"),
        DiskSelection::Devices { names } => names.join(", "),
        DiskSelection::PerHost => "named by each host".to_owned(),
    }
}

fn match_words(matching: &Matching) -> String {
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!("{name} {v}"));
    let memory = |name: &str, value: Option<u64>| {
        value.map(|mib| format!("{name} {}", size(mib.saturating_mul(1 << 20))))
    };
    let oui = |[a, b, c]: &[u8; 3]| format!("{a:02x}:{b:02x}:{c:02x}");
    let ouis: Vec<String> = matching.ouis.iter().map(oui).collect();
    let parts = [
        text("vendor", &matching.vendor),
        text("product", &matching.product),
        (!ouis.is_empty()).then(|| format!("MAC address {}", ouis.join(" or "))),
        memory("memory at least", matching.min_memory_mib),
        memory("memory at most", matching.max_memory_mib),
        matching.register.then(|| "registered by itself, never armed".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn facts(server_type: &ServerType) -> Facts {
    let names = format!("{}1.{}", server_type.hostname_prefix, server_type.domain);
    let mut facts = vec![
        ("Erases", disk_words(&server_type.boot_disk)),
        ("Answer template", server_type.answer_template.clone()),
        ("Names", format!("{names} and so on")),
    ];
    let mut more = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    more("Management NIC", server_type.management_nic.clone());
    let least = server_type.min_memory_mib;
    more("Memory", least.map(|mib| format!("at least {}", size(mib.saturating_mul(1 << 20)))));
    more("Machines", server_type.matching.as_ref().map(match_words));
    more("Rebuild", server_type.boot_on_rebuild.then(|| "boots the machine by itself".to_owned()));
    facts
}

/// One type in the list.
struct Row {
    name: Option<String>,
    title: String,
    file: String,
    hosts: usize,
    is_usable: bool,
    errors: Vec<String>,
    facts: Facts,
}

impl Row {
    fn new(row: TypeRow) -> Self {
        let TypeRow { name, file, server_type, hosts, errors } = row;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = |name: &ServerTypeName, it: &ServerType| match it.display_name == name.as_str()
        {
            true => name.to_string(),
            false => format!("{} ({name})", it.display_name),
        };
        Self {
            title: match (&name, &server_type) {
                (Some(name), Some(it)) => named(name, it),
                (Some(name), None) => name.to_string(),
                (None, _) => stem,
            },
            name: name.map(|name| name.to_string()),
            file: file.display().to_string(),
            hosts,
            is_usable: server_type.is_some(),
            errors,
            facts: server_type.as_ref().map(facts).unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "server_types.html")]
struct ListPage {
    frame: Frame,
    place: String,
    read_only: Option<ReadOnly>,
    rows: Vec<Row>,
}

pub(crate) async fn list(State(web): State<WebState>, operator: Operator) -> Page {
    let overview = web.operations().types().list_types().await?;
    let state = web.clone();
    let page = web.store().read(move |read| {
        Ok::<_, StoreError>(ListPage {
            frame: Frame::new(&state, read, &operator, "hosts", "Server types")?,
            place: overview.place.display().to_string(),
            read_only: overview.read_only,
            rows: overview.rows.into_iter().map(Row::new).collect(),
        })
    });
    render(&page.await?)
}

/// Something that is wrong with a text, with the line that it is about.
struct Wrong {
    place: String,
    line: String,
    message: String,
}

impl Wrong {
    fn new(finding: Finding, text: &str) -> Self {
        let Finding { line, key, message } = finding;
        let place = match (line, key.as_str()) {
            (0, key) => key.to_owned(),
            (line, "") => format!("Line {line}"),
            (line, key) => format!("Line {line}, {key}"),
        };
        let shown = line.checked_sub(1).and_then(|n| text.lines().nth(n)).unwrap_or_default();
        Self { place, line: shown.trim().chars().take(120).collect(), message }
    }
}

/// What a change would do.
struct Trial {
    host: String,
    release: String,
    warnings: Vec<String>,
    other_disk: Vec<String>,
    refused: Vec<(String, String)>,
    disk: Option<String>,
    same_disk: bool,
    has_text: bool,
    /// There is no answer before the change.
    is_first: bool,
    lines: Vec<Line>,
    broken: Vec<Rule>,
}

impl Trial {
    /// `None` while the text has errors.
    fn new(trial: TypeTrial) -> Option<Self> {
        let after = trial.after?;
        let is_first = trial.before.as_ref().is_none_or(|before| before.text.is_none());
        let before = trial.before.and_then(|before| before.disk);
        let is_broken =
            |check: &crate::plan::answer::preview::Check| check.outcome == Outcome::Failed;
        Some(Self {
            host: trial.host.unwrap_or_else(|| "a made-up machine".to_owned()),
            release: trial.release,
            warnings: trial.warnings.into_iter().map(|warning| warning.message).collect(),
            other_disk: trial.other_disk,
            refused: trial.refused.into_iter().map(|lost| (lost.hostname, lost.reason)).collect(),
            same_disk: before.is_some() && before == after.disk,
            disk: after.disk.map(|disk| disk.disks),
            has_text: after.text.is_some(),
            is_first,
            lines: trial.difference,
            broken: after.checks.into_iter().filter(is_broken).map(Rule::new).collect(),
        })
    }
}

/// What was typed and what became of it.
#[derive(Default)]
struct Asked {
    typed_name: String,
    text: String,
    hash: String,
    host: String,
    name_error: Option<Refusal>,
    refused: Option<Refusal>,
    errors: Vec<Wrong>,
    trial: Option<Trial>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "server_type.html")]
struct TypePage {
    frame: Frame,
    title: String,
    action: String,
    /// `None`: it is not made yet.
    name: Option<String>,
    path: String,
    facts: Facts,
    hosts: Vec<HostOfType>,
    choices: Vec<Choice>,
    read_only: Option<ReadOnly>,
    keys: &'static [(&'static str, &'static str)],
    lines: usize,
    typed_name: String,
    text: String,
    /// A secret in it is covered.
    has_cover: bool,
    hash: String,
    name_error: Option<Refusal>,
    refused: Option<Refusal>,
    errors: Vec<Wrong>,
    trial: Option<Trial>,
    done: Option<String>,
}

/// The page of a type that is there, or of a new one.
async fn page(
    web: WebState,
    operator: Operator,
    status: StatusCode,
    file: Option<TypeFile>,
    asked: Asked,
) -> Page {
    let state = web.clone();
    let shown = web.store().read(move |read| {
        let Asked { typed_name, text, hash, host, .. } = asked;
        let mut choices: Vec<Choice> = Vec::new();
        for known in read.hosts()?.into_iter().take(CHOICES) {
            let value = known.id.to_string();
            let text = format!("{} ({})", known.hostname, known.server_type);
            choices.push(Choice { selected: value == host, value, text });
        }
        let title = match &file {
            Some(file) => {
                let shown = file.server_type.as_ref().map(|it| it.display_name.clone());
                shown.unwrap_or_else(|| file.name.to_string())
            }
            None => "New server type".to_owned(),
        };
        let action = match &file {
            Some(file) => format!("/server-types/{}", file.name),
            None => "/new-server-type".to_owned(),
        };
        let known = file.as_ref().and_then(|file| file.server_type.as_ref());
        Ok::<_, StoreError>(TypePage {
            frame: Frame::new(&state, read, &operator, "hosts", title.as_str())?,
            facts: known.map(facts).unwrap_or_default(),
            name: file.as_ref().map(|file| file.name.to_string()),
            path: file.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default(),
            keys: &KEYS,
            lines: text.lines().count().clamp(12, 40),
            title,
            action,
            choices,
            typed_name,
            has_cover: text.contains(HIDDEN),
            text,
            hash,
            name_error: asked.name_error,
            refused: asked.refused,
            errors: asked.errors,
            trial: asked.trial,
            done: asked.done,
            hosts: file.as_ref().map(|file| file.hosts.clone()).unwrap_or_default(),
            read_only: file.and_then(|file| file.read_only),
        })
    });
    Ok(render_with(status, &shown.await?))
}

fn parse_name(name: &str) -> Result<ServerTypeName, PageProblem> {
    name.parse().map_err(|_| missing("server type").into())
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ShowQuery {
    done: String,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
    operator: Operator,
) -> Page {
    let file = web.operations().types().read_type(parse_name(&name)?).await?;
    let done = match query.done.as_str() {
        "saved" => Some("It was saved.".to_owned()),
        "made" => Some("It was made.".to_owned()),
        _ => None,
    };
    let mut asked = as_it_is(&file);
    asked.done = done;
    page(web, operator, StatusCode::OK, Some(file), asked).await
}

/// The file's text with what is wrong with it now.
fn as_it_is(file: &TypeFile) -> Asked {
    let wrong = |finding: &Finding| Wrong::new(finding.clone(), &file.text);
    Asked {
        text: file.text.clone(),
        hash: file.hash.clone(),
        errors: file.errors.iter().map(wrong).collect(),
        ..Asked::default()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TypeForm {
    /// Of a new type.
    name: String,
    text: String,
    /// Of the text that was opened; empty for a new type.
    hash: String,
    host: String,
    /// `save`; everything else only looks.
    action: String,
}

/// What became of a form: a type that was saved, or what to show.
async fn carry_out(
    web: &WebState,
    name: ServerTypeName,
    form: TypeForm,
) -> Result<TypeFile, (StatusCode, Asked)> {
    let types = web.operations().types();
    let TypeForm { name: typed_name, text, hash, host, action } = form;
    let wanted: Option<HostId> = host.parse().ok();
    let mut asked = Asked { typed_name, text, hash, host, ..Asked::default() };
    if action == "save" {
        let replaces = Some(asked.hash.clone()).filter(|hash| !hash.is_empty());
        return match types.save_type(name, asked.text.clone(), replaces).await {
            Ok(file) => Ok(file),
            Err(Unsaved::Findings(found)) => {
                let wrong = |finding| Wrong::new(finding, &asked.text);
                asked.errors = found.into_iter().map(wrong).collect();
                Err((StatusCode::UNPROCESSABLE_ENTITY, asked))
            }
            Err(Unsaved::Refused(refusal)) => {
                let status = status(refusal.kind);
                asked.refused = Some(refusal);
                Err((status, asked))
            }
        };
    }
    match types.try_type(name, asked.text.clone(), wanted).await {
        Ok(trial) => {
            let wrong = |finding: &Finding| Wrong::new(finding.clone(), &asked.text);
            asked.errors = trial.errors.iter().map(wrong).collect();
            asked.trial = Trial::new(trial);
            let is_wrong = !asked.errors.is_empty();
            let status = if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            Err((status, asked))
        }
        Err(refusal) => {
            let status = status(refusal.kind);
            asked.refused = Some(refusal);
            Err((status, asked))
        }
    }
}

pub(crate) async fn edit(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
    Form(form): Form<TypeForm>,
) -> Page {
    let name = parse_name(&name)?;
    let file = web.operations().types().read_type(name.clone()).await?;
    // A form without the hash would make a new type of a name that is taken.
    let form = TypeForm { name: String::new(), hash: or_none(form.hash), ..form };
    match carry_out(&web, name.clone(), form).await {
        Ok(_) => Ok(Redirect::to(&format!("/server-types/{name}?done=saved")).into_response()),
        Err((status, asked)) => page(web, operator, status, Some(file), asked).await,
    }
}

/// A hash that is no text's, in the place of none.
fn or_none(hash: String) -> String {
    if hash.is_empty() { "none".to_owned() } else { hash }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct NewQuery {
    /// The type that is copied.
    from: String,
}

pub(crate) async fn new(
    State(web): State<WebState>,
    Query(query): Query<NewQuery>,
    operator: Operator,
) -> Page {
    let text = match query.from.as_str() {
        "" => BEGINNING.to_owned(),
        from => web.operations().types().read_type(parse_name(from)?).await?.text,
    };
    page(web, operator, StatusCode::OK, None, Asked { text, ..Asked::default() }).await
}

pub(crate) async fn make(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<TypeForm>,
) -> Page {
    let form = TypeForm { hash: String::new(), ..form };
    let name: ServerTypeName = match form.name.trim().parse() {
        Ok(name) => name,
        Err(invalid) => {
            let invalid: crate::domain::id::InvalidId = invalid;
            let hint = "Choose another name.";
            let refusal = Refusal::new(RefusalKind::Unprocessable, invalid.to_string(), hint);
            let asked = Asked {
                typed_name: form.name,
                text: form.text,
                host: form.host,
                name_error: Some(refusal),
                ..Asked::default()
            };
            return page(web, operator, StatusCode::UNPROCESSABLE_ENTITY, None, asked).await;
        }
    };
    match carry_out(&web, name.clone(), form).await {
        Ok(_) => Ok(Redirect::to(&format!("/server-types/{name}?done=made")).into_response()),
        Err((status, asked)) => page(web, operator, status, None, asked).await,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct DeleteForm {
    hash: String,
}

pub(crate) async fn delete(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
    Form(form): Form<DeleteForm>,
) -> Page {
    let name = parse_name(&name)?;
    match web.operations().types().delete_type(name.clone(), Some(or_none(form.hash))).await {
        Ok(()) => Ok(Redirect::to("/server-types").into_response()),
        Err(refusal) => {
            let status = status(refusal.kind);
            let file = web.operations().types().read_type(name).await?;
            let asked = Asked { refused: Some(refusal), ..as_it_is(&file) };
            page(web, operator, status, Some(file), asked).await
        }
    }
}
