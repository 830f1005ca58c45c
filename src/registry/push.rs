//! Pushing: blobs that nobody has to send twice, and manifests that are there when it is said.

mod pieces;

use std::io;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::{HeaderValue, Method, StatusCode, header};

use super::answer::unwanted;
use super::client::{Call, Client, Reference};
use super::counters::RequestKind;
use super::failure::Failure;
use super::upload::{Broken, Upload, scope};
use super::{Class, Error, Result};
use crate::oci::{Digest, RepositoryName};

use pieces::{Pieces, Trouble, Wanted, check};

/// Content that can be read more than once: a push that begins again opens it anew.
pub trait BlobSource: Send + Sync {
    /// The content from its first byte on. An error that is an [`Error`] of this module inside of
    /// an [`io::Error`] comes back to the pusher as it is.
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>>;
}

/// A blob that is in memory.
#[derive(Debug, Clone)]
pub struct WholeBlob(pub Bytes);

impl BlobSource for WholeBlob {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        let bytes = self.0.clone();
        Box::pin(async move { Ok(futures::stream::iter([Ok(bytes)]).boxed()) })
    }
}

/// A blob of a registry, which flows to another one as it comes.
#[derive(Debug, Clone)]
pub struct RegistryBlob {
    /// The registry that has it.
    pub client: Client,
    /// The repository there.
    pub repository: RepositoryName,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, where known.
    pub size: Option<u64>,
}

impl BlobSource for RegistryBlob {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        Box::pin(async move {
            let blob = self.client.blob(&self.repository, &self.digest, self.size);
            let stream = blob.await.map_err(io::Error::other)?.into_stream();
            Ok(stream.map(|piece| piece.map_err(io::Error::other)).boxed())
        })
    }
}

/// What a push of a blob came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobPush {
    /// The repository had it: nothing was sent.
    Present,
    /// It was sent.
    Sent,
}

/// What became of a manifest that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, or was gone before.
    Gone,
    /// The registry deletes nothing for us: it knows no such request, or does not allow it.
    Unsupported,
}

impl Client {
    /// Whether `repository` has the blob: one HEAD.
    pub async fn has_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let scope = format!("repository:{repository}:pull");
        self.blob_is_there(repository, digest, scope)
            .await
            .map_err(|source| self.push_error(repository, digest, source))
    }

    /// Lets `repository` have the blob that `from`, another repository of this registry, has.
    /// `false` where the registry does not do so; the blob then has to be pushed.
    pub async fn mount_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool> {
        let mounted = self.mount(repository, digest, from).await;
        mounted.map_err(|source| self.push_error(repository, digest, source))
    }

    /// Pushes the blob with this digest (and size in bytes, where known), if `repository` does
    /// not have it.
    ///
    /// At most one piece of it is in memory ([`super::Limits::piece`]). A broken connection is
    /// taken up where it broke; a lost session begins again with a fresh `source`. Content that
    /// is not what its digest says never becomes a blob. Two pushes of one blob through one
    /// client send it once.
    pub async fn push_blob<S: BlobSource>(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: Option<u64>,
        source: &S,
    ) -> Result<BlobPush> {
        let failed = |failure| self.push_error(repository, digest, failure);
        let _flight = self.uploads().board(repository, digest).await;
        let mut tries = 1;
        loop {
            // Asked again each time: what broke last may have been the answer alone.
            if self
                .blob_is_there(repository, digest, scope(repository))
                .await
                .map_err(failed)?
            {
                let is_ours = tries > 1;
                return Ok(if is_ours {
                    BlobPush::Sent
                } else {
                    BlobPush::Present
                });
            }
            let blob = Wanted { digest, size };
            match self.send_blob(repository, &blob, source).await {
                Ok(()) => break,
                Err(Trouble::Source(source)) => {
                    return Err(self.source_error(repository, digest, source));
                }
                Err(Trouble::Target(Broken { failure, again })) => {
                    if !again || tries >= self.transport().settings().limits.tries {
                        return Err(failed(failure));
                    }
                }
            }
            tokio::time::sleep(self.transport().backoff(tries)).await;
            tries += 1;
        }
        let there = self.blob_is_there(repository, digest, scope(repository));
        if !there.await.map_err(failed)? {
            return Err(failed(dropped()));
        }
        Ok(BlobPush::Sent)
    }

    /// Puts a manifest under `reference`, and answers with its digest once the registry has it
    /// by that. Nothing is sent where `reference` names these bytes already.
    ///
    /// # Errors
    ///
    /// Also if `reference` is a digest that is not that of `bytes`, or if the registry accepts
    /// the manifest and does not have it afterwards.
    pub async fn push_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest> {
        self.put_manifest(repository, reference, media_type, bytes)
            .await
            .map_err(|source| Error::Push {
                reference: self.name(repository) + &reference.suffix(),
                source,
            })
    }

    /// Deletes the manifest with this digest, with all its tags.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Deleted> {
        let deleted = self.delete(repository, digest).await;
        deleted.map_err(|source| Error::Delete {
            reference: format!("{}@{digest}", self.name(repository)),
            source,
        })
    }

    async fn blob_is_there(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        scope: String,
    ) -> Result<bool, Failure> {
        let call = Call::new(RequestKind::BlobStatus, Method::HEAD, scope);
        let url = self.url_of(repository, &format!("blobs/{digest}"))?;
        let response = self.exchange(url, call).await?;
        match response.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(unwanted(response).await),
        }
    }

    async fn mount(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: &RepositoryName,
    ) -> Result<bool, Failure> {
        let scope = format!("{} repository:{from}:pull", scope(repository));
        let mut call = Call::new(RequestKind::Upload, Method::POST, scope);
        call.repeatable = true;
        let mut url = self.url_of(repository, "blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from.as_str());
        let response = match self.exchange(url, call).await {
            // Not allowed to read there, as far as the token server is concerned.
            Err(Failure::Unauthorized { .. }) => return Ok(false),
            answered => answered?,
        };
        match response.status {
            StatusCode::CREATED => {
                drop(response);
                let there = self.blob_is_there(repository, digest, self::scope(repository));
                there.await
            }
            StatusCode::ACCEPTED => {
                if let Ok(upload) = Upload::opened(self, repository, &response) {
                    drop(response);
                    upload.cancel().await;
                }
                Ok(false)
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Ok(false)
            }
            _ => Err(unwanted(response).await),
        }
    }

    async fn send_blob<S: BlobSource>(
        &self,
        repository: &RepositoryName,
        blob: &Wanted<'_>,
        source: &S,
    ) -> Result<(), Trouble> {
        let _place = self.transport().upload_place().await;
        let mut pieces = Pieces::open(source, blob).await?;
        let usual = self.transport().settings().limits.piece;
        let mut piece = pieces.next(usual).await?;
        let begun = Upload::begin(self, repository).await;
        let mut upload = begun.map_err(|failure| Trouble::Target(Broken::finally(failure)))?;
        let length = usual.max(upload.least_piece);
        if length > usual && !pieces.ended {
            piece = pieces.extend(piece, length).await?;
        }
        if pieces.ended {
            let finished = upload.finish(blob.digest, piece).await;
            return finished.map_err(Trouble::Target);
        }
        loop {
            upload.append(&piece).await.map_err(Trouble::Target)?;
            // The last piece is asked for only then, so that one is in memory at a time.
            drop(piece);
            piece = match pieces.next(length).await {
                Ok(piece) => piece,
                Err(trouble) => {
                    upload.cancel().await;
                    return Err(trouble);
                }
            };
            if pieces.ended {
                break;
            }
        }
        if !piece.is_empty() {
            upload.append(&piece).await.map_err(Trouble::Target)?;
        }
        let finished = upload.finish(blob.digest, Bytes::new()).await;
        finished.map_err(Trouble::Target)
    }

    async fn put_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Failure> {
        let digest = match reference.digest() {
            None => Digest::of(&bytes),
            Some(expected) => check(expected, &bytes)?,
        };
        if self.names(repository, reference, &digest).await? {
            return Ok(digest);
        }
        let mut call = Call::new(RequestKind::Push, Method::PUT, scope(repository));
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| Failure::invalid("the media type is no header value"))?;
        call.headers.insert(header::CONTENT_TYPE, media_type);
        call.body = bytes;
        call.repeatable = true;
        let url = self.url_of(repository, &format!("manifests/{reference}"))?;
        let response = self.exchange(url, call).await?;
        match response.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => drop(response),
            _ => return Err(unwanted(response).await),
        }
        let by_digest = Reference::Digest(digest.clone());
        if !self.names(repository, &by_digest, &digest).await? {
            return Err(dropped());
        }
        Ok(digest)
    }

    /// Whether `reference` names the manifest with this digest.
    async fn names(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<bool, Failure> {
        let found = match self.head(repository, reference, scope(repository)).await {
            Ok(None) => self
                .pull_manifest(repository, reference)
                .await
                .map(|found| found.digest),
            Ok(Some(found)) => Ok(found.digest),
            Err(failure) => Err(failure),
        };
        match found {
            Ok(found) => Ok(found == *digest),
            Err(failure) if failure.class() == Class::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn delete(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Deleted, Failure> {
        let scope = format!("repository:{repository}:delete");
        let mut call = Call::new(RequestKind::Delete, Method::DELETE, scope);
        call.repeatable = true;
        let url = self.url_of(repository, &format!("manifests/{digest}"))?;
        let response = match self.exchange(url, call).await {
            Err(Failure::Unauthorized { .. }) => return Ok(Deleted::Unsupported),
            answered => answered?,
        };
        match response.status {
            StatusCode::ACCEPTED
            | StatusCode::OK
            | StatusCode::NO_CONTENT
            | StatusCode::NOT_FOUND
            | StatusCode::GONE => Ok(Deleted::Gone),
            StatusCode::BAD_REQUEST
            | StatusCode::FORBIDDEN
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Ok(Deleted::Unsupported),
            _ => Err(unwanted(response).await),
        }
    }

    fn push_error(&self, repository: &RepositoryName, digest: &Digest, source: Failure) -> Error {
        let reference = format!("{}@{digest}", self.name(repository));
        Error::Push { reference, source }
    }

    /// An error of this module that a source has handed through is told as it is.
    fn source_error(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        source: io::Error,
    ) -> Error {
        let reference = format!("{}@{digest}", self.name(repository));
        match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::ReadSource { reference, source },
        }
    }
}

fn dropped() -> Failure {
    Failure::invalid("the registry accepted it and does not have it")
}
