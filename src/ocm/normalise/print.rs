//! The two notations of normalised JSON.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// Each object as a list of one-key objects, sorted by the bytes of the keys; text as Go's
/// encoder escapes it for HTML.
pub(super) fn entry_list(value: &Value) -> String {
    let mut printer = Printer::new(Notation::EntryList);
    printer.value(value);
    printer.text
}

/// RFC 8785, JSON Canonicalization Scheme.
pub(super) fn canonical(value: &Value) -> String {
    let mut printer = Printer::new(Notation::Canonical);
    printer.value(value);
    printer.text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Notation {
    EntryList,
    Canonical,
}

struct Printer {
    notation: Notation,
    text: String,
}

impl Printer {
    fn new(notation: Notation) -> Self {
        Self {
            notation,
            text: String::new(),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.text.push_str("null"),
            Value::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.string(text),
            Value::Array(items) => self.list('[', ']', items, Self::value),
            Value::Object(object) => self.object(object),
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        let mut entries: Vec<(&String, &Value)> = object.iter().collect();
        match self.notation {
            Notation::EntryList => {
                entries.sort_by_key(|(key, _)| key.as_bytes());
                self.list('[', ']', &entries, |printer, entry| {
                    printer.text.push('{');
                    printer.entry(*entry);
                    printer.text.push('}');
                });
            }
            Notation::Canonical => {
                entries
                    .sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
                self.list('{', '}', &entries, |printer, entry| printer.entry(*entry));
            }
        }
    }

    fn entry(&mut self, (key, value): (&String, &Value)) {
        self.string(key);
        self.text.push(':');
        self.value(value);
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], print: impl Fn(&mut Self, &T)) {
        self.text.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            print(self, item);
        }
        self.text.push(close);
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.text.extend(['\\', character]),
                '\x08' => self.text.push_str("\\b"),
                '\x0c' => self.text.push_str("\\f"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\0'..='\x1f' => self.escape(character),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}'
                    if self.notation == Notation::EntryList =>
                {
                    self.escape(character);
                }
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, character: char) {
        write!(self.text, "\\u{:04x}", u32::from(character)).expect("a String takes all text");
    }

    /// As ECMAScript prints a double, which both notations do. They differ in minus zero.
    fn number(&mut self, number: &Number) {
        let value = number.as_f64().unwrap_or_default();
        if value == 0.0 {
            let is_shown = value.is_sign_negative() && self.notation == Notation::EntryList;
            self.text.push_str(if is_shown { "-0" } else { "0" });
            return;
        }
        if value < 0.0 {
            self.text.push('-');
        }
        // The shortest digits that read back as this number, and the power of ten behind them.
        let scientific = format!("{:e}", value.abs());
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let digits = mantissa.replace('.', "");
        let exponent: i32 = exponent.parse().unwrap_or_default();
        self.digits(&digits, exponent);
    }

    /// ECMA-262, `Number::toString`: `digits` is d.ddd times ten to the power of `exponent`.
    fn digits(&mut self, digits: &str, exponent: i32) {
        let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
        let before_point = exponent + 1;
        let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        match before_point {
            _ if length <= before_point && before_point <= 21 => {
                self.text.push_str(digits);
                self.text.push_str(&zeros(before_point - length));
            }
            1..=21 => {
                let (whole, fraction) =
                    digits.split_at(usize::try_from(before_point).unwrap_or_default());
                self.text.extend([whole, ".", fraction]);
            }
            -5..=0 => {
                self.text.push_str("0.");
                self.text.push_str(&zeros(-before_point));
                self.text.push_str(digits);
            }
            _ => {
                let (first, rest) = digits.split_at(1);
                self.text.push_str(first);
                if !rest.is_empty() {
                    self.text.extend([".", rest]);
                }
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(self.text, "e{sign}{}", exponent.abs()).expect("a String takes all text");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 8785, section 3.2.
    #[test]
    fn canonical_text_is_that_of_the_rfc() {
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals":[null,true,false]}"#,
        )
        .unwrap();
        assert_eq!(
            canonical(&value),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        let keys = json!({"\u{20ac}": 5, "\r": 1, "\u{fb33}": 7, "1": 2, "\u{1f600}": 6,
                          "\u{80}": 3, "\u{f6}": 4});
        assert_eq!(
            canonical(&keys),
            "{\"\\r\":1,\"1\":2,\"\u{80}\":3,\"\u{f6}\":4,\"\u{20ac}\":5,\"\u{1f600}\":6,\"\u{fb33}\":7}"
        );
    }

    #[test]
    fn numbers_are_printed_as_doubles() {
        for (text, expected) in [
            ("0", "0"),
            ("1", "1"),
            ("-1.50", "-1.5"),
            ("100", "100"),
            ("123456789012345678", "123456789012345680"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.25e21", "1.25e+21"),
            ("1e-6", "0.000001"),
            ("1.5e-7", "1.5e-7"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(&value), expected);
            assert_eq!(entry_list(&value), expected);
        }
        assert_eq!(
            (canonical(&json!(-0.0)), entry_list(&json!(-0.0))),
            ("0".into(), "-0".into())
        );
    }

    #[test]
    fn entry_lists_are_sorted_and_escaped_for_html() {
        let value = json!({"b": {"y": [], "x": "<a&b>\u{2028}\u{1}"}, "a": [{"k": 1}]});
        assert_eq!(
            entry_list(&value),
            r#"[{"a":[[{"k":1}]]},{"b":[{"x":"\u003ca\u0026b\u003e\u2028\u0001"},{"y":[]}]}]"#
        );
    }
}
