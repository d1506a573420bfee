//! How a machine is switched on and off from afar. Passwords are not here: they are sealed beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::mac::Mac;

/// A host's power settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Power {
    /// How it is switched.
    pub method: Method,
    /// Whether a rebuild boots the machine by itself; `None`: as its server type says.
    pub boot_on_rebuild: Option<bool>,
}

/// What switches a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "kebab-case")]
#[schemars(rename = "PowerMethod")]
pub enum Method {
    /// A hand.
    #[default]
    None,
    /// A magic packet to its NIC: switches on, and nothing else.
    WakeOnLan(WakeOnLan),
    /// Its management controller, over DMTF Redfish.
    Redfish(Redfish),
    /// Its management controller, over IPMI 2.0.
    Ipmi(Ipmi),
}

/// Where magic packets go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WakeOnLan {
    /// The NIC that listens; `None`: all addresses of the host.
    pub mac: Option<Mac>,
    /// Broadcast address of another segment, when the machine is not on the appliance's own.
    pub directed: Option<Ipv4Addr>,
}

/// A management controller that speaks Redfish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redfish {
    /// Address and port; always HTTPS.
    pub address: SocketAddr,
    /// User name.
    pub user: String,
    /// The certificate that is accepted; `None`: none yet, and nothing secret is sent.
    #[serde(default)]
    pub fingerprint: Option<Fingerprint>,
    /// Id of the system, when the controller has several and none has the host's UUID.
    #[serde(default)]
    pub system: Option<String>,
    /// How it is to boot from the network.
    #[serde(default)]
    pub mode: BootMode,
}

/// A management controller that speaks IPMI over LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipmi {
    /// Address.
    pub address: IpAddr,
    /// UDP port.
    #[serde(default = "ipmi_port")]
    pub port: u16,
    /// User name.
    pub user: String,
    /// How it is to boot from the network.
    #[serde(default)]
    pub mode: BootMode,
}

/// RMCP's port (IPMI 2.0 section 13.1.2).
#[must_use]
pub fn ipmi_port() -> u16 {
    623
}

/// The firmware's mode for the one boot from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// Redfish: as it is. IPMI, which has to say one: UEFI, unless the machine was seen to boot by BIOS.
    #[default]
    Keep,
    /// UEFI.
    Uefi,
    /// Legacy BIOS.
    Legacy,
}

/// What a machine can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Switch on.
    On,
    /// Ask its system to shut down.
    Shutdown,
    /// Cut the power.
    Off,
    /// Off and on again, at once.
    Cycle,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::On, Self::Shutdown, Self::Off, Self::Cycle];

    /// The published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Shutdown => "shutdown",
            Self::Off => "off",
            Self::Cycle => "cycle",
        }
    }
}

impl FromStr for Action {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(())
    }
}

/// Whether a machine has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PowerState {
    /// It runs.
    On,
    /// It does not.
    Off,
    /// On its way to "on".
    PoweringOn,
    /// On its way to "off".
    PoweringOff,
    /// Nobody can tell.
    Unknown,
}

impl PowerState {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::PoweringOn => "powering on",
            Self::PoweringOff => "powering off",
            Self::Unknown => "unknown",
        }
    }
}

impl Method {
    /// The stored name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WakeOnLan(_) => "wake-on-lan",
            Self::Redfish(_) => "redfish",
            Self::Ipmi(_) => "ipmi",
        }
    }

    /// For people, in a sentence.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::None => "by hand",
            Self::WakeOnLan(_) => "Wake-on-LAN",
            Self::Redfish(_) => "Redfish",
            Self::Ipmi(_) => "IPMI",
        }
    }

    /// Whom the sealed password is for: it is used with exactly this controller and user, and nobody else.
    #[must_use]
    pub fn account(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::WakeOnLan(_) => Some("wake-on-lan".to_owned()),
            Self::Redfish(r) => Some(format!("redfish {} {}", r.address, r.user)),
            Self::Ipmi(i) => Some(format!("ipmi {} {} {}", i.address, i.port, i.user)),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn settings_read_back_what_they_write() {
        let fingerprint = Fingerprint([0xab; 32]);
        let methods = [
            Method::None,
            Method::WakeOnLan(WakeOnLan {
                mac: Some("52:54:00:00:00:01".parse().unwrap()),
                directed: Some(Ipv4Addr::new(198, 51, 100, 255)),
            }),
            Method::Redfish(Redfish {
                address: "192.0.2.60:443".parse().unwrap(),
                user: "admin".into(),
                fingerprint: Some(fingerprint),
                system: None,
                mode: BootMode::Uefi,
            }),
            Method::Ipmi(Ipmi {
                address: "192.0.2.61".parse().unwrap(),
                port: 623,
                user: "admin".into(),
                mode: BootMode::Keep,
            }),
        ];
        for method in methods {
            let power = Power { method, boot_on_rebuild: Some(true) };
            let text = serde_json::to_string(&power).unwrap();
            assert_eq!(serde_json::from_str::<Power>(&text).unwrap(), power, "{text}");
        }
        assert_eq!(serde_json::from_str::<Power>("{}").unwrap(), Power::default());
    }

    #[test]
    fn another_controller_or_user_is_another_account() {
        let one = Ipmi {
            address: "192.0.2.61".parse().unwrap(),
            port: 623,
            user: "admin".into(),
            mode: BootMode::Keep,
        };
        let account = Method::Ipmi(one.clone()).account();
        let others = [
            Ipmi { address: "192.0.2.62".parse().unwrap(), ..one.clone() },
            Ipmi { port: 624, ..one.clone() },
            Ipmi { user: "root".into(), ..one.clone() },
        ];
        for other in others {
            assert_ne!(Method::Ipmi(other).account(), account);
        }
        assert_eq!(Method::Ipmi(Ipmi { mode: BootMode::Legacy, ..one }).account(), account);
    }
}
