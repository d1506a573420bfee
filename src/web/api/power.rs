//! `/api/hosts/{id}/power`.

use axum::body::Bytes;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::host::{HostBody, find};
use super::{Answer, body, ok};
use crate::domain::power::Power;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::jobs::POWER_SECRET;
use crate::store::{SecretReads as _, StoreError, of_host};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::power::PowerForm;
use crate::web::problem::Problem;

/// How a host is switched.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PowerSettings")]
pub(super) struct PowerShown<'a> {
    power: &'a Power,
    has_password: bool,
}

/// The settings; whether there is a password, never the password.
pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let host = find(&web, &id).await?;
    let name = of_host(host.id, POWER_SECRET);
    let has = web
        .store()
        .read(move |read| Ok::<_, StoreError>(read.secret_names(&name)?.contains(&name)));
    Ok(ok(&PowerShown { power: &host.power, has_password: has.await? }))
}

/// New settings, all of them, with the fields of the page's form. A password that is left out stays.
pub(in crate::web) async fn change(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let given: Map<String, Value> = body(&bytes)?;
    if let Some(unknown) = given.keys().find(|key| !PowerForm::FIELDS.contains(&key.as_str())) {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(malformed(format!("unknown field '{unknown}'")));
    }
    let form: PowerForm =
        serde_json::from_value(Value::Object(given)).map_err(|e| malformed(e.to_string()))?;
    let host = find(&web, &id).await?;
    let host = web.operations().set_power(host.id, form.parse()?).await?;
    Ok(ok(&HostBody::new(&host)))
}

fn malformed(detail: String) -> Problem {
    let hint = format!("Known fields: {}.", PowerForm::FIELDS.join(", "));
    Refusal::new(RefusalKind::Malformed, detail, hint).into()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchBody {
    /// `look`, `on`, `shutdown`, `off`, `cycle`.
    action: String,
    #[serde(default)]
    confirm: String,
}

pub(in crate::web) async fn switch(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: SwitchBody = body(&bytes)?;
    let host = find(&web, &id).await?;
    let answer = match asked.action.as_str() {
        "look" => web.operations().power_state(host.id).await?,
        action => {
            let action = action.parse().map_err(|()| {
                let hint = "look, on, shutdown, off and cycle are known.";
                Refusal::new(RefusalKind::Malformed, "This cannot be asked of a machine.", hint)
                    .about("action")
            })?;
            web.operations().switch_power(host.id, action, asked.confirm).await?
        }
    };
    Ok(ok(&answer))
}
