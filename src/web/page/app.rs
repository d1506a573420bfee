//! The catalog: all apps with search and filters, its sources and what is broken in them, and one app.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::guests::GuestRow;
use super::{Frame, Page, missing, render, render_with, switched_off};
use crate::domain::app::{AppId, BrokenApp, Catalog, CatalogApp};
use crate::domain::guest::Guest;
use crate::domain::id::JobId;
use crate::domain::refusal::Refusal;
use crate::store::{GuestReads as _, NodeReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::markdown;
use crate::web::problem::PageProblem;
use crate::web::view::When;
use crate::web::view::app::{Mark, facts, gpu_banner, short_hash, web_link};

/// One app in the grid.
struct Card {
    id: String,
    name: String,
    version: String,
    description: String,
    mark: Mark,
    categories: Vec<String>,
    tags: Vec<String>,
    featured: bool,
    exercised: bool,
    gpu: &'static str,
    installed: usize,
}

impl Card {
    fn new(app: &CatalogApp, installed: usize) -> Self {
        let manifest = &app.manifest;
        Self {
            id: manifest.id.to_string(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            mark: Mark::new(app),
            categories: manifest.categories.clone(),
            tags: manifest.tags.clone(),
            featured: manifest.featured,
            exercised: app.provenance.exercised,
            gpu: match &manifest.gpu {
                None => "",
                Some(gpu) if gpu.required => "Needs a GPU",
                Some(_) => "Can use a GPU",
            },
            installed,
        }
    }
}

/// One source of the catalog.
struct SourceRow {
    name: String,
    location: String,
    commit: String,
    refreshed: Option<When>,
    problem: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct ListQuery {
    q: String,
    category: String,
    tag: String,
    sort: String,
}

impl ListQuery {
    /// A filter without an order.
    pub(crate) fn new(q: String, category: String, tag: String) -> Self {
        Self { q, category, tag, sort: String::new() }
    }

    pub(crate) fn wants(&self, app: &CatalogApp) -> bool {
        let manifest = &app.manifest;
        let has = |all: &[String], wanted: &str| {
            wanted.is_empty() || all.iter().any(|one| one.eq_ignore_ascii_case(wanted))
        };
        let text = || {
            let mut words = vec![manifest.id.as_str(), &manifest.name, &manifest.description];
            words.extend(manifest.tags.iter().chain(&manifest.categories).map(String::as_str));
            words.join(" ").to_lowercase()
        };
        has(&manifest.categories, &self.category)
            && has(&manifest.tags, &self.tag)
            && (self.q.trim().is_empty() || {
                let text = text();
                self.q.to_lowercase().split_whitespace().all(|word| text.contains(word))
            })
    }

    fn is_narrow(&self) -> bool {
        !(self.q.trim().is_empty() && self.category.is_empty() && self.tag.is_empty())
    }
}

/// The wanted apps in the wanted order.
fn chosen<'a>(catalog: &'a Catalog, query: &ListQuery) -> Vec<&'a CatalogApp> {
    let mut apps: Vec<&CatalogApp> = catalog.apps.iter().filter(|a| query.wants(a)).collect();
    apps.sort_by_key(|app| app.manifest.name.to_lowercase());
    match query.sort.as_str() {
        "name" => {}
        // What has no history comes last.
        "updated" => apps.sort_by_key(|app| Reverse(app.provenance.updated)),
        _ => apps.sort_by_key(|app| !app.manifest.featured),
    }
    apps
}

fn words(apps: &[CatalogApp], of: fn(&CatalogApp) -> &[String]) -> Vec<String> {
    apps.iter().flat_map(of).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsPage {
    frame: Frame,
    query: ListQuery,
    narrow: bool,
    cards: Vec<Card>,
    all: usize,
    categories: Vec<String>,
    tags: Vec<String>,
    broken: Vec<BrokenApp>,
    sources: Vec<SourceRow>,
    refused: Option<Refusal>,
}

async fn answer(
    web: WebState,
    operator: Operator,
    query: ListQuery,
    refused: Option<Refusal>,
) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "apps").await };
    let catalog = guests.catalog();
    let status = refused.as_ref().map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let installed = read.guests()?;
        let count = |id: &AppId| installed.iter().filter(|g| runs(g, id)).count();
        let source = |s: &crate::domain::app::SourceStatus| SourceRow {
            name: s.name.clone(),
            location: s.location.clone(),
            commit: s.commit.as_deref().map(short_hash).unwrap_or_default(),
            refreshed: s.refreshed.map(|at| When::new(at, now)),
            problem: s.problem.clone().unwrap_or_default(),
        };
        Ok::<_, StoreError>(AppsPage {
            frame: Frame::new(&state, read, &operator, "apps", "Apps")?,
            narrow: query.is_narrow(),
            cards: chosen(&catalog, &query)
                .into_iter()
                .map(|app| Card::new(app, count(&app.manifest.id)))
                .collect(),
            query,
            all: catalog.apps.len(),
            categories: words(&catalog.apps, |a| &a.manifest.categories),
            tags: words(&catalog.apps, |a| &a.manifest.tags),
            broken: catalog.broken.clone(),
            sources: catalog.sources.iter().map(source).collect(),
            refused,
        })
    });
    Ok(render_with(status, &page.await?))
}

/// Whether a guest runs this app.
pub(super) fn runs(guest: &Guest, app: &AppId) -> bool {
    guest.app.as_ref().is_some_and(|installed| installed.id == *app)
}

pub(crate) async fn list(
    State(web): State<WebState>,
    Query(query): Query<ListQuery>,
    operator: Operator,
) -> Page {
    answer(web, operator, query, None).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct RefreshForm {
    /// Empty: all.
    source: String,
}

/// Where to look on after several jobs were queued.
fn place_of(jobs: &[JobId]) -> String {
    match jobs {
        [one] => format!("/jobs/{one}"),
        _ => "/jobs".to_owned(),
    }
}

pub(crate) async fn refresh(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<RefreshForm>,
) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "apps").await };
    let source = Some(form.source).filter(|s| !s.is_empty());
    match guests.refresh_catalog(source).await {
        Ok(jobs) => Ok(Redirect::to(&place_of(&jobs)).into_response()),
        Err(refusal) => answer(web, operator, ListQuery::default(), Some(refusal)).await,
    }
}

/// The app with this id.
pub(super) fn find<'a>(catalog: &'a Catalog, id: &str) -> Result<&'a CatalogApp, PageProblem> {
    let found = id.parse().ok().and_then(|id| catalog.get(&id));
    found.ok_or_else(|| missing("app").into())
}

#[derive(Template)]
#[template(path = "app.html")]
struct AppPage {
    frame: Frame,
    id: String,
    name: String,
    version: String,
    description: String,
    mark: Mark,
    categories: Vec<String>,
    tags: Vec<String>,
    exercised: bool,
    homepage: Option<String>,
    facts: Vec<(&'static str, String)>,
    gpu: Option<crate::web::view::app::GpuBanner>,
    readme: String,
    guests: Vec<GuestRow>,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "apps").await };
    let app = find(&guests.catalog(), &id)?.clone();
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let manifest = &app.manifest;
        let installed = read.guests()?;
        let mine = installed.iter().filter(|g| runs(g, &manifest.id));
        Ok::<_, StoreError>(AppPage {
            frame: Frame::new(&state, read, &operator, "apps", manifest.name.as_str())?,
            id: manifest.id.to_string(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            mark: Mark::new(&app),
            categories: manifest.categories.clone(),
            tags: manifest.tags.clone(),
            exercised: app.provenance.exercised,
            homepage: manifest.homepage.as_deref().and_then(web_link),
            facts: facts(&app),
            gpu: gpu_banner(manifest, &read.enrolled_nodes()?),
            readme: markdown::render(&app.readme),
            guests: mine.map(|g| GuestRow::new(g, None, now)).collect(),
        })
    });
    render(&page.await?)
}

/// An app's icon. Only PNG files get through the linter; the answer's headers forbid everything but showing it.
pub(crate) async fn icon(State(web): State<WebState>, Path(id): Path<String>, _: Operator) -> Page {
    let guests = web.guests()?;
    let id = find(&guests.catalog(), &id)?.manifest.id.clone();
    let icon = guests.icon(id).await?.ok_or_else(|| missing("icon"))?;
    let headers =
        [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=86400")];
    Ok((headers, icon).into_response())
}

/// One profile: an app of packages in the category `profile`.
struct Profile {
    id: String,
    name: String,
    description: String,
    packages: String,
    facts: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "profiles.html")]
struct ProfilesPage {
    frame: Frame,
    profiles: Vec<Profile>,
}

pub(crate) async fn profiles(State(web): State<WebState>, operator: Operator) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "apps").await };
    let catalog = guests.catalog();
    let profile = |app: &CatalogApp| {
        let manifest = &app.manifest;
        manifest.profile_packages().map(|packages| Profile {
            id: manifest.id.to_string(),
            name: manifest.name.clone(),
            description: manifest.description.clone(),
            packages: packages.join(" "),
            facts: facts(app),
        })
    };
    let profiles = catalog.apps.iter().filter_map(profile).collect();
    let state = web.clone();
    let page = web.store().read(move |read| {
        let frame = Frame::new(&state, read, &operator, "apps", "Profiles")?;
        Ok::<_, StoreError>(ProfilesPage { frame, profiles })
    });
    render(&page.await?)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::web::test::catalog::catalog;

    fn names(query: &ListQuery) -> Vec<String> {
        let catalog = catalog();
        chosen(&catalog, query).iter().map(|a| a.manifest.id.to_string()).collect()
    }

    #[test]
    fn apps_are_found_by_every_word_and_filtered_by_category_and_tag() {
        let query = |q: &str, category: &str, tag: &str| ListQuery {
            q: q.into(),
            category: category.into(),
            tag: tag.into(),
            sort: "name".into(),
        };
        assert_eq!(names(&query("", "", "")).len(), 3);
        assert_eq!(names(&query("MEDIA video", "", "")), ["jellyfin"]);
        assert_eq!(names(&query("media nothing", "", "")), [""; 0]);
        assert_eq!(names(&query("", "Web", "")), ["static-website"]);
        assert_eq!(names(&query("", "", "cache")), ["redis"]);
    }

    #[test]
    fn featured_apps_come_first_unless_sorted_by_name() {
        let first =
            |sort: &str| names(&ListQuery { sort: sort.into(), ..ListQuery::default() }).remove(0);
        assert_eq!(first(""), "static-website");
        assert_eq!(first("name"), "jellyfin");
        // What is built in was read last, and has no history.
        assert_eq!(first("updated"), "redis");
        let mut other = catalog();
        for (n, app) in other.apps.iter_mut().enumerate() {
            app.provenance.updated = Some(Timestamp(i64::try_from(n).unwrap()));
        }
        let query = ListQuery { sort: "updated".into(), ..ListQuery::default() };
        let ids: Vec<&str> =
            chosen(&other, &query).iter().map(|a| a.manifest.id.as_str()).collect();
        let mut last_first: Vec<&str> = other.apps.iter().map(|a| a.manifest.id.as_str()).collect();
        last_first.reverse();
        assert_eq!(ids, last_first);
    }
}
