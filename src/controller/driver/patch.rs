//! The status as JSON: what is written is the difference, and only if there is one.

use kube::core::Status as ApiStatus;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("failed to patch the status: {source}")]
    Patch { source: Box<kube::Error> },
    #[error("failed to write the status as JSON: {source}")]
    Serialize { source: serde_json::Error },
}

impl WriteError {
    /// Whether the object is gone, or another one has taken its name.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Patch { source } => match &**source {
                kube::Error::Api(status) => is_gone(status),
                _ => false,
            },
            Self::Serialize { .. } => false,
        }
    }
}

/// A patch that carries the UID of an object that was deleted and made again is answered as a
/// failed precondition, or as an attempt to change an immutable field. Other conflicts are with a
/// living object.
fn is_gone(status: &ApiStatus) -> bool {
    let is_about_uid = status.message.contains("metadata.uid") || status.message.contains("UID");
    status.is_not_found() || is_about_uid
}

pub(super) fn to_json<S: Serialize>(status: Option<&S>) -> Result<Value, WriteError> {
    serde_json::to_value(status).map_err(|source| WriteError::Serialize { source })
}

/// Status, reason and message of the condition Ready.
pub(super) fn verdict_of(status: &Value) -> Option<(&Value, &Value, &Value)> {
    let conditions = status.get("conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|found| found.get("type").is_some_and(|kind| kind == "Ready"))?;
    Some((
        ready.get("status")?,
        ready.get("reason")?,
        ready.get("message")?,
    ))
}

/// The JSON merge patch (RFC 7386) that turns `before` into `after`, if they differ.
pub(super) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = serde_json::Map::new();
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in after {
                let difference = before
                    .get(key)
                    .map_or(Some(value.clone()), |old| merge_patch(old, value));
                if let Some(difference) = difference {
                    patch.insert(key.clone(), difference);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (before != after).then(|| after.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patch_names_only_what_differs() {
        let before = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "gone": true});
        let after = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1], "new": "x"});
        let expected = json!({"gone": null, "b": {"d": 4}, "e": [1], "new": "x"});
        assert_eq!(merge_patch(&before, &after), Some(expected));
        assert_eq!(merge_patch(&after, &after), None);
    }
}
