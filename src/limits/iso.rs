//! Reading an image. A 9.2 installer has 12 root entries, directories of up to about 1,200 records (250 KiB) and a depth of 4.

super::limits! {
    /// Volume descriptors before the set's end.
    DESCRIPTORS: u32 = 64, "descriptors";
    /// Bytes of one directory.
    DIRECTORY_BYTES: u64 = 1 << 20, "bytes";
    /// Nested directories.
    DEPTH: usize = 32, "depth";
    /// Entries that one walk over the whole tree may meet.
    ENTRIES: usize = 200_000, "entries";
    /// Continuation areas of one record; Linux allows 32 as well (`fs/isofs/rock.c`, 6.x).
    CONTINUATIONS: usize = 32, "continuations";
    /// Bytes of one Rock Ridge name.
    NAME_BYTES: usize = 1024, "bytes";
    /// Extents of one file.
    EXTENTS: usize = 64, "extents";
}
