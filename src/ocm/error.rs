//! What can be wrong with the Open Component Model's values.

use super::{ComponentName, Identity, Version};

/// The result of reading or looking up a value of the component model.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a value of the Open Component Model, or could not be found in one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An archive has no name by which an image could be pulled.
    #[error(
        "{archive:?} is an archive: images can be pulled once the component is transferred to a \
         registry"
    )]
    NoRegistry {
        /// The archive.
        archive: String,
    },

    /// Not a component name.
    #[error(
        "{text:?} is not a component name: expected a lower-case domain and a path, such as \
         \"example.org/shop/frontend\""
    )]
    ParseComponentName {
        /// The text as given, shortened.
        text: String,
    },

    /// Not a version.
    #[error("{text:?} is not a version: {problem}")]
    ParseVersion {
        /// The text as given, shortened.
        text: String,
        /// What does not fit.
        problem: &'static str,
    },

    /// Not a version constraint.
    #[error("{text:?} is not a version constraint: {problem}")]
    ParseConstraint {
        /// The text as given, shortened.
        text: String,
        /// What does not fit.
        problem: String,
    },

    /// Not the URL of a repository. The URL is not repeated where it may hold a password.
    #[error("repository url {url:?} can't be used: {problem}")]
    ParseRepository {
        /// The URL, shortened, without user and password.
        url: String,
        /// What does not fit.
        problem: String,
    },

    /// A component name that is valid but can't be stored in this repository.
    #[error("component {component:?} has no place in repository {repository:?}")]
    MapComponent {
        /// The component.
        component: ComponentName,
        /// The repository's URL.
        repository: String,
        /// Which rule of repository names is broken.
        source: crate::oci::Error,
    },

    /// A document that is no JSON.
    #[error("failed to parse {what} as JSON")]
    ParseJson {
        /// Which document.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },

    /// A document that is no YAML.
    #[error("failed to parse {what} as YAML")]
    ParseYaml {
        /// Which document.
        what: &'static str,
        /// Where and why.
        source: serde_yaml::Error,
    },

    /// A document that breaks a rule of its format or a bound of this program.
    #[error("refused {what}: {problem}")]
    RefuseDocument {
        /// Which document.
        what: &'static str,
        /// Which rule.
        problem: String,
    },

    /// A document that is JSON or YAML, but not of the expected form.
    #[error("{what} has not the expected form")]
    ReadDocument {
        /// Which document.
        what: &'static str,
        /// The field and what is wrong with it.
        source: serde_json::Error,
    },

    /// A layer that could not be read.
    #[error("failed to read the component descriptor")]
    ReadLayer {
        /// The cause.
        source: std::io::Error,
    },

    /// A descriptor of another component version than the one asked for.
    #[error("asked for component {asked}, the descriptor is of {found}")]
    WrongComponent {
        /// `name:version` asked for.
        asked: String,
        /// `name:version` in the descriptor.
        found: String,
    },

    /// An image manifest whose config is not that of a component version.
    #[error("artifact is no component: {media_type:?}")]
    NoComponent {
        /// The media type that was found.
        media_type: String,
    },

    /// No element of that identity.
    #[error(
        "component {component:?} has no {element} {wanted}; it has {}",
        list(candidates)
    )]
    Find {
        /// The component searched.
        component: ComponentName,
        /// `resource` or `reference`.
        element: &'static str,
        /// What was looked for.
        wanted: Identity,
        /// What there is.
        candidates: Vec<Identity>,
    },

    /// Several elements of that identity.
    #[error(
        "component {component:?} has several {element}s for {wanted}: {}; give the extraIdentity \
         of one",
        list(candidates)
    )]
    Ambiguous {
        /// The component searched.
        component: ComponentName,
        /// `resource` or `reference`.
        element: &'static str,
        /// What was looked for.
        wanted: Identity,
        /// What matched.
        candidates: Vec<Identity>,
    },

    /// An access specification that lacks what its type needs.
    #[error("access of type {kind:?} can't be used")]
    ParseAccess {
        /// The access type.
        kind: String,
        /// Which field.
        source: serde_json::Error,
    },

    /// A resource whose content is not an image that could be pulled.
    #[error("resource {resource} has no image reference: {problem}")]
    Locate {
        /// The resource.
        resource: Identity,
        /// Why not; names the access type.
        problem: String,
    },

    /// An image reference in an access that can't be parsed.
    #[error("resource {resource} names its image wrongly")]
    ParseImage {
        /// The resource.
        resource: Identity,
        /// The cause.
        source: crate::oci::Error,
    },

    /// A component that refers to itself, directly or through others.
    #[error("component references form a cycle: {}", path.join(" -> "))]
    Cycle {
        /// The `name:version`s from the first occurrence to the second.
        path: Vec<String>,
    },

    /// References nested too deeply.
    #[error("component references are nested deeper than {limit}: {}", path.join(" -> "))]
    TooDeep {
        /// The bound.
        limit: usize,
        /// The `name:version`s from the root down.
        path: Vec<String>,
    },

    /// Too many components below one root.
    #[error("component {root} refers to more than {limit} component versions")]
    TooMany {
        /// `name:version` of the root.
        root: String,
        /// The bound.
        limit: usize,
    },
}

/// `name:version`, as component versions are written in messages.
pub(super) fn component_version(name: &ComponentName, version: &Version) -> String {
    format!("{name}:{version}")
}

/// The first 100 characters of a text from outside, for messages.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

/// At most ten candidates, so that a message stays readable.
fn list(candidates: &[Identity]) -> String {
    const SHOWN: usize = 10;
    if candidates.is_empty() {
        return "none".to_owned();
    }
    let mut texts: Vec<String> = candidates
        .iter()
        .take(SHOWN)
        .map(|candidate| format!("{{{candidate}}}"))
        .collect();
    if candidates.len() > SHOWN {
        texts.push(format!("{} more", candidates.len() - SHOWN));
    }
    texts.join(", ")
}
