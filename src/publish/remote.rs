//! Snapshots in another registry, below a prefix: `PREFIX/<namespace>/<snapshot>`.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use serde::Deserialize;
use tracing::{info, warn};

use super::builtin::{MAX_MANIFEST, blocking};
use super::{BuiltIn, Error, NewImage, Published, Snapshots};
use crate::chain::chain;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{
    BlobSource, Class, Client, Credentials, Deleted, Pool, Reference, RepositoryUrl, WholeBlob,
    media_type,
};
use crate::snapshot::Repository;
use crate::store::{Blob, Store};

/// How much of a blob is read at once.
const PIECE: usize = 256 * 1024;

/// What is remembered to be there, at most.
const KNOWN: usize = 16 * 1024;

/// Another registry for snapshots.
pub struct Remote {
    local: BuiltIn,
    pool: Pool,
    url: RepositoryUrl,
    credentials: Option<PathBuf>,
    /// What this process has seen to be there: a snapshot that did not change costs no request.
    known: Mutex<HashMap<(Repository, Tag), Digest>>,
    /// Whether it was told that this registry deletes nothing.
    told: AtomicBool,
    /// Manifests that could not be deleted, and stay.
    undeleted: Arc<AtomicU64>,
}

impl Remote {
    /// Keeps snapshots below `url`. `credentials` is a docker config JSON, which is read anew for
    /// each use: what changes it needs no restart.
    pub fn new(store: Store, pool: Pool, url: RepositoryUrl, credentials: Option<PathBuf>) -> Self {
        Self {
            local: BuiltIn::new(store),
            pool,
            url,
            credentials,
            known: Mutex::default(),
            told: AtomicBool::new(false),
            undeleted: Arc::default(),
        }
    }

    /// Counts manifests that are no longer needed and that the registry did not delete.
    pub fn undeleted(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.undeleted)
    }

    async fn client(&self, repository: &Repository) -> Result<(Client, RepositoryName), Error> {
        let place = self.url.join(&repository.to_string());
        let place = place.map_err(|source| Error::NameRepository {
            repository: repository.clone(),
            source,
        })?;
        let mut credentials = Credentials::default();
        if let Some(path) = &self.credentials {
            let json = tokio::fs::read(path).await;
            let json = json.map_err(|source| Error::ReadCredentials {
                path: path.clone(),
                source,
            })?;
            credentials
                .add_docker_config(&path.display().to_string(), ".dockerconfigjson", &json)
                .map_err(|source| Error::Registry { source })?;
        }
        let client = self.pool.client(&place, &credentials);
        Ok((client, place.name().clone()))
    }

    async fn push(&self, new: &NewImage, manifest: &Digest) -> Result<(), Error> {
        let failed = |source| Error::Registry { source };
        let (client, name) = self.client(&new.repository).await?;
        let bytes = self.small(manifest).await?;
        let config = config_of(&bytes).ok_or_else(|| missing(manifest))?;
        let layer = StoredBlob {
            store: self.local.store().clone(),
            digest: new.layer.digest.clone(),
        };
        client
            .push_blob(&name, &layer.digest, Some(new.layer.size), &layer)
            .await
            .map_err(failed)?;
        let content = self.small(&config).await?;
        let size = content.len() as u64;
        client
            .push_blob(&name, &config, Some(size), &WholeBlob(content))
            .await
            .map_err(failed)?;
        let tag = Reference::Tag(new.tag.clone());
        client
            .push_manifest(&name, &tag, media_type::OCI_MANIFEST, bytes)
            .await
            .map_err(failed)?;
        info!(repository = %name, digest = %manifest, "pushed snapshot");
        Ok(())
    }

    /// A manifest or configuration of the content store.
    async fn small(&self, digest: &Digest) -> Result<Bytes, Error> {
        let wanted = digest.clone();
        let read = blocking(self.local.store(), move |store| {
            let found = store.read_small(&wanted, MAX_MANIFEST);
            found.map_err(|source| Error::Store { source })
        });
        let found = read.await?.ok_or_else(|| missing(digest))?;
        Ok(found.into())
    }

    fn is_known(&self, key: &(Repository, Tag), manifest: &Digest) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key) == Some(manifest)
    }

    fn remember(&self, key: (Repository, Tag), manifest: Option<&Digest>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        match manifest {
            Some(manifest) => known.insert(key, manifest.clone()),
            None => known.remove(&key),
        };
    }

    async fn delete(&self, repository: &Repository, manifest: &Digest) {
        let (client, name) = match self.client(repository).await {
            Ok(found) => found,
            Err(error) => {
                warn!(%repository, error = chain(&error), "failed to clean the registry");
                return;
            }
        };
        let deleted = client.delete_manifest(&name, manifest).await;
        if !matches!(deleted, Ok(Deleted::Gone)) {
            self.undeleted.fetch_add(1, Ordering::Relaxed);
        }
        match deleted {
            Ok(Deleted::Gone) => info!(repository = %name, digest = %manifest, "deleted snapshot"),
            Ok(Deleted::Unsupported) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    warn!(
                        registry = %self.url,
                        "the registry does not delete manifests for us: what is no longer needed \
                         stays there"
                    );
                }
            }
            Err(error) => {
                warn!(repository = %name, digest = %manifest, error = chain(&error),
                      "failed to delete a snapshot from the registry");
            }
        }
    }
}

impl Snapshots for Remote {
    fn publish(&self, new: NewImage) -> BoxFuture<'_, Result<Published, Error>> {
        async move {
            let published = self.local.publish(new.clone()).await?;
            let key = (new.repository.clone(), new.tag.clone());
            if !self.is_known(&key, &published.manifest) {
                self.push(&new, &published.manifest).await?;
                self.remember(key, Some(&published.manifest));
            }
            Ok(published)
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        repository: &'a Repository,
        tag: &'a Tag,
        layer: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Published>, Error>> {
        async move {
            let key = (repository.clone(), tag.clone());
            let Some(published) = self.local.find(repository, tag, layer).await? else {
                // Made again, it is looked for there again as well.
                self.remember(key, None);
                return Ok(None);
            };
            let (client, name) = self.client(repository).await?;
            let reference = Reference::Digest(published.manifest.clone());
            match client.resolve(&name, &reference).await {
                Ok(_) => {
                    self.remember(key, Some(&published.manifest));
                    Ok(Some(published))
                }
                Err(error) if error.is_not_found() => {
                    self.remember(key, None);
                    Ok(None)
                }
                // Who does not answer says nothing of what is there.
                Err(error)
                    if error.class() == Class::Transient
                        && self.is_known(&key, &published.manifest) =>
                {
                    Ok(Some(published))
                }
                Err(source) => Err(Error::Registry { source }),
            }
        }
        .boxed()
    }

    fn serves<'a>(
        &'a self,
        repository: &'a Repository,
        manifest: &'a Digest,
    ) -> BoxFuture<'a, bool> {
        async move {
            let Ok((client, name)) = self.client(repository).await else {
                return false;
            };
            let reference = Reference::Digest(manifest.clone());
            match client.resolve(&name, &reference).await {
                Ok(_) => true,
                // Who does not answer says nothing of what is there.
                Err(error) => error.class() == Class::Transient,
            }
        }
        .boxed()
    }

    fn release<'a>(&'a self, gone: &'a [(Repository, Digest)]) -> BoxFuture<'a, ()> {
        async move {
            for (repository, manifest) in gone {
                {
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    known.retain(|(of, _), digest| of != repository || digest != manifest);
                }
                self.delete(repository, manifest).await;
            }
        }
        .boxed()
    }
}

fn missing(digest: &Digest) -> Error {
    Error::ContentMissing {
        digest: digest.clone(),
    }
}

/// The digest of a manifest's configuration.
fn config_of(manifest: &[u8]) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Manifest {
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        digest: Digest,
    }
    let manifest: Manifest = serde_json::from_slice(manifest).ok()?;
    Some(manifest.config.digest)
}

/// A blob of the content store, read on threads that may block.
struct StoredBlob {
    store: Store,
    digest: Digest,
}

impl BlobSource for StoredBlob {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        let (store, digest) = (self.store.clone(), self.digest.clone());
        async move {
            let opened = tokio::task::spawn_blocking(move || {
                let found = store.open_blob(&digest).map_err(io::Error::other)?;
                found.ok_or_else(|| io::Error::other(missing(&digest)))
            });
            let blob = opened.await.map_err(io::Error::other)??;
            Ok(futures::stream::try_unfold(blob, next_piece).boxed())
        }
        .boxed()
    }
}

async fn next_piece(mut blob: Blob) -> io::Result<Option<(Bytes, Blob)>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut blob).take(PIECE as u64).read_to_end(&mut piece)?;
        io::Result::Ok((piece, blob))
    });
    let (piece, blob) = read.await.map_err(io::Error::other)??;
    Ok((!piece.is_empty()).then(|| (piece.into(), blob)))
}
