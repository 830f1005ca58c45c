//! Creates what a path names and the file does not have.

use serde_json::{Map, Value};

use super::look::{entry, inside, item, replaced};
use super::{Added, Budget, Halt, Inner, Miss, Place, Plan, Stop};
use crate::edit::path::Step;
use crate::edit::tree::{Id, NodeKind};

/// What a value that is made costs, so that padding cannot fill the memory.
const MADE: usize = 64;

impl Plan<'_> {
    /// As `find`, but makes a key or element where there is none.
    ///
    /// What it made stays when a later step fails; then nothing of the plan is written.
    pub(super) fn create(
        &mut self,
        document: Id,
        steps: &[Step],
        budget: &mut Budget<'_>,
    ) -> Result<Vec<Place>, Halt> {
        let mut places = vec![Place::Node(document)];
        for (number, step) in steps.iter().enumerate() {
            budget.visit(places.len()).map_err(Halt::Refused)?;
            let last = number + 1 == steps.len();
            let mut found = Vec::new();
            let mut first = None;
            for place in places {
                let miss = match self.look(&place, step) {
                    Ok(more) => {
                        found.extend(more);
                        continue;
                    }
                    // An entry of its own comes before a merged one, in every reader; but made on
                    // the way it would hide the rest of what is merged.
                    Err(Miss::Merge(_)) if last => Miss::Absent,
                    Err(miss) => miss,
                };
                let made = match miss {
                    Miss::Absent => {
                        let padding = match step {
                            Step::Index(index) => usize::try_from(*index).unwrap_or(0),
                            _ => 1,
                        };
                        budget.write(padding * MADE).map_err(Halt::Refused)?;
                        self.make(&place, step)
                    }
                    _ => Err(miss),
                };
                let selects = matches!(step, Step::Select(_) | Step::Glob(_) | Step::All);
                match made {
                    Ok(made) => found.push(made),
                    Err(miss) => {
                        let steps = number;
                        let stop = Stop { steps, place, miss };
                        if !selects || miss != Miss::Absent {
                            return Err(Halt::Stop(stop));
                        }
                        first = first.or(Some(stop));
                    }
                }
            }
            if let (true, Some(stop)) = (found.is_empty(), first) {
                return Err(Halt::Stop(stop));
            }
            places = found;
        }
        Ok(places)
    }

    /// Makes one key or element, null at first, in a map, in a list or in place of a null.
    fn make(&mut self, place: &Place, step: &Step) -> Result<Place, Miss> {
        let place = match place {
            Place::Node(id) if self.replaced.contains_key(id) => replaced(*id),
            Place::Node(id) => match self.make_in_node(*id, step)? {
                Some(made) => return Ok(made),
                None => replaced(*id),
            },
            Place::New { .. } => place.clone(),
        };
        let value = self.value_mut(&place).ok_or(Miss::Absent)?;
        if value.is_null() {
            *value = match step {
                Step::Key(_) => Value::Object(Map::new()),
                Step::Index(_) => Value::Array(Vec::new()),
                _ => return Err(Miss::Absent),
            };
        }
        match (value, step) {
            (Value::Object(entries), Step::Key(key)) => {
                entries.insert(key.clone(), Value::Null);
                Ok(inside(&place, Inner::Key(key.clone())))
            }
            (Value::Array(items), Step::Index(index)) => {
                let index = usize::try_from(*index).map_err(|_| Miss::Absent)?;
                items.resize(index + 1, Value::Null);
                Ok(inside(&place, Inner::Index(index)))
            }
            _ => Err(Miss::Absent),
        }
    }

    /// `None` where the node is a null, over which a new value was put.
    fn make_in_node(&mut self, id: Id, step: &Step) -> Result<Option<Place>, Miss> {
        match (&self.tree.nodes[id].kind, step) {
            (NodeKind::Mapping { .. }, Step::Key(key)) => {
                let empty = || Added::Entries(Map::new());
                if let Added::Entries(added) = self.added.entry(id).or_insert_with(empty) {
                    added.insert(key.clone(), Value::Null);
                }
                Ok(Some(entry(id, key)))
            }
            (NodeKind::Sequence { items }, Step::Index(index)) => {
                let index = usize::try_from(*index).map_err(|_| Miss::Absent)?;
                let at = index.checked_sub(items.len()).ok_or(Miss::Absent)?;
                let empty = || Added::Items(Vec::new());
                if let Added::Items(added) = self.added.entry(id).or_insert_with(empty) {
                    added.resize(at + 1, Value::Null);
                }
                Ok(Some(item(id, at)))
            }
            (NodeKind::Scalar { .. }, Step::Key(_) | Step::Index(0..)) if self.tree.is_null(id) => {
                self.replaced.insert(id, Value::Null);
                Ok(None)
            }
            _ => Err(Miss::Absent),
        }
    }
}
