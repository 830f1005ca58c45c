//! What keeps a signature from being verified.

use crate::oci::Digest;
use crate::ocm::Identity;

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a signature from being verified. Whatever it is: nothing was verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be used.
    #[error("the public key cannot be used: {problem}")]
    ParseKey {
        /// What does not fit.
        problem: String,
    },

    /// No signature was asked for, so that nothing could be verified.
    #[error("no signature is named that is to be verified")]
    NothingAsked,

    /// The component version does not carry the signature.
    #[error("component {component} has no signature {name:?}; it has {found}")]
    Missing {
        /// The component version.
        component: String,
        /// The signature's name.
        name: String,
        /// The names that it has.
        found: String,
    },

    /// Two signatures have one name, so that it is not known which one is meant.
    #[error("component {component} has several signatures of the name {name:?}")]
    Several {
        /// The component version.
        component: String,
        /// The signature's name.
        name: String,
    },

    /// The signature is of a kind that is not verified.
    #[error("signature {name:?} cannot be verified: {problem}")]
    Unsupported {
        /// The signature's name.
        name: String,
        /// What does not fit.
        problem: String,
    },

    /// The signature's bytes cannot be read.
    #[error("signature {name:?} is malformed: {problem}")]
    Malformed {
        /// The signature's name.
        name: String,
        /// What does not fit.
        problem: String,
    },

    /// The certificates of the signature do not lead to the authority that is configured.
    #[error("signature {name:?} is by nobody who is trusted: {problem}")]
    Chain {
        /// The signature's name.
        name: String,
        /// What does not fit.
        problem: String,
    },

    /// The certificate that is the key belongs to somebody else than the signature names.
    #[error("signature {name:?} is issued by {issuer:?}, the certificate given is of {subject:?}")]
    WrongIssuer {
        /// The signature's name.
        name: String,
        /// Who issued it, by its own word.
        issuer: String,
        /// The certificate's subject.
        subject: String,
    },

    /// The signature was made with another key, or over something else.
    #[error(
        "signature {name:?} does not verify with the key given ({key}): it was made with another key, or over another digest"
    )]
    Refused {
        /// The signature's name.
        name: String,
        /// The digest of the key.
        key: Digest,
    },

    /// The descriptor is not the one that was signed.
    #[error(
        "component {component} is not what was signed: its digest is {found}, signature {name:?} is for {expected}"
    )]
    OtherComponent {
        /// The component version.
        component: String,
        /// The signature's name.
        name: String,
        /// The digest that was signed.
        expected: String,
        /// The digest of the descriptor as it is.
        found: String,
    },

    /// A component version below is not the one that was signed.
    #[error(
        "component {component} is not the one meant by {by}: its digest is {found}, expected {expected}"
    )]
    OtherReference {
        /// The component version that is referred to.
        component: String,
        /// What names the expected digest.
        by: String,
        /// The digest that is expected.
        expected: String,
        /// The digest of the descriptor as it is.
        found: String,
    },

    /// A component version below is not among those that were read.
    #[error("component {component}, which {by} refers to, was not read")]
    NotRead {
        /// The component version that is referred to.
        component: String,
        /// The component version that refers to it.
        by: String,
    },

    /// The signer's list of digests lacks something that is referred to.
    #[error("the nested digests of component {component} do not list {element}")]
    NotListed {
        /// The component version.
        component: String,
        /// What is missing.
        element: String,
    },

    /// The content of a resource is not the one that was signed.
    #[error(
        "resource {resource} of component {component} is not what was signed: its content has digest {found}, expected {expected}"
    )]
    OtherContent {
        /// The component version.
        component: String,
        /// The resource.
        resource: Identity,
        /// The digest that the descriptor records.
        expected: String,
        /// The digest of the content as it is.
        found: String,
    },

    /// The content of a resource was not looked at.
    #[error(
        "resource {resource} of component {component} cannot be compared with what was signed: {problem}"
    )]
    UnknownContent {
        /// The component version.
        component: String,
        /// The resource.
        resource: Identity,
        /// What is missing.
        problem: String,
    },

    /// The creation time is none.
    #[error("creationTime {text:?} is no time by RFC 3339")]
    ParseCreationTime {
        /// The text.
        text: String,
        /// What does not fit.
        source: jiff::Error,
    },
}
