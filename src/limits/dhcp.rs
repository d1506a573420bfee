//! DHCP. What one wake-up takes from the socket, and how long an address stays out of use.

use std::time::Duration;

super::limits! {
    /// Datagrams per wake-up. Enough to share one durable commit among many clients, few enough to keep the first of them
    /// waiting for well under a millisecond.
    BATCH: usize = 64, "datagrams";
    /// Longest datagram that is read; a DHCP message fits one Ethernet frame. Longer ones are dropped.
    LONGEST_DATAGRAM: usize = 1536, "bytes";
    /// Room for a burst in the receive buffer: a thousand machines switched on together.
    RECEIVE_BUFFER_BYTES: usize = 4 << 20, "bytes";
    /// Room in the send buffer: the replies of some batches.
    SEND_BUFFER_BYTES: usize = 1 << 20, "bytes";
    /// Leases that wait for the disk before further requests wait in the socket: some commits' worth.
    LEASES_WAITING: usize = 512, "leases";
    /// How long a reply waits for room in the send buffer before it is dropped; the client asks again.
    SEND_PATIENCE: Duration = Duration::from_millis(20), "time";
    /// How long an address is kept back after a machine found it in use.
    DECLINED: Duration = Duration::from_secs(3600), "time";
}
