//! What keeps component versions of a place from being found and read.

use crate::ocm::{self, ComponentName, Version};
use crate::registry;

/// What keeps component versions of a place from being found and read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component's name gives no repository name.
    #[error("failed to name the repository of component {component}")]
    NameRepository {
        /// The component.
        component: ComponentName,
        /// What does not fit.
        source: ocm::Error,
    },

    /// The place did not list the tags.
    #[error("failed to list the versions of component {component}")]
    ListVersions {
        /// The component.
        component: ComponentName,
        /// What the place said.
        source: registry::Error,
    },

    /// A part of the component version cannot be had.
    #[error("failed to read component {component} {version}")]
    Read {
        /// The component.
        component: ComponentName,
        /// Its version.
        version: Version,
        /// What the place said.
        source: registry::Error,
    },

    /// What was read is no component version.
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

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// A part of a component version cannot be had.
    pub fn read(component: &ComponentName, version: &Version, source: registry::Error) -> Self {
        Self::Read {
            component: component.clone(),
            version: version.clone(),
            source,
        }
    }
}
