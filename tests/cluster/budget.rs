//! What the controller asks of the API server and of registries, counted.

use std::fmt::Write as _;
use std::time::Duration;

use crate::component::{Component, RULES};
use crate::scene::shared_scene;
use crate::site::{PRIVATE, Site};
use crate::support::cluster::audit::AuditEvent;
use crate::support::registry::Access;
use crate::support::wait::eventually;

const CONTROLLER: &str = "system:serviceaccount:ocm-system:ocm-controller";

/// How often the objects of these tests are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// What the controller asked the API server about a namespace, without lists and watches.
fn asked(site: &Site<'_>) -> Vec<AuditEvent> {
    let log = site.scene.cluster.audit_log().into_iter();
    log.filter(|event| event.user == CONTROLLER && event.namespace == site.namespace)
        .filter(|event| !matches!(event.verb.as_str(), "list" | "watch"))
        .collect()
}

fn described(events: &[AuditEvent]) -> String {
    events.iter().fold(String::new(), |mut text, event| {
        let AuditEvent {
            verb,
            resource,
            subresource,
            name,
            code,
            ..
        } = event;
        let _ = writeln!(text, "{code} {verb} {resource}/{name} {subresource}");
        text
    })
}

fn count(events: &[AuditEvent], resource: &str) -> usize {
    let found = events.iter().filter(|event| event.resource == resource);
    found.count()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn cold_chain_takes_sixteen_requests_and_five_events_at_most() {
    let scene = shared_scene().await;
    let mut least: Option<Vec<AuditEvent>> = None;
    // Who waits for longer than a second says so, which on a loaded machine is a request more.
    for _ in 0..3 {
        let site = Site::complete(scene, "cold").await;
        let all = asked(&site);
        if least.as_ref().is_none_or(|least| all.len() < least.len()) {
            least = Some(all);
        }
    }
    let all = least.expect("three were counted");
    let (events, requests): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|event| event.resource == "events");
    assert!(requests.len() <= 16, "{}", described(&requests));
    assert!(events.len() <= 5, "{}", described(&events));
    // Less than this, and it would not have been counted at all.
    let snapshots = count(&requests, "snapshots");
    assert!(snapshots >= 4, "{}", described(&requests));
}

/// What the controller asked about a repository.
fn pulled(site: &Site<'_>, repository: &str) -> Vec<Access> {
    let requests = site.scene.private.requests().into_iter();
    requests
        .filter(|access| access.path.contains(repository))
        .collect()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn unchanged_chain_writes_nothing_and_asks_only_for_what_may_have_changed() {
    let scene = shared_scene().await;
    let image = "registry.example.org/podinfo:1.0.0";
    Component::podinfo("example.org/unchanged", "1.0.0", image, RULES)
        .push(&scene.private, "unchanged")
        .await;
    let site = Site::new(scene, "unchanged").await;
    let guide = site
        .guide("ghcr.io/unchanged")
        .replace(
            "component: phoban.io/podinfo",
            "component: example.org/unchanged",
        )
        .replace(">=v6.3.5", ">=1")
        .replace("spec:\n  interval: 1m0s", "spec:\n  interval: 2s")
        .replace("spec:\n  interval: 5m", "spec:\n  interval: 2s")
        .replace(
            "spec:\n  sourceRef:\n    kind: Localization",
            "spec:\n  interval: 2s\n  sourceRef:\n    kind: Localization",
        );
    assert_eq!(guide.matches("  interval: 2s").count(), 4);
    site.apply(&guide).await;
    site.deployed(image).await;
    site.ready("FluxDeployer", "podinfo").await;

    let runs = async |wanted: usize| {
        let what = format!("{wanted} runs");
        eventually(&what, INTERVAL * 20, async || {
            let seen = count(&asked(&site), "secrets");
            if seen >= wanted {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        })
        .await;
    };
    // The first interval may still see what the last writes have led to.
    runs(count(&asked(&site), "secrets") + 1).await;
    let before = (asked(&site).len(), pulled(&site, "/unchanged/").len());
    runs(count(&asked(&site), "secrets") + 3).await;

    let since = &asked(&site)[before.0..];
    let (secrets, accounts) = (count(since, "secrets"), count(since, "serviceaccounts"));
    assert_eq!(secrets + accounts, since.len(), "{}", described(since));
    assert!(
        since.iter().all(|event| event.verb == "get"),
        "{}",
        described(since)
    );
    assert!(secrets.abs_diff(accounts) <= 1, "{}", described(since));
    let pulled = &pulled(&site, "/unchanged/")[before.1..];
    let lists = pulled
        .iter()
        .filter(|access| access.path.contains("/tags/list"));
    let heads = pulled.iter().filter(|access| access.method == "HEAD");
    let (lists, heads) = (lists.count(), heads.count());
    assert_eq!(lists + heads, pulled.len(), "{pulled:#?}");
    assert!(
        (3..=4).contains(&lists) && (2..=4).contains(&heads),
        "{pulled:#?}"
    );
}

/// The rights in `config/` are enough for all that this program does in these tests.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn component_descriptor_that_two_own_is_written_by_neither_while_nothing_changes() {
    let scene = shared_scene().await;
    Component::podinfo("example.org/shared", "1.0.0", "podinfo:1", RULES)
        .push(&scene.private, "shared")
        .await;
    let site = Site::new(scene, "shared").await;
    for name in ["first", "second"] {
        site.apply(&format!(
            "apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: {name}}}
spec:
  interval: 1s
  component: example.org/shared
  version: {{semver: '>=1'}}
  repository: {{url: ghcr.io/shared, secretRef: {{name: ghcr-cred}}}}
"
        ))
        .await;
    }
    for name in ["first", "second"] {
        site.ready("ComponentVersion", name).await;
    }
    let runs = async |wanted: usize| {
        eventually(&format!("{wanted} runs"), INTERVAL * 20, async || {
            let seen = count(&asked(&site), "secrets");
            if seen >= wanted {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        })
        .await;
    };
    runs(count(&asked(&site), "secrets") + 4).await;
    let before = asked(&site).len();
    runs(count(&asked(&site), "secrets") + 6).await;
    let since = &asked(&site)[before..];
    assert!(
        since.iter().all(|event| !event.is_write()),
        "{}",
        described(since)
    );
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn no_request_is_forbidden() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "rights").await;
    site.apply(&site.guide(PRIVATE).replace("path: ./", "path: ."))
        .await;
    site.settled().await;
    site.delete("FluxDeployer", "podinfo").await;
    let log = scene.cluster.audit_log().into_iter();
    let refused: Vec<AuditEvent> = log
        .filter(|event| event.user == CONTROLLER && event.code == 403)
        .collect();
    assert!(refused.is_empty(), "{}", described(&refused));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn failure_is_written_and_told_of_once_however_often_it_is_tried_again() {
    let site = Site::new(shared_scene().await, "failing").await;
    let name = "phoban.io/nowhere-to-be-found";
    let guide = site.guide(PRIVATE);
    site.apply(&guide.replace(
        "component: phoban.io/podinfo",
        &format!("component: {name}"),
    ))
    .await;
    let tries = async |wanted: usize| {
        let what = format!("{wanted} tries");
        eventually(&what, INTERVAL * 20, async || {
            let seen = pulled(&site, name).len();
            if seen >= wanted {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        })
        .await;
    };
    site.fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    // Those who wait for it say so after a second.
    site.fails("FluxDeployer", "podinfo", "SourceRefNotReady")
        .await;
    tries(3).await;
    // A try that takes longer than a second says that it is under way; on a loaded machine one may.
    let mut written = String::new();
    for _ in 0..3 {
        let before = asked(&site).len();
        tries(pulled(&site, name).len() + 2).await;
        let all = asked(&site);
        let since = &all[before..];
        written = described(since);
        if !since.iter().any(AuditEvent::is_write) {
            written.clear();
            break;
        }
    }
    assert!(written.is_empty(), "{written}");

    let all = asked(&site);
    let told = all.iter().filter(|event| event.resource == "events");
    assert_eq!(told.count(), 4, "{}", described(&all));
}
