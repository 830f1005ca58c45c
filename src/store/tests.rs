//! What the store promises, on a real directory.

use std::fs;
use std::io::{Read as _, Write as _};

use proptest::prelude::*;
use serde_json::json;

use crate::oci::{Algorithm, Digest, Hasher, Tag};
use crate::snapshot::{Namespace, Repository};

use super::*;

mod crashes;
mod garbage;
mod model;
mod reread;
mod simulated;
mod stress;

fn fresh() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn put(store: &Store, content: &[u8]) -> Digest {
    let mut writer = store.writer().unwrap();
    writer.write_all(content).unwrap();
    writer.commit().unwrap().digest
}

fn get(store: &Store, digest: &Digest) -> Option<Vec<u8>> {
    store.read_small(digest, 1 << 20).unwrap()
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => files_below(&path),
            _ => 1,
        })
        .sum()
}

fn place() -> (Repository, Tag) {
    let repository = Repository::new("ocm-system", "podinfo-x7k2a9q").unwrap();
    (repository, "6.3.5".parse().unwrap())
}

fn record(content: &str) -> TagRecord {
    TagRecord {
        manifest: Digest::of(content),
        size: content.len() as u64,
        owner: "0b1c".to_owned(),
        previous: Vec::new(),
    }
}

#[test]
fn content_is_found_by_its_digest_also_after_a_restart() {
    let (folder, store) = fresh();
    let digest = put(&store, b"hello\n");
    assert_eq!(digest, Digest::of("hello\n"));
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.contains(&digest).unwrap(), Some(6));
    assert_eq!(get(&store, &digest).unwrap(), b"hello\n");
    assert_eq!(get(&store, &Digest::of("other")), None);
}

#[test]
fn sha512_content_is_kept_under_its_own_algorithm() {
    let (_folder, store) = fresh();
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"x");
    let expected = hasher.finish();
    let mut writer = store.writer_by(Algorithm::Sha512).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(writer.commit_as(&expected).unwrap().digest, expected);
    assert_eq!(get(&store, &expected).unwrap(), b"x");
}

#[test]
fn content_with_another_digest_than_expected_leaves_nothing() {
    let (folder, store) = fresh();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"forged").unwrap();
    let failure = writer.commit_as(&Digest::of("genuine")).unwrap_err();
    assert!(matches!(failure, Error::Mismatch { .. }));
    assert_eq!(files_below(&folder.path().join("blobs")), 0);
    assert_eq!(files_below(&folder.path().join("tmp")), 0);
}

#[test]
fn writer_that_is_dropped_leaves_nothing() {
    let (folder, store) = fresh();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half of").unwrap();
    assert_eq!(files_below(&folder.path().join("tmp")), 1);
    drop(writer);
    assert_eq!(files_below(&folder.path().join("tmp")), 0);
}

#[test]
fn start_removes_what_an_interrupted_process_left() {
    let (folder, store) = fresh();
    let digest = put(&store, b"kept");
    drop(store);
    fs::write(folder.path().join("tmp/.tmpAbCdEf"), b"half").unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(files_below(&folder.path().join("tmp")), 0);
    assert_eq!(get(&store, &digest).unwrap(), b"kept");
}

#[test]
fn f35_bit_rot_is_found_quarantined_and_healed_by_the_next_write() {
    let (folder, store) = fresh();
    let digest = put(&store, b"sound content");
    let path = store.blob_path(&digest);
    assert!(get(&store, &digest).is_some());
    // Also after it was hashed in this process: the file is no longer the one that was. (Of
    // another length, since the clock of a file system can be coarser than this test is long.)
    fs::write(&path, b"sound kontents").unwrap();
    assert_eq!(get(&store, &digest), None);
    assert_eq!(store.contains(&digest).unwrap(), None);
    assert_eq!(files_below(&folder.path().join("quarantine")), 1);

    put(&store, b"sound content");
    assert_eq!(get(&store, &digest).unwrap(), b"sound content");
    assert_eq!(store.recheck(&digest).unwrap(), Some(13));
}

#[test]
fn f35_rot_while_stopped_is_replaced_by_a_fresh_copy() {
    let (folder, store) = fresh();
    let digest = put(&store, b"sound content");
    let path = store.blob_path(&digest);
    drop(store);
    fs::write(&path, b"rotten stuff!").unwrap();
    let store = Store::open(folder.path()).unwrap();
    put(&store, b"sound content");
    assert_eq!(get(&store, &digest).unwrap(), b"sound content");
}

#[test]
fn f34_wiped_directory_is_built_again_while_running() {
    let (folder, store) = fresh();
    let digest = put(&store, b"lost");
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    assert_eq!(get(&store, &digest), None);
    assert_eq!(put(&store, b"lost"), digest);
    assert_eq!(get(&store, &digest).unwrap(), b"lost");
    store.check_writable().unwrap();
}

#[test]
fn f34_newer_layout_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("version"), "2\n").unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    fs::write(folder.path().join("tmp/theirs"), "x").unwrap();
    let failure = Store::open(folder.path()).unwrap_err();
    assert!(matches!(failure, Error::NewerLayout { ref found, .. } if found == "2"));
    assert_eq!(files_below(folder.path()), 2);
}

#[test]
fn f34_foreign_files_are_ignored_and_kept() {
    let (folder, store) = fresh();
    let (repository, tag) = place();
    store.set_tag(&repository, &tag, record("m")).unwrap();
    let foreign = [
        "lost+found",
        "blobs/sha256",
        "refs/tags/ocm-system/podinfo-x7k2a9q/.hidden",
    ];
    fs::create_dir_all(folder.path().join("blobs")).unwrap();
    for name in foreign {
        fs::write(folder.path().join(name), "foreign").unwrap();
    }
    assert_eq!(store.tags(&repository).unwrap(), [tag]);
    assert_eq!(get(&store, &Digest::of("absent")), None);
    drop(store);
    Store::open(folder.path()).unwrap();
    for name in foreign {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"foreign");
    }
}

#[test]
fn f34_root_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("file");
    fs::write(&root, "not a folder").unwrap();
    let failure = Store::open(&root).unwrap_err();
    assert!(failure.to_string().contains("file"), "{failure}");
    assert!(!failure.is_storage_full());
    assert_eq!(fs::read(&root).unwrap(), b"not a folder");
}

#[test]
fn f32_full_device_is_told_apart() {
    let full = Error::access("write", "x")(io::ErrorKind::StorageFull.into());
    let broken = Error::access("write", "x")(io::ErrorKind::PermissionDenied.into());
    assert!(full.is_storage_full());
    assert!(!broken.is_storage_full());
}

#[test]
fn second_process_is_kept_out() {
    let (folder, store) = fresh();
    let failure = Store::open(folder.path()).unwrap_err();
    assert!(matches!(failure, Error::InUse { .. }));
    drop(store);
    Store::open(folder.path()).unwrap();
}

#[test]
fn b89_open_blob_outlives_its_removal() {
    let (_folder, store) = fresh();
    let digest = put(&store, b"still read");
    let mut blob = store.open_blob(&digest).unwrap().unwrap();
    assert!(store.remove_blob(&digest).unwrap());
    assert!(!store.remove_blob(&digest).unwrap());
    assert_eq!(get(&store, &digest), None);
    let mut content = String::new();
    blob.read_to_string(&mut content).unwrap();
    assert_eq!(content, "still read");
}

#[test]
fn blob_over_the_limit_is_not_read_into_memory() {
    let (_folder, store) = fresh();
    let digest = put(&store, b"12345");
    assert!(store.read_small(&digest, 5).unwrap().is_some());
    let failure = store.read_small(&digest, 4).unwrap_err();
    assert!(matches!(
        failure,
        Error::TooLarge {
            size: 5,
            limit: 4,
            ..
        }
    ));
}

#[test]
fn tags_are_replaced_listed_in_order_and_removed() {
    let (folder, store) = fresh();
    let (repository, tag) = place();
    for name in ["b", "a", "6.3.5", "B"] {
        store
            .set_tag(&repository, &name.parse().unwrap(), record("old"))
            .unwrap();
    }
    let written = store.set_tag(&repository, &tag, record("new")).unwrap();
    assert_eq!(written.previous, [Digest::of("old")]);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.tag(&repository, &tag).unwrap(), Some(written));
    let names: Vec<String> = store
        .tags(&repository)
        .unwrap()
        .into_iter()
        .map(String::from)
        .collect();
    assert_eq!(names, ["6.3.5", "B", "a", "b"]);
    assert!(store.remove_tag(&repository, &tag).unwrap());
    assert!(!store.remove_tag(&repository, &tag).unwrap());
    assert_eq!(store.tag(&repository, &tag).unwrap(), None);
}

#[test]
fn reader_of_a_tag_sees_the_old_or_the_new_record_and_nothing_between() {
    let (_folder, store) = fresh();
    let (repository, tag) = place();
    store.set_tag(&repository, &tag, record("0")).unwrap();
    let writer = {
        let (store, repository, tag) = (store.clone(), repository.clone(), tag.clone());
        std::thread::spawn(move || {
            for turn in 0..50 {
                let next = record(&turn.to_string());
                store.set_tag(&repository, &tag, next).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        assert!(store.tag(&repository, &tag).unwrap().is_some());
    }
    writer.join().unwrap();
}

#[test]
fn damaged_record_reads_as_absent() {
    let (_folder, store) = fresh();
    let namespace: Namespace = "team-a".parse().unwrap();
    let key = Digest::of("inputs");
    let value = json!({"layer": "one"});
    store.set_derivation(&namespace, &key, &value).unwrap();
    let found: Option<serde_json::Value> = store.derivation(&namespace, &key).unwrap();
    assert_eq!(found, Some(value));

    let path = store
        .disk()
        .path("refs/derivations/team-a/sha256")
        .join(&key.hex()[..2])
        .join(key.hex());
    let text = fs::read_to_string(&path).unwrap().replace("one", "two");
    fs::write(&path, text).unwrap();
    let found: Option<serde_json::Value> = store.derivation(&namespace, &key).unwrap();
    assert_eq!(found, None);
    assert!(store.remove_derivation(&namespace, &key).unwrap());
}

#[test]
fn record_that_is_too_long_is_refused() {
    let (_folder, store) = fresh();
    let namespace: Namespace = "team-a".parse().unwrap();
    let failure = store
        .set_derivation(&namespace, &Digest::of("k"), &"x".repeat(70_000))
        .unwrap_err();
    assert!(matches!(failure, Error::Encode { .. }));
}

#[test]
fn grant_is_for_one_holder_repository_and_digest() {
    let (folder, store) = fresh();
    let (ours, theirs): (Namespace, Namespace) =
        ("team-a".parse().unwrap(), "team-b".parse().unwrap());
    let holder = Holder {
        namespace: &ours,
        uid: "../0b1c",
        repository: "https://r.example/../../etc",
    };
    let digest = Digest::of("blob");
    store.grant(holder, &digest).unwrap();
    assert!(store.is_granted(holder, &digest).unwrap());
    let others = [
        Holder {
            namespace: &theirs,
            ..holder
        },
        // The object, and so the namespace, was deleted and made again.
        Holder {
            uid: "0b1d",
            ..holder
        },
        Holder {
            repository: "https://r.example",
            ..holder
        },
    ];
    for other in others {
        assert!(!store.is_granted(other, &digest).unwrap(), "{other:?}");
    }
    assert!(!store.is_granted(holder, &Digest::of("other")).unwrap());
    assert_eq!(files_below(&folder.path().join("refs/grants/team-a")), 1);
    for other in others {
        assert_eq!(store.revoke(other).unwrap(), 0, "{other:?}");
    }
    assert_eq!(store.revoke(holder).unwrap(), 1);
    assert!(!store.is_granted(holder, &digest).unwrap());
}

#[test]
fn writers_of_the_same_content_agree() {
    let (folder, store) = fresh();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || put(&store, &vec![7; 100_000]))
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Digest::of(vec![7; 100_000]));
    }
    assert_eq!(files_below(&folder.path().join("blobs")), 1);
    assert_eq!(files_below(&folder.path().join("tmp")), 0);
}

#[test]
fn rustsec_2023_0018_clearing_at_start_follows_no_link() {
    let (folder, store) = fresh();
    drop(store);
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("kept");
    fs::write(&file, b"kept").unwrap();
    for name in ["tmp", "quarantine"] {
        let own = folder.path().join(name);
        fs::create_dir_all(&own).unwrap();
        std::os::unix::fs::symlink(&file, own.join("file")).unwrap();
        std::os::unix::fs::symlink(outside.path(), own.join("folder")).unwrap();
    }
    drop(Store::open(folder.path()).unwrap());
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_in_pieces_is_read_whole(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8),
    ) {
        let (_folder, store) = fresh();
        let mut writer = store.writer().unwrap();
        for piece in &pieces {
            writer.write_all(piece).unwrap();
        }
        let whole = pieces.concat();
        let stored = writer.commit().unwrap();
        prop_assert_eq!(stored.size, whole.len() as u64);
        prop_assert_eq!(&stored.digest, &Digest::of(&whole));
        prop_assert_eq!(get(&store, &stored.digest), Some(whole));
    }

    #[test]
    fn f35_any_flipped_byte_is_never_read(
        content in prop::collection::vec(any::<u8>(), 1..5000),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let (folder, store) = fresh();
        let digest = put(&store, &content);
        let path = store.blob_path(&digest);
        drop(store);
        let mut rotten = content;
        let at = at.index(rotten.len());
        rotten[at] ^= flip;
        fs::write(path, rotten).unwrap();
        let store = Store::open(folder.path()).unwrap();
        prop_assert_eq!(get(&store, &digest), None);
    }
}
