//! CRDs, `config/` and the chart say the same.

use std::process::Command;

use serde_json::Value;

use crate::command_line::{printed, run};
use crate::files::{documents, path, text};
use crate::tools;

const CRDS: &str = "crds/delivery.ocm.software.yaml";

#[test]
fn crds_are_those_that_the_program_prints() {
    let output = run(&["crds"]);
    assert!(
        printed(&output) == text(CRDS),
        "{CRDS} is not up to date: run `make generate`"
    );
}

#[test]
fn crds_of_the_chart_are_the_same() {
    assert!(
        text("charts/ocm-controller/crds/delivery.ocm.software.yaml") == text(CRDS),
        "the chart's CRDs are not up to date: run `make generate`"
    );
}

#[test]
fn rights_of_the_chart_are_the_same() {
    let rules = |file: &str| {
        let text = text(file);
        let begin = text.find("\nrules:\n").expect("a ClusterRole");
        text[begin..].to_owned()
    };
    assert!(
        rules("charts/ocm-controller/templates/clusterrole.yaml") == rules("config/rbac/role.yaml"),
        "the chart's rights are not up to date: run `make generate`"
    );
}

#[test]
fn chart_has_the_version_of_the_package() {
    let chart = &documents(&text("charts/ocm-controller/Chart.yaml"))[0];
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let manager = text("config/manager/manager.yaml");
    assert!(manager.contains(concat!("ocm-controller:", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn chart_renders_what_the_manifests_install() {
    let manifests = documents(&tool("kubectl", &["kustomize", "config/default"]));
    let chart = documents(&helm_template(&[]));
    // The CRDs come from the chart's crds/, the namespace from `helm install --create-namespace`.
    let installed: Vec<Value> = manifests
        .into_iter()
        .filter(|object| {
            !["CustomResourceDefinition", "Namespace"].contains(&object["kind"].as_str().unwrap())
        })
        .map(comparable)
        .collect();
    let rendered: Vec<Value> = chart.into_iter().map(comparable).collect();
    for object in &installed {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let same = rendered
            .iter()
            .find(|found| found["kind"] == *kind && found["metadata"]["name"] == *name);
        assert_eq!(same, Some(object), "{kind} {name}");
    }
    assert_eq!(rendered.len(), installed.len());
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn manifests_render_all_crds_and_the_namespace() {
    let manifests = documents(&tool("kubectl", &["kustomize", "config/default"]));
    let count = |kind: &str| {
        let of_kind = manifests.iter().filter(|object| object["kind"] == kind);
        of_kind.count()
    };
    assert_eq!(count("CustomResourceDefinition"), 7);
    assert_eq!(count("Namespace"), 1);
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn values_of_the_chart_reach_the_deployment() {
    let rendered = documents(&helm_template(&[
        "--set=registryAddress=flux.example.org:5001",
        "--set=data.existingClaim=content",
        "--set=outsideRegistry.url=oci://registry.example.org/ocm",
        "--set=outsideRegistry.credentialsSecret=push-with",
        "--set=outsideRegistry.pullSecret=pull-with",
        "--set=outsideRegistry.caSecret=trust",
        "--set=args={--log-level=debug,--on-republish=hold}",
        "--set=image.tag=9.9.9",
        "--set=imagePullSecrets[0].name=for-the-image",
        "--set=nodeSelector.zone=a",
    ]));
    let deployment = rendered
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "ocm-controller:9.9.9");
    let arguments = serde_json::json!([
        "run",
        "--data-dir=/data",
        "--oci-registry-addr=flux.example.org:5001",
        "--registry=oci://registry.example.org/ocm",
        "--registry-credentials=/etc/ocm-controller/registry/.dockerconfigjson",
        "--registry-pull-secret=pull-with",
        "--registry-ca-secret=trust",
        "--log-level=debug",
        "--on-republish=hold",
    ]);
    assert_eq!(container["args"], arguments);
    let claim = &pod["volumes"][0]["persistentVolumeClaim"]["claimName"];
    assert_eq!(claim, "content");
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "push-with");
    let mount = &container["volumeMounts"][1]["mountPath"];
    assert_eq!(mount, "/etc/ocm-controller/registry");
    assert_eq!(pod["imagePullSecrets"][0]["name"], "for-the-image");
    assert_eq!(pod["nodeSelector"]["zone"], "a");
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn chart_is_clean_for_helm_lint() {
    tool("helm", &["lint", "--strict", "charts/ocm-controller"]);
}

fn helm_template(values: &[&str]) -> String {
    let mut arguments = vec![
        "template",
        "ocm-controller",
        "charts/ocm-controller",
        "--namespace=ocm-system",
    ];
    arguments.extend(values);
    tool("helm", &arguments)
}

/// What a program of `make tools` prints.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(tools::program(name))
        .args(arguments)
        .current_dir(path(""))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    printed(&output)
}

/// An object without what only one way of installing it adds: Helm's labels, and the pull policy
/// that the API server would fill in.
fn comparable(mut object: Value) -> Value {
    object["metadata"].as_object_mut().unwrap().remove("labels");
    if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") {
        container.as_object_mut().unwrap().remove("imagePullPolicy");
    }
    object
}
