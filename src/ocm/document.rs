//! Documents from outside: JSON and YAML, read strictly and within bounds.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess,
};
use serde_json::{Map, Number, Value};

use super::error::{Error, Result};

/// Parses JSON that holds no key twice in an object and nothing behind its end.
pub(super) fn parse_json(bytes: &[u8], what: &'static str) -> Result<Value> {
    let failed = |source| Error::ParseJson { what, source };
    let budget = Cell::new(budget(bytes));
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&budget).deserialize(&mut source).map_err(failed)?;
    source.end().map_err(failed)?;
    Ok(value)
}

/// Parses JSON where the document starts as such, YAML with one document otherwise.
///
/// YAML comes down to what JSON can say: no tags, no keys but strings, no infinity.
pub(super) fn parse_yaml(bytes: &[u8], what: &'static str) -> Result<Value> {
    let refused = |problem: &str| Error::RefuseDocument {
        what,
        problem: problem.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
    if text.starts_with('\u{feff}') {
        return Err(refused("it starts with a byte order mark"));
    }
    if text.trim_start().starts_with('{') {
        return parse_json(bytes, what);
    }
    let budget = Cell::new(budget(bytes));
    Strict(&budget)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|source| Error::ParseYaml { what, source })
}

/// Reads a parsed document into a type.
pub(super) fn typed<T: DeserializeOwned>(value: Value, what: &'static str) -> Result<T> {
    serde_json::from_value(value).map_err(|source| Error::ReadDocument { what, source })
}

/// How many nodes and bytes of text a document may unfold to.
///
/// Both are at most as many as the document has bytes, three for a byte of text where an escape
/// names a long character. Only YAML aliases can exceed that.
fn budget(bytes: &[u8]) -> usize {
    bytes.len().saturating_mul(4).saturating_add(64)
}

/// Reads any value, counting what it holds, and refuses keys that occur twice.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a Cell<usize>);

impl Strict<'_> {
    fn spend<E: serde::de::Error>(self, text: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(text.saturating_add(1));
        self.0
            .set(left.ok_or_else(|| E::custom("aliases unfold to far more than the document"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that JSON can hold")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::from(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.spend(key.len())?;
            let value = entries.next_value_seed(self)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {key:?} occurs twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    fn yaml(text: &str) -> Result<Value> {
        parse_yaml(text.as_bytes(), "the document")
    }

    #[test]
    fn yaml_and_json_give_the_same_value() {
        let expected = json!({"a": [1, -2, 1.5, true, null, "6.3.5"], "b": {"c": "x"}});
        let block = "a: [1, -2, 1.5, true, null, 6.3.5]\nb:\n  c: x\n";
        assert_eq!(yaml(block).unwrap(), expected);
        assert_eq!(yaml(&expected.to_string()).unwrap(), expected);
    }

    #[test]
    fn b25_malformed_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":[{"y":{"a":1,"a":1}}]}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e400}"#,
            r#"{"a":1} trailing"#,
            "{\"a\":1}{}",
            "\u{feff}{\"a\":1}",
            "{\"a\":1",
            "",
            &deep,
        ] {
            assert!(
                parse_json(text.as_bytes(), "the document").is_err(),
                "{text:.40?} was accepted"
            );
        }
    }

    #[test]
    fn b25_malformed_yaml_is_refused() {
        let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in [
            "a: 1\na: 2\n",
            "x:\n- y:\n    a: 1\n    a: 1\n",
            "a: .nan\n",
            "a: .inf\n",
            "a: 1\n---\nb: 2\n",
            "a: !secret x\n",
            "\u{feff}a: 1\n",
            "{\"a\": 1, \"a\": 2}",
            "a: [",
            &deep,
        ] {
            assert!(yaml(text).is_err(), "{text:.40?} was accepted");
        }
        let utf16: Vec<u8> = "a: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(parse_yaml(&utf16, "the document").is_err());
        assert!(parse_yaml(b"a: \xff\n", "the document").is_err());
    }

    #[test]
    fn b25_aliases_that_multiply_are_refused() {
        let long = "x".repeat(1_000);
        let aliases = "- *text\n".repeat(1_000);
        let wide = format!("a: &text {long}\nb:\n{aliases}");
        assert!(yaml(&wide).is_err());
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(laughs, "a{level}: &a{level} [{items}]").unwrap();
        }
        assert!(yaml(&laughs).is_err());
    }
}
