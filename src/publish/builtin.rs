//! Snapshots that this program serves itself, out of the content store.

use std::collections::BTreeMap;

use futures::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;

use super::{Error, NewImage, Published, Snapshots};
use crate::oci::{Digest, Tag};
use crate::snapshot::{ContentKind, Repository, image};
use crate::store::Store;

/// The largest manifest that this program writes, in bytes.
pub(super) const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// The content store as the registry of snapshots.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    store: Store,
}

impl BuiltIn {
    /// Over `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }
}

impl Snapshots for BuiltIn {
    fn publish(&self, new: NewImage) -> BoxFuture<'_, Result<Published, Error>> {
        blocking(&self.store, move |store| {
            let NewImage {
                repository,
                tag,
                layer,
                artifact,
                owner,
            } = new;
            let image = image(&layer, artifact, &BTreeMap::new());
            let record = store
                .publish(&repository, &tag, &image, &owner)
                .map_err(|source| Error::Store { source })?;
            let is_chart = layer.media_type == ContentKind::HelmChart.layer_media_type();
            Ok(Published {
                layer: layer.digest,
                manifest: record.manifest,
                size: layer.size,
                is_chart,
            })
        })
        .boxed()
    }

    fn find<'a>(
        &'a self,
        repository: &'a Repository,
        tag: &'a Tag,
        layer: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Published>, Error>> {
        let (repository, tag, layer) = (repository.clone(), tag.clone(), layer.clone());
        blocking(&self.store, move |store| {
            find(store, &repository, &tag, layer)
        })
        .boxed()
    }

    /// What the content store does not have is nowhere.
    fn serves<'a>(&'a self, _: &'a Repository, _: &'a Digest) -> BoxFuture<'a, bool> {
        std::future::ready(false).boxed()
    }

    /// The garbage collection of the content store does it.
    fn release<'a>(&'a self, _: &'a [(Repository, Digest)]) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}

fn find(
    store: &Store,
    repository: &Repository,
    tag: &Tag,
    layer: Digest,
) -> Result<Option<Published>, Error> {
    let failed = |source| Error::Store { source };
    let Some(record) = store.tag(repository, tag).map_err(failed)? else {
        return Ok(None);
    };
    let manifest = store
        .read_small(&record.manifest, MAX_MANIFEST)
        .map_err(failed)?;
    let Some(manifest) = manifest.and_then(|bytes| named_by(&bytes)) else {
        return Ok(None);
    };
    let mut layers = manifest.layers.into_iter();
    let Some(found) = layers.find(|found| found.digest == layer) else {
        return Ok(None);
    };
    // Opening, not asking for the name: the bytes have to be right as well. The configuration is
    // pulled with the layer.
    let is_sound = |digest| Ok(store.open_blob(digest).map_err(failed)?.is_some());
    let is_there = is_sound(&layer)? && is_sound(&manifest.config.digest)?;
    Ok(is_there.then(|| Published {
        layer,
        manifest: record.manifest,
        size: found.size,
        is_chart: found.media_type == ContentKind::HelmChart.layer_media_type(),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredLayer {
    media_type: String,
    digest: Digest,
    size: u64,
}

#[derive(Deserialize)]
struct StoredConfig {
    digest: Digest,
}

#[derive(Deserialize)]
struct Manifest {
    config: StoredConfig,
    layers: Vec<StoredLayer>,
}

fn named_by(manifest: &[u8]) -> Option<Manifest> {
    serde_json::from_slice(manifest).ok()
}

pub(super) async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|source| Error::Aborted { source })?
}
