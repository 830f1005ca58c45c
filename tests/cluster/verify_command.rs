//! `ocm-controller verify` against a real registry that answers as `ghcr.io`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::scene::PASSWORD;
use crate::support::fixture;
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::scratch;
use crate::verify::load_echo;

const PODINFO: &str = "ghcr.io//phoban.io/podinfo:6.3.5";

/// A private registry with the signed components and the images they name.
struct Site {
    registry: Registry,
    folder: PathBuf,
}

impl Site {
    async fn start() -> Self {
        let registry = Registry::start(RegistryOptions {
            tls: vec!["ghcr.io".to_owned()],
            password: Some(("bot".to_owned(), PASSWORD.to_owned())),
        })
        .await;
        for name in ["podinfo-signed", "product-signed"] {
            registry.load(&fixture("ctf").join(name), |_| true).await;
        }
        let images = fixture("registry").join("phoban01-public");
        let is_image = |repository: &str| repository == "stefanprodan/podinfo";
        registry
            .load(&images, |found| is_image(&found.repository))
            .await;
        load_echo(&registry, &fixture("registry").join("example-air-gapped")).await;
        let folder = scratch::folder("verify");
        std::fs::write(
            folder.join("config.json"),
            registry.docker_config("ghcr.io"),
        )
        .expect("it is writable");
        Self { registry, folder }
    }

    /// Exit code, standard output and standard error.
    async fn verify(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocm-controller"));
        command
            .arg("verify")
            .args(arguments)
            .arg("--allow-loopback")
            .arg(format!("--resolve=ghcr.io={}", self.registry.address()))
            .arg(format!("--ca-file={}", self.registry.ca_file().display()))
            .env("DOCKER_CONFIG", &self.folder);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("no panic")
            .expect("the program starts");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    }
}

fn key(name: &str) -> String {
    let file = fixture("keys").join(format!("{name}.pub"));
    file.display().to_string()
}

#[tokio::test]
#[ignore = "needs the registry of `make tools`"]
async fn what_alice_signed_verifies_with_her_key_and_with_no_other() {
    let site = Site::start().await;
    let cases = [
        (PODINFO, "alice"),
        ("ghcr.io//phoban.io/podinfo:6.4.0", "alice-v3"),
        ("ghcr.io//phoban.io/podinfo", "alice-v3"),
        ("ghcr.io//example.org/product:2.0.0", "alice"),
        ("ghcr.io//example.org/echo:1.2.0", "alice"),
    ];
    for (component, signature) in cases {
        let own = format!("--key={signature}={}", key("alice"));
        let (code, text, problem) = site.verify(&[component, &own]).await;
        assert_eq!(code, Some(0), "{component}: {problem}");
        assert!(text.starts_with(&format!("verified {component}")), "{text}");

        let other = format!("--key={signature}={}", key("mallory"));
        let (code, text, problem) = site.verify(&[component, &other]).await;
        assert_eq!((code, text.as_str()), (Some(1), ""), "{component}");
        assert!(
            problem.contains("does not verify with the key"),
            "{problem}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the registry of `make tools`"]
async fn report_names_signers_and_every_digest_below() {
    let site = Site::start().await;
    let file = format!("--key={}", key("alice"));
    let component = "ghcr.io//example.org/product:2.0.0";
    let arguments = [component, &file, "--signature=alice", "--output=json"];
    let (code, text, problem) = site.verify(&arguments).await;
    assert_eq!(code, Some(0), "{problem}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["signatures"][0]["name"], "alice");
    assert_eq!(
        report["signatures"][0]["normalisation"],
        "jsonNormalisation/v3"
    );
    let components = report["components"].as_array().expect("a list");
    let names: Vec<_> = components.iter().map(|one| &one["component"]).collect();
    assert_eq!(
        names,
        [
            "example.org/product",
            "phoban.io/podinfo",
            "example.org/echo"
        ]
    );
    let resources = components.iter().flat_map(|one| {
        let resources = one["resources"].as_array().expect("a list");
        resources.iter()
    });
    let mut count = 0;
    for resource in resources {
        assert_eq!(resource["content"], "read", "{resource}");
        assert!(
            resource["digest"]
                .as_str()
                .expect("a text")
                .starts_with("sha256:")
        );
        assert!(resource["bytes"].as_u64().expect("a number") > 0);
        count += 1;
    }
    assert!(count > 5, "{text}");
}

#[tokio::test]
#[ignore = "needs the registry of `make tools`"]
async fn finding_is_exit_code_one_and_wrong_use_two() {
    let site = Site::start().await;
    let alice = key("alice");
    let named = format!("--key=alice={alice}");
    let (code, _, problem) = site
        .verify(&["ghcr.io//phoban.io/podinfo:6.2.3", &named])
        .await;
    assert_eq!(code, Some(1));
    assert!(problem.contains("has no signature \"alice\""), "{problem}");
    let (code, _, problem) = site
        .verify(&[PODINFO, &named, "--key=bob=/no/such/file"])
        .await;
    assert_eq!(code, Some(1));
    assert!(problem.contains("/no/such/file"), "{problem}");

    let nameless = format!("--key={alice}");
    for arguments in [
        &[PODINFO][..],
        &[PODINFO, &nameless],
        &[PODINFO, &named, "--signature=alice"],
        &[PODINFO, &nameless, &nameless, "--signature=alice"],
        &[PODINFO, "--key=alice="],
        &["ghcr.io/phoban.io/podinfo:6.3.5", &named],
    ] {
        let (code, text, problem) = site.verify(arguments).await;
        assert_eq!(
            (code, text.as_str()),
            (Some(2), ""),
            "{arguments:?}: {problem}"
        );
        assert!(
            problem.contains("--") || problem.contains("//"),
            "{problem}"
        );
    }
}

/// Another image under the name that the access gives: the signature holds, the content does not.
#[tokio::test]
#[ignore = "needs the registry of `make tools`"]
async fn image_that_was_pushed_over_is_a_finding() {
    let site = Site::start().await;
    let repository = "stefanprodan/podinfo";
    site.registry.put_tag(repository, "6.2.3", "6.3.5").await;
    let named = format!("--key=alice={}", key("alice"));
    let (code, _, problem) = site.verify(&[PODINFO, &named]).await;
    assert_eq!(code, Some(1));
    assert!(problem.contains("is not what was signed"), "{problem}");
}
