//! Installation into a cluster, as the README tells it, and the operator run as it was installed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use kube::api::{ListParams, PostParams};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::installed::Installed;
use crate::scene::{PASSWORD, TIMEOUT, USER};
use crate::site::{IMAGE, PRIVATE, guide_in};
use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::wait::eventually;
use crate::support::{fixture, in_repository, ports, scratch, tools};

const NAMESPACE: &str = "ocm-system";

/// As `kubectl create namespace` and then the label of the Pod Security Standard.
const RESTRICTED: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: ocm-system, labels: {pod-security.kubernetes.io/enforce: restricted}}
";

/// A cluster that knows nothing of us.
async fn empty_cluster(flux: Flux) -> Cluster {
    Cluster::start(Options {
        flux,
        ..Options::default()
    })
    .await
}

fn folder(path: &str) -> String {
    in_repository(path).display().to_string()
}

/// Runs helm and gives what it prints.
fn helm(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = Command::new(tools::program("helm"))
        .args(arguments)
        .arg("--namespace=ocm-system")
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .expect("helm can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("helm prints UTF-8")
}

/// What the API server makes of all manifests that people are shown, CEL rules included. A field
/// that it does not know, and a pod that its namespace would refuse, are warnings.
async fn accepts_manifests(cluster: &Cluster) {
    for manifests in ["config/samples", "examples/air-gapped/components"] {
        let manifests = folder(manifests);
        let arguments = [
            "apply",
            "--dry-run=server",
            "--warnings-as-errors",
            "-f",
            &manifests,
        ];
        cluster.kubectl(&arguments).await;
    }
    let refused = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: without-resource, namespace: ocm-system}
spec: {interval: 1m, sourceRef: {kind: ComponentVersion, name: podinfo}}
";
    let resources = cluster
        .api("delivery.ocm.software/v1alpha1", "Resource", NAMESPACE)
        .await;
    let refused = serde_yaml::from_str(refused).expect("valid YAML");
    let answer = resources.create(&PostParams::default(), &refused).await;
    let error = answer.expect_err("it names no resource").to_string();
    assert!(error.contains("must name a resource"), "{error}");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn manifests_install_into_an_empty_cluster() {
    let cluster = empty_cluster(Flux::None).await;
    let manifests = folder("config/default");
    cluster
        .kubectl(&["apply", "--warnings-as-errors", "-k", &manifests])
        .await;
    accepts_manifests(&cluster).await;
    let file = folder("config/install.yaml");
    let printed = cluster.kubectl(&["apply", "-f", &file]).await;
    assert!(
        printed.lines().all(|line| line.ends_with(" unchanged")),
        "{printed}"
    );
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chart_installs_into_an_empty_cluster() {
    let cluster = empty_cluster(Flux::None).await;
    let chart = folder("charts/ocm-controller");
    helm(
        &cluster,
        &["install", "ocm-controller", &chart, "--create-namespace"],
    );
    accepts_manifests(&cluster).await;
}

/// A cluster with Flux, and the private registry of the guide.
struct Place {
    cluster: Cluster,
    registry: Registry,
    /// Where the operator serves snapshots, metrics and probes.
    addresses: [SocketAddr; 3],
}

impl Place {
    async fn new() -> Self {
        let options = RegistryOptions {
            tls: vec!["ghcr.io".to_owned()],
            password: Some((USER.to_owned(), PASSWORD.to_owned())),
        };
        let (cluster, registry) =
            tokio::join!(empty_cluster(Flux::Kustomize), Registry::start(options));
        registry
            .load(&fixture("registry/phoban01-air-gapped"), |_| true)
            .await;
        cluster.apply(RESTRICTED).await;
        let authorities = std::fs::read_to_string(registry.ca_file()).expect("a text");
        let authorities = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "site-ca", "namespace": NAMESPACE},
            "data": {"ca.crt": authorities},
        });
        cluster.apply(&authorities.to_string()).await;
        Self {
            cluster,
            registry,
            addresses: [ports::free(), ports::free(), ports::free()],
        }
    }

    /// What has to be said here and not in a cluster: everything is on loopback.
    fn arguments(&self) -> Vec<String> {
        let [registry, metrics, health] = self.addresses;
        vec![
            format!("--registry-listen={registry}"),
            format!("--metrics-bind-address={metrics}"),
            format!("--health-probe-bind-address={health}"),
            "--allow-loopback".to_owned(),
            format!("--resolve=ghcr.io={}", self.registry.address()),
        ]
    }

    /// Values of the chart that say so.
    fn values(&self) -> Vec<String> {
        vec![
            format!("--set=registryAddress={}", self.addresses[0]),
            format!("--set-json=args={}", json!(self.arguments())),
            "--set=certificateAuthorities.configMap=site-ca".to_owned(),
        ]
    }

    /// An overlay over `config/default` that says so.
    fn overlay(&self) -> PathBuf {
        let overlay = scratch::folder("overlay");
        // kustomize takes relative paths only.
        let ups = overlay.components().count() - 1;
        let base = format!("{}{}", "../".repeat(ups), &folder("config/default")[1..]);
        let mut patch = vec![
            json!({"op": "replace", "path": "/spec/template/spec/containers/0/args/2",
                   "value": format!("--oci-registry-addr={}", self.addresses[0])}),
            json!({"op": "add", "path": "/spec/template/spec/volumes/-",
                   "value": {"name": "authorities", "configMap": {"name": "site-ca"}}}),
            json!({"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts/-",
                   "value": {"name": "authorities", "mountPath": "/authorities"}}),
        ];
        let mut arguments = self.arguments();
        arguments.push("--ca-file=/authorities/ca.crt".to_owned());
        patch.extend(arguments.into_iter().map(|argument| {
            json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": argument})
        }));
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [base],
            "patches": [{
                "target": {"kind": "Deployment", "name": "ocm-controller"},
                "patch": json!(patch).to_string(),
            }],
        });
        std::fs::write(
            overlay.join("kustomization.yaml"),
            kustomization.to_string(),
        )
        .expect("the scratch folder is writable");
        overlay
    }

    /// Starts the operator as it was installed, and waits until the guide has come to its end.
    async fn makes_the_guide_ready(&self) -> Installed {
        let installed = Installed::start(&self.cluster, NAMESPACE, self.addresses[2]).await;
        let user = format!("--docker-username={USER}");
        let password = format!("--docker-password={PASSWORD}");
        let secret = [
            "create",
            "secret",
            "docker-registry",
            "-n",
            NAMESPACE,
            "ghcr-cred",
        ];
        let mut secret = secret.to_vec();
        secret.extend(["--docker-server=ghcr.io", &user, &password]);
        self.cluster.kubectl(&secret).await;
        self.cluster
            .apply(&guide_in(NAMESPACE, "default", PRIVATE))
            .await;
        let deployments = self.cluster.api("apps/v1", "Deployment", "default").await;
        eventually("the guide's image is deployed", TIMEOUT, async || {
            let found = deployments.get_opt("podinfo").await;
            let found = found.map_err(|error| error.to_string())?;
            let found = found.ok_or_else(|| "no such Deployment".to_owned())?;
            let image = &found.data["spec"]["template"]["spec"]["containers"][0]["image"];
            if image == IMAGE {
                Ok(())
            } else {
                Err(image.to_string())
            }
        })
        .await;
        installed
    }

    /// All that is in the cluster, as `KIND/NAMESPACE/NAME`, without what others make by themselves.
    async fn objects(&self) -> BTreeSet<String> {
        let kinds = self
            .cluster
            .kubectl(&["api-resources", "--verbs=list", "-o", "name"])
            .await;
        let by_themselves = ["events", "events.events.k8s.io", "pods", "replicasets.apps"];
        let also = [
            "endpoints",
            "endpointslices.discovery.k8s.io",
            "leases.coordination.k8s.io",
            "ipaddresses.networking.k8s.io",
        ];
        let kinds: Vec<&str> = kinds
            .lines()
            .filter(|kind| !by_themselves.contains(kind) && !also.contains(kind))
            .collect();
        let line = "{.kind}/{.metadata.namespace}/{.metadata.name}{\"\\n\"}";
        let template = format!("jsonpath={{range .items[*]}}{line}{{end}}");
        let listed = self
            .cluster
            .kubectl(&["get", &kinds.join(","), "-A", "-o", &template])
            .await;
        listed.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`, root and the binary of `make binary`"]
async fn chart_gives_an_operator_that_works_and_goes_without_a_trace() {
    let place = Place::new().await;
    let cluster = &place.cluster;
    let chart = folder("charts/ocm-controller");
    let values = place.values();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    helm(
        cluster,
        &[&["install", "ocm-controller", &chart][..], &values].concat(),
    );
    let mut installed = place.makes_the_guide_ready().await;

    installed.stop().await;
    let before = place.objects().await;
    let debug = ["upgrade", "ocm-controller", &chart, "--set=log.level=debug"];
    helm(cluster, &[&debug[..], &values].concat());
    let upgraded = place.objects().await;
    let new: Vec<&String> = upgraded.difference(&before).collect();
    // Helm keeps each revision of a release.
    assert_eq!(
        new,
        ["Secret/ocm-system/sh.helm.release.v1.ocm-controller.v2"]
    );
    assert!(upgraded.is_superset(&before));
    let installed = Installed::start(cluster, NAMESPACE, place.addresses[2]).await;
    assert!(
        installed
            .arguments
            .contains(&"--log-level=debug".to_owned())
    );

    let made = objects_of(&helm(cluster, &["get", "manifest", "ocm-controller"]));
    helm(cluster, &["uninstall", "ocm-controller", "--wait"]);
    let after = place.objects().await;
    let gone: BTreeSet<String> = upgraded
        .difference(&after)
        .filter(|object| !object.contains("sh.helm.release"))
        .cloned()
        .collect();
    assert_eq!(gone, made);
    assert_eq!(after.difference(&upgraded).next(), None);
    for kind in [
        "ComponentVersion",
        "FluxDeployer",
        "OCIRepository",
        "Kustomization",
    ] {
        assert!(
            after.contains(&format!("{kind}/ocm-system/podinfo")),
            "{kind}"
        );
    }
    assert!(after.contains("Deployment/default/podinfo"));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`, root and the binary of `make binary`"]
async fn manifests_give_an_operator_that_works() {
    let place = Place::new().await;
    let overlay = place.overlay().display().to_string();
    place
        .cluster
        .kubectl(&["apply", "--warnings-as-errors", "-k", &overlay])
        .await;
    place.makes_the_guide_ready().await;
}

/// docs/upgrade.md says what stays and what goes.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn release_of_the_go_controller_is_upgraded_in_place() {
    let cluster = Cluster::start(Options {
        flux: Flux::None,
        crds: vec![in_repository("crds")],
        ..Options::default()
    })
    .await;
    cluster
        .apply(&RESTRICTED.replace("restricted", "baseline"))
        .await;
    let theirs = fixture("go-controller-chart").display().to_string();
    helm(&cluster, &["install", "ocm-controller", &theirs]);
    cluster
        .apply(&guide_in(NAMESPACE, "default", PRIVATE))
        .await;

    let chart = folder("charts/ocm-controller");
    helm(&cluster, &["upgrade", "ocm-controller", &chart]);

    let wanted = objects_of(&helm(&cluster, &["template", "ocm-controller", &chart]));
    let is = objects_of(&helm(&cluster, &["get", "manifest", "ocm-controller"]));
    assert_eq!(is, wanted);
    let deployments = cluster.api("apps/v1", "Deployment", NAMESPACE).await;
    let deployments = deployments.list(&ListParams::default()).await;
    let deployments = deployments.expect("they can be listed").items;
    let names: Vec<String> = deployments
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["ocm-controller"]);
    let spec = &deployments[0].data["spec"];
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    let container = &pod["containers"][0];
    assert_eq!(container["command"], Value::Null);
    assert_eq!(container["args"][0], "run");
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "data", "mountPath": "/data"}])
    );
    assert_eq!(pod["volumes"].as_array().map(Vec::len), Some(1));
    let services = cluster.api("v1", "Service", NAMESPACE).await;
    let service = services.get("registry").await.expect("Flux pulls from it");
    assert_eq!(
        service.data["spec"]["selector"],
        json!({"app": "ocm-controller"})
    );
    let roles = cluster
        .api("rbac.authorization.k8s.io/v1", "ClusterRole", "")
        .await;
    let old = roles.get_opt("ocm-controller-manager-role").await;
    assert!(old.expect("it can be asked for").is_none());
    let versions = cluster
        .api(
            "delivery.ocm.software/v1alpha1",
            "ComponentVersion",
            NAMESPACE,
        )
        .await;
    versions
        .get("podinfo")
        .await
        .expect("people's objects stay");
}

/// The objects of a manifest, as [`Place::objects`] names them.
fn objects_of(manifest: &str) -> BTreeSet<String> {
    serde_yaml::Deserializer::from_str(manifest)
        .map(|document| Value::deserialize(document).expect("valid YAML"))
        .filter(|object| !object.is_null())
        .map(|object| {
            let metadata = &object["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, namespace) = (text(&object["kind"]), text(&metadata["namespace"]));
            format!("{kind}/{namespace}/{}", text(&metadata["name"]))
        })
        .collect()
}
