//! The conformance suite of the OCI distribution specification against the registry as it runs:
//! with TLS, a password, and a snapshot in it.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::endpoint::{Pull, address_of};
use crate::scene::shared_scene;
use crate::site::Site;
use crate::support::{scratch, tools};

/// All of the categories "pull" and "content discovery" that a registry is asked for when it takes
/// no content. The suite asks for a part of a blob only where it has pushed the blob itself:
/// `b84_part_of_a_blob_is_answered_as_asked` stands for that.
const READING: [&str; 9] = [
    "Ping",
    "Blob get",
    "Blob head",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Tag listing",
    "Referrers",
];

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn registry_conforms_to_the_distribution_specification() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "conforming").await;
    let address = address_of(scene).await;
    let pull = Pull::of(&site, address).await;
    let (repository, digest, spec) = crate::endpoint::pulled(&site).await;
    let manifest = pull.manifest(address, &repository, &digest).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let blobs = [&manifest["config"], &manifest["layers"][0]].map(|blob| text(&blob["digest"]));
    let (user, password) = pull.login.expect("Flux logs in");

    let results = scratch::folder("conformance");
    let status = Command::new(tools::program("conformance"))
        .env_clear()
        .envs([
            ("OCI_REGISTRY", address.to_string()),
            ("OCI_TLS", "insecure".to_owned()),
            ("OCI_VERSION", "1.1".to_owned()),
            ("OCI_REPO1", repository),
            ("OCI_USERNAME", user),
            ("OCI_PASSWORD", password),
            ("OCI_API_PUSH", "false".to_owned()),
            ("OCI_API_BLOBS_DELETE", "false".to_owned()),
            ("OCI_API_MANIFESTS_DELETE", "false".to_owned()),
            ("OCI_API_TAGS_DELETE", "false".to_owned()),
            ("OCI_API_BLOBS_DIGEST_HEADER", "true".to_owned()),
            ("OCI_API_MANIFESTS_DIGEST_HEADER", "true".to_owned()),
            ("OCI_RO_DATA_TAGS", text(&spec["ref"]["tag"])),
            ("OCI_RO_DATA_MANIFESTS", digest.clone()),
            ("OCI_RO_DATA_BLOBS", blobs.join(" ")),
            ("OCI_RO_DATA_REFERRERS", digest),
            ("OCI_RESULTS_DIR", results.display().to_string()),
        ])
        .current_dir(&results)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the suite can be started");

    // Its exit code is 0 where everything was skipped as well.
    let report = std::fs::read_to_string(results.join("results.yaml"))
        .unwrap_or_else(|error| panic!("no report ({error}); the suite ended with {status}"));
    let report: Value = serde_yaml::from_str(&report).expect("YAML");
    let apis = report["apis"].as_object().expect("results of each API");
    for name in READING {
        assert_eq!(apis[name], "Pass", "{name}");
    }
    for (name, result) in apis {
        let is_fine = ["Pass", "Skip", "Disabled"]
            .iter()
            .any(|fine| result == fine);
        assert!(is_fine, "{name}: {result}");
    }
    assert_eq!(report["data"]["Read Only Inputs"], "Pass");
    assert!(status.success(), "{status}");
}
