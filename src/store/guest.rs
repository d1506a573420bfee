//! Guests with their indexes, the numbers held for guests that are being made, and enrolled nodes.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::event::NewEvent;
use super::read::{Order, Read, end_of, record, records};
use super::schema::{Table, guest_key, job_key};
use super::tx::Tx;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::guest::{Guest, GuestEvent, GuestState};
use crate::domain::host::Failure;
use crate::domain::id::{GuestId, Hostname, JobId, NodeName};
use crate::domain::job::Job;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;

/// A number that is held for a guest, because the cluster does not reserve numbers; or for volumes that its end left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldVmid {
    /// The number.
    pub vmid: Vmid,
    /// For which guest.
    pub guest: GuestId,
    /// Since when.
    pub since: Timestamp,
    /// The guest is gone, and this is left of it. `None` without a guest: of a version that did not write it.
    #[serde(default)]
    pub kept: Option<KeptVolumes>,
}

/// Volumes that an uninstall left. Another guest of their number would own them by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVolumes {
    /// Name of the guest that had them.
    pub name: Hostname,
    /// The node it was on.
    pub node: NodeName,
    /// Their ids, or where they were mounted when their id is not known.
    pub volumes: Vec<String>,
}

/// A guest cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum GuestWriteError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another guest of ours has this name.
    #[error("the name '{0}' is taken by another guest")]
    NameTaken(Hostname),
    /// Another guest of ours has this number.
    #[error("the number {vmid} belongs to the guest '{owner}'")]
    VmidTaken {
        /// The number.
        vmid: Vmid,
        /// Who has it.
        owner: Hostname,
    },
}

impl From<GuestWriteError> for Refusal {
    fn from(error: GuestWriteError) -> Self {
        let detail = error.to_string();
        match error {
            GuestWriteError::Store(error) => error.into(),
            GuestWriteError::NameTaken(_) => {
                Self::new(RefusalKind::Conflict, detail, "choose another name").about("name")
            }
            GuestWriteError::VmidTaken { .. } => {
                Self::new(RefusalKind::Conflict, detail, "forget that guest first").about("vmid")
            }
        }
    }
}

/// Typed reads of guests and held numbers.
pub trait GuestReads: Read {
    /// One guest.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn guest(&self, id: GuestId) -> Result<Option<Guest>, StoreError> {
        record(self, Table::Guests, &guest_key(id))
    }

    /// All guests, by name.
    ///
    /// # Errors
    /// As above.
    fn guests(&self) -> Result<Vec<Guest>, StoreError> {
        let mut guests: Vec<Guest> =
            records(self, Table::Guests, &[], Order::Ascending, usize::MAX)?;
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(guests)
    }

    /// The guest with this name.
    ///
    /// # Errors
    /// As above.
    fn guest_by_name(&self, name: &Hostname) -> Result<Option<Guest>, StoreError> {
        match self.get(Table::GuestByName, name.as_str().as_bytes())? {
            Some(key) => record(self, Table::Guests, &key),
            None => Ok(None),
        }
    }

    /// The guest with this number.
    ///
    /// # Errors
    /// As above.
    fn guest_by_vmid(&self, vmid: Vmid) -> Result<Option<Guest>, StoreError> {
        match self.get(Table::GuestByVmid, &vmid.get().to_be_bytes())? {
            Some(key) => record(self, Table::Guests, &key),
            None => Ok(None),
        }
    }

    /// The newest `limit` jobs of a guest, newest first.
    ///
    /// # Errors
    /// As above.
    fn jobs_of_guest(&self, guest: GuestId, limit: usize) -> Result<Vec<Job>, StoreError> {
        let prefix = guest_key(guest);
        let keys =
            self.range(Table::JobsByGuest, &prefix, &end_of(&prefix), Order::Descending, limit)?;
        let mut jobs = Vec::with_capacity(keys.len());
        for (key, _) in keys {
            if let Some(job) = key.get(prefix.len()..) {
                jobs.extend(record(self, Table::Jobs, job)?);
            }
        }
        Ok(jobs)
    }

    /// All held numbers.
    ///
    /// # Errors
    /// As above.
    fn held_vmids(&self) -> Result<Vec<HeldVmid>, StoreError> {
        records(self, Table::HeldVmids, &[], Order::Ascending, usize::MAX)
    }

    /// Numbers that are held for what a guest left, and for no guest that is there.
    ///
    /// # Errors
    /// As above.
    fn kept_vmids(&self) -> Result<Vec<HeldVmid>, StoreError> {
        let mut kept = Vec::new();
        for held in self.held_vmids()? {
            if self.guest(held.guest)?.is_none() {
                kept.push(held);
            }
        }
        Ok(kept)
    }
}

impl<T: Read + ?Sized> GuestReads for T {}

/// Typed reads of enrolled nodes.
pub trait NodeReads: Read {
    /// All of them, by name.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn enrolled_nodes(&self) -> Result<Vec<EnrolledNode>, StoreError> {
        records(self, Table::Nodes, &[], Order::Ascending, usize::MAX)
    }

    /// One node.
    ///
    /// # Errors
    /// As above.
    fn enrolled_node(&self, name: &NodeName) -> Result<Option<EnrolledNode>, StoreError> {
        record(self, Table::Nodes, name.as_str().as_bytes())
    }
}

impl<T: Read + ?Sized> NodeReads for T {}

/// Name of a secret that belongs to one guest and dies with its record.
#[must_use]
pub fn of_guest(guest: GuestId, what: &str) -> String {
    format!("guest/{guest}/{what}")
}

/// Begins the names (inside [`of_guest`]) of secrets that are shown once and then forgotten.
pub const SHOWN_ONCE: &str = "reveal/";

/// Name of a secret that belongs to one node's enrolment.
#[must_use]
pub fn of_node(node: &NodeName, what: &str) -> String {
    format!("node/{node}/{what}")
}

impl Tx<'_, '_> {
    /// Writes a guest and its indexes, and tells readers of it.
    ///
    /// # Errors
    /// When its name or number belongs to another guest, or the database fails.
    pub fn save_guest(&mut self, guest: &Guest, message: &str) -> Result<(), GuestWriteError> {
        let key = guest_key(guest.id);
        if let Some(owner) = self.guest_by_name(&guest.name)?.filter(|g| g.id != guest.id) {
            return Err(GuestWriteError::NameTaken(owner.name));
        }
        if let Some(owner) = self.guest_by_vmid(guest.vmid)?.filter(|g| g.id != guest.id) {
            return Err(GuestWriteError::VmidTaken { vmid: guest.vmid, owner: owner.name });
        }
        if let Some(before) = self.guest(guest.id)? {
            self.remove(Table::GuestByName, before.name.as_str().as_bytes().to_vec());
            self.remove(Table::GuestByVmid, before.vmid.get().to_be_bytes().to_vec());
        }
        self.put(Table::GuestByName, guest.name.as_str().as_bytes().to_vec(), key.clone());
        self.put(Table::GuestByVmid, guest.vmid.get().to_be_bytes().to_vec(), key.clone());
        self.put_record(Table::Guests, key, guest)?;
        let level = if guest.state == GuestState::Failed { Level::Error } else { Level::Info };
        self.tell_of_guest(guest, level, message)?;
        Ok(())
    }

    /// Moves a guest that a job was at work on to `failed` with its reason. Its lock stays the job's to release.
    ///
    /// # Errors
    /// When the database fails.
    pub fn fail_guest(
        &mut self,
        guest: &mut Guest,
        failure: Failure,
    ) -> Result<(), GuestWriteError> {
        if guest.step(GuestEvent::Stopped, self.now()).is_err() {
            return Ok(());
        }
        let message = format!("{} failed: {}", guest.name, failure.reason);
        guest.failure = Some(failure);
        self.save_guest(guest, &message)
    }

    /// Removes a guest's record, its indexes and its secrets; its jobs and events stay.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_guest(&mut self, guest: &Guest, message: &str) -> Result<(), StoreError> {
        self.remove(Table::Guests, guest_key(guest.id));
        self.remove(Table::GuestByName, guest.name.as_str().as_bytes().to_vec());
        self.remove(Table::GuestByVmid, guest.vmid.get().to_be_bytes().to_vec());
        self.release_vmid(guest.vmid);
        for name in super::secret::SecretReads::secret_names(self, &of_guest(guest.id, ""))? {
            self.delete_secret(&name);
        }
        self.tell_of_guest(guest, Level::Info, message)
    }

    fn tell_of_guest(
        &mut self,
        guest: &Guest,
        level: Level,
        message: &str,
    ) -> Result<(), StoreError> {
        self.emit(NewEvent {
            level,
            subject: Subject {
                guest: Some(guest.id),
                job: guest.active_job,
                host: guest.stack_of,
                ..Subject::default()
            },
            kind: EventKind::GuestChanged,
            message: message.to_owned(),
        })?;
        Ok(())
    }

    /// Holds a number for a guest.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_vmid(&mut self, vmid: Vmid, guest: GuestId) -> Result<(), StoreError> {
        let held = HeldVmid { vmid, guest, since: self.now(), kept: None };
        self.put_record(Table::HeldVmids, vmid.get().to_be_bytes().to_vec(), &held)
    }

    /// Holds the number of a guest that is gone for volumes that it left.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_for_volumes(
        &mut self,
        guest: &Guest,
        volumes: Vec<String>,
    ) -> Result<(), StoreError> {
        let kept = KeptVolumes { name: guest.name.clone(), node: guest.node.clone(), volumes };
        let since = self.now();
        let held = HeldVmid { vmid: guest.vmid, guest: guest.id, since, kept: Some(kept) };
        self.put_record(Table::HeldVmids, guest.vmid.get().to_be_bytes().to_vec(), &held)
    }

    /// Lets a number go that kept volumes held, and tells readers of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_volumes(&mut self, held: &HeldVmid) -> Result<(), StoreError> {
        self.release_vmid(held.vmid);
        let what = held.kept.as_ref().map_or_else(String::new, |kept| format!(" of {}", kept.name));
        self.emit(NewEvent {
            level: Level::Info,
            subject: Subject { guest: Some(held.guest), ..Subject::default() },
            kind: EventKind::GuestChanged,
            message: format!("the number {} is free: kept volumes{what} were forgotten", held.vmid),
        })?;
        Ok(())
    }

    /// Lets a number go.
    pub fn release_vmid(&mut self, vmid: Vmid) {
        self.remove(Table::HeldVmids, vmid.get().to_be_bytes().to_vec());
    }

    /// Lets a job be found by its guest.
    pub(super) fn index_job_of_guest(&mut self, guest: GuestId, job: JobId) {
        let mut index = guest_key(guest);
        index.extend_from_slice(&job_key(job));
        self.put(Table::JobsByGuest, index, Vec::new());
    }

    /// Writes an enrolled node.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_node(&mut self, node: &EnrolledNode, message: &str) -> Result<(), StoreError> {
        self.put_record(Table::Nodes, node.name.as_str().as_bytes().to_vec(), node)?;
        self.tell_of_node(node, message)
    }

    /// Removes an enrolled node and its secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_node(&mut self, node: &EnrolledNode, message: &str) -> Result<(), StoreError> {
        self.remove(Table::Nodes, node.name.as_str().as_bytes().to_vec());
        for name in super::secret::SecretReads::secret_names(self, &of_node(&node.name, ""))? {
            self.delete_secret(&name);
        }
        self.tell_of_node(node, message)
    }

    fn tell_of_node(&mut self, node: &EnrolledNode, message: &str) -> Result<(), StoreError> {
        let level = if node.problem.is_empty() { Level::Info } else { Level::Warn };
        self.emit(NewEvent {
            level,
            subject: Subject { host: node.host, ..Subject::default() },
            kind: EventKind::NodeChanged,
            message: message.to_owned(),
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod test;
