//! Operators and their browsers. Log-in, sessions, forms, event streams.

use std::time::Duration;

super::limits! {
    /// Event streams served at once. Each is an open socket and a task that reads the log: 200 screens are the target of
    /// the design, the rest is head-room for reconnecting browsers.
    MOST_STREAMS: usize = 512, "streams";
    /// Hosts on one page of the grid: more than a rack, and a page that is there at once.
    HOSTS_ON_A_PAGE: usize = 200, "hosts";
    /// Newest events whose text is kept for all streams: each event is written out once, not once per screen.
    EVENT_TEXTS: usize = 256, "events";
    /// Events read from the log at once while catching up.
    STREAM_BATCH: usize = 500, "events";
    /// A stream ends after this time and the browser comes back: so a log-out or an expired session also ends its streams.
    STREAM_TIME: Duration = Duration::from_secs(3600), "time";
    /// Hosts of one list that is rebuilt: the fleet that this appliance is made for.
    BULK_HOSTS: usize = 1000, "hosts";
    /// Rebuilds of one list at a time, at most: each machine loads the whole image, and needs the appliance's disk and network.
    BULK_AT_ONCE: u32 = 100, "rebuilds";
    /// Hosts of one file that is imported: the form's 256 KiB hold about as many.
    ROSTER_ROWS: usize = 2000, "hosts";
    /// Largest file of a server type that is shown and written: one is a page of text.
    TYPE_BYTES: usize = 64 * 1024, "bytes";
    /// Hosts of a server type whose answers are composed to tell what an edit does; composing one takes well below a millisecond.
    TYPE_HOSTS: usize = 200, "hosts";
    /// Drafts kept at once, over all sessions; a form is 256 KiB at most.
    DRAFTS: usize = 64, "drafts";
    /// How long a review can be carried out.
    DRAFT_TIME: Duration = Duration::from_mins(30), "time";
    /// How long a node's password waits in memory while its host key is compared.
    COMPARISON_TIME: Duration = Duration::from_mins(10), "time";
    /// Journals of guests that are read at a time: each is a login at a node.
    JOURNALS: usize = 8, "journals";
    /// Lines of a guest's journal that can be asked for at a time.
    JOURNAL_LINES: u32 = 5000, "lines";
    /// What the lines of one reading add up to at most; older ones are left out.
    JOURNAL_BYTES: usize = 1024 * 1024, "bytes";
    /// Largest body of a changing request: forms and JSON of operators are small.
    FORM_BYTES: usize = 256 * 1024, "bytes";
    /// A session ends after this time without use.
    SESSION_IDLE: Duration = Duration::from_hours(12), "time";
    /// A session ends after this time in any case.
    SESSION_TIME: Duration = Duration::from_hours(7 * 24), "time";
    /// Sessions of one account; the oldest ends when there is one more.
    SESSIONS_OF_ONE: usize = 20, "sessions";
    /// Accounts at most: a team, not a directory.
    ACCOUNTS: usize = 50, "accounts";
    /// Networks remembered per account from which somebody logged in: strangers' guesses do not shut these out.
    KNOWN_NETWORKS: usize = 8, "networks";
    /// Wrong passwords for one account, from anywhere, after which networks that it never logged in from must wait.
    LOCK_ACCOUNT_AFTER: u32 = 10, "failures";
    /// Attempts one address may make in a row before it must wait.
    LOGIN_BURST: u32 = 5, "attempts";
    /// One more attempt per address after this time: 1,440 guesses a day are nothing against ten characters.
    LOGIN_REFILL: Duration = Duration::from_secs(60), "time";
    /// Failures after which an address is shut out, however slowly it tried.
    LOCK_AFTER: u32 = 20, "failures";
    /// How long such an address, or an account for unknown networks, is shut out.
    LOCK_FOR: Duration = Duration::from_secs(15 * 60), "time";
    /// Attempts of all addresses together in a row: each costs 40 ms and 19 MiB of argon2id.
    LOGIN_BURST_OF_ALL: u32 = 30, "attempts";
    /// One more attempt in total after this time. Short, so that a distributed guesser cannot shut the operator out for long.
    LOGIN_REFILL_OF_ALL: Duration = Duration::from_secs(2), "time";
    /// Addresses remembered: a flood of forged ones must not fill memory. Those seen longest ago are forgotten first.
    LOGIN_ADDRESSES: usize = 4096, "addresses";
    /// Longest password in bytes: a bound for the hash's input.
    PASSWORD_BYTES: usize = 1024, "bytes";
    /// Hashes computed at once: each takes 19 MiB and a core.
    HASHES_AT_ONCE: usize = 2, "hashes";
    /// API tokens at most; those that ended are removed first.
    API_TOKENS: usize = 200, "tokens";
    /// Entries on one page of the audit log.
    AUDIT_ON_A_PAGE: usize = 50, "entries";
    /// Bytes of a README that are shown.
    README_BYTES: usize = 64 << 10, "bytes";
    /// Addresses one host may have: a server with four dual-port cards.
    MOST_MACS: usize = 8, "addresses";
}
