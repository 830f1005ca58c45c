//! Content that rots while the store is in use, and what reading it again finds.

use super::simulated::{Fault, ROOT, Simulated, World};
use super::*;

/// More than a piece, so that a step can end within it.
const LARGE: usize = 300_000;

fn simulated() -> (Simulated, Store) {
    let files = Simulated::new(World::new());
    let store = Store::open_on(Arc::new(files.clone()), Path::new(ROOT)).unwrap();
    (files, store)
}

/// Reads all of it again.
fn reread(store: &Store) -> Vec<Digest> {
    let step = store.reread(0).unwrap().step(u64::MAX).unwrap();
    assert!(step.is_done);
    step.damaged
}

#[test]
fn f35_rot_that_leaves_size_and_times_is_found_by_reading_again() {
    let (files, store) = simulated();
    let (sound, rotten) = (put(&store, b"sound"), put(&store, b"rotten"));
    assert_eq!(reread(&store), []);
    let path = store.blob_path(&rotten);
    let before = store.disk().look(&path).unwrap();
    files.rot(&path);
    assert_eq!(store.disk().look(&path).unwrap(), before);
    // No look at the file tells, and it is not hashed each time.
    assert_ne!(get(&store, &rotten).unwrap(), b"rotten");

    assert_eq!(reread(&store), std::slice::from_ref(&rotten));
    assert_eq!(get(&store, &rotten), None);
    assert_eq!(get(&store, &sound).unwrap(), b"sound");
    assert_eq!(store.statistics().quarantined, 1);

    put(&store, b"rotten");
    assert_eq!(get(&store, &rotten).unwrap(), b"rotten");
    assert_eq!(reread(&store), []);
    assert_eq!(store.statistics().rereads, 3);
}

#[test]
fn f35_content_that_is_replaced_while_it_is_read_again_stays() {
    let (files, store) = simulated();
    let digest = put(&store, &vec![7; LARGE]);
    files.rot(&store.blob_path(&digest));
    let mut rereading = store.reread(0).unwrap();
    rereading.step(100_000).unwrap();
    store.remove_blob(&digest).unwrap();
    put(&store, &vec![7; LARGE]);
    let step = rereading.step(u64::MAX).unwrap();
    assert_eq!(step.damaged, std::slice::from_ref(&digest));
    assert_eq!(get(&store, &digest).unwrap(), vec![7; LARGE]);
    assert_eq!(store.statistics().quarantined, 0);
}

#[test]
fn f33_content_that_the_disk_does_not_give_back_is_set_aside() {
    let (files, store) = simulated();
    let digest = put(&store, &vec![7; LARGE]);
    let mut rereading = store.reread(0).unwrap();
    rereading.step(100_000).unwrap();
    files.fail(Some(Fault {
        first: 1,
        end: 2,
        kind: io::ErrorKind::Other,
    }));
    let step = rereading.step(u64::MAX).unwrap();
    assert_eq!(step.damaged, std::slice::from_ref(&digest));
    files.fail(None);
    assert_eq!(get(&store, &digest), None);
}

#[test]
fn all_is_read_again_wherever_it_begins_and_counts_as_no_use() {
    let (_files, store) = simulated();
    let contents: Vec<String> = (0..40).map(|number| format!("content {number}")).collect();
    for content in &contents {
        put(&store, content.as_bytes());
    }
    let bytes: usize = contents.iter().map(String::len).sum();
    for (turn, first) in [0, 1, 39, 10_000].into_iter().enumerate() {
        let mut rereading = store.reread(first).unwrap();
        while !rereading.step(1).unwrap().is_done {}
        let expected = (turn as u64 + 1) * bytes as u64;
        assert_eq!(store.statistics().reread_bytes, expected, "{first}");
    }
    let mut swept = 0;
    for _ in 0..3 {
        let collection = store.collect().unwrap();
        reread(&store);
        let plan = collection.plan(&Live::default(), None).unwrap();
        swept += collection.sweep(&plan).unwrap().blobs;
    }
    assert_eq!(swept, 40);
}
