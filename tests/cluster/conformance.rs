//! The conformance suite of the OCI distribution specification against the registry as it runs:
//! with TLS, a password, and a snapshot in it.
//!
//! Its categories "push" and "content management" do not apply: the registry takes nothing, and
//! there is no code in this program that would. `b82_writes_are_refused_everywhere` stands for that.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::endpoint::{CA, Pull, address_of, pulled, value};
use crate::scene::shared_scene;
use crate::site::Site;
use crate::support::{scratch, tools};

/// In front of the name of each test.
const SUITE: &str = "OCI Conformance Test/";

/// A part of the suite.
struct Part {
    /// The tests that it is made of.
    filter: &'static str,
    /// Whether it asks for what is there. The suite cannot write its report about data that none of
    /// its tests looked at.
    has_data: bool,
    /// Each test of the report, and what it says.
    report: &'static [(&'static str, &'static str)],
}

/// All of the categories "pull" and "content discovery" that the suite asks a registry for which
/// takes no content. It has to be run in parts: the other parts begin with a push, and where that
/// is off it panics before it has written its report. It asks for a part of a blob only where it
/// has pushed the blob itself: `b84_part_of_a_blob_is_answered_as_asked` stands for that.
const PARTS: [Part; 5] = [
    Part {
        filter: "ping",
        has_data: false,
        report: &[("ping", "passed")],
    },
    Part {
        filter: "empty",
        has_data: false,
        report: &[("empty/tag list", "passed"), ("empty/referrers", "passed")],
    },
    Part {
        filter: "read-only",
        has_data: true,
        report: &[
            ("read-only/push/manifest-by-digest", "skipped"),
            ("read-only/push/manifest-by-tag", "skipped"),
            ("read-only/tag-list", "passed"),
            ("read-only/head/manifest-head-by-tag", "passed"),
            ("read-only/head/manifest-head-by-digest", "passed"),
            // The configuration and the layer.
            ("read-only/head/blob-head", "passed"),
            ("read-only/head/blob-head", "passed"),
            ("read-only/pull/manifest-by-tag", "passed"),
            ("read-only/pull/manifest-by-digest", "passed"),
            ("read-only/pull/blob-get", "passed"),
            ("read-only/pull/blob-get", "passed"),
            ("read-only/referrers", "passed"),
            ("read-only/delete/manifest-delete", "skipped"),
            ("read-only/delete/blob-delete", "skipped"),
            ("read-only/delete/blob-delete", "skipped"),
        ],
    },
    Part {
        filter: "missing-manifest",
        has_data: false,
        report: &[
            ("missing-manifest/by-digest", "passed"),
            ("missing-manifest/by-tag", "passed"),
        ],
    },
    Part {
        filter: "invalid-digest-format/manifest-get",
        has_data: false,
        report: &[("invalid-digest-format/manifest-get", "passed")],
    },
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

    // Go's name for the only authorities to trust, which is all that Flux is told as well.
    let authorities = scratch::folder("conformance").join("ca.crt");
    let text_of_secret = value(&site.get("Secret", CA).await, "ca.crt");
    std::fs::write(&authorities, text_of_secret).expect("the scratch folder is writable");
    let settings = [
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
        // For content that it has not pushed the suite does not keep the answers whose header it
        // would look for; `head_has_the_headers_of_get_and_no_body` looks there.
        ("OCI_API_MANIFESTS_DIGEST_HEADER", "false".to_owned()),
    ];
    let data = [
        ("OCI_RO_DATA_TAGS", text(&spec["ref"]["tag"])),
        ("OCI_RO_DATA_MANIFESTS", digest.clone()),
        ("OCI_RO_DATA_BLOBS", blobs.join(" ")),
        ("OCI_RO_DATA_REFERRERS", digest),
    ];
    for part in PARTS {
        let results = scratch::folder("conformance");
        let mut command = Command::new(tools::program("conformance"));
        command
            .env_clear()
            .envs(settings.iter().cloned())
            .env("OCI_FILTER_TEST", format!("{SUITE}{}", part.filter))
            .env("OCI_RESULTS_DIR", &results)
            .current_dir(&results)
            .stdin(Stdio::null());
        if part.has_data {
            command.envs(data.iter().cloned());
        }
        let output = command.output().expect("the suite can be started");
        let printed = String::from_utf8_lossy(&output.stdout);
        let mut report = report(&results);
        // The two blobs come in no order, and so do the tests of tags.
        report.sort();
        let mut expected: Vec<(String, String)> = part
            .report
            .iter()
            .map(|(name, status)| ((*name).to_owned(), (*status).to_owned()))
            .collect();
        expected.sort();
        assert_eq!(report, expected, "{printed}");
        assert!(output.status.success(), "{printed}");
    }
}

/// The tests that the suite's report names, and what it says of each.
fn report(results: &Path) -> Vec<(String, String)> {
    let report = std::fs::read_to_string(results.join("junit.xml"));
    let report = report.expect("the suite has written its report");
    let tests = report.split("<testcase ").skip(1);
    tests
        .map(|test| {
            let attribute = |name: &str| {
                let (_, rest) = test
                    .split_once(&format!("{name}=\""))
                    .expect("an attribute");
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            let name = attribute("name");
            let name = name.strip_prefix(SUITE).unwrap_or(&name).to_owned();
            (name, attribute("status"))
        })
        .collect()
}
