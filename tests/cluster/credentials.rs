//! Secrets that change, and what is shown of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::scene::{PASSWORD, USER, shared_scene};
use crate::site::{IMAGE, OF_FLUX, OURS, Site};

/// A password that is wrong, and found wherever it is shown.
const CANARY: &str = "rotated-canary-7f3a";

/// Gives the Secret of the guide another password.
async fn rotate(site: &Site<'_>, password: &str) {
    let config = json!({"auths": {"ghcr.io": {"username": USER, "password": password}}});
    let data = json!({".dockerconfigjson": STANDARD.encode(config.to_string())});
    site.patch("Secret", "ghcr-cred", json!({"data": data}))
        .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f10_cve_2024_31216_rotated_secret_counts_at_the_next_run_and_is_never_shown() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "rotated").await;

    rotate(&site, CANARY).await;
    site.request("ComponentVersion", "podinfo", "1").await;
    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    for words in ["401", "ghcr-cred", USER] {
        assert!(said.contains(words), "{said}");
    }
    // What was pulled before stays in use.
    site.deployed(IMAGE).await;
    site.ready("FluxDeployer", "podinfo").await;

    // Nobody asks for a run: after a 401 the Secret is read again.
    rotate(&site, PASSWORD).await;
    site.ready("ComponentVersion", "podinfo").await;

    let mut shown: Vec<Value> = Vec::new();
    for kind in OURS.iter().chain(&OF_FLUX).chain(&["Event"]) {
        for object in site.list(kind).await {
            shown.push(serde_json::to_value(object).expect("an object is JSON"));
        }
    }
    assert!(shown.len() > 10);
    let log = scene.controller.lock().await.log().to_owned();
    let log = std::fs::read_to_string(log).expect("the controller logs");
    assert!(log.contains("ghcr-cred"), "nothing was logged of it");
    for secret in [CANARY, PASSWORD] {
        for form in [
            secret.to_owned(),
            STANDARD.encode(format!("{USER}:{secret}")),
        ] {
            assert!(!log.contains(&form), "the log shows {form}");
            for object in &shown {
                assert!(!object.to_string().contains(&form), "{object}");
            }
        }
    }
}
