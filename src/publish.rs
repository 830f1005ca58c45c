//! Publishing: a layer in the content store becomes an image that Flux can pull.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::oci::{Digest, Tag};
use crate::snapshot::{Artifact, ContentKind, Repository, SnapshotLayer, image};
use crate::store::{self, Store};

/// The largest manifest that this program writes, in bytes.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Why a snapshot could not be published or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content store failed.
    #[error("failed to use the content store")]
    Store {
        /// The cause.
        source: store::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

/// A published image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The digest of its layer.
    pub layer: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The number of bytes of the layer.
    pub size: u64,
    /// Whether the layer is a packed Helm chart.
    pub is_chart: bool,
}

/// Makes the stored `layer` an image in `repository` under `tag`, for the object `owner` (a UID).
pub async fn publish(
    store: &Store,
    repository: Repository,
    tag: Tag,
    layer: SnapshotLayer,
    artifact: Artifact,
    owner: String,
) -> Result<Published, Error> {
    blocking(store, move |store| {
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
    .await
}

/// The image that `tag` names in `repository`, if its layer is `layer` and all of it is there.
pub async fn find(
    store: &Store,
    repository: &Repository,
    tag: &Tag,
    layer: &Digest,
) -> Result<Option<Published>, Error> {
    let (repository, tag, layer) = (repository.clone(), tag.clone(), layer.clone());
    blocking(store, move |store| {
        let failed = |source| Error::Store { source };
        let Some(record) = store.tag(&repository, &tag).map_err(failed)? else {
            return Ok(None);
        };
        let manifest = store
            .read_small(&record.manifest, MAX_MANIFEST)
            .map_err(failed)?;
        let layers = manifest.map(|bytes| layers_of(&bytes)).unwrap_or_default();
        let Some(found) = layers.into_iter().find(|found| found.digest == layer) else {
            return Ok(None);
        };
        // Opening, not asking for the name: the bytes have to be right as well.
        let is_there = store.open_blob(&layer).map_err(failed)?.is_some();
        Ok(is_there.then(|| Published {
            layer,
            manifest: record.manifest,
            size: found.size,
            is_chart: found.media_type == ContentKind::HelmChart.layer_media_type(),
        }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredLayer {
    media_type: String,
    digest: Digest,
    size: u64,
}

fn layers_of(manifest: &[u8]) -> Vec<StoredLayer> {
    #[derive(Deserialize)]
    struct Manifest {
        layers: Vec<StoredLayer>,
    }
    let manifest: Option<Manifest> = serde_json::from_slice(manifest).ok();
    manifest.map(|manifest| manifest.layers).unwrap_or_default()
}

async fn blocking<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|source| Error::Aborted { source })?
}
