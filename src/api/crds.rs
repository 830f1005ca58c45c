//! The CustomResourceDefinitions of all kinds, as `ocm-controller crds` prints them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource,
    Snapshot,
};

/// The CustomResourceDefinitions of all kinds, in the order of the data's flow.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        ComponentVersion::crd(),
        ComponentDescriptor::crd(),
        OcmResource::crd(),
        Localization::crd(),
        Configuration::crd(),
        Snapshot::crd(),
        FluxDeployer::crd(),
    ]
    .map(with_unobserved_status)
    .into()
}

/// A new object has `status.observedGeneration: -1`, or tools that wait for it (kstatus, and so
/// Flux with `wait: true`) would take it for ready before any controller has looked at it.
fn with_unobserved_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status.filter(|status| observes_generation(status)) {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
            status.nullable = None;
        }
    }
    crd
}

fn observes_generation(status: &JSONSchemaProps) -> bool {
    status
        .properties
        .as_ref()
        .is_some_and(|found| found.contains_key("observedGeneration"))
}
