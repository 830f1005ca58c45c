//! Installation into an empty cluster, as the README tells it.

use std::process::Command;

use kube::api::PostParams;

use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::{in_repository, tools};

/// A cluster that knows nothing of us.
async fn empty_cluster() -> Cluster {
    Cluster::start(Options {
        flux: Flux::None,
        ..Options::default()
    })
    .await
}

fn folder(path: &str) -> String {
    in_repository(path).display().to_string()
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
        .api("delivery.ocm.software/v1alpha1", "Resource", "ocm-system")
        .await;
    let refused = serde_yaml::from_str(refused).expect("valid YAML");
    let answer = resources.create(&PostParams::default(), &refused).await;
    let error = answer.expect_err("it names no resource").to_string();
    assert!(error.contains("must name a resource"), "{error}");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn manifests_install_into_an_empty_cluster() {
    let cluster = empty_cluster().await;
    let manifests = folder("config/default");
    cluster
        .kubectl(&["apply", "--warnings-as-errors", "-k", &manifests])
        .await;
    accepts_manifests(&cluster).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn chart_installs_into_an_empty_cluster() {
    let cluster = empty_cluster().await;
    let output = Command::new(tools::program("helm"))
        .args(["install", "ocm-controller"])
        .arg(folder("charts/ocm-controller"))
        .args(["--namespace=ocm-system", "--create-namespace"])
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .expect("helm can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    accepts_manifests(&cluster).await;
}
