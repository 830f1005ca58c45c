//! Compares what was written with what was wanted.

use granit_parser::ScalarStyle;
use serde_json::{Number, Value};

use super::plan::{Added, Plan};
use super::scalar;
use super::tree::{Id, NodeKind, Tree};

/// Whether every reader takes the node for `value`.
pub(super) fn reads_as(tree: &Tree<'_>, id: Id, value: &Value) -> bool {
    match (&tree.nodes[id].kind, value) {
        (NodeKind::Scalar { text, .. }, Value::String(wanted)) => {
            text == wanted && is_string(tree, id)
        }
        (NodeKind::Scalar { text, .. }, wanted) => {
            if !is_bare(tree, id) {
                return false;
            }
            match wanted {
                Value::Null => tree.is_null(id),
                Value::Bool(wanted) => **text == *wanted.to_string(),
                Value::Number(wanted) => {
                    serde_json::from_str::<Number>(text).is_ok_and(|found| found == *wanted)
                }
                Value::String(_) | Value::Array(_) | Value::Object(_) => false,
            }
        }
        (NodeKind::Sequence { items }, Value::Array(wanted)) => {
            tree.nodes[id].tag.is_none()
                && items.len() == wanted.len()
                && items
                    .iter()
                    .zip(wanted)
                    .all(|(id, wanted)| reads_as(tree, *id, wanted))
        }
        (NodeKind::Mapping { entries, .. }, Value::Object(wanted)) => {
            tree.nodes[id].tag.is_none()
                && entries.len() == wanted.len()
                && entries.iter().all(|entry| {
                    let wanted = tree.scalar(entry.key).and_then(|key| wanted.get(key));
                    is_string(tree, entry.key)
                        && wanted.is_some_and(|wanted| reads_as(tree, entry.value, wanted))
                })
        }
        _ => false,
    }
}

fn is_bare(tree: &Tree<'_>, id: Id) -> bool {
    let node = &tree.nodes[id];
    node.tag.is_none()
        && matches!(node.kind, NodeKind::Scalar { style, .. } if style == ScalarStyle::Plain)
}

fn is_string(tree: &Tree<'_>, id: Id) -> bool {
    let NodeKind::Scalar { text, style } = &tree.nodes[id].kind else {
        return false;
    };
    match tree.tag(id) {
        Some(tag) => tag == "!!str",
        None => *style != ScalarStyle::Plain || scalar::is_text(text),
    }
}

/// Whether `written` is the plan's tree with its changes and nothing else; else where in the old
/// text it differs.
pub(super) fn same(plan: &Plan<'_>, written: &Tree<'_>) -> Result<(), usize> {
    let (old, new) = (&plan.tree.documents, &written.documents);
    if old.len() != new.len() {
        return Err(plan.tree.text.len());
    }
    let comparison = Comparison { plan, written };
    old.iter()
        .zip(new)
        .try_for_each(|(old, new)| comparison.node(*old, *new))
}

struct Comparison<'p, 't> {
    plan: &'p Plan<'t>,
    written: &'p Tree<'p>,
}

impl Comparison<'_, '_> {
    /// The depth was bounded when the trees were read.
    fn node(&self, old: Id, new: Id) -> Result<(), usize> {
        let tree = self.plan.tree;
        let (was, is) = (&tree.nodes[old], &self.written.nodes[new]);
        let require = |same: bool| if same { Ok(()) } else { Err(was.span.start) };
        let name =
            |anchor: Option<&super::tree::Anchor<'_>>| anchor.map(|found| found.name.to_string());
        require(name(was.anchor.as_ref()) == name(is.anchor.as_ref()))?;
        if let Some(value) = self.plan.replaced.get(&old) {
            return require(reads_as(self.written, new, value));
        }
        require(tree.tag(old) == self.written.tag(new))?;
        match (&was.kind, &is.kind) {
            (
                NodeKind::Scalar { text, style },
                NodeKind::Scalar {
                    text: new_text,
                    style: new_style,
                },
            ) => require(text == new_text && style == new_style),
            (NodeKind::Alias { .. }, NodeKind::Alias { .. }) => {
                require(tree.text[was.span.clone()] == self.written.text[is.span.clone()])
            }
            (NodeKind::Sequence { items }, NodeKind::Sequence { items: new_items }) => {
                for (old, new) in items.iter().zip(new_items) {
                    self.node(*old, *new)?;
                }
                let added: &[Value] = match self.plan.added.get(&old) {
                    Some(Added::Items(added)) => added,
                    _ => &[],
                };
                require(items.len() + added.len() == new_items.len())?;
                let rest = &new_items[items.len()..];
                let same = |(id, value): (&Id, &Value)| reads_as(self.written, *id, value);
                require(rest.iter().zip(added).all(same))
            }
            (
                NodeKind::Mapping { entries, .. },
                NodeKind::Mapping {
                    entries: new_entries,
                    ..
                },
            ) => {
                for (old, new) in entries.iter().zip(new_entries) {
                    self.node(old.key, new.key)?;
                    self.node(old.value, new.value)?;
                }
                let none = serde_json::Map::new();
                let added = match self.plan.added.get(&old) {
                    Some(Added::Entries(added)) => added,
                    _ => &none,
                };
                require(entries.len() + added.len() == new_entries.len())?;
                let rest = &new_entries[entries.len()..];
                require(rest.iter().zip(added).all(|(entry, (key, value))| {
                    self.written.scalar(entry.key) == Some(key)
                        && is_string(self.written, entry.key)
                        && reads_as(self.written, entry.value, value)
                }))
            }
            _ => require(false),
        }
    }
}
