//! The read side of the OCI distribution API over the content store.
//!
//! A repository is `<namespace>/<snapshot name>`. What it gives out is what its tags reach: the
//! manifests they point to, and the config and layers that these name. A digest that the store
//! has for somebody else is as unknown as one that it does not have.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use tracing::error;

use crate::oci::{Digest, Tag};
use crate::snapshot::{MANIFEST_MEDIA_TYPE, Repository};
use crate::store::{Blob, Store};

use super::error::Refusal;
use super::range::Selection;

/// The largest manifest that is looked into; ours have one layer and some annotations.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of a blob one connection holds in memory.
const PIECE: usize = 64 * 1024;

/// The media type of an image index, here always an empty list of referrers.
const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Decides who may read what.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether this request may read `repository`; without one it asks whether to log in at all.
    fn allows(&self, request: &Parts, repository: Option<&Repository>) -> bool;
}

/// Lets everyone read everything: for a server that only this machine can reach.
#[derive(Debug, Clone, Copy)]
pub struct Anyone;

impl Authorizer for Anyone {
    fn allows(&self, _request: &Parts, _repository: Option<&Repository>) -> bool {
        true
    }
}

#[derive(Clone)]
struct Registry {
    store: Store,
    authorizer: Arc<dyn Authorizer>,
}

/// The API over `store`, for those that `authorizer` lets in.
pub fn router(store: Store, authorizer: Arc<dyn Authorizer>) -> Router {
    // One handler for every path and method: names span several segments, and the path is read as
    // it came, since nothing that is valid in it needs percent-encoding.
    Router::new()
        .fallback(answer)
        .with_state(Registry { store, authorizer })
}

/// What a path of the API names.
#[derive(Debug)]
enum Target {
    Base,
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    Tags(Repository),
    Referrers(Repository),
}

#[derive(Debug)]
enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Target {
    fn parse(path: &str) -> Result<Self, Refusal> {
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(Refusal::NameUnknown)?,
            None => return Err(Refusal::NameUnknown),
        };
        let (rest, last) = rest.rsplit_once('/').ok_or(Refusal::NameUnknown)?;
        let (name, kind) = rest.rsplit_once('/').ok_or(Refusal::NameUnknown)?;
        let repository: Repository = name.parse().map_err(|_| Refusal::NameInvalid)?;
        let digest = || last.parse().map_err(|_| Refusal::DigestInvalid);
        match (kind, last) {
            ("manifests", reference) if reference.contains(':') => {
                Ok(Self::Manifest(repository, Reference::Digest(digest()?)))
            }
            ("manifests", tag) => {
                // The conformance suite asks for a malformed tag and expects "not found".
                let tag = tag.parse().map_err(|_| Refusal::ManifestUnknown)?;
                Ok(Self::Manifest(repository, Reference::Tag(tag)))
            }
            ("blobs", _) => Ok(Self::Blob(repository, digest()?)),
            ("referrers", _) => digest().map(|_: Digest| Self::Referrers(repository)),
            ("tags", "list") => Ok(Self::Tags(repository)),
            _ => Err(Refusal::NameUnknown),
        }
    }

    fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base => None,
            Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Tags(repository)
            | Self::Referrers(repository) => Some(repository),
        }
    }
}

/// A success before it becomes HTTP.
enum Found {
    Json(&'static str, String),
    Tags { body: String, next: Option<String> },
    Manifest(Digest, Vec<u8>),
    Blob(Digest, Blob),
}

async fn answer(State(registry): State<Registry>, request: Request<Body>) -> Response<Body> {
    let (parts, _unread) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    if !is_head && parts.method != Method::GET {
        return Refusal::Unsupported.response();
    }
    let mut response = match find(registry, &parts).await {
        Ok(found) => respond(found, &parts).await,
        Err(refusal) => refusal.response(),
    };
    response.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    if is_head {
        // The headers are those of a GET, `Content-Length` too, which the body would give itself.
        *response.body_mut() = Body::empty();
    }
    response
}

async fn find(registry: Registry, parts: &Parts) -> Result<Found, Refusal> {
    let target = Target::parse(parts.uri.path())?;
    if !registry.authorizer.allows(parts, target.repository()) {
        return Err(Refusal::Unauthorized);
    }
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let store = registry.store;
    tokio::task::spawn_blocking(move || look_up(&store, target, &query))
        .await
        .unwrap_or_else(|failure| {
            error!(error = %failure, "lookup in the content store ended early");
            Err(Refusal::Internal)
        })
}

fn look_up(store: &Store, target: Target, query: &str) -> Result<Found, Refusal> {
    match target {
        Target::Base => Ok(Found::Json("application/json", "{}".to_owned())),
        Target::Manifest(repository, reference) => {
            let digest = match reference {
                Reference::Tag(tag) => store
                    .tag(&repository, &tag)
                    .map_err(internal)?
                    .map(|record| record.manifest),
                Reference::Digest(digest) => store
                    .manifests(&repository)
                    .map_err(internal)?
                    .into_iter()
                    .find(|reachable| *reachable == digest),
            };
            let digest = digest.ok_or(Refusal::ManifestUnknown)?;
            let content = store
                .read_small(&digest, MANIFEST_LIMIT)
                .map_err(internal)?;
            Ok(Found::Manifest(
                digest,
                content.ok_or(Refusal::ManifestUnknown)?,
            ))
        }
        Target::Blob(repository, digest) => {
            if !reaches(store, &repository, &digest)? {
                return Err(Refusal::BlobUnknown);
            }
            let blob = store.open_blob(&digest).map_err(internal)?;
            Ok(Found::Blob(digest, blob.ok_or(Refusal::BlobUnknown)?))
        }
        Target::Tags(repository) => tags(store, &repository, query),
        Target::Referrers(_) => {
            let index = json!({
                "schemaVersion": 2,
                "mediaType": INDEX_MEDIA_TYPE,
                "manifests": [],
            });
            Ok(Found::Json(INDEX_MEDIA_TYPE, index.to_string()))
        }
    }
}

/// Whether a manifest of the repository is, or names, this content.
fn reaches(store: &Store, repository: &Repository, digest: &Digest) -> Result<bool, Refusal> {
    #[derive(Deserialize)]
    struct Descriptor {
        digest: Digest,
    }
    #[derive(Deserialize)]
    struct Manifest {
        config: Descriptor,
        layers: Vec<Descriptor>,
    }
    for manifest in store.manifests(repository).map_err(internal)? {
        if manifest == *digest {
            return Ok(true);
        }
        let content = store
            .read_small(&manifest, MANIFEST_LIMIT)
            .map_err(internal)?;
        let Some(content) = content else { continue };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&content) else {
            continue;
        };
        let mut named = manifest.layers.into_iter().chain([manifest.config]);
        if named.any(|descriptor| descriptor.digest == *digest) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn tags(store: &Store, repository: &Repository, query: &str) -> Result<Found, Refusal> {
    let mut limit = usize::MAX;
    let mut last = None;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "n" if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(Refusal::PaginationInvalid);
            }
            // A number beyond the machine's is beyond every list.
            "n" => limit = value.parse().unwrap_or(usize::MAX),
            "last" => last = Some(value.into_owned()),
            _ => {}
        }
    }
    let all = store.tags(repository).map_err(internal)?;
    if all.is_empty() {
        return Err(Refusal::NameUnknown);
    }
    let mut after: Vec<&str> = all
        .iter()
        .map(Tag::as_str)
        .filter(|tag| last.as_deref().is_none_or(|last| *tag > last))
        .collect();
    let has_more = after.len() > limit;
    after.truncate(limit);
    // Relative, so that no `Host` that a client made up comes back as an address.
    let next = after
        .last()
        .filter(|_| has_more)
        .map(|tag| format!("</v2/{repository}/tags/list?n={limit}&last={tag}>; rel=\"next\""));
    let body = json!({"name": repository.to_string(), "tags": after}).to_string();
    Ok(Found::Tags { body, next })
}

async fn respond(found: Found, parts: &Parts) -> Response<Body> {
    match found {
        Found::Json(media_type, body) => content(media_type, body.len() as u64, body.into()),
        Found::Tags { body, next } => {
            let mut response = content("application/json", body.len() as u64, body.into());
            if let Some(next) = next {
                response.headers_mut().insert(header::LINK, text(&next));
            }
            response
        }
        Found::Manifest(digest, body) => {
            let size = body.len() as u64;
            let mut response = content(MANIFEST_MEDIA_TYPE, size, body.into());
            name_content(&mut response, &digest);
            response
        }
        Found::Blob(digest, blob) => blob_response(&digest, blob, parts).await,
    }
}

async fn blob_response(digest: &Digest, blob: Blob, parts: &Parts) -> Response<Body> {
    let size = blob.size();
    let selection = if parts.method == Method::GET && range_applies(parts, digest) {
        let range = parts.headers.get(header::RANGE);
        Selection::of(range.and_then(|range| range.to_str().ok()), size)
    } else {
        Selection::Whole
    };
    let (status, start, length) = match selection {
        Selection::Whole => (StatusCode::OK, 0, size),
        Selection::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Selection::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let file = match blob.into_file() {
        Ok(file) => file,
        Err(failure) => {
            error!(%digest, error = %failure, "failed to hand over a blob");
            return Refusal::Internal.response();
        }
    };
    let mut file = tokio::fs::File::from_std(file);
    if let Err(failure) = file.seek(std::io::SeekFrom::Start(start)).await {
        error!(%digest, error = %failure, "failed to seek in a blob");
        return Refusal::Internal.response();
    }
    let pieces = ReaderStream::with_capacity(file.take(length), PIECE);
    let media_type = "application/octet-stream";
    let mut response = content(media_type, length, Body::from_stream(pieces));
    *response.status_mut() = status;
    name_content(&mut response, digest);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let range = match selection {
        Selection::Whole => return response,
        Selection::Part { .. } => format!("bytes {start}-{}/{size}", start + length - 1),
        Selection::Unsatisfiable => format!("bytes */{size}"),
    };
    headers.insert(header::CONTENT_RANGE, text(&range));
    response
}

/// A range is for one state of the content (RFC 9110, 13.1.5), and a digest has only one.
fn range_applies(parts: &Parts, digest: &Digest) -> bool {
    let condition = parts.headers.get(header::IF_RANGE);
    condition.is_none_or(|condition| condition.as_bytes() == format!("\"{digest}\"").as_bytes())
}

fn content(media_type: &'static str, size: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, size.into());
    response
}

fn name_content(response: &mut Response<Body>, digest: &Digest) {
    let headers = response.headers_mut();
    headers.insert("docker-content-digest", text(&digest.to_string()));
    headers.insert(header::ETAG, text(&format!("\"{digest}\"")));
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("digests, tags, repositories and numbers are ASCII")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` takes"
)]
fn internal(failure: crate::store::Error) -> Refusal {
    let cause = std::error::Error::source(&failure).map(ToString::to_string);
    error!(error = %failure, cause, "content store failed while serving");
    Refusal::Internal
}

#[cfg(test)]
mod tests;
