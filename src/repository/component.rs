//! A component version in a place: the artifact in the repository that its name gives.

mod error;
#[cfg(test)]
pub(crate) mod made;

use bytes::Bytes;

pub use error::Error;

use super::Artifacts;
use crate::oci::{Digest, RepositoryName};
use crate::ocm::{
    self, BlobDescriptor, ComponentImage, ComponentManifest, ComponentName, DescriptorDocument,
    MAX_DESCRIPTOR_LAYER, OcmRepository, ReadComponent, Version, descriptor_bytes,
    descriptor_layer,
};
use crate::registry::{self, Manifest, Reference};

/// The largest config blob of a component version, in bytes.
const MAX_CONFIG: usize = 64 * 1024;

/// Which component version is meant, and where it is.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What the version that is read names as its repository.
    pub place: &'a OcmRepository,
    /// The repository of the artifact.
    pub repository: &'a RepositoryName,
    /// The component.
    pub name: &'a ComponentName,
    /// Its version.
    pub version: &'a Version,
}

/// The repository that holds the versions of a component in `place`.
pub fn repository(place: &OcmRepository, name: &ComponentName) -> Result<RepositoryName, Error> {
    let named = place.component_repository(name);
    named.map_err(|source| Error::NameRepository {
        component: name.clone(),
        source,
    })
}

/// The versions among `tags`, in no order. Tags that are no versions are left out.
pub fn versions(tags: &[crate::oci::Tag]) -> Vec<Version> {
    tags.iter()
        .filter_map(|tag| Version::from_tag(tag).ok())
        .collect()
}

/// What a component version is read from: manifests and small content by digest.
pub trait Parts: Sync {
    /// What can go wrong.
    type Error: From<Error>;

    /// A manifest, checked.
    fn manifest(
        &self,
        digest: &Digest,
    ) -> impl Future<Output = Result<Manifest, Self::Error>> + Send;

    /// Content of at most `limit` bytes, checked.
    fn small(
        &self,
        blob: &BlobDescriptor,
        limit: usize,
    ) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;
}

/// The parts as a place has them.
pub struct InPlace<'a> {
    /// The place.
    pub artifacts: &'a dyn Artifacts,
    /// What is read.
    pub wanted: &'a Wanted<'a>,
}

impl Parts for InPlace<'_> {
    type Error = Error;

    async fn manifest(&self, digest: &Digest) -> Result<Manifest, Error> {
        let reference = Reference::Digest(digest.clone());
        let repository = self.wanted.repository;
        let found = self.artifacts.manifest(repository, &reference).await;
        found.map_err(|source| self.wanted.failed(source))
    }

    async fn small(&self, blob: &BlobDescriptor, limit: usize) -> Result<Bytes, Error> {
        let failed = |source| self.wanted.failed(source);
        let repository = self.wanted.repository;
        let opened = self
            .artifacts
            .blob(repository, &blob.digest, Some(blob.size));
        let what = format!("{repository}@{}", blob.digest);
        let content = opened.await.map_err(failed)?;
        content.collect(&what, limit).await.map_err(failed)
    }
}

/// Reads the component version whose manifest has `digest`, and its descriptor as it was written.
pub async fn read<P: Parts>(
    parts: &P,
    wanted: &Wanted<'_>,
    digest: &Digest,
) -> Result<(ReadComponent, DescriptorDocument), P::Error> {
    let (image, manifests) = match manifest(parts, wanted, digest).await? {
        ComponentManifest::Image(image) => (image, Vec::new()),
        ComponentManifest::Index { component, others } => {
            match manifest(parts, wanted, &component.digest).await? {
                ComponentManifest::Image(image) => (image, others),
                ComponentManifest::Index { .. } => {
                    let (component, version) = (wanted.name.clone(), wanted.version.clone());
                    return Err(Error::NestedIndex { component, version }.into());
                }
            }
        }
    };
    let ComponentImage { config, layers } = image;
    let config = parts.small(&config, MAX_CONFIG).await?;
    let layer = descriptor_layer(&config).map_err(|source| wanted.malformed(source))?;
    let bytes = parts.small(&layer, MAX_DESCRIPTOR_LAYER).await?;
    let work = move || {
        let written = descriptor_bytes(&layer.media_type, bytes.as_ref())?;
        DescriptorDocument::parse(&written)
    };
    let document = tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::Aborted { source })?
        .map_err(|source| wanted.malformed(source))?;
    let descriptor = document.descriptor();
    descriptor
        .expect(wanted.name, wanted.version)
        .map_err(|source| wanted.malformed(source))?;
    let component = ReadComponent {
        repository: wanted.place.clone(),
        digest: digest.clone(),
        layers,
        manifests,
        descriptor: descriptor.clone(),
    };
    Ok((component, document))
}

async fn manifest<P: Parts>(
    parts: &P,
    wanted: &Wanted<'_>,
    digest: &Digest,
) -> Result<ComponentManifest, P::Error> {
    let found = parts.manifest(digest).await?;
    let parsed = ComponentManifest::parse(&found.bytes, &found.media_type);
    Ok(parsed.map_err(|source| wanted.malformed(source))?)
}

impl Wanted<'_> {
    fn failed(&self, source: registry::Error) -> Error {
        Error::read(self.name, self.version, source)
    }

    fn malformed(&self, source: ocm::Error) -> Error {
        Error::Malformed {
            component: self.name.clone(),
            version: self.version.clone(),
            source,
        }
    }
}
