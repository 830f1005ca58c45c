//! The program as a person or a Deployment calls it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::files::{documents, text};

/// Runs the program with these arguments and without a cluster to find.
pub(crate) fn run(arguments: &[&str]) -> Output {
    run_with(&[], arguments)
}

/// The same with these variables.
fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ocm-controller"))
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_lists_the_commands() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let text = printed(&output);
    for command in ["run", "scrub", "crds"] {
        assert!(
            text.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{text}"
        );
    }
}

#[test]
fn help_of_run_is_shown_without_starting_anything() {
    let output = run(&["run", "--help"]);
    assert!(output.status.success());
    assert!(printed(&output).contains("--oci-registry-addr"));
}

#[test]
fn readme_has_a_row_for_each_flag_and_no_other() {
    let help = printed(&run(&["run", "--help"]));
    let flags: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .map(|flag| flag.split([' ', '[', '=']).next().unwrap())
        .collect();
    let readme = text("README.md");
    let rows: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `--")?.split('`').next())
        .collect();
    assert_eq!(rows, flags);
}

#[test]
fn version_is_that_of_the_package() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert_eq!(
        printed(&output),
        concat!("ocm-controller ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn wrong_use_is_exit_code_two_and_says_what_is_wrong() {
    for arguments in [
        &["run", "--no-such-flag"][..],
        &["no-such-command"],
        &["run", "--registry-listen=nowhere"],
        &["run", "--concurrent=many"],
        &["run", "--resolve=ghcr.io"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(printed(&output), "", "{arguments:?}");
        let culprit = arguments.last().unwrap().split('=').next().unwrap();
        assert!(complaint(&output).contains(culprit), "{arguments:?}");
    }
}

/// A host that is no name, and that nobody dials (RFC 5737).
const FAR: &str = "203.0.113.7/ocm//example.org/shop:1.0.0";

#[test]
fn f14_proxy_of_the_environment_is_used_and_named_where_it_is_down() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/alice.pub");
    let key = format!("--key=alice={key}");
    let verify = ["verify", FAR, &key];
    let proxy = format!("http://me:geheim@{closed}");
    let output = run_with(&[("HTTPS_PROXY", &proxy)], &verify);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("failed to reach the proxy http://{closed}");
    assert!(
        complaint(&output).contains(&expected),
        "{}",
        complaint(&output)
    );
    let output = run_with(&[("HTTPS_PROXY", "socks5://me:geheim@localhost")], &verify);
    let expected = "HTTPS_PROXY: only proxies that speak HTTP";
    assert!(
        complaint(&output).contains(expected),
        "{}",
        complaint(&output)
    );
    assert!(!complaint(&output).contains("geheim"));
}

#[test]
fn b40_api_server_is_no_registry() {
    let url = "10.96.0.1/ocm//example.org/shop:1.0.0";
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/alice.pub");
    let key = format!("--key=alice={key}");
    let output = run_with(
        &[("KUBERNETES_SERVICE_HOST", "10.96.0.1")],
        &["verify", url, &key],
    );
    assert_eq!(output.status.code(), Some(1));
    let expected = "the address is the API server's";
    assert!(
        complaint(&output).contains(expected),
        "{}",
        complaint(&output)
    );
}

/// It gets as far as the kubeconfig, so all flags before were understood.
pub(crate) fn starts_with(flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no-kubeconfig");
    let data = format!("--data-dir={}", folder.path().display());
    let kubeconfig = format!("--kubeconfig={}", missing.display());
    let mut arguments = flags.to_vec();
    arguments.extend([data.as_str(), kubeconfig.as_str()]);

    let output = run(&arguments);

    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let text = complaint(&output);
    assert!(text.contains("no-kubeconfig"), "{text}");
}

#[test]
fn flags_of_the_original_deployment_are_accepted() {
    starts_with(&[
        "-zap-log-level=4",
        "--leader-elect",
        "--oci-registry-addr=registry.ocm-system.svc.cluster.local:5000",
        "--zap-devel",
        "--certificate-secret-name",
        "ocm-registry-tls-certs",
        "--kube-api-qps=50",
        "--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
    ]);
}

#[test]
fn missing_kubeconfig_is_exit_code_one_and_names_the_file() {
    starts_with(&["run"]);
}

#[test]
fn crds_are_printed_as_yaml_documents() {
    let output = run(&["crds"]);
    assert!(output.status.success());
    let crds = documents(&printed(&output));
    let kinds: Vec<&str> = crds
        .iter()
        .map(|crd| {
            assert_eq!(crd["kind"], "CustomResourceDefinition");
            crd["spec"]["names"]["kind"].as_str().unwrap()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "ComponentVersion",
            "ComponentDescriptor",
            "Resource",
            "Localization",
            "Configuration",
            "Snapshot",
            "FluxDeployer"
        ]
    );
}
