//! Configuration, charts, and localization without rules.

use std::sync::{Arc, Mutex};

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::component::{Component, PODINFO};
use crate::scene::{Scene, TIMEOUT, ready_condition, shared_scene};
use crate::support::cluster::Flux;
use crate::support::fixture;
use crate::support::git::GitRepository;
use crate::support::registry::Registry;
use crate::support::wait::{self, eventually};

/// A component version of the private registry, in a namespace that may read it.
async fn component(scene: &Scene, namespace: &str, url: &str, name: &str, constraint: &str) {
    scene
        .give_password(namespace, "ghcr-cred", crate::scene::PASSWORD)
        .await;
    let text = format!(
        "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: component}}
spec:
  interval: 1m0s
  component: {name}
  version: {{semver: '{constraint}'}}
  repository: {{url: {url}, secretRef: {{name: ghcr-cred}}}}
"
    );
    scene.cluster.apply_in(namespace, &text).await;
}

const CHAIN: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: deployment}
spec:
  interval: 1m0s
  sourceRef: {kind: ComponentVersion, name: component, resourceRef: {name: deployment}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: localized}
spec:
  interval: 1m0s
  sourceRef: {kind: Resource, name: deployment}
  configRef: {kind: ComponentVersion, name: component, resourceRef: {name: config}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 1m0s
  sourceRef: {kind: Localization, name: localized}
  configRef: {kind: ComponentVersion, name: component, resourceRef: {name: config}}
  valuesFrom: {configMapSource: {sourceRef: {name: site}, key: values.yaml, subPath: podinfo}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: podinfo}
spec:
  sourceRef: {kind: Configuration, name: configured}
  kustomizationTemplate: {interval: 1m0s, path: ./, prune: true, targetNamespace: NAMESPACE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data:
  values.yaml: 'podinfo: {replicas: 2, color: blue}'
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn edited_config_map_changes_the_deployment_at_once() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("configured").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    scene
        .cluster
        .apply_in(&namespace, &CHAIN.replace("NAMESPACE", &namespace))
        .await;
    scene.ready("FluxDeployer", &namespace, "podinfo").await;

    let image = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";
    scene.deployed(&namespace, "podinfo", image).await;
    has_settings(scene, &namespace, 2, "blue").await;

    let config_maps = scene.cluster.api("v1", "ConfigMap", &namespace).await;
    let patch = json!({"data": {"values.yaml": "podinfo: {replicas: 3, color: red}"}});
    let edited = config_maps
        .patch("site", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    edited.expect("the ConfigMap is there");

    // Intervals are a minute: what comes within the time-out came by the watch.
    has_settings(scene, &namespace, 3, "red").await;
}

/// Waits until the Deployment runs with these settings.
async fn has_settings(scene: &Scene, namespace: &str, replicas: i64, color: &str) {
    let deployments = scene.cluster.api("apps/v1", "Deployment", namespace).await;
    let what = format!("{replicas} replicas in {color}");
    eventually(&what, TIMEOUT / 2, async || {
        let found = deployments
            .get_opt("podinfo")
            .await
            .map_err(|error| error.to_string())?;
        let spec = found.ok_or("no Deployment")?.data["spec"].take();
        let container = &spec["template"]["spec"]["containers"][0];
        if spec["replicas"] == replicas && container["env"][0]["value"] == color {
            Ok(())
        } else {
            Err(format!(
                "{} replicas, env {}",
                spec["replicas"], container["env"]
            ))
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn missing_config_map_is_awaited_and_an_optional_one_is_not() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("awaits").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let chain = CHAIN.replace("NAMESPACE", &namespace);
    let (chain, config_map) = chain.rsplit_once("---").expect("the ConfigMap comes last");
    scene.cluster.apply_in(&namespace, chain).await;

    let message = scene
        .fails("Configuration", &namespace, "configured", "ValuesNotReady")
        .await;
    assert!(
        message.contains(&format!("ConfigMap {namespace}/site")),
        "{message}"
    );

    let configurations = scene.api("Configuration", &namespace).await;
    let patch = json!({"spec": {"valuesFrom": {"configMapSource": {"optional": true}}}});
    let patched = configurations
        .patch("configured", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("the Configuration is there");
    scene.ready("Configuration", &namespace, "configured").await;
    has_settings(scene, &namespace, 1, "green").await;

    scene.cluster.apply_in(&namespace, config_map).await;
    has_settings(scene, &namespace, 2, "blue").await;
}

const ECHO: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: chart}
spec:
  interval: 1m0s
  sourceRef: {kind: ComponentVersion, name: component, resourceRef: {name: CHART, referencePath: PATH}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: localized}
spec:
  interval: 1m0s
  sourceRef: {kind: Resource, name: chart}
  configRef: {kind: ComponentVersion, name: component, resourceRef: {name: config, referencePath: PATH}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 1m0s
  sourceRef: {kind: Localization, name: localized}
  configRef: {kind: ComponentVersion, name: component, resourceRef: {name: config, referencePath: PATH}}
  values: {replicas: 4}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: echo}
spec:
  interval: 1m0s
  sourceRef: {kind: Configuration, name: configured}
  helmReleaseTemplate: {interval: 1m0s, install: {disableWait: true}}
";

async fn chart_is_installed(prefix: &str, component_name: &str, chart: &str, path: &str) {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace(prefix).await;
    component(
        scene,
        &namespace,
        "ghcr.io/example/air-gapped",
        component_name,
        ">=1.0.0",
    )
    .await;
    let manifests = ECHO.replace("CHART", chart).replace("PATH", path);
    scene.cluster.apply_in(&namespace, &manifests).await;
    scene.ready("FluxDeployer", &namespace, "echo").await;

    let releases = scene
        .cluster
        .api("helm.toolkit.fluxcd.io/v2", "HelmRelease", &namespace)
        .await;
    wait::until(&releases, "echo", "ready", wait::is_ready).await;

    let deployments = scene.cluster.api("apps/v1", "Deployment", &namespace).await;
    let found = deployments
        .list(&ListParams::default())
        .await
        .expect("Deployments");
    let spec = &found.items.first().expect("the chart's Deployment").data["spec"];
    assert_eq!(spec["replicas"], 4);
    let images: Vec<&str> = spec["template"]["spec"]["containers"]
        .as_array()
        .expect("containers")
        .iter()
        .filter_map(|container| container["image"].as_str())
        .collect();
    assert!(!images.is_empty());
    for image in images {
        assert!(
            image.starts_with("ghcr.io/example/air-gapped/echo:1.0.0-"),
            "{image}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chart_of_a_component_is_installed_with_its_private_images() {
    chart_is_installed("chart", "example.org/echo", "chart", "[]").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chart_in_a_folder_is_installed_by_reference_path() {
    chart_is_installed(
        "chartdir",
        "example.org/product",
        "chart-dir",
        "[{name: backend}]",
    )
    .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn localization_without_rules_finds_the_images_by_itself() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("no-rules").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let chain = CHAIN.replace("NAMESPACE", &namespace);
    let resource = chain.split("---").next().expect("the Resource comes first");
    let localization = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: localized}
spec:
  interval: 1m0s
  sourceRef: {kind: Resource, name: deployment}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: podinfo}
spec:
  sourceRef: {kind: Localization, name: localized}
  kustomizationTemplate: {interval: 1m0s, path: ./, prune: true, targetNamespace: NAMESPACE}
";
    scene.cluster.apply_in(&namespace, resource).await;
    scene
        .cluster
        .apply_in(&namespace, &localization.replace("NAMESPACE", &namespace))
        .await;

    let localized = scene.ready("Localization", &namespace, "localized").await;
    let message = ready_condition(&localized).expect("it is ready")["message"].to_string();
    assert!(
        message.contains("1 images localized, 0 not covered"),
        "{message}"
    );
    let image = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";
    scene.deployed(&namespace, "podinfo", image).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn violated_schema_is_told_and_with_enforce_refused() {
    let scene = Scene::start_with(Flux::None, &["--config-schema=enforce"]).await;
    scene.load_private("phoban01-air-gapped").await;
    let namespace = scene.cluster.namespace("schema").await;
    component(
        &scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let chain = CHAIN.replace("replicas: 2", "replicas: many");
    scene
        .cluster
        .apply_in(&namespace, &chain.replace("NAMESPACE", &namespace))
        .await;

    let message = scene
        .fails(
            "Configuration",
            &namespace,
            "configured",
            "ReconcileMutationObjectFailed",
        )
        .await;
    assert!(
        message.contains("replicas") && message.contains("schema"),
        "{message}"
    );

    let tolerant = shared_scene().await;
    let namespace = tolerant.cluster.namespace("schema").await;
    component(
        tolerant,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let chain = CHAIN.replace("color: blue", "color: blue, shape: round");
    tolerant
        .cluster
        .apply_in(&namespace, &chain.replace("NAMESPACE", &namespace))
        .await;
    let configured = tolerant
        .ready("Configuration", &namespace, "configured")
        .await;
    let message = ready_condition(&configured).expect("it is ready")["message"].to_string();
    assert!(
        message.contains("violate the schema") && message.contains("shape"),
        "{message}"
    );
}

/// A Configuration of the podinfo manifests whose values come from where `values` says.
fn configuration(values: &str) -> String {
    format!(
        "
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {{name: configured}}
spec:
  interval: 1m0s
  sourceRef: {{kind: ComponentVersion, name: component, resourceRef: {{name: deployment}}}}
  configRef: {{kind: ComponentVersion, name: component, resourceRef: {{name: config}}}}
  {values}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {{name: podinfo}}
spec:
  sourceRef: {{kind: Configuration, name: configured}}
  kustomizationTemplate: {{interval: 1m0s, path: ./, prune: true, targetNamespace: NAMESPACE}}
"
    )
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn values_come_from_a_git_repository_of_flux_and_follow_its_commits() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("values-git").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let site = |replicas: u8| format!("test: {{backend: {{replicas: {replicas}, color: teal}}}}");
    let git = GitRepository::start(&[("config/values.yaml", &site(2))]).await;
    let source = format!(
        "
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: site}}
spec: {{interval: 1h, url: {}, ref: {{branch: main}}}}
",
        git.url()
    );
    scene.cluster.apply_in(&namespace, &source).await;
    let values = "valuesFrom: {fluxSource: {sourceRef: {kind: GitRepository, name: site}, \
                  path: config/values.yaml, subPath: test.backend}}";
    let manifests = configuration(values).replace("NAMESPACE", &namespace);
    scene.cluster.apply_in(&namespace, &manifests).await;
    has_settings(scene, &namespace, 2, "teal").await;

    git.commit(&[("config/values.yaml", &site(5))]).await;
    let requested = "reconcile.fluxcd.io/requestedAt=now";
    scene
        .cluster
        .kubectl(&[
            "annotate",
            "gitrepository",
            "site",
            "-n",
            &namespace,
            requested,
        ])
        .await;
    has_settings(scene, &namespace, 5, "teal").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn values_come_from_a_secret_or_from_the_object_itself() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("values").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let secret = "
apiVersion: v1
kind: Secret
metadata: {name: site}
stringData: {values.yaml: 'replicas: 3'}
";
    scene.cluster.apply_in(&namespace, secret).await;
    let values = "valuesFrom: {secretSource: {sourceRef: {name: site}, key: values.yaml}}";
    let manifests = configuration(values).replace("NAMESPACE", &namespace);
    scene.cluster.apply_in(&namespace, &manifests).await;
    has_settings(scene, &namespace, 3, "green").await;

    let configurations = scene.api("Configuration", &namespace).await;
    let patch = json!({"spec": {"values": {"replicas": 4}}});
    let patched = configurations
        .patch("configured", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("the Configuration is there");
    has_settings(scene, &namespace, 4, "green").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b80_strategic_merge_is_refused_by_name() {
    let scene = shared_scene().await;
    let namespace = scene.cluster.namespace("merge").await;
    component(
        scene,
        &namespace,
        "ghcr.io/phoban01/air-gapped",
        "phoban.io/podinfo",
        "6.3.5",
    )
    .await;
    let patch = "patchStrategicMerge: {source: {sourceRef: {kind: GitRepository, name: x}, \
                 path: kustomization.yaml}, target: {path: deployment.yaml}}";
    scene
        .cluster
        .apply_in(&namespace, &configuration(patch))
        .await;

    let message = scene
        .fails("Configuration", &namespace, "configured", "InvalidSpec")
        .await;
    assert!(
        message.contains("patchStrategicMerge is not supported"),
        "{message}"
    );
}

/// The podinfo manifests with these rules and values, in the public registry.
async fn push_own(scene: &Scene, name: &str, config: &str) {
    let manifests = std::fs::read(fixture(PODINFO)).expect("the fixture is there");
    Component::new(name, "1.0.0")
        .with_blob("config", "PlainText", "text/plain", config.into())
        .with_blob("values", "PlainText", "text/plain", "replicas: 3\n".into())
        .with_blob("deployment", "Directory", "application/x-tgz", manifests)
        .with_image("image", "registry.example.org/own:1")
        .push(&scene.public, "configured")
        .await;
}

/// A ComponentVersion of what [`push_own`] has pushed.
async fn own_component(scene: &Scene, namespace: &str, name: &str) {
    let text = format!(
        "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: component}}
spec:
  interval: 1m0s
  component: {name}
  version: {{semver: 1.0.0}}
  repository: {{url: public.example.org/configured}}
"
    );
    scene.cluster.apply_in(namespace, &text).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn values_come_from_a_resource_of_a_component_or_from_its_snapshot() {
    let scene = shared_scene().await;
    let config = "configuration:
  defaults: {color: red}
  rules:
  - {file: deployment.yaml, path: spec.replicas, value: (( replicas ))}
  - {file: deployment.yaml, path: 'spec.template.spec.containers[0].env[0].value', value: (( color ))}
";
    push_own(scene, "example.org/values", config).await;
    let resource = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: values}
spec:
  interval: 1m0s
  sourceRef: {kind: ComponentVersion, name: component, resourceRef: {name: values}}
";
    for source in [
        "{kind: Resource, name: values}",
        "{kind: ComponentVersion, name: component, resourceRef: {name: values}}",
    ] {
        let namespace = scene.cluster.namespace("values-ref").await;
        own_component(scene, &namespace, "example.org/values").await;
        scene.cluster.apply_in(&namespace, resource).await;
        let values = format!("valuesFrom: {{sourceRef: {source}}}");
        let manifests = configuration(&values).replace("NAMESPACE", &namespace);
        scene.cluster.apply_in(&namespace, &manifests).await;
        has_settings(scene, &namespace, 3, "red").await;
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn configuration_by_localization_rules_localizes_and_says_so() {
    let scene = shared_scene().await;
    let config = "localization:
- file: deployment.yaml
  image: spec.template.spec.containers[0].image
  resource: {name: image}
";
    push_own(scene, "example.org/instead", config).await;
    let namespace = scene.cluster.namespace("instead").await;
    own_component(scene, &namespace, "example.org/instead").await;
    let manifests = configuration("").replace("NAMESPACE", &namespace);
    scene.cluster.apply_in(&namespace, &manifests).await;

    scene
        .deployed(&namespace, "podinfo", "registry.example.org/own:1")
        .await;
    let events = scene
        .cluster
        .api("events.k8s.io/v1", "Event", &namespace)
        .await;
    eventually("an event tells of it", TIMEOUT, async || {
        let found = events
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let notes: Vec<String> = found
            .items
            .iter()
            .map(|event| event.data["note"].to_string())
            .collect();
        let is_told = notes
            .iter()
            .any(|note| note.contains("their localization is applied instead"));
        if is_told {
            Ok(())
        } else {
            Err(notes.join("\n"))
        }
    })
    .await;
}

/// A chart in a chart repository is installed under its own version, which the resource's version
/// and that of the component differ from.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chart_of_a_chart_repository_is_installed_by_helm_controller() {
    const VERSION: &str = "0.3.0";
    let charts = ChartRepository::start("echo", VERSION).await;
    let trusted = format!("--resolve=charts.example.org={}", charts.address);
    let scene = Scene::start_with(Flux::KustomizeAndHelm, &[&trusted]).await;
    let namespace = scene.cluster.namespace("helm-access").await;
    let access = json!({"type": "helm/v1", "helmRepository": "http://charts.example.org/stable",
                        "helmChart": format!("echo:{VERSION}")});
    let made = Component::new("example.org/charted", "2.0.0");
    let made = made.with_access("chart", "helmChart", &access);
    made.push(&scene.private, "made").await;
    let (url, name) = ("ghcr.io/made", "example.org/charted");
    component(&scene, &namespace, url, name, "2.0.0").await;
    let objects = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: chart}
spec:
  interval: 1m0s
  sourceRef: {kind: ComponentVersion, name: component, resourceRef: {name: chart}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: echo}
spec:
  interval: 1m0s
  sourceRef: {kind: Resource, name: chart}
  helmReleaseTemplate: {interval: 1m0s, install: {disableWait: true}}
";
    scene.cluster.apply_in(&namespace, objects).await;
    let resource = scene.ready("Resource", &namespace, "chart").await;
    let snapshot = resource.data["status"]["snapshotName"].as_str();
    let snapshot = scene
        .ready("Snapshot", &namespace, snapshot.expect("a name"))
        .await;
    assert_eq!(snapshot.data["spec"]["tag"], VERSION);

    let releases = scene
        .cluster
        .api("helm.toolkit.fluxcd.io/v2", "HelmRelease", &namespace)
        .await;
    wait::until(&releases, "echo", "ready", wait::is_ready).await;
    assert_eq!(charts.asked(), ["/stable/index.yaml", "/stable/echo.tgz"]);
}

/// A chart repository with one chart, on loopback; it ends with the test.
struct ChartRepository {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ChartRepository {
    async fn start(name: &str, version: &str) -> Self {
        let chart = chart(name, version);
        let digest = Registry::digest(&chart);
        let digest = digest.trim_start_matches("sha256:");
        let index = format!(
            "apiVersion: v1\nentries:\n  {name}:\n  - version: {version}\n    digest: {digest}\n    \
             urls: [{name}.tgz]\n"
        );
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let path = request.uri().path().to_owned();
            let body = if path.ends_with("/index.yaml") {
                index.clone().into_bytes()
            } else {
                chart.clone()
            };
            log.lock().expect("no panic").push(path);
            async move { body }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// A packed chart with one ConfigMap.
fn chart(name: &str, version: &str) -> Vec<u8> {
    let metadata = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: charted}\n";
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(packed);
    for (path, content) in [("Chart.yaml", &*metadata), ("templates/map.yaml", manifest)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{name}/{path}"), content.as_bytes())
            .expect("a path that fits a header");
    }
    let packed = archive.into_inner().expect("it is held in memory");
    packed.finish().expect("it is held in memory")
}
