//! Switching machines. Management controllers are slow, old and not trusted.

use std::time::Duration;

super::limits! {
    /// Longest time to connect to a management controller, TLS included: some need seconds for the key exchange.
    CONTROLLER_CONNECT: Duration = Duration::from_secs(10), "time";
    /// Longest time for one of its answers: some gather the inventory for it.
    CONTROLLER_ANSWER: Duration = Duration::from_secs(20), "time";
    /// Longest time for one order with all its questions.
    CONTROLLER_ORDER: Duration = Duration::from_secs(60), "time";
    /// Largest answer: a system with all its links has some ten KiB.
    CONTROLLER_BYTES: usize = 512 * 1024, "bytes";
    /// Longest run of ipmitool: its retries are over by then.
    IPMITOOL_TIME: Duration = Duration::from_secs(40), "time";
    /// What it may print: a sentence or two.
    IPMITOOL_OUTPUT: usize = 16 * 1024, "bytes";
    /// Copies of a magic packet: nobody confirms one, and a switch that just woke up loses the first.
    MAGIC_PACKETS: usize = 3, "packets";
    /// Orders to controllers at a time: each may wait for a minute.
    ORDERS_AT_ONCE: usize = 16, "orders";
}
