//! From a resource's content to what Flux reads: tar and gzip.

use std::io::{Read, Write};

use super::{Error, Result};
use crate::archive::{self, Compression, Content, EntryPath, Inspected, Layout, Limits};

/// Writes `source`, the content of the resource `name`, as tar and gzip. What is that already keeps
/// its bytes; a plain text becomes a file named after the resource.
pub(super) fn prepare(
    source: impl Read,
    name: &str,
    limits: &Limits,
    sink: &mut impl Write,
) -> Result<()> {
    let failed = |source| Error::Archive {
        what: format!("resource {name:?}"),
        source,
    };
    let Inspected { kind, source } = archive::inspect(source, limits).map_err(failed)?;
    match (kind.content, kind.compression) {
        (Content::Tar, Compression::Gzip) => {
            archive::copy_checked(source, sink, limits).map_err(failed)?;
        }
        (Content::Text, _) => {
            let path: EntryPath = format!("{name}.yaml").parse().map_err(failed)?;
            let text = archive::decompress(source, limits).map_err(failed)?;
            archive::pack_single_file(&path, text, sink, limits).map_err(failed)?;
        }
        (Content::Tar | Content::Empty | Content::Packed(_) | Content::Other, _) => {
            archive::normalize(source, sink, limits, &Layout::Keep).map_err(failed)?;
        }
    }
    Ok(())
}
