//! The power card of a host's page: where it stands, what can be done, how it is reached.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::Page;
use super::host::{Refused, answer, back_to, load};
use crate::domain::host::Host;
use crate::domain::power::{Action, Method};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::ServerType;
use crate::jobs::{NewPassword, POWER_SECRET, PowerAnswer, PowerChange};
use crate::plan::power as plan;
use crate::store::{SecretReads as _, Snapshot, StoreError, of_host};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::power::PowerForm;
use crate::web::problem::status;

/// What was asked and what came of it.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) answer: Option<PowerAnswer>,
    pub(super) refused: Option<Refusal>,
    /// Settings that were refused, as they were typed.
    pub(super) edit: Option<(PowerForm, Refusal)>,
}

/// One thing that can be asked.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) text: &'static str,
    pub(super) danger: bool,
}

pub(super) struct PowerView {
    pub(super) told: String,
    pub(super) has_method: bool,
    pub(super) has_password: bool,
    pub(super) boots: bool,
    pub(super) choices: Vec<Choice>,
    /// Switching it off needs its name.
    pub(super) confirm: bool,
    pub(super) form: PowerForm,
    pub(super) wrong: Option<Refusal>,
    pub(super) refused: Option<Refusal>,
    pub(super) state: Option<(&'static str, String)>,
    pub(super) untrusted: Option<String>,
}

impl PowerView {
    pub(super) fn read(
        read: &Snapshot,
        host: &Host,
        server_type: Option<&ServerType>,
        asked: Asked,
    ) -> Result<Self, StoreError> {
        let name = of_host(host.id, POWER_SECRET);
        let (form, wrong) = match asked.edit {
            Some((form, wrong)) => (form, Some(wrong)),
            None => (PowerForm::of(&host.power), None),
        };
        let answer = asked.answer;
        Ok(Self {
            told: plan::told(&host.power),
            has_method: host.power.method != Method::None,
            has_password: read.secret_names(&name)?.contains(&name),
            boots: plan::boots_by_itself(host, server_type),
            choices: choices(&host.power.method),
            confirm: plan::permit(host, Action::Cycle, "").is_err_and(|r| r.field.is_some()),
            form,
            wrong,
            refused: asked.refused,
            untrusted: answer.as_ref().and_then(|a| a.untrusted).map(|f| f.to_string()),
            state: answer.map(|a| (a.state.as_str(), a.said)),
        })
    }
}

fn choices(method: &Method) -> Vec<Choice> {
    let choice = |action: Action, text, danger| Choice { value: action.as_str(), text, danger };
    let on = choice(Action::On, "Turn on", false);
    match method {
        Method::None => Vec::new(),
        Method::WakeOnLan(_) => vec![on],
        Method::Redfish(_) | Method::Ipmi(_) => vec![
            on,
            choice(Action::Shutdown, "Shut down", false),
            choice(Action::Cycle, "Off and on again", true),
            choice(Action::Off, "Cut the power", true),
        ],
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct SwitchForm {
    /// `look`, or an action.
    action: String,
    confirm: String,
}

pub(crate) async fn switch(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<SwitchForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let done = match (form.action.as_str(), form.action.parse()) {
        ("look", _) => web.operations().power_state(host.id).await,
        (_, Ok(action)) => web.operations().switch_power(host.id, action, form.confirm).await,
        _ => Err(Refusal::new(RefusalKind::Malformed, "This cannot be asked of a machine.", "")),
    };
    let (code, asked) = match done {
        Ok(answer) => (StatusCode::OK, Asked { answer: Some(answer), ..Asked::default() }),
        Err(refusal) => {
            (status(refusal.kind), Asked { refused: Some(refusal), ..Asked::default() })
        }
    };
    answer(web, operator, id, code, Refused { power: asked, ..Refused::default() }).await
}

pub(crate) async fn edit(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<PowerForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let changed = match form.parse() {
        Ok(change) => web.operations().set_power(host.id, change).await,
        Err(wrong) => Err(wrong),
    };
    match changed {
        Ok(_) => Ok(back_to(&host)),
        Err(refusal) => {
            let code = status(refusal.kind);
            let asked = Asked { edit: Some((form, refusal)), ..Asked::default() };
            answer(web, operator, id, code, Refused { power: asked, ..Refused::default() }).await
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TrustForm {
    fingerprint: String,
}

/// The operator compared what a controller shows: from now on only this certificate is accepted.
pub(crate) async fn trust(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<TrustForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let mut power = host.power.clone();
    let refuse = |detail: &str| {
        Refusal::new(RefusalKind::Unprocessable, detail, "Ask the machine for its state again.")
    };
    let done = match (&mut power.method, form.fingerprint.parse()) {
        (Method::Redfish(redfish), Ok(fingerprint)) => {
            redfish.fingerprint = Some(fingerprint);
            let change = PowerChange { power, password: NewPassword::Keep };
            match web.operations().set_power(host.id, change).await {
                // What was asked for in the first place, now that it can be asked.
                Ok(_) => web.operations().power_state(host.id).await,
                Err(refusal) => Err(refusal),
            }
        }
        (_, Err(invalid)) => Err(refuse(&format!("It is {invalid}."))),
        _ => Err(refuse("This host's power method has no certificate.")),
    };
    let (code, asked) = match done {
        Ok(answer) => (StatusCode::OK, Asked { answer: Some(answer), ..Asked::default() }),
        Err(refusal) => {
            (status(refusal.kind), Asked { refused: Some(refusal), ..Asked::default() })
        }
    };
    answer(web, operator, id, code, Refused { power: asked, ..Refused::default() }).await
}
