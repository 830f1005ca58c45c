//! The shell around the core: reads the cluster, calls the core, writes the cluster.
//!
//! Each kind has a file that says only what is its own, in three steps: gather (all reads), core
//! (pure), publish (all writes). What they share is here:
//!
//! - `selection`: which objects are reconciled here;
//! - `watches`, `informer`, `decode`: one watch a kind, and the store that it fills;
//! - `undecodable`: objects that cannot be read, which say so;
//! - `triggers`: who looks again when something changes;
//! - `lease`, `throttle`, `requests`: who may write to the API server at this moment, how often it
//!   is asked, and how often it was;
//! - `queue`: what is to be looked at;
//! - `driver`: suspend, status, events, retries, panics;
//! - `lookup`, `circle`, `origin`: from references to objects and components;
//! - `apply`, `produce`: writing objects, publishing results;
//! - `endpoint`, `outside`, `tenant`: the registry's certificate and keys, or those of another one,
//!   and who is told of them;
//! - `garbage`: what the cluster needs of the content store, and the collection of the rest;
//! - `scrub`: the search for what has rotted in it.

mod apply;
mod circle;
mod component_version;
mod context;
mod credentials;
mod decode;
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
mod outside;
mod pinning;
mod produce;
mod queue;
pub mod requests;
mod resource;
#[cfg(test)]
mod scripted;
mod scrub;
mod selection;
mod snapshot;
mod takeover;
mod tenant;
pub mod throttle;
mod triggers;
mod undecodable;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{
    ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource, Snapshot,
};
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::registry::Transport;
use crate::serve::access::Access;

use apply::Applier;
use context::Context;
use credentials::CredentialCache;
use driver::{Memories, Reconcile};
use endpoint::Endpoint;
use events::Events;
use health::{WatchHealth, WorkHealth};
use informer::Listed;
use lease::{Claim, Leadership};
use notify::Notifier;
use outside::OutsideSecrets;
use queue::{Backlog, Queue};
use tenant::Told;
use triggers::{Queues, Triggers};
use watches::Watches;

pub use context::{OnRepublish, OutsideRegistry, Settings};
pub use endpoint::{EndpointSettings, PULL_KEY_SECRET};
pub use pinning::PinImages;
pub use selection::{LabelSelector, Selection};

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
    pub fn failing_watches(&self) -> BTreeMap<String, Duration> {
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
        self.endpoint = Some(Endpoint::new(settings, access, self.metrics.clone()));
        self
    }

    /// What the probes ask.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Runs until `shutdown`, then lets what is under way end, but for no longer than the grace
    /// that the settings give. `probe` is told what the readiness probe has to know.
    pub async fn run(self, probe: impl Probe, shutdown: CancellationToken) {
        let selection = &self.settings.selection;
        let outside = self.settings.outside_registry.as_ref();
        let outside_secrets = outside.and_then(OutsideSecrets::new);
        let tells = self.endpoint.is_some() || outside_secrets.is_some();
        let watches = Watches::new(&self.client, selection, tells);
        let applier = Applier::new(self.client.clone(), self.pipeline.store().clone());
        applier.written().recall().await;
        let (caches, listed) = (watches.caches(), watches.listed());
        let (queues, backlogs) = queues(&self.metrics);
        let grace = self.settings.graceful_shutdown;
        let address = self.settings.events_address.clone();
        let notifier = address.map(|address| Notifier::start(address, self.metrics.clone()));
        let context = Arc::new(Context {
            events: Events::new(self.client.clone(), instance(), notifier),
            work: Arc::clone(&self.health.work),
            applier,
            credentials: CredentialCache::new(self.client.clone()),
            client: self.client,
            settings: self.settings,
            pipeline: self.pipeline,
            transport: self.transport,
            metrics: self.metrics,
            endpoint: self.endpoint.clone(),
            outside_secrets: outside_secrets.clone(),
            told: Told::default(),
            caches: caches.clone(),
            memories: Memories::default(),
            queues: queues.clone(),
        });
        let triggers = Triggers {
            context: Arc::clone(&context),
            queues,
        };
        let mut tasks = JoinSet::new();
        let deployers = (
            caches.flux_deployers.clone(),
            triggers.queues.flux_deployers.clone(),
        );
        let (reports, undecodable) = mpsc::unbounded_channel();
        let health = &self.health.watches;
        watches.spawn(&triggers, &reports, &mut tasks, health, &shutdown);
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
            if let Some(outside) = outside_secrets {
                tasks.spawn(outside.run(context.client.clone(), deployers, shutdown.clone()));
            }
        }
        let stop_election = CancellationToken::new();
        let election = tokio::spawn({
            let (stop, probe) = (stop_election.clone(), probe.clone());
            let reached = move |problem: Option<&str>| probe.lease(problem);
            self.leadership.run(reached, stop)
        });
        backlogs.work_off(&context, &claim, &mut tasks, &shutdown);
        let report = undecodable::run(Arc::clone(&context), undecodable, claim, shutdown.clone());
        tasks.spawn(report);
        let stop_keeping = CancellationToken::new();
        let written = Arc::clone(context.applier.written());
        let keeping = tokio::spawn(written.keep(stop_keeping.clone()));
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
        // What ended last was not noted yet.
        stop_keeping.cancel();
        let _ = keeping.await;
        // Last, so that the next leader begins when nothing of this one is under way.
        stop_election.cancel();
        let _ = election.await;
        info!("controllers stopped");
    }
}

/// The ends of the queues that the controllers read from.
struct Backlogs {
    component_versions: Backlog<ComponentVersion>,
    resources: Backlog<OcmResource>,
    localizations: Backlog<Localization>,
    configurations: Backlog<Configuration>,
    snapshots: Backlog<Snapshot>,
    flux_deployers: Backlog<FluxDeployer>,
}

/// The queues of all controllers, and the other ends of them.
fn queues(metrics: &Metrics) -> (Queues, Backlogs) {
    let (component_versions, of_component_versions) = queue(metrics);
    let (resources, of_resources) = queue(metrics);
    let (localizations, of_localizations) = queue(metrics);
    let (configurations, of_configurations) = queue(metrics);
    let (snapshots, of_snapshots) = queue(metrics);
    let (flux_deployers, of_flux_deployers) = queue(metrics);
    let queues = Queues {
        component_versions,
        resources,
        localizations,
        configurations,
        snapshots,
        flux_deployers,
    };
    let backlogs = Backlogs {
        component_versions: of_component_versions,
        resources: of_resources,
        localizations: of_localizations,
        configurations: of_configurations,
        snapshots: of_snapshots,
        flux_deployers: of_flux_deployers,
    };
    (queues, backlogs)
}

/// The queue of a kind, which shows its length.
fn queue<K: Reconcile>(metrics: &Metrics) -> (Queue<K>, Backlog<K>) {
    Queue::new(metrics.queue(K::NAME))
}

impl Backlogs {
    /// Starts the controllers.
    fn work_off(
        self,
        context: &Arc<Context>,
        claim: &Claim,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        macro_rules! work_off {
            ($($kind:ident),*) => {$(
                tasks.spawn(driver::run(
                    Arc::clone(context),
                    context.caches.$kind.clone(),
                    self.$kind,
                    claim.clone(),
                    shutdown.clone(),
                ));
            )*};
        }
        work_off!(
            component_versions,
            resources,
            localizations,
            configurations,
            snapshots,
            flux_deployers
        );
    }
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
