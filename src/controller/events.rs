//! Kubernetes events: what a person must know, once for each change.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tracing::debug;

use super::FIELD_MANAGER;
use super::notify::{Notification, Notifier};
use crate::api::{GROUP, Reason, truncated};

/// What the API server takes as an event's note at most, in bytes.
const MAX_NOTE: usize = 1_024;

/// What is posted of a note at most, in bytes.
const MAX_MESSAGE: usize = 16_384;

/// Writes events; one that cannot be written is only logged.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    instance: String,
    notifier: Option<Notifier>,
}

impl Events {
    /// Events that name `instance` as the one that reports, and are given to `notifier` as well.
    pub(super) fn new(client: Client, instance: String, notifier: Option<Notifier>) -> Self {
        Self {
            client,
            instance,
            notifier,
        }
    }

    /// Tells `note` about the object `regarding`.
    pub(super) async fn publish(
        &self,
        regarding: ObjectReference,
        reason: Reason,
        note: &str,
        metadata: &[(&'static str, String)],
    ) {
        let namespace = regarding.namespace.clone().unwrap_or_default();
        let annotations = metadata
            .iter()
            .map(|(key, value)| (format!("{GROUP}/{key}"), value.clone()));
        let annotations: BTreeMap<_, _> = annotations.collect();
        let is_failure = reason.is_failure();
        if let Some(notifier) = &self.notifier {
            notifier.send(Notification {
                involved_object: regarding.clone(),
                severity: if is_failure { "error" } else { "info" },
                timestamp: Timestamp::now().to_string(),
                message: truncated(note, MAX_MESSAGE).to_owned(),
                reason: reason.as_str(),
                metadata: annotations.clone(),
                reporting_controller: FIELD_MANAGER,
                reporting_instance: self.instance.clone(),
            });
        }
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!(
                    "{}-",
                    truncated(regarding.name.as_deref().unwrap_or_default(), 200)
                )),
                namespace: Some(namespace.clone()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(truncated(note, MAX_NOTE).to_owned()),
            reason: Some(reason.as_str().to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if is_failure { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            debug!(%error, "failed to write an event");
        }
    }
}
