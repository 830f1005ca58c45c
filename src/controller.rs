//! The shell around the core: reads the cluster, calls the core, writes the cluster.
//!
//! Each kind has a file that says only what is its own, in three steps: gather (all reads), core
//! (pure), publish (all writes). What they share is here:
//!
//! - `informer`: one watch a kind, and the store that it fills;
//! - `triggers`: who looks again when something changes;
//! - `lease`, `throttle`: who may write to the API server at this moment, and how often;
//! - `driver`: suspend, status, events, retries, panics;
//! - `lookup`, `circle`, `origin`: from references to objects and components;
//! - `apply`, `produce`: writing objects, publishing results;
//! - `endpoint`, `tenant`: the registry's certificate and keys, and who is told of them;
//! - `garbage`: what the cluster needs of the content store, and the collection of the rest;
//! - `scrub`: the search for what has rotted in it.

mod apply;
mod circle;
mod component_version;
mod context;
mod credentials;
mod driver;
mod endpoint;
mod events;
mod flux_deployer;
mod garbage;
mod health;
mod informer;
pub mod lease;
mod lookup;
mod mutation;
pub mod notify;
mod origin;
mod outcome;
mod pinning;
mod produce;
mod resource;
#[cfg(test)]
mod scripted;
mod scrub;
mod snapshot;
mod takeover;
mod tenant;
pub mod throttle;
mod triggers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::{ApiResource, DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource,
    Snapshot, flux,
};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::registry::Transport;
use crate::serve::access::Access;

use apply::Applier;
use context::{Caches, Context};
use credentials::CredentialCache;
use driver::Memories;
use endpoint::Endpoint;
use events::Events;
use health::{WatchHealth, WorkHealth};
use informer::{Informer, Listed};
use lease::Leadership;
use notify::Notifier;
use triggers::{Queue, Triggers};

pub use context::{OnRepublish, OutsideRegistry, Settings};
pub use endpoint::{EndpointSettings, PULL_KEY_SECRET};
pub use pinning::PinImages;

/// The one field manager of everything that is written, and the controller's name in events.
const FIELD_MANAGER: &str = "ocm-controller";

/// The kinds whose watches tell whether the API server can be reached.
const OWN_KINDS: [&str; 7] = [
    "ComponentVersion",
    "ComponentDescriptor",
    "Resource",
    "Localization",
    "Configuration",
    "Snapshot",
    "FluxDeployer",
];

/// The controllers, set up but not running.
pub struct Controllers {
    client: Client,
    leadership: Leadership,
    settings: Settings,
    pipeline: Pipeline,
    transport: Transport,
    metrics: Metrics,
    endpoint: Option<Arc<Endpoint>>,
    health: Arc<Health>,
}

/// Whoever answers the readiness probe.
pub trait Probe: Clone + Send + Sync + 'static {
    /// The caches of all kinds of this group are filled.
    fn synced(&self);

    /// The Lease of the leader can be reached, or what is wrong with it.
    fn lease(&self, problem: Option<&str>);

    /// The registry has a certificate and a pull key, or what is wrong with them.
    fn registry(&self, problem: Option<&str>);
}

/// What the probes ask.
#[derive(Debug)]
pub struct Health {
    watches: Arc<WatchHealth>,
    work: Arc<WorkHealth>,
}

impl Health {
    /// Why the process should be started anew, if it should.
    pub fn problem(&self) -> Option<String> {
        let kinds = OWN_KINDS.iter().copied();
        if self.watches.is_cut_off(kinds, Instant::now()) {
            return Some("no watch of the API server gets through".to_owned());
        }
        self.work
            .hangs(Instant::now())
            .then(|| "a reconcile goes on although its time is over".to_owned())
    }

    /// The kinds that are watched, and for how long the watch of each has been failing.
    pub fn failing_watches(&self) -> Vec<(String, Duration)> {
        self.watches.failing(Instant::now())
    }
}

impl Controllers {
    /// Controllers that speak to the cluster of `client` and act while they have the `leadership`,
    /// make their results by `pipeline`, and fetch from sources of Flux by `transport`.
    pub fn new(
        client: Client,
        leadership: Leadership,
        settings: Settings,
        pipeline: Pipeline,
        transport: Transport,
        metrics: Metrics,
    ) -> Self {
        let health = Arc::new(Health {
            watches: Arc::new(WatchHealth::default()),
            work: Arc::new(WorkHealth::new(settings.reconcile_timeout)),
        });
        Self {
            client,
            leadership,
            settings,
            pipeline,
            transport,
            metrics,
            endpoint: None,
            health,
        }
    }

    /// Has them keep the certificate and the pull keys of the registry that looks at `access`.
    #[must_use]
    pub fn guarding(mut self, settings: EndpointSettings, access: Access) -> Self {
        self.endpoint = Some(Endpoint::new(settings, access));
        self
    }

    /// What the probes ask.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Runs until `shutdown`, then lets what is under way end, but for no longer than the grace
    /// that the settings give. `probe` is told what the readiness probe has to know.
    pub async fn run(self, probe: impl Probe, shutdown: CancellationToken) {
        let watches = Watches::new(&self.client, self.endpoint.clone());
        let (caches, listed) = (watches.caches(), watches.listed());
        let (snapshots, snapshot_requests) = Queue::new();
        let grace = self.settings.graceful_shutdown;
        let address = self.settings.events_address.clone();
        let notifier = address.map(|address| Notifier::start(address, self.metrics.clone()));
        let context = Arc::new(Context {
            events: Events::new(self.client.clone(), instance(), notifier),
            work: Arc::clone(&self.health.work),
            applier: Applier::new(self.client.clone()),
            credentials: CredentialCache::new(self.client.clone()),
            client: self.client,
            settings: self.settings,
            pipeline: self.pipeline,
            transport: self.transport,
            metrics: self.metrics,
            endpoint: self.endpoint.clone(),
            caches: caches.clone(),
            memories: Memories::default(),
            snapshots: snapshots.clone(),
        });
        let (component_versions, component_version_requests) = Queue::new();
        let (resources, resource_requests) = Queue::new();
        let (localizations, localization_requests) = Queue::new();
        let (configurations, configuration_requests) = Queue::new();
        let (flux_deployers, flux_deployer_requests) = Queue::new();
        let triggers = Triggers {
            caches: caches.clone(),
            component_versions,
            resources,
            localizations,
            configurations,
            snapshots,
            flux_deployers,
        };
        let mut tasks = JoinSet::new();
        let deployers = (
            caches.flux_deployers.clone(),
            triggers.flux_deployers.clone(),
        );
        watches.spawn(&triggers, &mut tasks, &self.health.watches, &shutdown);
        // Whoever looks before everything is listed takes what is not listed yet for missing, and
        // who cannot look must not keep others from it.
        tokio::select! {
            () = all_listed(&listed) => probe.synced(),
            () = shutdown.cancelled() => {}
        }
        let claim = self.leadership.claim();
        if let Some(endpoint) = self.endpoint {
            let client = context.client.clone();
            let (claim, probe) = (claim.clone(), probe.clone());
            endpoint.know(&caches.pull_secrets);
            let told = (deployers, caches.authority_secrets.clone());
            tasks.spawn(endpoint.run(client, told, claim, probe, shutdown.clone()));
        } else {
            probe.registry(None);
        }
        let stop_election = CancellationToken::new();
        let election = tokio::spawn({
            let (stop, probe) = (stop_election.clone(), probe.clone());
            let reached = move |problem: Option<&str>| probe.lease(problem);
            self.leadership.run(reached, stop)
        });
        macro_rules! control {
            ($cache:ident, $requests:ident) => {
                tasks.spawn(driver::run(
                    Arc::clone(&context),
                    caches.$cache.clone(),
                    $requests,
                    claim.clone(),
                    shutdown.clone(),
                ));
            };
        }
        control!(component_versions, component_version_requests);
        control!(resources, resource_requests);
        control!(localizations, localization_requests);
        control!(configurations, configuration_requests);
        control!(snapshots, snapshot_requests);
        control!(flux_deployers, flux_deployer_requests);
        let interval = context.settings.gc_interval;
        tasks.spawn(garbage::run(
            Arc::clone(&context),
            interval,
            shutdown.clone(),
        ));
        if let Some(interval) = context.settings.scrub_interval {
            tasks.spawn(scrub::run(context, interval, shutdown.clone()));
        }
        info!("controllers started");
        shutdown.cancelled().await;
        let drained = async { while tasks.join_next().await.is_some() {} };
        if timeout(grace, drained).await.is_err() {
            warn!("dropped work that did not end in time; it is done again at the next start");
            tasks.shutdown().await;
        }
        // Last, so that the next leader begins when nothing of this one is under way.
        stop_election.cancel();
        let _ = election.await;
        info!("controllers stopped");
    }
}

/// The watches of all kinds.
struct Watches {
    component_versions: Informer<DeserializeGuard<ComponentVersion>>,
    component_descriptors: Informer<PartialObjectMeta<ComponentDescriptor>>,
    resources: Informer<DeserializeGuard<OcmResource>>,
    localizations: Informer<DeserializeGuard<Localization>>,
    configurations: Informer<DeserializeGuard<Configuration>>,
    snapshots: Informer<DeserializeGuard<Snapshot>>,
    flux_deployers: Informer<DeserializeGuard<FluxDeployer>>,
    oci_repositories: Informer<DeserializeGuard<DynamicObject>>,
    kustomizations: Informer<DeserializeGuard<DynamicObject>>,
    helm_releases: Informer<DeserializeGuard<DynamicObject>>,
    git_repositories: Informer<DeserializeGuard<DynamicObject>>,
    buckets: Informer<DeserializeGuard<DynamicObject>>,
    config_maps: Informer<PartialObjectMeta<ConfigMap>>,
    authority_secrets: Informer<DeserializeGuard<Secret>>,
    pull_secrets: Informer<DeserializeGuard<Secret>>,
    endpoint: Option<Arc<Endpoint>>,
}

impl Watches {
    fn new(client: &Client, endpoint: Option<Arc<Endpoint>>) -> Self {
        let secrets = |name| Informer::new(Api::all(client.clone()), (), |_| ()).named(name);
        Self {
            component_versions: typed(client),
            component_descriptors: Informer::new(Api::all(client.clone()), (), |_| ()),
            resources: typed(client),
            localizations: typed(client),
            configurations: typed(client),
            snapshots: typed(client),
            flux_deployers: typed(client),
            oci_repositories: dynamic(client, &flux::oci_repository()),
            kustomizations: dynamic(client, &flux::kustomization()),
            helm_releases: dynamic(client, &flux::helm_release()),
            git_repositories: dynamic(client, &flux::git_repository()),
            buckets: dynamic(client, &flux::bucket()),
            config_maps: Informer::new(Api::all(client.clone()), (), only_name),
            authority_secrets: secrets(tenant::CA_SECRET),
            pull_secrets: secrets(tenant::PULL_SECRET),
            endpoint,
        }
    }

    fn caches(&self) -> Caches {
        Caches {
            component_versions: self.component_versions.store(),
            component_descriptors: self.component_descriptors.store(),
            resources: self.resources.store(),
            localizations: self.localizations.store(),
            configurations: self.configurations.store(),
            snapshots: self.snapshots.store(),
            flux_deployers: self.flux_deployers.store(),
            oci_repositories: self.oci_repositories.store(),
            kustomizations: self.kustomizations.store(),
            helm_releases: self.helm_releases.store(),
            git_repositories: self.git_repositories.store(),
            buckets: self.buckets.store(),
            authority_secrets: self.authority_secrets.store(),
            pull_secrets: self.pull_secrets.store(),
        }
    }

    /// Told once everything that reconciling relies on has been listed. Flux's kinds are not among
    /// it: they may be installed later.
    fn listed(&self) -> Vec<Listed> {
        let mut listed = vec![
            self.component_versions.listed(),
            self.component_descriptors.listed(),
            self.resources.listed(),
            self.localizations.listed(),
            self.configurations.listed(),
            self.snapshots.listed(),
            self.flux_deployers.listed(),
        ];
        if self.endpoint.is_some() {
            listed.extend([self.authority_secrets.listed(), self.pull_secrets.listed()]);
        }
        listed
    }

    /// Starts all watches; their listeners fill the queues.
    fn spawn(
        self,
        triggers: &Triggers,
        tasks: &mut JoinSet<()>,
        health: &Arc<WatchHealth>,
        shutdown: &CancellationToken,
    ) {
        macro_rules! watch {
            ($informer:expr, $($listener:expr),+) => {
                let mut informer = $informer;
                $(informer.listen($listener);)+
                tasks.spawn(informer.run(Arc::clone(health), shutdown.clone()));
            };
        }
        watch!(
            self.component_versions,
            Triggers::own(&triggers.component_versions),
            triggers.component_version()
        );
        watch!(self.component_descriptors, triggers.component_descriptor());
        watch!(
            self.resources,
            Triggers::own(&triggers.resources),
            triggers.producer()
        );
        watch!(
            self.localizations,
            Triggers::own(&triggers.localizations),
            triggers.producer()
        );
        watch!(
            self.configurations,
            Triggers::own(&triggers.configurations),
            triggers.producer()
        );
        watch!(
            self.snapshots,
            Triggers::own(&triggers.snapshots),
            triggers.snapshot()
        );
        watch!(self.flux_deployers, Triggers::own(&triggers.flux_deployers));
        watch!(self.git_repositories, triggers.flux_source());
        watch!(self.buckets, triggers.flux_source());
        watch!(self.config_maps, triggers.config_map());
        watch!(
            self.oci_repositories,
            triggers.flux_object(),
            triggers.flux_source()
        );
        watch!(self.kustomizations, triggers.flux_object());
        watch!(self.helm_releases, triggers.flux_object());
        if let Some(endpoint) = &self.endpoint {
            watch!(self.authority_secrets, triggers.tenant_secret(endpoint));
            watch!(self.pull_secrets, triggers.tenant_secret(endpoint));
        }
    }
}

fn typed<K>(client: &Client) -> Informer<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + driver::Reconcile,
{
    Informer::new(Api::all(client.clone()), (), |_| ())
}

/// Keeps of a ConfigMap what tells that it has changed; it is read when it is used.
fn only_name(object: &mut PartialObjectMeta<ConfigMap>) {
    object.metadata = ObjectMeta {
        name: object.metadata.name.take(),
        namespace: object.metadata.namespace.take(),
        resource_version: object.metadata.resource_version.take(),
        ..ObjectMeta::default()
    };
}

fn dynamic(client: &Client, kind: &ApiResource) -> Informer<DeserializeGuard<DynamicObject>> {
    Informer::new(
        Api::all_with(client.clone(), kind),
        kind.clone(),
        flux_deployer::prune,
    )
}

/// Waits until everything that reconciling relies on has been listed. Flux's kinds are not among
/// it: they may be installed later.
async fn all_listed(listed: &[Listed]) {
    for listed in listed {
        listed.wait().await;
    }
}

/// The name of this process in events: that of the Pod, which is its host name.
pub fn instance() -> String {
    std::fs::read_to_string("/etc/hostname")
        .map_or_else(|_| FIELD_MANAGER.to_owned(), |name| name.trim().to_owned())
}
