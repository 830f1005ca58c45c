//! Normalised descriptors: the bytes that signatures cover (OCM specification, "Component
//! Descriptor Normalization").
//!
//! The input is the typed [`Descriptor`], not the text of the file: unknown fields are not covered
//! and empty optional fields count as absent. What changes when a component version moves, its
//! access specifications and repository contexts, is left out; so are labels that are not marked
//! for signing.

mod print;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::descriptor::{Descriptor, Label, Provider, Resource, Schema, Source};
use super::signature::{Error, Result};

/// By which rules a descriptor is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// `jsonNormalisation/v1`: each object as a list of one-key objects, in the descriptor's own
    /// schema.
    V1,
    /// `jsonNormalisation/v2`: RFC 8785, of one form for all schemas; resources of one identity
    /// get their version as a further attribute.
    V2,
    /// `jsonNormalisation/v3`, and `jsonNormalisation/v4alpha1`, which gives the same bytes: as
    /// version 2, without that addition.
    V3,
}

impl Normalisation {
    /// The rules of a name that descriptors use; `None` where it is not known.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "jsonNormalisation/v1" => Some(Self::V1),
            "jsonNormalisation/v2" => Some(Self::V2),
            "jsonNormalisation/v3" | "jsonNormalisation/v4alpha1" => Some(Self::V3),
            _ => None,
        }
    }

    /// The normalised text of `descriptor`.
    pub fn apply(self, descriptor: &Descriptor) -> Result<String> {
        let mut resources = descriptor.resources.clone();
        if matches!(self, Self::V1 | Self::V2) {
            tell_apart(&mut resources);
        }
        let parts = Parts {
            descriptor,
            resources: resources.iter().map(resource).collect(),
            creation_time: creation_time(descriptor)?,
        };
        Ok(match (self, descriptor.schema) {
            (Self::V1, Schema::V2) => print::entry_list(&parts.schema_v2()),
            (Self::V1, Schema::V3Alpha1) => print::entry_list(&parts.schema_v3alpha1()),
            (Self::V2 | Self::V3, _) => print::canonical(&parts.common()),
        })
    }
}

/// Gives resources of the same identity their version as a further attribute, one after the
/// other: the last one of a group stays as it is, since by then nothing equals it any more.
fn tell_apart(resources: &mut [Resource]) {
    for index in 0..resources.len() {
        let this = &resources[index];
        let is_same = |other: &Resource| {
            other.name == this.name && other.extra_identity == this.extra_identity
        };
        let mut others = resources.iter().enumerate();
        if others.any(|(position, other)| position != index && is_same(other)) {
            let identity = this.extra_identity.clone().with("version", &this.version);
            resources[index].extra_identity = identity;
        }
    }
}

/// What the three forms are put together from.
struct Parts<'a> {
    descriptor: &'a Descriptor,
    resources: Vec<Map<String, Value>>,
    creation_time: Option<String>,
}

impl Parts<'_> {
    /// Name, version, and what is written only where there is something.
    fn head(&self) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("name".to_owned(), json!(self.descriptor.name));
        head.insert("version".to_owned(), json!(self.descriptor.version));
        put_labels(&mut head, &self.descriptor.labels);
        if let Some(time) = &self.creation_time {
            head.insert("creationTime".to_owned(), json!(time));
        }
        head
    }

    /// Schema v2 as version 1 covers it: without sources, and with an explicit `null` for an extra
    /// identity that is absent.
    fn schema_v2(&self) -> Value {
        let references = self.descriptor.references.iter();
        let references = references.map(|found| filtered(found, &found.labels));
        let mut component = self.head();
        component.insert(
            "provider".to_owned(),
            if self.descriptor.provider.structured {
                provider(&self.descriptor.provider)
            } else {
                json!(self.descriptor.provider.name)
            },
        );
        component.insert(
            "componentReferences".to_owned(),
            references.map(with_identity).collect(),
        );
        component.insert(
            "resources".to_owned(),
            self.resources.iter().cloned().map(with_identity).collect(),
        );
        json!({"meta": {"schemaVersion": "v2"}, "component": component})
    }

    /// Schema v3alpha1 as version 1 covers it. The labels of the provider are all covered: the
    /// reference implementation looks for them at another place. Empty lists are absent.
    fn schema_v3alpha1(&self) -> Value {
        let mut metadata = self.head();
        let Provider { name, labels, .. } = &self.descriptor.provider;
        let mut provider = json!({"name": name});
        if !labels.is_empty() {
            provider["labels"] = json!(labels);
        }
        metadata.insert("provider".to_owned(), provider);
        let references = self.descriptor.references.iter();
        let references = references.map(|found| filtered(found, &found.labels));
        let lists: [(&str, Vec<Map<String, Value>>); 3] = [
            ("resources", self.resources.clone()),
            ("sources", self.sources()),
            ("references", references.collect()),
        ];
        let mut spec = Map::new();
        for (key, list) in lists {
            if !list.is_empty() {
                spec.insert(key.to_owned(), json!(list));
            }
        }
        json!({
            "apiVersion": "ocm.software/v3alpha1",
            "kind": "ComponentVersion",
            "metadata": metadata,
            "spec": spec,
        })
    }

    /// The one form of versions 2 and 3. All labels of references are covered, marked for signing
    /// or not: the reference implementation filters a list of another name.
    fn common(&self) -> Value {
        let references: Vec<_> = self.descriptor.references.iter().map(object).collect();
        let mut component = self.head();
        component.insert("provider".to_owned(), provider(&self.descriptor.provider));
        component.insert("sources".to_owned(), json!(self.sources()));
        component.insert("componentReferences".to_owned(), json!(references));
        component.insert("resources".to_owned(), json!(self.resources));
        json!({"component": component})
    }

    fn sources(&self) -> Vec<Map<String, Value>> {
        self.descriptor.sources.iter().map(source).collect()
    }
}

fn resource(resource: &Resource) -> Map<String, Value> {
    let mut object = filtered(resource, &resource.labels);
    object.remove("access");
    object.remove("srcRefs");
    if resource.access.is_none() {
        object.remove("digest");
    }
    object
}

fn source(source: &Source) -> Map<String, Value> {
    let mut object = filtered(source, &source.labels);
    object.remove("access");
    object
}

fn provider(provider: &Provider) -> Value {
    let mut object = Map::from_iter([("name".to_owned(), json!(provider.name))]);
    put_labels(&mut object, &provider.labels);
    Value::Object(object)
}

fn with_identity(mut element: Map<String, Value>) -> Value {
    element
        .entry("extraIdentity".to_owned())
        .or_insert(Value::Null);
    Value::Object(element)
}

/// An element with those of its labels that signatures cover.
fn filtered<T: Serialize>(element: &T, labels: &[Label]) -> Map<String, Value> {
    let mut object = object(element);
    object.remove("labels");
    put_labels(&mut object, labels);
    object
}

/// Adds the labels that are marked for signing; nothing where there are none.
fn put_labels(object: &mut Map<String, Value>, labels: &[Label]) {
    let covered: Vec<Label> = labels
        .iter()
        .filter(|label| label.signing)
        .map(|label| Label {
            merge: None,
            ..label.clone()
        })
        .collect();
    if !covered.is_empty() {
        object.insert("labels".to_owned(), json!(covered));
    }
}

fn object<T: Serialize>(element: &T) -> Map<String, Value> {
    match serde_json::to_value(element) {
        Ok(Value::Object(object)) => object,
        _ => unreachable!("elements are structs with text keys and JSON values"),
    }
}

/// The creation time in whole seconds of UTC, as the typed models of the tools write it.
fn creation_time(descriptor: &Descriptor) -> Result<Option<String>> {
    let Some(written) = &descriptor.creation_time else {
        return Ok(None);
    };
    let time: jiff::Timestamp = written.parse().map_err(|source| Error::ParseCreationTime {
        text: written.clone(),
        source,
    })?;
    let whole = jiff::Timestamp::from_second(time.as_second())
        .expect("a point in time without its fraction is one too");
    Ok(Some(whole.to_string()))
}

#[cfg(test)]
mod tests;
