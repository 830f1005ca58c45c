//! The controller ends at any moment, and starts again.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::scene::{Scene, TIMEOUT, exclusive_scene};
use crate::site::{OF_FLUX, OURS, PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::cluster::audit::AuditEvent;
use crate::support::tools;
use crate::support::wait::eventually;

/// Each object as `KIND/NAME`, with what must not change: for ours the resource version, for
/// those of Flux, which write their own status, the generation.
pub async fn marks(site: &Site<'_>) -> BTreeMap<String, String> {
    let mut marks = BTreeMap::new();
    for kind in OURS {
        for object in site.list(kind).await {
            let mark = object.resource_version().unwrap_or_default();
            marks.insert(format!("{kind}/{}", object.name_any()), mark);
        }
    }
    for kind in OF_FLUX {
        for object in site.list(kind).await {
            let mark = format!("{:?} {:?}", object.metadata.uid, object.metadata.generation);
            marks.insert(format!("{kind}/{}", object.name_any()), mark);
        }
    }
    marks
}

/// What names the results: of each Snapshot its two digests, of the `OCIRepository` its reference.
async fn digests(site: &Site<'_>) -> BTreeMap<String, Value> {
    let mut digests = BTreeMap::new();
    for object in site.list("Snapshot").await {
        digests.insert(object.name_any(), object.data["spec"]["digest"].clone());
        let manifest = object.data["status"]["manifestDigest"].clone();
        digests.insert(format!("manifest of {}", object.name_any()), manifest);
    }
    let repository = site.get("OCIRepository", "podinfo").await;
    digests.insert(
        "reference".to_owned(),
        repository.data["spec"]["ref"].clone(),
    );
    digests
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chain_is_completed_although_the_controller_is_killed_again_and_again() {
    let scene = exclusive_scene().await;
    let site = Site::new(&scene, "killed").await;
    site.apply(&site.guide(PRIVATE)).await;
    for pause in [10, 40, 90, 160, 300] {
        // Not a wait for something: any moment is as good as another.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut controller = scene.controller.lock().await;
        controller.kill();
        controller.start_again().await;
    }
    site.settled().await;
    let left = site.left().await;
    let of = |kind: &str| left.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(
        (of("ComponentDescriptor/"), of("Snapshot/"), left.len()),
        (1, 2, 9),
        "{left:?}"
    );
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn restart_changes_nothing_of_what_is_settled() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "settled").await;
    let before = marks(&site).await;
    assert_eq!(before.len(), 9, "{before:?}");

    {
        let mut controller = scene.controller.lock().await;
        let status = controller.stop().await;
        assert!(status.success(), "{status}");
        controller.start_again().await;
    }
    // By the time that another chain is through, this one has been looked at.
    Site::complete(&scene, "settled-probe").await;

    assert_eq!(marks(&site).await, before);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn lost_store_is_filled_again_with_the_same_digests() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "lost").await;
    let before = digests(&site).await;

    {
        let mut controller = scene.controller.lock().await;
        controller.kill();
        std::fs::remove_dir_all(controller.data_folder()).unwrap();
        controller.start_again().await;
    }
    // Flux pulls again what it is told of anew.
    let repository = site.get("OCIRepository", "podinfo").await;
    site.delete("OCIRepository", "podinfo").await;
    site.until("OCIRepository", "podinfo", "there again", |found| {
        found.metadata.uid != repository.metadata.uid
    })
    .await;
    site.ready("OCIRepository", "podinfo").await;
    site.settled().await;
    for snapshot in site.list("Snapshot").await {
        site.ready("Snapshot", &snapshot.name_any()).await;
    }
    assert_eq!(digests(&site).await, before);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f16_work_goes_on_when_the_api_server_is_back() {
    let mut scene = exclusive_scene().await;
    let site = Site::complete(&scene, "outage").await;
    let before = marks(&site).await;
    let (namespace, target) = (site.namespace.clone(), site.target.clone());

    scene.cluster.api_server_process().kill();
    scene.cluster.restart_api_server().await;

    let site = Site::at(&scene, namespace, target).await;
    let older = json!({"spec": {"version": {"semver": "6.2.3"}}});
    site.patch("ComponentVersion", "podinfo", older).await;
    site.deployed("ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.2.3")
        .await;
    // It was the same process all the time.
    assert!(scene.controller.lock().await.process().is_running());
    assert_eq!(marks(&site).await.len(), before.len() + 1);
}

/// How many objects of a kind this process has looked at.
fn looked_at(metrics: &str, kind: &str) -> usize {
    let count = format!("ocm_controller_reconcile_seconds_count{{kind=\"{kind}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&count));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// Waits until the controller has looked at each object of this many chains.
async fn all_looked_at(scene: &Scene, chains: usize) {
    let wanted = [
        ("component_version", chains),
        ("resource", chains),
        ("localization", chains),
        ("snapshot", 2 * chains),
        ("flux_deployer", chains),
    ];
    eventually("all are looked at", TIMEOUT, async || {
        let metrics = scene.controller.lock().await.metrics().await;
        for (kind, wanted) in wanted {
            let seen = looked_at(&metrics, kind);
            if seen < wanted {
                return Err(format!("{seen} of {wanted} of {kind}"));
            }
        }
        let depth = metrics
            .lines()
            .filter(|line| line.starts_with("ocm_controller_queue_depth{"));
        match depth.into_iter().find(|line| !line.ends_with(" 0")) {
            Some(line) => Err(line.to_owned()),
            None => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn restart_with_many_chains_fetches_no_blob_and_writes_nothing() {
    const CHAINS: usize = 40;
    let scene = Scene::start_with(Flux::None, &[]).await;
    // Its kinds are enough: nobody has to pull.
    for controller in ["source-controller", "kustomize-controller"] {
        let crds = tools::flux_crds(controller);
        scene.cluster.apply_crds(&crds).await;
    }
    scene.load_private("phoban01-air-gapped").await;
    let site = Site::new(&scene, "many").await;
    let chains: Vec<String> = (0..CHAINS)
        .map(|number| site.chain(&format!("-{number}"), &json!({})))
        .collect();
    site.apply(&chains.join("\n---\n")).await;
    for number in 0..CHAINS {
        site.ready("FluxDeployer", &format!("podinfo-{number}"))
            .await;
    }
    all_looked_at(&scene, CHAINS).await;

    let (asked, pulled) = {
        let mut controller = scene.controller.lock().await;
        let status = controller.stop().await;
        assert!(status.success(), "{status}");
        let counts = (
            scene.cluster.audit_log().len(),
            scene.private.requests().len(),
        );
        controller.start_again().await;
        counts
    };
    all_looked_at(&scene, CHAINS).await;

    let log = scene.cluster.audit_log();
    let controller = "system:serviceaccount:ocm-system:ocm-controller";
    let written: Vec<&AuditEvent> = log[asked..]
        .iter()
        .filter(|event| event.user == controller && event.is_write())
        .collect();
    assert!(written.is_empty(), "{written:#?}");
    let pulled = &scene.private.requests()[pulled..];
    let is_question = |path: &str, method: &str| path.contains("/tags/list") || method == "HEAD";
    let content: Vec<_> = pulled
        .iter()
        .filter(|access| !is_question(&access.path, &access.method))
        .collect();
    assert!(content.is_empty(), "{content:#?}");
    assert!(!pulled.is_empty(), "versions are looked for");
    let metrics = scene.controller.lock().await.metrics().await;
    assert!(metrics.contains("ocm_controller_store_misses_total{what=\"content\"} 0"));
    assert!(metrics.contains("ocm_controller_store_misses_total{what=\"result\"} 0"));
}
