//! What one tenant can do to others: nothing, however its objects look.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, OnceCell};

use crate::scene::{Scene, TIMEOUT};
use crate::site::{PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::tools;
use crate::support::wait::eventually;

/// A scene whose controller is locked down, posts its events, and has little patience.
struct Locked {
    scene: Scene,
    events: Arc<Mutex<Vec<Value>>>,
    _silent: TcpListener,
}

async fn locked() -> &'static Locked {
    static SCENE: OnceCell<Locked> = OnceCell::const_new();
    SCENE
        .get_or_init(|| async {
            let events = Arc::new(Mutex::new(Vec::new()));
            let address = receiver(Arc::clone(&events));
            // It takes connections, and never says a word.
            let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = silent.local_addr().expect("it is bound").port();
            let scene = Scene::start_with(
                Flux::None,
                &[
                    &format!("--events-addr=http://{address}/"),
                    &format!("--resolve=silent.example.org=127.0.0.1:{port}"),
                    "--reconcile-timeout=4s",
                    "--restrict-templates",
                    "--default-service-account=tenant-apply",
                ],
            )
            .await;
            scene.load_private("phoban01-air-gapped").await;
            Locked {
                scene,
                events,
                _silent: silent,
            }
        })
        .await
}

/// A server that keeps what it is posted. It has a thread of its own, as the tests that share it
/// have a runtime each.
fn receiver(events: Arc<Mutex<Vec<Value>>>) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("it is bound");
    let take = async |State(events): State<Arc<Mutex<Vec<Value>>>>, body: String| {
        let event = serde_json::from_str(&body).expect("events are JSON");
        events.lock().await.push(event);
    };
    let router = Router::new().route("/", post(take)).with_state(events);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let _ = axum::serve(listener, router).await;
        });
    });
    address
}

/// The objects of the guide up to the Localization, and a FluxDeployer with this template.
fn guide_with(site: &Site<'_>, template: &Value) -> String {
    let guide = site.guide(PRIVATE);
    let chain: Vec<&str> = guide
        .split("\n---\n")
        .filter(|text| !text.contains("kind: FluxDeployer"))
        .collect();
    let deployer = json!({
        "apiVersion": "delivery.ocm.software/v1alpha1",
        "kind": "FluxDeployer",
        "metadata": {"name": "podinfo", "namespace": site.namespace},
        "spec": {
            "sourceRef": {"kind": "Localization", "name": "podinfo-deployment"},
            "kustomizationTemplate": template,
        },
    });
    format!("{}\n---\n{deployer}", chain.join("\n---\n"))
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b61_f26_template_is_restricted_and_flux_may_come_later_and_go() {
    let locked = locked().await;
    let site = Site::new(&locked.scene, "restricted").await;
    let template = json!({"path": "./", "prune": true});
    site.apply(&guide_with(&site, &template)).await;
    // The program has started and works, although Flux's kinds are missing.
    site.ready("Localization", "podinfo-deployment").await;
    let said = site
        .fails("FluxDeployer", "podinfo", "FluxNotInstalled")
        .await;
    assert!(said.contains("install Flux"), "{said}");

    for controller in [
        "source-controller",
        "kustomize-controller",
        "helm-controller",
    ] {
        let crds = tools::flux_crds(controller);
        locked.scene.cluster.apply_crds(&crds).await;
    }
    site.ready("FluxDeployer", "podinfo").await;
    let written = site.get("Kustomization", "podinfo").await;
    assert_eq!(written.data["spec"]["serviceAccountName"], "tenant-apply");

    for (field, value) in [
        (
            "kubeConfig",
            json!({"secretRef": {"name": "other-cluster"}}),
        ),
        ("targetNamespace", json!("kube-system")),
        (
            "dependsOn",
            json!([{"name": "theirs", "namespace": "flux-system"}]),
        ),
    ] {
        let patch = json!({"spec": {"kustomizationTemplate": {field: value}}});
        site.patch("FluxDeployer", "podinfo", patch).await;
        let said = site.fails("FluxDeployer", "podinfo", "AccessDenied").await;
        assert!(
            said.contains(field) && said.contains("--restrict-templates"),
            "{said}"
        );
        let back = json!({"spec": {"kustomizationTemplate": {field: null}}});
        site.patch("FluxDeployer", "podinfo", back).await;
        site.ready("FluxDeployer", "podinfo").await;
    }
    let after = site.get("Kustomization", "podinfo").await;
    assert_eq!(after.data["spec"], written.data["spec"]);

    // Flux is removed, and the deployer says so, although its interval is far away.
    let kind = "customresourcedefinition";
    let name = "kustomizations.kustomize.toolkit.fluxcd.io";
    locked.scene.cluster.kubectl(&["delete", kind, name]).await;
    site.fails("FluxDeployer", "podinfo", "FluxNotInstalled")
        .await;
    let crds = tools::flux_crds("kustomize-controller");
    locked.scene.cluster.apply_crds(&crds).await;
    site.ready("FluxDeployer", "podinfo").await;
    site.until("Kustomization", "podinfo", "there again", |_| true)
        .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f45_object_that_never_comes_to_an_end_holds_up_no_other() {
    let locked = locked().await;
    let site = Site::new(&locked.scene, "endless").await;
    let poison: Vec<String> = (0..8)
        .map(|number| {
            format!(
                "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: poison-{number}}}
spec:
  interval: 10m
  component: example.org/poison
  version: {{semver: 1.0.0}}
  repository: {{url: http://silent.example.org/poison-{number}}}
---"
            )
        })
        .collect();
    site.apply(&poison.concat()).await;
    site.apply(&guide_with(&site, &json!({"path": "./"}))).await;
    let said = site
        .fails("ComponentVersion", "poison-0", "ReconcileTimedOut")
        .await;
    assert!(said.contains("--reconcile-timeout"), "{said}");
    site.ready("Localization", "podinfo-deployment").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn events_are_posted_in_the_form_of_flux() {
    let locked = locked().await;
    let site = Site::new(&locked.scene, "posted").await;
    site.apply(&guide_with(&site, &json!({"path": "./"}))).await;
    site.ready("ComponentVersion", "podinfo").await;
    let event = eventually("the event is posted", TIMEOUT, async || {
        let events = locked.events.lock().await;
        let found = events.iter().find(|event| {
            event["involvedObject"]["kind"] == "ComponentVersion"
                && event["involvedObject"]["namespace"] == site.namespace.as_str()
                && event["reason"] == "Succeeded"
        });
        found
            .cloned()
            .ok_or_else(|| format!("{} others", events.len()))
    })
    .await;
    assert_eq!(event["severity"], "info");
    assert_eq!(event["involvedObject"]["name"], "podinfo");
    assert_eq!(event["reportingController"], "ocm-controller");
    let version = &event["metadata"]["delivery.ocm.software/component_version"];
    assert_eq!(version, "phoban.io/podinfo:6.3.5", "{event}");
    // What notification-controller 1.9 decodes, and of the metadata what it keeps.
    let fields = [
        "involvedObject",
        "message",
        "metadata",
        "reason",
        "reportingController",
        "reportingInstance",
        "severity",
        "timestamp",
    ];
    let mut seen: Vec<&String> = event.as_object().expect("an object").keys().collect();
    seen.sort_unstable();
    assert_eq!(seen, fields);
    let timestamp = event["timestamp"].as_str().expect("a text");
    assert!(timestamp.parse::<k8s_openapi::jiff::Timestamp>().is_ok());
    let api_version = event["involvedObject"]["apiVersion"].as_str();
    let (group, _) = api_version
        .and_then(|it| it.split_once('/'))
        .expect("a group");
    for key in event["metadata"].as_object().expect("a map").keys() {
        assert!(key.starts_with(&format!("{group}/")), "{key}");
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b66_storm_of_requests_is_worked_off_one_run_at_a_time() {
    let locked = locked().await;
    let site = Site::new(&locked.scene, "storm").await;
    site.apply(&guide_with(&site, &json!({"path": "./"}))).await;
    site.ready("Localization", "podinfo-deployment").await;
    let runs = async || {
        let metrics = locked.scene.controller.lock().await.metrics().await;
        let count = r#"ocm_controller_reconcile_seconds_count{kind="component_version"} "#;
        let line = metrics.lines().find_map(|line| line.strip_prefix(count));
        line.map_or(0, |count| count.parse::<u64>().expect("a number"))
    };
    let before = runs().await;
    let api = site.api("ComponentVersion");
    for number in 0..200 {
        // Requests and edits in turn.
        let patch = if number % 2 == 0 {
            let token = json!({"reconcile.fluxcd.io/requestedAt": format!("storm-{number}")});
            json!({"metadata": {"annotations": token}})
        } else {
            json!({"spec": {"interval": format!("{number}m")}})
        };
        api.patch("podinfo", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("it is there");
    }
    site.until("ComponentVersion", "podinfo", "answered", |object| {
        let status = &object.data["status"];
        status["lastHandledReconcileAt"] == "storm-198"
            && status["observedGeneration"].as_i64() == object.metadata.generation
    })
    .await;
    site.ready("ComponentVersion", "podinfo").await;
    // No more runs than requests, those of other objects of this scene included.
    let after = runs().await;
    assert!(
        after - before <= 240,
        "{} runs for 200 requests",
        after - before
    );
    tokio::time::timeout(Duration::from_secs(30), async {
        while runs().await != runs().await {}
    })
    .await
    .expect("it comes to rest");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b60_two_tenants_with_the_same_component_get_their_own_bytes() {
    let locked = locked().await;
    let (ours, theirs) = (
        Site::new(&locked.scene, "ours").await,
        Site::without_secret(&locked.scene, "theirs").await,
    );
    ours.apply(&guide_with(&ours, &json!({"path": "./"}))).await;
    ours.ready("Localization", "podinfo-deployment").await;
    // The same component and version, which this tenant has no password for.
    theirs
        .apply(&guide_with(&theirs, &json!({"path": "./"})))
        .await;
    theirs
        .fails(
            "ComponentVersion",
            "podinfo",
            "AuthenticatedContextCreationFailed",
        )
        .await;
    assert!(theirs.list("Snapshot").await.is_empty());
    assert!(theirs.list("ComponentDescriptor").await.is_empty());
}
