//! What `ipmitool` is told and what it prints. The words are those of 1.8.18 and 1.8.19 in the C locale.

use crate::domain::power::{Action, PowerState};

/// What the program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Does the machine run?
    State,
    /// Boot from the network, at the next boot only.
    BootOnce {
        /// By UEFI; otherwise by BIOS.
        efi: bool,
    },
    /// Switch it.
    Switch(Action),
}

impl Ask {
    /// Its words of the command line.
    #[must_use]
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::State => &["chassis", "power", "status"],
            // Without `persistent` the flag is valid for one boot (IPMI 2.0 table 28-14, boot flags, data 1 bit 6).
            Self::BootOnce { efi: true } => &["chassis", "bootdev", "pxe", "options=efiboot"],
            Self::BootOnce { efi: false } => &["chassis", "bootdev", "pxe"],
            Self::Switch(Action::On) => &["chassis", "power", "on"],
            Self::Switch(Action::Shutdown) => &["chassis", "power", "soft"],
            Self::Switch(Action::Off) => &["chassis", "power", "off"],
            Self::Switch(Action::Cycle) => &["chassis", "power", "cycle"],
        }
    }
}

/// The answer to [`Ask::State`].
#[must_use]
pub fn state(printed: &str) -> PowerState {
    let said = printed.lines().find_map(|line| line.trim().strip_prefix("Chassis Power is "));
    match said.map(str::trim) {
        Some("on") => PowerState::On,
        Some("off") => PowerState::Off,
        _ => PowerState::Unknown,
    }
}

/// Why it did not work, as far as its words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers at this address, or the password is wrong: the program says the same for both.
    NoSession,
    /// User or password are wrong.
    Credentials,
    /// The user may not do this.
    Privilege,
    /// The controller does not take the command.
    Refused,
}

/// Cipher suites in the order in which they are tried (IPMI 2.0 table 22-20): SHA-256, which controllers since about 2015
/// have, then SHA-1, which all have. Left to itself the program asks which there are, and waits ten seconds for those that
/// do not know the question.
pub const SUITES: [&str; 2] = ["17", "3"];

/// Whether a failure is that the controller does not have the suite, and not that the login is wrong.
#[must_use]
pub fn is_unknown_suite(printed: &str) -> bool {
    printed.contains("Error in open session response message")
}

/// Reads a failure's words.
#[must_use]
pub fn trouble(printed: &str) -> Trouble {
    let has = |words: &[&str]| words.iter().any(|word| printed.contains(word));
    if has(&["RAKP 2 HMAC is invalid", "unauthorized name", "password is incorrect", "HMAC error"])
    {
        Trouble::Credentials
    } else if has(&[
        "insufficient privilege",
        "Insufficient privilege",
        "Set Session Privilege Level",
    ]) {
        Trouble::Privilege
    } else if has(&["Unable to establish"]) {
        Trouble::NoSession
    } else {
        Trouble::Refused
    }
}

/// Its complaint in one printable line of at most 200 characters, without what every run says.
#[must_use]
pub fn complaint(printed: &str) -> String {
    let mut text = String::new();
    for line in printed.lines().map(str::trim) {
        // Said of every controller that does not know the question, also when all went well.
        let noise =
            ["Unable to Get Channel Cipher Suites", "Get HPM.x Capabilities request failed"];
        if line.is_empty() || noise.iter().any(|said| line.starts_with(said)) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.extend(line.chars().filter(|c| !c.is_control()));
    }
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_exact_sentence_tells_the_state() {
        let table = [
            ("Chassis Power is on\n", PowerState::On),
            ("Unable to Get Channel Cipher Suites\nChassis Power is off\n", PowerState::Off),
            ("Chassis Power is on fire\n", PowerState::Unknown),
            ("Error: Chassis Power is on\n", PowerState::Unknown),
            ("", PowerState::Unknown),
        ];
        for (printed, expected) in table {
            assert_eq!(state(printed), expected, "{printed}");
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let table = [
            ("Error: Unable to establish IPMI v2 / RMCP+ session\n", Trouble::NoSession),
            (
                "RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n",
                Trouble::Credentials,
            ),
            ("RAKP 2 message indicates an error : unauthorized name\n", Trouble::Credentials),
            (
                "Set Session Privilege Level to ADMINISTRATOR failed\nError: Unable to establish IPMI v2 / RMCP+ session\n",
                Trouble::Privilege,
            ),
            (
                "Set Chassis Power Control to Up/On failed: Invalid data field in request\n",
                Trouble::Refused,
            ),
        ];
        for (printed, expected) in table {
            assert_eq!(trouble(printed), expected, "{printed}");
        }
    }

    #[test]
    fn only_an_unknown_suite_is_a_reason_to_try_the_older_one() {
        assert!(is_unknown_suite(
            "Error in open session response message : invalid authentication algorithm\n\n\
             Error: Unable to establish IPMI v2 / RMCP+ session\n"
        ));
        for other in
            ["RAKP 2 HMAC is invalid\n", "Error: Unable to establish IPMI v2 / RMCP+ session\n"]
        {
            assert!(!is_unknown_suite(other), "{other}");
        }
    }

    #[test]
    fn a_complaint_is_one_line() {
        let said = complaint("Unable to Get Channel Cipher Suites\nfirst\u{1b}[2J\n\n second \n");
        assert_eq!(said, "first[2J; second");
    }

    proptest! {
        #[test]
        fn no_output_makes_the_readers_panic(printed in any::<String>()) {
            let _ = state(&printed);
            let _ = trouble(&printed);
            let said = complaint(&printed);
            prop_assert!(said.chars().count() <= 201 && !said.chars().any(char::is_control));
        }
    }
}
