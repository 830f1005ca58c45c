//! What the process does until it is killed: it says what it is about to do to a tag (`may`), does
//! it, and says what the tag has to name from then on (`must`).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use fastrand::Rng;

use ocm_controller::oci::Digest;
use ocm_controller::snapshot::{
    Artifact, ContentKind, Image, Namespace, Repository, SnapshotLayer, image,
};
use ocm_controller::store::{Live, LiveSnapshot, Store};

/// The Snapshots whose tags are written.
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// Plays `steps` steps, chosen by `seed`.
pub(crate) fn play(folder: &Path, seed: u32, steps: u32) {
    let store = Store::open(folder).unwrap();
    let mut random = Rng::with_seed(seed.into());
    let mut alive = BTreeMap::new();
    for _ in 0..steps {
        let name = NAMES[random.usize(..NAMES.len())];
        match random.u8(..10) {
            0 => collect(&store, &alive),
            1 => {
                alive.remove(name);
                say("may", name, "-");
                collect(&store, &alive);
            }
            2 => {
                let namespace: Namespace = "tenant".parse().unwrap();
                let key = Digest::of(name);
                store.set_derivation(&namespace, &key, &name).unwrap();
            }
            3 => {
                // Bytes that are given up on the way.
                let mut writer = store.writer().unwrap();
                writer.write_all(b"half of it").unwrap();
            }
            _ => {
                let content = random.u32(..50).to_string().repeat(random.usize(1..20_000));
                publish(&store, name, &content);
                alive.insert(name, content);
            }
        }
    }
}

fn publish(store: &Store, name: &str, content: &str) {
    let hold = store.hold();
    let (layer, image) = described(content);
    say("may", name, &image.digest.to_string());
    let mut writer = store.writer().unwrap();
    for piece in content.as_bytes().chunks(16 * 1024) {
        writer.write_all(piece).unwrap();
    }
    writer.commit_as(&layer.digest).unwrap();
    store
        .publish(&repository(name), &"1".parse().unwrap(), &image, "uid")
        .unwrap();
    say("must", name, &image.digest.to_string());
    drop(hold);
}

fn collect(store: &Store, alive: &BTreeMap<&str, String>) {
    let collection = store.collect().unwrap();
    // After a start nothing is known of who is alive: those of before are dead.
    for name in NAMES.iter().filter(|name| !alive.contains_key(*name)) {
        say("may", name, "-");
    }
    let snapshots = alive.iter().map(|(name, content)| {
        let snapshot = LiveSnapshot {
            tag: Some("1".parse().unwrap()),
            layer: Some(described(content).0.digest),
            manifest: None,
        };
        (repository(name), snapshot)
    });
    let live = Live {
        snapshots: snapshots.collect(),
        ..Live::default()
    };
    let plan = collection.plan(&live, Some(1)).unwrap();
    collection.sweep(&plan).unwrap();
}

fn repository(name: &str) -> Repository {
    Repository::new("tenant", name).unwrap()
}

fn described(content: &str) -> (SnapshotLayer, Image) {
    let layer = SnapshotLayer {
        media_type: ContentKind::Files.layer_media_type().to_owned(),
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    let image = image(&layer, Artifact::Files, &BTreeMap::new());
    (layer, image)
}

fn say(word: &str, name: &str, manifest: &str) {
    let line = format!("{word} tenant/{name}:1 {manifest}\n");
    // In one write, so that no line is heard in part.
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}
