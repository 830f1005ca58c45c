//! Checks values against the JSON Schema that a component brings along.
//!
//! Schemas come from outside. No reference leaves the schema, patterns may take only so many
//! steps, and what a check costs is counted before it is done: schemas that refer to themselves
//! without end, or to themselves twice on each level, are refused.

mod cost;

use std::fmt;

use jsonschema::PatternOptions;
use serde_json::Value;

/// Most violations that are listed.
const MAX_VIOLATIONS: usize = 50;
/// Most bytes of one message: a message may quote the whole value.
const MAX_MESSAGE: usize = 300;
/// Most steps back that one match of a pattern may take.
const MAX_BACKTRACKS: usize = 10_000;
/// Most bytes of a compiled pattern.
const MAX_PATTERN: usize = 1 << 20;

/// One place where values violate a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The place in the values, keys and indexes joined by dots; empty for the values as a whole,
    /// and where the schema itself is at fault.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "values"
        } else {
            &self.path
        };
        write!(formatter, "{path}: {}", self.message)
    }
}

/// Where `values` violate `schema`. A schema that cannot be used is a violation too.
pub fn violations(schema: &Value, values: &Value) -> Vec<Violation> {
    if let Err(problem) = cost::check(schema, values) {
        return vec![unusable(&problem)];
    }
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(MAX_BACKTRACKS)
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN);
    let validator = match jsonschema::options()
        .with_pattern_options(patterns)
        .build(schema)
    {
        Ok(validator) => validator,
        Err(problem) => return vec![unusable(&problem.to_string())],
    };
    let mut found: Vec<Violation> = validator
        .iter_errors(values)
        .take(MAX_VIOLATIONS)
        .map(|error| Violation {
            path: dotted(error.instance_path().as_str()),
            message: shortened(&error.to_string()),
        })
        .collect();
    if found.len() == MAX_VIOLATIONS {
        found.push(Violation {
            path: String::new(),
            message: "further violations are not listed".to_owned(),
        });
    }
    found
}

fn unusable(problem: &str) -> Violation {
    Violation {
        path: String::new(),
        message: format!("the schema cannot be used: {}", shortened(problem)),
    }
}

/// A JSON pointer (RFC 6901) in the form of a reference.
fn dotted(pointer: &str) -> String {
    let parts: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    parts.join(".")
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    format!(
        "{}...",
        &message[..message.floor_char_boundary(MAX_MESSAGE)]
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b76_violations_name_the_path() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"x/y": {"type": "integer"}}, "required": ["z"]},
            "list": {"items": {"type": "string"}},
        }});
        let found = violations(&schema, &json!({"a": {"x/y": "1"}, "list": ["a", 2]}));
        let mut paths: Vec<&str> = found
            .iter()
            .map(|violation| violation.path.as_str())
            .collect();
        paths.sort_unstable();
        assert_eq!(paths, ["a", "a.x/y", "list.1"]);
        assert!(violations(&schema, &json!({"a": {"x/y": 1, "z": 0}, "list": []})).is_empty());
    }

    #[test]
    fn b76_remote_references_are_refused() {
        for target in [
            "http://127.0.0.1:1/s.json",
            "file:///etc/passwd",
            "other.json",
            "urn:x:y",
        ] {
            for schema in [
                json!({"properties": {"a": {"$ref": target}}}),
                json!({"$schema": target}),
                json!({"$id": target, "properties": {"a": {"$ref": "b"}}}),
                json!({"allOf": [{"$dynamicRef": target}]}),
            ] {
                let found = violations(&schema, &json!({"a": 1}));
                assert_eq!(found.len(), 1, "{schema}");
                assert!(
                    found[0].message.contains("the schema cannot be used"),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn b76_schema_that_refers_to_itself_is_followed_as_deep_as_the_values() {
        let tree = json!({"$defs": {"node": {
            "type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}},
        }}, "$ref": "#/$defs/node"});
        assert!(violations(&tree, &json!({"next": {"next": {"v": 1}}})).is_empty());
        assert_eq!(
            violations(&tree, &json!({"next": {"next": {"v": "x"}}}))[0].path,
            "next.next.v"
        );
    }

    #[test]
    fn b76_endless_and_exploding_schemas_are_refused() {
        let endless = json!({"$ref": "#"});
        let circle = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"});
        let mut definitions = json!({"d0": {"type": "object"}});
        for n in 1..40 {
            let last = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            definitions[format!("d{n}")] = json!({"anyOf": [last, last]});
        }
        let exploding = json!({"$defs": definitions, "$ref": "#/$defs/d39"});
        let level = json!({"properties": {"a": {"$ref": "#/$defs/n"}}});
        let deep = json!({"$defs": {"n": {"allOf": [level, level]}}, "$ref": "#/$defs/n"});
        let mut nested = json!({});
        for _ in 0..60 {
            nested = json!({"a": nested});
        }
        for schema in [endless, circle, exploding, deep] {
            let found = violations(&schema, &nested);
            assert!(
                found[0].message.contains("the schema cannot be used"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn b76_catastrophic_patterns_are_bounded() {
        let value = json!({"a": format!("{}!", "a".repeat(60))});
        for pattern in [
            "^(a+)+$",
            "^(a|aa)+$",
            "^(?=(a+)+$)b",
            r"^((a+)+)\2$",
            "(x{1000}){1000}",
        ] {
            let schema = json!({"properties": {"a": {"pattern": pattern}}});
            assert!(!violations(&schema, &value).is_empty(), "{pattern}");
        }
    }

    #[test]
    fn b76_patterns_over_many_or_long_texts_are_refused() {
        let schema = json!({"items": {"pattern": "^(?=(a+)+$)b"}});
        let text = format!("{}!", "a".repeat(60));
        for values in [json!(vec![text; 20_000]), json!(["a".repeat(8 << 20)])] {
            let found = violations(&schema, &values);
            assert!(
                found[0].message.contains("the schema cannot be used"),
                "{}",
                found[0]
            );
        }
    }

    #[test]
    fn messages_stay_short() {
        let values = json!({"a": "x".repeat(100_000)});
        let found = violations(&json!({"properties": {"a": {"type": "integer"}}}), &values);
        assert!(found[0].message.len() < 400);
        let many: Vec<Value> = (0..1_000).map(Value::from).collect();
        let found = violations(&json!({"items": {"type": "string"}}), &Value::Array(many));
        assert_eq!(found.len(), MAX_VIOLATIONS + 1);
    }
}
