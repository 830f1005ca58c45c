//! What was read from a place once, and is kept in the store.

use std::fmt;

use bytes::Bytes;

use super::{Components, Error, Place, Result};
use crate::oci::{Digest, RepositoryName};
use crate::ocm::{BlobDescriptor, MAX_MANIFEST};
use crate::registry::{self, Manifest, Reference};
use crate::repository::SharedArtifacts;
use crate::repository::component::{self, Parts, Wanted};

/// A repository in a place.
#[derive(Clone)]
pub(super) struct Home {
    pub(super) artifacts: SharedArtifacts,
    pub(super) name: RepositoryName,
}

impl fmt::Display for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = super::repository_of(&self.artifacts.name(), &self.name);
        formatter.write_str(&name)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Home({self})")
    }
}

/// A component version as a namespace reads it: what it has read before comes from the store.
pub(super) struct Kept<'a> {
    pub(super) components: &'a Components,
    pub(super) place: &'a Place,
    pub(super) home: &'a Home,
    pub(super) wanted: &'a Wanted<'a>,
}

impl Kept<'_> {
    fn failed(&self, source: registry::Error) -> Error {
        component::Error::read(self.wanted.name, self.wanted.version, source).into()
    }
}

impl Parts for Kept<'_> {
    type Error = Error;

    async fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let (components, place, home) = (self.components, self.place, self.home);
        let reference = Reference::Digest(digest.clone());
        let found = components.manifest(place, home, &reference).await?;
        found.map_err(|source| self.failed(source))
    }

    async fn small(&self, blob: &BlobDescriptor, limit: usize) -> Result<Bytes> {
        let (components, place, home) = (self.components, self.place, self.home);
        let digest = &blob.digest;
        if let Some(bytes) = components.kept(place, home, digest, limit).await? {
            return Ok(bytes);
        }
        let opened = home.artifacts.blob(&home.name, digest, Some(blob.size));
        let opened = opened.await.map_err(|source| self.failed(source))?;
        let bytes = opened.collect(&format!("{home}@{digest}"), limit).await;
        let bytes = bytes.map_err(|source| self.failed(source))?;
        components.keep(place, home, digest, bytes.clone()).await?;
        Ok(bytes)
    }
}

impl Components {
    /// A manifest; one that is named by its digest is taken from the store where this namespace
    /// has read it before. The inner error is the place's.
    pub(super) async fn manifest(
        &self,
        place: &Place,
        home: &Home,
        reference: &Reference,
    ) -> Result<registry::Result<Manifest>> {
        if let Reference::Digest(digest) = reference
            && let Some(bytes) = self.kept(place, home, digest, MAX_MANIFEST).await?
            // It was compared with what it was served as when it was read first.
            && let Ok(manifest) = Manifest::stored(digest.clone(), None, bytes)
        {
            return Ok(Ok(manifest));
        }
        let manifest = match home.artifacts.manifest(&home.name, reference).await {
            Ok(manifest) => manifest,
            Err(source) => return Ok(Err(source)),
        };
        self.keep(place, home, &manifest.digest, manifest.bytes.clone())
            .await?;
        Ok(Ok(manifest))
    }
}
