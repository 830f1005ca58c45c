//! Objects as the API server holds them, which may not be what this program takes for their kind:
//! what was stored under a schema that was less strict stays as it is.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object, or what is there of one that cannot be read. So one of them spoils no list.
#[derive(Debug, Clone)]
pub(super) struct Decoded<K>(pub(super) Result<K, Box<Undecodable>>);

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Undecodable {
    /// Its metadata, as far as it can be read.
    pub(super) metadata: ObjectMeta,
    /// All of it.
    pub(super) content: Value,
    /// What is wrong, as the reader of its type says.
    pub(super) problem: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Value::deserialize(deserializer)?;
        let decoded = K::deserialize(&content).map_err(|error| {
            let metadata = content.get("metadata").map(ObjectMeta::deserialize);
            Box::new(Undecodable {
                metadata: metadata.and_then(Result::ok).unwrap_or_default(),
                problem: error.to_string(),
                content,
            })
        });
        Ok(Self(decoded))
    }
}

impl<K: Resource> Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(undecodable) => &undecodable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(undecodable) => &mut undecodable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ComponentVersion;

    #[test]
    fn b64_object_that_cannot_be_read_spoils_no_list() {
        let object = |name: &str, interval: Value| {
            json!({
                "apiVersion": "delivery.ocm.software/v1alpha1",
                "kind": "ComponentVersion",
                "metadata": {"name": name, "namespace": "team-a"},
                "spec": {
                    "interval": interval,
                    "component": "example.org/podinfo",
                    "version": {"semver": "1.0.0"},
                    "repository": {"url": "ghcr.io/example"},
                },
            })
        };
        let list = json!([object("good", json!("10m")), object("bad", json!(5))]);
        let found: Vec<Decoded<ComponentVersion>> = serde_json::from_value(list).unwrap();
        assert_eq!(
            found[0].0.as_ref().unwrap().spec.component,
            "example.org/podinfo"
        );
        let bad = found[1].0.as_ref().unwrap_err();
        assert_eq!(bad.metadata.name.as_deref(), Some("bad"));
        assert_eq!(bad.content["spec"]["interval"], 5);
        assert_eq!(found[1].meta().namespace.as_deref(), Some("team-a"));
    }
}
