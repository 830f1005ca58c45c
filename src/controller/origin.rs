//! Which component a reference leads to: from a ComponentVersion's status down a reference path.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use super::component_version::{place, verify};
use super::context::Context;
use super::credentials;
use super::outcome::{Fault, Retry, retry_of};
use crate::api::{ComponentVersion, DescriptorReference, Reason, ResourceReference};
use crate::components::{self, Place};
use crate::oci::Digest;
use crate::ocm::{self, Accepted, Identity, ResourceSelector};

/// Why a component cannot be read again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ComponentVersion {name} has no version yet that can be used")]
    NotReady { name: String },

    #[error(
        "the status of ComponentVersion {name} cannot be used: delete its status or the object, and it is written anew"
    )]
    ParseStatus {
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    #[error("authentication failed for repository: {repository}")]
    ReadCredentials {
        repository: String,
        source: credentials::Error,
    },

    #[error("failed to read the component")]
    ReadComponent { source: components::Error },

    #[error("failed to follow the reference path")]
    FollowPath { source: ocm::Error },

    #[error("component {component} is not among those that ComponentVersion {name} has read")]
    NotInTree { name: String, component: String },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::NotReady { .. } => Reason::ComponentVersionNotReady,
            Self::ParseStatus { .. } | Self::ReadComponent { .. } | Self::NotInTree { .. } => {
                Reason::GetComponentDescriptorFailed
            }
            Self::ReadCredentials { .. } => Reason::AuthenticatedContextCreationFailed,
            Self::FollowPath { .. } => Reason::ComponentDescriptorNotFound,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::ReadComponent { source } => retry_of(source),
            Self::NotReady { .. }
            | Self::ParseStatus { .. }
            | Self::ReadCredentials { .. }
            | Self::FollowPath { .. }
            | Self::NotInTree { .. } => Retry::Backoff,
        }
    }
}

/// A component that was reached, and where it is read from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) place: Place,
    pub(super) component: Accepted,
    /// The name of its ComponentDescriptor object.
    pub(super) descriptor_name: String,
    /// The path that led here.
    pub(super) path: Vec<Identity>,
    /// Its place in the tree of the status.
    node: DescriptorReference,
}

/// Reads the component at `path` below the one that `owner` is about.
pub(super) async fn origin(
    context: &Context,
    owner: &ComponentVersion,
    path: &[Identity],
) -> Result<Origin, Error> {
    let found = walk(context, owner, path).await;
    found.inspect_err(|error| context.credentials.refused(owner, error))
}

async fn walk(
    context: &Context,
    owner: &ComponentVersion,
    path: &[Identity],
) -> Result<Origin, Error> {
    let name = owner.name_any();
    // What was found before signatures were asked for is not used any more.
    let is_usable = verify::was_verified(owner) || !verify::is_asked(owner);
    let status = owner.status.as_ref().filter(|_| is_usable);
    let tree = status
        .and_then(|status| status.component_descriptor.as_ref())
        .ok_or_else(|| Error::NotReady { name: name.clone() })?;
    let repository = status
        .and_then(|status| status.replicated_repository_url.as_deref())
        .unwrap_or(&owner.spec.repository.url);
    let credentials =
        context
            .credentials
            .last(owner)
            .await
            .map_err(|source| Error::ReadCredentials {
                repository: repository.to_owned(),
                source,
            })?;
    let repository = repository
        .parse()
        .map_err(|source| unusable(&name, source))?;
    let place = place(owner, repository, credentials).map_err(|source| unusable(&name, source))?;
    let component = read(context, owner, &place, tree, tree.name.as_str()).await?;
    let mut origin = Origin {
        place,
        component,
        descriptor_name: descriptor_name(tree),
        path: Vec::new(),
        node: tree.clone(),
    };
    for step in path {
        origin = below(context, owner, tree, origin, step).await?;
    }
    Ok(origin)
}

/// Reads everything that `owner` is about: its component, and all that this refers to.
pub(super) async fn closure(
    context: &Context,
    owner: &ComponentVersion,
) -> Result<Vec<Accepted>, Error> {
    let root = origin(context, owner, &[]).await?;
    let tree = root.node.clone();
    let mut found: Vec<Accepted> = Vec::new();
    let mut pending = vec![root];
    while let Some(here) = pending.pop() {
        if found
            .iter()
            .any(|known| known.digest == here.component.digest)
        {
            continue;
        }
        for reference in here.component.descriptor.references.clone() {
            let step = reference.identity();
            pending.push(below(context, owner, &tree, here.clone(), &step).await?);
        }
        found.push(here.component);
    }
    Ok(found)
}

async fn below(
    context: &Context,
    owner: &ComponentVersion,
    tree: &DescriptorReference,
    from: Origin,
    step: &Identity,
) -> Result<Origin, Error> {
    let descriptor = &from.component.descriptor;
    let reference = descriptor
        .find_reference(step)
        .map_err(|source| Error::FollowPath { source })?
        .clone();
    let extra: BTreeMap<String, String> = reference
        .extra_identity
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let is_meant = |node: &&DescriptorReference| {
        node.name == reference.name
            && node.version == reference.version.as_str()
            && node.extra_identity == extra
    };
    let node = expanded(tree, &from.node)
        .references
        .iter()
        .find(is_meant)
        .ok_or_else(|| Error::NotInTree {
            name: owner.name_any(),
            component: reference.component_name.to_string(),
        })?;
    let name = reference.component_name.as_str();
    let component = read(context, owner, &from.place, node, name).await?;
    let mut path = from.path;
    path.push(reference.identity());
    Ok(Origin {
        component,
        descriptor_name: descriptor_name(node),
        path,
        node: node.clone(),
        place: from.place,
    })
}

/// A component that is in the tree more than once has its references at the first place only.
fn expanded<'a>(
    tree: &'a DescriptorReference,
    node: &'a DescriptorReference,
) -> &'a DescriptorReference {
    fn find<'a>(
        tree: &'a DescriptorReference,
        digest: Option<&str>,
    ) -> Option<&'a DescriptorReference> {
        if tree.digest.as_deref() == digest && !tree.references.is_empty() {
            return Some(tree);
        }
        tree.references.iter().find_map(|below| find(below, digest))
    }
    if node.references.is_empty() {
        find(tree, node.digest.as_deref()).unwrap_or(node)
    } else {
        node
    }
}

async fn read(
    context: &Context,
    owner: &ComponentVersion,
    place: &Place,
    node: &DescriptorReference,
    component: &str,
) -> Result<Accepted, Error> {
    let owner_name = owner.name_any();
    let name = component
        .parse()
        .map_err(|source| unusable::<ocm::Error>(&owner_name, source))?;
    let version = node
        .version
        .parse()
        .map_err(|source| unusable::<ocm::Error>(&owner_name, source))?;
    let components = context.pipeline.components();
    let failed = |source| Error::ReadComponent { source };
    let recorded: Option<Digest> = node
        .digest
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|source| unusable::<crate::oci::Error>(&owner_name, source))?;
    let digest = match recorded.clone() {
        Some(recorded) => recorded,
        // A status that the Go ocm-controller wrote knows no digests.
        None => components
            .resolve(place, &name, &version)
            .await
            .map_err(failed)?,
    };
    let found = components.read(place, &name, &version, &digest).await;
    let found = found.map_err(failed)?;
    verify::accept_again(owner, found, recorded.as_ref())
        .ok_or(Error::NotReady { name: owner_name })
}

fn descriptor_name(node: &DescriptorReference) -> String {
    node.component_descriptor_ref
        .as_ref()
        .map(|found| found.name.clone())
        .unwrap_or_default()
}

fn unusable<E: std::error::Error + Send + Sync + 'static>(name: &str, source: E) -> Error {
    Error::ParseStatus {
        name: name.to_owned(),
        source: Box::new(source),
    }
}

/// The path that a reference to a resource takes.
pub(super) fn path_of(reference: &ResourceReference) -> Vec<Identity> {
    reference
        .reference_path
        .iter()
        .flatten()
        .cloned()
        .map(Identity::from)
        .collect()
}

/// What a reference to a resource looks for.
pub(super) fn selector_of(reference: &ResourceReference) -> ResourceSelector {
    ResourceSelector {
        name: reference.name.clone(),
        extra_identity: Identity::from(reference.extra_identity.clone().unwrap_or_default()),
        version: reference
            .version
            .clone()
            .filter(|version| !version.is_empty()),
    }
}
