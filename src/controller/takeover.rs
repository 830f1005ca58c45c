//! Taking over fields that were not written by server-side apply.
//!
//! The Go ocm-controller wrote its objects by update, and this program creates some by POST. Both
//! leave the fields to a manager that no later apply can speak for: a field that is no longer
//! applied would stay for ever. So before the first apply over such an object its entries are
//! handed to our own manager.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value};

use super::FIELD_MANAGER;

/// The manager under which the Go ocm-controller updated objects: its program's name.
const ORIGINAL_MANAGER: &str = "manager";

/// Whether `entry` is to be handed over before the object is applied.
pub(super) fn is_to_take_over(entry: &ManagedFieldsEntry) -> bool {
    entry.operation.as_deref() == Some("Update")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
        && matches!(
            entry.manager.as_deref(),
            Some(ORIGINAL_MANAGER | FIELD_MANAGER)
        )
}

/// The entries of an object after `manager` has taken over those of [`is_to_take_over`].
pub(super) fn taken_over(entries: &[ManagedFieldsEntry], manager: &str) -> Vec<ManagedFieldsEntry> {
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
            && entry.manager.as_deref() == Some(manager)
    };
    let mut ours: Option<ManagedFieldsEntry> = None;
    let mut others = Vec::new();
    for entry in entries {
        if !is_ours(entry) && !is_to_take_over(entry) {
            others.push(entry.clone());
            continue;
        }
        match &mut ours {
            None => {
                ours = Some(ManagedFieldsEntry {
                    manager: Some(manager.to_owned()),
                    operation: Some("Apply".to_owned()),
                    ..entry.clone()
                });
            }
            Some(ours) => ours.fields_v1 = union(ours.fields_v1.take(), entry.fields_v1.clone()),
        }
    }
    ours.into_iter().chain(others).collect()
}

fn union(one: Option<FieldsV1>, other: Option<FieldsV1>) -> Option<FieldsV1> {
    match (one, other) {
        (Some(FieldsV1(Value::Object(mut one))), Some(FieldsV1(Value::Object(other)))) => {
            merge(&mut one, other);
            Some(FieldsV1(Value::Object(one)))
        }
        (one, other) => one.or(other),
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn fields_of_the_original_become_ours() {
        let entries = [
            entry(
                "manager",
                "Update",
                json!({"f:spec": {"f:ref": {"f:tag": {}}}}),
            ),
            entry(FIELD_MANAGER, "Apply", json!({"f:spec": {"f:url": {}}})),
            entry("kubectl", "Update", json!({"f:spec": {"f:suspend": {}}})),
        ];
        let after = taken_over(&entries, FIELD_MANAGER);
        assert_eq!(after.len(), 2);
        assert_eq!(after[0].manager.as_deref(), Some(FIELD_MANAGER));
        assert_eq!(after[0].operation.as_deref(), Some("Apply"));
        let expected = json!({"f:spec": {"f:ref": {"f:tag": {}}, "f:url": {}}});
        assert_eq!(after[0].fields_v1, Some(FieldsV1(expected)));
        assert_eq!(after[1].manager.as_deref(), Some("kubectl"));
    }

    #[test]
    fn status_of_the_original_is_left_to_it() {
        let mut status = entry("manager", "Update", json!({"f:status": {}}));
        status.subresource = Some("status".to_owned());
        assert!(!is_to_take_over(&status));
    }
}
