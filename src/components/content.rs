//! The content of a resource: where it is, by digest.

use super::kept::Home;
use super::signed::{self, Terms};
use super::{Components, Error, Place, Result};
use crate::oci::{Digest, Hasher, ImageReference};
use crate::ocm::{
    Accepted, Access, BlobDescriptor, BlobLocation, OciBlob, ReadComponent, Resource, location,
};
use crate::registry::{self, Reference, RegistryRepository};
use crate::remote::Remote;
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

/// Pieces that, joined in this order, are the content.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) pieces: Vec<Piece>,
}

/// A part of some content.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// What is known already: what lies around blobs in an archive.
    Bytes(Vec<u8>),
    /// A blob of a repository.
    Blob {
        home: Home,
        digest: Digest,
        /// How many bytes it has to have, where that is known.
        size: Option<u64>,
    },
    /// What is outside of registries, and the digest that it has to have.
    Remote(Box<Remote>, Digest),
}

impl Components {
    /// Finds where the content of `resource` is. Reads manifests, but no content; only content
    /// outside of registries that nobody records a digest of is fetched, to find out its digest.
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
        let access = resource.access.typed().map_err(failed)?;
        match &access {
            Access::LocalBlob(blob) => {
                let home = self.home(place, &component.descriptor.name)?;
                match component.local_blob(resource, blob).map_err(failed)? {
                    BlobLocation::Blobs(blobs) => {
                        if signed::is_set(resource, &blob.media_type, &blobs) {
                            terms.refuse_artifact_set(resource)?;
                        } else {
                            let digests: Vec<_> = blobs.iter().map(|blob| &blob.digest).collect();
                            check_digest(resource, &digests)?;
                        }
                        Ok(Content::of_blobs(&home, blobs))
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
            Access::OciBlob(blob) => {
                let image = location(component, resource).map_err(failed)?;
                let home = self.home_of(place, &image, resource)?;
                check_digest(resource, &[&blob.digest])?;
                Ok(Content::of_blob(home, blob))
            }
            Access::Helm(_) | Access::Wget(_) => {
                self.locate_outside(terms, place, component, resource, &access)
                    .await
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
            registry::Scheme::of(&place.repository)
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
    pub(super) fn of_blobs(home: &Home, blobs: Vec<BlobDescriptor>) -> Self {
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
        let is_chart = blobs.iter().any(|blob| is_chart(&blob.media_type));
        let pieces = blobs.into_iter().map(|blob| Piece::of(home, blob));
        Self {
            identity,
            source: Source {
                pieces: pieces.collect(),
            },
            kind: kind(is_chart),
        }
    }

    /// A blob whose size its access may not tell.
    fn of_blob(home: Home, blob: &OciBlob) -> Self {
        let piece = Piece::Blob {
            home,
            digest: blob.digest.clone(),
            size: blob.size.and_then(|size| u64::try_from(size).ok()),
        };
        Self {
            identity: blob.digest.clone(),
            source: Source {
                pieces: vec![piece],
            },
            kind: kind(is_chart(&blob.media_type)),
        }
    }

    /// What has `digest` and is outside of registries.
    pub(super) fn of_remote(remote: Remote, digest: Digest) -> Self {
        Self {
            identity: digest.clone(),
            kind: remote.kind(),
            source: Source {
                pieces: vec![Piece::Remote(Box::new(remote), digest)],
            },
        }
    }

    /// An artifact in the form of an image layout; `top` is its manifest.
    pub(super) fn of_layout(top: &Digest, pieces: Vec<Piece>) -> Self {
        Self {
            // The number is raised when other bytes are made of the same artifact.
            identity: Digest::of(format!("image layout 2 of {top}")),
            source: Source { pieces },
            kind: ContentKind::Files,
        }
    }
}

impl Piece {
    pub(super) fn of(home: &Home, blob: BlobDescriptor) -> Self {
        Self::Blob {
            home: home.clone(),
            digest: blob.digest,
            size: Some(blob.size),
        }
    }
}

fn is_chart(media_type: &str) -> bool {
    media_type == ContentKind::HelmChart.layer_media_type()
}

fn kind(is_chart: bool) -> ContentKind {
    if is_chart {
        ContentKind::HelmChart
    } else {
        ContentKind::Files
    }
}

/// A single blob is what the descriptor says it is, or it is not used.
pub(super) fn check_digest(resource: &Resource, found: &[&Digest]) -> Result<()> {
    let ([found], Some(expected)) = (found, resource.content_digest()) else {
        return Ok(());
    };
    if found.algorithm() == expected.algorithm() && **found != expected {
        return Err(Error::DigestMismatch {
            resource: resource.identity(),
            expected,
            found: (*found).clone(),
        });
    }
    Ok(())
}

/// The digest of the resource's manifest, where the descriptor records that.
pub(super) fn manifest_digest(resource: &Resource) -> Option<Digest> {
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
