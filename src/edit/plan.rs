//! Decides which values of a tree change, before anything is written.
//!
//! New values lie over the tree: edit after edit is looked up in the tree with what earlier ones
//! put there, so that one reading and one writing are enough for all edits of a file.

mod create;
mod look;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::{Step, write_steps};
use super::tree::{Id, NodeKind, Tree};
use super::{Edit, Limits, Missing, Refusal};

/// A tree and what is to change in it.
#[derive(Debug)]
pub(super) struct Plan<'t> {
    pub(super) tree: &'t Tree<'t>,
    /// Values that take the place of nodes.
    pub(super) replaced: BTreeMap<Id, Value>,
    /// What comes behind the last entry or element of a node.
    pub(super) added: BTreeMap<Id, Added>,
}

/// New entries of a map, or new elements of a list.
#[derive(Debug)]
pub(super) enum Added {
    Entries(Map<String, Value>),
    Items(Vec<Value>),
}

/// A value: of the tree, or inside something new.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Node(Id),
    New { root: Root, steps: Vec<Inner> },
}

/// Where something new hangs in the tree.
#[derive(Debug, Clone)]
pub(super) enum Root {
    Replaced(Id),
    Entry(Id, String),
    Item(Id, usize),
}

/// A step inside something new.
#[derive(Debug, Clone)]
pub(super) enum Inner {
    Key(String),
    Index(usize),
}

/// Why a step leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Miss {
    Absent,
    WrongKind,
    Alias(Id),
    /// Absent, but the map has this merge key.
    Merge(Id),
}

/// What the edits of a file may still cost.
#[derive(Debug)]
pub(super) struct Budget<'l> {
    limits: &'l Limits,
    visits: usize,
    bytes: usize,
}

/// Why a path was not followed to its end.
enum Halt {
    Stop(Stop),
    Refused(Refusal),
}

/// How far a path exists.
struct Stop {
    steps: usize,
    place: Place,
    miss: Miss,
}

impl<'l> Budget<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            visits: limits.visits,
            bytes: limits.bytes,
        }
    }

    fn visit(&mut self, count: usize) -> Result<(), Refusal> {
        self.visits = self.visits.checked_sub(count).ok_or(Refusal::TooMuch {
            what: "values looked at",
            limit: self.limits.visits,
        })?;
        Ok(())
    }

    fn write(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Refusal::TooMuch {
            what: "bytes to write",
            limit: self.limits.bytes,
        })?;
        Ok(())
    }
}

impl<'t> Plan<'t> {
    pub(super) fn new(tree: &'t Tree<'t>) -> Self {
        Self {
            tree,
            replaced: BTreeMap::new(),
            added: BTreeMap::new(),
        }
    }

    /// Adds an edit to the plan.
    pub(super) fn add(&mut self, edit: &Edit, budget: &mut Budget<'_>) -> Result<(), Refusal> {
        let depth = budget.limits.depth;
        if !is_shallow(&edit.value, depth) {
            return Err(Refusal::TooMuch {
                what: "levels in the value",
                limit: depth,
            });
        }
        let steps = &edit.path.steps;
        let documents = self.documents(edit)?;
        let mut furthest: Option<Stop> = None;
        for document in documents {
            match self.find(*document, steps, budget) {
                Ok(places) => return self.set_all(&places, &edit.value, budget),
                Err(Halt::Refused(refusal)) => return Err(refusal),
                Err(Halt::Stop(stop)) => {
                    if furthest.as_ref().is_none_or(|best| best.steps < stop.steps) {
                        furthest = Some(stop);
                    }
                }
            }
        }
        if edit.missing == Missing::Create {
            match self.create(documents[0], steps, budget) {
                Ok(places) => return self.set_all(&places, &edit.value, budget),
                Err(Halt::Refused(refusal)) => return Err(refusal),
                Err(Halt::Stop(stop)) => furthest = Some(stop),
            }
        }
        let stop = furthest.expect("there is a document, and it was looked through");
        Err(self.refusal(steps, &stop))
    }

    fn documents(&self, edit: &Edit) -> Result<&'t [Id], Refusal> {
        let all = &self.tree.documents;
        let wanted = edit.path.document;
        let found = match wanted {
            Some(number) => all.get(number..=number),
            None => Some(&all[..]).filter(|all| !all.is_empty()),
        };
        found.ok_or(Refusal::NoDocument {
            wanted: wanted.unwrap_or(0),
            count: all.len(),
        })
    }

    /// All places that exist, or how far the path exists.
    fn find(
        &self,
        document: Id,
        steps: &[Step],
        budget: &mut Budget<'_>,
    ) -> Result<Vec<Place>, Halt> {
        let mut places = vec![Place::Node(document)];
        for (number, step) in steps.iter().enumerate() {
            budget.visit(places.len()).map_err(Halt::Refused)?;
            let mut found = Vec::new();
            let mut first = None;
            for place in places {
                match self.look(&place, step) {
                    Ok(more) => found.extend(more),
                    Err(miss) => {
                        let steps = number;
                        let stop = Stop { steps, place, miss };
                        // What is shared is refused even where other elements have the path.
                        if matches!(miss, Miss::Alias(_) | Miss::Merge(_)) {
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

    fn refusal(&self, steps: &[Step], stop: &Stop) -> Refusal {
        let Stop {
            steps: count,
            place,
            miss,
        } = stop;
        let nearest = Prefix(&steps[..*count]).to_string();
        let refused = steps.get(*count).map(Step::to_string).unwrap_or_default();
        let (line, found) = self.describe(place);
        let nodes = &self.tree.nodes;
        match *miss {
            Miss::Absent => Refusal::NoMatch {
                nearest,
                line,
                found,
            },
            Miss::WrongKind => Refusal::WrongKind {
                step: refused,
                nearest,
                line,
                found,
            },
            Miss::Alias(id) => Refusal::ThroughAlias {
                alias: self.tree.text[nodes[id].span.clone()].to_owned(),
                line: nodes[id].line,
            },
            Miss::Merge(id) => Refusal::ThroughMerge {
                key: refused,
                line: nodes[id].line,
            },
        }
    }

    fn describe(&self, place: &Place) -> (usize, String) {
        match place {
            Place::Node(id) => (self.tree.nodes[*id].line, self.tree.describe(*id)),
            Place::New { root, .. } => {
                let (Root::Replaced(id) | Root::Entry(id, _) | Root::Item(id, _)) = root;
                let found = match self.value(place) {
                    Some(Value::Object(_)) => "a map written by an earlier edit",
                    Some(Value::Array(_)) => "a list written by an earlier edit",
                    _ => "a scalar written by an earlier edit",
                };
                (self.tree.nodes[*id].line, found.to_owned())
            }
        }
    }

    fn set_all(
        &mut self,
        places: &[Place],
        value: &Value,
        budget: &mut Budget<'_>,
    ) -> Result<(), Refusal> {
        let bytes = value.to_string().len();
        for place in places {
            budget.write(bytes)?;
            match place {
                Place::Node(id) => {
                    if !self.replaced.contains_key(id) {
                        self.refuse_shared(*id)?;
                        self.refuse_shared_inside(*id)?;
                    }
                    self.replaced.insert(*id, value.clone());
                }
                Place::New { root, .. } => {
                    let (Root::Replaced(id) | Root::Entry(id, _) | Root::Item(id, _)) = root;
                    self.refuse_shared(*id)?;
                    if let Some(place) = self.value_mut(place) {
                        place.clone_from(value);
                    }
                }
            }
        }
        Ok(())
    }

    /// A change below an anchor shows at its aliases too.
    fn refuse_shared(&self, id: Id) -> Result<(), Refusal> {
        let mut next = Some(id);
        while let Some(id) = next {
            self.refuse_used(id, None)?;
            next = self.tree.nodes[id].parent;
        }
        Ok(())
    }

    /// An anchor that goes away takes the meaning of its aliases with it.
    fn refuse_shared_inside(&self, id: Id) -> Result<(), Refusal> {
        // Nodes are numbered in the order of the text, so what is inside follows.
        let end = self.tree.nodes[id].span.end;
        if !matches!(
            self.tree.nodes[id].kind,
            NodeKind::Sequence { .. } | NodeKind::Mapping { .. }
        ) {
            return Ok(());
        }
        let inside =
            (id + 1..self.tree.nodes.len()).take_while(|inner| self.tree.nodes[*inner].lead < end);
        for inner in inside {
            self.refuse_used(inner, Some(end))?;
        }
        Ok(())
    }

    /// Refuses where an alias of `id` stands behind `end`.
    fn refuse_used(&self, id: Id, end: Option<usize>) -> Result<(), Refusal> {
        let node = &self.tree.nodes[id];
        let Some(anchor) = &node.anchor else {
            return Ok(());
        };
        let outside = |alias: &&Id| {
            let start = self.tree.nodes[**alias].span.start;
            end.is_none_or(|end| start >= end)
        };
        match anchor.aliases.iter().find(outside) {
            Some(alias) => Err(Refusal::Shared {
                anchor: anchor.name.clone().into_owned(),
                line: node.line,
                used: self.tree.nodes[*alias].line,
            }),
            None => Ok(()),
        }
    }
}

/// Whether lists and maps are nested at most `depth` deep.
fn is_shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(items) => items.iter().all(|item| is_shallow(item, depth - 1)),
        Value::Object(entries) => entries.values().all(|item| is_shallow(item, depth - 1)),
        _ => true,
    }
}

struct Prefix<'s>(&'s [Step]);

impl std::fmt::Display for Prefix<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_steps(self.0, formatter)
    }
}
