//! An API server that throttles, refuses, repeats itself, loses its database or its kinds; and the
//! end of the program under load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use http::Method;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use ocm_controller::oci::Digest;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::component::Component;
use crate::endpoint::{Pull, pulled};
use crate::scene::{PROGRAM, Scene, TIMEOUT, arguments_for, install};
use crate::site::{PRIVATE, Site};
use crate::support::between::{Asked, Between, Deed};
use crate::support::certificates::Authority;
use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::wait::eventually;
use crate::support::{in_repository, usage, web};

/// A scene whose controller speaks to the API server by a proxy.
struct Faulty {
    scene: Scene,
    between: Between,
}

/// The scene of these tests, which take turns; nothing is wrong with it at the begin of each.
async fn faulty() -> MutexGuard<'static, Faulty> {
    static SCENE: OnceCell<Mutex<Faulty>> = OnceCell::const_new();
    let scene = SCENE.get_or_init(async || Mutex::new(start().await)).await;
    let faulty = scene.lock().await;
    // A test that failed may have left something.
    faulty.between.pass();
    faulty.scene.cluster.apply(&role_without(&[])).await;
    faulty
}

async fn start() -> Faulty {
    let options = Options {
        flux: Flux::Kustomize,
        audit: true,
        crds: vec![in_repository("crds")],
    };
    let registry = |name: &str, password| RegistryOptions {
        tls: vec![name.to_owned()],
        password,
    };
    let password = Some((
        crate::scene::USER.to_owned(),
        crate::scene::PASSWORD.to_owned(),
    ));
    let (cluster, private, public, fragile) = tokio::join!(
        Cluster::start(options),
        Registry::start(registry("ghcr.io", password)),
        Registry::start(registry("public.example.org", None)),
        Registry::start(registry("fragile.example.org", None)),
    );
    install(&cluster).await;
    let between = Between::start(cluster.api_server(), &cluster.ca_pem());
    let arguments = arguments_for(&[("ghcr.io", &private), ("public.example.org", &public)]);
    let options = ControllerOptions {
        token: cluster
            .service_account_token("ocm-system", "ocm-controller")
            .await,
        arguments,
        by: Some(between.address()),
        ..ControllerOptions::default()
    };
    let controller = Controller::start(&cluster, PROGRAM, options).await;
    let scene = Scene {
        cluster,
        private,
        public,
        fragile: Mutex::new(fragile),
        controller: Mutex::new(controller),
    };
    scene.load_private("phoban01-air-gapped").await;
    Faulty { scene, between }
}

/// Writes that the controller has sent for objects of this namespace.
fn writes(asked: &[Asked], namespace: &str) -> usize {
    let path = format!("/namespaces/{namespace}/");
    asked
        .iter()
        .filter(|asked| asked.is_write() && asked.uri.contains(&path))
        .count()
}

/// How many writes a chain takes at most where its objects are seen late: about twenty as it is.
const WRITES: usize = 40;

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f23_api_server_that_asks_to_wait_is_waited_for_and_asked_no_more_than_that() {
    let faulty = faulty().await;
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let site = Site::new(&faulty.scene, "throttled").await;
    let path = format!("/namespaces/{}/", site.namespace);
    faulty.between.set(move |asked| {
        if !asked.uri.contains(&path) || count.load(Ordering::Relaxed) >= 12 {
            return Deed::Pass;
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        Deed::Refuse {
            status: [429, 503, 504][number % 3],
            retry_after: number.is_multiple_of(3).then_some(1),
            message: "too many requests, please try again later",
        }
    });
    site.apply(&site.guide(PRIVATE)).await;
    site.settled().await;
    let refused = refused.load(Ordering::Relaxed);
    assert_eq!(refused, 12);
    let sent = writes(&faulty.between.asked(), &site.namespace);
    assert!(sent <= WRITES + refused, "{sent} writes, {refused} refused");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f21_doubled_events_and_broken_watches_lead_to_the_same_end() {
    let faulty = faulty().await;
    let digests = async |site: &Site<'_>| {
        let mut digests = Vec::new();
        for snapshot in site.list("Snapshot").await {
            digests.push(snapshot.data["spec"]["digest"].to_string());
        }
        digests.sort_unstable();
        digests
    };
    let plain = Site::complete(&faulty.scene, "undisturbed").await;
    let expected = digests(&plain).await;
    assert_eq!(expected.len(), 2);

    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    // Each watch is refused twice or so; after that they say everything twice.
    faulty.between.set(move |asked| {
        if !asked.is_watch() {
            return Deed::Pass;
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        let (status, message) = match number {
            30.. => return Deed::Twice,
            _ if number.is_multiple_of(2) => (410, "too old resource version"),
            _ => (500, "the server is ill"),
        };
        Deed::Refuse {
            status,
            retry_after: None,
            message,
        }
    });
    // All watches are begun anew.
    {
        let mut controller = faulty.scene.controller.lock().await;
        controller.kill();
        controller.start_again().await;
    }
    let site = Site::complete(&faulty.scene, "disturbed").await;
    assert_eq!(digests(&site).await, expected);
    assert!(broken.load(Ordering::Relaxed) > 40, "{broken:?}");
    let sent = writes(&faulty.between.asked(), &site.namespace);
    assert!(sent <= WRITES, "{sent} writes");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f24_database_without_room_or_leader_stops_neither_pulls_nor_what_comes_after() {
    let mut faulty = faulty().await;
    let site = Site::complete(&faulty.scene, "no-room").await;
    let address = faulty.scene.controller.lock().await.registry_address();
    let (repository, digest, spec) = pulled(&site).await;
    let pull = Pull::of(&site, address).await;
    let path = format!("{repository}/manifests/{digest}");

    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    faulty.between.set(move |asked| {
        if !asked.is_write() {
            return Deed::Pass;
        }
        count.fetch_add(1, Ordering::Relaxed);
        Deed::Refuse {
            status: 500,
            retry_after: None,
            message: "etcdserver: mvcc: database space exceeded",
        }
    });
    let older = json!({"spec": {"version": {"semver": "6.2.3"}}});
    site.patch("ComponentVersion", "podinfo", older).await;
    eventually("it has been tried some times", TIMEOUT, async || {
        let refused = refused.load(Ordering::Relaxed);
        (refused >= 4)
            .then_some(())
            .ok_or_else(|| format!("{refused} refused"))
    })
    .await;
    assert_eq!(pull.status(address, &path).await, 200);
    assert_eq!(
        site.get("OCIRepository", "podinfo").await.data["spec"],
        spec
    );
    let tried = refused.load(Ordering::Relaxed);
    assert!(tried <= 40, "{tried} writes");
    faulty.between.pass();
    site.deployed("ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.2.3")
        .await;

    // Without its leader the database answers nobody.
    let (namespace, target) = (site.namespace.clone(), site.target.clone());
    drop(site);
    faulty.scene.cluster.etcd_process().pause();
    for _ in 0..10 {
        assert_eq!(pull.status(address, &path).await, 200);
    }
    faulty.scene.cluster.etcd_process().resume();
    let site = Site::at(&faulty.scene, namespace, target).await;
    let newer = json!({"spec": {"version": {"semver": "6.3.5"}}});
    site.patch("ComponentVersion", "podinfo", newer).await;
    site.settled().await;
    assert!(faulty.scene.controller.lock().await.process().is_running());
}

/// The controller's role without the rights to some kinds that it has for all of their names.
fn role_without(resources: &[&str]) -> String {
    let text = std::fs::read_to_string(in_repository("config/rbac/role.yaml"))
        .expect("it is in the repository");
    let mut role: Value = serde_yaml::from_str(&text).expect("YAML");
    for rule in role["rules"].as_array_mut().expect("rules") {
        if rule["resourceNames"].is_null() {
            let named = rule["resources"].as_array_mut().expect("resources");
            named.retain(|found| !resources.iter().any(|resource| found == resource));
        }
    }
    let rules = role["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| rule["resources"] != json!([]));
    role.to_string()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f25_right_that_is_taken_away_is_named_and_others_go_on() {
    let faulty = faulty().await;
    let settled = Site::complete(&faulty.scene, "has-rights").await;
    let cluster = &faulty.scene.cluster;
    cluster
        .apply(&role_without(&["secrets", "kustomizations"]))
        .await;
    let site = Site::new(&faulty.scene, "lacks-rights").await;
    site.apply(&site.guide(PRIVATE)).await;
    let said = site
        .fails(
            "ComponentVersion",
            "podinfo",
            "AuthenticatedContextCreationFailed",
        )
        .await;
    for word in ["cannot get resource", "\"secrets\"", "ghcr-cred"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // What was read before goes on; what has to be written anew says what it lacks.
    let found = settled
        .run("Localization", "podinfo-deployment", "now")
        .await;
    assert!(crate::support::wait::is_ready(Some(&found)));
    let patch = json!({"spec": {"kustomizationTemplate": {"prune": false}}});
    settled.patch("FluxDeployer", "podinfo", patch).await;
    let told = |object: &kube::api::DynamicObject| {
        let conditions = object.data["status"]["conditions"].to_string();
        conditions.contains("cannot get resource") && conditions.contains("kustomizations")
    };
    settled
        .until("FluxDeployer", "podinfo", "missing a right", told)
        .await;

    cluster.apply(&role_without(&[])).await;
    site.settled().await;
    settled.ready("FluxDeployer", "podinfo").await;
    let written = settled.get("Kustomization", "podinfo").await;
    assert_eq!(written.data["spec"]["prune"], false);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f27_kind_that_is_removed_or_has_new_fields_stops_nothing() {
    let faulty = faulty().await;
    let site = Site::complete(&faulty.scene, "kinds").await;
    let cluster = &faulty.scene.cluster;
    // A later version of the definitions has a field that this program does not know.
    let name = "localizations.delivery.ocm.software";
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fromTheFuture";
    let patch = json!([{"op": "add", "path": field, "value": {"type": "string"}}]).to_string();
    let crd = ["patch", "crd", name, "--type=json", "-p", &patch];
    cluster.kubectl(&crd).await;
    eventually("the new field is kept", TIMEOUT, async || {
        let patch = json!({"spec": {"fromTheFuture": "kept"}});
        let found = site
            .patch("Localization", "podinfo-deployment", patch)
            .await;
        (found.data["spec"]["fromTheFuture"] == "kept")
            .then_some(())
            .ok_or_else(|| found.data["spec"].to_string())
    })
    .await;
    let found = site
        .run("Localization", "podinfo-deployment", "with-it")
        .await;
    assert!(crate::support::wait::is_ready(Some(&found)));
    assert_eq!(found.data["spec"]["fromTheFuture"], "kept");

    // One of the kinds goes, with all its objects, and the rest goes on.
    let removed = "configurations.delivery.ocm.software";
    cluster.kubectl(&["delete", "crd", removed]).await;
    let other = Site::complete(&faulty.scene, "less-kinds").await;
    cluster.apply_crds(&in_repository("crds")).await;
    let configured = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 5m
  sourceRef: {kind: Resource, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
  values: {replicas: 2}
";
    other.apply(configured).await;
    other.ready("Configuration", "configured").await;
    assert!(faulty.scene.controller.lock().await.process().is_running());
}

/// What an admission webhook is asked about: whatever is written of Kustomizations of this place.
fn kustomizations_of(site: &Site<'_>) -> (Value, Value) {
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": site.namespace}});
    let rules = json!([{
        "apiGroups": ["kustomize.toolkit.fluxcd.io"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["kustomizations"],
    }]);
    (selector, rules)
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f28_policy_that_refuses_is_named_and_outlived() {
    let faulty = faulty().await;
    let cluster = &faulty.scene.cluster;
    let site = Site::new(&faulty.scene, "webhook").await;
    let (selector, rules) = kustomizations_of(&site);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-prune"},
        "spec": {
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": rules},
            "validations": [{"expression": "false", "message": "nobody may prune here"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-prune"},
        "spec": {"policyName": "no-prune", "validationActions": ["Deny"]},
    });
    cluster.apply(&policy.to_string()).await;
    cluster.apply(&binding.to_string()).await;
    // A policy is known to the API server a moment after it was made.
    eventually("the policy is in force", TIMEOUT, async || {
        let probe = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "probe"},
            "spec": {"interval": "1h", "prune": false,
                     "sourceRef": {"kind": "OCIRepository", "name": "probe"}},
        });
        let probe = serde_json::from_value(probe).expect("an object");
        let parameters = kube::api::PostParams {
            dry_run: true,
            ..Default::default()
        };
        match site.api("Kustomization").create(&parameters, &probe).await {
            Ok(_) => Err("it is not".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    site.apply(&site.guide(PRIVATE)).await;
    let says = |words: &'static [&str]| {
        move |object: &kube::api::DynamicObject| {
            let conditions = object.data["status"]["conditions"].to_string();
            words.iter().all(|word| conditions.contains(word))
        }
    };
    site.until(
        "FluxDeployer",
        "podinfo",
        "refused",
        says(&["Kustomization", "nobody may prune here"]),
    )
    .await;
    cluster
        .kubectl(&["delete", "validatingadmissionpolicybinding", "no-prune"])
        .await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f28_webhook_that_is_silent_is_named_and_outlived() {
    let faulty = faulty().await;
    let cluster = &faulty.scene.cluster;
    let site = Site::complete(&faulty.scene, "silent").await;
    let (selector, rules) = kustomizations_of(&site);
    // One that takes the question and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/", silent.local_addr().expect("it is bound"));
    let ca = web_bundle(&Authority::new("webhook").pem());
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "silent"},
        "webhooks": [{
            "name": "silent.example.org",
            "clientConfig": {"url": url, "caBundle": ca},
            "timeoutSeconds": 1,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": selector,
            "rules": rules,
        }],
    });
    cluster.apply(&webhook.to_string()).await;
    let template = async |value: Value| {
        let patch = json!({"spec": {"kustomizationTemplate": {"retryInterval": value}}});
        site.patch("FluxDeployer", "podinfo", patch).await;
    };
    let count = AtomicUsize::new(1);
    eventually("the webhook is in force", TIMEOUT, async || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        template(json!(format!("{number}h"))).await;
        let token = number.to_string();
        let found = site.run("FluxDeployer", "podinfo", &token).await;
        let conditions = found.data["status"]["conditions"].to_string();
        (conditions.contains("silent.example.org") && conditions.contains("deadline"))
            .then_some(())
            .ok_or(conditions)
    })
    .await;
    cluster
        .kubectl(&["delete", "validatingwebhookconfiguration", "silent"])
        .await;
    site.ready("FluxDeployer", "podinfo").await;
}

fn web_bundle(pem: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(pem)
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f22_writer_that_never_rests_loses_nothing_and_leads_to_no_loop() {
    let faulty = faulty().await;
    let site = Site::new(&faulty.scene, "restless").await;
    site.apply(&site.guide(PRIVATE)).await;
    let api = site.api("ComponentVersion");
    let before = writes(&faulty.between.asked(), &site.namespace);
    for number in 0..150 {
        let labels = json!({"metadata": {"labels": {"number": number.to_string()}}});
        api.patch("podinfo", &PatchParams::default(), &Patch::Merge(labels))
            .await
            .expect("it is there");
        let status = json!({"status": {"replicatedRepositoryURL": null}});
        api.patch_status("podinfo", &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("it is there");
    }
    site.settled().await;
    let after = site.get("ComponentVersion", "podinfo").await;
    assert_eq!(after.labels()["number"], "149");
    let sent = writes(&faulty.between.asked(), &site.namespace) - before;
    assert!(sent <= WRITES, "{sent} writes beside 300 of another");
}

/// Whoever may write ConfigMaps and Secrets could fill the memory of one that keeps them all.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f47_large_config_maps_and_secrets_of_strangers_take_no_memory() {
    const COUNT: usize = 60;
    let faulty = faulty().await;
    let site = Site::complete(&faulty.scene, "strangers").await;
    // It hears of its ConfigMap after it has heard of all that were made before.
    let configured = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 5m
  sourceRef: {kind: Resource, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
  valuesFrom: {configMapSource: {sourceRef: {name: last}, key: values.yaml}}
";
    site.apply(configured).await;
    let heard = async |name: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                         "data": {"values.yaml": "replicas: 2"}});
        site.apply(&map.to_string()).await;
        site.ready("Configuration", "configured").await;
    };
    heard("last").await;
    site.scene
        .cluster
        .kubectl(&["delete", "configmap", "last", "-n", &site.namespace])
        .await;
    let id = faulty.scene.controller.lock().await.process().id();
    let before = usage::peak_memory(id);

    let content = "x".repeat(1_000_000);
    for number in 0..COUNT {
        let name = format!("stranger-{number}");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                         "data": {"content": content}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                            "stringData": {"content": content}});
        site.apply(&map.to_string()).await;
        site.apply(&secret.to_string()).await;
    }
    site.request("Configuration", "configured", "missing").await;
    site.fails("Configuration", "configured", "ValuesNotReady")
        .await;
    heard("last").await;
    let after = usage::peak_memory(id);
    let grown = after.saturating_sub(before);
    assert!(
        grown <= 10 << 20,
        "{grown} bytes more after {COUNT} of each"
    );
}

/// An object that is on its way out is not written any more: in a namespace that goes, such a
/// write could keep it for ever.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f44_object_on_its_way_out_is_not_written_and_lets_its_namespace_go() {
    let faulty = faulty().await;
    let site = Site::complete(&faulty.scene, "on-its-way").await;
    let held = ["Resource", "Localization"];
    for kind in held {
        let finalizers = json!({"metadata": {"finalizers": ["example.org/hold"]}});
        site.patch(kind, "podinfo-deployment", finalizers).await;
    }
    site.delete_namespace().await;
    for kind in held {
        let is_going =
            |object: &kube::api::DynamicObject| object.metadata.deletion_timestamp.is_some();
        site.until(kind, "podinfo-deployment", "on its way", is_going)
            .await;
    }
    let log = || {
        let log = site.scene.cluster.audit_log().into_iter();
        let ours = log.filter(|event| {
            event.namespace == site.namespace
                && ["resources", "localizations"].contains(&event.resource.as_str())
                && event.user.ends_with(":ocm-controller")
                && event.is_write()
        });
        ours.count()
    };
    let before = log();
    for kind in held {
        site.request(kind, "podinfo-deployment", "while-it-goes")
            .await;
    }
    // Somebody else's chain is looked at after these.
    Site::complete(&faulty.scene, "meanwhile").await;
    assert_eq!(log(), before);
    for kind in held {
        let let_go = json!({"metadata": {"finalizers": null}});
        site.patch(kind, "podinfo-deployment", let_go).await;
    }
    site.namespace_gone(TIMEOUT).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f30_end_under_load_lets_pulls_end_with_all_their_bytes() {
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 7_u64;
        let next = || {
            // A generator of Marsaglia's: what cannot be compressed is as long on the way.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let noise: Vec<u8> = std::iter::repeat_with(next)
            .take(6 << 20)
            .flatten()
            .collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(noise.len() as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive
            .append_data(&mut header, "noise", noise.as_slice())
            .expect("memory takes it");
        archive.into_inner().expect("memory takes it")
    });
    let faulty = faulty().await;
    let scene = &faulty.scene;
    Component::new("example.org/noise", "1.0.0")
        .with_blob("noise", "Directory", "application/x-tar", NOISE.clone())
        .push(&scene.public, "noise")
        .await;
    let site = Site::without_secret(scene, "ended").await;
    let objects = "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {name: noise}
spec:
  interval: 1m0s
  component: example.org/noise
  version: {semver: 1.0.0}
  repository: {url: public.example.org/noise}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: noise}
spec:
  interval: 1m0s
  sourceRef: {kind: ComponentVersion, name: noise, resourceRef: {name: noise}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: podinfo}
spec:
  sourceRef: {kind: Resource, name: noise}
  kustomizationTemplate: {interval: 1m0s, path: ./, prune: true}
";
    site.apply(objects).await;
    site.ready("Resource", "noise").await;
    site.until("OCIRepository", "podinfo", "written", |_| true)
        .await;
    let snapshot = &site.list("Snapshot").await[0];
    let layer = snapshot.data["spec"]["digest"].as_str().expect("a digest");
    let path = format!("{}/{}/blobs/{layer}", site.namespace, snapshot.name_any());
    let mut controller = scene.controller.lock().await;
    let address = controller.registry_address();
    let pull = Pull::of(&site, address).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut answer = pull.ask(Method::GET, address, &path).await;
        assert_eq!(answer.status(), 200);
        let first = answer.chunk().await.expect("it goes on").expect("bytes");
        open.push((answer, first.to_vec()));
    }
    controller.process().ask_to_end();
    eventually("nobody is let in any more", TIMEOUT, async || {
        let client = web::client(None);
        let health = controller.health_address();
        if web::is_ok(&client, health, "/readyz").await {
            Err("it says that it is ready".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    assert!(controller.process().is_running(), "pulls are open");
    for (mut answer, mut bytes) in open {
        while let Some(piece) = answer.chunk().await.expect("it goes on to the end") {
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(Digest::of(&bytes).to_string(), layer);
    }
    let status = controller.stop().await;
    assert!(status.success(), "{status}");
    controller.start_again().await;
}
