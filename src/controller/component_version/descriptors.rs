//! ComponentDescriptor objects, and the tree of them in a ComponentVersion's status.

use std::collections::{BTreeMap, HashSet};

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::api::{ComponentDescriptor, ComponentVersion, DescriptorName, DescriptorReference};
use crate::components::Resolved;
use crate::controller::apply::{self, Creation, manager_of, owner_reference};
use crate::controller::context::Context;
use crate::controller::lookup::get;
use crate::ocm::{Descriptor, Identity, Reference, descriptor_name};

/// How many bytes of a descriptor an object shows: etcd takes 1.5 MiB for all of an object, and the
/// API server adds its own to it.
const MOST_SHOWN: usize = 1 << 20;

/// Says where a descriptor is that is too large for its object.
const OMITTED: &str = "delivery.ocm.software/omitted";

/// The ComponentDescriptor object of a component version, owned by `owner` among others. It is for
/// people and other programs to look at: this program reads the descriptor itself.
pub(super) fn object(owner: &ComponentVersion, resolved: &Resolved) -> DynamicObject {
    let component = &resolved.component;
    let descriptor = &component.descriptor;
    let name = name_of(descriptor, &resolved.extra_identity);
    let mut spec = json!({"version": descriptor.version.to_string()});
    let shown = descriptor.to_v3alpha1_spec();
    let bytes = shown.to_string().len();
    let is_too_large = bytes > MOST_SHOWN;
    if let (Value::Object(into), Value::Object(from), false) = (&mut spec, shown, is_too_large) {
        into.extend(from);
    }
    let mut object = DynamicObject::new(&name, &kind()).data(json!({"spec": spec}));
    if is_too_large {
        let told = format!(
            "{bytes} bytes are more than an object can have; the descriptor is in {}, {}@{}",
            component.repository, descriptor.name, component.digest
        );
        object.metadata.annotations = Some([(OMITTED.to_owned(), told)].into());
    }
    object.metadata.namespace = owner.namespace();
    object.metadata.labels = Some(descriptor.object_labels()).filter(|labels| !labels.is_empty());
    object.metadata.owner_references = Some(vec![owner_reference(owner)]);
    object
}

/// Writes `object`. Several component versions may own it, so each speaks for its own part.
pub(super) async fn write(
    owner: &ComponentVersion,
    context: &Context,
    object: &DynamicObject,
) -> Result<(), apply::Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let seen = get(
        &context.caches.component_descriptors,
        &namespace,
        &object.name_any(),
    );
    let seen = seen.as_ref().map(|seen| &seen.metadata);
    context
        .applier
        .apply(&kind(), object, &manager_of(owner), Creation::Apply, seen)
        .await
}

fn kind() -> ApiResource {
    ApiResource::erase::<ComponentDescriptor>(&())
}

fn name_of(descriptor: &Descriptor, extra_identity: &Identity) -> String {
    descriptor_name(&descriptor.name, &descriptor.version, extra_identity)
}

/// The tree of references below the root. A component that several refer to has its own
/// references only where it comes first, so that the tree cannot outgrow what was read.
pub(super) fn tree(owner: &ComponentVersion, closure: &[Resolved]) -> Option<DescriptorReference> {
    let root = closure.first()?;
    let builder = Tree {
        closure,
        namespace: owner.namespace(),
    };
    let mut expanded = HashSet::from([0]);
    let name = root.component.descriptor.name.as_str();
    let references = builder.children(root, &mut expanded);
    Some(builder.node(name, root, references))
}

struct Tree<'a> {
    closure: &'a [Resolved],
    namespace: Option<String>,
}

impl Tree<'_> {
    fn children(
        &self,
        parent: &Resolved,
        expanded: &mut HashSet<usize>,
    ) -> Vec<DescriptorReference> {
        let references = &parent.component.descriptor.references;
        references
            .iter()
            .filter_map(|reference| self.child(reference, expanded))
            .collect()
    }

    /// The depth of the recursion is that of the walk, which is bounded.
    fn child(
        &self,
        reference: &Reference,
        expanded: &mut HashSet<usize>,
    ) -> Option<DescriptorReference> {
        let at = self.closure.iter().position(|found| {
            let descriptor = &found.component.descriptor;
            descriptor.name == reference.component_name && descriptor.version == reference.version
        })?;
        let resolved = &self.closure[at];
        let references = if expanded.insert(at) {
            self.children(resolved, expanded)
        } else {
            Vec::new()
        };
        let node = self.node(&reference.name, resolved, references);
        Some(DescriptorReference {
            extra_identity: map(&reference.extra_identity),
            ..node
        })
    }

    fn node(
        &self,
        name: &str,
        resolved: &Resolved,
        references: Vec<DescriptorReference>,
    ) -> DescriptorReference {
        let descriptor = &resolved.component.descriptor;
        DescriptorReference {
            name: name.to_owned(),
            version: descriptor.version.to_string(),
            extra_identity: BTreeMap::new(),
            component_descriptor_ref: Some(DescriptorName {
                name: name_of(descriptor, &resolved.extra_identity),
                namespace: self.namespace.clone(),
            }),
            digest: Some(resolved.component.digest.to_string()),
            references,
        }
    }
}

fn map(identity: &Identity) -> BTreeMap<String, String> {
    identity
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// References whose version is the same in both trees and whose content is not.
pub(super) fn republished(
    before: &DescriptorReference,
    after: &DescriptorReference,
) -> Vec<String> {
    let mut changed = Vec::new();
    for new in &after.references {
        let is_same = |old: &&DescriptorReference| {
            old.name == new.name
                && old.version == new.version
                && old.extra_identity == new.extra_identity
        };
        let Some(old) = before.references.iter().find(is_same) else {
            continue;
        };
        if let (Some(was), Some(is)) = (&old.digest, &new.digest)
            && was != is
        {
            changed.push(format!(
                "{} {} was {was} and is {is}",
                new.name, new.version
            ));
        }
        changed.extend(republished(old, new));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, digest: &str, references: Vec<DescriptorReference>) -> DescriptorReference {
        DescriptorReference {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            digest: Some(digest.to_owned()),
            references,
            ..DescriptorReference::default()
        }
    }

    /// A component version with so many resources.
    fn resolved(resources: usize) -> Resolved {
        let resource = |count: usize| {
            json!({"name": format!("image-{count}"), "version": "1.0.0", "type": "ociImage",
                   "relation": "external", "access": {"type": "ociArtifact",
                   "imageReference": format!("registry.example.org/team/image-{count}:1.0.0")},
                   "digest": {"hashAlgorithm": "SHA-256", "value": "ab".repeat(32),
                              "normalisationAlgorithm": "ociArtifactDigest/v1"}})
        };
        let descriptor = json!({"meta": {"schemaVersion": "v2"}, "component": {
            "name": "example.org/large", "version": "1.0.0", "provider": "example.org",
            "repositoryContexts": [], "sources": [], "componentReferences": [],
            "resources": (0..resources).map(resource).collect::<Vec<_>>()}});
        Resolved {
            component: crate::ocm::ReadComponent {
                repository: "registry.example.org/ocm".parse().unwrap(),
                digest: crate::oci::Digest::of("manifest"),
                layers: Vec::new(),
                manifests: Vec::new(),
                descriptor: Descriptor::parse(descriptor.to_string().as_bytes()).unwrap(),
            },
            path: Vec::new(),
            extra_identity: Identity::default(),
        }
    }

    #[test]
    fn b49_object_of_a_descriptor_with_5000_resources_fits_into_etcd() {
        let owner: ComponentVersion = serde_json::from_value(json!({
            "apiVersion": "delivery.ocm.software/v1alpha1", "kind": "ComponentVersion",
            "metadata": {"name": "large", "namespace": "default", "uid": "1"},
            "spec": {"component": "example.org/large", "version": {"semver": "1.0.0"},
                     "repository": {"url": "registry.example.org/ocm"}, "interval": "10m"},
        }))
        .unwrap();
        let small = object(&owner, &resolved(50));
        assert_eq!(small.metadata.annotations, None);
        let resources = &small.data["spec"]["resources"];
        assert_eq!(resources.as_array().map(Vec::len), Some(50));

        let large = object(&owner, &resolved(5_000));
        assert!(json!(large).to_string().len() < 2_000, "it is not shown");
        assert_eq!(large.data["spec"], json!({"version": "1.0.0"}));
        let told = &large.metadata.annotations.unwrap()[OMITTED];
        let digest = crate::oci::Digest::of("manifest");
        let place = format!("registry.example.org/ocm, example.org/large@{digest}");
        assert!(told.ends_with(&place), "{told}");
    }

    #[test]
    fn content_that_changed_under_its_version_is_named_however_deep() {
        let before = node(
            "root",
            "a",
            vec![node("db", "b", vec![node("cache", "c", vec![])])],
        );
        let after = node(
            "root",
            "a",
            vec![node("db", "b", vec![node("cache", "d", vec![])])],
        );
        assert_eq!(republished(&before, &after), ["cache 1.0.0 was c and is d"]);
        assert!(republished(&before, &before).is_empty());
    }
}
