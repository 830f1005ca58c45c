//! JSON that every parser reads the same way.
//!
//! Two parsers that disagree on a document (which of two equal keys counts) are how a signed or
//! checked document comes to mean something else to its user. So what such parsers disagree on is
//! refused: duplicate keys at any depth, a byte order mark, other encodings than UTF-8, numbers
//! out of range, anything behind the document, and nesting deeper than 127.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads `bytes` as a `T`, after checking that they mean one thing only.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    check(bytes)?;
    serde_json::from_slice(bytes)
}

/// Checks that `bytes` are one JSON document that means one thing only.
pub fn check(bytes: &[u8]) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Unambiguous.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Walks a document without keeping anything of it but the keys of the open objects.
struct Unambiguous;

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Unambiguous)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(serde::de::Error::custom(format_args!(
                    "key {key:?} occurs twice"
                )));
            }
            seen.insert(key);
            fields.next_value_seed(Unambiguous)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b25_ambiguous_or_broken_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let utf16: Vec<u8> = "{\"a\":1}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let cases: [&[u8]; 12] = [
            br#"{"a":1,"a":2}"#,
            br#"{"x":[{"a":1,"b":2,"a":1}]}"#,
            br#"{"a":1,"\u0061":2}"#,
            br#"{"a":NaN}"#,
            br#"{"a":1e400}"#,
            b"\xef\xbb\xbf{}",
            br#"{"a":1} x"#,
            br#"{"a":1}{"a":1}"#,
            deep.as_bytes(),
            &utf16,
            b"",
            b"{\"a\":\"\xff\"}",
        ];
        for text in cases {
            let shown = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
            assert!(check(text).is_err(), "{shown:?} was accepted");
        }
    }

    #[test]
    fn equal_keys_in_different_objects_are_no_duplicates() {
        check(br#"{"a":{"a":1},"b":[{"a":1},{"a":null}],"c":-1.5e3}"#).unwrap();
    }
}
