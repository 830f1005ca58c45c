//! Byte ranges of a GET (RFC 9110, section 14).

/// What a `Range` header asks of content of a known size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything: no header, one that does not parse, or several ranges, which a server is free
    /// to answer with the whole.
    Whole,
    /// `length` bytes from `start`; at least one.
    Part { start: u64, length: u64 },
    /// No byte of the content.
    Unsatisfiable,
}

impl Selection {
    /// Reads the value of a `Range` header.
    pub(super) fn of(header: Option<&str>, size: u64) -> Self {
        let Some((unit, set)) = header.and_then(|header| header.split_once('=')) else {
            return Self::Whole;
        };
        let Some((first, last)) = set.trim().split_once('-') else {
            return Self::Whole;
        };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Self::between(first, last, size),
            (Some(first), None) if last.is_empty() => Self::between(first, u64::MAX, size),
            (None, Some(0)) if first.is_empty() => Self::Unsatisfiable,
            (None, Some(suffix)) if first.is_empty() => {
                Self::between(size.saturating_sub(suffix), u64::MAX, size)
            }
            _ => Self::Whole,
        }
    }

    fn between(first: u64, last: u64, size: u64) -> Self {
        if first >= size {
            return Self::Unsatisfiable;
        }
        let last = last.min(size - 1);
        Self::Part {
            start: first,
            length: last - first + 1,
        }
    }
}

/// Digits only; a number beyond 64 bits is beyond every size.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, length: u64) -> Selection {
        Selection::Part { start, length }
    }

    #[test]
    fn b84_ranges_are_read_as_rfc_9110_says() {
        let many = format!("bytes=0-1{}", ",0-1".repeat(10_000));
        let cases = [
            ("bytes=0-", part(0, 10)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 4)),
            ("Bytes=9-", part(9, 1)),
            ("bytes=5-99999999999999999999999999", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-500", part(0, 10)),
            ("bytes=-99999999999999999999999999", part(0, 10)),
            ("bytes=10-", Selection::Unsatisfiable),
            (
                "bytes=99999999999999999999999999-",
                Selection::Unsatisfiable,
            ),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=5-2", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("lines=0-1", Selection::Whole),
            ("0-1", Selection::Whole),
            (many.as_str(), Selection::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(Selection::of(Some(header), 10), expected, "{header:.60}");
        }
        assert_eq!(Selection::of(None, 10), Selection::Whole);
    }

    #[test]
    fn empty_content_has_no_part() {
        for header in ["bytes=0-", "bytes=-1"] {
            assert_eq!(Selection::of(Some(header), 0), Selection::Unsatisfiable);
        }
    }
}
