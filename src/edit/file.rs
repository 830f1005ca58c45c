//! A file that was read, for looking at: its values, and those that a path leads to.

use std::ops::Range;

use super::Path;
use super::path::Step;
use super::plan::{Place, Plan};
use super::tree::{Entry, Id, NodeKind, Tree};

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
