//! The content of an artifact in an OCI registry: its one piece of content, or all of it as an OCI
//! image layout (image specification, "Image Layout") in a tar archive.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use serde_json::json;

use super::content::{Content, Piece};
use super::{Components, Error, Place, Result, signed};
use crate::oci::{Digest, json as strict_json};
use crate::ocm::{BlobDescriptor, MAX_MANIFEST, Resource};
use crate::registry::{
    self, ImageIndex, ImageManifest, Manifest, Reference, RegistryRepository, media_type,
};
use crate::snapshot::ContentKind;

/// The configurations of container images: their layers are a file system, not content.
const IMAGE_CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// How many manifests an artifact may consist of.
const MAX_MANIFESTS: usize = 1_000;

/// How a tar archive is laid out, in bytes.
const TAR_BLOCK: u64 = 512;

impl Components {
    /// The content of the artifact that `reference` names in `repository`.
    pub(super) async fn artifact(
        &self,
        place: &Place,
        resource: &Resource,
        repository: RegistryRepository,
        reference: &Reference,
    ) -> Result<Content> {
        let top = self.pull(place, resource, &repository, reference).await?;
        signed::check_manifest(place, resource, &top)?;
        if let registry::Content::Image(image) = &top.content
            && let Some(layer) = only_content(image)
        {
            return Ok(Content::of_blobs(repository, vec![blob(layer)]));
        }
        self.layout(place, resource, repository, top).await
    }

    /// The whole artifact, each manifest and blob once.
    async fn layout(
        &self,
        place: &Place,
        resource: &Resource,
        repository: RegistryRepository,
        top: Manifest,
    ) -> Result<Content> {
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": top.media_type, "digest": top.digest, "size": top.bytes.len()}]});
        let mut layout = Layout::default();
        layout.add_file(
            "oci-layout",
            json!({"imageLayoutVersion": "1.0.0"})
                .to_string()
                .into_bytes(),
        );
        layout.add_file("index.json", index.to_string().into_bytes());
        let identity = top.digest.clone();
        let mut pending = VecDeque::from([top]);
        let mut manifests = 1;
        while let Some(manifest) = pending.pop_front() {
            match &manifest.content {
                registry::Content::Image(image) => {
                    let blobs = std::iter::once(&image.config).chain(&image.layers);
                    blobs.for_each(|found| layout.add_blob(blob(found)));
                }
                registry::Content::Index(index) => {
                    manifests += index.manifests.len();
                    if manifests > MAX_MANIFESTS {
                        let resource = resource.identity();
                        return Err(Error::TooManyManifests {
                            resource,
                            limit: MAX_MANIFESTS,
                        });
                    }
                    for child in &index.manifests {
                        let by_digest = Reference::Digest(child.digest.clone());
                        pending
                            .push_back(self.pull(place, resource, &repository, &by_digest).await?);
                    }
                }
            }
            layout.add_manifest(&manifest.digest, manifest.bytes.to_vec());
        }
        Ok(Content::of_layout(repository, &identity, layout.finish()))
    }

    /// A manifest; one that is named by its digest is taken from the store where this namespace
    /// has pulled it before.
    async fn pull(
        &self,
        place: &Place,
        resource: &Resource,
        repository: &RegistryRepository,
        reference: &Reference,
    ) -> Result<Manifest> {
        if let Reference::Digest(digest) = reference
            && let Some(bytes) = self.kept(place, repository, digest, MAX_MANIFEST).await?
            && let Some(pulled) = reread(digest, &bytes)
        {
            return Ok(pulled);
        }
        let client = self.pool.client(repository, &place.credentials);
        let pulled = client.manifest(repository.name(), reference).await;
        let manifest = pulled.map_err(|source| Error::Pull {
            resource: resource.identity(),
            source,
        })?;
        self.keep(place, repository, &manifest.digest, manifest.bytes.clone())
            .await?;
        Ok(manifest)
    }
}

/// Reads a manifest again that was checked when it was pulled. One that does not name its own
/// media type is pulled again.
fn reread(digest: &Digest, bytes: &Bytes) -> Option<Manifest> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: String,
    }
    let Named { media_type } = serde_json::from_slice(bytes).ok()?;
    let is_index = media_type == media_type::OCI_INDEX || media_type == media_type::DOCKER_LIST;
    let content = if is_index {
        registry::Content::Index(strict_json::from_slice::<ImageIndex>(bytes).ok()?)
    } else {
        registry::Content::Image(Box::new(
            strict_json::from_slice::<ImageManifest>(bytes).ok()?,
        ))
    };
    Some(Manifest {
        media_type,
        digest: digest.clone(),
        bytes: bytes.clone(),
        content,
    })
}

/// The layer that is the content of an artifact: a packed Helm chart, or the only layer of what is
/// no container image.
fn only_content(image: &ImageManifest) -> Option<&registry::Descriptor> {
    let is_chart = |layer: &&registry::Descriptor| {
        layer.media_type == ContentKind::HelmChart.layer_media_type()
    };
    if let Some(chart) = image.layers.iter().find(is_chart) {
        return Some(chart);
    }
    match image.layers.as_slice() {
        [only] if !IMAGE_CONFIGS.contains(&image.config.media_type.as_str()) => Some(only),
        _ => None,
    }
}

fn blob(found: &registry::Descriptor) -> BlobDescriptor {
    BlobDescriptor {
        media_type: found.media_type.clone(),
        digest: found.digest.clone(),
        size: found.size,
        annotations: found.annotations.clone(),
    }
}

/// A tar archive of an image layout, in the making: headers and manifests as bytes, blobs by name.
#[derive(Default)]
struct Layout {
    pieces: Vec<Piece>,
    seen: HashSet<Digest>,
}

impl Layout {
    fn add_file(&mut self, path: &str, content: Vec<u8>) {
        let size = content.len() as u64;
        self.pieces.push(Piece::Bytes(header(path, size)));
        self.pieces.push(Piece::Bytes(content));
        self.pieces.push(Piece::Bytes(padding(size)));
    }

    fn add_manifest(&mut self, digest: &Digest, bytes: Vec<u8>) {
        if self.seen.insert(digest.clone()) {
            self.add_file(&path_of(digest), bytes);
        }
    }

    fn add_blob(&mut self, blob: BlobDescriptor) {
        if self.seen.insert(blob.digest.clone()) {
            let size = blob.size;
            self.pieces
                .push(Piece::Bytes(header(&path_of(&blob.digest), size)));
            self.pieces.push(Piece::Blob(blob));
            self.pieces.push(Piece::Bytes(padding(size)));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.pieces.push(Piece::Bytes(vec![0; 1_024]));
        self.pieces
    }
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn header(path: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    // Such paths have no more than the 100 bytes that a header has for a name, but for SHA-512.
    header
        .set_path(path)
        .expect("a short path, or one that splits at a slash");
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padding(size: u64) -> Vec<u8> {
    let rest = size % TAR_BLOCK;
    if rest == 0 {
        Vec::new()
    } else {
        vec![0; usize::try_from(TAR_BLOCK - rest).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Limits, Reader};

    fn layout_of(algorithm: crate::oci::Algorithm) -> Vec<u8> {
        let mut hasher = crate::oci::Hasher::new(algorithm);
        hasher.update(b"manifest");
        let mut layout = Layout::default();
        layout.add_manifest(&hasher.finish(), b"manifest".to_vec());
        let pieces = layout.finish();
        pieces
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Blob(_) => unreachable!("there are no blobs"),
            })
            .collect()
    }

    #[test]
    fn layout_is_an_archive_with_each_blob_under_its_digest() {
        for algorithm in [crate::oci::Algorithm::Sha256, crate::oci::Algorithm::Sha512] {
            let limits = Limits::default();
            let archive = layout_of(algorithm);
            let mut reader = Reader::open(archive.as_slice(), &limits).unwrap();
            let entry = reader.next_entry().unwrap().unwrap();
            assert!(
                entry
                    .path
                    .as_str()
                    .starts_with(&format!("blobs/{}/", algorithm.name()))
            );
            assert_eq!(reader.read_file(&entry.path).unwrap(), b"manifest");
            assert!(reader.next_entry().unwrap().is_none());
        }
    }
}
