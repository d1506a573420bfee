//! What machines send and ask for. Bodies of booting and installing machines, DHCP in both modes, enrolment of nodes.

use std::time::Duration;

super::limits! {
    /// The longest answer request that is read, in bytes; a machine with hundreds of virtual functions stays below it.
    MAX_REQUEST_BYTES: usize = 1024 * 1024, "bytes";
    /// The longest report that is read, in bytes: all udev properties of all disks and NICs are in it.
    MAX_REPORT_BYTES: usize = 16 * 1024 * 1024, "bytes";
    /// A server with 64 physical ports and SR-IOV shows some hundred links.
    MAX_LINKS: usize = 4096, "links";
    /// More disks or NICs than a page can show help nobody.
    MAX_ITEMS: usize = 256, "items";
    /// A phone-home is a handful of short strings and three public keys.
    PHONE_HOME_BYTES: usize = 64 << 10, "bytes";
    /// Public keys that a node may present; it has three.
    MOST_HOST_KEYS: usize = 8, "keys";
    /// Links that are kept of a phone-home.
    MOST_NICS: usize = 64, "NICs";
    /// Longest report in bytes.
    MOST_REPORT: usize = 16 * 1024, "bytes";
    /// Commands that can be waiting at a time; the oldest one goes.
    ENROLMENTS_WAITING: usize = 16, "commands";
    /// Boot programs handed to one such machine within [`WINDOW`]; one is enough when all goes well.
    LOOPS: u32 = 3, "boots";
    /// After this long a machine may try again.
    LOOP_WINDOW: Duration = Duration::from_secs(300), "time";
    /// Machines remembered at once. More than this many iPXEs without HTTP are a flood of invented addresses; the oldest
    /// memory goes first.
    LOOP_MACHINES: usize = 4096, "machines";
    /// Times that the form of the offer, or the boot program, is changed for a machine by itself since it last worked: away
    /// and back again. After that the default stays, because the trouble is elsewhere.
    BOOT_CHANGES: u32 = 2, "changes";
    /// How long an offered address waits for its REQUEST: EDK2 collects offers for 4 s, ROMs retry for some more.
    LEASE_HOLD: Duration = Duration::from_secs(30), "time";
    /// Largest dynamic range: a /16. More machines than that are not one broadcast segment.
    LEASE_RANGE: u32 = 65_536, "addresses";
}
