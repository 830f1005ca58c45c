//! What keeps a component version from being read.

use crate::ocm::{self, ComponentName, Identity, Version};
use crate::repository::component;
use crate::{registry, store};

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a component version from being read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry did not list the tags.
    #[error("failed to list the versions of component {component}")]
    ListVersions {
        /// The component.
        component: ComponentName,
        /// What the registry said.
        source: registry::Error,
    },

    /// A part of the component version cannot be pulled.
    #[error("failed to read component {component} {version}")]
    Read {
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
        /// What the registry said.
        source: registry::Error,
    },

    /// What was pulled is no component version.
    #[error("component {component} {version} is malformed")]
    Malformed {
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
        /// What does not fit.
        source: ocm::Error,
    },

    /// An index names an index.
    #[error(
        "component {component} {version} is malformed: an index names an index as the component's manifest"
    )]
    NestedIndex {
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
    },

    /// The references between components cannot be followed.
    #[error("failed to follow the component's references")]
    FollowReferences {
        /// What does not fit.
        source: ocm::Error,
    },

    /// A resource's content cannot be found by its access.
    #[error("failed to locate the content of resource {resource}")]
    Locate {
        /// The resource.
        resource: Identity,
        /// What does not fit.
        source: ocm::Error,
    },

    /// A resource's content cannot be pulled.
    #[error("failed to pull the content of resource {resource}")]
    Pull {
        /// The resource.
        resource: Identity,
        /// What the registry said.
        source: registry::Error,
    },

    /// A resource's access is of a type that is read but not fetched.
    #[error(
        "resource {resource} has access type {kind:?}, which cannot be fetched: transfer the component with its resources (--copy-resources) into the registry"
    )]
    UnsupportedAccess {
        /// The resource.
        resource: Identity,
        /// The access type.
        kind: String,
    },

    /// A part of an artifact is named by a digest that an archive cannot hold.
    #[error(
        "resource {resource} has parts named by SHA-512 digests, which cannot be archived: push it with SHA-256 digests"
    )]
    UnsupportedDigest {
        /// The resource.
        resource: Identity,
    },

    /// An index leads to more manifests than can be one resource.
    #[error("resource {resource} consists of more than {limit} manifests")]
    TooManyManifests {
        /// The resource.
        resource: Identity,
        /// How many there may be.
        limit: usize,
    },

    /// The content is not what the descriptor says.
    #[error(
        "resource {resource} has digest {found} in its access, but {expected} in its descriptor"
    )]
    DigestMismatch {
        /// The resource.
        resource: Identity,
        /// What the descriptor says.
        expected: crate::oci::Digest,
        /// What the access names.
        found: crate::oci::Digest,
    },

    /// The component version is not what was signed.
    #[error("the signatures do not hold")]
    Signature {
        /// What does not fit.
        source: ocm::signature::Error,
    },

    /// Signatures do not cover the content, or it cannot be compared with what they cover.
    #[error("resource {resource} is not used, since signatures are required: {problem}")]
    Unsigned {
        /// The resource.
        resource: Identity,
        /// What is missing.
        problem: &'static str,
    },

    /// Content could not be read to its end.
    #[error("failed to read the content of resource {resource}")]
    Hash {
        /// The resource.
        resource: Identity,
        /// What does not fit.
        source: std::io::Error,
    },

    /// The component's name gives no repository name.
    #[error("failed to name the repository of component {component}")]
    NameRepository {
        /// The component.
        component: ComponentName,
        /// What does not fit.
        source: ocm::Error,
    },

    /// The repository's address is none.
    #[error("repository {repository:?} cannot be dialled")]
    Address {
        /// The repository.
        repository: String,
        /// What does not fit.
        source: registry::Error,
    },

    /// The content store failed.
    #[error("failed to use the content store")]
    Store {
        /// The cause.
        source: store::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        registry::error_in(self).is_some_and(registry::Error::is_not_found)
    }

    pub(super) fn read(
        component: &ComponentName,
        version: &Version,
        source: registry::Error,
    ) -> Self {
        Self::Read {
            component: component.clone(),
            version: version.clone(),
            source,
        }
    }
}

impl From<component::Error> for Error {
    fn from(error: component::Error) -> Self {
        match error {
            component::Error::Read {
                component,
                version,
                source,
            } => Self::Read {
                component,
                version,
                source,
            },
            component::Error::Malformed {
                component,
                version,
                source,
            } => Self::Malformed {
                component,
                version,
                source,
            },
            component::Error::NestedIndex { component, version } => {
                Self::NestedIndex { component, version }
            }
            component::Error::Aborted { source } => Self::Aborted { source },
        }
    }
}
