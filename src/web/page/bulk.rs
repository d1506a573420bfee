//! The rebuild of many hosts in three steps: choose, review, confirm. Each step is a page that works without a script; what
//! was reviewed travels in the form by its name, so that nothing waits in memory.

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};

use super::host::Choice;
use super::{Frame, Page, problems, render, render_with};
use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::jobs::{BulkChoice, BulkRequest, BulkReview};
use crate::limits::operator::{BULK_AT_ONCE, BULK_HOSTS};
use crate::plan::bulk::{AT_ONCE, STOP_AFTER};
use crate::plan::fleet::{Asked, Filter};
use crate::store::{HostReads as _, ImageReads as _, Snapshot, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::entry::field;
use crate::web::problem::{PageProblem, status};
use crate::web::view::{erased, state_label, state_tone};

/// What is decided beside the list of hosts, as it was entered.
#[derive(Clone, Default)]
struct Settings {
    image: String,
    replace_node: bool,
    at_once: String,
    stop_after: String,
}

type Pairs = Vec<(String, String)>;

impl Settings {
    fn of(pairs: &Pairs) -> Self {
        let or = |text: &str, otherwise: u32| {
            if text.trim().is_empty() { otherwise.to_string() } else { text.trim().to_owned() }
        };
        Self {
            image: field(pairs, "image").to_owned(),
            replace_node: !field(pairs, "replace_node").is_empty(),
            at_once: or(field(pairs, "at_once"), AT_ONCE),
            stop_after: or(field(pairs, "stop_after"), STOP_AFTER),
        }
    }

    fn image(&self) -> Result<Option<ImageId>, Refusal> {
        match self.image.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|e: crate::domain::id::InvalidId| {
                let hint = "Choose an image from the list.";
                Refusal::new(RefusalKind::Malformed, e.to_string(), hint).about("image")
            }),
        }
    }
}

/// A number of the form.
fn number(text: &str, name: &'static str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(20).collect();
        let detail = format!("'{shown}' is not a whole number");
        Refusal::new(RefusalKind::Unprocessable, detail, "4, for example").about(name)
    })
}

/// One host of the list from which is chosen.
struct Row {
    id: String,
    hostname: String,
    label: &'static str,
    tone: &'static str,
    server_type: String,
    macs: String,
    is_member: bool,
    is_chosen: bool,
    is_busy: bool,
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct ChoosePage {
    frame: Frame,
    filter: Filter,
    rows: Vec<Row>,
    /// Hosts that match and can be chosen.
    all: usize,
    /// Hosts that match beyond those that one list holds.
    beyond: usize,
    images: Vec<Choice>,
    settings: Settings,
    most_at_once: u32,
    refused: Option<Refusal>,
}

impl ChoosePage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field == Some(field))
    }

    fn general_error(&self) -> Option<&Refusal> {
        self.refused
            .as_ref()
            .filter(|r| !matches!(r.field, Some("at_once" | "stop_after" | "image")))
    }
}

fn choose_page(
    web: &WebState,
    read: &Snapshot,
    operator: &Operator,
    filter: Filter,
    chosen: &[HostId],
    settings: Settings,
    refused: Option<Refusal>,
) -> Result<ChoosePage, StoreError> {
    let problems = problems(web, read)?;
    let hosts = read.hosts()?;
    let matching = filter.wanted(&hosts, &problems);
    let row = |host: &&Host| Row {
        id: host.id.to_string(),
        hostname: host.hostname.to_string(),
        label: state_label(host.state),
        tone: state_tone(host.state),
        server_type: host.server_type.to_string(),
        macs: host.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        is_member: host.is_member,
        is_chosen: chosen.contains(&host.id),
        is_busy: host.active_job.is_some() || host.state.is_busy(),
    };
    let rows: Vec<Row> = matching.iter().take(BULK_HOSTS).map(row).collect();
    let image = |(n, image): (usize, &crate::domain::image::Image)| Choice {
        value: image.id.to_string(),
        text: format!("{} {}", image.release.product_long, image.id),
        selected: if settings.image.is_empty() {
            n == 0
        } else {
            settings.image == image.id.as_str()
        },
    };
    Ok(ChoosePage {
        frame: Frame::new(web, read, operator, "hosts", "Rebuild several hosts")?,
        all: rows.iter().filter(|row| !row.is_busy).count(),
        beyond: matching.len().saturating_sub(BULK_HOSTS),
        rows,
        filter,
        images: read.images()?.iter().enumerate().map(image).collect(),
        settings,
        most_at_once: BULK_AT_ONCE,
        refused,
    })
}

async fn choose_again(
    web: WebState,
    operator: Operator,
    filter: Filter,
    chosen: Vec<HostId>,
    settings: Settings,
    refused: Refusal,
) -> Page {
    let code = status(refused.kind);
    let state = web.clone();
    let page = web.store().read(move |read| {
        choose_page(&state, read, &operator, filter, &chosen, settings, Some(refused))
    });
    Ok(render_with(code, &page.await?))
}

/// Step one: which hosts, and how.
pub(crate) async fn choose(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    operator: Operator,
) -> Page {
    let filter = Filter::parse(&asked).map_err(PageProblem)?;
    let state = web.clone();
    let page = web.store().read(move |read| {
        let settings = Settings::of(&Vec::new());
        choose_page(&state, read, &operator, filter, &[], settings, None)
    });
    render(&page.await?)
}

fn filter_of(pairs: &Pairs) -> Result<Filter, Refusal> {
    Filter::parse(&Asked {
        state: field(pairs, "state").to_owned(),
        server_type: field(pairs, "type").to_owned(),
        problem: field(pairs, "problem").to_owned(),
        q: field(pairs, "q").to_owned(),
    })
}

/// The hosts that were ticked.
fn ticked(pairs: &Pairs) -> Vec<HostId> {
    pairs.iter().filter(|(name, _)| name == "host").filter_map(|(_, id)| id.parse().ok()).collect()
}

/// The hosts that a filter wants as they are now. The same for page and API.
pub(crate) fn matching(
    web: &WebState,
    read: &Snapshot,
    filter: &Filter,
) -> Result<Vec<HostId>, StoreError> {
    let (hosts, problems) = (read.hosts()?, problems(web, read)?);
    Ok(filter.wanted(&hosts, &problems).iter().map(|host| host.id).collect())
}

/// One host that is erased.
struct ErasedRow {
    id: String,
    hostname: String,
    label: &'static str,
    tone: &'static str,
    server_type: String,
    macs: String,
    disk: String,
    is_member: bool,
}

/// One host that is not.
struct LeftRow {
    hostname: String,
    why: String,
    hint: String,
}

#[derive(Template)]
#[template(path = "bulk_review.html")]
struct ReviewPage {
    frame: Frame,
    filter: Filter,
    settings: Settings,
    image: String,
    image_text: String,
    rows: Vec<ErasedRow>,
    members: usize,
    left: Vec<LeftRow>,
    phrase: String,
    seal: String,
    refused: Option<Refusal>,
}

impl ReviewPage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field == Some(field))
    }

    fn general_error(&self) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field != Some("confirm"))
    }
}

async fn review_page(
    web: WebState,
    operator: Operator,
    filter: Filter,
    settings: Settings,
    review: BulkReview,
    refused: Option<Refusal>,
) -> Page {
    let code = refused.as_ref().map_or(StatusCode::OK, |r| status(r.kind));
    let rows: Vec<ErasedRow> = review
        .hosts
        .iter()
        .map(|host| ErasedRow {
            id: host.host.to_string(),
            hostname: host.hostname.to_string(),
            label: state_label(host.state),
            tone: state_tone(host.state),
            server_type: host.server_type.to_string(),
            macs: host.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            disk: erased(Some(&host.disk)).unwrap_or_default(),
            is_member: host.is_member,
        })
        .collect();
    let left = review.left_out.into_iter().map(|left| LeftRow {
        hostname: left.hostname,
        why: left.why.detail,
        hint: left.why.hint,
    });
    let left: Vec<LeftRow> = left.collect();
    let state = web.clone();
    let page = web.store().read(move |read| {
        Ok::<_, StoreError>(ReviewPage {
            frame: Frame::new(&state, read, &operator, "hosts", "Review: rebuild several hosts")?,
            filter,
            settings,
            image: review.image.id.to_string(),
            image_text: format!("{} {}", review.image.release.product_long, review.image.id),
            members: rows.iter().filter(|row| row.is_member).count(),
            rows,
            left,
            phrase: review.phrase,
            seal: review.seal,
            refused,
        })
    });
    Ok(render_with(code, &page.await?))
}

/// Step two: what would be erased, what not, and why.
pub(crate) async fn review(
    State(web): State<WebState>,
    operator: Operator,
    Form(pairs): Form<Pairs>,
) -> Page {
    let filter = filter_of(&pairs).map_err(PageProblem)?;
    let settings = Settings::of(&pairs);
    let ticked = ticked(&pairs);
    let hosts = if field(&pairs, "scope") == "all" {
        let (state, filter) = (web.clone(), filter.clone());
        web.store().read(move |read| matching(&state, read, &filter)).await?
    } else {
        ticked.clone()
    };
    let checked = async {
        number(&settings.at_once, "at_once")?;
        number(&settings.stop_after, "stop_after")?;
        let image = settings.image()?;
        let choice = BulkChoice { hosts, image, replace_node: settings.replace_node };
        web.operations().review_rebuilds(choice).await
    };
    match checked.await {
        Ok(review) => review_page(web.clone(), operator, filter, settings, review, None).await,
        Err(refusal) => {
            choose_again(web.clone(), operator, filter, ticked, settings, refusal).await
        }
    }
}

/// Step three: exactly what was reviewed.
pub(crate) async fn begin(
    State(web): State<WebState>,
    operator: Operator,
    Form(pairs): Form<Pairs>,
) -> Page {
    let filter = filter_of(&pairs).map_err(PageProblem)?;
    let settings = Settings::of(&pairs);
    let hosts = ticked(&pairs);
    let read = || -> Result<BulkRequest, Refusal> {
        Ok(BulkRequest {
            choice: BulkChoice {
                hosts: hosts.clone(),
                image: settings.image()?,
                replace_node: settings.replace_node,
            },
            seal: field(&pairs, "reviewed").to_owned(),
            confirm: field(&pairs, "confirm").to_owned(),
            at_once: number(&settings.at_once, "at_once")?,
            stop_after: number(&settings.stop_after, "stop_after")?,
        })
    };
    let request = match read() {
        Ok(request) => request,
        Err(refusal) => return choose_again(web, operator, filter, hosts, settings, refusal).await,
    };
    let choice = request.choice.clone();
    let refusal = match web.operations().rebuild_many(request).await {
        Ok(job) => return Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(refusal) => refusal,
    };
    // The list as it is now, with why nothing was begun.
    match web.operations().review_rebuilds(choice).await {
        Ok(now) => review_page(web.clone(), operator, filter, settings, now, Some(refusal)).await,
        Err(refusal) => choose_again(web.clone(), operator, filter, hosts, settings, refusal).await,
    }
}
