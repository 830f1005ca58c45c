//! An OCI registry as a place of artifacts.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{Answer, Artifacts, Blob, Target};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::ocm::OcmRepository;
use crate::registry::{
    BlobSource, Client, Credentials, Endpoint, Manifest, Pool, Reference, RegistryRepository,
    Resolved, Result,
};

/// An OCI registry, as seen by the owner of some credentials.
#[derive(Clone)]
pub struct RegistryArtifacts {
    pool: Pool,
    endpoint: Endpoint,
    credentials: Arc<Credentials>,
}

impl RegistryArtifacts {
    /// The registry at `endpoint`.
    pub fn new(pool: Pool, endpoint: Endpoint, credentials: Arc<Credentials>) -> Self {
        Self {
            pool,
            endpoint,
            credentials,
        }
    }

    /// The registry of an OCM repository.
    pub fn at(
        pool: Pool,
        repository: &OcmRepository,
        credentials: Arc<Credentials>,
    ) -> Result<Self> {
        Ok(Self::new(pool, Endpoint::of(repository)?, credentials))
    }

    /// The client for `repository`: credentials may be for a path alone.
    pub(super) fn client(&self, repository: &RepositoryName) -> Client {
        let repository = RegistryRepository::new(self.endpoint.clone(), repository.clone());
        self.pool.client(&repository, &self.credentials)
    }
}

impl Artifacts for RegistryArtifacts {
    fn name(&self) -> String {
        self.endpoint.to_string()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(&self.endpoint)
    }

    fn tags<'a>(&'a self, repository: &'a RepositoryName) -> Answer<'a, Vec<Tag>> {
        async move { Ok(self.client(repository).list_tags(repository).await?.tags) }.boxed()
    }

    fn resolve<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Resolved> {
        async move { self.client(repository).resolve(repository, reference).await }.boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Manifest> {
        async move {
            self.client(repository)
                .manifest(repository, reference)
                .await
        }
        .boxed()
    }

    fn blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> Answer<'a, Blob> {
        async move {
            let stream = self
                .client(repository)
                .blob(repository, digest, size)
                .await?;
            Ok(Blob::from(stream))
        }
        .boxed()
    }
}

impl Target for RegistryArtifacts {
    fn has_blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
    ) -> Answer<'a, bool> {
        async move { self.client(repository).has_blob(repository, digest).await }.boxed()
    }

    fn mount<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        from: &'a RepositoryName,
    ) -> Answer<'a, bool> {
        async move {
            let client = self.client(repository);
            client.mount_blob(repository, digest, from).await
        }
        .boxed()
    }

    fn put_blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: u64,
        content: &'a dyn BlobSource,
    ) -> Answer<'a, ()> {
        async move {
            let client = self.client(repository);
            let content = Borrowed(content);
            client
                .push_blob(repository, digest, Some(size), &content)
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn put_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
        media_type: &'a str,
        bytes: Bytes,
    ) -> Answer<'a, ()> {
        async move {
            let client = self.client(repository);
            client
                .push_manifest(repository, reference, media_type, bytes)
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// Content of any kind, for a client that is generic over it.
struct Borrowed<'a>(&'a dyn BlobSource);

impl BlobSource for Borrowed<'_> {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        self.0.open()
    }
}
