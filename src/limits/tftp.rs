//! TFTP. Transfers, requests and the times between repetitions.

use std::time::Duration;

super::limits! {
    /// Largest block in bytes: what fits an Ethernet frame of 1500 bytes with IP and UDP headers. Fragments die in firmware.
    BLOCK_SIZE: u16 = 1468, "bytes";
    /// Largest window in blocks. Some receivers break above 64; 16 already hides the round trip on a LAN.
    WINDOW: u16 = 16, "blocks";
    /// Bytes of a datagram that are read; a longer one is cut, and only its head is looked at.
    LARGEST_DATAGRAM: usize = 2048, "bytes";
    /// Datagrams that are taken or sent with one system call.
    BATCH: usize = 64, "datagrams";
    /// Batches that are taken in one go before timers and other tasks get a turn.
    BATCHES: usize = 4, "batches";
    /// Wanted socket buffers: an ACK of each of some hundred clients at once. The system may grant less.
    SOCKET_BUFFER: usize = 1024 * 1024, "bytes";
    /// Transfers at once on one socket. Each costs some hundred bytes, the files are shared.
    TRANSFERS: usize = 2048, "transfers";
    /// Transfers at once from one address. Whole racks come from one address behind NAT or a relay; above this the
    /// oldest transfer that was never acknowledged makes room, because a forged source never acknowledges.
    TRANSFERS_PER_PEER: usize = 256, "transfers";
    /// Requests that one address may send at once before `requests_per_second` holds it back. Bounds what a forged
    /// source can make us send to its victim.
    REQUEST_BURST: u32 = 512, "requests";
    /// Requests per second and address after the burst.
    REQUESTS_PER_SECOND: u32 = 64, "requests";
    /// Addresses whose request rate is remembered. Above this new addresses wait until others have been quiet.
    PEERS: usize = 4096, "addresses";
    /// First retransmission when no round trip was measured yet.
    FIRST_RETRANSMISSION: Duration = Duration::from_millis(500), "time";
    /// Fastest retransmission of the first answer to an address whose round trip is known from an earlier transfer.
    FASTEST_FIRST_RETRANSMISSION: Duration = Duration::from_millis(50), "time";
    /// Fastest retransmission. Below this, scheduling noise of firmware would look like loss.
    FASTEST_RETRANSMISSION: Duration = Duration::from_millis(4), "time";
    /// Slowest retransmission: firmware counts its tries in steps of 4 s, so a lost packet must not cost a step.
    SLOWEST_RETRANSMISSION: Duration = Duration::from_secs(1), "time";
    /// Slowest retransmission once a client has been quiet for `QUIET_AFTER`: it is probably gone.
    QUIET_RETRANSMISSION: Duration = Duration::from_secs(4), "time";
    /// When a client counts as quiet.
    QUIET_AFTER: Duration = Duration::from_secs(8), "time";
    /// Give up on a request whose first answer nobody acknowledged. EDK2 asks again after 4 s from the same port.
    HANDSHAKE: Duration = Duration::from_secs(10), "time";
    /// Give up on a transfer that made no progress for this long. EDK2 gives up after 24 s, a switch port in spanning
    /// tree's forwarding delay comes back after 30 s.
    NO_PROGRESS: Duration = Duration::from_secs(60), "time";
    /// Forget a transfer whose last blocks are out: the last acknowledgement is often lost or never sent.
    LAST_ACK: Duration = Duration::from_secs(5), "time";
}
