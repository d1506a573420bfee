//! A machine that was heard on the network but is not registered.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::inventory::Inventory;
use super::mac::Mac;
use super::time::Timestamp;

/// One unregistered machine, by the MAC it booted from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The address it booted from.
    pub mac: Mac,
    /// What it told about itself.
    pub inventory: Inventory,
    /// The architecture in words, from DHCP.
    pub architecture: Option<String>,
    /// Last address seen.
    pub address: Option<Ipv4Addr>,
    /// First heard.
    pub first_seen: Timestamp,
    /// Last heard.
    pub last_seen: Timestamp,
    /// How often it was heard, retries included.
    pub times_seen: u64,
    /// The operator does not want to see it: it is met with silence.
    pub ignored: bool,
    /// An operator deleted the host that it was: no rule registers it again, only an operator does.
    #[serde(default)]
    pub by_hand: bool,
}

impl Sighting {
    /// A machine that is heard for the first time; nothing is counted yet.
    #[must_use]
    pub fn first_heard(mac: Mac, now: Timestamp) -> Self {
        Self {
            mac,
            inventory: Inventory::default(),
            architecture: None,
            address: None,
            first_seen: now,
            last_seen: now,
            times_seen: 0,
            ignored: false,
            by_hand: false,
        }
    }
}
