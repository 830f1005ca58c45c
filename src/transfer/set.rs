//! An artifact with all it consists of as one file: an image layout in a compressed tar archive,
//! as the reference tools write it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::NamedTempFile;

use super::access::Hint;
use super::artifact::Top;
use super::{Error, Result};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::registry::Manifest;
use crate::repository::FileBlob;

/// What goes into the file: a manifest, or a blob of known size.
enum Piece<'a> {
    Manifest(&'a Bytes),
    Blob(u64),
}

/// A file that was written; it goes with this.
pub(super) struct Packed {
    pub(super) content: FileBlob,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// The media type of the file, by that of the manifest in it.
pub(super) fn media_type(manifest: &str) -> String {
    let front = manifest.strip_suffix("+json").unwrap_or(manifest);
    format!("{front}+tar+gzip")
}

/// Writes the file, piece by piece, in the order of their digests. The same artifact gives the same
/// bytes.
pub(super) async fn write(
    name: &str,
    top: &Top<'_>,
    manifest: &Manifest,
    hint: Option<&Hint>,
) -> Result<Packed> {
    let failed = |source| Error::Pack {
        element: name.to_owned(),
        source,
    };
    let tree = top.tree(name, manifest.clone()).await?;
    let file = NamedTempFile::new().map_err(failed)?;
    let index = index(manifest, hint);
    let mut sink = Hashed {
        sink: io::BufWriter::new(file.as_file().try_clone().map_err(failed)?),
        hasher: Hasher::new(Algorithm::Sha256),
    };
    let mut archive = Writer::begin(&mut sink, &index).map_err(failed)?;
    let manifests = tree.manifests.iter();
    let manifests = manifests.map(|found| (&found.digest, Piece::Manifest(&found.bytes)));
    let blobs = tree.blobs().into_iter();
    let blobs = blobs.map(|blob| (&blob.digest, Piece::Blob(blob.size)));
    for (digest, piece) in blobs.chain(manifests).collect::<BTreeMap<_, _>>() {
        match piece {
            Piece::Manifest(bytes) => archive.whole(digest, bytes).map_err(failed)?,
            Piece::Blob(size) => {
                let opened = top.artifacts.blob(&top.repository, digest, Some(size));
                let mut blob = opened.await.map_err(|source| Error::Copy {
                    element: name.to_owned(),
                    source,
                })?;
                archive.header(digest, size).map_err(failed)?;
                let mut written = 0;
                while let Some(piece) = blob.chunk().await.map_err(|source| Error::Copy {
                    element: name.to_owned(),
                    source,
                })? {
                    written += piece.len() as u64;
                    archive.bytes(&piece).map_err(failed)?;
                }
                if written != size {
                    return Err(failed(io::Error::other(format!(
                        "{digest} has {written} bytes where {size} were expected"
                    ))));
                }
                archive.pad(size).map_err(failed)?;
            }
        }
    }
    archive.finish().map_err(failed)?;
    sink.flush().map_err(failed)?;
    let size = sink.hasher.length();
    let digest = sink.hasher.finish();
    Ok(Packed {
        content: FileBlob(file),
        digest,
        size,
    })
}

/// The layout's index: one entry, which is the artifact.
fn index(manifest: &Manifest, hint: Option<&Hint>) -> Vec<u8> {
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
    });
    if let Some(tag) = hint.and_then(|hint| hint.tag.as_ref()) {
        entry["annotations"] = json!({
            "org.opencontainers.image.ref.name": tag,
            "software.ocm/tags": tag,
        });
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
        "annotations": {"software.ocm/main": manifest.digest},
    })
    .to_string()
    .into_bytes()
}

struct Hashed<W> {
    sink: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Writes the layout.
struct Writer<W: Write> {
    sink: GzEncoder<W>,
}

impl<W: Write> Writer<W> {
    fn begin(sink: W, index: &[u8]) -> io::Result<Self> {
        let sink = GzEncoder::new(sink, Compression::default());
        let mut writer = Self { sink };
        writer.file("index.json", index)?;
        writer.file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        header.set_path("blobs/")?;
        header.set_cksum();
        writer.bytes(header.as_bytes())?;
        Ok(writer)
    }

    fn whole(&mut self, digest: &Digest, content: &[u8]) -> io::Result<()> {
        self.header(digest, content.len() as u64)?;
        self.bytes(content)?;
        self.pad(content.len() as u64)
    }

    fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.named(path, content.len() as u64)?;
        self.bytes(content)?;
        self.pad(content.len() as u64)
    }

    fn header(&mut self, digest: &Digest, size: u64) -> io::Result<()> {
        let path = format!("blobs/{}.{}", digest.algorithm().name(), digest.hex());
        self.named(&path, size)
    }

    fn named(&mut self, path: &str, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        // Past 8 GiB a size needs the form that GNU tar brought up.
        if size >= 8 << 30 {
            header = tar::Header::new_gnu();
        }
        header.set_size(size);
        header.set_mode(0o644);
        header.set_path(path)?;
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % 512).unwrap_or(0);
        if rest == 0 {
            return Ok(());
        }
        self.bytes(&[0; 512][rest..])
    }

    fn finish(mut self) -> io::Result<()> {
        self.bytes(&[0; 1_024])?;
        self.sink.finish()?;
        Ok(())
    }
}
