//! What keeps a component version from being moved.

use std::io;

use crate::oci::Digest;
use crate::ocm::{self, ComponentName, Version};
use crate::registry;
use crate::remote;
use crate::repository::component;

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a component version from being moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component version cannot be found or read.
    #[error(transparent)]
    Component(#[from] component::Error),

    /// There is nothing to move.
    #[error("{place:?} holds no version of component {component}")]
    NoVersions {
        /// The component.
        component: ComponentName,
        /// The source.
        place: String,
    },

    /// The target has the version with other content.
    #[error(
        "{target:?} holds component {component} {version} with other content: use --overwrite to \
         replace it"
    )]
    Exists {
        /// The target.
        target: String,
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
    },

    /// The target has another image under the name that this one would get.
    #[error(
        "{image:?} is {found} at the target, and {wanted} is to be put there: use --overwrite to \
         replace it"
    )]
    ImageExists {
        /// The image.
        image: String,
        /// What is there.
        found: Digest,
        /// What is to be there.
        wanted: Digest,
    },

    /// Content has another digest than the descriptor records.
    #[error("{element} has digest {found}, and the component records {recorded}")]
    DigestMismatch {
        /// The resource.
        element: String,
        /// What is there.
        found: Digest,
        /// What is recorded.
        recorded: Digest,
    },

    /// An access cannot be read.
    #[error("failed to read the access of {element}")]
    Access {
        /// The resource or source.
        element: String,
        /// What does not fit.
        source: ocm::Error,
    },

    /// Content outside of registries cannot be fetched.
    #[error("failed to fetch {element}")]
    Fetch {
        /// The resource.
        element: String,
        /// Why.
        source: remote::Error,
    },

    /// An artifact that should be a chart is none.
    #[error("{element} is a chart by its access, and {image} has not one packed chart in it")]
    NoChart {
        /// The resource.
        element: String,
        /// The artifact.
        image: String,
    },

    /// An access is of a type whose content is not fetched.
    #[error(
        "{element} has access type {kind:?}, whose content cannot be copied: transfer without \
         --copy-resources, and the access stays as it is"
    )]
    UnsupportedAccess {
        /// The resource.
        element: String,
        /// The type.
        kind: String,
    },

    /// An image would get a name that is none.
    #[error("failed to name the copy of {element}")]
    NameImage {
        /// The resource.
        element: String,
        /// What does not fit.
        source: crate::oci::Error,
    },

    /// A registry that an access names cannot be dialled.
    #[error("failed to copy {element}")]
    Copy {
        /// The resource or source.
        element: String,
        /// Why.
        source: registry::Error,
    },

    /// An artifact consists of more manifests than can be one resource.
    #[error("{element} consists of more than {limit} manifests, or of manifests nested too deep")]
    TooManyManifests {
        /// The resource.
        element: String,
        /// How many there may be.
        limit: usize,
    },

    /// An artifact cannot be packed into a file, or not be taken out of one.
    #[error("failed to pack {element}")]
    Pack {
        /// The resource.
        element: String,
        /// Why.
        source: io::Error,
    },

    /// The component version itself cannot be written.
    #[error("failed to write component {component} {version} to {target:?}")]
    Write {
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
        /// The target.
        target: String,
        /// Why.
        source: registry::Error,
    },

    /// The target's file cannot be written.
    #[error("failed to write {target:?}")]
    Finish {
        /// The target.
        target: String,
        /// Why.
        source: registry::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}
