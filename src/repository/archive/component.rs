//! Component archives: one component version, its descriptor as a file of its own.

use std::collections::HashMap;
use std::io::{self, Read as _};

use bytes::Bytes;

use super::ArchiveError;
use super::files::Files;
use super::index::Index;
use crate::oci::{Algorithm, Digest, Hasher};
use crate::ocm::{
    BlobDescriptor, DescriptorDocument, MAX_DESCRIPTOR, OcmRepository, component_manifest,
};

/// The file's name.
pub(super) const FILE: &str = "component-descriptor.yaml";

/// The access types whose content is a file of the archive.
const LOCAL_KINDS: [&str; 6] = [
    "localBlob",
    "LocalBlob",
    "localFilesystemBlob",
    "LocalFilesystemBlob",
    "localOciBlob",
    "LocalOciBlob",
];

/// Reads a component archive as if it were a transport archive: the artifact it would be, and the
/// content that has no file.
///
/// An access of the archive names a file; in the descriptor that comes out, it names a digest, as
/// everywhere else. No signature covers that.
pub(super) fn read(files: &mut Files) -> Result<(Index, HashMap<Digest, Bytes>), ArchiveError> {
    let wrong = |source| ArchiveError::Descriptor { source };
    let written = files.document(FILE, MAX_DESCRIPTOR)?;
    let mut document = DescriptorDocument::parse(&written).map_err(wrong)?;
    let mut named = HashMap::new();
    let mut layers: Vec<BlobDescriptor> = Vec::new();
    for element in document.elements() {
        let mut access = document.access(&element).object().clone();
        let kind = access.get("type").and_then(|kind| kind.as_str());
        let kind = kind.unwrap_or_default().split('/').next();
        if !kind.is_some_and(|kind| LOCAL_KINDS.contains(&kind)) {
            continue;
        }
        let text = |key: &str| access.get(key).and_then(|value| value.as_str());
        let reference = ["localReference", "fileName", "filename", "digest"]
            .into_iter()
            .find_map(text)
            .unwrap_or_default();
        let file_name = reference.replace(':', ".");
        let media_type = text("mediaType")
            .unwrap_or("application/octet-stream")
            .to_owned();
        let (digest, size) = measure(files, &file_name)?;
        access.insert("type".to_owned(), "localBlob".into());
        access.insert("localReference".to_owned(), digest.to_string().into());
        for old in ["fileName", "filename", "digest"] {
            access.remove(old);
        }
        document.set_access(&element, access);
        if !layers.iter().any(|layer| layer.digest == digest) {
            layers.push(BlobDescriptor {
                media_type,
                digest: digest.clone(),
                size,
                annotations: document.annotation(&element),
            });
        }
        named.insert(digest, file_name);
    }
    let descriptor = document.descriptor();
    let made = component_manifest(&document, layers);
    let mut index = Index::default();
    let repository = OcmRepository::archive(String::new())
        .component_repository(&descriptor.name)
        .map_err(wrong)?;
    let tag = descriptor.version.tag().clone();
    let digest = Digest::of(&made.manifest);
    index.set(
        repository,
        Some(tag),
        digest.clone(),
        made.media_type.to_owned(),
    );
    let made_up = [
        (digest, made.manifest),
        (made.config.digest, made.config_bytes),
        (made.descriptor.digest, made.descriptor_bytes),
    ]
    .into_iter()
    .collect();
    files.name_blobs(named);
    Ok((index, made_up))
}

/// The digest and size of a file below `blobs/`.
fn measure(files: &Files, name: &str) -> Result<(Digest, u64), ArchiveError> {
    let failed = |source: io::Error| ArchiveError::Read { source };
    let mut file = files.blob_named(name)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => break,
            count => hasher.update(&piece[..count]),
        }
    }
    let size = hasher.length();
    Ok((hasher.finish(), size))
}
