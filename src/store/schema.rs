//! Tables and key encodings. Names and encodings are contracts: renaming one is a migration.

use crate::domain::id::{GuestId, HostId, JobId};

/// Version of the tables and records that this program writes.
pub const SCHEMA_VERSION: u32 = 3;

/// One table. All are byte strings to byte strings; the key encodings below sort in reading order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `schema_version`, `backup_digest`.
    Meta,
    /// Host id → host.
    Hosts,
    /// MAC → host id.
    HostByMac,
    /// Host name → host id.
    HostByName,
    /// Job id → job.
    Jobs,
    /// Ids of jobs that are not over.
    ActiveJobs,
    /// Host id, job id → nothing.
    JobsByHost,
    /// Job id, sequence → log line.
    JobLog,
    /// Sequence → event.
    Events,
    /// Host id, sequence → nothing.
    EventsByHost,
    /// Job id, sequence → nothing.
    EventsByJob,
    /// MAC, sequence → boot log entry.
    BootLog,
    /// MAC → sighting.
    Sightings,
    /// Image id → image.
    Images,
    /// Name → sealed value.
    Secrets,
    /// Install token hash → job id.
    Tokens,
    /// Session id hash → session.
    Sessions,
    /// Name → JSON value.
    Settings,
    /// IPv4 address → lease (full DHCP mode).
    Leases,
    /// Sequence → report waiting for delivery.
    Outbox,
    /// Guest id → guest.
    Guests,
    /// Guest name → guest id.
    GuestByName,
    /// Guest number → guest id.
    GuestByVmid,
    /// Guest id, job id → nothing.
    JobsByGuest,
    /// Guest number → held number.
    HeldVmids,
    /// Node name → enrolled node.
    Nodes,
    /// MAC → what its failed boots taught.
    BootLessons,
    /// Account name → account.
    Accounts,
    /// Sequence → entry of the audit log.
    Audit,
    /// Token id → API token.
    ApiTokens,
    /// Idempotency key hash → job that was begun.
    Begun,
    /// Reporter → how its last delivery went.
    Deliveries,
}

impl Table {
    /// All tables, in the order of the enum, so that `table as usize` is an index.
    pub const ALL: [Self; 32] = [
        Self::Meta,
        Self::Hosts,
        Self::HostByMac,
        Self::HostByName,
        Self::Jobs,
        Self::ActiveJobs,
        Self::JobsByHost,
        Self::JobLog,
        Self::Events,
        Self::EventsByHost,
        Self::EventsByJob,
        Self::BootLog,
        Self::Sightings,
        Self::Images,
        Self::Secrets,
        Self::Tokens,
        Self::Sessions,
        Self::Settings,
        Self::Leases,
        Self::Outbox,
        Self::Guests,
        Self::GuestByName,
        Self::GuestByVmid,
        Self::JobsByGuest,
        Self::HeldVmids,
        Self::Nodes,
        Self::BootLessons,
        Self::Accounts,
        Self::Audit,
        Self::ApiTokens,
        Self::Begun,
        Self::Deliveries,
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Hosts => "hosts",
            Self::HostByMac => "host_by_mac",
            Self::HostByName => "host_by_name",
            Self::Jobs => "jobs",
            Self::ActiveJobs => "active_jobs",
            Self::JobsByHost => "jobs_by_host",
            Self::JobLog => "job_log",
            Self::Events => "events",
            Self::EventsByHost => "events_by_host",
            Self::EventsByJob => "events_by_job",
            Self::BootLog => "boot_log",
            Self::Sightings => "sightings",
            Self::Images => "images",
            Self::Secrets => "secrets",
            Self::Tokens => "tokens",
            Self::Sessions => "sessions",
            Self::Settings => "settings",
            Self::Leases => "leases",
            Self::Outbox => "outbox",
            Self::Guests => "guests",
            Self::GuestByName => "guest_by_name",
            Self::GuestByVmid => "guest_by_vmid",
            Self::JobsByGuest => "jobs_by_guest",
            Self::HeldVmids => "held_vmids",
            Self::Nodes => "nodes",
            Self::BootLessons => "boot_lessons",
            Self::Accounts => "accounts",
            Self::Audit => "audit",
            Self::ApiTokens => "api_tokens",
            Self::Begun => "begun",
            Self::Deliveries => "deliveries",
        }
    }

    /// redb's handle.
    pub(super) fn definition(self) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
        redb::TableDefinition::new(self.name())
    }
}

/// A host's key.
pub(super) fn host_key(id: HostId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

/// A guest's key.
pub(super) fn guest_key(id: GuestId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

/// A job's key.
pub(super) fn job_key(id: JobId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

/// A prefix followed by a sequence number, big-endian so that it sorts.
pub(super) fn numbered(prefix: &[u8], seq: u64) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The sequence number at the end of a key.
pub(super) fn trailing_number(key: &[u8]) -> Option<u64> {
    let start = key.len().checked_sub(8)?;
    key.get(start..)?.try_into().ok().map(u64::from_be_bytes)
}

/// A key for people: text when it is text, hex otherwise.
pub(super) fn readable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => {
            text.to_owned()
        }
        _ => key.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_tables_position_is_its_index_and_names_are_unique() {
        for (i, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, i);
            assert!(Table::ALL.iter().filter(|t| t.name() == table.name()).count() == 1);
        }
    }

    #[test]
    fn numbers_sort_behind_their_prefix() {
        assert!(numbered(b"a", 255) < numbered(b"a", 256));
        assert_eq!(trailing_number(&numbered(b"abc", 77)), Some(77));
        assert_eq!(trailing_number(b"short"), None);
    }
}
