//! Schema v2.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Descriptor, Error, Label, NestedDigest, Provider, Reference, Resource, Result, Schema,
    Signature, Source, or_default,
};
use crate::ocm::{ComponentName, Version, document};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    component: Component,
    #[serde(default, deserialize_with = "or_default")]
    signatures: Vec<Signature>,
    #[serde(default, deserialize_with = "or_default")]
    nested_digests: Vec<NestedDigest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    name: ComponentName,
    version: Version,
    provider: String,
    #[serde(default)]
    creation_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<Label>,
    #[serde(default, deserialize_with = "or_default")]
    repository_contexts: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    sources: Vec<Source>,
    #[serde(
        rename = "componentReferences",
        default,
        deserialize_with = "or_default"
    )]
    references: Vec<Reference>,
    #[serde(default, deserialize_with = "or_default")]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct StructuredProvider {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<Label>,
}

/// A provider is a plain text, or the text of a JSON object with a name and labels.
fn provider(text: String) -> Result<Provider> {
    if !text.trim_start().starts_with('{') {
        return Ok(Provider {
            name: text,
            labels: Vec::new(),
            structured: false,
        });
    }
    let object = document::parse_json(text.as_bytes(), "the component's provider")?;
    let StructuredProvider { name, labels } = document::typed(object, "the component's provider")?;
    Ok(Provider {
        name,
        labels,
        structured: true,
    })
}

impl TryFrom<Document> for Descriptor {
    type Error = Error;

    fn try_from(document: Document) -> Result<Self> {
        let Document {
            component,
            signatures,
            nested_digests,
        } = document;
        Ok(Self {
            schema: Schema::V2,
            name: component.name,
            version: component.version,
            provider: provider(component.provider)?,
            labels: component.labels,
            creation_time: component.creation_time,
            repository_contexts: component.repository_contexts,
            resources: component.resources,
            sources: component.sources,
            references: component.references,
            signatures,
            nested_digests,
        })
    }
}
