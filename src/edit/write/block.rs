//! Block style: lines and indentation.

use serde_json::{Map, Value};

use super::{STEP, Writer, change};
use crate::edit::plan::Added;
use crate::edit::scalar;
use crate::edit::splice::Splice;
use crate::edit::tree::{Id, NodeKind};

impl Writer<'_> {
    /// Gives a node outside of brackets a new value; `after` is where what stays in front ends.
    pub(super) fn replace_in_block(&self, id: Id, value: &Value, after: usize) -> Splice {
        let node = &self.tree.nodes[id];
        let span = node.span.clone();
        let collection = matches!(value, Value::Array(_) | Value::Object(_))
            && scalar::other(value).is_none()
            && !self.is_filled_flow(id);
        let gap = &self.tree.text[after..span.start.max(after)];
        if gap.contains('#') {
            // A comment of its own between key and value: the value stays on its line.
            let column = self.tree.column(span.start);
            let wanted = column.max(self.inner_column(id));
            let text = if collection {
                self.lines(value, wanted)
            } else {
                self.inline(id, value)
            };
            return change(span, format!("{}{text}", " ".repeat(wanted - column)));
        }
        if !collection {
            let lead = if self.lacks_colon(id) {
                ": "
            } else {
                self.space(after)
            };
            let is_block = matches!(
                node.kind,
                NodeKind::Sequence { .. } | NodeKind::Mapping { .. }
            ) && !node.flow;
            if span.is_empty() || (is_block && node.parent.is_some()) || after < node.after {
                return change(after..span.end, format!("{lead}{}", self.inline(id, value)));
            }
            return change(span, self.inline(id, value));
        }
        if gap.contains('\n') {
            // It has its own lines already. A list may be as far left as its key, a map not.
            let column = self.tree.column(span.start);
            let wanted = match value {
                Value::Object(_) => column.max(self.inner_column(id)),
                _ => column,
            };
            let text = self.lines(value, wanted);
            return change(span, format!("{}{text}", " ".repeat(wanted - column)));
        }
        let column = self.inner_column(id);
        let parent = node.parent.map(|parent| &self.tree.nodes[parent].kind);
        let keeps_properties = node.anchor.is_some();
        let lines = self.lines(value, column);
        let at_line_start = self.tree.column(after) == 0;
        let text = match parent {
            Some(NodeKind::Sequence { .. }) if !keeps_properties => format!(" {lines}"),
            None if at_line_start => lines,
            _ => format!("{}{}{lines}", self.newline, " ".repeat(column)),
        };
        change(after..span.end, text)
    }

    /// The column of what is inside the key or element that holds a node.
    pub(super) fn inner_column(&self, id: Id) -> usize {
        let node = &self.tree.nodes[id];
        let Some(parent) = node.parent else {
            return 0;
        };
        let outer = match self.tree.nodes[parent].kind {
            NodeKind::Sequence { .. } => node.lead,
            _ => self.tree.nodes[parent].span.start,
        };
        self.tree.column(outer) + STEP
    }

    /// `[a]` and `{a: b}` stay in brackets; empty ones were only a way to say nothing.
    fn is_filled_flow(&self, id: Id) -> bool {
        let node = &self.tree.nodes[id];
        let filled = match &node.kind {
            NodeKind::Sequence { items } => !items.is_empty(),
            NodeKind::Mapping { entries, .. } => !entries.is_empty(),
            _ => false,
        };
        node.flow && filled
    }

    /// The lines of new entries or elements, each behind a line break.
    pub(super) fn add_to_block(&self, id: Id, added: &Added) -> String {
        let column = self.tree.column(self.tree.nodes[id].span.start);
        let lines = match added {
            Added::Entries(entries) => self.entries(entries, column),
            Added::Items(items) => self.items(items, column),
        };
        format!("{}{}{lines}", self.newline, " ".repeat(column))
    }

    /// A value from `column` on, its first line without indentation.
    fn lines(&self, value: &Value, column: usize) -> String {
        match value {
            Value::Object(entries) if !entries.is_empty() => self.entries(entries, column),
            Value::Array(items) if !items.is_empty() => self.items(items, column),
            Value::String(text) => scalar::plain_or_quoted(text, false),
            other => scalar::other(other).unwrap_or_default(),
        }
    }

    fn entries(&self, entries: &Map<String, Value>, column: usize) -> String {
        let break_to = |column: usize| format!("{}{}", self.newline, " ".repeat(column));
        let entry = |(key, value): (&String, &Value)| {
            let nested = matches!(value, Value::Array(_) | Value::Object(_))
                && scalar::other(value).is_none();
            let lead = if nested {
                break_to(column + STEP)
            } else {
                " ".into()
            };
            let value = self.lines(value, column + STEP);
            format!("{}:{lead}{value}", scalar::key(key, false))
        };
        let entries: Vec<String> = entries.iter().map(entry).collect();
        entries.join(&break_to(column))
    }

    fn items(&self, items: &[Value], column: usize) -> String {
        let lines = items
            .iter()
            .map(|item| format!("- {}", self.lines(item, column + STEP)));
        let lines: Vec<String> = lines.collect();
        lines.join(&format!("{}{}", self.newline, " ".repeat(column)))
    }
}
