//! HTTP connections. What a connection may cost before anybody is known, and what boot files may take.

use std::time::Duration;

super::limits! {
    /// Connections at a time; each costs a task and two small buffers. A fleet of 1,000 machines and 500 screens fits.
    CONNECTIONS: usize = 4096, "connections";
    /// A request's head must be here by then: a slow-loris holds its connection no longer.
    HEAD_TIMEOUT: Duration = Duration::from_secs(15), "time";
    /// Longest head that is looked at; firmware sends a few hundred bytes. A longer one is hyper's.
    HEAD_BYTES: usize = 8 << 10, "bytes";
    /// Most fields of such a head, likewise.
    HEAD_FIELDS: usize = 64, "fields";
    /// From a request's head to the end of its body: who sends a byte per minute must not hold a connection that a machine needs.
    BODY_TIME: Duration = Duration::from_secs(60), "time";
    /// A peer that takes no byte for this long is gone: machines are switched off in the middle of a download.
    STALL: Duration = Duration::from_secs(120), "time";
    /// What open requests get to finish at a stop.
    DRAIN: Duration = Duration::from_secs(10), "time";
    /// Bytes of a body that is not a file: a script or one line.
    TEXT_BYTES: usize = 1 << 20, "bytes";
    /// Bytes of one call at most. With calls of 1 MiB eight clients cost a third more processor time, 4 MiB bring no more.
    SENDFILE_RUN: u64 = 2 << 20, "bytes";
    /// Bytes that one connection sends before others have their turn: some milliseconds when a client is as fast as we are.
    /// Each turn wakes another worker.
    SENDFILE_TURN: u64 = 16 << 20, "bytes";
    /// Bytes of a file that are looked up in memory together, and read from a slow disk together.
    COLD_RUN: u64 = 1 << 20, "bytes";
    /// Threads that wait for the disk at a time. More would not make a disk faster, and the pool has other work.
    COLD_READS: usize = 32, "threads";
    /// Bytes of one read. Bigger pieces cost memory per stalled client; with smaller ones the switch to the reading thread
    /// costs more than the read (measured on loopback: 64 KiB takes 1.6 times the processor time of 256 KiB).
    BODY_PIECE: u64 = 256 << 10, "bytes";
    /// What the server's connections should have as `max_buf_size`: a connection takes the next piece only when less than this
    /// is waiting to be sent. With hyper's default of 408 KiB a stalled client holds two to three pieces (0.75 MiB), with this
    /// one piece (0.3 MiB), and the piece's memory is used again.
    CONNECTION_BUFFER: usize = 64 << 10, "bytes";
}
