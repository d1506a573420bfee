//! Jobs, repositories and files. What one job, one repository or one file may cost.

use std::time::Duration;

super::limits! {
    /// Imports at a time: each one saturates the disk or the uplink by itself.
    IMPORTS_AT_ONCE: usize = 2, "imports";
    /// Characters of a line that are kept in the log.
    OUTPUT_LINE: usize = 2000, "bytes";
    /// Lines that one program may leave in the log; what comes after is counted only.
    OUTPUT_LINES: usize = 20_000, "lines";
    /// What all tasks together get to end.
    GRACE: Duration = Duration::from_secs(30), "time";
    /// One run of git on this machine: nothing there takes a minute.
    GIT_TIME: Duration = Duration::from_secs(60), "time";
    /// What git may print: names, ids and messages.
    GIT_OUTPUT: usize = 256 * 1024, "bytes";
    /// Time for a fetch: a catalog is small, a line may be slow.
    SOURCE_FETCH: Duration = Duration::from_secs(120), "time";
    /// Files of a catalog; one with more is refused before anything is written.
    SOURCE_FILES: usize = 20_000, "files";
    /// Bytes of these files together: they are read before anything is unpacked.
    SOURCE_BYTES: u64 = 256 * 1024 * 1024, "bytes";
    /// Bytes of their list, as git prints it: 20,000 long names.
    SOURCE_LISTING: usize = 8 * 1024 * 1024, "bytes";
    /// Folders of a catalog that are looked into.
    SOURCE_APPS: usize = 1000, "apps";
    /// Longest file, bytes: everything is held in memory and pushed into containers.
    MOST_FILE_BYTES: u64 = 1024 * 1024, "bytes";
    /// All files of an app together, bytes.
    MOST_FOLDER_BYTES: u64 = 8 * 1024 * 1024, "bytes";
    /// Most files of an app.
    MOST_FILES: usize = 200, "files";
    /// Deepest folder inside an app.
    FOLDER_DEPTH: usize = 6, "folders";
    /// An icon is shown small.
    ICON_BYTES: usize = 256 * 1024, "bytes";
    /// Questions of an app's form: more than three screens of them are nobody's idea of one click.
    MOST_INPUTS: usize = 60, "inputs";
    /// Options of one of these questions: a longer list cannot be looked through.
    MOST_OPTIONS: usize = 200, "options";
    /// Longest text that a question may take: it becomes a variable of a program's surroundings.
    LONGEST_TEXT: u32 = 4096, "characters";
    /// Longest time that an app may give one of its scripts: a day.
    LONGEST_SCRIPT_SEC: u32 = 24 * 3600, "seconds";
    /// Time for a fetch or a push.
    PUBLISH_TIME: Duration = Duration::from_secs(60), "time";
    /// Definitions that are read: one per published guest.
    PUBLISH_FILES: usize = 2000, "files";
    /// Bytes of these definitions together: a definition has one or two KiB.
    PUBLISH_BYTES: usize = 8 * 1024 * 1024, "bytes";
    /// Tries of a download that breaks off; each one goes on where the last one stopped.
    IMPORT_TRIES: u32 = 8, "tries";
    /// Longest time to connect to a server of images.
    IMPORT_CONNECT: Duration = Duration::from_secs(15), "time";
    /// Longest time until such a server answers a request: a mirror may have to wake a disk.
    IMPORT_ANSWER: Duration = Duration::from_secs(30), "time";
    /// Longest silence in the middle of a download.
    IMPORT_IDLE: Duration = Duration::from_secs(60), "time";
    /// Bytes that stay free on the disk when an image is imported: the database and its backups live beside the images.
    IMPORT_MARGIN: u64 = 256 << 20, "bytes";
    /// Biggest image that can be handed to a machine. iPXE wraps it into a newc archive, whose sizes have 32 bits; one MiB
    /// is left for what the ISO view adds.
    MAX_IMAGE_BYTES: u64 = (u32::MAX as u64) - (1 << 20), "bytes";
    /// Redirects that are followed for one request.
    REDIRECTS: usize = 5, "redirects";
    /// Longest `/.cd-info`; real ones have about 150 bytes.
    CD_INFO_BYTES: u64 = 16 << 10, "bytes";
    /// All boot files are kept in memory, so a stray ISO in the folder must not be taken along.
    BOOT_FILE_BYTES: u64 = 32 * 1024 * 1024, "bytes";
    /// Steps of one template of an app. One placeholder costs a few instructions; a loop over a handful of values some hundreds.
    TEMPLATE_FUEL: u64 = 20_000, "steps";
    /// Longest template and longest result, bytes.
    MOST_BYTES: usize = 16 * 1024, "bytes";
    /// Steps of one value of an answer template. A value has a handful of placeholders; one costs a few instructions.
    PLACEHOLDER_FUEL: u64 = 2_000, "steps";
    /// Longer than any value that the installer takes.
    PLACEHOLDER_VALUE: usize = 1024, "bytes";
}
