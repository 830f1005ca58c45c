//! Schema `ocm.software/v3alpha1`.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Descriptor, Label, NestedDigest, Provider, Reference, Resource, Schema, Signature, Source,
    or_default,
};
use crate::ocm::{ComponentName, Version};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    repository_contexts: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    signatures: Vec<Signature>,
    #[serde(default, deserialize_with = "or_default")]
    nested_digests: Vec<NestedDigest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: ComponentName,
    version: Version,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<Label>,
    provider: WrittenProvider,
    #[serde(default)]
    creation_time: Option<String>,
}

#[derive(Deserialize)]
struct WrittenProvider {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: Vec<Label>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    sources: Vec<Source>,
    #[serde(default, deserialize_with = "or_default")]
    references: Vec<Reference>,
    #[serde(default, deserialize_with = "or_default")]
    resources: Vec<Resource>,
}

impl From<Document> for Descriptor {
    fn from(document: Document) -> Self {
        let Document {
            metadata,
            repository_contexts,
            spec,
            signatures,
            nested_digests,
        } = document;
        Self {
            schema: Schema::V3Alpha1,
            name: metadata.name,
            version: metadata.version,
            provider: Provider {
                name: metadata.provider.name,
                labels: metadata.provider.labels,
                structured: true,
            },
            labels: metadata.labels,
            creation_time: metadata.creation_time,
            repository_contexts,
            resources: spec.resources,
            sources: spec.sources,
            references: spec.references,
            signatures,
            nested_digests,
        }
    }
}
