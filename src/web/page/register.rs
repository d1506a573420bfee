//! The form that makes a machine a host.

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::host::{Choice, type_choices};
use super::{Frame, Page, render_with};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::plan::matching::{next_name, proposed};
use crate::store::{HostReads as _, SightingReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::form::HostForm;

#[derive(Template)]
#[template(path = "register.html")]
struct RegisterPage {
    frame: Frame,
    form: HostForm,
    wrong: Vec<Refusal>,
    types: Vec<Choice>,
    /// The machine, when it comes from a sighting.
    machine: Option<String>,
    /// The server type whose rule fits the machine.
    fitting: Option<String>,
}

impl RegisterPage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.wrong.iter().find(|r| r.field == Some(field))
    }

    fn general_errors(&self) -> Vec<&Refusal> {
        self.wrong.iter().filter(|r| r.field.is_none()).collect()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct RegisterQuery {
    mac: String,
    #[serde(rename = "type")]
    server_type: String,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Query(query): Query<RegisterQuery>,
    operator: Operator,
) -> Page {
    let mac: Option<Mac> = query.mac.parse().ok();
    let types = web.types();
    let asked = query.server_type.parse().ok().and_then(|name| types.get(&name));
    let asked = asked.cloned();
    let state = web.clone();
    let page = web.store().read(move |read| {
        let machine = mac.map(|mac| read.sighting(mac)).transpose()?.flatten();
        let fitting = machine.as_ref().and_then(|s| proposed(&types.types, s.mac, &s.inventory));
        let why = fitting.filter(|_| asked.is_none()).map(|t| t.display_name.clone());
        let first = asked.as_ref().or(fitting).or_else(|| types.types.first());
        let taken = read.hostnames()?;
        let form = HostForm {
            hostname: first.map(|t| next_name(&t.hostname_prefix, &taken)).unwrap_or_default(),
            macs: mac.map(|m| m.to_string()).unwrap_or_default(),
            server_type: first.map(|t| t.name.to_string()).unwrap_or_default(),
            ..HostForm::default()
        };
        Ok::<_, StoreError>(RegisterPage {
            frame: Frame::new(&state, read, &operator, "new", "Register a host")?,
            types: type_choices(&types, &form.server_type),
            form,
            wrong: Vec::new(),
            machine: machine.map(|s| super::sighting::describe(&s)),
            fitting: why,
        })
    });
    Ok(render_with(StatusCode::OK, &page.await?))
}

pub(crate) async fn register(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<HostForm>,
) -> Page {
    let wrong = match form.parse_new() {
        Ok(new) => match web.operations().register_host(new).await {
            Ok(host) => return Ok(Redirect::to(&format!("/hosts/{}", host.id)).into_response()),
            Err(refusal) => vec![refusal],
        },
        Err(wrong) => wrong,
    };
    let kind = wrong.first().map_or(RefusalKind::Unprocessable, |r| r.kind);
    let types = type_choices(&web.types(), &form.server_type);
    let state = web.clone();
    let page = web.store().read(move |read| {
        let frame = Frame::new(&state, read, &operator, "new", "Register a host")?;
        Ok::<_, StoreError>(RegisterPage {
            frame,
            form,
            wrong,
            types,
            machine: None,
            fitting: None,
        })
    });
    Ok(render_with(crate::web::problem::status(kind), &page.await?))
}
