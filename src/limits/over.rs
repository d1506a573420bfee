//! What happened at a limit: counted, with the time of the last time. The one counter that metrics, API and page read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

macro_rules! overs {
    ($($name:ident $label:literal $limit:literal $what:literal $advice:literal;)*) => {
        /// A limit that is counted when it is met. Labels are a contract with dashboards: never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Over {
            $(#[doc = $what] $name,)*
        }

        impl Over {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Name for metrics and the API.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The limit in the tables of this module.
            #[must_use]
            pub fn limit(self) -> &'static str {
                match self { $(Self::$name => $limit,)* }
            }

            /// What happens then.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// What an operator does about it.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

overs! {
    Connections "http_connections" "http.connections"
        "All connections were in use; the next one waited until one ended."
        "Look who holds them (ss -tn on the appliance). A fleet of 1,000 machines does not reach this.";
    Head "http_head_time" "http.head_timeout"
        "A client began a request and did not finish its head; its connection was closed."
        "Now and then this is a lost link. Many of them from one address are a port scan or an attack.";
    Body "http_body_bytes" "machine.max_report_bytes"
        "A body was larger than its route takes and was refused (413)."
        "Look at the boot log of the host: an installer's report of more than 16 MiB is a defect to report.";
    BodyTime "http_body_time" "http.body_time"
        "A body did not arrive in time and was given up (408)."
        "Look at the link of the machine that sent it: megabytes take seconds on a LAN.";
    Login "login_attempts" "operator.login_burst"
        "Somebody tried passwords faster than allowed and was told to wait (429)."
        "When it was not you: the address is in the events. Let the dashboard be reached by operators only.";
    Streams "event_streams" "operator.most_streams"
        "All event streams were in use; a page was shown without live changes (503)."
        "Close dashboards that nobody looks at.";
    Drafts "drafts" "operator.drafts"
        "The oldest form that waited for its confirmation was forgotten."
        "Whoever typed it fills it in again. Many at once come from a script: let it use the API.";
    Leases "dhcp_leases" "machine.lease_range"
        "All addresses of the pool were taken; a machine got none."
        "Make pxe.pool wider, or pxe.lease_secs shorter. Addresses that a flood took come free when their leases end.";
    BootLoops "boot_loops" "machine.loops"
        "A machine came back for the boot program again and again and was left alone for some minutes."
        "Its iPXE cannot reach the appliance over HTTP: look at its boot log and at server.public_url.";
    TftpTransfers "tftp_transfers" "tftp.transfers_per_peer"
        "All TFTP transfers, or all of one address, were in use; a request was refused."
        "The firmware asks again. From one address it is a relay or NAT with very many machines, or an attack.";
    TftpRequests "tftp_requests" "tftp.request_burst"
        "An address sent TFTP requests faster than allowed; some were dropped."
        "The firmware asks again. When it goes on, look which machine has that address.";
    Observations "observations" "record.observations"
        "Machines were seen faster than it can be written down; these lines are missing from boot logs."
        "Answers to machines are not affected. Look for a flood of DHCP requests, or for a slow disk.";
    Strangers "strangers" "record.strangers_per_flush"
        "More unregistered machines appeared at once than are written down; those are missing from the sightings."
        "They appear when they ask again. Thousands are forged addresses: look which switch port they come from.";
}

/// How often a limit was met, and when last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Since the start of the program.
    pub times: u64,
    /// Milliseconds since 1970.
    pub last: Option<i64>,
}

#[derive(Debug, Default)]
struct Cell {
    times: AtomicU64,
    last: AtomicI64,
}

/// Milliseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The counters. Clones share the same numbers.
#[derive(Clone)]
pub struct Overruns {
    clock: Clock,
    cells: Arc<[Cell; Over::ALL.len()]>,
}

impl std::fmt::Debug for Overruns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overruns").field("cells", &self.cells).finish_non_exhaustive()
    }
}

impl Overruns {
    /// All zero.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, cells: Arc::default() }
    }

    /// The limit was met once more.
    pub fn met(&self, over: Over) {
        let Some(cell) = self.cell(over) else { return };
        cell.times.fetch_add(1, Ordering::Relaxed);
        cell.last.store((self.clock)(), Ordering::Relaxed);
    }

    /// What became of this limit so far.
    #[must_use]
    pub fn of(&self, over: Over) -> Met {
        let Some(cell) = self.cell(over) else { return Met::default() };
        let times = cell.times.load(Ordering::Relaxed);
        Met { times, last: (times > 0).then(|| cell.last.load(Ordering::Relaxed)) }
    }

    fn cell(&self, over: Over) -> Option<&Cell> {
        self.cells.get(Over::ALL.iter().position(|o| *o == over)?)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn each_limit_counts_for_itself_and_remembers_its_last_time() {
        let now = Arc::new(AtomicI64::new(5));
        let clock = Arc::clone(&now);
        let overruns = Overruns::new(Arc::new(move || clock.load(Ordering::Relaxed)));
        overruns.met(Over::Login);
        now.store(9, Ordering::Relaxed);
        overruns.clone().met(Over::Login);
        assert_eq!(overruns.of(Over::Login), Met { times: 2, last: Some(9) });
        assert_eq!(overruns.of(Over::Head), Met::default());
    }

    #[test]
    fn each_counted_limit_is_in_the_tables() {
        let names: Vec<String> = super::super::parts()
            .iter()
            .flat_map(|p| p.rows.iter().map(|r| format!("{}.{}", p.name, r.name)))
            .collect();
        for over in Over::ALL {
            assert!(names.iter().any(|n| n == over.limit()), "{}", over.limit());
        }
    }
}
