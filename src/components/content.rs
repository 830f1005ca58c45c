//! The content of a resource: where it is, by digest.

use super::kept::Home;
use super::signed::{self, Terms};
use super::{Components, Error, Place, Result, scheme};
use crate::oci::{Digest, Hasher, ImageReference};
use crate::ocm::{
    Accepted, Access, BlobDescriptor, BlobLocation, ReadComponent, Resource, location,
};
use crate::registry::{self, Reference, RegistryRepository};
use crate::snapshot::ContentKind;

/// A resource's content as it was located: fixed by digest, not yet fetched.
#[derive(Debug, Clone)]
pub struct Content {
    /// The digest of all of it: of the one blob, or of the list of digests of several.
    pub identity: Digest,
    /// Where it is.
    pub source: Source,
    /// Whether it is a packed Helm chart.
    pub kind: ContentKind,
}

/// Pieces from one repository; joined in this order they are the content.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) home: Home,
    pub(super) pieces: Vec<Piece>,
}

/// A part of some content.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// What is known already: what lies around blobs in an archive.
    Bytes(Vec<u8>),
    /// A blob of the repository.
    Blob(BlobDescriptor),
}

impl Components {
    /// Finds where the content of `resource` is. Reads manifests, but no content.
    pub async fn locate(
        &self,
        place: &Place,
        component: &Accepted,
        resource: &Resource,
    ) -> Result<Content> {
        let terms = Terms::of(component, resource)?;
        self.locate_on(&terms, place, component, resource).await
    }

    /// The same on terms that are known.
    pub(super) async fn locate_on(
        &self,
        terms: &Terms,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
    ) -> Result<Content> {
        let failed = |source| Error::Locate {
            resource: resource.identity(),
            source,
        };
        match resource.access.typed().map_err(failed)? {
            Access::LocalBlob(blob) => {
                let home = self.home(place, &component.descriptor.name)?;
                match component.local_blob(resource, &blob).map_err(failed)? {
                    BlobLocation::Blobs(blobs) => {
                        check_digest(resource, &blobs)?;
                        terms.refuse_artifact_set(resource)?;
                        Ok(Content::of_blobs(home, blobs))
                    }
                    BlobLocation::Manifest(digest) => {
                        let wanted = Reference::Digest(digest);
                        self.artifact(terms, place, resource, home, &wanted).await
                    }
                }
            }
            Access::OciArtifact { .. } | Access::RelativeOciReference { .. } => {
                let image = location(component, resource).map_err(failed)?;
                let home = self.home_of(place, &image, resource)?;
                let wanted = match (reference(&image), manifest_digest(resource)) {
                    (Reference::Tag(_), Some(digest)) => Reference::Digest(digest),
                    (wanted, _) => wanted,
                };
                self.artifact(terms, place, resource, home, &wanted).await
            }
            _ => Err(Error::UnsupportedAccess {
                resource: resource.identity(),
                kind: resource.access.kind().to_owned(),
            }),
        }
    }

    /// The repository of an image.
    pub(super) fn home_of(
        &self,
        place: &Place,
        reference: &ImageReference,
        resource: &Resource,
    ) -> Result<Home> {
        // Plain HTTP is the repository's own setting; it holds for nobody else's host.
        let own = place.repository.written_host();
        let scheme = if own.is_ok_and(|own| own == reference.host()) {
            scheme(&place.repository)
        } else {
            registry::Scheme::Https
        };
        let repository = RegistryRepository::of_image(reference, scheme);
        let repository = repository.map_err(|source| Error::Pull {
            resource: resource.identity(),
            source,
        })?;
        Ok(self.registry(place, &repository))
    }
}

impl Content {
    pub(super) fn of_blobs(home: Home, blobs: Vec<BlobDescriptor>) -> Self {
        let identity = match blobs.as_slice() {
            [only] => only.digest.clone(),
            several => {
                let mut hasher = Hasher::new(crate::oci::Algorithm::Sha256);
                for blob in several {
                    hasher.update(blob.digest.to_string().as_bytes());
                }
                hasher.finish()
            }
        };
        let is_chart = blobs
            .iter()
            .any(|blob| blob.media_type == ContentKind::HelmChart.layer_media_type());
        let kind = if is_chart {
            ContentKind::HelmChart
        } else {
            ContentKind::Files
        };
        let pieces = blobs.into_iter().map(Piece::Blob).collect();
        Self {
            identity,
            source: Source { home, pieces },
            kind,
        }
    }

    /// An artifact in the form of an image layout; `top` is its manifest.
    pub(super) fn of_layout(home: Home, top: &Digest, pieces: Vec<Piece>) -> Self {
        Self {
            identity: Digest::of(format!("image layout of {top}")),
            source: Source { home, pieces },
            kind: ContentKind::Files,
        }
    }
}

/// A single local blob is what the descriptor says it is, or it is not used.
fn check_digest(resource: &Resource, blobs: &[BlobDescriptor]) -> Result<()> {
    let ([blob], Some(expected)) = (blobs, resource.content_digest()) else {
        return Ok(());
    };
    if signed::records_manifest(resource) {
        return Ok(());
    }
    if blob.digest.algorithm() == expected.algorithm() && blob.digest != expected {
        return Err(Error::DigestMismatch {
            resource: resource.identity(),
            expected,
            found: blob.digest.clone(),
        });
    }
    Ok(())
}

/// The digest of the resource's manifest, where the descriptor records that.
fn manifest_digest(resource: &Resource) -> Option<Digest> {
    let spec = resource.digest.as_ref()?;
    spec.normalisation_algorithm
        .starts_with("ociArt")
        .then(|| spec.digest())?
}

/// What is asked of a registry for an image, as its reference stands.
pub(super) fn reference(image: &ImageReference) -> Reference {
    match (image.digest(), image.tag()) {
        (Some(digest), _) => Reference::Digest(digest.clone()),
        (None, Some(tag)) => Reference::Tag(tag.clone()),
        (None, None) => Reference::Tag("latest".parse().expect("a tag by its grammar")),
    }
}
