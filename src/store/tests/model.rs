//! Random sequences of what can happen to a store, with crashes, against a simple model of it.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::crashes::{described, repository};
use super::simulated::{Fate, ROOT, Simulated, World};
use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    /// A reconcile begins and publishes.
    Begin {
        name: u8,
        tag: u8,
        content: u8,
    },
    /// The reconcile that began last writes its Snapshot, and ends.
    End,
    /// Flux is told of what a Snapshot has now.
    Deploy {
        name: u8,
    },
    /// Somebody deletes a Snapshot.
    Delete {
        name: u8,
    },
    /// A step in between is remembered.
    Derive {
        content: u8,
    },
    Collect,
    Restart,
    Crash {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8, 0..2u8, 0..6u8)
            .prop_map(|(name, tag, content)| Step::Begin { name, tag, content }),
        4 => Just(Step::End),
        2 => (0..4u8).prop_map(|name| Step::Deploy { name }),
        1 => (0..4u8).prop_map(|name| Step::Delete { name }),
        1 => (0..6u8).prop_map(|content| Step::Derive { content }),
        6 => Just(Step::Collect),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ]
}

/// A reconcile that has published and not ended.
struct UnderWay {
    name: String,
    tag: String,
    content: String,
    _hold: Hold,
}

/// A Snapshot: its tag, its content, and the manifest that Flux was told of.
#[derive(Debug, Clone)]
struct Alive {
    tag: String,
    content: String,
    deployed: Option<Digest>,
}

struct Model {
    files: Simulated,
    store: Store,
    under_way: Vec<UnderWay>,
    alive: BTreeMap<String, Alive>,
}

impl Model {
    fn new() -> Self {
        let files = Simulated::new(World::new());
        let store = Store::open_on(Arc::new(files.clone()), Path::new(ROOT)).unwrap();
        Self {
            files,
            store,
            under_way: Vec::new(),
            alive: BTreeMap::new(),
        }
    }

    fn open(&mut self) {
        self.under_way.clear();
        self.store = Store::open_on(Arc::new(self.files.clone()), Path::new(ROOT)).unwrap();
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Begin { name, tag, content } => {
                let hold = self.store.hold();
                let (name, tag) = (format!("snapshot-{name}"), format!("{tag}"));
                let content = format!("content {content}");
                let image = described(&content).1;
                put(&self.store, content.as_bytes());
                let (repository, at) = (repository(&name), tag.parse().unwrap());
                self.store.publish(&repository, &at, &image, "uid").unwrap();
                self.under_way.push(UnderWay {
                    name,
                    tag,
                    content,
                    _hold: hold,
                });
            }
            Step::End => {
                let Some(ended) = self.under_way.pop() else {
                    return;
                };
                // Another one may have published under this tag since; reconciles of one object
                // come one after the other, so here the last word is written again.
                let (at, image) = (ended.tag.parse().unwrap(), described(&ended.content).1);
                let repository = repository(&ended.name);
                self.store.publish(&repository, &at, &image, "uid").unwrap();
                let before = self.alive.remove(&ended.name);
                let snapshot = Alive {
                    tag: ended.tag.clone(),
                    content: ended.content.clone(),
                    deployed: before.and_then(|before| before.deployed),
                };
                self.alive.insert(ended.name.clone(), snapshot);
            }
            Step::Deploy { name } => {
                if let Some(found) = self.alive.get_mut(&format!("snapshot-{name}")) {
                    found.deployed = Some(described(&found.content).1.digest);
                }
            }
            Step::Delete { name } => {
                let name = format!("snapshot-{name}");
                if self.under_way.iter().all(|other| other.name != name) {
                    self.alive.remove(&name);
                }
            }
            Step::Derive { content } => {
                let digest = put(&self.store, format!("content {content}").as_bytes());
                let (namespace, key) = ("tenant".parse().unwrap(), Digest::of([*content]));
                self.store
                    .set_derivation(&namespace, &key, &digest)
                    .unwrap();
            }
            Step::Collect => self.collect(),
            Step::Restart => self.open(),
            Step::Crash { seed } => {
                let after = self
                    .files
                    .world()
                    .after_crash(Fate::Mixed, &mut Rng::with_seed(*seed));
                self.files = Simulated::new(after);
                self.open();
            }
        }
    }

    fn collect(&self) {
        let snapshots = self.alive.iter().map(|(name, found)| {
            let snapshot = LiveSnapshot {
                tag: Some(found.tag.parse().unwrap()),
                layer: Some(described(&found.content).0.digest),
                manifest: Some(described(&found.content).1.digest),
            };
            (repository(name), snapshot)
        });
        let live = Live {
            snapshots: snapshots.collect(),
            deployed: self
                .alive
                .values()
                .filter_map(|found| found.deployed.clone())
                .collect(),
            namespaces: ["tenant".parse().unwrap()].into(),
            ..Live::default()
        };
        let collection = self.store.collect().unwrap();
        let plan = collection.plan(&live, Some(1)).unwrap();
        collection.sweep(&plan).unwrap();
    }

    /// Whether all that is needed can be pulled.
    fn check(&self) {
        for (name, found) in &self.alive {
            let (layer, image) = described(&found.content);
            let pulled = get(&self.store, &layer.digest);
            assert_eq!(pulled.as_deref(), Some(found.content.as_bytes()), "{name}");
            let reachable = self.store.manifests(&repository(name)).unwrap();
            for manifest in std::iter::once(&image.digest).chain(&found.deployed) {
                assert!(reachable.contains(manifest), "{name} has lost {manifest}");
                assert!(
                    get(&self.store, manifest).is_some(),
                    "{name} has lost {manifest}"
                );
            }
        }
        for UnderWay { content, .. } in &self.under_way {
            assert!(get(&self.store, &Digest::of(content)).is_some());
        }
    }

    /// What is left when nothing is under way is what is needed.
    fn check_garbage(&mut self) {
        self.open();
        // What was interrupted is done again, by now for what is wanted now, and Flux is told.
        for (name, found) in &mut self.alive {
            found.deployed = Some(described(&found.content).1.digest);
            let (at, image) = (found.tag.parse().unwrap(), described(&found.content).1);
            self.store
                .publish(&repository(name), &at, &image, "uid")
                .unwrap();
        }
        for _ in 0..4 {
            self.collect();
        }
        self.check();
        let mut needed = std::collections::BTreeSet::new();
        for found in self.alive.values() {
            let (layer, image) = described(&found.content);
            needed.extend([layer.digest, image.digest, Digest::of(&image.config)]);
        }
        let left: std::collections::BTreeSet<_> = self.store.blobs().unwrap().into_iter().collect();
        assert_eq!(left, needed);
        let mut files = self.files.world().tree().into_keys();
        assert!(!files.any(|path| path.starts_with("tmp") || path.starts_with("trash")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_histories_lose_nothing_that_lives_and_leave_no_garbage(
        steps in prop::collection::vec(step(), 60..100),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
            model.check();
        }
        model.check_garbage();
    }
}
