//! Finds what stands between the values: `-`, `?`, `:`, and the headers of block scalars.

use std::ops::Range;

/// A place in the text that only moves forward.
pub(super) struct Cursor<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
}

impl Cursor<'_> {
    /// Moves to the next character that is neither blank nor comment.
    pub(super) fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{feff}']);
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        self.at += usize::from(found);
        found
    }

    /// Moves behind the `:` in front of a value; stays behind the key where there is none.
    pub(super) fn take_colon(&mut self) -> bool {
        let before = self.at;
        self.skip_blanks();
        let found = self.take(':');
        if !found {
            self.at = before;
        }
        found
    }

    /// Moves behind the `-` of an element or the `?` of a key, and gives its place.
    pub(super) fn take_indicator(&mut self, block: bool, sequence: bool) -> Option<usize> {
        self.skip_blanks();
        if !block && self.take(',') {
            self.skip_blanks();
        }
        let start = self.at;
        let indicator = if block && sequence { '-' } else { '?' };
        let next = self.text[start..].chars().nth(1);
        let alone = next.is_none_or(char::is_whitespace);
        (alone && self.take(indicator)).then_some(start)
    }

    /// A block scalar from its header to the last line that belongs to the value, without its
    /// line break; `end` is where the parser saw its text end.
    pub(super) fn block_scalar(&mut self, end: usize) -> Range<usize> {
        self.skip_blanks();
        let (text, start) = (self.text, self.at);
        let rest = &text[start..];
        let header = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
        let indicators = header.split([' ', '\t']).next().unwrap_or("");
        let keep = indicators.contains('+');
        let mut content = &text[start..end.max(start)];
        // Behind the last line break there is only the indentation of what comes next.
        let lines = content.trim_end_matches([' ', '\t']);
        if lines.ends_with(['\n', '\r']) {
            content = lines;
        }
        if keep {
            content = content.strip_suffix('\n').unwrap_or(content);
            content = content.strip_suffix('\r').unwrap_or(content);
        } else {
            content = content.trim_end_matches(['\n', '\r']);
        }
        if content.len() <= header.len() && !keep {
            return start..start + header.trim_end().len();
        }
        start..start + content.len()
    }
}
