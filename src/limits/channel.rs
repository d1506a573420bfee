//! The root channel. Requests to nodes and what comes back. Both ends check them.

use std::time::Duration;

super::limits! {
    /// Longest request line in bytes, the newline included.
    MOST_REQUEST: usize = 64 * 1024, "bytes";
    /// Longest answer line in bytes.
    MOST_FRAME: usize = 64 * 1024, "bytes";
    /// Largest pushed or pulled file in bytes.
    MOST_PAYLOAD: u64 = 16 * 1024 * 1024, "bytes";
    /// Longest run of a program in a guest: a day.
    MOST_TIMEOUT_SEC: u32 = 24 * 60 * 60, "seconds";
    /// Bytes of a program's output that are sent on; the rest is dropped, and a last line says so.
    MOST_OUTPUT: usize = 32 * 1024 * 1024, "bytes";
    /// Bytes of text in one output frame. Each may become six in JSON (`\u0000`), and the line must stay below
    /// [`MOST_FRAME`].
    MOST_TEXT: usize = 8 * 1024, "bytes";
    /// Bytes of a file in one data frame.
    MOST_DATA: usize = 32 * 1024, "bytes";
    /// Longest path. Linux's own limit (`PATH_MAX`) counts the final NUL.
    MOST_PATH: usize = 4095, "bytes";
    /// Longest name in a path (`NAME_MAX`).
    MOST_NAME: usize = 255, "bytes";
    /// Arguments of one program.
    MOST_ARGUMENTS: usize = 256, "arguments";
    /// Variables of one program.
    MOST_VARIABLES: usize = 256, "variables";
    /// Device entries of a guest (`dev0` to `dev255`, container package 5.0.7 and later).
    MOST_DEVICES: usize = 256, "devices";
    /// Bytes of the agent's standard error that are kept to explain a failure.
    COMPLAINT_BYTES: usize = 4096, "bytes";
    /// Time for the whole request line: it comes in one piece right behind the command.
    REQUEST_LINE_TIME: Duration = Duration::from_secs(20), "time";
    /// Longest silence inside a payload.
    SILENCE: Duration = Duration::from_secs(30), "time";
    /// Time for the whole payload: 16 MiB over a line of 1 Mbit/s take two minutes.
    PAYLOAD_TIME: Duration = Duration::from_secs(300), "time";
    /// The cluster file system keeps no file larger than 1 MiB (pmxcfs, PVE 8 and 9).
    CONFIGURATION_BYTES: u64 = 1024 * 1024, "bytes";
    /// Bytes of each stream that a short command's report keeps.
    COMPLAINT_OF_PROGRAM: usize = 256 * 1024, "bytes";
}
