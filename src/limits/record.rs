//! What is written down. Boot log, sightings, events, the queue before the database, and its backups.

use std::time::Duration;

super::limits! {
    /// Observations that may wait: a second of a busy segment.
    OBSERVATIONS: usize = 4096, "observations";
    /// Unregistered machines that may be written per flush.
    STRANGERS_PER_FLUSH: usize = 16, "machines";
    /// Addresses whose MAC is remembered, so that TFTP and HTTP transfers find their machine.
    REMEMBERED_ADDRESSES: usize = 4096, "addresses";
    /// New machines per second that a request may make known: forged MACs must not push out the real ones.
    STRANGERS_PER_SECOND: u32 = 16, "machines";
    /// Machines that are registered by rule within an hour: more than are racked, and forged MACs with the right words do not
    /// fill the list of hosts.
    REGISTRATIONS_PER_HOUR: u32 = 64, "machines";
    /// Hosts that were never rebuilt above which no rule registers more, for the same reason.
    REGISTERED_BY_RULE: usize = 1000, "hosts";
    /// Sightings kept at most: a flood of forged MACs must not fill the disk. The oldest that nobody dismissed goes first.
    SIGHTINGS: usize = 1000, "machines";
    /// Entries kept per machine: some hundred boots of a machine that retries for ever.
    BOOT_LOG_PER_MACHINE: u64 = 500, "entries";
    /// Machines that the appliance played itself and still knows as such: more than are played in a minute.
    REHEARSALS: usize = 64, "machines";
    /// What is kept of each of them: a boot is some ten lines.
    REHEARSED_OBSERVATIONS: usize = 64, "observations";
    /// Events kept: a year of a busy fleet; the log of each job is kept apart from this.
    EVENTS_KEPT: u64 = 500_000, "events";
    /// Entries of the audit log that are kept: years of a team that changes things by hand.
    AUDIT_KEPT: u64 = 100_000, "entries";
    /// How long the job of an idempotency key is known: longer than any client tries again.
    BEGUN_TIME: Duration = Duration::from_secs(7 * 24 * 3600), "time";
    /// Idempotency keys that are known at a time; the oldest are forgotten.
    BEGUN_KEPT: usize = 10_000, "keys";
    /// Changes that one entry of the audit log lists; a write of more says how many more.
    AUDIT_CHANGES: usize = 20, "changes";
    /// Writes that may wait in the queue before callers wait: bounds memory when the disk is slow.
    WRITES_WAITING: usize = 1024, "writes";
    /// Writes that share one commit: at 64 writers this is where two fsyncs stop being the bottleneck.
    WRITES_PER_COMMIT: usize = 256, "writes";
    /// Pages redb may keep; its default of 1 GiB would be most of a small appliance.
    CACHE_BYTES: usize = 16 << 20, "bytes";
    /// Biggest database whose pages are all compared with their checksums at each start: 32 MiB take some 50 ms.
    CHECKED_AT_START: u64 = 32 << 20, "bytes";
    /// Age of the newest regular backup at which the next one is made: so much can be lost when the disk damages the
    /// database.
    BACKUP_EVERY: Duration = Duration::from_secs(6 * 3600), "time";
    /// Regular backups that are kept: a week.
    BACKUPS_KEPT: usize = 28, "backups";
    /// Bytes of them together; the oldest go first. A database of a home lab has a few MiB.
    BACKUPS_BYTES: u64 = 1 << 30, "bytes";
    /// So many are kept whatever their size: the newest may be damaged too.
    BACKUPS_LEAST: usize = 3, "backups";
    /// Backups made before a migration that are kept: the way back to the program before.
    BACKUPS_BEFORE_MIGRATION: usize = 2, "backups";
    /// Damaged databases beside the one in use. When there are so many, the next one is not replaced by a backup by itself:
    /// the disk has to be looked at.
    DAMAGED_KEPT: usize = 3, "files";
    /// Events a slow reader may fall behind before it re-reads from the log.
    EVENT_BACKLOG: usize = 1024, "events";
    /// After this many tries (about three days) a report is given up, with a warning in the job's log.
    REPORT_TRIES: u32 = 300, "tries";
    /// Between two notices of new machines: a flood of forged MACs is no flood of messages.
    SIGHTING_NOTICE_EVERY: Duration = Duration::from_secs(60), "time";
    /// Reports that one round takes on.
    REPORTS_PER_ROUND: usize = 256, "reports";
}
