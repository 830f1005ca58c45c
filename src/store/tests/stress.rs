//! Garbage collection without pause, while much is published and pulled.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::serve::distribution::{Anyone, router};

use super::crashes::{described, repository};
use super::*;

const SNAPSHOTS: usize = 10;
const UPDATES: usize = 12;
const PULLERS: usize = 8;

/// What the cluster says: the Snapshots, and what Flux was told to pull.
type Cluster = Arc<Mutex<BTreeMap<String, (String, Digest)>>>;

async fn get(router: &Router, path: &str) -> (StatusCode, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap();
    (status, body.to_bytes().to_vec())
}

/// Pulls as Flux does; nothing where the answer is that it is not there.
async fn pull(router: &Router, name: &str, manifest: &Digest) -> Option<Vec<u8>> {
    let path = format!("/v2/tenant/{name}/manifests/{manifest}");
    let (status, content) = get(router, &path).await;
    if status != StatusCode::OK {
        return None;
    }
    assert_eq!(Digest::of(&content), *manifest);
    let manifest: serde_json::Value = serde_json::from_slice(&content).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let (status, content) = get(router, &format!("/v2/tenant/{name}/blobs/{layer}")).await;
    (status == StatusCode::OK).then(|| {
        assert_eq!(Digest::of(&content).to_string(), layer);
        content
    })
}

fn update(store: &Store, cluster: &Cluster, name: &str, turn: usize) {
    let hold = store.hold();
    let content = format!("{name} after {turn} updates {}", "x".repeat(1000));
    let image = described(&content).1;
    put(store, content.as_bytes());
    let tag = "1".parse().unwrap();
    store
        .publish(&repository(name), &tag, &image, "uid")
        .unwrap();
    let snapshot = (content, image.digest);
    cluster.lock().unwrap().insert(name.to_owned(), snapshot);
    drop(hold);
    // What nobody needs is made as well.
    put(store, format!("by the way {name} {turn}").as_bytes());
}

fn collect(store: &Store, cluster: &Cluster) {
    let collection = store.collect().unwrap();
    let mut live = Live::default();
    for (name, (content, manifest)) in &*cluster.lock().unwrap() {
        let snapshot = LiveSnapshot {
            tag: Some("1".parse().unwrap()),
            layer: Some(Digest::of(content)),
            manifest: Some(manifest.clone()),
        };
        live.snapshots.insert(repository(name), snapshot);
        live.deployed.insert(manifest.clone());
    }
    let plan = collection.plan(&live, Some(1)).unwrap();
    collection.sweep(&plan).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f37_collecting_without_pause_fails_no_pull_and_leaves_no_garbage() {
    let (_folder, store) = fresh();
    let cluster = Cluster::default();
    let router = router(store.clone(), Arc::new(Anyone));
    let names: Vec<String> = (0..SNAPSHOTS).map(|at| format!("snapshot-{at}")).collect();
    for name in &names {
        update(&store, &cluster, name, 0);
    }
    let running = Arc::new(AtomicUsize::new(SNAPSHOTS));
    let collector = {
        let (store, cluster, running) = (store.clone(), cluster.clone(), Arc::clone(&running));
        tokio::task::spawn_blocking(move || {
            while running.load(Ordering::Acquire) > 0 {
                collect(&store, &cluster);
            }
        })
    };
    let pullers: Vec<_> = (0..PULLERS)
        .map(|at| {
            let (router, cluster, running) =
                (router.clone(), cluster.clone(), Arc::clone(&running));
            let names = names.clone();
            tokio::spawn(async move {
                let mut pulls = 0;
                while running.load(Ordering::Acquire) > 0 {
                    let name = &names[(pulls + at) % names.len()];
                    let told = || cluster.lock().unwrap()[name].clone();
                    let (content, manifest) = told();
                    match pull(&router, name, &manifest).await {
                        Some(pulled) => assert_eq!(pulled, content.as_bytes()),
                        // Flux is told of another one by now, which it pulls next.
                        None => assert_ne!(told().1, manifest, "{name} cannot be pulled"),
                    }
                    pulls += 1;
                }
                pulls
            })
        })
        .collect();
    for name in names {
        let (store, cluster, running) = (store.clone(), cluster.clone(), Arc::clone(&running));
        tokio::task::spawn_blocking(move || {
            for turn in 1..=UPDATES {
                update(&store, &cluster, &name, turn);
            }
            running.fetch_sub(1, Ordering::Release);
        });
    }
    for puller in pullers {
        assert!(puller.await.unwrap() > 0);
    }
    collector.await.unwrap();
    for _ in 0..4 {
        collect(&store, &cluster);
    }
    // A layer and a manifest each, and the config that all share.
    assert_eq!(store.blobs().unwrap().len(), 2 * SNAPSHOTS + 1);
}
