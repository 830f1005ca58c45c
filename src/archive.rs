//! Tar and compressed content as streams: the order of the source, normalised headers, and no
//! path that leaves the root.
//!
//! A resource that is localized or configured is an archive of a directory: some manifests, or a
//! Helm chart. It flows through here entry by entry, so that memory does not grow with its size:
//!
//! ```text
//! source -> decompress -> Reader -> (rewrite the few files that rules name) -> tar -> gzip -> sink
//! ```
//!
//! The content comes from outside and is taken to be hostile. [`Reader`] yields files and
//! directories only, under paths that are relative and unambiguous, and an archive that two
//! implementations could read in two ways is refused as a whole. Nothing is ever unpacked to a
//! file system. Every quantity has a bound in [`Limits`].
//!
//! What is written is canonical: the same entries give the same bytes, whoever packed the source,
//! and packing a packed archive again changes nothing.

mod compression;
mod error;
mod extensions;
mod gzip;
mod header;
mod inspect;
mod known;
mod limits;
mod path;
mod pax;
mod reader;
mod rewrite;
#[cfg(test)]
mod tests;
mod writer;

pub use compression::{Compression, Decompressed, decompress};
pub use error::{Error, Result};
pub use inspect::{
    Content, Found, Inspected, Kind, Summary, check, copy_checked, find_file, inspect,
};
pub use limits::Limits;
pub use path::EntryPath;
pub use reader::{Body, Entry, EntryKind, Reader};
pub use rewrite::{
    Layout, Rewrite, RewriteError, Rewritten, normalize, normalize_seeing, pack_single_file,
    rewrite,
};
