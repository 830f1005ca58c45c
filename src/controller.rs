//! The shell around the core: reads the cluster, calls the core, writes the cluster.
//!
//! Each kind has a file that says only what is its own, in three steps: gather (all reads), core
//! (pure), publish (all writes). What they share is here:
//!
//! - [`informer`]: one watch a kind, and the store that it fills;
//! - [`triggers`]: who looks again when something changes;
//! - [`driver`]: suspend, status, events, retries, panics;
//! - [`lookup`], [`origin`]: from references to objects and components;
//! - [`apply`], [`produce`]: writing objects, publishing results.

mod apply;
mod component_version;
mod context;
mod credentials;
mod driver;
mod events;
mod flux_deployer;
mod health;
mod informer;
mod lookup;
mod mutation;
mod origin;
mod outcome;
mod pinning;
mod produce;
mod resource;
mod snapshot;
mod takeover;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::DynamicObject;
use kube::core::{ApiResource, DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource,
    Snapshot, flux,
};
use crate::pipeline::Pipeline;

use apply::Applier;
use context::{Caches, Context};
use credentials::CredentialCache;
use driver::Memories;
use events::Events;
use health::WatchAge;
use informer::Informer;
use triggers::{Queue, Triggers};

pub use context::{OnRepublish, Settings};
pub use driver::chain;
pub use pinning::PinImages;

/// The one field manager of everything that is written, and the controller's name in events.
const FIELD_MANAGER: &str = "ocm-controller";

/// The controllers, set up but not running.
pub struct Controllers {
    client: Client,
    settings: Settings,
    pipeline: Pipeline,
    health: Arc<Health>,
}

/// What the probes ask.
#[derive(Debug)]
pub struct Health {
    watches: Arc<WatchAge>,
}

impl Health {
    /// How long no list or watch of the API server got through.
    pub fn watch_age(&self) -> Duration {
        self.watches.age()
    }
}

impl Controllers {
    /// Controllers that speak to the cluster of `client` and make their results by `pipeline`.
    pub fn new(client: Client, settings: Settings, pipeline: Pipeline) -> Self {
        let health = Arc::new(Health {
            watches: Arc::new(WatchAge::new()),
        });
        Self {
            client,
            settings,
            pipeline,
            health,
        }
    }

    /// What the probes ask.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Runs until `shutdown`, then lets what is under way end. `synced` is called once the caches
    /// of all kinds of this group are filled.
    pub async fn run(self, synced: impl FnOnce() + Send + 'static, shutdown: CancellationToken) {
        let watches = Watches::new(&self.client);
        let caches = watches.caches();
        let context = Arc::new(Context {
            events: Events::new(self.client.clone(), instance()),
            applier: Applier::new(self.client.clone()),
            credentials: CredentialCache::new(self.client.clone()),
            client: self.client,
            settings: self.settings,
            pipeline: self.pipeline,
            caches: caches.clone(),
            memories: Memories::default(),
        });
        let (component_versions, component_version_requests) = Queue::new();
        let (resources, resource_requests) = Queue::new();
        let (localizations, localization_requests) = Queue::new();
        let (configurations, configuration_requests) = Queue::new();
        let (snapshots, snapshot_requests) = Queue::new();
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
        watches.spawn(&triggers, &mut tasks, &self.health.watches, &shutdown);
        tasks.spawn(announce(caches.clone(), synced));
        let start = |token: &CancellationToken| (Arc::clone(&context), token.clone());
        macro_rules! control {
            ($cache:ident, $requests:ident) => {
                let (context, token) = start(&shutdown);
                tasks.spawn(driver::run(
                    context,
                    caches.$cache.clone(),
                    $requests,
                    token,
                ));
            };
        }
        control!(component_versions, component_version_requests);
        control!(resources, resource_requests);
        control!(localizations, localization_requests);
        control!(configurations, configuration_requests);
        control!(snapshots, snapshot_requests);
        control!(flux_deployers, flux_deployer_requests);
        info!("controllers started");
        tasks.join_all().await;
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
}

impl Watches {
    fn new(client: &Client) -> Self {
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
        }
    }

    /// Starts all watches; their listeners fill the queues.
    fn spawn(
        self,
        triggers: &Triggers,
        tasks: &mut JoinSet<()>,
        age: &Arc<WatchAge>,
        shutdown: &CancellationToken,
    ) {
        macro_rules! watch {
            ($informer:expr, $($listener:expr),+) => {
                let mut informer = $informer;
                $(informer.listen($listener);)+
                tasks.spawn(informer.run(Arc::clone(age), shutdown.clone()));
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
        watch!(self.oci_repositories, triggers.flux_object());
        watch!(self.kustomizations, triggers.flux_object());
        watch!(self.helm_releases, triggers.flux_object());
    }
}

fn typed<K>(client: &Client) -> Informer<DeserializeGuard<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + driver::Reconcile,
{
    Informer::new(Api::all(client.clone()), (), |_| ())
}

fn dynamic(client: &Client, kind: &ApiResource) -> Informer<DeserializeGuard<DynamicObject>> {
    Informer::new(
        Api::all_with(client.clone(), kind),
        kind.clone(),
        flux_deployer::prune,
    )
}

/// Calls `synced` once everything that reconciling relies on has been listed. Flux's kinds are
/// not among it: they may be installed later.
async fn announce(caches: Caches, synced: impl FnOnce()) {
    // Fails only when the watches have ended, and then nobody asks any more.
    let _ = tokio::join!(
        caches.component_versions.wait_until_ready(),
        caches.component_descriptors.wait_until_ready(),
        caches.resources.wait_until_ready(),
        caches.localizations.wait_until_ready(),
        caches.configurations.wait_until_ready(),
        caches.snapshots.wait_until_ready(),
        caches.flux_deployers.wait_until_ready(),
    );
    synced();
}

/// The name of this process in events: that of the Pod, which is its host name.
fn instance() -> String {
    std::fs::read_to_string("/etc/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| FIELD_MANAGER.to_owned())
}
