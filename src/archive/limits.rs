//! The bounds of everything that an archive from outside can make large.

/// How much an archive may ask for before it is refused.
///
/// All bounds are inclusive: exactly the limit is accepted, one more is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression, headers, padding and skipped entries included.
    pub unpacked_bytes: u64,
    /// Files, directories and links, the directories that a path only implies included.
    pub entries: u64,
    /// Bytes after decompression for one byte before it.
    pub ratio: u64,
    /// Bytes after decompression up to which any ratio is accepted: small archives of mostly
    /// padding compress very well.
    pub ratio_free_bytes: u64,
    /// Bytes of one component of a path.
    pub name_bytes: usize,
    /// Bytes of a whole path.
    pub path_bytes: usize,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of a file that is held in memory: one that is rewritten, looked up, or packed alone.
    pub file_bytes: u64,
    /// Bytes of one PAX header.
    pub pax_bytes: u64,
    /// Records of one PAX header.
    pub pax_records: usize,
    /// Binary logarithm of the bytes that a zstd frame may make the decoder remember (RFC 8878,
    /// section 3.1.1.1.2).
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unpacked_bytes: 16 << 30,
            entries: 50_000,
            ratio: 1_000,
            ratio_free_bytes: 10 << 20,
            name_bytes: 255,
            path_bytes: 4_096,
            depth: 64,
            file_bytes: 16 << 20,
            pax_bytes: 1 << 20,
            pax_records: 1_000,
            zstd_window_log: 23,
        }
    }
}
