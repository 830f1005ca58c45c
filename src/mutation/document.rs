//! YAML and JSON documents that come from outside, read within bounds.
//!
//! Aliases make a short YAML text stand for a document of any size, so what counts is not the
//! length of the text but what it expands to: every node and every byte of text is paid from a
//! budget while it is read.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::edit;

/// Longest document that is read, in bytes.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Most scalars, maps, lists and keys that a document may expand to.
const MAX_NODES: usize = 250_000;
/// Most bytes of text that a document may expand to.
const MAX_TEXT: usize = 16 << 20;

/// Reads the one document of `text`; an empty one is null.
///
/// Duplicate keys, custom tags, several documents, and what does not fit into JSON (`.inf`) are
/// refused. Keys that are numbers, booleans or null become their text, as Kubernetes does it.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    if text.len() > MAX_BYTES {
        return Err(format!(
            "it has {} bytes, more than {MAX_BYTES}",
            text.len()
        ));
    }
    if is_tar(text) {
        return Err("expected plain text, got a tar archive".to_owned());
    }
    let text = std::str::from_utf8(text)
        .map_err(|_| "it is neither YAML nor JSON: not UTF-8 text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_shape(text)?;
    let budget = Budget {
        nodes: Cell::new(MAX_NODES),
        text: Cell::new(MAX_TEXT),
    };
    if text.trim_start().starts_with(['{', '[']) {
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Node(&budget).deserialize(&mut reader);
        // What begins like JSON may still be a flow map of YAML.
        if let Ok(value) = read.and_then(|value| reader.end().map(|()| value)) {
            return Ok(value);
        }
        budget.nodes.set(MAX_NODES);
        budget.text.set(MAX_TEXT);
    }
    parse_yaml(text, &budget)
}

/// Refuses what the parser below would take long for: its time grows with the square of the depth.
fn check_shape(text: &str) -> Result<(), String> {
    let limits = edit::Limits {
        bytes: MAX_BYTES,
        nodes: MAX_NODES,
        ..edit::Limits::default()
    };
    match edit::parse(text.as_bytes(), &limits) {
        Ok(_) => Ok(()),
        Err(problem) => Err(problem.to_string()),
    }
}

fn parse_yaml(text: &str, budget: &Budget) -> Result<Value, String> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(Value::Null);
    };
    let value = Node(budget)
        .deserialize(first)
        .map_err(|source| source.to_string())?;
    for further in documents {
        // A final `---` or `...` begins a document with nothing in it.
        if !matches!(Empty::deserialize(further), Ok(Empty)) {
            return Err("expected one document, got several".to_owned());
        }
    }
    Ok(value)
}

/// A `ustar` header: the magic stands at byte 257 of the first block.
fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// A document with nothing in it.
struct Empty;

impl<'de> de::Deserialize<'de> for Empty {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self)
    }
}

struct Budget {
    nodes: Cell<usize>,
    text: Cell<usize>,
}

impl Budget {
    fn spend<E: de::Error>(&self, text: usize) -> Result<(), E> {
        let (Some(nodes), Some(text)) = (
            self.nodes.get().checked_sub(1),
            self.text.get().checked_sub(text),
        ) else {
            return Err(E::custom(format_args!(
                "it expands to more than {MAX_NODES} nodes or {MAX_TEXT} bytes of text"
            )));
        };
        self.nodes.set(nodes);
        self.text.set(text);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Node<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map, a list or a plain scalar without a custom tag")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.spend(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.spend(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.spend(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.spend(0)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format_args!("{value} is no number in JSON")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let key = match key {
                Value::String(key) => key,
                Value::Null | Value::Bool(_) | Value::Number(_) => key.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(de::Error::custom("a map or list cannot be a key"));
                }
            };
            let value = entries.next_value_seed(self)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_give_the_same_value() {
        let expected = json!({"a": [1, -2, 1.5, true, null, "x"], "7": {}});
        let yaml = b"a: [1, -2, 1.5, true, ~, x]\n7: {}\n";
        assert_eq!(parse(yaml).unwrap(), expected);
        assert_eq!(parse(expected.to_string().as_bytes()).unwrap(), expected);
        assert_eq!(
            parse(b"{a: [1, -2, 1.5, true, ~, x], 7: {}}").unwrap(),
            expected
        );
    }

    #[test]
    fn empty_document_is_null() {
        for text in ["", "\n", "# only a comment\n", "---\n", "\u{feff}"] {
            assert_eq!(parse(text.as_bytes()).unwrap(), Value::Null, "{text:?}");
        }
    }

    #[test]
    fn b69_alias_bombs_are_refused_by_what_they_expand_to() {
        let mut nine_levels = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            nine_levels.extend([format!("a{level}: &a{level} [{aliases}]\n")]);
        }
        // Few aliases to something long, which a count of aliases alone would let pass.
        let long = "x".repeat(100_000);
        let mut wide = format!("a: &a {long}\nb: &b [{}]\nc:\n", vec!["*a"; 20].join(", "));
        wide += &"- *b\n".repeat(20);
        for bomb in [nine_levels, wide] {
            let problem = parse(bomb.as_bytes()).unwrap_err();
            assert!(
                problem.contains("more than") || problem.contains("repetition limit"),
                "{problem}"
            );
        }
    }

    #[test]
    fn b69_alias_to_itself_is_refused() {
        assert!(parse(b"a: &a [*a]\n").is_err());
    }

    #[test]
    fn b70_deep_nesting_is_refused_without_overflow() {
        for text in [
            "[".repeat(4_000_000),
            "{a: ".repeat(1_000_000),
            "- ".repeat(1_000_000),
            "? ".repeat(1_000_000),
        ] {
            assert!(parse(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn b71_duplicate_keys_custom_tags_and_second_documents_are_refused() {
        for text in [
            "a: 1\na: 2\n",
            "{\"a\": 1, \"a\": 2}",
            "a: !python/object {b: c}\n",
            "a: !custom {b: c}\n",
            "a: 1\n---\nb: 2\n",
            "a: .inf\n",
            "? [a]\n: b\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?} was accepted");
        }
    }
}
