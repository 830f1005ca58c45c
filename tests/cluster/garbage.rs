//! Content that is gone, damaged, or no longer needed, while the controller runs and collects
//! garbage every second.

use std::fs;
use std::path::{Path, PathBuf};

use kube::ResourceExt as _;
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use serde_json::{Value, json};

use crate::endpoint::{Pull, address_of};
use crate::scene::{Scene, TIMEOUT, exclusive_scene};
use crate::site::Site;
use crate::support::wait::eventually;

fn digest(object: &DynamicObject, path: &str) -> String {
    let found = object.data.pointer(path).and_then(Value::as_str);
    found.expect("a digest").to_owned()
}

/// The file of a blob.
async fn file_of(scene: &Scene, digest: &str) -> PathBuf {
    let (algorithm, hex) = digest.split_once(':').expect("a digest");
    let folder = scene.controller.lock().await.data_folder().join("blobs");
    folder.join(algorithm).join(&hex[..2]).join(hex)
}

async fn there(what: &str, is_there: impl Fn() -> bool) {
    eventually(what, TIMEOUT, async || {
        if is_there() {
            Ok(())
        } else {
            Err("not so".to_owned())
        }
    })
    .await;
}

/// Each Snapshot, its digests, and the `OCIRepository`'s generation and artifact.
async fn marks(site: &Site<'_>) -> Vec<String> {
    let mut marks = Vec::new();
    for snapshot in site.list("Snapshot").await {
        let (spec, status) = (&snapshot.data["spec"], &snapshot.data["status"]);
        marks.push(format!("{} {}", spec["digest"], status["manifestDigest"]));
    }
    let repository = site.get("OCIRepository", "podinfo").await;
    marks.push(format!("{:?}", repository.metadata.generation));
    marks.push(repository.data["status"]["artifact"].to_string());
    marks
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn content_of_a_deleted_snapshot_can_be_pulled_no_longer() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "swept").await;
    let address = address_of(&scene).await;
    let pull = Pull::of(&site, address).await;
    let snapshots = site.list("Snapshot").await;
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for snapshot in snapshots {
        let manifest = digest(&snapshot, "/status/manifestDigest");
        let path = format!(
            "{}/{}/manifests/{manifest}",
            site.namespace,
            snapshot.name_any()
        );
        assert_eq!(pull.status(address, &path).await, 200, "{path}");
        let file = file_of(&scene, &digest(&snapshot, "/spec/digest")).await;
        if snapshot.owner_references()[0].kind == "Localization" {
            gone.push((path, file));
        } else {
            kept.push((path, file));
        }
    }
    assert_eq!((kept.len(), gone.len()), (1, 1));
    // The password goes with the last FluxDeployer, so another one stays.
    let mut other = site.get("FluxDeployer", "podinfo").await;
    other.metadata = ObjectMeta {
        name: Some("other".to_owned()),
        ..ObjectMeta::default()
    };
    let resource = site.list("Resource").await[0].name_any();
    other.data["spec"]["sourceRef"] = json!({"kind": "Resource", "name": resource});
    other.data["status"] = Value::Null;
    let created = site
        .api("FluxDeployer")
        .create(&PostParams::default(), &other)
        .await;
    created.expect("it is valid");
    site.ready("FluxDeployer", "other").await;
    site.delete("FluxDeployer", "podinfo").await;
    site.delete("Localization", "podinfo-deployment").await;
    let (path, _) = &gone[0];
    eventually("it is swept", TIMEOUT, async || {
        match pull.status(address, path).await {
            404 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let (path, file) = &kept[0];
    assert_eq!(pull.status(address, path).await, 200);
    assert!(file.exists());
    assert!(
        scene
            .controller
            .lock()
            .await
            .metrics()
            .await
            .contains("store_snapshots")
    );
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f34_folder_wiped_while_running_is_filled_again_and_flux_notices_nothing() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "wiped").await;
    let before = marks(&site).await;
    let layers: Vec<String> = site
        .list("Snapshot")
        .await
        .iter()
        .map(|snapshot| digest(snapshot, "/spec/digest"))
        .collect();
    let root = scene.controller.lock().await.data_folder().to_owned();
    empty(&root);
    // Not to wait for the minute that is between two looks.
    for snapshot in site.list("Snapshot").await {
        site.request("Snapshot", &snapshot.name_any(), "wiped")
            .await;
    }
    for layer in &layers {
        let file = file_of(&scene, layer).await;
        there("the layer is there again", || file.exists()).await;
    }
    for snapshot in site.list("Snapshot").await {
        site.ready("Snapshot", &snapshot.name_any()).await;
    }
    site.settled().await;
    assert_eq!(marks(&site).await, before);
    assert!(scene.controller.lock().await.process().is_running());
}

fn empty(root: &Path) {
    for entry in fs::read_dir(root).expect("the data folder") {
        let path = entry.expect("an entry").path();
        // The program may write at the same time; what it writes may stay.
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f35_rotten_content_is_made_again_and_flux_notices_nothing() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "rotten").await;
    let before = marks(&site).await;
    for snapshot in site.list("Snapshot").await {
        let layer = digest(&snapshot, "/spec/digest");
        let file = file_of(&scene, &layer).await;
        let sound = fs::read(&file).expect("the layer");
        let mut rotten = sound.clone();
        rotten[20] ^= 1;
        fs::write(&file, rotten).expect("the layer can be written");
        // Nobody asks for it: it is found because everything is read again and again.
        let name = snapshot.name_any();
        there("the layer is right again", || {
            fs::read(&file).is_ok_and(|found| found == sound)
        })
        .await;
        site.ready("Snapshot", &name).await;
    }
    let metrics = scene.controller.lock().await.metrics().await;
    assert!(metrics.contains("ocm_controller_store_rereads_total"));
    site.settled().await;
    assert_eq!(marks(&site).await, before);
}
