//! The notation of single values: what a text may look like so that every reader takes it for
//! that text.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// The longest key without quotes; readers look only so far for its colon.
const LONGEST_PLAIN_KEY: usize = 120;

/// Plain words that are something else than a text in YAML 1.1 or 1.2, in lower case.
const WORDS: [&str; 15] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "=", "<<", ".inf", ".nan",
    "none",
];

/// Whether readers of YAML 1.1 and 1.2 agree that a plain scalar is this text.
pub(super) fn is_text(plain: &str) -> bool {
    let lower = plain.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['+', '-']);
    !WORDS.contains(&lower.as_str()) && !WORDS.contains(&unsigned) && !is_like_number(plain)
}

/// Numbers of any base, with separators, base 60, and points in time.
fn is_like_number(plain: &str) -> bool {
    let in_number =
        |character| char::is_ascii_hexdigit(&character) || "_.:xXoO+-tTzZ ".contains(character);
    let Some(first) = plain.chars().next() else {
        // Nothing is null.
        return true;
    };
    let starts = first.is_ascii_digit() || matches!(first, '+' | '-' | '.');
    starts && plain.chars().all(in_number) && !is_version(plain)
}

/// `1.2.3`: two dots make no number.
fn is_version(plain: &str) -> bool {
    let mut parts = plain.split('.');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    plain.matches('.').count() >= 2 && parts.all(digits)
}

/// Whether a text can be written without quotes.
///
/// Stricter than YAML: what is not obviously safe is quoted.
pub(super) fn is_plain(text: &str, flow: bool) -> bool {
    let allowed = |character: char| {
        character.is_alphanumeric()
            || "_./@+-= ()".contains(character)
            || (!flow && ":,".contains(character))
    };
    let starts = |character: char| character.is_alphanumeric() || "_/.".contains(character);
    is_text(text)
        && text.starts_with(starts)
        && !text.starts_with("...")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && text.chars().all(allowed)
        && text.chars().all(is_printable)
}

/// A key: plain where that is safe, else in double quotes.
pub(super) fn key(text: &str, flow: bool) -> String {
    if text.len() <= LONGEST_PLAIN_KEY && is_plain(text, flow) && !text.contains(':') {
        return text.to_owned();
    }
    double_quoted(text)
}

/// A text: plain where that is safe, else in double quotes.
pub(super) fn plain_or_quoted(text: &str, flow: bool) -> String {
    if is_plain(text, flow) {
        return text.to_owned();
    }
    double_quoted(text)
}

/// A text in double quotes, as JSON and YAML read it alike.
pub(super) fn double_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if is_printable(character) => quoted.push(character),
            // All of them are in the first plane.
            _ => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// A text in single quotes, where it can be.
pub(super) fn single_quoted(text: &str) -> Option<String> {
    let fits = text.chars().all(is_printable);
    fits.then(|| format!("'{}'", text.replace('\'', "''")))
}

/// A text as a literal block scalar: its indicators, and its lines, each behind `indent` spaces.
/// `None` where only quotes can hold it.
pub(super) fn literal(text: &str, indent: usize, newline: &str) -> Option<(&'static str, String)> {
    let body = text.trim_end_matches('\n');
    let lines = || body.split('\n');
    let fits =
        |line: &str| line.chars().all(is_printable) && (line.is_empty() || !line.trim().is_empty());
    if body.is_empty() || body.starts_with([' ', '\n']) || indent == 0 || !lines().all(fits) {
        return None;
    }
    let indicators = match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    let mut written = String::new();
    for line in lines() {
        written.push_str(newline);
        if !line.is_empty() {
            written.extend(std::iter::repeat_n(' ', indent));
            written.push_str(line);
        }
    }
    // The last line break is the one that follows in the file.
    for _ in body.len() + 1..text.len() {
        written.push_str(newline);
    }
    Some((indicators, written))
}

/// Null, a boolean or a number; `None` for anything else.
pub(super) fn other(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("null".into()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(number(value)),
        Value::Array(items) if items.is_empty() => Some("[]".into()),
        Value::Object(entries) if entries.is_empty() => Some("{}".into()),
        Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// YAML 1.1 wants a dot and a sign in the exponent: `1.0e+100`.
fn number(number: &Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return text;
    };
    let dot = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) {
        ""
    } else {
        "+"
    };
    format!("{mantissa}{dot}e{sign}{exponent}")
}

/// Characters that every reader takes as they are, on one line.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}
