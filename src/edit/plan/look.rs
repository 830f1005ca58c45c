//! Takes a path one step further, in the tree and in what lies over it.

use granit_parser::ScalarStyle;
use serde_json::Value;

use super::{Added, Inner, Miss, Place, Plan, Root};
use crate::edit::path::{Filter, Glob, Step};
use crate::edit::tree::{Id, NodeKind};

impl Plan<'_> {
    /// What one more step leads to.
    pub(in crate::edit) fn look(&self, place: &Place, step: &Step) -> Result<Vec<Place>, Miss> {
        if let Step::Select(filter) = step {
            if self.holds(place, filter) {
                return Ok(vec![place.clone()]);
            }
            return Err(Miss::Absent);
        }
        match place {
            Place::Node(id) if self.replaced.contains_key(id) => {
                self.look_new(&replaced(*id), step)
            }
            Place::Node(id) => self.look_node(*id, step),
            Place::New { .. } => self.look_new(place, step),
        }
    }

    /// The place that an alias stands for, else the place itself.
    pub(in crate::edit) fn follow(&self, place: &Place) -> Place {
        match place {
            Place::Node(id) if !self.replaced.contains_key(id) => {
                Place::Node(self.tree.target(*id))
            }
            _ => place.clone(),
        }
    }

    /// The new value at `place`; `None` for a place of the tree.
    pub(super) fn value(&self, place: &Place) -> Option<&Value> {
        let Place::New { root, steps } = place else {
            return None;
        };
        let mut value = match root {
            Root::Replaced(id) => self.replaced.get(id)?,
            Root::Entry(id, key) => match self.added.get(id)? {
                Added::Entries(entries) => entries.get(key)?,
                Added::Items(_) => return None,
            },
            Root::Item(id, index) => match self.added.get(id)? {
                Added::Items(items) => items.get(*index)?,
                Added::Entries(_) => return None,
            },
        };
        for step in steps {
            value = match step {
                Inner::Key(key) => value.get(key)?,
                Inner::Index(index) => value.get(index)?,
            };
        }
        Some(value)
    }

    /// As [`Plan::value`], to change it.
    pub(super) fn value_mut(&mut self, place: &Place) -> Option<&mut Value> {
        let Place::New { root, steps } = place else {
            return None;
        };
        let mut value = match root {
            Root::Replaced(id) => self.replaced.get_mut(id)?,
            Root::Entry(id, key) => match self.added.get_mut(id)? {
                Added::Entries(entries) => entries.get_mut(key)?,
                Added::Items(_) => return None,
            },
            Root::Item(id, index) => match self.added.get_mut(id)? {
                Added::Items(items) => items.get_mut(*index)?,
                Added::Entries(_) => return None,
            },
        };
        for step in steps {
            value = match step {
                Inner::Key(key) => value.get_mut(key)?,
                Inner::Index(index) => value.get_mut(index)?,
            };
        }
        Some(value)
    }

    fn look_node(&self, id: Id, step: &Step) -> Result<Vec<Place>, Miss> {
        match (&self.tree.nodes[id].kind, step) {
            (NodeKind::Alias { .. }, _) => Err(Miss::Alias(id)),
            (NodeKind::Mapping { .. }, Step::Key(key)) => self.look_key(id, key),
            (NodeKind::Mapping { .. }, Step::Glob(glob)) => self.values(id, Some(glob)),
            (NodeKind::Mapping { .. }, Step::All) => self.values(id, None),
            (NodeKind::Sequence { items }, Step::Index(index)) => {
                let added = self.added_items(id);
                let at = position(*index, items.len() + added)?;
                Ok(vec![match items.get(at) {
                    Some(item) => Place::Node(*item),
                    None => item(id, at - items.len()),
                }])
            }
            (NodeKind::Sequence { items }, Step::All) => {
                let added = (0..self.added_items(id)).map(|at| item(id, at));
                let places = items.iter().map(|id| Place::Node(*id)).chain(added);
                some(places.collect())
            }
            (NodeKind::Scalar { .. }, _) if self.tree.is_null(id) => Err(Miss::Absent),
            _ => Err(Miss::WrongKind),
        }
    }

    fn look_key(&self, id: Id, key: &str) -> Result<Vec<Place>, Miss> {
        if let Some(child) = self.tree.child(id, key) {
            return Ok(vec![Place::Node(child)]);
        }
        if let Some(Added::Entries(entries)) = self.added.get(&id)
            && entries.contains_key(key)
        {
            return Ok(vec![entry(id, key)]);
        }
        Err(match self.merge_key(id) {
            Some(merge) => Miss::Merge(merge),
            None => Miss::Absent,
        })
    }

    fn merge_key(&self, id: Id) -> Option<Id> {
        let NodeKind::Mapping { entries, index } = &self.tree.nodes[id].kind else {
            return None;
        };
        let key = entries[*index.get("<<")?].key;
        match self.tree.nodes[key].kind {
            NodeKind::Scalar {
                style: ScalarStyle::Plain,
                ..
            } => Some(key),
            _ => None,
        }
    }

    /// The values of the keys that fit; without a pattern all of them.
    fn values(&self, id: Id, pattern: Option<&Glob>) -> Result<Vec<Place>, Miss> {
        let NodeKind::Mapping { entries, .. } = &self.tree.nodes[id].kind else {
            return Err(Miss::WrongKind);
        };
        let fits = |key: Option<&str>| match (pattern, key) {
            (None, _) => true,
            (Some(pattern), Some(key)) => pattern.matches(key),
            (Some(_), None) => false,
        };
        let mut places: Vec<Place> = entries
            .iter()
            .filter(|entry| fits(self.tree.scalar(entry.key)))
            .map(|entry| Place::Node(entry.value))
            .collect();
        if let Some(Added::Entries(added)) = self.added.get(&id) {
            let keys = added.keys().filter(|key| fits(Some(key)));
            places.extend(keys.map(|key| entry(id, key)));
        }
        some(places)
    }

    fn added_items(&self, id: Id) -> usize {
        match self.added.get(&id) {
            Some(Added::Items(items)) => items.len(),
            _ => 0,
        }
    }

    fn look_new(&self, place: &Place, step: &Step) -> Result<Vec<Place>, Miss> {
        let value = self.value(place).ok_or(Miss::Absent)?;
        let inside = |step: Inner| inside(place, step);
        match (value, step) {
            (Value::Object(entries), Step::Key(key)) if entries.contains_key(key) => {
                Ok(vec![inside(Inner::Key(key.clone()))])
            }
            (Value::Null, _) | (Value::Object(_), Step::Key(_)) => Err(Miss::Absent),
            (Value::Object(entries), Step::Glob(glob)) => {
                let keys = entries.keys().filter(|key| glob.matches(key));
                some(keys.map(|key| inside(Inner::Key(key.clone()))).collect())
            }
            (Value::Object(entries), Step::All) => {
                let keys = entries.keys();
                some(keys.map(|key| inside(Inner::Key(key.clone()))).collect())
            }
            (Value::Array(items), Step::Index(index)) => {
                Ok(vec![inside(Inner::Index(position(*index, items.len())?))])
            }
            (Value::Array(items), Step::All) => some(
                (0..items.len())
                    .map(|at| inside(Inner::Index(at)))
                    .collect(),
            ),
            _ => Err(Miss::WrongKind),
        }
    }

    /// Whether a comparison holds; what is not there is null, as in yq.
    fn holds(&self, place: &Place, filter: &Filter) -> bool {
        let mut found = self.follow(place);
        for step in &filter.steps {
            match self
                .look(&found, step)
                .ok()
                .and_then(|mut places| places.pop())
            {
                Some(next) => found = self.follow(&next),
                None => return filter.literal.is_null() == filter.equal,
            }
        }
        let found = match &found {
            Place::Node(id) if self.replaced.contains_key(id) => replaced(*id),
            _ => found,
        };
        let equal = match (&found, &filter.literal) {
            (Place::Node(id), literal) => self.node_is(*id, literal),
            (new, Value::String(wanted)) => match self.value(new) {
                Some(Value::String(text)) => Glob(wanted.clone()).matches(text),
                _ => false,
            },
            (new, literal) => self.value(new) == Some(literal),
        };
        equal == filter.equal
    }

    /// Whether a node is the literal; a text may have `*` and `?` in it, as in yq.
    fn node_is(&self, id: Id, literal: &Value) -> bool {
        let Some(text) = self.tree.scalar(id) else {
            return false;
        };
        match literal {
            Value::String(wanted) => Glob(wanted.clone()).matches(text),
            Value::Null => self.tree.is_null(id),
            other => *text == *other.to_string(),
        }
    }
}

/// The place of the value that is put over a node.
pub(super) fn replaced(id: Id) -> Place {
    Place::New {
        root: Root::Replaced(id),
        steps: Vec::new(),
    }
}

/// The place of an entry that is added to a map.
pub(super) fn entry(id: Id, key: &str) -> Place {
    Place::New {
        root: Root::Entry(id, key.to_owned()),
        steps: Vec::new(),
    }
}

/// The place of an element that is added to a list.
pub(super) fn item(id: Id, index: usize) -> Place {
    Place::New {
        root: Root::Item(id, index),
        steps: Vec::new(),
    }
}

/// The place one step inside a new value.
pub(super) fn inside(place: &Place, step: Inner) -> Place {
    let mut place = place.clone();
    if let Place::New { steps, .. } = &mut place {
        steps.push(step);
    }
    place
}

fn some(places: Vec<Place>) -> Result<Vec<Place>, Miss> {
    if places.is_empty() {
        return Err(Miss::Absent);
    }
    Ok(places)
}

/// An index from either end as one from the start.
fn position(index: i64, length: usize) -> Result<usize, Miss> {
    let from_start = usize::try_from(index).ok();
    let from_end = || length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    from_start
        .or_else(from_end)
        .filter(|at| *at < length)
        .ok_or(Miss::Absent)
}
