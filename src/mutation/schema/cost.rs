//! Counts what a check against a schema costs, by walking schema and values together.
//!
//! The walk takes every branch that a validator might take, so it is an upper bound; it does no
//! checks itself.

use serde_json::{Map, Value};

/// Most pairs of a schema and a value that are looked at.
const MAX_VISITS: usize = 200_000;
/// What the match of one pattern counts, and each piece of this many bytes of the text.
const PATTERN_VISITS: usize = 20;
/// Deepest chain of schemas inside each other.
const MAX_DEPTH: usize = 300;

/// Keywords with one schema for the same value.
const SAME: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords with a list of schemas for the same value.
const SAME_LIST: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with a schema for what is in the value, whichever part of it.
const INSIDE: [&str; 7] = [
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
];

/// Refuses a schema that is too expensive for `values`, or refers to anything outside of itself.
pub(super) fn check(schema: &Value, values: &Value) -> Result<(), String> {
    check_references(schema)?;
    let mut walk = Walk {
        root: schema,
        visits: 0,
        depth: 0,
    };
    walk.pair(schema, values)
}

/// All references must be to a place in this schema, so that what the walk follows is all there is.
fn check_references(schema: &Value) -> Result<(), String> {
    match schema {
        Value::Array(items) => items.iter().try_for_each(check_references),
        Value::Object(keywords) => keywords.iter().try_for_each(|(key, value)| {
            let is_local = match (key.as_str(), value) {
                // A property or example may have such a name, and then is not a text.
                ("$ref", Value::String(target)) => target.starts_with('#'),
                ("$dynamicRef" | "$recursiveRef" | "$id" | "id", Value::String(_)) => false,
                ("$schema", Value::String(draft)) => is_known_draft(draft),
                _ => true,
            };
            if is_local {
                check_references(value)
            } else {
                Err(format!("{key} {value} is refused: only \"$ref\" to \"#/...\" inside the schema is allowed"))
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn is_known_draft(draft: &str) -> bool {
    let name = draft
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('#');
    matches!(
        name,
        "json-schema.org/draft-04/schema"
            | "json-schema.org/draft-06/schema"
            | "json-schema.org/draft-07/schema"
            | "json-schema.org/schema"
            | "json-schema.org/draft/2019-09/schema"
            | "json-schema.org/draft/2020-12/schema"
    )
}

struct Walk<'a> {
    root: &'a Value,
    visits: usize,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn pair(&mut self, schema: &'a Value, value: &Value) -> Result<(), String> {
        let Value::Object(keywords) = schema else {
            return Ok(());
        };
        self.spend(1)?;
        if let (Some(_), Value::String(text)) = (keywords.get("pattern"), value) {
            self.spend_on_pattern(text)?;
        }
        if self.depth == MAX_DEPTH {
            return Err(format!(
                "it refers to itself without end, or more than {MAX_DEPTH} deep"
            ));
        }
        self.depth += 1;
        self.same(keywords, value)?;
        self.inside(keywords, value)?;
        self.depth -= 1;
        Ok(())
    }

    fn spend(&mut self, visits: usize) -> Result<(), String> {
        self.visits += visits;
        if self.visits > MAX_VISITS {
            return Err(format!("it takes more than {MAX_VISITS} steps"));
        }
        Ok(())
    }

    fn spend_on_pattern(&mut self, text: &str) -> Result<(), String> {
        self.spend(PATTERN_VISITS + text.len() / PATTERN_VISITS)
    }

    fn same(&mut self, keywords: &'a Map<String, Value>, value: &Value) -> Result<(), String> {
        if let Some(Value::String(target)) = keywords.get("$ref") {
            let schema = self.target(target)?;
            self.pair(schema, value)?;
        }
        for schema in SAME.iter().filter_map(|key| keywords.get(*key)) {
            self.pair(schema, value)?;
        }
        for key in SAME_LIST {
            for schema in keywords
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.pair(schema, value)?;
            }
        }
        for key in ["dependentSchemas", "dependencies"] {
            for schema in keywords
                .get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(Map::values)
            {
                self.pair(schema, value)?;
            }
        }
        Ok(())
    }

    fn inside(&mut self, keywords: &'a Map<String, Value>, value: &Value) -> Result<(), String> {
        let parts: Vec<(Option<&String>, &Value)> = match value {
            Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, entry)| (Some(key), entry))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(()),
        };
        let properties = keywords.get("properties").and_then(Value::as_object);
        let patterns = keywords.get("patternProperties").and_then(Value::as_object);
        for (index, (key, part)) in parts.into_iter().enumerate() {
            if let Some(schema) = key.and_then(|key| properties?.get(key)) {
                self.pair(schema, part)?;
            }
            for schema in patterns.into_iter().flat_map(Map::values) {
                self.spend_on_pattern(key.map_or("", String::as_str))?;
                self.pair(schema, part)?;
            }
            if let (Some(_), Some(key)) = (keywords.get("propertyNames"), key) {
                self.spend_on_pattern(key)?;
            }
            for schema in INSIDE.iter().filter_map(|key| keywords.get(*key)) {
                self.pair(schema, part)?;
            }
            for list in ["prefixItems", "items"] {
                let schema = keywords.get(list).and_then(Value::as_array);
                if let Some(schema) = schema.and_then(|list| list.get(index)) {
                    self.pair(schema, part)?;
                }
            }
        }
        Ok(())
    }

    fn target(&self, target: &str) -> Result<&'a Value, String> {
        let missing = || format!("$ref {target:?} leads nowhere");
        let pointer = target.strip_prefix('#').ok_or_else(missing)?;
        // An anchor would be found by its name; schemas for values do without.
        self.root.pointer(pointer).ok_or_else(missing)
    }
}
