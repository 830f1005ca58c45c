//! Component versions as they are read: a registry or an archive behind, the content store in
//! between.
//!
//! A tag is resolved to a digest once ([`Components::resolve`]); everything after that is read by
//! digest, so that what was looked at is what is used. What was fetched stays in the store and is
//! given out again only to an object that has fetched it itself from the same repository, and no
//! more once that repository answers 401 or 403 to whatever it is asked for.

mod artifact;
mod content;
mod error;
mod guarded;
mod kept;
mod outside;
mod reader;
mod recompute;
mod signed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use content::{Content, Source};
pub use error::{Error, Result};
pub use reader::ContentReader;
pub use recompute::Recomputed;

use self::guarded::Guarded;
use self::kept::{Home, Kept};
use crate::oci::{Digest, RepositoryName};
use crate::ocm::{ComponentName, Descriptor, OcmRepository, ReadComponent, Version, Walk};
use crate::registry::{Counters, Credentials, Endpoint, Pool, Reference, RegistryRepository};
use crate::repository::component::{self, Wanted};
use crate::repository::{RegistryArtifacts, SharedArtifacts};
use crate::snapshot::Namespace;
use crate::store::{Cached, Holder, Store};

/// From where component versions are read, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository.
    pub repository: OcmRepository,
    /// The archive that it is, where it is no registry. Only commands read archives.
    pub archive: Option<SharedArtifacts>,
    /// The credentials of the object that asks.
    pub credentials: Arc<Credentials>,
    /// The namespace of that object: what it fetched is not given to others.
    pub namespace: Namespace,
    /// The UID of that object, likewise: one that is made again is let in anew.
    pub holder: String,
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

    /// The clients of registries.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What was asked of registries so far.
    pub fn counters(&self) -> &Counters {
        self.pool.transport().counters()
    }

    /// The versions of `name` that `place` holds, in no order. Tags that are no versions are left
    /// out.
    pub async fn versions(&self, place: &Place, name: &ComponentName) -> Result<Vec<Version>> {
        let home = self.home(place, name)?;
        let listed = home.artifacts.tags(&home.name).await;
        let tags = listed.map_err(|source| component::Error::ListVersions {
            component: name.clone(),
            source,
        })?;
        Ok(component::versions(&tags))
    }

    /// The digest that the tag of a component version names now.
    pub async fn resolve(
        &self,
        place: &Place,
        name: &ComponentName,
        version: &Version,
    ) -> Result<Digest> {
        let home = self.home(place, name)?;
        let tag = Reference::Tag(version.tag().clone());
        let resolved = home.artifacts.resolve(&home.name, &tag).await;
        let resolved = resolved.map_err(|source| component::Error::read(name, version, source))?;
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
        let home = self.home(place, name)?;
        let wanted = Wanted {
            place: &place.repository,
            repository: &home.name,
            name,
            version,
        };
        let kept = Kept {
            components: self,
            place,
            home: &home,
            wanted: &wanted,
        };
        let (component, _) = component::read(&kept, &wanted, digest).await?;
        Ok(component)
    }

    /// Reads everything that `root` refers to, the root first, in the order in which it is reached.
    pub async fn closure(&self, place: &Place, root: ReadComponent) -> Result<Vec<Resolved>> {
        let malformed = |source| component::Error::FollowReferences { source };
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

    async fn kept(
        &self,
        place: &Place,
        home: &Home,
        digest: &Digest,
        limit: usize,
    ) -> Result<Option<Bytes>> {
        let (place, repository, digest) = (place.clone(), home.to_string(), digest.clone());
        self.blocking(move |store| {
            let found = if store.is_granted(place.holder(&repository), &digest)? {
                store.read_small(&digest, limit as u64)?.map(Bytes::from)
            } else {
                None
            };
            let bytes = found.as_ref().map(|found| found.len() as u64);
            store.count_lookup(Cached::Content, bytes);
            Ok(found)
        })
        .await
    }

    async fn keep(&self, place: &Place, home: &Home, digest: &Digest, bytes: Bytes) -> Result<()> {
        let (place, repository, digest) = (place.clone(), home.to_string(), digest.clone());
        self.blocking(move |store| {
            if store.contains(&digest)?.is_none() {
                store.write_small(&digest, &bytes)?;
            }
            store.grant(place.holder(&repository), &digest)
        })
        .await
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

    /// The repository of the versions of a component.
    fn home(&self, place: &Place, name: &ComponentName) -> Result<Home> {
        let repository = component::repository(&place.repository, name)?;
        if let Some(archive) = &place.archive {
            return Ok(Home {
                artifacts: Arc::clone(archive),
                name: repository,
            });
        }
        let repository = RegistryRepository::new(endpoint(&place.repository)?, repository);
        Ok(self.registry(place, &repository))
    }

    /// A repository of a registry.
    fn registry(&self, place: &Place, repository: &RegistryRepository) -> Home {
        let artifacts = RegistryArtifacts::new(
            self.pool.clone(),
            repository.endpoint().clone(),
            Arc::clone(&place.credentials),
        );
        let guarded = Guarded::new(Arc::new(artifacts), place, self.store.clone());
        Home {
            artifacts: Arc::new(guarded),
            name: repository.name().clone(),
        }
    }
}

/// What a grant names as the repository.
fn repository_of(registry: &str, name: &RepositoryName) -> String {
    format!("{registry}/{name}")
}

fn endpoint(repository: &OcmRepository) -> Result<Endpoint> {
    Endpoint::of(repository).map_err(|source| Error::Address {
        repository: repository.to_string(),
        source,
    })
}
