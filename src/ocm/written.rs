//! A component descriptor as it was written, to be written again with other accesses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::access::RawAccess;
use super::document;
use super::error::Result;
use super::{Descriptor, Identity, OcmRepository, Schema};

const DOCUMENT: &str = "the component descriptor";

/// A component descriptor with everything its writer wrote, also what this program does not know.
///
/// Where content is, and where the component was stored, can be changed; signatures cover neither.
#[derive(Debug, Clone, PartialEq)]
pub struct DescriptorDocument {
    document: Value,
    descriptor: Descriptor,
}

/// A resource or source of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// What it is.
    pub kind: ElementKind,
    index: usize,
}

/// Which list of a descriptor an element is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    /// Something that is delivered.
    Resource,
    /// Something that it was built from.
    Source,
}

impl ElementKind {
    fn list(self) -> &'static str {
        match self {
            Self::Resource => "resources",
            Self::Source => "sources",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Source => "source",
        }
    }
}

impl DescriptorDocument {
    /// Reads a descriptor of either schema, written as YAML or JSON; see [`Descriptor::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let descriptor = Descriptor::parse(bytes)?;
        let document = document::parse_yaml(bytes, DOCUMENT)?;
        Ok(Self {
            document,
            descriptor,
        })
    }

    /// What it says.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// All that has an access: resources, then sources.
    pub fn elements(&self) -> Vec<Element> {
        let of = |kind, count| (0..count).map(move |index| Element { kind, index });
        let resources = of(ElementKind::Resource, self.descriptor.resources.len());
        let sources = of(ElementKind::Source, self.descriptor.sources.len());
        resources.chain(sources).collect()
    }

    /// The access of an element.
    pub fn access(&self, element: &Element) -> &RawAccess {
        match element.kind {
            ElementKind::Resource => &self.descriptor.resources[element.index].access,
            ElementKind::Source => &self.descriptor.sources[element.index].access,
        }
    }

    /// The resource that an element is, if it is one.
    pub fn resource(&self, element: &Element) -> Option<&super::Resource> {
        match element.kind {
            ElementKind::Resource => self.descriptor.resources.get(element.index),
            ElementKind::Source => None,
        }
    }

    /// Says anew where the content of an element is. `access` needs a `type`.
    pub fn set_access(&mut self, element: &Element, access: Map<String, Value>) {
        let list = element.kind.list();
        let lists = match self.descriptor.schema {
            Schema::V2 => &mut self.document["component"],
            Schema::V3Alpha1 => &mut self.document["spec"],
        };
        lists[list][element.index]["access"] = Value::Object(access.clone());
        let access = RawAccess::of(access);
        match element.kind {
            ElementKind::Resource => {
                self.descriptor.resources[element.index].access = access;
            }
            ElementKind::Source => self.descriptor.sources[element.index].access = access,
        }
    }

    /// Notes that it is stored in `repository` from now on.
    pub fn add_context(&mut self, repository: &OcmRepository) {
        let Some(context) = repository.context() else {
            return;
        };
        if self.descriptor.repository_contexts.last() == Some(&context) {
            return;
        }
        self.descriptor.repository_contexts.push(context);
        let contexts = Value::Array(self.descriptor.repository_contexts.clone());
        match self.descriptor.schema {
            Schema::V2 => self.document["component"]["repositoryContexts"] = contexts,
            Schema::V3Alpha1 => self.document["repositoryContexts"] = contexts,
        }
    }

    /// Takes over the signatures of `other` that this one lacks.
    pub fn add_signatures(&mut self, other: &Self) {
        let Some(theirs) = other.document["signatures"].as_array() else {
            return;
        };
        let mut all = match &self.document["signatures"] {
            Value::Array(own) => own.clone(),
            _ => Vec::new(),
        };
        let named = |value: &Value, name: &Value| value["name"] == *name;
        for signature in theirs {
            if !all.iter().any(|own| named(own, &signature["name"])) {
                all.push(signature.clone());
            }
        }
        self.document["signatures"] = Value::Array(all);
        for signature in &other.descriptor.signatures {
            let own = &mut self.descriptor.signatures;
            if !own.iter().any(|found| found.name == signature.name) {
                own.push(signature.clone());
            }
        }
    }

    /// Whether both describe the same content, wherever it is and whoever signed it.
    pub fn is_same_content(&self, other: &Self) -> bool {
        self.lasting() == other.lasting()
    }

    /// Whether every signature of `other` is one of this descriptor.
    pub fn has_signatures_of(&self, other: &Self) -> bool {
        let own = &self.descriptor.signatures;
        let theirs = &other.descriptor.signatures;
        theirs.iter().all(|signature| own.contains(signature))
    }

    /// What does not change when a component version is moved.
    fn lasting(&self) -> Descriptor {
        let mut lasting = self.descriptor.clone();
        lasting.repository_contexts.clear();
        lasting.signatures.clear();
        let none = RawAccess::of(Map::from_iter([("type".to_owned(), json!("moved"))]));
        for resource in &mut lasting.resources {
            resource.access = none.clone();
        }
        for source in &mut lasting.sources {
            source.access = none.clone();
        }
        lasting
    }

    /// What tells an element from others, for messages.
    pub fn identity(&self, element: &Element) -> Identity {
        match element.kind {
            ElementKind::Resource => self.descriptor.resources[element.index].identity(),
            ElementKind::Source => {
                let name = self.descriptor.sources[element.index].name.as_str();
                [("name", name)].into_iter().collect()
            }
        }
    }

    /// An element in words, for messages.
    pub fn described(&self, element: &Element) -> String {
        format!("{} {}", element.kind.name(), self.identity(element))
    }

    /// How the layer with the content of an element is marked.
    pub fn annotation(&self, element: &Element) -> BTreeMap<String, String> {
        let (name, version, extra): (&str, &str, &Identity) = match element.kind {
            ElementKind::Resource => {
                let found = &self.descriptor.resources[element.index];
                (&found.name, &found.version, &found.extra_identity)
            }
            ElementKind::Source => {
                let found = &self.descriptor.sources[element.index];
                (&found.name, &found.version, &found.extra_identity)
            }
        };
        let mut identity = json!(extra);
        identity["name"] = name.into();
        identity["version"] = version.into();
        let value = json!([{"identity": identity, "kind": element.kind.name()}]);
        [("software.ocm.artifact".to_owned(), value.to_string())].into()
    }

    /// The descriptor as JSON, which is YAML too.
    pub fn to_json(&self) -> Vec<u8> {
        self.document.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocm::Normalisation;
    use crate::ocm::fixture;

    fn document(schema: &str) -> DescriptorDocument {
        DescriptorDocument::parse(&fixture::descriptor(
            schema,
            "registry.example.org",
            "phoban.io/podinfo",
            "6.3.5",
        ))
        .unwrap()
    }

    #[test]
    fn other_access_changes_nothing_that_is_signed() {
        for fixture in ["ctf/podinfo-signed", "ctf/podinfo-v3alpha1"] {
            let before = document(fixture);
            let mut after = before.clone();
            let repository = "http://registry.example.org:5000/a/b".parse().unwrap();
            after.add_context(&repository);
            after.add_context(&repository);
            let access = json!({"type": "ociArtifact", "imageReference": "r.io/a:1"});
            for element in after.elements() {
                after.set_access(&element, access.as_object().unwrap().clone());
            }
            let read = DescriptorDocument::parse(&after.to_json()).unwrap();
            assert_eq!(read, after);
            assert!(read.is_same_content(&before), "{fixture}");
            assert!(read.has_signatures_of(&before), "{fixture}");
            assert_eq!(
                read.descriptor().repository_contexts.len(),
                before.descriptor().repository_contexts.len() + 1
            );
            for resource in &read.descriptor().resources {
                assert_eq!(resource.access.kind(), "ociArtifact");
            }
            for normalisation in [Normalisation::V1, Normalisation::V2, Normalisation::V3] {
                let (before, read) = (before.descriptor(), read.descriptor());
                assert_eq!(
                    normalisation.apply(before).unwrap(),
                    normalisation.apply(read).unwrap(),
                );
            }
        }
    }

    #[test]
    fn content_that_differs_is_told_from_content_that_moved() {
        let signed = document("ctf/podinfo-signed");
        let public = document("ctf/podinfo-public");
        assert!(signed.is_same_content(&public));
        assert!(!public.has_signatures_of(&signed));
        let mut merged = public.clone();
        merged.add_signatures(&signed);
        assert!(merged.has_signatures_of(&signed));
        let read = DescriptorDocument::parse(&merged.to_json()).unwrap();
        assert_eq!(read.descriptor().signatures, signed.descriptor().signatures);
        assert!(!public.is_same_content(&document("ctf/podinfo-v3alpha1")));
    }
}
