//! Configuration values: which source counts, how a document of values is read, what is taken
//! out of it, and how it goes over the defaults.

use serde_json::{Map, Value};

use super::{Error, Result, document};

/// Where an object's configuration values may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValuesSource {
    /// `spec.values`, in the object itself.
    Inline,
    /// `spec.valuesFrom.fluxSource`: a file of a Flux source.
    FluxSource,
    /// `spec.valuesFrom.configMapSource`: a key of a `ConfigMap`.
    ConfigMapSource,
    /// `spec.valuesFrom.secretSource`: a key of a `Secret`.
    SecretSource,
    /// `spec.valuesFrom.sourceRef`: the content of a resource or snapshot.
    SourceRef,
}

impl ValuesSource {
    /// All of them, the one that counts most first.
    pub const BY_PRECEDENCE: [Self; 5] = [
        Self::Inline,
        Self::FluxSource,
        Self::ConfigMapSource,
        Self::SecretSource,
        Self::SourceRef,
    ];

    /// The source that counts, of those for which `is_set` says that the object has them.
    pub fn chosen(is_set: impl Fn(Self) -> bool) -> Option<Self> {
        Self::BY_PRECEDENCE
            .into_iter()
            .find(|source| is_set(*source))
    }
}

/// Reads a document of values, as it stands in a `ConfigMap` key, a file or a resource.
///
/// An empty document, and one that is no map, are errors: they would silently mean "defaults".
pub fn parse_values(text: &[u8]) -> Result<Map<String, Value>> {
    match document::parse(text).map_err(|problem| Error::ParseValues { problem })? {
        Value::Object(values) => Ok(values),
        Value::Null => Err(Error::NoValues),
        other => Err(Error::ParseValues {
            problem: format!("expected a map, got {}", kind(&other)),
        }),
    }
}

/// The map at `sub_path` of `values`: keys joined by dots, no escapes and no list indexes.
///
/// An empty `sub_path` is the whole document.
pub fn values_at<'a>(
    values: &'a Map<String, Value>,
    sub_path: &str,
) -> Result<&'a Map<String, Value>> {
    if sub_path.is_empty() {
        return Ok(values);
    }
    let mut here = values;
    for key in sub_path.split('.') {
        let Some(Value::Object(next)) = here.get(key) else {
            return Err(Error::FindSubPath {
                sub_path: sub_path.to_owned(),
                key: key.to_owned(),
                problem: match here.get(key) {
                    Some(other) => format!("is {}, not a map", kind(other)),
                    None => format!("is none of {}", listed(here.keys())),
                },
            });
        };
        here = next;
    }
    Ok(here)
}

/// `values` over `defaults`: maps are merged key by key, all else is replaced.
///
/// Values that are null as a whole keep the defaults; a null inside replaces. Keys stay in the
/// order of the defaults, new ones follow.
pub fn merge(defaults: Option<&Value>, values: Option<&Value>) -> Value {
    match (defaults, values) {
        (None | Some(Value::Null), None | Some(Value::Null)) => Value::Object(Map::new()),
        (Some(defaults), None | Some(Value::Null)) => defaults.clone(),
        (None | Some(Value::Null), Some(values)) => values.clone(),
        (Some(defaults), Some(values)) => {
            let mut merged = defaults.clone();
            merge_into(&mut merged, values);
            merged
        }
    }
}

fn merge_into(target: &mut Value, source: &Value) {
    let (Value::Object(target), Value::Object(source)) = (&mut *target, source) else {
        *target = source.clone();
        return;
    };
    for (key, value) in source {
        match target.get_mut(key) {
            Some(present) => merge_into(present, value),
            None => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What `value` is, for a message.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// The first names of a list, for a message that must stay readable.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 12;
    let mut names = names.into_iter().map(String::as_str);
    let mut shown: Vec<&str> = names.by_ref().take(SHOWN).collect();
    if names.next().is_some() {
        shown.push("...");
    }
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn inline_values_beat_flux_source_beats_config_map_beats_source_ref() {
        for (index, expected) in ValuesSource::BY_PRECEDENCE.into_iter().enumerate() {
            let set = &ValuesSource::BY_PRECEDENCE[index..];
            assert_eq!(
                ValuesSource::chosen(|source| set.contains(&source)),
                Some(expected)
            );
        }
        assert_eq!(ValuesSource::chosen(|_| false), None);
    }

    #[test]
    fn sub_path_leads_to_a_map() {
        let values = parse_values(b"test: {backend: {replicas: 3}, list: [{a: 1}]}\n").unwrap();
        assert_eq!(values_at(&values, "").unwrap(), &values);
        let found = values_at(&values, "test.backend").unwrap();
        assert_eq!(Value::Object(found.clone()), json!({"replicas": 3}));
        for wrong in [
            "nope",
            "test.nope",
            "test.backend.replicas",
            "test.list",
            "test.list.0",
            "test.",
        ] {
            let message = values_at(&values, wrong).unwrap_err().to_string();
            assert!(message.contains("subPath not found"), "{message}");
        }
    }

    #[test]
    fn values_that_are_no_map_are_named_errors() {
        assert!(matches!(parse_values(b""), Err(Error::NoValues)));
        assert!(
            parse_values(b"- a\n")
                .unwrap_err()
                .to_string()
                .contains("a list")
        );
        assert!(matches!(
            parse_values(b"a: [\n"),
            Err(Error::ParseValues { .. })
        ));
    }

    #[test]
    fn values_go_over_defaults() {
        let defaults = json!({"b": {"x": 1, "y": [1, 2]}, "a": 1, "n": null});
        let cases = [
            (None, defaults.clone()),
            (Some(Value::Null), defaults.clone()),
            (
                Some(json!({"a": null})),
                json!({"b": {"x": 1, "y": [1, 2]}, "a": null, "n": null}),
            ),
            (
                Some(json!({"c": 3, "b": {"y": [9], "z": 0}})),
                json!({"b": {"x": 1, "y": [9], "z": 0}, "a": 1, "n": null, "c": 3}),
            ),
            (Some(json!({"b": 7})), json!({"b": 7, "a": 1, "n": null})),
        ];
        for (values, expected) in cases {
            let merged = merge(Some(&defaults), values.as_ref());
            assert_eq!(
                merged.to_string(),
                expected.to_string(),
                "order of keys counts"
            );
        }
        assert_eq!(merge(None, None), json!({}));
        assert_eq!(merge(None, Some(&json!({"a": 1}))), json!({"a": 1}));
    }
}
