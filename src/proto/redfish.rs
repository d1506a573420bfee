//! Documents of DMTF Redfish (DSP0266, schema bundle DSP8010), as far as switching a machine needs them.
//!
//! A controller is not trusted: links that would lead to another machine are no links, texts are cut and cleaned.

use serde_json::{Value, json};

use crate::domain::identity::DmiUuid;
use crate::domain::power::{Action, BootMode, PowerState};

/// The service root; needs no login (DSP0266 section 6.2).
pub const ROOT: &str = "/redfish/v1/";
/// Longest path that is followed.
const MOST_LINK: usize = 300;
/// Systems of one controller that are looked at; a chassis of blades has 16.
pub const MOST_SYSTEMS: usize = 64;

/// A document does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the controller's answer has no usable {0}")]
pub struct Missing(pub &'static str);

/// A path on the same controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// Takes a path, or the path of an absolute address: the host that it names is never followed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.get(rest.find('/')?..)?,
            None => text,
        };
        let legal = path.starts_with('/')
            && !path.starts_with("//")
            && path.len() <= MOST_LINK
            && path.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&b))
            && !path.split('/').any(|part| part == "..");
        legal.then(|| Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: how people call a system.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

/// What the service root leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The collection of systems.
    pub systems: Link,
    /// Where a session is made; `None`: each request carries the password.
    pub sessions: Option<Link>,
}

/// Reads the service root.
///
/// # Errors
/// [`Missing`] when it names no systems.
pub fn root(document: &Value) -> Result<Root, Missing> {
    let systems = link(document.get("Systems")).ok_or(Missing("list of systems"))?;
    let sessions = document.get("Links").and_then(|l| link(l.get("Sessions")));
    Ok(Root { systems, sessions })
}

/// The members of a collection, at most [`MOST_SYSTEMS`].
#[must_use]
pub fn members(document: &Value) -> Vec<Link> {
    let all = document.get("Members").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|m| link(Some(m))).take(MOST_SYSTEMS).collect()
}

fn link(at: Option<&Value>) -> Option<Link> {
    at?.get("@odata.id").and_then(Value::as_str).and_then(Link::parse)
}

/// A system as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Whether it runs.
    pub state: PowerState,
    /// Its SMBIOS UUID.
    pub uuid: Option<DmiUuid>,
    /// Where it is switched.
    pub reset: Option<Link>,
    /// Kinds of switching that it takes; empty: it does not say.
    pub resets: Vec<String>,
    /// What it can be told to boot from once; empty: it does not say.
    pub targets: Vec<String>,
    /// Whether a boot mode can be set with it.
    pub has_mode: bool,
    /// Version of this document, for `If-Match`.
    pub etag: Option<String>,
    /// Vendor and model, for people.
    pub name: String,
}

/// Reads a system.
#[must_use]
pub fn system(document: &Value) -> System {
    let state = match text(document.get("PowerState")) {
        Some("On") => PowerState::On,
        Some("Off") => PowerState::Off,
        Some("PoweringOn") => PowerState::PoweringOn,
        Some("PoweringOff") => PowerState::PoweringOff,
        _ => PowerState::Unknown,
    };
    let boot = document.get("Boot");
    let action = document.get("Actions").and_then(|a| a.get("#ComputerSystem.Reset"));
    let words = ["Manufacturer", "Model"].map(|key| text(document.get(key)).map(clean));
    System {
        state,
        uuid: text(document.get("UUID")).and_then(|u| u.parse().ok()),
        reset: action.and_then(|a| text(a.get("target"))).and_then(Link::parse),
        resets: allowed(action, "ResetType@Redfish.AllowableValues"),
        targets: allowed(boot, "BootSourceOverrideTarget@Redfish.AllowableValues"),
        has_mode: boot.is_some_and(|b| b.get("BootSourceOverrideMode").is_some()),
        etag: text(document.get("@odata.etag")).and_then(etag),
        name: words.into_iter().flatten().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "),
    }
}

/// A version that can be sent back in a header.
#[must_use]
pub fn etag(text: &str) -> Option<String> {
    let legal =
        (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    legal.then(|| text.to_owned())
}

fn allowed(at: Option<&Value>, key: &str) -> Vec<String> {
    let values = at.and_then(|a| a.get(key)).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).take(40).map(clean).collect()
}

fn text(at: Option<&Value>) -> Option<&str> {
    at.and_then(Value::as_str)
}

fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The change that makes the next boot, and only that, a network boot.
///
/// # Errors
/// The controller cannot do that.
pub fn boot_once(system: &System, mode: BootMode) -> Result<Value, String> {
    if !system.targets.is_empty() && !system.targets.iter().any(|t| t == "Pxe") {
        return Err(format!(
            "it can boot once from {} only, not from the network",
            system.targets.join(", ")
        ));
    }
    let mut boot =
        json!({ "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" });
    let wanted = match mode {
        BootMode::Keep => None,
        BootMode::Uefi => Some("UEFI"),
        BootMode::Legacy => Some("Legacy"),
    };
    if let Some(wanted) = wanted {
        if !system.has_mode {
            return Err("it does not let the boot mode be chosen; leave it as it is".to_owned());
        }
        boot["BootSourceOverrideMode"] = json!(wanted);
    }
    Ok(json!({ "Boot": boot }))
}

/// The kind of switching that comes closest to what is asked.
///
/// # Errors
/// The controller has none for it.
pub fn reset_type(system: &System, action: Action) -> Result<&'static str, String> {
    let wanted: &[&'static str] = match (action, system.state) {
        (Action::On, _) => &["On", "ForceOn"],
        (Action::Shutdown, _) => &["GracefulShutdown"],
        (Action::Off, _) => &["ForceOff", "PushPowerButton"],
        // A machine that is off has nothing to cycle: controllers refuse it.
        (Action::Cycle, PowerState::Off) => &["On", "ForceOn"],
        // A cold start reads the firmware's settings again; where there is none, a restart does too.
        (Action::Cycle, _) => &["PowerCycle", "ForceRestart"],
    };
    if system.resets.is_empty() {
        // The most widely supported of them: `ForceRestart` is older than `PowerCycle` (schema 1.0 and 1.5).
        let common = if wanted.contains(&"ForceRestart") {
            "ForceRestart"
        } else {
            wanted.first().copied().unwrap_or("On")
        };
        return Ok(common);
    }
    wanted.iter().find(|kind| system.resets.iter().any(|r| r == *kind)).copied().ok_or_else(|| {
        format!("it takes {} only, nothing for \"{}\"", system.resets.join(", "), action.as_str())
    })
}

/// What a refusal says, in one printable line of at most 200 characters (DSP0266 section 8.6).
#[must_use]
pub fn complaint(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let Some(error) = document.get("error") else { return String::new() };
    let extended = error.get("@Message.ExtendedInfo").and_then(Value::as_array);
    let first = extended.and_then(|all| all.iter().find_map(|m| text(m.get("Message"))));
    let said = first.or_else(|| text(error.get("message"))).unwrap_or_default();
    said.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Value {
        json!({
            "PowerState": "On", "UUID": "4c4c4544-0042-3010-8054-b5c04f4e5932",
            "Manufacturer": "Contoso\n", "Model": "3500",
            "@odata.etag": "W/\"73\"",
            "Boot": { "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd"] },
            "Actions": { "#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"] } }
        })
    }

    #[test]
    fn a_system_is_read() {
        let system = system(&sample());
        assert_eq!(system.state, PowerState::On);
        assert_eq!(system.name, "Contoso 3500");
        assert_eq!(system.etag.as_deref(), Some("W/\"73\""));
        assert_eq!(system.uuid, "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok());
        assert_eq!(
            system.reset.unwrap().as_str(),
            "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
        );
    }

    #[test]
    fn links_never_lead_to_another_machine() {
        let table = [
            ("/redfish/v1/Systems", Some("/redfish/v1/Systems")),
            (
                "https://198.51.100.66/redfish/v1/SessionService/Sessions/7",
                Some("/redfish/v1/SessionService/Sessions/7"),
            ),
            ("//198.51.100.66/redfish", None),
            ("redfish/v1", None),
            ("https://198.51.100.66", None),
            ("/a b", None),
            ("/a\r\nHost: x", None),
            ("/redfish/../secret", None),
        ];
        for (text, expected) in table {
            assert_eq!(Link::parse(text).as_ref().map(Link::as_str), expected, "{text}");
        }
        assert_eq!(Link::parse("/redfish/v1/Systems/437XR/").unwrap().name(), "437XR");
    }

    #[test]
    fn the_root_leads_to_systems_and_perhaps_to_sessions() {
        let systems = json!({ "@odata.id": "/redfish/v1/Systems" });
        let plain = root(&json!({ "Systems": systems })).unwrap();
        assert_eq!((plain.systems.name(), plain.sessions), ("Systems", None));
        let with = json!({ "Systems": systems,
            "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } } });
        assert!(root(&with).unwrap().sessions.is_some());
        assert_eq!(root(&json!([])), Err(Missing("list of systems")));
        let list = json!({ "Members": [{ "@odata.id": "/a/1" }, 7, { "@odata.id": "no" }] });
        assert_eq!(members(&list).len(), 1);
    }

    #[test]
    fn the_network_is_booted_once_and_the_mode_stays_unless_it_is_asked_for() {
        let mut system = system(&sample());
        let kept = boot_once(&system, BootMode::Keep).unwrap();
        assert_eq!(
            kept,
            json!({ "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" } })
        );
        let uefi = boot_once(&system, BootMode::Uefi).unwrap();
        assert_eq!(uefi["Boot"]["BootSourceOverrideMode"], "UEFI");
        system.has_mode = false;
        assert!(boot_once(&system, BootMode::Legacy).is_err());
        system.targets = vec!["Hdd".to_owned()];
        assert!(boot_once(&system, BootMode::Keep).unwrap_err().contains("Hdd"));
        system.targets.clear();
        assert!(boot_once(&system, BootMode::Keep).is_ok());
    }

    #[test]
    fn the_closest_kind_of_switching_is_taken() {
        let mut system = system(&sample());
        let table = [
            (Action::On, PowerState::Off, Ok("On")),
            (Action::Shutdown, PowerState::On, Ok("GracefulShutdown")),
            (Action::Off, PowerState::On, Ok("ForceOff")),
            (Action::Cycle, PowerState::On, Ok("ForceRestart")),
            (Action::Cycle, PowerState::Off, Ok("On")),
        ];
        for (action, state, expected) in table {
            system.state = state;
            assert_eq!(reset_type(&system, action), expected, "{action:?}");
        }
        system.state = PowerState::On;
        system.resets.push("PowerCycle".to_owned());
        assert_eq!(reset_type(&system, Action::Cycle), Ok("PowerCycle"));
        system.resets = vec!["Nmi".to_owned()];
        assert!(reset_type(&system, Action::Off).is_err());
        system.resets.clear();
        assert_eq!(reset_type(&system, Action::Cycle), Ok("ForceRestart"));
    }

    #[test]
    fn a_complaint_is_found_where_controllers_put_it() {
        let body = br#"{"error":{"message":"See below","@Message.ExtendedInfo":[{"Message":"Not while POST runs.\n"}]}}"#;
        assert_eq!(complaint(body), "Not while POST runs.");
        assert_eq!(complaint(br#"{"error":{"message":"Busy"}}"#), "Busy");
        assert_eq!(complaint(b"<html>"), "");
    }

    proptest! {
        #[test]
        fn no_document_makes_the_readers_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = complaint(&body);
            if let Ok(document) = serde_json::from_slice::<Value>(&body) {
                let _ = root(&document);
                let _ = members(&document);
                let _ = system(&document);
            }
        }

        /// Every value of a system replaced by another kind of value.
        #[test]
        fn damaged_documents_are_read_as_far_as_they_go(at in 0usize..8, with in 0usize..5) {
            let mut document = sample();
            let junk = [json!(null), json!(7), json!([1, {}]), json!({ "@odata.id": 1 }), json!("\u{0}\r\n")];
            let key = document.as_object().unwrap().keys().nth(at % 7).unwrap().clone();
            document[key.as_str()] = junk[with].clone();
            let read = system(&document);
            let _ = boot_once(&read, BootMode::Uefi);
            for action in Action::ALL {
                let _ = reset_type(&read, action);
            }
            prop_assert!(!read.name.contains('\n'));
        }

        #[test]
        fn a_link_is_a_plain_path(text in any::<String>()) {
            if let Some(link) = Link::parse(&text) {
                prop_assert!(link.as_str().starts_with('/') && !link.as_str().starts_with("//"));
                prop_assert!(!link.as_str().contains(char::is_whitespace));
            }
        }
    }
}
