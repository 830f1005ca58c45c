//! Objects that cannot be decoded: each says so in its own status, and no other is held up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::FIELD_MANAGER;
use super::context::Context;
use super::decode::Undecodable;
use super::lease::Claim;
use crate::api::{self, Conditions, Reason, State};
use crate::chain::chain;
use crate::mutation::violations;

/// The pause after a status that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// How many fields are named.
const MAX_FIELDS: usize = 3;

/// Kind, namespace and name.
type Key = (String, String, String);

/// Writes the status of what comes in by `reports` whenever `claim` holds, until `shutdown`.
pub(super) async fn run(
    context: Arc<Context>,
    mut reports: mpsc::UnboundedReceiver<Undecodable>,
    mut claim: Claim,
    shutdown: CancellationToken,
) {
    let mut pending: BTreeMap<Key, Undecodable> = BTreeMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            report = reports.recv() => {
                let Some(report) = report else { return };
                pending.insert(key_of(&report), report);
                continue;
            }
            () = claim.won(), if !pending.is_empty() => {}
        }
        let Some((key, report)) = pending.pop_first() else {
            continue;
        };
        if let Err(error) = write(&context, &report).await {
            warn!(
                kind = key.0,
                namespace = key.1,
                name = key.2,
                error = chain(&error),
                "failed to write the status of an object that cannot be decoded"
            );
            pending.insert(key, report);
            let _ = tokio::time::timeout(RETRY, shutdown.cancelled()).await;
        }
    }
}

fn key_of(report: &Undecodable) -> Key {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let Undecodable { metadata, .. } = report;
    (
        kind_of(report).to_owned(),
        text(&metadata.namespace),
        text(&metadata.name),
    )
}

fn kind_of(report: &Undecodable) -> &str {
    report.content["kind"].as_str().unwrap_or_default()
}

/// Says in the object's status what is wrong with it, unless it says so already.
async fn write(context: &Context, report: &Undecodable) -> Result<(), kube::Error> {
    let message = message_of(report);
    let Some(status) = status_of(report, &message, Timestamp::now()) else {
        return Ok(());
    };
    let Undecodable { metadata, .. } = report;
    let (kind, namespace, name) = key_of(report);
    let resource = resource_of(&kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let patch = json!({
        "apiVersion": resource.api_version,
        "kind": kind,
        // Who has changed it meanwhile may have mended it.
        "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version},
        "status": status,
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    match api.patch_status(&name, &parameters, &patch).await {
        Ok(_) => {}
        // The watch shows what it is now.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let regarding = ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(kind),
        namespace: Some(namespace),
        name: Some(name),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    };
    let events = &context.events;
    events
        .publish(regarding, Reason::InvalidSpec, &message, &[])
        .await;
    Ok(())
}

fn resource_of(kind: &str) -> ApiResource {
    let plural = api::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .map(|crd| crd.spec.names.plural)
        .unwrap_or_default();
    ApiResource {
        group: api::GROUP.to_owned(),
        version: api::VERSION.to_owned(),
        api_version: api::API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural,
    }
}

/// The status to write; none where the object has it already.
fn status_of(report: &Undecodable, message: &str, now: Timestamp) -> Option<Value> {
    let status = &report.content["status"];
    let conditions = &status["conditions"];
    // Conditions that cannot be read are written anew.
    let before = Vec::<Condition>::deserialize(conditions).unwrap_or_default();
    let generation = report.metadata.generation;
    let after = Conditions::new(&before, generation, now);
    let after = json!(after.with(State::Stalled, Reason::InvalidSpec, message));
    let is_written = *conditions == after && status["observedGeneration"] == json!(generation);
    (!is_written).then(|| json!({"conditions": after, "observedGeneration": generation}))
}

/// What is wrong, by the fields that the schema of the kind does not take.
fn message_of(report: &Undecodable) -> String {
    let fields = schema_of(kind_of(report)).map(|schema| {
        let found = violations(&schema, &without_nulls(&report.content));
        let found = found.iter().filter(|found| !found.path.is_empty());
        let fields: Vec<String> = found.take(MAX_FIELDS).map(ToString::to_string).collect();
        fields.join("; ")
    });
    let problem = fields
        .filter(|fields| !fields.is_empty())
        .unwrap_or_else(|| report.problem.clone());
    format!(
        "the stored object does not fit its CustomResourceDefinition, and is left alone until \
         somebody corrects it: {problem}"
    )
}

fn schema_of(kind: &str) -> Option<Value> {
    let mut crds = api::crds().into_iter();
    let crd = crds.find(|crd| crd.spec.names.kind == kind)?;
    let version = crd.spec.versions.into_iter().next()?;
    serde_json::to_value(version.schema?.open_api_v3_schema?).ok()
}

/// The API server takes a field that is null for one that is absent.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Localization;
    use crate::controller::decode::Decoded;

    fn report(status: &Value) -> Undecodable {
        let content = json!({
            "apiVersion": "delivery.ocm.software/v1alpha1",
            "kind": "Localization",
            "metadata": {"name": "podinfo", "namespace": "team-a", "generation": 3},
            "spec": {
                "interval": 5,
                "sourceRef": {"kind": "Resource", "name": "podinfo", "namespace": null},
            },
            "status": status,
        });
        let decoded: Decoded<Localization> = serde_json::from_value(content).unwrap();
        *decoded.0.unwrap_err()
    }

    #[test]
    fn b64_message_names_the_field_that_cannot_be_read() {
        let message = message_of(&report(&json!({})));
        assert!(
            message.contains("spec.interval: 5 is not of type"),
            "{message}"
        );
        assert!(!message.contains("namespace"), "{message}");
    }

    #[test]
    fn b64_status_is_written_once() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let written = status_of(&report(&json!({})), "what is wrong", now).unwrap();
        assert_eq!(written["observedGeneration"], 3);
        let conditions = written["conditions"].as_array().unwrap();
        assert!(conditions.iter().any(|found| found["type"] == "Ready"
            && found["status"] == "False"
            && found["reason"] == "InvalidSpec"));
        let later: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(status_of(&report(&written), "what is wrong", later), None);
        assert!(status_of(&report(&written), "something else", later).is_some());
    }

    #[test]
    fn b64_every_kind_has_a_name_and_a_schema() {
        for crd in api::crds() {
            let kind = &crd.spec.names.kind;
            assert_eq!(resource_of(kind).plural, crd.spec.names.plural);
            assert!(schema_of(kind).is_some(), "{kind}");
        }
    }
}
