//! The content of an artifact in an OCI registry: its one piece of content, or all of it as an OCI
//! image layout (image specification, "Image Layout") in a tar archive.

use std::collections::HashSet;

use serde_json::json;

use super::content::{Content, Piece};
use super::kept::Home;
use super::signed::Terms;
use super::{Components, Error, Place, Result};
use crate::oci::{Algorithm, Digest};
use crate::ocm::{BlobDescriptor, Resource};
use crate::registry::{self, ImageManifest, Manifest, Reference};
use crate::repository::{ArtifactTree, MOST_MANIFESTS, TreeError};
use crate::snapshot::ContentKind;

/// The configurations of container images: their layers are a file system, not content.
const IMAGE_CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// How a tar archive is laid out, in bytes.
const TAR_BLOCK: u64 = 512;

impl Components {
    /// The content of the artifact that `reference` names in `repository`.
    pub(super) async fn artifact(
        &self,
        terms: &Terms,
        place: &Place,
        resource: &Resource,
        home: Home,
        reference: &Reference,
    ) -> Result<Content> {
        let top = self.pull(place, resource, &home, reference).await?;
        terms.check_manifest(resource, &top)?;
        if let registry::Content::Image(image) = &top.content
            && let Some(layer) = only_content(image)
        {
            return Ok(Content::of_blobs(&home, vec![blob(layer)]));
        }
        self.layout(place, resource, home, top).await
    }

    /// The whole artifact, each manifest and blob once.
    async fn layout(
        &self,
        place: &Place,
        resource: &Resource,
        home: Home,
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
        let fetch = |digest| {
            let (home, reference) = (&home, Reference::Digest(digest));
            async move { self.pull(place, resource, home, &reference).await }
        };
        let tree = ArtifactTree::collect(top, fetch).await;
        let tree = tree.map_err(|error| match error {
            TreeError::Fetch(error) => error,
            TreeError::TooLarge => Error::TooManyManifests {
                resource: resource.identity(),
                limit: MOST_MANIFESTS,
            },
        })?;
        let mut are_named = true;
        for found in tree.blobs() {
            are_named &= layout.add_blob(&home, blob(found));
        }
        for found in &tree.manifests {
            are_named &= layout.add_manifest(&found.digest, found.bytes.to_vec());
        }
        if !are_named {
            return Err(Error::UnsupportedDigest {
                resource: resource.identity(),
            });
        }
        Ok(Content::of_layout(&identity, layout.finish()))
    }

    /// A manifest of the artifact of `resource`.
    pub(super) async fn pull(
        &self,
        place: &Place,
        resource: &Resource,
        home: &Home,
        reference: &Reference,
    ) -> Result<Manifest> {
        let pulled = self.manifest(place, home, reference).await?;
        pulled.map_err(|source| Error::Pull {
            resource: resource.identity(),
            source,
        })
    }
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

pub(super) fn blob(found: &registry::Descriptor) -> BlobDescriptor {
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

    /// Adds a manifest; says whether its digest can be named.
    fn add_manifest(&mut self, digest: &Digest, bytes: Vec<u8>) -> bool {
        let Some(path) = path_of(digest) else {
            return false;
        };
        if self.seen.insert(digest.clone()) {
            self.add_file(&path, bytes);
        }
        true
    }

    /// Adds a blob; says whether its digest can be named.
    fn add_blob(&mut self, home: &Home, blob: BlobDescriptor) -> bool {
        let Some(path) = path_of(&blob.digest) else {
            return false;
        };
        if self.seen.insert(blob.digest.clone()) {
            let size = blob.size;
            self.pieces.push(Piece::Bytes(header(&path, size)));
            self.pieces.push(Piece::of(home, blob));
            self.pieces.push(Piece::Bytes(padding(size)));
        }
        true
    }

    fn finish(mut self) -> Vec<Piece> {
        self.pieces.push(Piece::Bytes(vec![0; 1_024]));
        self.pieces
    }
}

/// Where the layout has a blob. SHA-512 digests are longer than an archive's plain header can name.
fn path_of(digest: &Digest) -> Option<String> {
    let fits = digest.algorithm() == Algorithm::Sha256;
    fits.then(|| format!("blobs/{}/{}", digest.algorithm().name(), digest.hex()))
}

fn header(path: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_path(path).expect("a path that fits a header");
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

    fn hashed(algorithm: Algorithm) -> Digest {
        let mut hasher = crate::oci::Hasher::new(algorithm);
        hasher.update(b"manifest");
        hasher.finish()
    }

    #[test]
    fn layout_is_an_archive_with_each_blob_once_under_its_digest() {
        let digest = hashed(Algorithm::Sha256);
        let mut layout = Layout::default();
        assert!(layout.add_manifest(&digest, b"manifest".to_vec()));
        assert!(layout.add_manifest(&digest, b"manifest".to_vec()));
        let archive: Vec<u8> = layout
            .finish()
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Blob { .. } | Piece::Remote(..) => unreachable!("there are no blobs"),
            })
            .collect();
        let limits = Limits::default();
        let mut reader = Reader::open(archive.as_slice(), &limits).unwrap();
        let entry = reader.next_entry().unwrap().unwrap();
        let expected = format!("blobs/sha256/{}", digest.hex());
        assert_eq!(entry.path.as_str(), expected);
        assert_eq!(reader.read_file(&entry.path).unwrap(), b"manifest");
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn digest_that_no_header_can_name_is_refused_without_a_panic() {
        let mut layout = Layout::default();
        assert!(!layout.add_manifest(&hashed(Algorithm::Sha512), Vec::new()));
    }
}
