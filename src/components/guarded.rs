//! A place whose refusals are heard: whom a repository no longer lets in loses what was granted
//! because it did.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use tracing::warn;

use super::Place;
use crate::chain::chain;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{self, Class, Endpoint, Manifest, Reference, Resolved};
use crate::repository::{Answer, Artifacts, Blob, SharedArtifacts};
use crate::snapshot::Namespace;
use crate::store::{Holder, Store};

/// The place of an object, and the grants of that object.
pub(super) struct Guarded {
    inner: SharedArtifacts,
    grants: Arc<Grants>,
}

struct Grants {
    store: Store,
    namespace: Namespace,
    uid: String,
    registry: String,
}

impl Guarded {
    pub(super) fn new(inner: SharedArtifacts, place: &Place, store: Store) -> Self {
        let grants = Arc::new(Grants {
            store,
            namespace: place.namespace.clone(),
            uid: place.holder.clone(),
            registry: inner.name(),
        });
        Self { inner, grants }
    }
}

impl Grants {
    async fn hear<T>(
        self: &Arc<Self>,
        repository: &RepositoryName,
        answer: registry::Result<T>,
    ) -> registry::Result<T> {
        if answer.as_ref().is_err_and(is_denied) {
            let (grants, repository) = (Arc::clone(self), repository.clone());
            let revoking = tokio::task::spawn_blocking(move || grants.revoke(&repository));
            // It is denied either way. What could not be taken back is tried again when the next
            // answer says so, and nothing is read before the repository was asked.
            match revoking.await {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => warn!(error = chain(&failure), "failed to take grants back"),
                Err(failure) => warn!(%failure, "failed to take grants back"),
            }
        }
        answer
    }

    fn revoke(&self, repository: &RepositoryName) -> crate::store::Result<usize> {
        self.store.revoke(Holder {
            namespace: &self.namespace,
            uid: &self.uid,
            repository: &super::repository_of(&self.registry, repository),
        })
    }
}

/// Whether we are not let in.
pub(super) fn is_denied(failure: &registry::Error) -> bool {
    matches!(failure.class(), Class::Unauthorized | Class::Forbidden)
}

impl Artifacts for Guarded {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.inner.endpoint()
    }

    fn tags<'a>(&'a self, repository: &'a RepositoryName) -> Answer<'a, Vec<Tag>> {
        async {
            let answer = self.inner.tags(repository).await;
            self.grants.hear(repository, answer).await
        }
        .boxed()
    }

    fn resolve<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Resolved> {
        async move {
            let answer = self.inner.resolve(repository, reference).await;
            self.grants.hear(repository, answer).await
        }
        .boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Manifest> {
        async move {
            let answer = self.inner.manifest(repository, reference).await;
            self.grants.hear(repository, answer).await
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
            let answer = self.inner.blob(repository, digest, size).await;
            let blob = self.grants.hear(repository, answer).await?;
            let (grants, repository) = (Arc::clone(&self.grants), repository.clone());
            let size = blob.size();
            // A blob that is taken up again in its midst is asked for again.
            let stream = blob.into_stream().then(move |piece| {
                let (grants, repository) = (Arc::clone(&grants), repository.clone());
                async move { grants.hear(&repository, piece).await }
            });
            Ok(Blob::new(size, stream.boxed()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;
    use http::StatusCode;

    use super::*;
    use crate::registry::Failure;

    /// A registry that lets nobody in, or is not there.
    struct Refusing {
        status: u16,
        /// Whether a blob begins before it is refused.
        begins: bool,
    }

    impl Refusing {
        fn error(status: u16) -> registry::Error {
            let code = StatusCode::from_u16(status).unwrap();
            let (host, detail) = ("r.example".to_owned(), String::new());
            let source = match status {
                401 => Failure::Unauthorized {
                    status: code,
                    problem: "no credential".to_owned(),
                },
                403 => Failure::Forbidden {
                    status: code,
                    host,
                    detail,
                },
                404 => Failure::NotFound {
                    status: code,
                    host,
                    detail,
                },
                _ => Failure::Status {
                    status: code,
                    host,
                    detail,
                    retry_after: None,
                },
            };
            let reference = "r.example/a".to_owned();
            registry::Error::Pull { reference, source }
        }

        fn refuse<T: Send + 'static>(&self) -> Answer<'_, T> {
            let error = Self::error(self.status);
            async { Err(error) }.boxed()
        }
    }

    impl Artifacts for Refusing {
        fn name(&self) -> String {
            "r.example".to_owned()
        }

        fn endpoint(&self) -> Option<&Endpoint> {
            None
        }

        fn tags<'a>(&'a self, _: &'a RepositoryName) -> Answer<'a, Vec<Tag>> {
            self.refuse()
        }

        fn resolve<'a>(&'a self, _: &'a RepositoryName, _: &'a Reference) -> Answer<'a, Resolved> {
            self.refuse()
        }

        fn manifest<'a>(&'a self, _: &'a RepositoryName, _: &'a Reference) -> Answer<'a, Manifest> {
            self.refuse()
        }

        fn blob<'a>(
            &'a self,
            _: &'a RepositoryName,
            _: &'a Digest,
            size: Option<u64>,
        ) -> Answer<'a, Blob> {
            if !self.begins {
                return self.refuse();
            }
            let pieces = [Ok(Bytes::from_static(b"a")), Err(Self::error(self.status))];
            async move { Ok(Blob::new(size, stream::iter(pieces).boxed())) }.boxed()
        }
    }

    /// Asks for something; says whether what was granted is still granted, and what another object
    /// and another repository was.
    async fn grants_after(
        status: u16,
        begins: bool,
        ask: impl AsyncFnOnce(&Guarded, &RepositoryName, &Digest) -> bool,
    ) -> [bool; 3] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (namespace, digest): (Namespace, _) = ("tenant".parse().unwrap(), Digest::of("blob"));
        let holders = [
            ("uid", "r.example/a"),
            ("other", "r.example/a"),
            ("uid", "r.example/b"),
        ];
        let holders = holders.map(|(uid, repository)| Holder {
            namespace: &namespace,
            uid,
            repository,
        });
        for holder in holders {
            store.grant(holder, &digest).unwrap();
        }
        let guarded = Guarded {
            inner: Arc::new(Refusing { status, begins }),
            grants: Arc::new(Grants {
                store: store.clone(),
                namespace: namespace.clone(),
                uid: "uid".to_owned(),
                registry: "r.example".to_owned(),
            }),
        };
        assert!(ask(&guarded, &"a".parse().unwrap(), &digest).await);
        holders.map(|holder| store.is_granted(holder, &digest).unwrap())
    }

    #[tokio::test]
    async fn f10_who_is_no_longer_let_in_loses_what_was_granted_whatever_was_asked() {
        let tag = || Reference::Tag("1".parse().unwrap());
        for (status, kept) in [(401, false), (403, false), (404, true), (500, true)] {
            let expected = [kept, true, true];
            let tags = grants_after(status, false, async |place, name, _| {
                place.tags(name).await.is_err()
            });
            assert_eq!(tags.await, expected, "tags, {status}");
            let resolve = grants_after(status, false, async |place, name, _| {
                place.resolve(name, &tag()).await.is_err()
            });
            assert_eq!(resolve.await, expected, "resolve, {status}");
            let manifest = grants_after(status, false, async |place, name, _| {
                place.manifest(name, &tag()).await.is_err()
            });
            assert_eq!(manifest.await, expected, "manifest, {status}");
            for begins in [false, true] {
                let blob = grants_after(status, begins, async |place, name, digest| {
                    match place.blob(name, digest, None).await {
                        Ok(blob) => blob.collect("blob", 10).await.is_err(),
                        Err(_) => !begins,
                    }
                });
                assert_eq!(blob.await, expected, "blob, {status}, {begins}");
            }
        }
    }
}
