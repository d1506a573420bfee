//! What each MAC may have, kept in memory beside the database for the DHCP path.

use std::collections::{HashMap, HashSet};
use std::sync::RwLock;

use super::boot_log::BootLogReads as _;
use super::error::StoreError;
use super::host::HostReads as _;
use super::read::{Order, Read, records};
use super::schema::Table;
use super::sighting::SightingReads as _;
use crate::domain::boot::{BootDirectory, BootProfile, Standing};
use crate::domain::host::Host;
use crate::domain::mac::Mac;
use crate::domain::sighting::Sighting;

/// MACs whose standing may have changed in a write.
pub(super) type Touched = HashSet<Mac>;

/// The standing of every MAC that is not simply unknown.
#[derive(Debug, Default)]
pub(super) struct Directory(RwLock<HashMap<Mac, Standing>>);

/// `learned` shapes what an armed host is offered; it arms nobody.
fn standing_of(host: &Host, learned: BootProfile) -> Standing {
    if host.state.is_armed() {
        let profile = host.boot.or(learned);
        Standing::Armed { id: host.id, host: host.hostname.clone(), profile }
    } else {
        Standing::Idle { host: host.hostname.clone() }
    }
}

fn learned(from: &impl Read, mac: Mac) -> Result<BootProfile, StoreError> {
    Ok(from.boot_lesson(mac)?.map(|lesson| lesson.profile()).unwrap_or_default())
}

/// `None`: a machine about which nothing is to be remembered.
fn standing_of_sighting(
    from: &impl Read,
    sighting: &Sighting,
) -> Result<Option<Standing>, StoreError> {
    if sighting.ignored {
        return Ok(Some(Standing::Ignored));
    }
    let profile = learned(from, sighting.mac)?;
    Ok((profile != BootProfile::default()).then_some(Standing::Sighted { profile }))
}

impl Directory {
    /// Takes over the sightings and the `hosts` that were read at the start.
    pub(super) fn load(&self, from: &impl Read, hosts: &[Host]) -> Result<(), StoreError> {
        let mut map = HashMap::new();
        for sighting in
            records::<Sighting>(from, Table::Sightings, &[], Order::Ascending, usize::MAX)?
        {
            if let Some(standing) = standing_of_sighting(from, &sighting)? {
                map.insert(sighting.mac, standing);
            }
        }
        for host in hosts {
            for mac in &host.macs {
                map.insert(*mac, standing_of(host, learned(from, *mac)?));
            }
        }
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = map;
        Ok(())
    }

    /// Works out the new standings of touched MACs. Called inside the transaction that changed them.
    pub(super) fn changes(
        from: &impl Read,
        touched: &Touched,
    ) -> Result<Vec<(Mac, Standing)>, StoreError> {
        touched
            .iter()
            .map(|mac| {
                let standing = match from.host_by_mac(*mac)? {
                    Some(host) => standing_of(&host, learned(from, *mac)?),
                    None => match from.sighting(*mac)? {
                        Some(sighting) => {
                            standing_of_sighting(from, &sighting)?.unwrap_or(Standing::Unknown)
                        }
                        None => Standing::Unknown,
                    },
                };
                Ok((*mac, standing))
            })
            .collect()
    }

    /// Publishes changes that are durable now.
    pub(super) fn publish(&self, changes: Vec<(Mac, Standing)>) {
        if changes.is_empty() {
            return;
        }
        let mut map = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (mac, standing) in changes {
            match standing {
                Standing::Unknown => map.remove(&mac),
                known => map.insert(mac, known),
            };
        }
    }
}

impl BootDirectory for Directory {
    fn standing(&self, mac: Mac) -> Standing {
        let map = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.get(&mac).cloned().unwrap_or(Standing::Unknown)
    }
}
