//! Manifests as text, applied by server-side apply.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::{self, Scope};
use kube::runtime::wait::conditions;
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize as _;

use super::wait;

const FIELD_MANAGER: &str = "test";

const TIMEOUT: Duration = Duration::from_secs(10);

/// Applies every document in their order and returns what the API server made of them.
///
/// Objects that name no namespace go into `namespace`.
pub async fn apply(client: &Client, namespace: &str, yaml: &str) -> Vec<DynamicObject> {
    let mut applied = Vec::new();
    for object in parse(yaml) {
        applied.push(apply_object(client, namespace, object).await);
    }
    applied
}

/// Applies the CRDs of a folder and waits until they are served.
pub async fn apply_crds(client: &Client, folder: &Path) {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("no CRDs in {}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        });
    let mut names = Vec::new();
    for path in entries {
        let yaml = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for object in parse(&yaml) {
            // A kustomization.yaml may lie beside them.
            if object
                .types
                .as_ref()
                .is_some_and(|types| types.kind == "CustomResourceDefinition")
            {
                names.push(apply_object(client, "", object).await.name_any());
            }
        }
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in names {
        wait::until(
            &crds,
            &name,
            "established",
            conditions::is_crd_established(),
        )
        .await;
    }
}

/// The API of a kind in a namespace, or in the whole cluster where it knows no namespaces.
pub async fn api(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    let served = format!("the cluster serves {kind:?}");
    // An established CRD shows in the discovery documents only a moment later.
    let (resource, capabilities) = wait::eventually(&served, TIMEOUT, async || {
        let found = discovery::pinned_kind(client, &kind).await;
        found.map_err(|error| error.to_string())
    })
    .await;
    namespaced(client, &resource, &capabilities.scope, namespace)
}

async fn apply_object(client: &Client, namespace: &str, object: DynamicObject) -> DynamicObject {
    let name = object.name_any();
    let types = object
        .types
        .as_ref()
        .expect("parse checks apiVersion and kind");
    let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
    let api = api(client, &types.api_version, &types.kind, &namespace).await;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&object))
        .await
        .unwrap_or_else(|error| panic!("failed to apply {} {name:?}: {error}", types.kind))
}

fn namespaced(
    client: &Client,
    resource: &ApiResource,
    scope: &Scope,
    namespace: &str,
) -> Api<DynamicObject> {
    match scope {
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, resource),
        Scope::Cluster => Api::all_with(client.clone(), resource),
    }
}

fn parse(yaml: &str) -> Vec<DynamicObject> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| serde_json::Value::deserialize(document).expect("valid YAML"))
        .filter(|document| !document.is_null())
        .map(|document| {
            let object: DynamicObject = serde_json::from_value(document).expect("a manifest");
            assert!(
                object.types.is_some(),
                "a manifest without apiVersion and kind: {object:?}"
            );
            object
        })
        .collect()
}
