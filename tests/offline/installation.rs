//! CRDs, `config/` and the chart say the same.

use std::collections::BTreeSet;
use std::process::Command;

use ocm_controller::controller::lease::LEASE_NAME;
use ocm_controller::controller::{PULL_KEY_SECRET, Selection};
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
    let role = text("config/rbac/role.yaml");
    let (_, rules) = role.split_once("\nrules:\n").expect("a ClusterRole");
    assert!(
        text("charts/ocm-controller/files/rights.yaml") == rules,
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
    assert!(!installed.is_empty());
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
fn install_yaml_is_what_the_manifests_render() {
    assert!(
        tool("kubectl", &["kustomize", "config/default"]) == text("config/install.yaml"),
        "config/install.yaml is not up to date: run `make generate`"
    );
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn registry_of_images_is_in_front_of_all_of_them() {
    let rendered = helm_template(&[
        "--set=global.imageRegistry=mirror.example.org:5000/apps/",
        "--set=monitoring.enabled=true,monitoring.rules.enabled=true",
        "--set=monitoring.dashboard.enabled=true",
    ]);
    let images: Vec<&str> = rendered
        .lines()
        .filter_map(|line| {
            line.trim_start()
                .trim_start_matches("- ")
                .strip_prefix("image: ")
        })
        .collect();
    let wanted = concat!(
        "\"mirror.example.org:5000/apps/ocm-controller:",
        env!("CARGO_PKG_VERSION"),
        "\""
    );
    assert_eq!(images, [wanted]);
}

/// The kinds that the chart adds for each of these values, and that all of them are labelled.
#[test]
#[ignore = "needs the tools of `make tools`"]
fn parts_of_the_chart_are_optional() {
    let kinds = |values: &[&str]| {
        let rendered = documents(&helm_template(values));
        let kinds = rendered.iter().map(|object| {
            assert_eq!(
                object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm",
                "{object}"
            );
            format!(
                "{}/{}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            )
        });
        kinds.collect::<BTreeSet<String>>()
    };
    let default = kinds(&[]);
    for (values, added) in [
        (
            "monitoring.enabled=true",
            &[
                "Service/ocm-controller-metrics",
                "ServiceMonitor/ocm-controller",
            ][..],
        ),
        (
            "monitoring.rules.enabled=true",
            &["PrometheusRule/ocm-controller"],
        ),
        (
            "monitoring.dashboard.enabled=true",
            &["ConfigMap/ocm-controller-dashboard"],
        ),
        (
            "podDisruptionBudget.enabled=true",
            &["PodDisruptionBudget/ocm-controller"],
        ),
        (
            "data.claim.enabled=true",
            &["PersistentVolumeClaim/ocm-controller-data"],
        ),
        (
            "rbac.aggregateToView=true",
            &["ClusterRole/ocm-controller-view"],
        ),
        (
            "rbac.aggregateToEdit=true",
            &["ClusterRole/ocm-controller-edit"],
        ),
    ] {
        let with = kinds(&[&format!("--set={values}")]);
        let difference: Vec<&str> = with.difference(&default).map(String::as_str).collect();
        assert_eq!(difference, added, "{values}");
        assert!(with.is_superset(&default), "{values}");
    }
    let without = kinds(&["--set=networkPolicy.enabled=false"]);
    let difference: Vec<&str> = default.difference(&without).map(String::as_str).collect();
    assert_eq!(difference, ["NetworkPolicy/ocm-controller"]);
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn alerts_and_dashboard_are_rendered_as_they_stand() {
    let rendered = documents(&helm_template(&[
        "--set=monitoring.rules.enabled=true",
        "--set=monitoring.dashboard.enabled=true",
    ]));
    let find = |kind: &str| {
        rendered
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap()
    };
    let rules = documents(&text("charts/ocm-controller/files/rules.yaml")).remove(0);
    assert_eq!(find("PrometheusRule")["spec"], rules);
    let dashboard = find("ConfigMap")["data"]["ocm-controller.json"]
        .as_str()
        .unwrap();
    assert_eq!(
        dashboard,
        text("charts/ocm-controller/files/dashboard.json")
    );
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
        "--set=priorityClassName=system-cluster-critical",
        "--set=topologySpreadConstraints[0].topologyKey=zone",
        "--set=tolerations[0].key=dedicated",
        "--set=affinity.nodeAffinity.a=b",
        "--set=env[0].name=RUST_BACKTRACE",
        "--set=certificateAuthorities.configMap=site-ca",
        "--set=log.level=warn,log.format=text",
        "--set=volumes[0].name=more,volumeMounts[0].name=more,volumeMounts[0].mountPath=/more",
        "--set=podLabels.team=platform,podAnnotations.note=here",
        "--set=terminationGracePeriodSeconds=9",
        "--set=watchNamespaces={team-a,team-b}",
        "--set=watchLabelSelector=sharding.fluxcd.io/key in (a\\,b)",
        "--set=watchSecrets={team-a}",
        "--set=certificate.secretName=theirs,certificate.lifetime=24h",
        "--set=data.storeSizeLimit=10737418240,data.gcInterval=1m",
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
        "--watch-namespaces=team-a,team-b",
        "--watch-label-selector=sharding.fluxcd.io/key in (a,b)",
        "--watch-secrets=team-a",
        "--certificate-secret-name=theirs",
        "--registry-certificate-lifetime=24h",
        "--store-size-limit=10737418240",
        "--gc-interval=1m",
        "--log-level=warn",
        "--log-format=text",
        "--ca-file=/authorities/ca.crt",
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
    assert_eq!(pod["imagePullSecrets"][0]["name"], "for-the-image");
    assert_eq!(pod["nodeSelector"]["zone"], "a");
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "zone");
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert_eq!(pod["affinity"]["nodeAffinity"]["a"], "b");
    assert_eq!(pod["terminationGracePeriodSeconds"], 9);
    assert_eq!(container["env"][1]["name"], "RUST_BACKTRACE");
    assert_eq!(pod["volumes"][1]["configMap"]["name"], "site-ca");
    assert_eq!(container["volumeMounts"][1]["mountPath"], "/authorities");
    assert_eq!(pod["volumes"][2]["name"], "more");
    assert_eq!(container["volumeMounts"][2]["mountPath"], "/more");
    assert_eq!(pod["volumes"][3]["secret"]["secretName"], "push-with");
    let mount = &container["volumeMounts"][3]["mountPath"];
    assert_eq!(mount, "/etc/ocm-controller/registry");
    let metadata = &deployment["spec"]["template"]["metadata"];
    assert_eq!(metadata["labels"]["team"], "platform");
    assert_eq!(metadata["annotations"]["note"], "here");
}

/// The names of Secrets and Leases in the rules of a rendered Role.
fn named(rendered: &[Value], namespace: &str, name: &str) -> BTreeSet<String> {
    let role = rendered.iter().find(|object| {
        let metadata = &object["metadata"];
        object["kind"] == "Role" && metadata["namespace"] == namespace && metadata["name"] == name
    });
    let role = role.unwrap_or_else(|| panic!("no Role {namespace}/{name}"));
    let rules = role["rules"].as_array().unwrap().iter();
    let names = rules.flat_map(|rule| rule["resourceNames"].as_array().into_iter().flatten());
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn rights_are_given_where_the_operator_works_and_to_what_it_names() {
    let rendered = documents(&helm_template(&[
        "--set=watchNamespaces={team-a,team-b}",
        "--set=watchLabelSelector=sharding.fluxcd.io/key=one",
        "--set=certificate.secretName=theirs",
    ]));
    let is_of_cluster = |object: &Value| object["metadata"]["namespace"].is_null();
    assert!(!rendered.iter().any(is_of_cluster));
    let selector = "sharding.fluxcd.io/key=one".parse().unwrap();
    let selection = Selection {
        labels: Some(selector),
        ..Selection::default()
    };
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| selection.named(name));
        names.collect::<BTreeSet<String>>()
    };
    for namespace in ["team-a", "team-b"] {
        assert_eq!(
            named(&rendered, namespace, "ocm-controller-watched"),
            names(&["ocm-registry-ca", "ocm-registry-pull"])
        );
    }
    let lease = named(&rendered, "ocm-system", "ocm-controller-leader-election");
    assert_eq!(lease, names(&[LEASE_NAME]));
    let own = BTreeSet::from(["theirs".to_owned(), PULL_KEY_SECRET.to_owned()]);
    assert_eq!(named(&rendered, "ocm-system", "ocm-controller"), own);

    let outside = documents(&helm_template(&[
        "--set=outsideRegistry.url=oci://registry.example.org/ocm",
        "--set=outsideRegistry.pullSecret=pull-with,outsideRegistry.caSecret=trust",
    ]));
    let own = BTreeSet::from(["pull-with".to_owned(), "trust".to_owned()]);
    assert_eq!(named(&outside, "ocm-system", "ocm-controller"), own);
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn several_replicas_need_an_election_and_no_claim() {
    let render = |values: &[&str]| {
        let output = Command::new(tools::program("helm"))
            .args([
                "template",
                "ocm-controller",
                "charts/ocm-controller",
                "--set=replicas=2",
            ])
            .args(values)
            .current_dir(path(""))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(printed(&output))
        } else {
            Err(errors)
        }
    };
    let election = "--set=leaderElection.enabled=true";
    let rendered = render(&[election, "--set=kubeAPI.qps=20"]).unwrap();
    for wanted in [
        "replicas: 2",
        "- --leader-elect",
        "- --kube-api-qps=20",
        "- --kube-api-burst=300",
    ] {
        assert!(rendered.contains(wanted), "{wanted}");
    }
    assert!(render(&[]).unwrap_err().contains("leaderElection.enabled"));
    for claim in [
        "--set=data.claim.enabled=true",
        "--set=data.existingClaim=content",
    ] {
        assert!(
            render(&[election, claim])
                .unwrap_err()
                .contains("data.claim")
        );
    }
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
