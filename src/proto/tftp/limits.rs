//! Every number that bounds what one client, or all of them, can cost.

use std::time::Duration;

use crate::limits::tftp;

/// Limits of the TFTP service, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest block in bytes: what fits an Ethernet frame of 1500 bytes with IP and UDP headers. Fragments die in firmware.
    pub block_size: u16,
    /// Largest window in blocks. Some receivers break above 64; 16 already hides the round trip on a LAN.
    pub window: u16,
    /// Transfers at once on one socket. Each costs some hundred bytes, the files are shared.
    pub transfers: usize,
    /// Transfers at once from one address. Whole racks come from one address behind NAT or a relay; above this the
    /// oldest transfer that was never acknowledged makes room, because a forged source never acknowledges.
    pub transfers_per_peer: usize,
    /// Requests that one address may send at once before `requests_per_second` holds it back. Bounds what a forged
    /// source can make us send to its victim.
    pub request_burst: u32,
    /// Requests per second and address after the burst.
    pub requests_per_second: u32,
    /// Addresses whose request rate is remembered. Above this new addresses wait until others have been quiet.
    pub peers: usize,
    /// First retransmission when no round trip was measured yet.
    pub first_retransmission: Duration,
    /// Fastest retransmission of the first answer to an address whose round trip is known from an earlier transfer.
    pub fastest_first_retransmission: Duration,
    /// Fastest retransmission. Below this, scheduling noise of firmware would look like loss.
    pub fastest_retransmission: Duration,
    /// Slowest retransmission: firmware counts its tries in steps of 4 s, so a lost packet must not cost a step.
    pub slowest_retransmission: Duration,
    /// Slowest retransmission once a client has been quiet for [`Self::quiet_after`]: it is probably gone.
    pub quiet_retransmission: Duration,
    /// When a client counts as quiet.
    pub quiet_after: Duration,
    /// Give up on a request whose first answer nobody acknowledged. EDK2 asks again after 4 s from the same port.
    pub handshake: Duration,
    /// Give up on a transfer that made no progress for this long. EDK2 gives up after 24 s, a switch port in spanning
    /// tree's forwarding delay comes back after 30 s.
    pub no_progress: Duration,
    /// Forget a transfer whose last blocks are out: the last acknowledgement is often lost or never sent.
    pub last_ack: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block_size: tftp::BLOCK_SIZE,
            window: tftp::WINDOW,
            transfers: tftp::TRANSFERS,
            transfers_per_peer: tftp::TRANSFERS_PER_PEER,
            request_burst: tftp::REQUEST_BURST,
            requests_per_second: tftp::REQUESTS_PER_SECOND,
            peers: tftp::PEERS,
            first_retransmission: tftp::FIRST_RETRANSMISSION,
            fastest_first_retransmission: tftp::FASTEST_FIRST_RETRANSMISSION,
            fastest_retransmission: tftp::FASTEST_RETRANSMISSION,
            slowest_retransmission: tftp::SLOWEST_RETRANSMISSION,
            quiet_retransmission: tftp::QUIET_RETRANSMISSION,
            quiet_after: tftp::QUIET_AFTER,
            handshake: tftp::HANDSHAKE,
            no_progress: tftp::NO_PROGRESS,
            last_ack: tftp::LAST_ACK,
        }
    }
}
