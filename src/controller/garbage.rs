//! Garbage: what the cluster needs of the content store, and the collection of the rest at
//! intervals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::runtime::reflector::{Lookup, Store as Cache};
use kube::{Api, Client, Resource};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::context::{Caches, Context};
use super::selection::Selection;
use crate::api::{Snapshot, flux};
use crate::chain::chain;
use crate::oci::Digest;
use crate::snapshot::{Namespace, Repository, tag_for};
use crate::store::{self, Collection, Live, LiveSnapshot, Plan, Swept};

/// How many objects are listed at once.
const PAGE: u32 = 500;

/// What keeps a collection from its end; the next one begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to list {kind}")]
    List {
        kind: String,
        source: Box<kube::Error>,
    },

    #[error("failed to use the content store")]
    Store { source: store::Error },

    #[error("the work was broken off")]
    Aborted { source: tokio::task::JoinError },
}

/// Collects garbage every `interval`, until `shutdown`. To be begun once all caches are filled.
pub(super) async fn run(context: Arc<Context>, interval: Duration, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.cancelled() => return,
        }
        let begun = Instant::now();
        let collected = collect(&context).await;
        context
            .metrics
            .collected(begun.elapsed(), collected.is_ok());
        match collected {
            Ok(swept) if swept == Swept::default() => {}
            Ok(Swept {
                tags,
                records,
                blobs,
                bytes,
            }) => info!(tags, records, blobs, bytes, "swept the content store"),
            Err(failure) => warn!(error = chain(&failure), "failed to collect garbage"),
        }
    }
}

/// One collection: by what the watches show, and before anything is removed, by what the API
/// server says when it is asked.
async fn collect(context: &Context) -> Result<Swept, Error> {
    let store = context.pipeline.store().clone();
    let collection = blocking(move || store.collect()).await?;
    let (collection, plan) = plan(context, collection, seen(&context.caches)).await?;
    if plan.is_empty() {
        return Ok(Swept::default());
    }
    let live = listed(context).await?;
    let (collection, plan) = self::plan(context, collection, live).await?;
    // Who looks after another namespace now may use what this process has pushed for it.
    let covered = |(repository, _): &&(Repository, Digest)| {
        let selection = &context.settings.selection;
        selection.covers(repository.namespace().as_str())
    };
    let released: Vec<_> = plan.released().iter().filter(covered).cloned().collect();
    context.pipeline.snapshots().release(&released).await;
    blocking(move || collection.sweep(&plan)).await
}

async fn plan(
    context: &Context,
    collection: Collection,
    live: Live,
) -> Result<(Collection, Plan), Error> {
    let limit = context.settings.store_size_limit;
    blocking(move || {
        let plan = collection.plan(&live, limit)?;
        Ok((collection, plan))
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> store::Result<T> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::Aborted { source })?
        .map_err(|source| Error::Store { source })
}

/// What the cluster needs, as the watches show it.
pub(super) fn seen(caches: &Caches) -> Live {
    let mut live = apart_from_results(caches);
    for snapshot in caches.snapshots.state() {
        let status = snapshot.status.as_ref();
        let manifest = status.and_then(|status| status.manifest_digest.as_deref());
        keep(
            &mut live,
            snapshot.metadata.namespace.as_deref(),
            snapshot.metadata.name.as_deref(),
            Some(&snapshot.spec.tag),
            [Some(snapshot.spec.digest.as_str()), manifest],
        );
    }
    for repository in caches.oci_repositories.state() {
        live.deployed.extend(digest_at(&repository.data, DEPLOYED));
    }
    live
}

/// Where an `OCIRepository` says what it pulls.
const DEPLOYED: &str = "/spec/ref/digest";

/// What the cluster needs, as the API server says now. Objects that this program cannot read count
/// as well, as far as they can be.
pub(super) async fn listed_now(
    client: &Client,
    selection: &Selection,
    caches: &Caches,
) -> Result<Live, kube::Error> {
    let mut live = apart_from_results(caches);
    let kind = ApiResource::erase::<Snapshot>(&());
    // Not only those that are reconciled here: others may use what this process has pushed.
    list(client, selection, &kind, |snapshot| {
        let text = |path: &str| snapshot.data.pointer(path).and_then(Value::as_str);
        keep(
            &mut live,
            snapshot.metadata.namespace.as_deref(),
            snapshot.metadata.name.as_deref(),
            text("/spec/tag"),
            [text("/spec/digest"), text("/status/manifestDigest")],
        );
    })
    .await?;
    let deployed = &mut live.deployed;
    let kind = flux::oci_repository();
    let listing = list(client, selection, &kind, |repository| {
        deployed.extend(digest_at(&repository.data, DEPLOYED));
    });
    match listing.await {
        // Flux is not installed: nobody pulls.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(live),
        Err(source) => Err(source),
        Ok(()) => Ok(live),
    }
}

async fn listed(context: &Context) -> Result<Live, Error> {
    let selection = &context.settings.selection;
    let listed = listed_now(&context.client, selection, &context.caches).await;
    listed.map_err(|source| Error::List {
        kind: "Snapshots and OCIRepositories".to_owned(),
        source: Box::new(source),
    })
}

/// What is known without Snapshots: who pulls, and where there is anything of ours.
fn apart_from_results(caches: &Caches) -> Live {
    let Caches {
        component_versions,
        component_descriptors: _,
        resources,
        localizations,
        configurations,
        snapshots,
        flux_deployers: _,
        oci_repositories: _,
        kustomizations: _,
        helm_releases: _,
        git_repositories: _,
        buckets: _,
        authority_secrets: _,
        pull_secrets: _,
    } = caches;
    let holders = component_versions.state().into_iter();
    let mut namespaces = BTreeSet::new();
    add_namespaces(&mut namespaces, component_versions);
    add_namespaces(&mut namespaces, resources);
    add_namespaces(&mut namespaces, localizations);
    add_namespaces(&mut namespaces, configurations);
    add_namespaces(&mut namespaces, snapshots);
    Live {
        holders: holders
            .filter_map(|found| found.metadata.uid.clone())
            .collect(),
        namespaces,
        ..Live::default()
    }
}

fn add_namespaces<K>(namespaces: &mut BTreeSet<Namespace>, cache: &Cache<K>)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    for object in cache.state() {
        let namespace = object.meta().namespace.as_deref();
        namespaces.extend(namespace.and_then(|namespace| namespace.parse().ok()));
    }
}

fn keep(
    live: &mut Live,
    namespace: Option<&str>,
    name: Option<&str>,
    tag: Option<&str>,
    [layer, manifest]: [Option<&str>; 2],
) {
    // What has no such name was never published.
    let Ok(repository) = Repository::new(namespace.unwrap_or_default(), name.unwrap_or_default())
    else {
        return;
    };
    live.namespaces.insert(repository.namespace().clone());
    let snapshot = LiveSnapshot {
        tag: tag.map(tag_for),
        layer: layer.and_then(|layer| layer.parse().ok()),
        manifest: manifest.and_then(|manifest| manifest.parse().ok()),
    };
    live.snapshots.insert(repository, snapshot);
}

fn digest_at(object: &Value, path: &str) -> Option<Digest> {
    object.pointer(path)?.as_str()?.parse().ok()
}

/// Lists all objects of a kind, page by page, as they are now.
async fn list(
    client: &Client,
    selection: &Selection,
    kind: &ApiResource,
    mut take: impl FnMut(&DynamicObject),
) -> Result<(), kube::Error> {
    let apis: Vec<Api<DynamicObject>> = selection.places(|namespace| match namespace {
        None => Api::all_with(client.clone(), kind),
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
    });
    for api in apis {
        let mut next = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&next).await?;
            page.items.iter().for_each(&mut take);
            let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
                break;
            };
            next = ListParams::default().limit(PAGE).continue_token(&token);
        }
    }
    Ok(())
}
