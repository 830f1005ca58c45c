//! A component version together with the place it was read from.

use super::{
    BlobDescriptor, Descriptor, DigestSpec, Error, Identity, LocalBlob, OcmRepository, Resource,
    Result, is_manifest,
};
use crate::oci::Digest;

/// A component version as it was read: what it says, and where its local blobs are.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadComponent {
    /// The repository it was read from.
    pub repository: OcmRepository,
    /// The digest its tag was resolved to.
    pub digest: Digest,
    /// The layers of its manifest.
    pub layers: Vec<BlobDescriptor>,
    /// The further manifests of its index, if its tag names one.
    pub manifests: Vec<BlobDescriptor>,
    /// The descriptor.
    pub descriptor: Descriptor,
}

/// What has to be fetched from the component's own repository for a local blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobLocation {
    /// Blobs, to be joined in this order.
    Blobs(Vec<BlobDescriptor>),
    /// A manifest or index that is an artifact of its own.
    Manifest(Digest),
}

impl ReadComponent {
    /// Where the content of a local blob is in the registry.
    ///
    /// The reference names one layer, several that were split from one blob (joined by commas), or
    /// a nested manifest.
    pub fn local_blob(&self, resource: &Resource, blob: &LocalBlob) -> Result<BlobLocation> {
        self.local_blob_of(&resource.identity(), blob)
    }

    /// The same for any element; its identity is for messages.
    pub fn local_blob_of(&self, element: &Identity, blob: &LocalBlob) -> Result<BlobLocation> {
        let wrong = |problem: String| Error::Locate {
            resource: element.clone(),
            problem,
        };
        let digests = blob
            .local_reference
            .split(',')
            .map(|reference| reference.trim().parse::<Digest>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| wrong(format!("its localReference does not fit: {source}")))?;
        let layers: Option<Vec<BlobDescriptor>> = digests
            .iter()
            .map(|digest| self.layers.iter().find(|layer| layer.digest == *digest))
            .map(Option::<&BlobDescriptor>::cloned)
            .collect();
        match (layers, digests.as_slice()) {
            (Some(layers), _) => Ok(BlobLocation::Blobs(layers)),
            (None, [digest])
                if is_manifest(&blob.media_type)
                    || self.manifests.iter().any(|found| found.digest == *digest) =>
            {
                Ok(BlobLocation::Manifest(digest.clone()))
            }
            (None, _) => Err(wrong(format!(
                "its localReference {:?} is no layer of the component version's manifest",
                blob.local_reference
            ))),
        }
    }
}

impl Resource {
    /// The digest that the descriptor records for the content, if there is one that can be checked.
    pub fn content_digest(&self) -> Option<Digest> {
        self.digest.as_ref().and_then(DigestSpec::digest)
    }
}
