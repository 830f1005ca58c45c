//! The content of a resource: where it is, by digest, and its bytes as a stream.

use std::collections::VecDeque;
use std::io::{self, Read};

use tokio::runtime::Handle;

use super::{Components, Error, Place, Result, endpoint, scheme, signed};
use crate::oci::{Digest, Hasher, ImageReference};
use crate::ocm::{Access, BlobDescriptor, BlobLocation, ReadComponent, Resource, location};
use crate::registry::{self, BlobReader, Client, Reference, RegistryRepository};
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

/// Blobs in one repository; joined in this order they are the content.
#[derive(Debug, Clone)]
pub struct Source {
    repository: RegistryRepository,
    blobs: Vec<BlobDescriptor>,
}

impl Components {
    /// Finds where the content of `resource` is. Reads manifests, but no content.
    pub async fn locate(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
    ) -> Result<Content> {
        let failed = |source| Error::Locate {
            resource: resource.identity(),
            source,
        };
        signed::require_digest(place, resource)?;
        match resource.access.typed().map_err(failed)? {
            Access::LocalBlob(blob) => {
                let (_, repository) = self.client(place, &component.descriptor.name)?;
                match component.local_blob(resource, &blob).map_err(failed)? {
                    BlobLocation::Blobs(blobs) => {
                        check_digest(resource, &blobs)?;
                        signed::refuse_artifact_set(place, resource)?;
                        Ok(Content::of(repository, blobs))
                    }
                    BlobLocation::Manifest(digest) => {
                        self.artifact(place, resource, repository, &Reference::Digest(digest))
                            .await
                    }
                }
            }
            Access::OciArtifact { .. } | Access::RelativeOciReference { .. } => {
                let image = location(component, resource).map_err(failed)?;
                let repository = self.repository_of(place, &image, resource)?;
                let wanted = match (reference(&image), manifest_digest(resource)) {
                    (Reference::Tag(_), Some(digest)) => Reference::Digest(digest),
                    (wanted, _) => wanted,
                };
                self.artifact(place, resource, repository, &wanted).await
            }
            _ => Err(Error::UnsupportedAccess {
                resource: resource.identity(),
                kind: resource.access.kind().to_owned(),
            }),
        }
    }

    /// The bytes of `content`, for a thread that may block.
    pub fn open(&self, place: &Place, content: &Content) -> ContentReader {
        let repository = content.source.repository.clone();
        ContentReader {
            client: self.pool.client(&repository, &place.credentials),
            repository,
            pending: content.source.blobs.iter().cloned().collect(),
            current: None,
            runtime: Handle::current(),
        }
    }

    /// The content of an artifact: its one layer, or of several the packed Helm chart.
    async fn artifact(
        &self,
        place: &Place,
        resource: &Resource,
        repository: RegistryRepository,
        reference: &Reference,
    ) -> Result<Content> {
        let client = self.pool.client(&repository, &place.credentials);
        let manifest = client
            .manifest(repository.name(), reference)
            .await
            .map_err(|source| Error::Pull {
                resource: resource.identity(),
                source,
            })?;
        signed::check_manifest(place, resource, &manifest)?;
        let unsuitable = |problem: &str| Error::UnsuitableArtifact {
            resource: resource.identity(),
            problem: problem.to_owned(),
        };
        let image = match manifest.content {
            registry::Content::Image(image) => image,
            registry::Content::Index(_) => {
                return Err(unsuitable("it is an index of several images"));
            }
        };
        let is_chart = |layer: &&registry::Descriptor| {
            layer.media_type == ContentKind::HelmChart.layer_media_type()
        };
        let layer = match (image.layers.iter().find(is_chart), image.layers.as_slice()) {
            (Some(chart), _) => chart,
            (None, [only]) => only,
            (None, []) => return Err(unsuitable("it has no layers")),
            (None, _) => {
                return Err(unsuitable(
                    "it has several layers, as container images have",
                ));
            }
        };
        let blob = BlobDescriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            annotations: layer.annotations.clone(),
        };
        Ok(Content::of(repository, vec![blob]))
    }

    pub(super) fn repository_of(
        &self,
        place: &Place,
        reference: &ImageReference,
        resource: &Resource,
    ) -> Result<RegistryRepository> {
        // Plain HTTP is the repository's own setting; it holds for nobody else's host.
        let own = endpoint(&place.repository)?;
        let scheme = if reference.host() == own.authority() {
            scheme(&place.repository)
        } else {
            registry::Scheme::Https
        };
        RegistryRepository::of_image(reference, scheme).map_err(|source| Error::Pull {
            resource: resource.identity(),
            source,
        })
    }
}

impl Content {
    pub(super) fn of(repository: RegistryRepository, blobs: Vec<BlobDescriptor>) -> Self {
        let identity = match blobs.as_slice() {
            [only] => only.digest.clone(),
            several => {
                let mut hasher = Hasher::new(crate::oci::Algorithm::Sha256);
                several
                    .iter()
                    .for_each(|blob| hasher.update(blob.digest.to_string().as_bytes()));
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
        Self {
            identity,
            source: Source { repository, blobs },
            kind,
        }
    }
}

/// A single local blob is what the descriptor says it is, or it is not used.
fn check_digest(resource: &Resource, blobs: &[BlobDescriptor]) -> Result<()> {
    let ([blob], Some(expected)) = (blobs, resource.content_digest()) else {
        return Ok(());
    };
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

/// The bytes of a [`Content`], checked as they flow. Reads block on the network.
pub struct ContentReader {
    client: Client,
    repository: RegistryRepository,
    pending: VecDeque<BlobDescriptor>,
    current: Option<BlobReader>,
    runtime: Handle,
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                match current.read(buffer)? {
                    0 => self.current = None,
                    count => return Ok(count),
                }
            }
            let Some(blob) = self.pending.pop_front() else {
                return Ok(0);
            };
            let opened = self
                .client
                .blob(self.repository.name(), &blob.digest, Some(blob.size));
            let stream = self.runtime.block_on(opened).map_err(io::Error::other)?;
            self.current = Some(stream.into_reader(self.runtime.clone()));
        }
    }
}
