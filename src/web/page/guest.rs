//! One guest: where it stands, what it gives, and everything that can be done with it.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::field::Look;
use super::guest_view::{GuestView, Looked};
use super::journal::{JournalQuery, JournalView};
use super::{Frame, Page, SecretPage, missing, render, render_with, switched_off};
use crate::domain::form::{FieldError, Submitted};
use crate::domain::guest::{Guest, GuestState};
use crate::domain::host::Failure;
use crate::domain::id::{JobId, NodeName, StorageId};
use crate::domain::job::PowerAction;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::store::{GuestReads as _, NodeReads as _, Snapshot, StoreError};
use crate::web::auth::Operator;
use crate::web::entry;
use crate::web::problem::{PageProblem, fields_to_correct};
use crate::web::view::When;
use crate::web::view::guest::{facts, restore_point, state_label, state_meaning, state_tone};
use crate::web::{GuestOperations, WebState};

/// What was refused on this page, by the form it belongs to.
#[derive(Default)]
struct Refused {
    /// Which form.
    form: &'static str,
    refusal: Option<Refusal>,
    /// The reconfiguration as it was entered.
    entered: Option<(Submitted, Vec<FieldError>)>,
}

impl Refused {
    fn of(form: &'static str, refusal: Refusal) -> Self {
        Self { form, refusal: Some(refusal), entered: None }
    }
}

/// A restore point that a change can be taken back to.
struct Point {
    what: String,
    made: When,
}

#[derive(Template)]
#[template(path = "guest.html")]
struct GuestPage {
    frame: Frame,
    id: String,
    name: String,
    state: &'static str,
    label: &'static str,
    meaning: &'static str,
    tone: &'static str,
    since: When,
    app: Option<(String, String)>,
    node: String,
    vmid: String,
    address: String,
    description: String,
    active_job: Option<String>,
    failure: Option<Failure>,
    facts: Vec<(&'static str, String)>,
    gpus: Vec<String>,
    service: Option<crate::domain::guest::PublishedService>,
    point: Option<Point>,
    view: GuestView,
    looked: Option<Looked>,
    journal: JournalView,
    backup_storages: Vec<String>,
    nodes: Vec<String>,
    /// Nothing runs on it and it is ours: changes can be asked for.
    free: bool,
    observed: bool,
    failed: bool,
    can_adopt: bool,
    refused: Refused,
}

impl GuestPage {
    fn refusal(&self, form: &str) -> Option<&Refusal> {
        self.refused.refusal.as_ref().filter(|_| self.refused.form == form)
    }
}

/// The guest with this id or name.
pub(crate) fn find(read: &Snapshot, id: &str) -> Result<Option<Guest>, StoreError> {
    if let Ok(id) = id.parse() {
        return read.guest(id);
    }
    id.parse().map_or(Ok(None), |name| read.guest_by_name(&name))
}

pub(super) async fn load(web: &WebState, id: String) -> Result<Guest, PageProblem> {
    let found = web.store().read(move |read| find(read, &id)).await?;
    Ok(found.ok_or_else(|| missing("guest"))?)
}

/// What is asked of the cluster for the page.
#[derive(Default)]
struct Asked {
    /// How the guest is, and its backups.
    look: bool,
    journal: Option<JournalQuery>,
}

async fn answer(
    web: WebState,
    operator: Operator,
    guests: &dyn GuestOperations,
    guest: Guest,
    asked: Asked,
    refused: Refused,
) -> Page {
    let status = match (&refused.refusal, &refused.entered) {
        (Some(refusal), _) => crate::web::problem::status(refusal.kind),
        (None, Some(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        (None, None) => StatusCode::OK,
    };
    let (catalog, site) = (guests.catalog(), guests.site());
    let journal = match asked.journal {
        Some(query) => JournalView::read(guests, &guest, &query).await,
        None => JournalView::unread(),
    };
    let looked = if asked.look {
        let (vitals, archives) =
            futures_util::future::join(guests.vitals(guest.id), guests.backups(guest.id)).await;
        Some(Looked::new(vitals, archives, web.store().now()))
    } else {
        None
    };
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let asked = refused.entered.as_ref().map(|(form, errors)| (form, errors.as_slice()));
        let view = GuestView::read(read, &guest, &catalog, &site, asked, now)?;
        let attachment = |g: &crate::domain::guest::GpuAttachment| {
            let driver = g.driver_version.as_deref().map(|v| format!(", driver {v}"));
            format!("{}{}", g.address, driver.unwrap_or_default())
        };
        Ok::<_, StoreError>(GuestPage {
            frame: Frame::new(&state, read, &operator, "guests", guest.name.as_str())?,
            id: guest.id.to_string(),
            name: guest.name.to_string(),
            state: guest.state.as_str(),
            label: state_label(guest.state),
            meaning: state_meaning(guest.state),
            tone: state_tone(guest.state),
            since: When::new(guest.state_since, now),
            app: guest.app.as_ref().map(|a| (a.id.to_string(), a.version.clone())),
            node: guest.node.to_string(),
            vmid: guest.vmid.to_string(),
            address: guest.address.map(|a| a.to_string()).unwrap_or_default(),
            description: guest.spec.description.clone(),
            active_job: guest.active_job.map(|j| j.to_string()),
            failure: guest.failure.clone().filter(|_| guest.state == GuestState::Failed),
            facts: facts(&guest),
            gpus: guest.spec.gpu.iter().map(attachment).collect(),
            service: guest.service.clone(),
            point: guest
                .restore_point
                .as_ref()
                .map(|p| Point { what: restore_point(p), made: When::new(p.made, now) }),
            view,
            looked,
            journal,
            backup_storages: site
                .boundary
                .backup_storages
                .iter()
                .map(ToString::to_string)
                .collect(),
            nodes: read.enrolled_nodes()?.iter().map(|n| n.name.to_string()).collect(),
            free: guest.active_job.is_none() && guest.is_ours() && !guest.state.is_busy(),
            observed: guest.state == GuestState::Observed,
            failed: guest.state == GuestState::Failed,
            can_adopt: guest.state == GuestState::Observed && guest.active_job.is_none(),
            refused,
        })
    });
    Ok(render_with(status, &page.await?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ShowQuery {
    /// Anything: the cluster is asked.
    look: String,
    /// Anything: the journal is read.
    journal: String,
    #[serde(flatten)]
    of_journal: JournalQuery,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "guests").await };
    let guest = load(&web, id).await?;
    let asked = Asked {
        look: !query.look.is_empty(),
        journal: (!query.journal.is_empty()).then_some(query.of_journal),
    };
    answer(web, operator, guests, guest, asked, Refused::default()).await
}

/// Fields of all small forms of the page; each handler takes its own.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ActionForm {
    action: String,
    storage: String,
    archive: String,
    node: String,
    confirm: String,
    keep_volumes: String,
    key: String,
}

/// The words of an action as they stand in forms and in the API.
pub(crate) fn power_action(text: &str) -> Result<PowerAction, Refusal> {
    let all = [PowerAction::Start, PowerAction::Shutdown, PowerAction::Stop, PowerAction::Restart];
    all.into_iter().find(|a| a.as_str() == text).ok_or_else(|| {
        let detail = format!("'{}' is no way to turn a guest on or off.", short(text));
        let hint = "It is one of start, shutdown, stop and restart.";
        Refusal::new(RefusalKind::Unprocessable, detail, hint).about("action")
    })
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A storage or node by its name; empty: none was named.
pub(crate) fn named<T>(text: &str, field: &'static str) -> Result<Option<T>, Refusal>
where
    T: std::str::FromStr<Err = crate::domain::id::InvalidId>,
{
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|e: crate::domain::id::InvalidId| {
        let hint = "Choose one of those that are listed.";
        Refusal::new(RefusalKind::Unprocessable, e.to_string(), hint).about(field)
    })
}

/// The kinds of actions that end in a job.
#[derive(Clone, Copy)]
enum Action {
    Power,
    Backup,
    Restore,
    Upgrade,
    Return,
    Uninstall,
    Adopt,
    Retry,
    Publish,
}

impl Action {
    /// The form that it belongs to on the page.
    fn form(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Upgrade => "upgrade",
            Self::Return => "return",
            Self::Uninstall => "uninstall",
            Self::Adopt => "adopt",
            Self::Retry => "retry",
            Self::Publish => "publish",
        }
    }

    async fn ask(
        self,
        guests: &dyn GuestOperations,
        guest: &Guest,
        form: ActionForm,
    ) -> Result<JobId, Refusal> {
        let id = guest.id;
        match self {
            Self::Power => guests.power(id, power_action(&form.action)?).await,
            Self::Backup => guests.backup(id, named::<StorageId>(&form.storage, "storage")?).await,
            Self::Restore => {
                let node = named::<NodeName>(&form.node, "node")?;
                guests.restore(id, form.archive, node, form.confirm.trim().to_owned()).await
            }
            Self::Upgrade => guests.upgrade(id).await,
            Self::Return => guests.return_to_restore_point(id).await,
            Self::Uninstall => {
                let keep = form.keep_volumes == "true";
                guests.uninstall(id, keep, form.confirm.trim().to_owned()).await
            }
            Self::Adopt => guests.adopt(id, form.confirm.trim().to_owned()).await,
            Self::Retry => guests.retry_install(id).await,
            Self::Publish => guests.publish(id).await,
        }
    }
}

async fn act(
    web: WebState,
    id: String,
    operator: Operator,
    form: ActionForm,
    action: Action,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "guests").await };
    let guest = load(&web, id).await?;
    match action.ask(guests, &guest, form).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(refusal) => {
            // The list of backups is only there when the cluster was asked.
            let asked = Asked { look: matches!(action, Action::Restore), journal: None };
            let refused = Refused::of(action.form(), refusal);
            answer(web, operator, guests, guest, asked, refused).await
        }
    }
}

macro_rules! actions {
    ($($name:ident => $action:ident),+ $(,)?) => {
        $(pub(crate) async fn $name(
            State(web): State<WebState>,
            Path(id): Path<String>,
            operator: Operator,
            Form(form): Form<ActionForm>,
        ) -> Page {
            act(web, id, operator, form, Action::$action).await
        })+
    };
}

actions! {
    power => Power,
    backup => Backup,
    restore => Restore,
    upgrade => Upgrade,
    return_back => Return,
    uninstall => Uninstall,
    adopt => Adopt,
    retry => Retry,
    publish => Publish,
}

pub(crate) async fn forget(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "guests").await };
    let guest = load(&web, id).await?;
    match guests.forget(guest.id).await {
        Ok(()) => Ok(Redirect::to("/guests").into_response()),
        Err(refusal) => {
            answer(web, operator, guests, guest, Asked::default(), Refused::of("forget", refusal))
                .await
        }
    }
}

pub(crate) async fn reveal(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<ActionForm>,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "guests").await };
    let guest = load(&web, id).await?;
    match guests.reveal(guest.id, form.key.clone()).await {
        Ok(secret) => {
            let label = guest.outputs.iter().find(|o| o.key == form.key).map(|o| o.label.clone());
            let page = SecretPage {
                title: format!("{} of {}", label.unwrap_or(form.key), guest.name),
                note: "It is shown this once and cannot be asked for again. Keep it somewhere safe.",
                secret,
                back: format!("/guests/{}", guest.id),
            };
            let state = web.clone();
            let page = web.store().read(move |read| page.framed(&state, read, &operator, "guests"));
            render(&page.await?)
        }
        Err(refusal) => {
            answer(web, operator, guests, guest, Asked::default(), Refused::of("reveal", refusal))
                .await
        }
    }
}

pub(crate) async fn reconfigure(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "guests").await };
    let guest = load(&web, id).await?;
    let form = entry::from_form(pairs);
    match guests.reconfigure(guest.id, form.clone()).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(declined) => {
            let (errors, refusal) = entry::errors(declined);
            let refusal = refusal.or_else(|| Some(fields_to_correct(errors.len())));
            let refused = Refused { form: "reconfigure", refusal, entered: Some((form, errors)) };
            answer(web, operator, guests, guest, Asked::default(), refused).await
        }
    }
}
