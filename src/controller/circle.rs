//! Circles: an object that reads, over others, what it makes itself. It never has a right result,
//! and where its values grow with each round it would go round for ever.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store as Cache};

use super::context::Context;
use super::lookup::{get, namespace_of};
use super::triggers::owners;
use crate::api::{MutationSpec, ObjectReference, flux};

/// An object that others read, or that reads others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    kind: String,
    namespace: String,
    name: String,
}

impl Node {
    pub(super) fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The shortest way from `start` back to itself, both ends included, if there is one. `reads` says
/// what an object reads.
fn shortest(start: &Node, reads: impl Fn(&Node) -> Vec<Node>) -> Option<Vec<Node>> {
    // Of each object that was reached, by which one it is read.
    let mut reader: HashMap<Node, Node> = HashMap::new();
    let mut pending = VecDeque::from([start.clone()]);
    while let Some(node) = pending.pop_front() {
        for next in reads(&node) {
            if next == *start {
                let mut way = vec![next];
                let mut at = &node;
                while at != start {
                    way.push(at.clone());
                    at = reader.get(at)?;
                }
                way.push(start.clone());
                way.reverse();
                return Some(way);
            }
            if !reader.contains_key(&next) {
                reader.insert(next.clone(), node.clone());
                pending.push_back(next);
            }
        }
    }
    None
}

impl Context {
    /// The circle that the object stands in, as `A -> B -> A`, if it does.
    pub(super) fn circle(&self, object: &Node) -> Option<String> {
        let way = shortest(object, |node| self.reads(node))?;
        let way: Vec<String> = way.iter().map(ToString::to_string).collect();
        Some(way.join(" -> "))
    }

    /// What an object takes content from. A Snapshot and an object of Flux have theirs from the one
    /// that they were written for.
    fn reads(&self, node: &Node) -> Vec<Node> {
        let Node {
            kind,
            namespace,
            name,
        } = node;
        let caches = &self.caches;
        match kind.as_str() {
            "Localization" => get(&caches.localizations, namespace, name)
                .map(|found| self.sources(&found.spec.mutation, namespace))
                .unwrap_or_default(),
            "Configuration" => get(&caches.configurations, namespace, name)
                .map(|found| self.sources(&found.spec.mutation, namespace))
                .unwrap_or_default(),
            "Snapshot" => written_for(
                &caches.snapshots,
                &ObjectRef::new(name).within(namespace),
                &["Localization", "Configuration"],
            ),
            "OCIRepository" => written_for(
                &caches.oci_repositories,
                &ObjectRef::new_with(name, flux::oci_repository()).within(namespace),
                &["FluxDeployer"],
            ),
            "FluxDeployer" => get(&caches.flux_deployers, namespace, name)
                .map(|found| self.source(&found.spec.source_ref, namespace))
                .into_iter()
                .flatten()
                .collect(),
            // Whatever else there is reads no result of this program.
            _ => Vec::new(),
        }
    }

    fn sources(&self, spec: &MutationSpec, own: &str) -> Vec<Node> {
        let values = spec.values_from.as_ref();
        let referenced = values.and_then(|values| values.source_ref.as_ref());
        let of_flux = values
            .and_then(|values| values.flux_source.as_ref())
            .map(|source| {
                let reference = &source.source_ref;
                let namespace = reference.namespace.as_deref().filter(|it| !it.is_empty());
                Node::new(&reference.kind, namespace.unwrap_or(own), &reference.name)
            });
        [Some(&spec.source_ref), referenced]
            .into_iter()
            .flatten()
            .filter_map(|reference| self.source(reference, own))
            .chain(of_flux)
            .collect()
    }

    fn source(&self, reference: &ObjectReference, own: &str) -> Option<Node> {
        let namespace = namespace_of(reference, own);
        // What is refused is not followed, and nothing is told of it.
        let is_refused = namespace != own && self.settings.no_cross_namespace_refs;
        (!is_refused).then(|| Node::new(&reference.kind, namespace, &reference.name))
    }
}

/// The owners of these kinds that an object was written for.
fn written_for<K>(cache: &Cache<K>, object: &ObjectRef<K>, kinds: &[&str]) -> Vec<Node>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    let Some(found) = cache.get(object) else {
        return Vec::new();
    };
    let meta = found.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    kinds
        .iter()
        .flat_map(|kind| owners(meta, kind).map(|name| Node::new(kind, namespace, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn node(name: &str) -> Node {
        Node::new("Localization", "team", name)
    }

    /// The way back to `start` in a graph given as `a>b`, and how often somebody was asked.
    fn found(start: &str, edges: &[&str]) -> (Option<String>, usize) {
        let asked = Cell::new(0);
        let way = shortest(&node(start), |from| {
            asked.set(asked.get() + 1);
            let edges = edges.iter().filter_map(|edge| edge.split_once('>'));
            let from_here = edges.filter(|(reader, _)| *reader == from.name);
            from_here.map(|(_, read)| node(read)).collect()
        });
        let names = way.map(|way| {
            let names: Vec<&str> = way.iter().map(|node| node.name.as_str()).collect();
            names.join(">")
        });
        (names, asked.get())
    }

    #[test]
    fn b65_circle_is_found_as_the_shortest_way_back() {
        let way = |start, edges: &[&str]| found(start, edges).0;
        assert_eq!(way("a", &["a>a"]).as_deref(), Some("a>a"));
        assert_eq!(way("a", &["a>b", "b>a"]).as_deref(), Some("a>b>a"));
        let edges = ["a>b", "b>c", "c>d", "d>a", "a>e", "e>c"];
        assert_eq!(way("a", &edges).as_deref(), Some("a>b>c>d>a"));
        assert_eq!(way("e", &edges).as_deref(), Some("e>c>d>a>e"));
        // Who reads one that stands in a circle stands in none.
        assert_eq!(way("f", &["f>a", "a>b", "b>a"]), None);
        assert_eq!(way("a", &["a>b", "b>c"]), None);
    }

    #[test]
    fn b65_each_object_is_asked_once_however_many_ways_lead_to_it() {
        let edges: Vec<String> = (0..20)
            .flat_map(|level| {
                let next = level + 1;
                [
                    format!("{level}l>{next}l"),
                    format!("{level}l>{next}r"),
                    format!("{level}r>{next}l"),
                    format!("{level}r>{next}r"),
                ]
            })
            .collect();
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        assert_eq!(found("0l", &edges), (None, 41));
    }

    #[test]
    fn b65_long_chain_is_no_circle_and_takes_no_stack() {
        let next = |from: &Node| {
            let number: u32 = from.name.parse().unwrap();
            let next = number.checked_sub(1);
            next.map(|next| node(&next.to_string()))
                .into_iter()
                .collect()
        };
        assert_eq!(shortest(&node("10000"), next), None);
    }
}
