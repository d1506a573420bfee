//! What came of playing a machine: its timeline, and how it ended.

use std::net::Ipv4Addr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Severity;
use super::lan::seconds;
use crate::domain::mac::Mac;
use crate::plan::firmware::Choice;
use crate::proto::dhcp::probe::{Asker, HeardOffer};

/// Which firmware is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PlayedFirmware")]
pub enum Firmware {
    /// A BIOS ROM.
    Bios,
    /// UEFI x64 in PXE mode.
    Uefi,
    /// UEFI x64 in HTTP mode.
    Http,
}

impl Firmware {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bios, Self::Uefi, Self::Http];

    /// Its name, as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Http => "http",
        }
    }

    /// In words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Bios => "BIOS ROM",
            Self::Uefi => "UEFI firmware",
            Self::Http => "UEFI firmware in HTTP mode",
        }
    }

    /// What its DISCOVER says.
    #[must_use]
    pub fn asker(self) -> Asker {
        match self {
            Self::Bios => Asker::Bios,
            Self::Uefi => Asker::Uefi,
            Self::Http => Asker::UefiHttp,
        }
    }
}

impl std::str::FromStr for Firmware {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|firmware| firmware.name() == text);
        known.ok_or_else(|| format!("'{text}' is not played; bios, uefi and http are"))
    }
}

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The machine that is played.
    Machine,
    /// Somebody on the network, Ironhatch among them.
    Network,
    /// What the daemon notes about the machine.
    Daemon,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Told<'static>", rename = "PlayedLine")]
pub struct Line {
    /// Time from the first packet.
    pub at: Duration,
    /// Who.
    pub who: Speaker,
    /// What, in plain words.
    pub text: String,
}

/// A line as it is told.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Told<'a> {
    /// Milliseconds from the first packet.
    at_ms: u64,
    who: Speaker,
    /// What happened, in plain words.
    text: &'a str,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at_ms = u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX);
        Told { at_ms, who: self.who, text: &self.text }.serialize(serializer)
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How bad it is.
    pub severity: Severity,
    /// In plain words.
    pub verdict: String,
    /// What to do; empty when nothing is to be done.
    pub fix: String,
}

impl Ending {
    /// The machine gets no further.
    #[must_use]
    pub fn stuck(verdict: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, verdict: verdict.into(), fix: fix.into() }
    }
}

/// A played boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// What was played.
    pub firmware: Firmware,
    /// On which interface.
    pub interface: String,
    /// The made-up address.
    pub mac: Mac,
    /// In order of time.
    pub lines: Vec<Line>,
    /// How it ended.
    pub ending: Ending,
}

/// One offer as a line.
#[must_use]
pub fn describe(offer: &HeardOffer, ours: bool) -> String {
    let who = if ours { "Ironhatch".to_owned() } else { offer.server().to_string() };
    let mut parts = Vec::new();
    if offer.lends() {
        parts.push(format!("offers the address {}", offer.address));
    }
    if offer.claims_pxe() {
        parts.push("says PXEClient".to_owned());
    } else if offer.vendor_class.starts_with(b"HTTPClient") {
        parts.push("says HTTPClient".to_owned());
    }
    if !offer.boot_file.is_empty() {
        parts.push(format!("names {}", offer.boot_file));
    }
    if !offer.vendor_tags.is_empty() {
        parts.push("sends option 43".to_owned());
    }
    if parts.is_empty() {
        parts.push("offers nothing".to_owned());
    }
    format!("{who} {}", parts.join(", "))
}

/// What the machine does next, as a line; and where a choice ends the story, its end.
#[must_use]
pub fn follow(choice: &Choice, us: Ipv4Addr, waited: Duration) -> (String, Option<Ending>) {
    let elsewhere = |server: Ipv4Addr| {
        let verdict = format!("The machine follows {server} and not Ironhatch.");
        let fix =
            "Run `ironhatch doctor`: it names what that server sends and how to switch it off.";
        (server != us).then(|| Ending::stuck(verdict, fix))
    };
    match choice {
        Choice::NoAddress => {
            let verdict = format!("No DHCP server offered an address within {}.", seconds(waited));
            let fix =
                "Look at the DHCP server of this segment, and at a switch with DHCP snooping.";
            ("gives up: nobody offers an address".to_owned(), Some(Ending::stuck(verdict, fix)))
        }
        Choice::NoBootData => {
            let verdict = "Nobody told the machine what to boot: Ironhatch's offer did not come.";
            let fix = "Open UDP 67 on the boot interface; `ironhatch doctor` says whether the daemon heard the question.";
            (
                "gives up: an address, and nothing to boot".to_owned(),
                Some(Ending::stuck(verdict, fix)),
            )
        }
        Choice::Asks(server) => {
            (format!("takes an address and asks {server} on UDP 4011"), elsewhere(*server))
        }
        Choice::Loads(server, file) => {
            (format!("takes an address and loads {file} from {server} by TFTP"), elsewhere(*server))
        }
        Choice::Fetches(url) => (format!("takes an address and loads {url}"), None),
        Choice::Searches(server) => {
            let verdict =
                format!("{server} makes the machine show a menu or look for boot servers.");
            let fix = "Switch that boot server off for this segment.";
            (format!("follows the menu of {server}"), Some(Ending::stuck(verdict, fix)))
        }
        Choice::NoFile(server) => {
            let verdict =
                format!("The machine follows {server}, which names no boot file (PXE-E53).");
            let fix = "Switch that boot server off for this segment.";
            (format!("gives up: {server} names no file"), Some(Ending::stuck(verdict, fix)))
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_the_way_to_us_goes_on() {
        let us = Ipv4Addr::new(192, 0, 2, 10);
        let other = Ipv4Addr::new(192, 0, 2, 3);
        let goes_on = |choice: Choice| follow(&choice, us, Duration::from_secs(4)).1.is_none();
        assert!(goes_on(Choice::Asks(us)));
        assert!(goes_on(Choice::Loads(us, "snponly.efi".to_owned())));
        assert!(goes_on(Choice::Fetches("http://192.0.2.10/x.efi".to_owned())));
        for choice in [
            Choice::NoAddress,
            Choice::NoBootData,
            Choice::Asks(other),
            Choice::Loads(other, "x".to_owned()),
            Choice::Searches(us),
            Choice::NoFile(us),
        ] {
            let (line, ending) = follow(&choice, us, Duration::from_secs(4));
            let ending = ending.unwrap_or_else(|| panic!("{choice:?} goes on"));
            assert_eq!(ending.severity, Severity::Error);
            assert!(!line.is_empty() && !ending.fix.is_empty());
        }
    }

    #[test]
    fn names_are_read_as_they_are_typed() {
        for firmware in Firmware::ALL {
            assert_eq!(firmware.name().parse(), Ok(firmware));
        }
        assert!("arm".parse::<Firmware>().unwrap_err().contains("bios, uefi and http"));
    }
}
