//! The component versions below a root, visited depth first.

use std::collections::HashSet;

use super::error::{Error, Result, component_version};
use super::{ComponentName, Descriptor, Identity, Reference, Version};

/// How deep references may be nested.
const MAX_DEPTH: usize = 32;
/// How many component versions a root may lead to, the root included.
const MAX_VISITED: usize = 1_000;

/// A walk over everything that a component version refers to.
///
/// It asks for descriptors and does not fetch them, so that it serves asynchronous and other
/// callers: while [`next_request`](Walk::next_request) gives a [`Request`], fetch that component version and
/// [`supply`](Walk::supply) its descriptor. A component version that several others refer to is
/// asked for once. At the end [`finish`](Walk::finish) has all of them.
#[derive(Debug)]
pub struct Walk {
    root: String,
    visited: Vec<Visited>,
    seen: HashSet<Key>,
    /// From the root down to the component whose references are being visited.
    trail: Vec<Step>,
}

type Key = (ComponentName, Version);

#[derive(Debug)]
struct Step {
    key: Key,
    /// The path of references that led here.
    path: Vec<Identity>,
    /// In reverse, so that the next one is the last.
    pending: Vec<Reference>,
}

/// A component version whose descriptor the walk needs next.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The reference that leads to it.
    pub reference: Reference,
    /// The identities of the references from the root down, this one last.
    pub path: Vec<Identity>,
}

/// A component version that was visited.
#[derive(Debug, Clone, PartialEq)]
pub struct Visited {
    /// By which references it was reached first; empty for the root.
    pub path: Vec<Identity>,
    /// The extra identity of the reference that it was reached by.
    pub extra_identity: Identity,
    /// Its descriptor.
    pub descriptor: Descriptor,
}

impl Walk {
    /// Starts at a descriptor that is already there.
    pub fn new(root: Descriptor) -> Self {
        let mut walk = Self {
            root: component_version(&root.name, &root.version),
            visited: Vec::new(),
            seen: HashSet::new(),
            trail: Vec::new(),
        };
        walk.enter(root, Vec::new(), Identity::default());
        walk
    }

    /// The next component version that is needed; `None` when all were visited.
    ///
    /// The same one is given again until it is supplied.
    pub fn next_request(&mut self) -> Result<Option<Request>> {
        while let Some(step) = self.trail.last_mut() {
            let Some(reference) = step.pending.last() else {
                self.trail.pop();
                continue;
            };
            let key = (reference.component_name.clone(), reference.version.clone());
            let reference = reference.clone();
            let mut path = step.path.clone();
            path.push(reference.identity());
            if let Some(start) = self.trail.iter().position(|step| step.key == key) {
                return Err(Error::Cycle {
                    path: self.names(start, &key),
                });
            }
            if self.seen.contains(&key) {
                self.leave_pending();
                continue;
            }
            if self.trail.len() >= MAX_DEPTH {
                return Err(Error::TooDeep {
                    limit: MAX_DEPTH,
                    path: self.names(0, &key),
                });
            }
            if self.visited.len() >= MAX_VISITED {
                return Err(Error::TooMany {
                    root: self.root.clone(),
                    limit: MAX_VISITED,
                });
            }
            return Ok(Some(Request { reference, path }));
        }
        Ok(None)
    }

    /// Takes the descriptor that [`next_request`](Walk::next_request) asked for.
    pub fn supply(&mut self, request: Request, descriptor: Descriptor) -> Result<()> {
        let Request { reference, path } = request;
        descriptor.expect(&reference.component_name, &reference.version)?;
        self.leave_pending();
        self.enter(descriptor, path, reference.extra_identity);
        Ok(())
    }

    /// Everything that was visited, the root first, in the order in which it was reached.
    pub fn finish(self) -> Vec<Visited> {
        self.visited
    }

    fn enter(&mut self, descriptor: Descriptor, path: Vec<Identity>, extra_identity: Identity) {
        let key = (descriptor.name.clone(), descriptor.version.clone());
        self.seen.insert(key.clone());
        self.trail.push(Step {
            key,
            path: path.clone(),
            pending: descriptor.references.iter().rev().cloned().collect(),
        });
        self.visited.push(Visited {
            path,
            extra_identity,
            descriptor,
        });
    }

    fn leave_pending(&mut self) {
        if let Some(step) = self.trail.last_mut() {
            step.pending.pop();
        }
    }

    fn names(&self, start: usize, last: &Key) -> Vec<String> {
        self.trail[start..]
            .iter()
            .map(|step| &step.key)
            .chain([last])
            .map(|(name, version)| component_version(name, version))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(name: &str, references: &[String]) -> Descriptor {
        let references: Vec<_> = references
            .iter()
            .enumerate()
            .map(|(index, target)| {
                json!({"name": format!("to-{index}"), "version": "1.0.0",
                       "componentName": format!("example.org/{target}")})
            })
            .collect();
        let document = json!({
            "meta": {"schemaVersion": "v2"},
            "component": {"name": format!("example.org/{name}"), "version": "1.0.0",
                          "provider": "example.org", "componentReferences": references},
        });
        Descriptor::parse(document.to_string().as_bytes()).unwrap()
    }

    /// Walks from `root`, where `edges` says what a component refers to; gives the names visited.
    fn walked(root: &str, edges: impl Fn(&str) -> Vec<String>) -> Result<Vec<String>> {
        let mut walk = Walk::new(descriptor(root, &edges(root)));
        while let Some(request) = walk.next_request()? {
            let name = request.reference.component_name.as_str();
            let name = name.trim_start_matches("example.org/").to_owned();
            walk.supply(request, descriptor(&name, &edges(&name)))?;
        }
        let visited = walk.finish().into_iter();
        Ok(visited
            .map(|visited| {
                let name = visited.descriptor.name.as_str();
                name.trim_start_matches("example.org/").to_owned()
            })
            .collect())
    }

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn references_are_visited_depth_first_in_their_order() {
        let visited = walked("root", |name| match name {
            "root" => texts(&["a", "b"]),
            "a" => texts(&["c"]),
            _ => Vec::new(),
        });
        assert_eq!(visited.unwrap(), ["root", "a", "c", "b"]);
    }

    #[test]
    fn b48_cycle_is_reported_as_its_path() {
        let error = walked("root", |name| match name {
            "a" => texts(&["b"]),
            "root" | "b" => texts(&["a"]),
            _ => Vec::new(),
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "component references form a cycle: example.org/a:1.0.0 -> example.org/b:1.0.0 -> \
             example.org/a:1.0.0"
        );
        assert!(matches!(
            walked("root", |_| texts(&["root"])),
            Err(Error::Cycle { path }) if path.len() == 2
        ));
    }

    #[test]
    fn b48_component_reached_by_many_paths_is_visited_once() {
        let visited = walked("l0-a", |name| {
            let level: usize = name[1..name.len() - 2].parse().unwrap();
            if level == 20 {
                return Vec::new();
            }
            vec![format!("l{}-a", level + 1), format!("l{}-b", level + 1)]
        });
        assert_eq!(visited.unwrap().len(), 41);
    }

    #[test]
    fn b48_depth_and_number_are_bounded() {
        let chain = |length: usize| {
            move |name: &str| {
                let level: usize = name[1..].parse().unwrap();
                if level + 1 < length {
                    vec![format!("l{}", level + 1)]
                } else {
                    Vec::new()
                }
            }
        };
        assert_eq!(walked("l0", chain(MAX_DEPTH)).unwrap().len(), MAX_DEPTH);
        assert!(matches!(
            walked("l0", chain(1_000)),
            Err(Error::TooDeep { .. })
        ));
        let star = |count: usize| {
            move |name: &str| match name {
                "root" => (0..count).map(|index| format!("n{index}")).collect(),
                _ => Vec::new(),
            }
        };
        assert_eq!(
            walked("root", star(MAX_VISITED - 1)).unwrap().len(),
            MAX_VISITED
        );
        assert!(matches!(
            walked("root", star(MAX_VISITED)),
            Err(Error::TooMany { .. })
        ));
    }

    #[test]
    fn descriptor_of_another_component_is_not_taken() {
        let mut walk = Walk::new(descriptor("root", &texts(&["a"])));
        let request = walk.next_request().unwrap().unwrap();
        assert_eq!(request.path, [Identity::of_name("to-0")]);
        assert!(walk.supply(request, descriptor("b", &[])).is_err());
    }
}
