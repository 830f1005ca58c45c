//! What the OCI specifications give us words for: digests, image references, media types.
//!
//! Everything that comes from outside is parsed here once into a type that cannot be wrong, so
//! that no other module has to check it again before it becomes part of a path or a URL.

mod digest;
pub mod json;
mod reference;

pub use digest::{Algorithm, Digest, Hasher};
pub use reference::{ImageReference, RepositoryName, Tag};

/// What is wrong with a digest, a tag or a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither `sha256:<64 hex>` nor `sha512:<128 hex>`, lower case.
    #[error(
        "{text:?} is not a digest: expected \"sha256:\" and 64, or \"sha512:\" and 128, lower-case \
         hexadecimal digits"
    )]
    ParseDigest {
        /// The text as given.
        text: String,
    },

    /// Not a tag by the distribution specification.
    #[error(
        "{text:?} is not a tag: expected 1 to 128 letters, digits, \"_\", \".\", \"-\", not \
         starting with \".\" or \"-\""
    )]
    ParseTag {
        /// The text as given.
        text: String,
    },

    /// Not a repository name by the distribution specification.
    #[error(
        "{text:?} is not a repository name: expected lower-case path segments such as \"team/app\""
    )]
    ParseRepository {
        /// The text as given.
        text: String,
    },

    /// Not an image reference.
    #[error("{text:?} is not an image reference: {problem}")]
    ParseReference {
        /// The text as given.
        text: String,
        /// What does not fit.
        problem: String,
    },
}
