//! The conformance suite of the OCI distribution specification against the registry as it runs:
//! with TLS, a password, and a snapshot in it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::endpoint::{CA, Pull, address_of, pulled, value};
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
    let (repository, digest, spec) = pulled(&site).await;
    let manifest = pull.manifest(address, &repository, &digest).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let blobs = [&manifest["config"], &manifest["layers"][0]].map(|blob| text(&blob["digest"]));
    let (user, password) = pull.login.expect("Flux logs in");

    let results = scratch::folder("conformance");
    // Go's name for the only authorities to trust, which is all that Flux is told as well.
    let authorities = results.join("ca.crt");
    let text_of_secret = value(&site.get("Secret", CA).await, "ca.crt");
    std::fs::write(&authorities, text_of_secret).expect("the scratch folder is writable");
    let output = Command::new(tools::program("conformance"))
        .env_clear()
        .envs([
            ("OCI_REGISTRY", address.to_string()),
            ("OCI_TLS", "enabled".to_owned()),
            ("SSL_CERT_FILE", authorities.display().to_string()),
            ("OCI_VERSION", "1.1".to_owned()),
            ("OCI_REPO1", repository),
            ("OCI_USERNAME", user),
            ("OCI_PASSWORD", password),
            ("OCI_API_PUSH", "false".to_owned()),
            ("OCI_API_BLOBS_DELETE", "false".to_owned()),
            ("OCI_API_MANIFESTS_DELETE", "false".to_owned()),
            ("OCI_API_TAGS_DELETE", "false".to_owned()),
            ("OCI_API_BLOBS_DIGEST_HEADER", "true".to_owned()),
            // For content that it has not pushed the suite does not keep the answers whose
            // header it would look for; `head_has_the_headers_of_get_and_no_body` looks there.
            ("OCI_API_MANIFESTS_DIGEST_HEADER", "false".to_owned()),
            ("OCI_RO_DATA_TAGS", text(&spec["ref"]["tag"])),
            ("OCI_RO_DATA_MANIFESTS", digest.clone()),
            ("OCI_RO_DATA_BLOBS", blobs.join(" ")),
            ("OCI_RO_DATA_REFERRERS", digest),
            ("OCI_RESULTS_DIR", results.display().to_string()),
        ])
        .current_dir(&results)
        .stdin(Stdio::null())
        .output()
        .expect("the suite can be started");

    // Its exit code is 0 where everything was skipped as well, and without pushing it stops before
    // it has written its report to a file; what it prints is the same report.
    let printed = String::from_utf8_lossy(&output.stdout);
    let apis = section(&printed, "API conformance:");
    for name in READING {
        assert_eq!(apis.get(name), Some(&"Pass"), "{name}: {printed}");
    }
    for (name, result) in &apis {
        assert!(!["FAIL", "Error"].contains(result), "{name}: {printed}");
    }
    let data = section(&printed, "Data conformance:");
    assert_eq!(data.get("Read Only Inputs"), Some(&"Pass"), "{printed}");
}

/// The lines `NAME....: RESULT` below a heading.
fn section<'a>(report: &'a str, heading: &str) -> BTreeMap<&'a str, &'a str> {
    let lines = report.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .map_while(|line| line.split_once(':'))
        .map(|(name, result)| (name.trim().trim_end_matches('.'), result.trim()))
        .collect()
}
