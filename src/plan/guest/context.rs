//! What templates of a manifest can name: `inputs`, `guest`, `site`, and where it is allowed `secrets` and `facts`.

use std::collections::BTreeMap;

use serde::Serialize;
use zeroize::Zeroize as _;

use crate::domain::app::{InputValue, Manifest};
use crate::domain::guest::Guest;
use crate::domain::secret::Secret;
use crate::plan::template;

/// Values of `site`.
#[derive(Debug, Clone, Copy)]
pub struct SiteNames<'a> {
    /// Domain below which services are; empty when none is configured.
    pub domain: &'a str,
    /// The appliance's own URL.
    pub url: &'a str,
}

/// A guest with the app that is, or is being, put into it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The app.
    pub manifest: &'a Manifest,
    /// The guest; its inputs are those of its record.
    pub guest: &'a Guest,
    /// The site.
    pub site: SiteNames<'a>,
}

impl Subject<'_> {
    /// Values of the inputs that are no secrets.
    #[must_use]
    pub fn inputs(&self) -> &BTreeMap<String, InputValue> {
        static NONE: BTreeMap<String, InputValue> = BTreeMap::new();
        self.guest.app.as_ref().map_or(&NONE, |app| &app.inputs)
    }

    /// Fills a template in that may name no secret.
    ///
    /// # Errors
    /// What is wrong with it; never a value.
    pub fn render(&self, text: &str) -> Result<String, String> {
        template::render(text, &self.context())
    }

    /// Fills a template in that may name secrets and facts.
    ///
    /// # Errors
    /// What is wrong with it; never a value.
    pub fn render_with(
        &self,
        text: &str,
        secrets: &BTreeMap<String, Secret<String>>,
        facts: &BTreeMap<String, String>,
    ) -> Result<String, String> {
        let mut context = self.context();
        let keys = self.manifest.inputs.iter().filter(|i| i.kind.is_secret()).map(|i| &i.key);
        let value =
            |key: &String| secrets.get(key).map_or_else(String::new, |s| s.expose().clone());
        context.secrets = Some(keys.map(|key| (key.clone(), value(key))).collect());
        context.facts = Some(facts);
        template::render(text, &context)
    }

    fn context(&self) -> Context<'_> {
        let guest = self.guest;
        let name = guest.name.as_str();
        let inputs = self.manifest.inputs.iter().filter(|i| !i.kind.is_secret());
        Context {
            // One that was not answered or is hidden is empty, so that what the linter accepted can be filled in.
            inputs: inputs
                .map(|i| (i.key.as_str(), self.inputs().get(&i.key).map_or_else(empty, plain)))
                .collect(),
            guest: BTreeMap::from([
                ("name", name.to_owned()),
                ("hostname", name.to_owned()),
                ("ip", guest.address.map_or_else(String::new, |ip| ip.to_string())),
                ("vmid", guest.vmid.to_string()),
                ("node", guest.node.to_string()),
                ("domain", guest.service.as_ref().map_or_else(String::new, |s| s.domain.clone())),
            ]),
            site: BTreeMap::from([("domain", self.site.domain), ("url", self.site.url)]),
            secrets: None,
            facts: None,
        }
    }
}

/// The names of a template. Wipes the secrets when it is dropped.
#[derive(Serialize)]
struct Context<'a> {
    inputs: BTreeMap<&'a str, serde_json::Value>,
    guest: BTreeMap<&'static str, String>,
    site: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a BTreeMap<String, String>>,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        for secret in self.secrets.iter_mut().flat_map(BTreeMap::values_mut) {
            secret.zeroize();
        }
    }
}

fn empty() -> serde_json::Value {
    serde_json::Value::from("")
}

/// A value as JSON: whole numbers without a fraction, so that a port is `80` and not `80.0`.
#[must_use]
pub(super) fn plain(value: &InputValue) -> serde_json::Value {
    match value {
        InputValue::Boolean(yes) => (*yes).into(),
        InputValue::Text(text) => text.as_str().into(),
        InputValue::Number(number) => {
            let whole = number.fract() == 0.0 && number.abs() < 9e15;
            match number.to_string().parse::<i64>() {
                Ok(integer) if whole => integer.into(),
                _ => (*number).into(),
            }
        }
    }
}
