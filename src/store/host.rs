//! Hosts and their indexes by MAC and by name.

use super::error::StoreError;
use super::event::NewEvent;
use super::read::{Order, Read, end_of, record, records};
use super::schema::{Table, host_key, readable};
use super::tx::Tx;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::{Denied, Failure, Host, HostEvent, HostState, Transition, transition};
use crate::domain::id::{HostId, Hostname};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};

/// A host cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum HostWriteError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another host has this name.
    #[error("the name '{0}' is taken by another host")]
    NameTaken(Hostname),
    /// Another host has this address.
    #[error("the MAC {mac} already belongs to the host '{owner}'")]
    MacTaken {
        /// The address.
        mac: Mac,
        /// Who has it.
        owner: Hostname,
    },
}

/// Typed reads of hosts.
pub trait HostReads: Read {
    /// One host.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn host(&self, id: HostId) -> Result<Option<Host>, StoreError> {
        record(self, Table::Hosts, &host_key(id))
    }

    /// The host with this MAC.
    ///
    /// # Errors
    /// As above.
    fn host_by_mac(&self, mac: Mac) -> Result<Option<Host>, StoreError> {
        by_index(self, Table::HostByMac, &mac.0)
    }

    /// The host with this name.
    ///
    /// # Errors
    /// As above.
    fn host_by_name(&self, name: &Hostname) -> Result<Option<Host>, StoreError> {
        by_index(self, Table::HostByName, name.as_str().as_bytes())
    }

    /// All hosts, by name.
    ///
    /// # Errors
    /// As above.
    fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        let mut hosts: Vec<Host> = records(self, Table::Hosts, &[], Order::Ascending, usize::MAX)?;
        hosts.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok(hosts)
    }

    /// The names of all hosts, without reading the hosts.
    ///
    /// # Errors
    /// As above.
    fn hostnames(&self) -> Result<Vec<Hostname>, StoreError> {
        let all = self.range(Table::HostByName, &[], &end_of(&[]), Order::Ascending, usize::MAX)?;
        all.into_iter()
            .map(|(key, _)| {
                let name = String::from_utf8_lossy(&key);
                name.parse().map_err(|_| StoreError::Corrupt {
                    table: Table::HostByName.name(),
                    key: readable(&key),
                    reason: "not a host name".to_owned(),
                })
            })
            .collect()
    }
}

impl<T: Read + ?Sized> HostReads for T {}

fn by_index(
    from: &(impl Read + ?Sized),
    index: Table,
    key: &[u8],
) -> Result<Option<Host>, StoreError> {
    match from.get(index, key)? {
        Some(id) => record(from, Table::Hosts, &id),
        None => Ok(None),
    }
}

impl Tx<'_, '_> {
    /// Writes a host and its indexes.
    ///
    /// # Errors
    /// When its name or one of its MACs belongs to another host, or the database fails.
    pub fn save_host(&mut self, host: &Host) -> Result<(), HostWriteError> {
        let key = host_key(host.id);
        let name_key = host.hostname.as_str().as_bytes().to_vec();
        if self.get(Table::HostByName, &name_key)?.is_some_and(|owner| owner != key) {
            return Err(HostWriteError::NameTaken(host.hostname.clone()));
        }
        for mac in &host.macs {
            if let Some(owner) = self.host_by_mac(*mac)?.filter(|owner| owner.id != host.id) {
                return Err(HostWriteError::MacTaken { mac: *mac, owner: owner.hostname });
            }
        }
        if let Some(before) = self.host(host.id)? {
            self.remove(Table::HostByName, before.hostname.as_str().as_bytes().to_vec());
            for mac in before.macs {
                self.remove(Table::HostByMac, mac.0.to_vec());
                self.touched.insert(mac);
            }
        }
        self.put(Table::HostByName, name_key, key.clone());
        for mac in &host.macs {
            self.put(Table::HostByMac, mac.0.to_vec(), key.clone());
            self.touched.insert(*mac);
        }
        self.moved.insert(host.id);
        Ok(self.put_record(Table::Hosts, key, host)?)
    }

    /// Removes a host and its indexes; its events and jobs stay.
    pub fn delete_host(&mut self, host: &Host) {
        self.moved.insert(host.id);
        self.remove(Table::Hosts, host_key(host.id));
        self.remove(Table::HostByName, host.hostname.as_str().as_bytes().to_vec());
        for mac in &host.macs {
            self.remove(Table::HostByMac, mac.0.to_vec());
            self.delete_boot_lesson(*mac);
        }
    }

    /// Moves a host by its table, writes it and the event. A repeated event changes nothing.
    ///
    /// # Errors
    /// The outer error is the database's; the inner one is the table's denial, and then nothing was written.
    pub fn move_host(
        &mut self,
        host: &mut Host,
        event: HostEvent,
        message: &str,
    ) -> Result<Result<Transition, Denied>, HostWriteError> {
        let moved = match transition(host.state, event) {
            Ok(moved) => moved,
            Err(denied) => return Ok(Err(denied)),
        };
        if let Transition::To(to) = moved {
            let from = std::mem::replace(&mut host.state, to);
            host.state_since = self.now();
            if to != HostState::Failed {
                host.failure = None;
            }
            self.save_host(host)?;
            self.emit(NewEvent {
                level: if to == HostState::Failed { Level::Error } else { Level::Info },
                subject: Subject {
                    host: Some(host.id),
                    job: host.active_job,
                    ..Subject::default()
                },
                kind: EventKind::StateChanged { from, to },
                message: message.to_owned(),
            })?;
        }
        Ok(Ok(moved))
    }

    /// Moves a host to `failed` with its reason, and releases its lock.
    ///
    /// # Errors
    /// As [`Tx::move_host`].
    pub fn fail_host(
        &mut self,
        host: &mut Host,
        reason: &str,
        hint: &str,
    ) -> Result<Result<Transition, Denied>, HostWriteError> {
        let from = host.state;
        let message = format!("failed while {from}: {reason}");
        let moved = self.move_host(host, HostEvent::Stopped, &message)?;
        if moved == Ok(Transition::To(HostState::Failed)) {
            host.failure = Some(Failure {
                from: Some(from),
                reason: reason.to_owned(),
                hint: hint.to_owned(),
            });
            host.active_job = None;
            self.save_host(host)?;
        }
        Ok(moved)
    }
}

impl From<HostWriteError> for Refusal {
    fn from(error: HostWriteError) -> Self {
        let detail = error.to_string();
        match error {
            HostWriteError::Store(error) => error.into(),
            HostWriteError::NameTaken(_) => {
                Self::new(RefusalKind::Conflict, detail, "choose another name").about("hostname")
            }
            HostWriteError::MacTaken { .. } => {
                Self::new(RefusalKind::Conflict, detail, "delete that host or correct the address")
                    .about("mac")
            }
        }
    }
}
