//! The watches of all kinds, and who is told by which.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::Caches;
use super::decode::{Decoded, Undecodable};
use super::driver::Reconcile;
use super::health::WatchHealth;
use super::informer::{Informer, Listed, Place};
use super::selection::Selection;
use super::triggers::Triggers;
use super::{flux_deployer, tenant};
use crate::api::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, OcmResource,
    Snapshot, flux,
};

/// The watches of all kinds.
pub(super) struct Watches {
    component_versions: Informer<Decoded<ComponentVersion>>,
    component_descriptors: Informer<PartialObjectMeta<ComponentDescriptor>>,
    resources: Informer<Decoded<OcmResource>>,
    localizations: Informer<Decoded<Localization>>,
    configurations: Informer<Decoded<Configuration>>,
    snapshots: Informer<Decoded<Snapshot>>,
    flux_deployers: Informer<Decoded<FluxDeployer>>,
    oci_repositories: Informer<Decoded<DynamicObject>>,
    kustomizations: Informer<Decoded<DynamicObject>>,
    helm_releases: Informer<Decoded<DynamicObject>>,
    git_repositories: Informer<Decoded<DynamicObject>>,
    buckets: Informer<Decoded<DynamicObject>>,
    config_maps: Informer<PartialObjectMeta<ConfigMap>>,
    authority_secrets: Informer<Decoded<Secret>>,
    pull_secrets: Informer<Decoded<Secret>>,
    /// Whether namespaces are told what they pull with.
    tells: bool,
    secrets: Option<Informer<PartialObjectMeta<Secret>>>,
}

impl Watches {
    /// Watches of the objects of `selection`; of kinds that are not reconciled, of all those in its
    /// namespaces. `tells` is whether namespaces are told what they pull with.
    pub(super) fn new(client: &Client, selection: &Selection, tells: bool) -> Self {
        let secrets = |name| {
            let places = Place::all(client, selection);
            Informer::new(places, (), |_| ()).named(&selection.named(name))
        };
        let watched = !selection.secrets.is_empty();
        let dynamic = |kind: ApiResource| {
            let places = Place::all_of(&kind, client, selection);
            Informer::new(places, kind, flux_deployer::prune)
        };
        Self {
            component_versions: reconciled(client, selection),
            component_descriptors: Informer::new(Place::all(client, selection), (), |_| ()),
            resources: reconciled(client, selection),
            localizations: reconciled(client, selection),
            configurations: reconciled(client, selection),
            snapshots: reconciled(client, selection),
            flux_deployers: reconciled(client, selection),
            oci_repositories: dynamic(flux::oci_repository()),
            kustomizations: dynamic(flux::kustomization()),
            helm_releases: dynamic(flux::helm_release()),
            git_repositories: dynamic(flux::git_repository()),
            buckets: dynamic(flux::bucket()),
            config_maps: Informer::new(Place::all(client, selection), (), only_name),
            authority_secrets: secrets(tenant::CA_SECRET),
            pull_secrets: secrets(tenant::PULL_SECRET),
            tells,
            secrets: watched.then(|| {
                let places = Place::of(client, &selection.secrets);
                Informer::new(places, (), only_name)
            }),
        }
    }

    /// What the watches will show.
    pub(super) fn caches(&self) -> Caches {
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
    pub(super) fn listed(&self) -> Vec<Listed> {
        let mut listed = vec![
            self.component_versions.listed(),
            self.component_descriptors.listed(),
            self.resources.listed(),
            self.localizations.listed(),
            self.configurations.listed(),
            self.snapshots.listed(),
            self.flux_deployers.listed(),
        ];
        if self.tells {
            listed.extend([self.authority_secrets.listed(), self.pull_secrets.listed()]);
        }
        listed
    }

    /// Starts all watches; their listeners fill the queues. What of the reconciled kinds cannot be
    /// read is given to `reports`.
    pub(super) fn spawn(
        self,
        triggers: &Triggers,
        reports: &mpsc::UnboundedSender<Undecodable>,
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
        macro_rules! watch_own {
            ($informer:expr, $($listener:expr),+) => {
                let mut informer = $informer;
                informer.report_to(reports.clone());
                watch!(informer, $($listener),+);
            };
        }
        macro_rules! watch_deployed {
            ($informer:expr, $($listener:expr),+) => {
                let mut informer = $informer;
                informer.on_presence(triggers.flux_kind());
                watch!(informer, $($listener),+);
            };
        }
        watch_own!(
            self.component_versions,
            Triggers::own(&triggers.queues.component_versions),
            triggers.component_version()
        );
        watch!(self.component_descriptors, triggers.component_descriptor());
        watch_own!(
            self.resources,
            Triggers::own(&triggers.queues.resources),
            triggers.producer()
        );
        watch_own!(
            self.localizations,
            Triggers::own(&triggers.queues.localizations),
            triggers.producer()
        );
        watch_own!(
            self.configurations,
            Triggers::own(&triggers.queues.configurations),
            triggers.producer()
        );
        watch_own!(
            self.snapshots,
            Triggers::own(&triggers.queues.snapshots),
            triggers.snapshot()
        );
        watch_own!(
            self.flux_deployers,
            Triggers::own(&triggers.queues.flux_deployers),
            triggers.owner_of_tenant_secrets()
        );
        watch!(self.git_repositories, triggers.flux_source());
        watch!(self.buckets, triggers.flux_source());
        watch!(self.config_maps, triggers.config_map());
        watch_deployed!(
            self.oci_repositories,
            triggers.flux_object(flux::oci_repository()),
            triggers.flux_source()
        );
        watch_deployed!(
            self.kustomizations,
            triggers.flux_object(flux::kustomization())
        );
        watch_deployed!(
            self.helm_releases,
            triggers.flux_object(flux::helm_release())
        );
        if self.tells {
            watch!(self.authority_secrets, triggers.tenant_secret());
            watch!(self.pull_secrets, triggers.tenant_secret());
        }
        if let Some(secrets) = self.secrets {
            watch!(secrets, triggers.secret());
        }
    }
}

fn reconciled<K>(client: &Client, selection: &Selection) -> Informer<Decoded<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Reconcile,
{
    Informer::new(Place::all(client, selection), (), |_| ()).selected(selection.labels.as_ref())
}

/// Keeps of an object what tells that it has changed; it is read when it is used.
fn only_name<K>(object: &mut PartialObjectMeta<K>) {
    object.metadata = ObjectMeta {
        name: object.metadata.name.take(),
        namespace: object.metadata.namespace.take(),
        resource_version: object.metadata.resource_version.take(),
        ..ObjectMeta::default()
    };
}
