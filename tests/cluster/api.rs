//! The kinds as a real API server knows them.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt as _};

use crate::site::{OURS, PRIVATE, guide_in};
use crate::support::cluster::Cluster;
use crate::support::shared_cluster;

/// Applies one manifest as a user would; the error is what that user would read.
async fn apply(
    cluster: &Cluster,
    namespace: &str,
    manifest: &str,
) -> Result<DynamicObject, String> {
    let object: DynamicObject = serde_yaml::from_str(manifest).expect("a manifest");
    let types = object.types.clone().expect("it has a kind");
    let api: Api<DynamicObject> = cluster
        .api(&types.api_version, &types.kind, namespace)
        .await;
    let mut object = object;
    object.metadata.namespace = Some(namespace.to_owned());
    let parameters = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("test")
    };
    api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn guide_is_accepted_as_written_and_kept_as_written() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("guide").await;
    for manifest in guide_in(&namespace, "default", PRIVATE).split("\n---\n") {
        let written: serde_json::Value = serde_yaml::from_str(manifest).unwrap();
        let kept = apply(cluster, &namespace, manifest).await.unwrap();
        let kept = serde_json::to_value(&kept).unwrap();
        assert_eq!(kept["spec"], written["spec"], "{manifest}");
        if written["kind"] != "ServiceAccount" {
            // Nobody has reconciled it, and whoever waits for it must not think so.
            assert_eq!(kept["status"]["observedGeneration"], -1, "{manifest}");
        }
    }
}

const VERSION: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {name: version}
spec:
  interval: INTERVAL
  component: phoban.io/podinfo
  version: {semver: '>=1'}
  repository: {url: 'URL'}
";

fn version(interval: &str, url: &str) -> String {
    VERSION.replace("INTERVAL", interval).replace("URL", url)
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b64_interval_that_is_none_is_refused() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("interval").await;
    for interval in ["1z", "-5m", "''", "5", "1000000000h", "null"] {
        let refused = apply(cluster, &namespace, &version(interval, "ghcr.io/acme")).await;
        let error = refused.expect_err(interval);
        assert!(error.contains("spec.interval"), "{interval}: {error}");
    }
    for interval in ["90s", "1h30m", "1.5h", "10m0s", "500ms"] {
        let taken = apply(cluster, &namespace, &version(interval, "ghcr.io/acme")).await;
        assert_eq!(taken.unwrap().data["spec"]["interval"], interval);
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b40_url_that_hides_something_is_refused() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("url").await;
    for url in [
        "ghcr.io:user@evil.example/acme",
        "https://user:password@ghcr.io/acme",
        "ghcr.io/acme?to=evil",
        "ghcr.io/acme#fragment",
        "unix:///run/docker.sock",
        "file:///etc",
        "ftp://ghcr.io/acme",
        "ghcr.io/ac me",
        "",
    ] {
        let refused = apply(cluster, &namespace, &version("1m", url)).await;
        let error = refused.expect_err(url);
        assert!(error.contains("spec.repository.url"), "{url:?}: {error}");
    }
    for url in [
        "ghcr.io/acme",
        "https://ghcr.io/acme/ocm",
        "http://registry:5000",
        "oci://[fd00::1]:5000/acme",
        "localhost:5000/acme",
    ] {
        let taken = apply(cluster, &namespace, &version("1m", url)).await;
        assert_eq!(taken.unwrap().data["spec"]["repository"]["url"], url);
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b63_both_templates_are_refused_with_a_hint() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("templates").await;
    let both = "
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: both}
spec:
  sourceRef: {kind: Resource, name: any}
  kustomizationTemplate: {interval: 1m, path: ./, prune: true}
  helmReleaseTemplate: {interval: 1m}
";
    let error = apply(cluster, &namespace, both).await.unwrap_err();
    let hint = "set kustomizationTemplate or helmReleaseTemplate, not both";
    assert!(error.contains(hint), "{error}");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn kubectl_explains_fields_and_lists_all_kinds_by_one_word() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("kubectl").await;
    let explained = cluster
        .kubectl(&["explain", "componentversion.spec.repository.url"])
        .await;
    let explained: Vec<&str> = explained.split_whitespace().collect();
    let explained = explained.join(" ");
    assert!(
        explained.contains("Host, port and path, with or without scheme"),
        "{explained}"
    );

    for manifest in guide_in(&namespace, "default", PRIVATE).split("\n---\n") {
        apply(cluster, &namespace, manifest).await.unwrap();
    }
    let listed = cluster.kubectl(&["get", "ocm", "-A"]).await;
    for kind in [
        "componentversion",
        "resource",
        "localization",
        "fluxdeployer",
    ] {
        let name = format!("{kind}.delivery.ocm.software/podinfo");
        assert!(listed.contains(&name), "{listed}");
    }
    let header = listed.lines().next().unwrap_or_default();
    for column in ["NAMESPACE", "NAME", "READY", "VERSION", "AGE", "STATUS"] {
        assert!(header.contains(column), "{header}");
    }
    let served = cluster
        .kubectl(&["api-resources", "--categories=ocm", "-o=name"])
        .await;
    assert_eq!(served.lines().count(), OURS.len(), "{served}");
}
