//! Error answers of the distribution API (distribution specification, "Error Codes").

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// A refusal with its code from the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A blob that this repository does not reach, whether or not the store has it.
    BlobUnknown,
    /// A manifest that this repository does not reach.
    ManifestUnknown,
    /// A repository without tags, or a path that is none of the API's.
    NameUnknown,
    /// Not a repository name.
    NameInvalid,
    /// Not a digest.
    DigestInvalid,
    /// `n` is not a number.
    PaginationInvalid,
    /// The caller may not read here.
    Unauthorized,
    /// A method that changes something.
    Unsupported,
    /// The store failed; the log says how.
    Internal,
}

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BlobUnknown => (
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "this repository has no such blob",
            ),
            Self::ManifestUnknown => (
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "this repository has no such manifest",
            ),
            Self::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository"),
            Self::NameInvalid => (
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                "not the name of a repository",
            ),
            Self::DigestInvalid => (
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                "not a sha256 or sha512 digest",
            ),
            Self::PaginationInvalid => (
                StatusCode::BAD_REQUEST,
                "PAGINATION_NUMBER_INVALID",
                "n is not a number",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "authentication required",
            ),
            Self::Unsupported => (
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "this registry is read-only",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the content store failed",
            ),
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let (status, code, message) = self.parts();
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        let length = body.len();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        match self {
            Self::Unsupported => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                // The body of a write is not read, so nothing can follow it on this connection.
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Unauthorized => {
                let challenge = HeaderValue::from_static("Basic realm=\"ocm-controller\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}
