//! PAX extended headers (POSIX.1-2017, pax, "pax Extended Header"): `length key=value\n` records.

use super::{Error, Limits, Result};

/// What an extended header changes of the entry behind it. The other records (times, owners,
/// attributes of macOS) are checked for their form and left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl Extension {
    /// Parses the content of an extended header. Nothing malformed is skipped: whoever skips
    /// differently would see other entries.
    pub(super) fn parse(mut content: &[u8], limits: &Limits) -> Result<Self> {
        let mut extension = Self::default();
        let mut records = 0;
        while !content.is_empty() {
            records += 1;
            if records > limits.pax_records {
                return Err(Error::ExceedLimit {
                    allowed: limits.pax_records as u64,
                    unit: "records in a PAX header",
                });
            }
            let (key, value, rest) =
                split_record(content).ok_or_else(|| wrong("a record is malformed"))?;
            extension.take_in(key, value)?;
            content = rest;
        }
        Ok(extension)
    }

    /// Whether the entries are what their own headers say.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn take_in(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => set_once(&mut self.path, text(value)?),
            b"linkpath" => set_once(&mut self.link_path, text(value)?),
            b"size" => set_once(
                &mut self.size,
                decimal(value).ok_or_else(|| wrong("the size is no number in range"))?,
            ),
            b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" => {
                Err(wrong("names are not in UTF-8"))
            }
            _ if key.starts_with(b"GNU.sparse.") => Err(wrong("sparse files are not accepted")),
            _ => Ok(()),
        }
    }
}

/// The record `key=value`, with its own length in front.
pub(super) fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest;
    // The length counts its own digits, so one more digit can make one more digit.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn split_record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // More digits than a length within any limit has.
    const LONGEST_LENGTH: usize = 10;
    let space = content
        .iter()
        .take(LONGEST_LENGTH + 1)
        .position(|byte| *byte == b' ')?;
    let digits = &content[..space];
    if digits.first() == Some(&b'0') {
        return None;
    }
    let length = usize::try_from(decimal(digits)?).ok()?;
    let record = content.get(space + 1..length)?;
    let (key_and_value, end) = record.split_at_checked(record.len().checked_sub(1)?)?;
    let equals = key_and_value.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&key_and_value[..equals], &key_and_value[equals + 1..]);
    // Some skip more than one space in front of a key.
    let is_key = !key.is_empty() && !key.starts_with(b" ") && !key.contains(&0);
    let well_formed = end == b"\n" && is_key;
    well_formed.then(|| (key, value, &content[length..]))
}

fn text(value: &[u8]) -> Result<Vec<u8>> {
    if value.is_empty() || value.contains(&0) {
        return Err(wrong("a path is empty or has a NUL"));
    }
    Ok(value.to_vec())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |value, digit| match digit {
            b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        })
        .filter(|value| i64::try_from(*value).is_ok())
}

fn set_once<T>(field: &mut Option<T>, value: T) -> Result<()> {
    if field.replace(value).is_some() {
        return Err(wrong("a record comes twice"));
    }
    Ok(())
}

fn wrong(problem: &'static str) -> Error {
    Error::ParseHeader {
        entry: "PAX header".to_owned(),
        problem,
    }
}
