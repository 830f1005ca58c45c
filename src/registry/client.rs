//! The client of one registry as one user.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::answer::unwanted;
use super::auth::Authenticator;
use super::blob::{BlobStream, Source};
use super::counters::RequestKind;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::flights::Flights;
use super::manifest::{Manifest, announced_digest, check_encoding, content_type, media_type};
use super::origin::same_origin;
use super::tags::{self, TagList};
use super::transport::{Request, Response, Transport};
use super::{Error, Result};
use crate::oci::{Digest, RepositoryName, Tag};

/// A manifest in a repository: by its name, or by what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Whatever the tag points to now.
    Tag(Tag),
    /// Exactly this content.
    Digest(Digest),
}

impl Reference {
    pub(super) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
        }
    }

    /// The reference behind a repository's name.
    pub(super) fn suffix(&self) -> String {
        match self {
            Self::Tag(tag) => format!(":{tag}"),
            Self::Digest(digest) => format!("@{digest}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, formatter),
            Self::Digest(digest) => fmt::Display::fmt(digest, formatter),
        }
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// What a reference points to, as far as its registry says. The digest is a claim: what is
/// pulled by it afterwards is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
}

/// What is asked of a registry, but for the place.
pub(super) struct Call {
    pub(super) kind: RequestKind,
    pub(super) method: Method,
    /// What a token has to allow: `repository:NAME:ACTIONS`, several with blanks between them.
    pub(super) scope: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// See [`Request::repeatable`].
    pub(super) repeatable: bool,
    /// See [`Request::patience`].
    pub(super) patience: Duration,
}

impl Call {
    pub(super) fn new(kind: RequestKind, method: Method, scope: String) -> Self {
        Self {
            kind,
            method,
            scope,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeatable: false,
            patience: Duration::ZERO,
        }
    }
}

/// The client of one registry as one user; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    endpoint: Endpoint,
    auth: Authenticator,
    uploads: Flights,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({})", self.inner.endpoint)
    }
}

impl Client {
    /// A client of the registry at `endpoint`. A [`super::Pool`] shares clients and their tokens.
    pub fn new(transport: Transport, endpoint: Endpoint, credential: Credential) -> Self {
        let auth = Authenticator::new(endpoint.clone(), credential);
        Self {
            inner: Arc::new(Inner {
                transport,
                endpoint,
                auth,
                uploads: Flights::default(),
            }),
        }
    }

    /// The registry.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// All tags of `repository` in the registry's order.
    pub async fn list_tags(&self, repository: &RepositoryName) -> Result<TagList> {
        tags::list(self, repository)
            .await
            .map_err(|source| Error::ListTags {
                repository: self.name(repository),
                source,
            })
    }

    /// What `reference` points to now: one HEAD, or a GET where the registry does not say it.
    pub async fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Resolved> {
        let scope = format!("repository:{repository}:pull");
        let resolved = self.head(repository, reference, scope).await;
        let resolved = resolved.map_err(|source| self.pull_error(repository, reference, source))?;
        if let Some(resolved) = resolved {
            return Ok(resolved);
        }
        let manifest = self.manifest(repository, reference).await?;
        Ok(Resolved {
            digest: manifest.digest,
            media_type: manifest.media_type,
        })
    }

    /// The manifest that `reference` points to, checked.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Manifest> {
        self.pull_manifest(repository, reference)
            .await
            .map_err(|source| self.pull_error(repository, reference, source))
    }

    /// Streams a blob and checks it against `digest` (and `size`, in bytes, where known) as it
    /// flows.
    pub async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<BlobStream> {
        let source = Source::Repository {
            client: self.clone(),
            repository: repository.clone(),
            digest: digest.clone(),
        };
        BlobStream::open(source, std::slice::from_ref(digest), size).await
    }

    /// A small blob as a whole: configurations and descriptors, at most `limit` bytes.
    pub async fn blob_bytes(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: Option<u64>,
        limit: usize,
    ) -> Result<Bytes> {
        self.blob(repository, digest, size)
            .await?
            .collect(limit)
            .await
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    pub(super) fn uploads(&self) -> &Flights {
        &self.inner.uploads
    }

    /// Host and repository, for messages.
    pub(super) fn name(&self, repository: &RepositoryName) -> String {
        format!("{}/{repository}", self.inner.endpoint)
    }

    fn pull_error(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        source: Failure,
    ) -> Error {
        Error::Pull {
            reference: self.name(repository) + &reference.suffix(),
            source,
        }
    }

    /// What HEAD says of `reference`, with a token for `scope`; `None` where it says nothing.
    pub(super) async fn head(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        scope: String,
    ) -> Result<Option<Resolved>, Failure> {
        let path = format!("manifests/{reference}");
        let mut call = Call::new(RequestKind::Resolve, Method::HEAD, scope);
        call.headers.insert(header::ACCEPT, accepted());
        let sent = self.exchange(self.url_of(repository, &path)?, call).await?;
        match sent.status {
            StatusCode::OK => {}
            // Some registries know no HEAD; GET will tell more of everything else as well.
            StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::BAD_REQUEST => return Ok(None),
            _ => return Err(unwanted(sent).await),
        }
        let Some(digest) = announced_digest(&sent.headers)? else {
            return Ok(None);
        };
        if let Some(expected) = reference.digest()
            && expected.algorithm() == digest.algorithm()
            && *expected != digest
        {
            return Err(Failure::Digest {
                expected: expected.clone(),
                actual: digest,
            });
        }
        let digest = reference.digest().cloned().unwrap_or(digest);
        let media_type = content_type(&sent.headers)?;
        Ok(Some(Resolved { digest, media_type }))
    }

    pub(super) async fn pull_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Manifest, Failure> {
        let path = format!("manifests/{reference}");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accepted());
        let response = self
            .request(
                RequestKind::Manifest,
                Method::GET,
                repository,
                &path,
                headers,
            )
            .await?;
        if response.status != StatusCode::OK {
            return Err(unwanted(response).await);
        }
        check_encoding(&response.headers)?;
        content_type(&response.headers)?;
        let settings = self.transport().settings();
        let (limit, deadline) = (settings.limits.manifest, settings.timeouts.small_body);
        let bytes = response.body.collect("manifest", limit, deadline).await?;
        let most_entries = settings.limits.manifest_entries;
        Manifest::from_answer(&response.headers, bytes, reference.digest(), most_entries)
    }

    /// One request for something below `/v2/<repository>/`, see [`Self::exchange`].
    pub(super) async fn request(
        &self,
        kind: RequestKind,
        method: Method,
        repository: &RepositoryName,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> Result<Response, Failure> {
        let url = self.url_of(repository, path_and_query)?;
        self.request_url(kind, method, repository, url, headers)
            .await
    }

    /// The same for a `url` of this registry.
    pub(super) async fn request_url(
        &self,
        kind: RequestKind,
        method: Method,
        repository: &RepositoryName,
        url: url::Url,
        headers: HeaderMap,
    ) -> Result<Response, Failure> {
        let mut call = Call::new(kind, method, format!("repository:{repository}:pull"));
        call.headers = headers;
        self.exchange(url, call).await
    }

    /// The URL of something below `/v2/<repository>/`.
    pub(super) fn url_of(
        &self,
        repository: &RepositoryName,
        path_and_query: &str,
    ) -> Result<url::Url, Failure> {
        let home = self.inner.endpoint.url();
        home.join(&format!("/v2/{repository}/{path_and_query}"))
            .map_err(|_| Failure::invalid("the path makes no URL"))
    }

    /// One request to `url` with our identity, and once more with a fresh one where the registry
    /// refuses the first. No other host than the registry's own gets an identity.
    pub(super) async fn exchange(&self, url: url::Url, call: Call) -> Result<Response, Failure> {
        let Inner {
            transport,
            endpoint,
            auth,
            ..
        } = &*self.inner;
        let Call {
            kind,
            method,
            scope,
            headers,
            body,
            repeatable,
            patience,
        } = call;
        let home = endpoint.url();
        let authorization = if same_origin(&url, &home) {
            auth.header(transport, &scope).await?
        } else {
            None
        };
        let mut request = Request {
            kind,
            method,
            url,
            headers,
            own_headers: HeaderMap::new(),
            authorization,
            body,
            repeatable,
            redirects: true,
            patience,
            roots: auth.credential().roots(),
            home: Some(home.clone()),
        };
        let response = transport.send(&request).await?;
        // A host that we were sent to has nothing to ask of us: no token goes there.
        if response.status != StatusCode::UNAUTHORIZED || !same_origin(&response.url, &home) {
            return Ok(response);
        }
        let refused = request.authorization.take();
        let (status, asked) = (response.status, response.headers.clone());
        let detail = unwanted_detail(response).await;
        let fresh = auth
            .retry(transport, &asked, &scope, refused.as_ref())
            .await?;
        let unauthorized = |detail: &str| {
            let who = auth.credential().described(endpoint);
            let problem = if auth.credential().is_anonymous() {
                format!("{who}{detail}")
            } else {
                format!("the registry refused {who}{detail}")
            };
            Failure::Unauthorized { status, problem }
        };
        let Some(fresh) = fresh else {
            return Err(unauthorized(&detail));
        };
        request.authorization = Some(fresh);
        let response = transport.send(&request).await?;
        if response.status == StatusCode::UNAUTHORIZED && same_origin(&response.url, &home) {
            return Err(unauthorized(&unwanted_detail(response).await));
        }
        Ok(response)
    }
}

async fn unwanted_detail(response: Response) -> String {
    super::failure::detail(&response.body.excerpt().await)
}

fn accepted() -> HeaderValue {
    let types = [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_LIST,
    ];
    HeaderValue::from_str(&types.join(", ")).expect("media types are header text")
}
