//! What operators type about a host's power, parsed into typed values; pages and API share its words.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

use crate::domain::power::{BootMode, Ipmi, Method, Power, Redfish, WakeOnLan, ipmi_port};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::jobs::{NewPassword, PowerChange};

/// HTTPS.
const REDFISH_PORT: u16 = 443;

/// Power settings as they were typed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(super) struct PowerForm {
    /// `none`, `wake-on-lan`, `redfish`, `ipmi`.
    pub(super) method: String,
    /// Empty: as the server type says; `yes`; `no`.
    pub(super) boot: String,
    pub(super) mac: String,
    pub(super) directed: String,
    /// Address of the controller, with its port when it is not the usual one.
    pub(super) address: String,
    pub(super) user: String,
    pub(super) fingerprint: String,
    pub(super) system: String,
    /// `keep`, `uefi`, `legacy`.
    pub(super) mode: String,
    /// Empty: the stored one stays. Never filled in by us.
    password: String,
    forget_password: Option<String>,
}

impl std::fmt::Debug for PowerForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PowerForm").field("method", &self.method).finish_non_exhaustive()
    }
}

fn refuse(field: &'static str, detail: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field)
}

fn optional<T: FromStr>(field: &'static str, text: &str, hint: &str) -> Result<Option<T>, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let short: String = text.chars().take(60).collect();
    text.parse().map(Some).map_err(|_| refuse(field, format!("'{short}' is not valid."), hint))
}

/// An IP address with or without a port.
fn address(text: &str, port: u16) -> Result<SocketAddr, Refusal> {
    let text = text.trim();
    let text = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    text.parse().map_err(|_| {
        let short: String = text.chars().take(60).collect();
        let hint = "An IP address is expected, as in 192.0.2.60, or with a port: 192.0.2.60:8443.";
        refuse("power_address", format!("'{short}' is not the address of a controller."), hint)
    })
}

impl PowerForm {
    /// Its fields, for those who send JSON.
    pub(super) const FIELDS: [&str; 11] = [
        "method",
        "boot",
        "mac",
        "directed",
        "address",
        "user",
        "fingerprint",
        "system",
        "mode",
        "password",
        "forget_password",
    ];

    /// The form of an existing host.
    pub(super) fn of(power: &Power) -> Self {
        let mode = |mode| match mode {
            BootMode::Keep => "keep",
            BootMode::Uefi => "uefi",
            BootMode::Legacy => "legacy",
        };
        let mut form = Self {
            method: power.method.name().to_owned(),
            boot: match power.boot_on_rebuild {
                None => "",
                Some(true) => "yes",
                Some(false) => "no",
            }
            .to_owned(),
            ..Self::default()
        };
        match &power.method {
            Method::None => {}
            Method::WakeOnLan(wake) => {
                form.mac = wake.mac.map(|m| m.to_string()).unwrap_or_default();
                form.directed = wake.directed.map(|a| a.to_string()).unwrap_or_default();
            }
            Method::Redfish(redfish) => {
                form.address = shown(redfish.address, REDFISH_PORT);
                form.user.clone_from(&redfish.user);
                form.fingerprint = redfish.fingerprint.map(|f| f.to_string()).unwrap_or_default();
                form.system = redfish.system.clone().unwrap_or_default();
                mode(redfish.mode).clone_into(&mut form.mode);
            }
            Method::Ipmi(ipmi) => {
                form.address = shown(SocketAddr::new(ipmi.address, ipmi.port), ipmi_port());
                form.user.clone_from(&ipmi.user);
                mode(ipmi.mode).clone_into(&mut form.mode);
            }
        }
        form
    }

    /// The settings, or what is wrong with them.
    pub(super) fn parse(&self) -> Result<PowerChange, Refusal> {
        let mode = match self.mode.as_str() {
            "" | "keep" => BootMode::Keep,
            "uefi" => BootMode::Uefi,
            "legacy" => BootMode::Legacy,
            _ => {
                return Err(refuse(
                    "power_mode",
                    "This boot mode is not known.",
                    "keep, uefi and legacy are known.",
                ));
            }
        };
        let user = self.user.trim().to_owned();
        let method = match self.method.as_str() {
            "" | "none" => Method::None,
            "wake-on-lan" => Method::WakeOnLan(WakeOnLan {
                mac: optional("power_mac", &self.mac, "A MAC address is expected, or nothing.")?,
                directed: optional(
                    "power_directed",
                    &self.directed,
                    "A broadcast address is expected, as in 198.51.100.255, or nothing.",
                )?,
            }),
            "redfish" => Method::Redfish(Redfish {
                address: address(&self.address, REDFISH_PORT)?,
                user,
                fingerprint: optional(
                    "power_fingerprint",
                    &self.fingerprint,
                    "64 hex digits are expected, with or without colons, or nothing.",
                )?,
                system: Some(self.system.trim().to_owned()).filter(|s| !s.is_empty()),
                mode,
            }),
            "ipmi" => {
                let at = address(&self.address, ipmi_port())?;
                Method::Ipmi(Ipmi { address: at.ip(), port: at.port(), user, mode })
            }
            _ => {
                return Err(refuse(
                    "power_method",
                    "This power method is not known.",
                    "none, wake-on-lan, redfish and ipmi are known.",
                ));
            }
        };
        let boot_on_rebuild = match self.boot.as_str() {
            "" => None,
            "yes" => Some(true),
            "no" => Some(false),
            _ => return Err(refuse("power_boot", "yes, no or nothing is expected.", "")),
        };
        let password = match (self.forget_password.is_some(), self.password.is_empty()) {
            (true, _) => NewPassword::Forget,
            (false, true) => NewPassword::Keep,
            (false, false) => NewPassword::Set(Secret::new(self.password.clone())),
        };
        Ok(PowerChange { power: Power { method, boot_on_rebuild }, password })
    }
}

fn shown(at: SocketAddr, usual: u16) -> String {
    if at.port() == usual { at.ip().to_string() } else { at.to_string() }
}

#[cfg(test)]
mod test {
    use super::*;

    fn form(method: &str) -> PowerForm {
        PowerForm {
            method: method.into(),
            address: "192.0.2.60".into(),
            user: "admin".into(),
            password: "S3cret".into(),
            ..PowerForm::default()
        }
    }

    #[test]
    fn a_form_says_the_same_again_except_for_its_password() {
        for mut typed in [form("none"), form("wake-on-lan"), form("redfish"), form("ipmi")] {
            typed.boot = "yes".into();
            if typed.method == "redfish" {
                typed.address = "https://192.0.2.60:8443/".into();
                typed.fingerprint = "ab".repeat(32);
            }
            let change = typed.parse().unwrap();
            assert!(matches!(change.password, NewPassword::Set(_)));
            let again = PowerForm::of(&change.power);
            assert_eq!(again.password, "");
            let same = again.parse().unwrap();
            assert_eq!(same.power, change.power, "{}", typed.method);
            assert!(matches!(same.password, NewPassword::Keep));
        }
        assert!(!format!("{:?}", form("ipmi")).contains("S3cret"));
    }

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, expected) in [
            ("192.0.2.60", "192.0.2.60:443"),
            ("192.0.2.60:8443", "192.0.2.60:8443"),
            ("https://192.0.2.60/", "192.0.2.60:443"),
            ("2001:db8::60", "[2001:db8::60]:443"),
            ("[2001:db8::60]:8443", "[2001:db8::60]:8443"),
        ] {
            assert_eq!(address(text, 443).unwrap().to_string(), expected);
        }
        for bad in ["", "bmc.example", "192.0.2.60:x", "http://192.0.2.60"] {
            assert_eq!(address(bad, 443).unwrap_err().field, Some("power_address"), "{bad}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_beside_its_field() {
        type Spoil = fn(&mut PowerForm);
        let table: [(&str, Spoil); 5] = [
            ("power_method", |f| f.method = "magic".into()),
            ("power_mode", |f| f.mode = "fast".into()),
            ("power_boot", |f| f.boot = "perhaps".into()),
            ("power_fingerprint", |f| f.fingerprint = "ab".into()),
            ("power_address", |f| f.address = "nowhere".into()),
        ];
        for (field, spoil) in table {
            let mut bad = form("redfish");
            spoil(&mut bad);
            assert_eq!(bad.parse().unwrap_err().field, Some(field));
        }
    }
}
