//! Component versions as they are read: a registry behind, the content store in between.
//!
//! A tag is resolved to a digest once ([`Components::resolve`]); everything after that is read by
//! digest, so that what was looked at is what is used. What was fetched stays in the store and is
//! given out again only to a namespace that has fetched it itself from the same repository.

mod artifact;
mod artifact_set;
mod content;
mod error;
mod reader;
mod recompute;
mod signed;

use std::sync::Arc;

use bytes::Bytes;

pub use content::{Content, Source};
pub use error::{Error, Result};
pub use reader::ContentReader;
pub use recompute::Recomputed;

use crate::oci::Digest;
use crate::ocm::{
    BlobDescriptor, ComponentImage, ComponentManifest, ComponentName, Descriptor,
    MAX_DESCRIPTOR_LAYER, MAX_MANIFEST, OcmRepository, ReadComponent, Version, Walk,
    descriptor_layer, read_descriptor,
};
use crate::registry::{
    self, Class, Client, Counters, Credentials, Endpoint, Manifest, Pool, Reference,
    RegistryRepository, Scheme,
};
use crate::snapshot::Namespace;
use crate::store::{Holder, Store};

/// The largest config blob of a component version, in bytes.
const MAX_CONFIG: usize = 64 * 1024;

/// From where component versions are read, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub repository: OcmRepository,
    /// The credentials of the object that asks.
    pub credentials: Arc<Credentials>,
    /// The namespace of that object: what it fetched is not given to others.
    pub namespace: Namespace,
    /// The UID of that object, likewise: one that is made again is let in anew.
    pub holder: String,
    /// Whether only content is given out that the descriptor records a digest of: its signature
    /// was verified, and what has no digest in it was not signed.
    pub signed_only: bool,
}

impl Place {
    /// Who is let in by `repository`.
    fn holder<'a>(&'a self, repository: &'a str) -> Holder<'a> {
        Holder {
            namespace: &self.namespace,
            uid: &self.holder,
            repository,
        }
    }
}

/// A component version in a tree of references.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The component version.
    pub component: ReadComponent,
    /// The identities of the references from the root to here; empty for the root.
    pub path: Vec<crate::ocm::Identity>,
    /// The extra identity of the reference by which it was reached.
    pub extra_identity: crate::ocm::Identity,
}

impl AsRef<Descriptor> for Resolved {
    fn as_ref(&self) -> &Descriptor {
        &self.component.descriptor
    }
}

/// Reads component versions.
#[derive(Clone)]
pub struct Components {
    pool: Pool,
    store: Store,
}

impl Components {
    /// Reads through `pool`, and keeps what it fetches in `store`.
    pub fn new(pool: Pool, store: Store) -> Self {
        Self { pool, store }
    }

    /// What was asked of registries so far.
    pub fn counters(&self) -> &Counters {
        self.pool.transport().counters()
    }

    /// The versions of `name` that `place` holds, in no order. Tags that are no versions are left
    /// out.
    pub async fn versions(&self, place: &Place, name: &ComponentName) -> Result<Vec<Version>> {
        let (client, repository) = self.client(place, name)?;
        let listed = client.list_tags(repository.name()).await;
        let listed = self.heard(place, &repository, listed).await?;
        let listed = listed.map_err(|source| Error::ListVersions {
            component: name.clone(),
            source,
        })?;
        Ok(listed
            .tags
            .iter()
            .filter_map(|tag| Version::from_tag(tag).ok())
            .collect())
    }

    /// The digest that the tag of a component version names now.
    pub async fn resolve(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
    ) -> Result<Digest> {
        let (client, repository) = self.client(place, name)?;
        let resolved = client
            .resolve(repository.name(), &Reference::Tag(version.tag().clone()))
            .await;
        let resolved = self.heard(place, &repository, resolved).await?;
        let resolved = resolved.map_err(|source| Error::read(name, version, source))?;
        Ok(resolved.digest)
    }

    /// Reads the component version whose manifest has `digest`.
    pub async fn read(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
        digest: &Digest,
    ) -> Result<ReadComponent> {
        let manifest = self.manifest(place, name, version, digest).await?;
        let (image, manifests) = match manifest {
            ComponentManifest::Image(image) => (image, Vec::new()),
            ComponentManifest::Index { component, others } => {
                match self
                    .manifest(place, name, version, &component.digest)
                    .await?
                {
                    ComponentManifest::Image(image) => (image, others),
                    ComponentManifest::Index { .. } => {
                        return Err(Error::NestedIndex {
                            component: name.clone(),
                            version: version.clone(),
                        });
                    }
                }
            }
        };
        let ComponentImage { config, layers } = image;
        let descriptor = self.descriptor(place, name, version, &config).await?;
        Ok(ReadComponent {
            repository: place.repository.clone(),
            digest: digest.clone(),
            layers,
            manifests,
            descriptor,
        })
    }

    /// Reads everything that `root` refers to, the root first, in the order in which it is reached.
    pub async fn closure(&self, place: &Place, root: ReadComponent) -> Result<Vec<Resolved>> {
        let malformed = |source| Error::FollowReferences { source };
        let mut walk = Walk::new(root.descriptor.clone());
        let mut resolved = vec![Resolved {
            component: root,
            path: Vec::new(),
            extra_identity: crate::ocm::Identity::default(),
        }];
        while let Some(request) = walk.next_request().map_err(malformed)? {
            let (name, version) = (
                &request.reference.component_name,
                &request.reference.version,
            );
            let digest = self.resolve(place, name, version).await?;
            let component = self.read(place, name, version, &digest).await?;
            resolved.push(Resolved {
                component: component.clone(),
                path: request.path.clone(),
                extra_identity: request.reference.extra_identity.clone(),
            });
            walk.supply(request, component.descriptor)
                .map_err(malformed)?;
        }
        Ok(resolved)
    }

    async fn descriptor(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
        config: &BlobDescriptor,
    ) -> Result<Descriptor> {
        let malformed = |source| Error::Malformed {
            component: name.clone(),
            version: version.clone(),
            source,
        };
        let config = self.small(place, name, version, config, MAX_CONFIG).await?;
        let layer = descriptor_layer(&config).map_err(malformed)?;
        let bytes = self
            .small(place, name, version, &layer, MAX_DESCRIPTOR_LAYER)
            .await?;
        let work = move || read_descriptor(&layer.media_type, bytes.as_ref());
        let descriptor = tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
            .map_err(malformed)?;
        descriptor.expect(name, version).map_err(malformed)?;
        Ok(descriptor)
    }

    /// A manifest by its digest, from the store where this namespace may have it.
    async fn manifest(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
        digest: &Digest,
    ) -> Result<ComponentManifest> {
        let (client, repository) = self.client(place, name)?;
        let kept = self.kept(place, &repository, digest, MAX_MANIFEST).await?;
        let bytes = if let Some(bytes) = kept {
            bytes
        } else {
            let manifest: Manifest = client
                .manifest(repository.name(), &Reference::Digest(digest.clone()))
                .await
                .map_err(|source| Error::read(name, version, source))?;
            self.keep(place, &repository, digest, manifest.bytes.clone())
                .await?;
            manifest.bytes
        };
        let media_type = media_type_of(&bytes);
        ComponentManifest::parse(&bytes, &media_type).map_err(|source| Error::Malformed {
            component: name.clone(),
            version: version.clone(),
            source,
        })
    }

    /// A small blob, from the store where this namespace may have it.
    async fn small(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
        blob: &BlobDescriptor,
        limit: usize,
    ) -> Result<Bytes> {
        let (client, repository) = self.client(place, name)?;
        if let Some(bytes) = self.kept(place, &repository, &blob.digest, limit).await? {
            return Ok(bytes);
        }
        let bytes = client
            .blob_bytes(repository.name(), &blob.digest, Some(blob.size), limit)
            .await
            .map_err(|source| Error::read(name, version, source))?;
        self.keep(place, &repository, &blob.digest, bytes.clone())
            .await?;
        Ok(bytes)
    }

    async fn kept(
        &self,
        place: &Place,
        repository: &RegistryRepository,
        digest: &Digest,
        limit: usize,
    ) -> Result<Option<Bytes>> {
        let (place, repository, digest) = (place.clone(), repository.to_string(), digest.clone());
        self.blocking(move |store| {
            if !store.is_granted(place.holder(&repository), &digest)? {
                return Ok(None);
            }
            Ok(store.read_small(&digest, limit as u64)?.map(Bytes::from))
        })
        .await
    }

    async fn keep(
        &self,
        place: &Place,
        repository: &RegistryRepository,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<()> {
        let (place, repository, digest) = (place.clone(), repository.to_string(), digest.clone());
        self.blocking(move |store| {
            if store.contains(&digest)?.is_none() {
                store.write_small(&digest, &bytes)?;
            }
            store.grant(place.holder(&repository), &digest)
        })
        .await
    }

    /// Takes back what was granted where the repository no longer lets us in.
    async fn heard<T>(
        &self,
        place: &Place,
        repository: &RegistryRepository,
        answer: registry::Result<T>,
    ) -> Result<registry::Result<T>> {
        let is_denied = answer.as_ref().err().is_some_and(|failure| {
            matches!(failure.class(), Class::Unauthorized | Class::Forbidden)
        });
        if is_denied {
            let (place, repository) = (place.clone(), repository.to_string());
            self.blocking(move |store| store.revoke(place.holder(&repository)))
                .await?;
        }
        Ok(answer)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> crate::store::Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|source| Error::Aborted { source })?
            .map_err(|source| Error::Store { source })
    }

    /// The client and repository for the versions of a component.
    fn client(&self, place: &Place, name: &ComponentName) -> Result<(Client, RegistryRepository)> {
        let repository = place
            .repository
            .component_repository(name)
            .map_err(|source| Error::NameRepository {
                component: name.clone(),
                source,
            })?;
        let repository = RegistryRepository::new(endpoint(&place.repository)?, repository);
        Ok((
            self.pool.client(&repository, &place.credentials),
            repository,
        ))
    }
}

fn endpoint(repository: &OcmRepository) -> Result<Endpoint> {
    Endpoint::new(scheme(repository), repository.host()).map_err(|source| Error::Address {
        repository: repository.to_string(),
        source,
    })
}

fn scheme(repository: &OcmRepository) -> Scheme {
    if repository.plain_http() {
        Scheme::Http
    } else {
        Scheme::Https
    }
}

/// The media type that a manifest names for itself. It was compared with the header when it was
/// pulled, and the header is not kept.
fn media_type_of(manifest: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let named: Option<Named> = serde_json::from_slice(manifest).ok();
    match named {
        Some(Named {
            media_type: Some(media_type),
            ..
        }) => media_type,
        Some(Named {
            manifests: Some(_), ..
        }) => crate::registry::media_type::OCI_INDEX.to_owned(),
        _ => crate::registry::media_type::OCI_MANIFEST.to_owned(),
    }
}
