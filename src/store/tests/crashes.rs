//! The store on a disk that loses power at any moment, fills up, or fails.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use fastrand::Rng;

use crate::snapshot::{Artifact, ContentKind, Image, SnapshotLayer, image};

use super::simulated::{Fate, Fault, ROOT, Simulated, World};
use super::*;

#[path = "../../../tests/crash/checker.rs"]
pub(super) mod checker;

/// How many crash states are drawn at random after each call, besides the regular ones.
const DRAWN: usize = 80;

/// What was promised so far.
#[derive(Debug, Clone, Default)]
struct Promised {
    /// Of each tag, the manifests that it may name; none stands for its absence.
    tags: BTreeMap<String, BTreeSet<Option<String>>>,
    /// Blobs that the test itself has damaged.
    damaged: BTreeSet<String>,
}

/// A moment at which the power can fail.
struct Moment {
    world: World,
    promised: Promised,
}

/// A run of the store, and what it has promised.
#[derive(Clone)]
struct Run {
    files: Simulated,
    promised: Arc<Mutex<Promised>>,
}

impl Run {
    fn new(files: Simulated, promised: Promised) -> Self {
        let promised = Arc::new(Mutex::new(promised));
        Self { files, promised }
    }

    /// Keeps every moment after a change.
    fn recorded(&self) -> Arc<Mutex<Vec<Moment>>> {
        let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
        let (kept, promised) = (Arc::clone(&moments), Arc::clone(&self.promised));
        self.files.observe(move |world| {
            kept.lock().unwrap().push(Moment {
                world: world.clone(),
                promised: promised.lock().unwrap().clone(),
            });
        });
        moments
    }

    fn open(&self) -> Result<Store> {
        Store::open_on(Arc::new(self.files.clone()), Path::new(ROOT))
    }

    fn publish(&self, store: &Store, name: &str, tag: &str, content: &str) -> Result<()> {
        let (layer, image) = described(content);
        let key = format!("tenant/{name}:{tag}");
        self.promise(&key, Some(&image), false);
        let mut writer = store.writer()?;
        let (front, back) = content.as_bytes().split_at(content.len() / 2);
        for piece in [front, back] {
            writer
                .write_all(piece)
                .map_err(Error::access("write", "content"))?;
        }
        assert_eq!(writer.commit()?.digest, layer.digest);
        store.publish(&repository(name), &tag.parse().unwrap(), &image, "uid")?;
        self.promise(&key, Some(&image), true);
        Ok(())
    }

    /// Notes what a tag may name from now on, or once it is `done`, what it has to name.
    fn promise(&self, key: &str, image: Option<&Image>, done: bool) {
        let manifest = image.map(|image| image.digest.to_string());
        let mut promised = self.promised.lock().unwrap();
        let may = promised
            .tags
            .entry(key.to_owned())
            .or_insert_with(|| [None].into());
        if done {
            may.clear();
        }
        may.insert(manifest);
    }

    /// Collects garbage with these Snapshots alive: name, tag, content.
    fn collect(&self, store: &Store, alive: &[(&str, &str, &str)]) -> Result<()> {
        for (key, may) in &mut self.promised.lock().unwrap().tags {
            if !alive
                .iter()
                .any(|(name, tag, _)| *key == format!("tenant/{name}:{tag}"))
            {
                may.insert(None);
            }
        }
        let snapshots = alive.iter().map(|(name, tag, content)| {
            let snapshot = LiveSnapshot {
                tag: Some(tag.parse().unwrap()),
                layer: Some(described(content).0.digest),
                manifest: None,
            };
            (repository(name), snapshot)
        });
        let live = Live {
            snapshots: snapshots.collect(),
            ..Live::default()
        };
        let collection = store.collect()?;
        let plan = collection.plan(&live, Some(1))?;
        collection.sweep(&plan)?;
        Ok(())
    }

    /// The script: everything that the store does, a restart in between; of writing over and over,
    /// as many `turns` as are asked for.
    fn play(&self, turns: usize) -> Result<()> {
        let store = self.open()?;
        let namespace: Namespace = "tenant".parse().unwrap();
        self.publish(&store, "one", "1", "content of the first")?;
        self.publish(&store, "two", "1", "content of the second")?;
        self.publish(&store, "one", "1", "content that replaces the first")?;
        self.publish(&store, "one", "2", "content of the second")?;
        let holder = Holder {
            namespace: &namespace,
            uid: "holder",
            repository: "https://r.example/a",
        };
        let layer = described("content of the second").0.digest;
        store.set_derivation(&namespace, &Digest::of("inputs"), &layer)?;
        store.grant(holder, &layer)?;
        store.revoke(holder)?;
        drop(store.writer()?);
        let forged = store.write_small(&Digest::of("genuine"), b"forged");
        assert!(matches!(
            forged,
            Err(Error::Mismatch { .. } | Error::Access { .. })
        ));
        self.rot_and_heal(&store)?;
        let alive = [("one", "2", "content of the second")];
        for _ in 0..4 {
            self.collect(&store, &alive)?;
        }
        drop(store);

        let store = self.open()?;
        self.publish(&store, "one", "2", "content of the second")?;
        self.publish(&store, "three", "1", "content of the third")?;
        for turn in 0..turns {
            self.publish(
                &store,
                "three",
                "2",
                &format!("content {turn} of the third"),
            )?;
        }
        let tag = "1".parse().unwrap();
        self.promise("tenant/three:1", None, false);
        store.remove_tag(&repository("three"), &tag)?;
        for _ in 0..4 {
            self.collect(&store, &alive)?;
        }
        Ok(())
    }

    fn rot_and_heal(&self, store: &Store) -> Result<()> {
        let digest = described("content of the second").0.digest;
        if store.open_blob(&digest)?.is_none() {
            return Ok(());
        }
        self.promised
            .lock()
            .unwrap()
            .damaged
            .insert(digest.to_string());
        self.files.overwrite(&store.blob_path(&digest));
        assert!(store.open_blob(&digest)?.is_none(), "served damaged bytes");
        self.publish(store, "two", "1", "content of the second")?;
        self.promised.lock().unwrap().damaged.clear();
        Ok(())
    }
}

pub(super) fn repository(name: &str) -> Repository {
    Repository::new("tenant", name).unwrap()
}

pub(super) fn described(content: &str) -> (SnapshotLayer, Image) {
    let layer = SnapshotLayer {
        media_type: ContentKind::Files.layer_media_type().to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    let image = image(&layer, Artifact::Files, &BTreeMap::new());
    (layer, image)
}

/// The checker's verdict about what is on a disk.
fn check(world: &World, promised: &Promised) {
    let tree = world.tree();
    let findings = checker::judge(&tree);
    let mut torn = findings.torn.difference(&promised.damaged);
    assert_eq!(torn.next(), None, "torn content has a name");
    assert!(findings.torn_tags.is_empty(), "{:?}", findings.torn_tags);
    for (key, may) in &promised.tags {
        let found = findings.tags.get(key).cloned();
        assert!(may.contains(&found), "{key} names {found:?}, not {may:?}");
        let Some(manifest) = found else { continue };
        // What is being taken away may be there in part.
        if may.contains(&None) {
            continue;
        }
        let mut missing = findings.missing_for(&tree, &manifest);
        missing.retain(|digest| !promised.damaged.contains(digest));
        assert!(missing.is_empty(), "{key} has lost {missing:?}");
    }
}

/// Starts again on what a crash left: what the store gives out is right, and it works.
fn restart(world: &World, promised: &Promised) {
    let files = Simulated::new(world.clone());
    let run = Run::new(files, promised.clone());
    let store = run.open().expect("it starts");
    let tree = run.files.world().tree();
    let findings = checker::judge(&tree);
    for leftover in ["tmp", "trash", "quarantine"] {
        assert!(
            !tree.keys().any(|path| path.starts_with(leftover)),
            "{leftover}"
        );
    }
    for digest in findings.sound.union(&findings.torn) {
        let found = get(&store, &digest.parse().unwrap());
        assert_eq!(found.is_some(), findings.sound.contains(digest), "{digest}");
    }
    for key in promised.tags.keys() {
        let (name, tag) = key.split_once(':').unwrap();
        let found = store.tag(&name.parse().unwrap(), &tag.parse().unwrap());
        let found = found.unwrap().map(|record| record.manifest.to_string());
        assert_eq!(found.as_ref(), findings.tags.get(key), "{key}");
    }
    run.publish(&store, "one", "1", "content after the crash")
        .unwrap();
    check(&run.files.world(), &run.promised.lock().unwrap());
}

/// Has the power fail at each of `moments`, in many ways; gives the number of distinct disks.
fn crash_at(moments: &[Moment], drawn: usize, random: &mut Rng, seen: &mut HashSet<u64>) -> usize {
    let before = seen.len();
    for Moment { world, promised } in moments {
        let regular = [Fate::Lost, Fate::Kept, Fate::Halved, Fate::Zeroed];
        let fates = regular.into_iter().chain([Fate::Mixed].repeat(drawn));
        for fate in fates {
            let after = world.after_crash(fate, random);
            let mut hasher = DefaultHasher::new();
            (after.tree(), &promised.tags, &promised.damaged).hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                check(&after, promised);
                restart(&after, promised);
            }
        }
    }
    seen.len() - before
}

#[test]
fn f31_no_crash_loses_what_was_promised_or_leaves_anything_torn() {
    let run = Run::new(Simulated::new(World::new()), Promised::default());
    let moments = run.recorded();
    run.play(8).unwrap();
    let moments = moments.lock().unwrap();
    let (mut random, mut seen) = (Rng::with_seed(31), HashSet::new());
    let states = crash_at(&moments, DRAWN, &mut random, &mut seen);
    assert!(
        states >= 10_000,
        "{states} states of {} moments",
        moments.len()
    );
}

/// A killed process loses nothing of what the kernel holds; the power may fail after its successor
/// has taken over what it found.
#[test]
fn f29_f31_power_fails_after_a_killed_process_was_started_again() {
    let run = Run::new(Simulated::new(World::new()), Promised::default());
    let moments = run.recorded();
    run.play(1).unwrap();
    let (mut random, mut seen) = (Rng::with_seed(29), HashSet::new());
    for Moment { world, promised } in moments.lock().unwrap().iter().step_by(2) {
        let again = Run::new(Simulated::new(world.clone()), promised.clone());
        let store = again.open().unwrap();
        for (name, content) in [
            ("two", "content of the second"),
            ("one", "content of the first"),
        ] {
            again.publish(&store, name, "1", content).unwrap();
        }
        let last = Moment {
            world: again.files.world().clone(),
            promised: again.promised.lock().unwrap().clone(),
        };
        crash_at(&[last], 8, &mut random, &mut seen);
    }
}

/// Plays the script with calls that fail; whatever comes of it, nothing is torn, and once they
/// work again all of it can be done.
fn play_with(fault: Fault) {
    let files = Simulated::new(World::new());
    let run = Run::new(files.clone(), Promised::default());
    files.fail(Some(fault));
    let played = run.play(1);
    if let Err(failure) = &played {
        let is_full = fault.kind == io::ErrorKind::StorageFull;
        assert_eq!(failure.is_storage_full(), is_full, "{failure}");
    }
    files.fail(None);
    let mut promised = run.promised.lock().unwrap().clone();
    // What could not be read back counts as damaged, and is fetched again.
    promised.damaged.extend(quarantined(&files.world()));
    let mut random = Rng::with_seed(1);
    check(&files.world(), &promised);
    for fate in [Fate::Lost, Fate::Mixed] {
        let after = files.world().after_crash(fate, &mut random);
        check(&after, &promised);
        restart(&after, &promised);
    }
    run.play(1).expect("it works once the disk does");
    check(&files.world(), &run.promised.lock().unwrap());
}

fn quarantined(world: &World) -> Vec<String> {
    let tree = world.tree();
    let names = tree
        .keys()
        .filter_map(|path| path.strip_prefix("quarantine").ok()?.to_str());
    names.map(|name| name.replacen('-', ":", 1)).collect()
}

fn calls_of_the_script() -> u64 {
    let files = Simulated::new(World::new());
    files.fail(Some(Fault {
        first: u64::MAX,
        end: u64::MAX,
        kind: io::ErrorKind::Other,
    }));
    Run::new(files.clone(), Promised::default())
        .play(1)
        .unwrap();
    files.calls()
}

#[test]
fn f33_failing_call_anywhere_loses_nothing_and_leaves_nothing_torn() {
    for first in 1..=calls_of_the_script() {
        play_with(Fault {
            first,
            end: first + 1,
            kind: io::ErrorKind::Other,
        });
    }
}

#[test]
fn f32_disk_that_fills_up_anywhere_loses_nothing_and_works_when_there_is_space() {
    for first in 1..=calls_of_the_script() {
        play_with(Fault {
            first,
            end: u64::MAX,
            kind: io::ErrorKind::StorageFull,
        });
    }
}
