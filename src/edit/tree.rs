//! A YAML or JSON file as a tree whose nodes know which bytes they were read from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::ScalarStyle;

/// The number of a node in its [`Tree`].
pub(super) type Id = usize;

/// All documents of a file.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    pub(super) text: &'t str,
    /// The whole file is JSON.
    pub(super) json: bool,
    pub(super) nodes: Vec<Node<'t>>,
    /// The outermost node of each document that has content.
    pub(super) documents: Vec<Id>,
}

/// One value.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) kind: NodeKind<'t>,
    /// The bytes of the value without anchor and tag, from the header of a block scalar to its
    /// last line without the line break; empty for a null that is not written.
    pub(super) span: Range<usize>,
    /// Where the node begins: its `-` or `?`, else its anchor or tag, else its value.
    pub(super) lead: usize,
    /// Where the text in front of the value (`- `, `key: `, anchor, tag) ends.
    pub(super) after: usize,
    /// A `:` stands in front; the values of `{a}` and `? a` have none.
    pub(super) colon: bool,
    pub(super) line: usize,
    pub(super) tag: Option<Range<usize>>,
    pub(super) anchor: Option<Anchor<'t>>,
    /// Inside `{}` or `[]`, or one of them.
    pub(super) flow: bool,
    pub(super) parent: Option<Id>,
}

/// The name that a node is given, and who uses it.
#[derive(Debug)]
pub(super) struct Anchor<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) start: usize,
    pub(super) aliases: Vec<Id>,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum NodeKind<'t> {
    Scalar {
        text: Cow<'t, str>,
        style: ScalarStyle,
    },
    Sequence {
        items: Vec<Id>,
    },
    Mapping {
        entries: Vec<Entry>,
        /// The place in `entries` by the text of the key.
        index: HashMap<Cow<'t, str>, usize>,
    },
    Alias {
        target: Id,
    },
}

/// One key of a mapping with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Id,
    pub(super) value: Id,
}

impl Tree<'_> {
    /// The text of a scalar, also through an alias.
    pub(super) fn scalar(&self, id: Id) -> Option<&str> {
        match &self.nodes[self.target(id)].kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The node itself, or what it is an alias of.
    pub(super) fn target(&self, id: Id) -> Id {
        match self.nodes[id].kind {
            NodeKind::Alias { target } => target,
            _ => id,
        }
    }

    /// The value of `key`, where `id` is a mapping that has it.
    pub(super) fn child(&self, id: Id, key: &str) -> Option<Id> {
        match &self.nodes[id].kind {
            NodeKind::Mapping { entries, index } => {
                index.get(key).map(|place| entries[*place].value)
            }
            _ => None,
        }
    }

    /// Whether a scalar stands for null.
    pub(super) fn is_null(&self, id: Id) -> bool {
        let node = &self.nodes[id];
        match &node.kind {
            NodeKind::Scalar { text, style } => {
                *style == ScalarStyle::Plain
                    && node.tag.is_none()
                    && matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The tag as written.
    pub(super) fn tag(&self, id: Id) -> Option<&str> {
        let tag = self.nodes[id].tag.clone()?;
        Some(&self.text[tag])
    }

    /// The column of a byte, counted in characters.
    pub(super) fn column(&self, at: usize) -> usize {
        let start = self.text[..at]
            .rfind(['\n', '\r'])
            .map_or(0, |found| found + 1);
        self.text[start..at]
            .chars()
            .filter(|character| *character != '\u{feff}')
            .count()
    }

    /// What a reader is told about a node.
    pub(super) fn describe(&self, id: Id) -> String {
        match &self.nodes[id].kind {
            NodeKind::Mapping { index, .. } if index.is_empty() => "an empty map".into(),
            NodeKind::Mapping { entries, .. } => {
                let keys = entries.iter().filter_map(|entry| self.scalar(entry.key));
                let mut shown: Vec<String> = keys.take(8).map(shorten).collect();
                if shown.len() < entries.len() {
                    shown.push("…".into());
                }
                format!("a map with {}", shown.join(", "))
            }
            NodeKind::Sequence { items } if items.len() == 1 => "a list of 1 element".into(),
            NodeKind::Sequence { items } => format!("a list of {} elements", items.len()),
            NodeKind::Alias { .. } => {
                format!("the alias {}", &self.text[self.nodes[id].span.clone()])
            }
            NodeKind::Scalar { .. } if self.is_null(id) => "null".into(),
            NodeKind::Scalar { text, .. } => format!("the scalar {:?}", shorten(text)),
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
