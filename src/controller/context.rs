//! What every reconciler is given: the client, the stores of the watches, content, settings.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store as Cache};

use super::apply::Applier;
use super::credentials::CredentialCache;
use super::driver::Memories;
use super::endpoint::Endpoint;
use super::events::Events;
use super::health::WorkHealth;
use super::notify::EventsAddress;
use super::outside::OutsideSecrets;
use super::pinning::PinImages;
use super::selection::Selection;
use super::tenant::Told;
use super::triggers::Queues;
use crate::api::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource,
    Snapshot,
};
use crate::deploy::TemplatePolicy;
use crate::metrics::Metrics;
use crate::mutation::SchemaPolicy;
use crate::pipeline::Pipeline;
use crate::registry::{RepositoryUrl, Transport};

/// How the controllers behave; checked once at the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which objects are reconciled.
    pub selection: Selection,
    /// The address under which Flux reaches the registry of this program: `HOST:PORT`.
    pub registry_address: String,
    /// The registry that snapshots are pushed to, in place of the one of this program.
    pub outside_registry: Option<OutsideRegistry>,
    /// How many objects of a kind are reconciled at once.
    pub concurrent: u16,
    /// How long what is under way may take to end when the process is asked to.
    pub graceful_shutdown: Duration,
    /// How long one reconcile may take.
    pub reconcile_timeout: Duration,
    /// Where events are posted to, besides the API server.
    pub events_address: Option<EventsAddress>,
    /// How far the templates of deployers may reach.
    pub templates: TemplatePolicy,
    /// Whether references into other namespaces are refused.
    pub no_cross_namespace_refs: bool,
    /// What to do about a version that is pushed again with other content.
    pub on_republish: OnRepublish,
    /// What to do where configuration values violate the component's schema.
    pub config_schema: SchemaPolicy,
    /// Which images are written with their digest.
    pub pin_images: PinImages,
    /// Whether a localization rule may create the path that it names.
    pub lenient_localization: bool,
    /// How often garbage is collected.
    pub gc_interval: Duration,
    /// Within which time all content of the store is read again, if it is.
    pub scrub_interval: Option<Duration>,
    /// How many bytes the content store may have before it gives up what no Snapshot needs.
    pub store_size_limit: Option<u64>,
}

/// A registry that snapshots are pushed to, as Flux is told of it.
#[derive(Debug, Clone)]
pub struct OutsideRegistry {
    /// The registry, and the path below which snapshots lie.
    pub url: RepositoryUrl,
    /// The namespace of the two Secrets: the controller's own.
    pub namespace: String,
    /// The Secret with the password for Flux.
    pub pull_secret: Option<String>,
    /// The Secret with the authority for Flux.
    pub ca_secret: Option<String>,
}

/// What to do about a version in use that is pushed again with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnRepublish {
    /// Take the new content, and tell of it.
    Accept,
    /// Keep the content that is in use, and tell of it.
    Hold,
}

/// What every reconciler is given.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) pipeline: Pipeline,
    pub(super) transport: Transport,
    pub(super) credentials: CredentialCache,
    pub(super) caches: Caches,
    pub(super) applier: Applier,
    pub(super) events: Events,
    pub(super) memories: Memories,
    pub(super) metrics: Metrics,
    /// What is under way.
    pub(super) work: Arc<WorkHealth>,
    /// The registry's certificate and keys, unless it is served without.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// What namespaces pull with from another registry.
    pub(super) outside_secrets: Option<Arc<OutsideSecrets>>,
    /// What namespaces were told last.
    pub(super) told: Told,
    /// For those who know before the watch that something is to be looked at.
    pub(super) queues: Queues,
}

/// What the watches show.
#[derive(Clone)]
pub(super) struct Caches {
    pub(super) component_versions: Cache<ComponentVersion>,
    pub(super) component_descriptors: Cache<PartialObjectMeta<ComponentDescriptor>>,
    pub(super) resources: Cache<OcmResource>,
    pub(super) localizations: Cache<Localization>,
    pub(super) configurations: Cache<Configuration>,
    pub(super) snapshots: Cache<Snapshot>,
    pub(super) flux_deployers: Cache<FluxDeployer>,
    pub(super) oci_repositories: Cache<DynamicObject>,
    pub(super) kustomizations: Cache<DynamicObject>,
    pub(super) helm_releases: Cache<DynamicObject>,
    pub(super) git_repositories: Cache<DynamicObject>,
    pub(super) buckets: Cache<DynamicObject>,
    pub(super) authority_secrets: Cache<Secret>,
    pub(super) pull_secrets: Cache<Secret>,
}

impl Caches {
    /// One of the Secrets that namespaces pull with.
    pub(super) fn tenant_secret(&self, secret: &ObjectRef<Secret>) -> Option<Arc<Secret>> {
        let found = self.authority_secrets.get(secret);
        found.or_else(|| self.pull_secrets.get(secret))
    }
}
