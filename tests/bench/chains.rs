//! Many chains at once on a real API server: what they take until Flux has its objects, and what
//! they take when nothing changes. `make bench ONLY=chains N=200`.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};

use crate::support::cluster::audit::AuditEvent;
use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::large::{crds, install};
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::{fixture, scratch, usage};
use crate::{PROGRAM, say};

const CONTROLLER: &str = "system:serviceaccount:ocm-system:ocm-controller";

/// How often each object is looked at, in seconds.
const INTERVAL: u64 = 60;

const TIMEOUT: Duration = Duration::from_mins(10);

/// Creates the chains and watches.
pub(crate) async fn measure() -> io::Result<Value> {
    let chains: usize = std::env::var("N")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(200);
    let options = Options {
        flux: Flux::None,
        crds: crds(),
        audit: true,
    };
    let (cluster, registry) = tokio::join!(
        Cluster::start(options),
        Registry::start(RegistryOptions::default())
    );
    let content = fixture("registry/phoban01-air-gapped");
    registry.load(&content, |_| true).await;
    install(&cluster).await;
    let options = ControllerOptions {
        token: cluster
            .service_account_token("ocm-system", "ocm-controller")
            .await,
        ..ControllerOptions::default()
    };
    let mut controller = Controller::start(&cluster, PROGRAM, options).await;
    let id = controller.process().id();
    let namespace = cluster.namespace("chains").await;
    let file = scratch::folder("chains").join("chains.yaml");
    std::fs::write(&file, manifests(&registry, &namespace, chains))?;

    let (before, idle_memory) = (usage::processor_time(id), usage::peak_memory(id));
    let asked = registry.requests().len();
    let begun = Instant::now();
    let file = file.display().to_string();
    let create = async {
        cluster.kubectl(&["create", "-f", &file]).await;
        begun.elapsed().as_secs_f64()
    };
    let (created, deployed) =
        tokio::join!(create, all_deployed(&cluster, &namespace, chains, begun));
    let deployed = deployed?;
    // Until the last status is written, which nobody waits for.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let processor = usage::processor_time(id).saturating_sub(before);
    let cold = Asked::of(&cluster, 0);
    let pulled = registry.requests().len() - asked;
    let peak = usage::peak_memory(id);

    // One whole interval in which nothing changes, after one that may still see the last writes.
    tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
    let (seen, before, asked) = (
        cold_length(&cluster),
        usage::processor_time(id),
        registry.requests().len(),
    );
    tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
    let idle_processor = usage::processor_time(id).saturating_sub(before);
    let idle = Asked::of(&cluster, seen);
    let idle_pulled = registry.requests().len() - asked;

    let each = |count: usize| count as f64 / chains as f64;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / chains as f64;
    let result = json!({
        "chains": chains,
        "create_seconds": created,
        "last_oci_repository_seconds": deployed,
        "ratio": deployed / created,
        "processor_milliseconds_a_chain": milliseconds(processor),
        "api_requests_a_chain": each(cold.requests),
        "events_a_chain": each(cold.events),
        "registry_requests_a_chain": each(pulled),
        "peak_bytes": peak,
        "peak_bytes_before": idle_memory,
        "interval_seconds": INTERVAL,
        "idle_processor_milliseconds_a_chain": milliseconds(idle_processor),
        "idle_api_requests_a_chain": each(idle.requests),
        "idle_api_writes_a_chain": each(idle.writes),
        "idle_registry_requests_a_chain": each(idle_pulled),
        "peak_bytes_at_the_end": usage::peak_memory(id),
        "cold_requests": cold.kinds,
        "idle_requests": idle.kinds,
    });
    print(&result);
    controller.stop().await;
    Ok(result)
}

fn print(result: &Value) {
    let Some(fields) = result.as_object() else {
        return;
    };
    for (name, value) in fields {
        match value.as_f64() {
            Some(number) => say(&format!("{name:<40} {number:>14.2}")),
            None => say(&format!("{name}: {value:#}")),
        }
    }
}

/// What the controller asked of the API server, without watches, lists and its lease.
struct Asked {
    requests: usize,
    events: usize,
    writes: usize,
    kinds: Value,
}

impl Asked {
    /// Those after the first `seen` lines of the log.
    fn of(cluster: &Cluster, seen: usize) -> Self {
        let log = cluster.audit_log();
        let ours: Vec<&AuditEvent> = log[seen..]
            .iter()
            .filter(|event| event.user == CONTROLLER && event.resource != "leases")
            .filter(|event| !matches!(event.verb.as_str(), "list" | "watch"))
            .collect();
        let events = ours
            .iter()
            .filter(|event| event.resource == "events")
            .count();
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for event in &ours {
            let name = format!("{} {} {}", event.verb, event.resource, event.subresource);
            *kinds.entry(name.trim_end().to_owned()).or_default() += 1;
        }
        Self {
            requests: ours.len() - events,
            events,
            writes: ours.iter().filter(|event| event.is_write()).count(),
            kinds: json!(kinds),
        }
    }
}

fn cold_length(cluster: &Cluster) -> usize {
    cluster.audit_log().len()
}

/// Waits until each chain has its `OCIRepository`; the seconds since `begun`.
async fn all_deployed(
    cluster: &Cluster,
    namespace: &str,
    chains: usize,
    begun: Instant,
) -> io::Result<f64> {
    let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "OCIRepository");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client().await, namespace, &resource);
    let watched = watcher(api, watcher::Config::default()).touched_objects();
    let mut watched = std::pin::pin!(watched);
    let mut names = std::collections::BTreeSet::new();
    let waiting = async {
        while let Some(object) = watched.try_next().await.map_err(io::Error::other)? {
            names.insert(object.metadata.name);
            if names.len() == chains {
                return Ok(begun.elapsed().as_secs_f64());
            }
        }
        Err(io::Error::other("the watch has ended"))
    };
    let waited = tokio::time::timeout(TIMEOUT, waiting).await;
    waited.map_err(|_| io::Error::other("not all chains have an OCIRepository"))?
}

/// The guide's objects, `chains` times.
fn manifests(registry: &Registry, namespace: &str, chains: usize) -> String {
    let url = format!("http://{}/phoban01/air-gapped", registry.address());
    let mut text = String::new();
    for number in 0..chains {
        let _ = write!(
            text,
            "---
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: version-{number}, namespace: {namespace}}}
spec:
  interval: {INTERVAL}s
  component: phoban.io/podinfo
  version: {{semver: '>=v6.3.5'}}
  repository: {{url: '{url}'}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {{name: resource-{number}, namespace: {namespace}}}
spec:
  interval: {INTERVAL}s
  sourceRef:
    kind: ComponentVersion
    name: version-{number}
    resourceRef: {{name: deployment, version: latest}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {{name: localization-{number}, namespace: {namespace}}}
spec:
  interval: {INTERVAL}s
  sourceRef: {{kind: Resource, name: resource-{number}}}
  configRef:
    kind: ComponentVersion
    name: version-{number}
    resourceRef: {{name: config}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {{name: deployer-{number}, namespace: {namespace}}}
spec:
  interval: {INTERVAL}s
  sourceRef: {{kind: Localization, name: localization-{number}}}
  kustomizationTemplate: {{interval: 1h, path: ./, prune: true}}
"
        );
    }
    text
}
