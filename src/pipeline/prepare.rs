//! From a resource's content to what Flux reads: tar and gzip.

use std::io::{Read, Write};

use super::{Error, Result, chart};
use crate::archive::{self, Compression, Content, Entry, EntryPath, Inspected, Layout, Limits};

/// Writes `source`, the content of the resource `name`, as tar and gzip. What is that already keeps
/// its bytes; a plain text becomes a file named after the resource.
///
/// Says whether a file of it is [`chart::may_be_metadata`], so that nothing has to be read once more
/// to find out that it is no chart.
pub(super) fn prepare(
    source: impl Read,
    name: &str,
    limits: &Limits,
    sink: &mut impl Write,
) -> Result<bool> {
    let failed = |source| Error::Archive {
        what: format!("resource {name:?}"),
        source,
    };
    let Inspected { kind, source } = archive::inspect(source, limits).map_err(failed)?;
    let mut may_be_chart = false;
    match (kind.content, kind.compression) {
        (Content::Tar, Compression::Gzip) => {
            let see = |entry: &Entry| may_be_chart |= chart::may_be_metadata(&entry.path);
            archive::copy_checked(source, sink, limits, see).map_err(failed)?;
        }
        (Content::Text, _) => {
            let path: EntryPath = format!("{name}.yaml").parse().map_err(failed)?;
            let text = archive::decompress(source, limits).map_err(failed)?;
            archive::pack_single_file(&path, text, sink, limits).map_err(failed)?;
        }
        (Content::Tar | Content::Empty | Content::Packed(_) | Content::Other, _) => {
            let see = |path: &EntryPath| may_be_chart |= chart::may_be_metadata(path);
            archive::normalize_seeing(source, sink, limits, &Layout::Keep, see).map_err(failed)?;
        }
    }
    Ok(may_be_chart)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::archive::Reader;
    use crate::oci::Digest;

    const MANIFEST: &[u8] = b"kind: ConfigMap\n";

    fn prepared(source: &[u8]) -> Result<Vec<u8>> {
        let mut sink = Vec::new();
        prepare(source, "deploy", &Limits::default(), &mut sink)?;
        Ok(sink)
    }

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(MANIFEST.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(1_234_567);
        builder
            .append_data(&mut header, "deploy.yaml", MANIFEST)
            .unwrap();
        builder.into_inner().unwrap()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::new(9));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn files(packed: &[u8]) -> Vec<(String, Vec<u8>)> {
        let limits = Limits::default();
        let mut reader = Reader::open(packed, &limits).unwrap();
        let mut files = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let content = reader.read_file(&entry.path).unwrap();
            files.push((entry.path.to_string(), content));
        }
        files
    }

    #[test]
    fn every_shape_becomes_tar_and_gzip_with_the_same_file() {
        let zstd = zstd::encode_all(tar().as_slice(), 3).unwrap();
        for source in [tar(), gzip(&tar()), zstd, MANIFEST.to_vec(), gzip(MANIFEST)] {
            let packed = prepared(&source).unwrap();
            assert_eq!(packed[..2], [0x1f, 0x8b]);
            assert_eq!(
                files(&packed),
                [("deploy.yaml".to_owned(), MANIFEST.to_vec())]
            );
        }
    }

    #[test]
    fn tar_and_gzip_keeps_its_bytes() {
        let source = gzip(&tar());
        assert_eq!(prepared(&source).unwrap(), source);
    }

    #[test]
    fn packed_bytes_are_the_same_on_every_machine_and_in_every_version() {
        let expected = "sha256:2ba9dad980f732c8a92e0eba62a38200f5e74709698cbaec7e32d5efbaab3303";
        assert_eq!(Digest::of(prepared(&tar()).unwrap()).to_string(), expected);
        assert_eq!(prepared(MANIFEST).unwrap(), prepared(&tar()).unwrap());
    }

    #[test]
    fn b18_compressions_that_are_not_read_are_refused_by_name() {
        let bzip2 = b"BZh91AY&SY\x9c\xd3\x13\x93\x00\x00";
        let xz = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46";
        for (source, name) in [(&bzip2[..], "bzip2"), (&xz[..], "xz")] {
            let message = crate::chain::chain(&prepared(source).unwrap_err());
            assert!(
                message.contains(&format!("unsupported compression {name}")),
                "{message}"
            );
        }
    }
}
