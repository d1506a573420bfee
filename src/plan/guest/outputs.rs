//! What an installation came to: facts that its scripts wrote down, and the outputs that people are shown.

use std::collections::BTreeMap;

use crate::domain::app::OutputKind;
use crate::domain::secret::Secret;

use super::context::Subject;
use super::redaction::Redactor;

/// One output with its value.
#[derive(Debug, Clone)]
pub struct Found {
    /// Name.
    pub key: String,
    /// For people.
    pub label: String,
    /// How it is shown.
    pub kind: OutputKind,
    /// The value; `None`: it is a secret.
    pub value: Option<String>,
    /// The value of a secret one.
    pub secret: Option<Secret<String>>,
}

/// An output that cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct OutputError {
    /// Which.
    pub key: String,
    /// Why; never a value.
    pub reason: String,
}

/// Works all outputs out. What holds a secret's value is a secret, whatever the manifest says; a link that is no web
/// address is shown as text.
///
/// # Errors
/// The first template that cannot be filled in.
pub fn collect(
    subject: &Subject<'_>,
    secrets: &BTreeMap<String, Secret<String>>,
    facts: &BTreeMap<String, String>,
) -> Result<Vec<Found>, OutputError> {
    let sealed = Redactor::new(secrets.values().map(|s| s.expose().as_str()));
    let one = |output: &crate::domain::app::Output| {
        let value = subject
            .render_with(&output.value, secrets, facts)
            .map_err(|reason| OutputError { key: output.key.clone(), reason })?;
        let kind = match output.kind {
            _ if sealed.finds(&value) => OutputKind::Secret,
            OutputKind::Url if !is_web(&value) => OutputKind::Text,
            kind => kind,
        };
        let (key, label) = (output.key.clone(), output.label.clone());
        Ok(match kind {
            OutputKind::Secret => {
                Found { key, label, kind, value: None, secret: Some(Secret::new(value)) }
            }
            _ => Found { key, label, kind, value: Some(value), secret: None },
        })
    };
    subject.manifest.outputs.iter().map(one).collect()
}

/// Anything else in a link could run in the operator's browser.
fn is_web(value: &str) -> bool {
    (value.starts_with("http://") || value.starts_with("https://"))
        && !value.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Reads what scripts wrote as `key=value` lines. The guest is not trusted: unknown forms are skipped, counts and lengths
/// are limited; of a key that is written twice the last value counts.
#[must_use]
pub fn facts(bytes: &[u8]) -> BTreeMap<String, String> {
    let bytes = bytes.get(..MOST_FACTS_BYTES).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut facts = BTreeMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let good = key.len() <= 40
            && key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if good && (facts.len() < MOST_FACTS || facts.contains_key(key)) {
            let value: String =
                value.trim().chars().filter(|c| !c.is_control()).take(MOST_FACT).collect();
            facts.insert(key.to_owned(), value);
        }
    }
    facts
}

/// Bytes of the whole file that are read.
pub const MOST_FACTS_BYTES: usize = 64 * 1024;
const MOST_FACTS: usize = 100;
/// Characters of one value.
const MOST_FACT: usize = 4096;

#[cfg(test)]
mod test {
    use super::super::context::SiteNames;
    use super::super::sample;
    use super::*;

    fn secrets() -> BTreeMap<String, Secret<String>> {
        BTreeMap::from([("admin_password".to_owned(), Secret::new("hunter22".to_owned()))])
    }

    #[test]
    fn outputs_are_filled_in_and_secrets_are_kept_apart() {
        let mut app = sample::app();
        app.manifest.outputs[0].value = "http://{{ guest.ip }}:{{ inputs.workers }}/".to_owned();
        let mut sneaky = app.manifest.outputs[1].clone();
        sneaky.kind = OutputKind::Text;
        sneaky.key = "sneaky".to_owned();
        let mut script = app.manifest.outputs[0].clone();
        script.value = "javascript:alert(1)//{{ inputs.title }}".to_owned();
        script.key = "script".to_owned();
        app.manifest.outputs.extend([sneaky, script]);
        let guest = sample::addressed_guest();
        let site = SiteNames { domain: "example.net", url: "http://192.0.2.2:8080" };
        let subject = Subject { manifest: &app.manifest, guest: &guest, site };
        let facts = facts(b"version=4.2\n");
        let found = collect(&subject, &secrets(), &facts).unwrap();
        let show = |f: &Found| {
            let value = f.value.clone().unwrap_or_default();
            let secret = f.secret.as_ref().map(|s| s.expose().clone()).unwrap_or_default();
            format!("{} {:?} {value}{secret}", f.key, f.kind)
        };
        assert_eq!(
            found.iter().map(show).collect::<Vec<_>>(),
            [
                "url Url http://192.0.2.20:2/",
                "login Secret admin / hunter22",
                "version Text 4.2",
                "sneaky Secret admin / hunter22",
                "script Text javascript:alert(1)//home",
            ]
        );
        assert!(!format!("{found:?}").contains("hunter22"));
        let error = collect(&subject, &secrets(), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("version: the template names something"), "{error}");
        assert!(!error.contains("hunter22"));
    }

    #[test]
    fn facts_from_a_guest_are_hostile() {
        let text = b"a=1\nb = 2\nC=3\nno\n=x\nurl=http://x/?a=b \na=2\n\xff=1\nx=\x1b[31mred\n";
        let found = facts(text);
        let all: Vec<String> = found.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(all, ["a:2", "url:http://x/?a=b", "x:[31mred"]);
        let many: String = (0..1000).map(|n| format!("k{n}={}\n", "v".repeat(9000))).collect();
        let found = facts(many.as_bytes());
        assert!(found.len() <= MOST_FACTS && found.values().all(|v| v.len() <= MOST_FACT));
    }
}
