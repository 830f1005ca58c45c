//! A YAML or JSON file as a tree whose nodes know which bytes they were read from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::ScalarStyle;

use super::Path;
use super::path::Step;
use super::plan::{Place, Plan};

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

/// A file that was read, for looking at.
#[derive(Debug)]
pub struct File<'t> {
    pub(super) tree: Tree<'t>,
}

/// A value in a [`File`].
#[derive(Debug, Clone, Copy)]
pub struct Value<'f> {
    tree: &'f Tree<'f>,
    id: Id,
}

/// What a [`Value`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text, number, boolean or null.
    Scalar,
    /// A list.
    Sequence,
    /// A map.
    Mapping,
    /// `*name`, which stands for a value elsewhere.
    Alias,
}

impl File<'_> {
    /// The outermost value of each document that has content, in the order of the file.
    pub fn documents(&self) -> impl ExactSizeIterator<Item = Value<'_>> {
        let value = |id: &Id| Value {
            tree: &self.tree,
            id: *id,
        };
        self.tree.documents.iter().map(value)
    }

    /// Whether the file as a whole is JSON.
    pub fn is_json(&self) -> bool {
        self.tree.json
    }

    /// Every scalar that is a value (not a key) with its document's number and its path.
    pub fn scalars(&self) -> Vec<(usize, Path, Value<'_>)> {
        let mut found = Vec::new();
        for (number, document) in self.documents().enumerate() {
            document.collect_scalars(number, &mut Vec::new(), &mut found);
        }
        found
    }
}

impl<'f> Value<'f> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match &self.tree.nodes[self.id].kind {
            NodeKind::Scalar { .. } => Kind::Scalar,
            NodeKind::Sequence { .. } => Kind::Sequence,
            NodeKind::Mapping { .. } => Kind::Mapping,
            NodeKind::Alias { .. } => Kind::Alias,
        }
    }

    /// The bytes it was read from, without anchor and tag.
    pub fn span(&self) -> Range<usize> {
        self.tree.nodes[self.id].span.clone()
    }

    /// The 1-based line it starts on.
    pub fn line(&self) -> usize {
        self.tree.nodes[self.id].line
    }

    /// The text of a scalar without quotes and escapes, whatever type it stands for.
    pub fn text(&self) -> Option<&'f str> {
        match &self.tree.nodes[self.id].kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; nothing for anything else.
    pub fn items(&self) -> impl Iterator<Item = Value<'f>> + use<'f> {
        let tree = self.tree;
        let items: &[Id] = match &tree.nodes[self.id].kind {
            NodeKind::Sequence { items } => items,
            _ => &[],
        };
        items.iter().map(move |id| Value { tree, id: *id })
    }

    /// The keys of a map that are scalars, with their values; nothing for anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&'f str, Value<'f>)> + use<'f> {
        let tree = self.tree;
        let entries: &[Entry] = match &tree.nodes[self.id].kind {
            NodeKind::Mapping { entries, .. } => entries,
            _ => &[],
        };
        entries.iter().filter_map(move |entry| {
            let id = entry.value;
            Some((tree.scalar(entry.key)?, Value { tree, id }))
        })
    }

    /// The values that `path` leads to from here; its choice of a document does not matter.
    pub fn get(&self, path: &Path) -> Vec<Value<'f>> {
        let plan = Plan::new(self.tree);
        let mut places = vec![Place::Node(self.id)];
        for step in &path.steps {
            let look = |place: &Place| plan.look(&plan.follow(place), step).unwrap_or_default();
            places = places.iter().flat_map(look).collect();
        }
        let tree = self.tree;
        let value = |place: Place| match place {
            Place::Node(id) => Some(Value { tree, id }),
            Place::New { .. } => None,
        };
        places.into_iter().filter_map(value).collect()
    }

    /// The depth was bounded when the file was read.
    fn collect_scalars(
        self,
        document: usize,
        steps: &mut Vec<Step>,
        found: &mut Vec<(usize, Path, Value<'f>)>,
    ) {
        if self.kind() == Kind::Scalar {
            found.push((document, Path::concrete(steps.clone()), self));
        }
        for (index, item) in self.items().enumerate() {
            steps.push(Step::Index(i64::try_from(index).unwrap_or(i64::MAX)));
            item.collect_scalars(document, steps, found);
            steps.pop();
        }
        for (key, value) in self.entries() {
            steps.push(Step::Key(key.to_owned()));
            value.collect_scalars(document, steps, found);
            steps.pop();
        }
    }
}
