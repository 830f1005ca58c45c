//! Flow style: brackets and commas, as JSON and as YAML.

use serde_json::Value;

use super::Writer;
use crate::edit::plan::Added;
use crate::edit::scalar;
use crate::edit::tree::{Id, NodeKind};

impl Writer<'_> {
    /// What JSON over several lines is indented by.
    pub(super) fn json_unit(&self, root: Id) -> Option<String> {
        let first = self.first(root)?;
        if !self.is_on_lines(root) {
            return None;
        }
        let (outer, inner) = (self.line_indent(root), self.line_indent(first));
        Some(inner.strip_prefix(outer).unwrap_or("  ").to_owned())
    }

    fn first(&self, id: Id) -> Option<Id> {
        match &self.tree.nodes[id].kind {
            NodeKind::Sequence { items } => items.first().copied(),
            NodeKind::Mapping { entries, .. } => entries.first().map(|entry| entry.key),
            _ => None,
        }
    }

    fn last(&self, id: Id) -> Option<Id> {
        match &self.tree.nodes[id].kind {
            NodeKind::Sequence { items } => items.last().copied(),
            NodeKind::Mapping { entries, .. } => entries.last().map(|entry| entry.value),
            _ => None,
        }
    }

    /// Whether the first entry stands on a line below the bracket.
    fn is_on_lines(&self, id: Id) -> bool {
        let start = self.tree.nodes[id].span.start;
        self.first(id)
            .is_some_and(|first| self.tree.text[start..self.tree.nodes[first].lead].contains('\n'))
    }

    /// The blanks at the start of the line that a node begins on.
    pub(super) fn line_indent(&self, id: Id) -> &str {
        let before = &self.tree.text[..self.tree.nodes[id].lead];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = &self.tree.text[start..];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    /// A value in brackets, on a line that is indented by `indent`.
    pub(super) fn flow(&self, value: &Value, indent: &str) -> String {
        let inner = match &self.unit {
            Some(unit) => format!("{indent}{unit}"),
            None => String::new(),
        };
        let (open, close, parts): (_, _, Vec<String>) = match value {
            Value::String(text) if self.tree.json => return scalar::double_quoted(text),
            Value::String(text) => return scalar::plain_or_quoted(text, true),
            Value::Array(items) if !items.is_empty() => {
                let parts = items.iter().map(|item| self.flow(item, &inner));
                ('[', ']', parts.collect())
            }
            Value::Object(entries) if !entries.is_empty() => {
                let part = |(key, value): (&String, &Value)| {
                    format!("{}: {}", self.flow_key(key), self.flow(value, &inner))
                };
                ('{', '}', entries.iter().map(part).collect())
            }
            other => return scalar::other(other).unwrap_or_default(),
        };
        let newline = self.newline;
        match self.unit {
            Some(_) => {
                let parts = parts.join(&format!(",{newline}{inner}"));
                format!("{open}{newline}{inner}{parts}{newline}{indent}{close}")
            }
            None => format!("{open}{}{close}", parts.join(", ")),
        }
    }

    fn flow_key(&self, key: &str) -> String {
        if self.tree.json {
            return scalar::double_quoted(key);
        }
        scalar::key(key, true)
    }

    /// Where and how new entries or elements go into brackets.
    pub(super) fn add_to_flow(&self, id: Id, added: &Added) -> (usize, String) {
        let node = &self.tree.nodes[id];
        let last = self.last(id).map(|last| self.tree.nodes[last].span.end);
        let on_lines = self.is_on_lines(id);
        let indent = match self.first(id) {
            Some(first) if on_lines => self.line_indent(first).to_owned(),
            _ => match &self.unit {
                Some(unit) => self.line_indent(id).to_owned() + unit,
                // One long line; there is nothing to look for at its start.
                None => String::new(),
            },
        };
        let parts: Vec<String> = match added {
            Added::Entries(entries) => {
                let part = |(key, value): (&String, &Value)| {
                    format!("{}: {}", self.flow_key(key), self.flow(value, &indent))
                };
                entries.iter().map(part).collect()
            }
            Added::Items(items) => items.iter().map(|item| self.flow(item, &indent)).collect(),
        };
        let on_lines = on_lines || (last.is_none() && self.unit.is_some());
        let newline = self.newline;
        let separator = if on_lines {
            format!(",{newline}{indent}")
        } else {
            ", ".to_owned()
        };
        let parts = parts.join(&separator);
        match last {
            Some(at) => (at, format!("{separator}{parts}")),
            None if on_lines => {
                let outer = self.line_indent(id);
                let text = format!("{newline}{indent}{parts}{newline}{outer}");
                (node.span.start + 1, text)
            }
            None => (node.span.start + 1, parts),
        }
    }
}
