//! Turns a plan into changes of the text.

mod block;
mod flow;

use std::cmp::Reverse;
use std::ops::Range;

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::plan::{Added, Plan};
use super::scalar;
use super::splice::{Order, Splice};
use super::tree::{Id, NodeKind, Tree};
use super::verify::reads_as;

/// The columns that one level adds.
const STEP: usize = 2;

/// What to change in the text, in its order.
pub(super) fn splices(plan: &Plan<'_>) -> Vec<Splice> {
    let writer = Writer::new(plan.tree);
    let is_hidden = |id: Id| {
        let parents = std::iter::successors(plan.tree.nodes[id].parent, |parent| {
            plan.tree.nodes[*parent].parent
        });
        parents
            .into_iter()
            .any(|parent| plan.replaced.contains_key(&parent))
    };
    let mut splices = Vec::new();
    for (id, value) in &plan.replaced {
        if !is_hidden(*id) && !reads_as(plan.tree, *id, value) {
            writer.replace(*id, value, &mut splices);
        }
    }
    for (id, added) in &plan.added {
        if !is_hidden(*id) && !plan.replaced.contains_key(id) {
            splices.push(writer.add(*id, added));
        }
    }
    splices.sort_by(|one, other| {
        (one.range.start, &one.order).cmp(&(other.range.start, &other.order))
    });
    splices
}

/// Writes values in the style of one file.
struct Writer<'t> {
    tree: &'t Tree<'t>,
    newline: &'static str,
    /// What one level of JSON over several lines is indented by; `None` for JSON on one line.
    unit: Option<String>,
}

impl<'t> Writer<'t> {
    fn new(tree: &'t Tree<'t>) -> Self {
        let first_break = tree.text.find('\n');
        let crlf = first_break.is_some_and(|at| tree.text[..at].ends_with('\r'));
        let mut writer = Self {
            tree,
            newline: if crlf { "\r\n" } else { "\n" },
            unit: None,
        };
        if tree.json {
            writer.unit = tree
                .documents
                .first()
                .and_then(|root| writer.json_unit(*root));
        }
        writer
    }

    /// Gives a node a new value.
    fn replace(&self, id: Id, value: &Value, splices: &mut Vec<Splice>) {
        let node = &self.tree.nodes[id];
        let mut after = node.after;
        let keeps_tag = value.is_string() && self.tree.tag(id) == Some("!!str");
        if let (Some(tag), false) = (&node.tag, keeps_tag) {
            if tag.end == after && self.is_blank(after, node.span.start) {
                after = tag.start;
            } else {
                splices.push(self.without_tag(tag));
            }
        }
        let in_flow = node
            .parent
            .is_some_and(|parent| self.tree.nodes[parent].flow);
        let mut splice = if in_flow || self.tree.json {
            let text = self.inline(id, value);
            let lead = if self.lacks_colon(id) {
                ": "
            } else {
                self.space(after)
            };
            if node.span.is_empty() {
                change(after..node.span.end, format!("{lead}{text}"))
            } else {
                change(node.span.clone(), text)
            }
        } else {
            self.replace_in_block(id, value, after)
        };
        if !splice.text.trim_start().starts_with('|') {
            splice.text.push_str(self.header(id).1);
        }
        splices.push(splice);
    }

    /// Takes out a tag that something follows: an anchor, a comment or a line break.
    fn without_tag(&self, tag: &Range<usize>) -> Splice {
        let text = self.tree.text;
        let before = text[..tag.start].trim_end_matches(' ');
        if !before.is_empty() && !before.ends_with('\n') {
            return change(before.len()..tag.end, String::new());
        }
        let behind = text[tag.end..].trim_start_matches(' ');
        change(tag.start..text.len() - behind.len(), String::new())
    }

    /// The indicators of a block scalar, and the comment behind them with the blanks before it.
    fn header(&self, id: Id) -> (&'t str, &'t str) {
        let node = &self.tree.nodes[id];
        let is_block = matches!(
            node.kind,
            NodeKind::Scalar {
                style: ScalarStyle::Literal | ScalarStyle::Folded,
                ..
            }
        );
        if !is_block {
            return ("", "");
        }
        let text = self.tree.text;
        let rest = text[node.span.start..].lines().next().unwrap_or("");
        let indicators = rest.find([' ', '\t']).unwrap_or(rest.len());
        (&rest[..indicators], rest[indicators..].trim_end())
    }

    fn lacks_colon(&self, id: Id) -> bool {
        let node = &self.tree.nodes[id];
        let parent = node.parent.map(|parent| &self.tree.nodes[parent].kind);
        !node.colon && matches!(parent, Some(NodeKind::Mapping { .. }))
    }

    /// A blank where there is none in front of a byte.
    fn space(&self, at: usize) -> &'static str {
        if self.tree.text[..at].ends_with([' ', '\t', '\n', '[', '{', ',']) || at == 0 {
            return "";
        }
        " "
    }

    fn is_blank(&self, from: usize, to: usize) -> bool {
        let gap = &self.tree.text[from..to.max(from)];
        gap.chars().all(|character| matches!(character, ' ' | '\t'))
    }

    /// A value that goes on one line (or is a block scalar), in the style of what is there.
    fn inline(&self, id: Id, value: &Value) -> String {
        let node = &self.tree.nodes[id];
        let in_flow = node
            .parent
            .is_some_and(|parent| self.tree.nodes[parent].flow);
        let Value::String(text) = value else {
            let indent = if self.unit.is_some() {
                self.line_indent(id)
            } else {
                ""
            };
            return scalar::other(value).unwrap_or_else(|| self.flow(value, indent));
        };
        if self.tree.json {
            return scalar::double_quoted(text);
        }
        let style = match node.kind {
            NodeKind::Scalar { style, .. } => style,
            _ => ScalarStyle::Plain,
        };
        let kept = match style {
            ScalarStyle::SingleQuoted => scalar::single_quoted(text),
            ScalarStyle::DoubleQuoted => None,
            ScalarStyle::Literal | ScalarStyle::Folded => self.literal(id, text),
            ScalarStyle::Plain => Some(scalar::plain_or_quoted(text, in_flow)),
        };
        kept.unwrap_or_else(|| scalar::double_quoted(text))
    }

    /// A block scalar in place of another: its indentation and the comment behind its header stay.
    fn literal(&self, id: Id, text: &str) -> Option<String> {
        let node = &self.tree.nodes[id];
        let (header, comment) = self.header(id);
        let source = &self.tree.text[node.span.clone()];
        let content = &source[source.find(['\n', '\r']).unwrap_or(source.len())..];
        let is_content = |line: &&str| !line.trim().is_empty();
        let indents = content
            .lines()
            .filter(is_content)
            .map(|line| line.len() - line.trim_start_matches(' ').len());
        let indent = indents.min().unwrap_or_else(|| self.inner_column(id));
        let (indicators, lines) = scalar::literal(text, indent, self.newline)?;
        let kept = header.contains('+');
        // Empty lines that follow would become part of the value, a missing line break would be
        // missed by it.
        let follows = self.tree.text[node.span.end..].starts_with(['\n', '\r']);
        if (indicators == "|+" && !kept) || (indicators != "|-" && !follows) {
            return None;
        }
        Some(format!("{indicators}{comment}{lines}"))
    }

    /// Puts new entries or elements behind the last one.
    fn add(&self, id: Id, added: &Added) -> Splice {
        let node = &self.tree.nodes[id];
        let (at, text) = if node.flow {
            self.add_to_flow(id, added)
        } else {
            let rest = &self.tree.text[node.span.end..];
            let line_end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            (node.span.end + line_end, self.add_to_block(id, added))
        };
        Splice {
            range: at..at,
            text,
            order: Order::Add(Reverse(id)),
        }
    }
}

fn change(range: Range<usize>, text: String) -> Splice {
    Splice {
        range,
        text,
        order: Order::Change,
    }
}
