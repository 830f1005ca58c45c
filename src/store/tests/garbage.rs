//! What garbage collection removes, and what it never does.

use std::collections::BTreeMap;

use crate::snapshot::{Artifact, ContentKind, SnapshotLayer, image};

use super::*;

/// Publishes `content` as the Snapshot `name`; gives the digests of layer and manifest.
fn publish(store: &Store, name: &str, tag: &str, content: &str) -> (Digest, Digest) {
    let layer = put(store, content.as_bytes());
    let layer = SnapshotLayer {
        media_type: ContentKind::Files.layer_media_type().to_owned(),
        digest: layer,
        size: content.len() as u64,
    };
    let image = image(&layer, Artifact::Files, &BTreeMap::new());
    let record = store.publish(&named(name), &tag.parse().unwrap(), &image, "uid");
    (layer.digest, record.unwrap().manifest)
}

fn named(name: &str) -> Repository {
    Repository::new("tenant", name).unwrap()
}

fn namespace() -> Namespace {
    "tenant".parse().unwrap()
}

/// A cluster with these Snapshots: name, tag, layer.
fn live(snapshots: &[(&str, &str, &Digest)]) -> Live {
    let snapshots = snapshots.iter().map(|(name, tag, layer)| {
        let snapshot = LiveSnapshot {
            tag: Some(tag.parse().unwrap()),
            layer: Some((*layer).clone()),
            manifest: None,
        };
        (named(name), snapshot)
    });
    Live {
        snapshots: snapshots.collect(),
        namespaces: [namespace()].into(),
        holders: ["holder".to_owned()].into(),
        ..Live::default()
    }
}

fn collect(store: &Store, live: &Live, limit: Option<u64>) -> Swept {
    let collection = store.collect().unwrap();
    let plan = collection.plan(live, limit).unwrap();
    collection.sweep(&plan).unwrap()
}

/// As many collections as it takes to get rid of what nobody needs.
fn collect_all(store: &Store, live: &Live, limit: Option<u64>) {
    for _ in 0..4 {
        collect(store, live, limit);
    }
}

#[test]
fn content_of_a_deleted_snapshot_goes_and_that_of_the_others_stays() {
    let (folder, store) = fresh();
    let (kept, kept_manifest) = publish(&store, "kept", "1", "shared");
    let (gone, gone_manifest) = publish(&store, "gone", "1", "of its own");
    publish(&store, "twin", "1", "shared");
    let orphan = put(&store, b"nobody ever named it");

    collect_all(&store, &live(&[("kept", "1", &kept)]), None);

    assert!(get(&store, &kept).is_some());
    assert!(get(&store, &kept_manifest).is_some());
    assert_eq!(store.manifests(&named("kept")).unwrap(), [kept_manifest]);
    for digest in [gone, gone_manifest, orphan] {
        assert_eq!(store.contains(&digest).unwrap(), None);
    }
    assert!(store.tags(&named("gone")).unwrap().is_empty());
    assert!(!folder.path().join("refs/tags/tenant/gone").exists());
    assert_eq!(files_below(&folder.path().join("trash")), 0);
    // Two layers' worth of files: layer, manifest and config of the one that is left.
    assert_eq!(files_below(&folder.path().join("blobs")), 3);
}

#[test]
fn what_was_just_published_stays_although_its_snapshot_is_not_seen_yet() {
    let (_folder, store) = fresh();
    let nobody = live(&[]);
    collect_all(&store, &nobody, None);
    let (layer, manifest) = publish(&store, "new", "1", "fresh");
    collect(&store, &nobody, None);
    assert!(store.contains(&layer).unwrap().is_some());
    assert_eq!(store.manifests(&named("new")).unwrap(), [manifest]);
}

#[test]
fn what_work_under_way_uses_stays_until_it_ends() {
    let (_folder, store) = fresh();
    let (nobody, hold) = (live(&[]), store.hold());
    let layer = put(&store, b"a step in between");
    collect_all(&store, &nobody, None);
    assert!(store.contains(&layer).unwrap().is_some());
    drop(hold);
    collect_all(&store, &nobody, None);
    assert_eq!(store.contains(&layer).unwrap(), None);
}

#[test]
fn swept_content_is_taken_back_if_somebody_wants_it_before_the_next_collection() {
    let (folder, store) = fresh();
    let (nobody, layer) = (live(&[]), put(&store, b"wanted after all"));
    while files_below(&folder.path().join("trash")) == 0 {
        collect(&store, &nobody, None);
    }
    assert_eq!(get(&store, &layer).unwrap(), b"wanted after all");
    collect(&store, &nobody, None);
    assert!(store.contains(&layer).unwrap().is_some());
}

#[test]
fn b89_pull_in_progress_ends_with_the_swept_bytes() {
    let (_folder, store) = fresh();
    let layer = put(&store, b"still read");
    let mut blob = store.open_blob(&layer).unwrap().unwrap();
    collect_all(&store, &live(&[]), None);
    assert_eq!(store.contains(&layer).unwrap(), None);
    let mut content = String::new();
    blob.read_to_string(&mut content).unwrap();
    assert_eq!(content, "still read");
}

#[test]
fn manifest_that_a_tag_moved_away_from_stays_until_flux_is_told_of_the_new_one() {
    let (_folder, store) = fresh();
    let (_, old) = publish(&store, "moving", "1", "old");
    let (layer, new) = publish(&store, "moving", "1", "new");
    let repository = named("moving");
    let mut cluster = live(&[("moving", "1", &layer)]);
    cluster.deployed = [old.clone()].into();
    collect_all(&store, &cluster, None);
    let both = [new.clone(), old.clone()];
    assert_eq!(store.manifests(&repository).unwrap(), both);
    assert!(get(&store, &old).is_some());

    cluster.deployed = [new.clone()].into();
    collect_all(&store, &cluster, None);
    assert_eq!(store.manifests(&repository).unwrap(), [new]);
    assert_eq!(store.contains(&old).unwrap(), None);
}

#[test]
fn tag_that_a_snapshot_left_goes_once_flux_is_told_of_the_new_one() {
    let (_folder, store) = fresh();
    let (_, old) = publish(&store, "moving", "1", "old");
    let (layer, new) = publish(&store, "moving", "2", "new");
    let mut cluster = live(&[("moving", "2", &layer)]);
    cluster.deployed = [old.clone()].into();
    collect_all(&store, &cluster, None);
    assert_eq!(store.tags(&named("moving")).unwrap().len(), 2);
    cluster.deployed = [new.clone()].into();
    collect_all(&store, &cluster, None);
    assert_eq!(store.manifests(&named("moving")).unwrap(), [new]);
}

#[test]
fn tag_that_moves_back_and_forth_remembers_each_manifest_once() {
    let (_folder, store) = fresh();
    for content in ["a", "b", "a", "b", "c"] {
        publish(&store, "moving", "1", content);
    }
    let record = store.tag(&named("moving"), &"1".parse().unwrap());
    let record = record.unwrap().unwrap();
    let all: std::collections::BTreeSet<_> = record.manifests().collect();
    assert_eq!((record.previous.len(), all.len()), (2, 3));
}

#[test]
fn grants_and_derivations_go_with_those_whom_they_serve() {
    let (folder, store) = fresh();
    let namespaces: [Namespace; 2] = [namespace(), "vanished".parse().unwrap()];
    let blob = put(&store, b"cached");
    for namespace in &namespaces {
        let key = Digest::of("inputs");
        store.set_derivation(namespace, &key, &blob).unwrap();
        for uid in ["holder", "deleted"] {
            let repository = "https://r.example/a";
            let holder = Holder {
                namespace,
                uid,
                repository,
            };
            store.grant(holder, &blob).unwrap();
        }
    }
    let mut cluster = live(&[]);
    collect_all(&store, &cluster, None);
    let count = |kind: &str| files_below(&folder.path().join("refs").join(kind));
    // The UID of the other namespace's holder is the same here, which no cluster has.
    assert_eq!((count("derivations"), count("grants")), (1, 2));
    assert!(store.contains(&blob).unwrap().is_some());

    cluster.namespaces.clear();
    cluster.holders.clear();
    collect_all(&store, &cluster, None);
    assert_eq!((count("derivations"), count("grants")), (0, 0));
    assert_eq!(store.contains(&blob).unwrap(), None);
}

#[test]
fn cache_over_the_limit_goes_longest_unused_first_and_never_what_a_snapshot_needs() {
    let (_folder, store) = fresh();
    let (needed, _) = publish(&store, "kept", "1", "needed");
    let cluster = live(&[("kept", "1", &needed)]);
    let namespace = namespace();
    let mut cached = Vec::new();
    for name in ["first", "second", "third"] {
        let blob = put(&store, &name.repeat(2000).into_bytes());
        let key = Digest::of(name);
        store.set_derivation(&namespace, &key, &blob).unwrap();
        cached.push((key, blob));
        collect(&store, &cluster, None);
    }
    store
        .set_derivation(&namespace, &Digest::of("to needed"), &needed)
        .unwrap();
    // Used again, the first is the last to go.
    let (key, blob) = &cached[0];
    let found: Option<Digest> = store.derivation(&namespace, key).unwrap();
    assert_eq!(found.as_ref(), Some(blob));
    collect_all(&store, &cluster, None);
    let all = store.statistics().bytes;

    collect(&store, &cluster, Some(all - 1));
    assert!(store.contains(&cached[0].1).unwrap().is_some());
    assert!(store.contains(&cached[2].1).unwrap().is_some());
    assert_eq!(files_below(&store.disk().path("trash")), 1);
    assert!(
        store
            .disk()
            .look(&store.blob_path(&cached[1].1))
            .unwrap()
            .is_none()
    );

    collect_all(&store, &cluster, Some(1));
    collect_all(&store, &cluster, Some(1));
    assert!(
        cached
            .iter()
            .all(|(_, blob)| !store.blob_path(blob).exists())
    );
    assert!(get(&store, &needed).is_some());
    let found: Option<Digest> = store
        .derivation(&namespace, &Digest::of("to needed"))
        .unwrap();
    assert_eq!(found, Some(needed));
}

#[test]
fn damaged_record_is_removed_after_the_grace() {
    let (folder, store) = fresh();
    let key = Digest::of("inputs");
    store.set_derivation(&namespace(), &key, &"value").unwrap();
    let path = folder.path().join("refs/derivations/tenant/sha256");
    let path = path.join(&key.hex()[..2]).join(key.hex());
    fs::write(&path, "torn").unwrap();
    collect_all(&store, &live(&[]), None);
    assert!(!path.exists());
}

#[test]
fn f34_foreign_files_survive_garbage_collection() {
    let (folder, store) = fresh();
    let foreign = [
        "blobs/sha256/ab/notes.txt",
        "refs/tags/UPPER/a/b",
        "refs/grants/tenant/x",
    ];
    for name in foreign {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "foreign").unwrap();
    }
    collect_all(&store, &Live::default(), Some(1));
    for name in foreign {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn statistics_tell_what_was_seen_and_swept() {
    let (_folder, store) = fresh();
    let (kept, _) = publish(&store, "kept", "1", "needed");
    put(&store, b"garbage");
    collect_all(&store, &live(&[("kept", "1", &kept)]), None);
    let Statistics {
        blobs,
        bytes,
        repositories,
        limit,
        swept_blobs,
        swept_bytes,
        quarantined,
        reread_bytes,
        rereads,
        content,
        results,
        free,
    } = store.statistics();
    assert_eq!(
        (blobs, repositories, swept_blobs, swept_bytes),
        (3, 1, 1, 7)
    );
    assert_eq!(limit, None);
    // Three blobs and a tag, a block each.
    assert_eq!((bytes, quarantined), (4 * 4096, 0));
    assert_eq!((reread_bytes, rereads), (0, 0));
    assert!(free.unwrap() > 0);
    assert_eq!((content, results), Default::default());
}

#[test]
fn lookups_are_counted_by_what_was_looked_for() {
    let (_folder, store) = fresh();
    store.count_lookup(Cached::Content, None);
    store.count_lookup(Cached::Content, Some(7));
    store.count_lookup(Cached::Result, Some(3));
    let Statistics {
        content, results, ..
    } = store.statistics();
    assert_eq!((content.hits, content.bytes, content.misses), (1, 7, 1));
    assert_eq!((results.hits, results.bytes, results.misses), (1, 3, 0));
}

#[test]
fn released_are_manifests_that_nothing_names_any_more() {
    let (_folder, store) = fresh();
    let (_, first) = publish(&store, "moved", "1", "first");
    let (_, second) = publish(&store, "moved", "1", "second");
    let (current, _) = publish(&store, "moved", "2", "third");
    let (_, gone) = publish(&store, "gone", "1", "of its own");
    let (_, deployed) = publish(&store, "leaving", "1", "still pulled");
    let mut cluster = live(&[("moved", "2", &current)]);
    cluster.deployed.insert(deployed);
    let mut released = Vec::new();
    for _ in 0..4 {
        let collection = store.collect().unwrap();
        let plan = collection.plan(&cluster, None).unwrap();
        released.extend_from_slice(plan.released());
        collection.sweep(&plan).unwrap();
    }
    released.sort();
    let mut expected = [
        (named("gone"), gone),
        (named("moved"), first),
        (named("moved"), second),
    ];
    expected.sort();
    assert_eq!(released, expected);
}
