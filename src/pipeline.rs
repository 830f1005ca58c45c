//! The chain's steps: from a resource to a layer in the store, and from one layer to the next.
//!
//! Each step knows everything that its result depends on. The digest of that is the key under
//! which the result is remembered, so that unchanged input costs one look into the store, also
//! after a restart; and a store that was lost is filled again with the same bytes.

mod chart;
mod error;
mod layer;
mod prepare;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::archive::{Layout, Limits};
use crate::components::{Components, Place};
use crate::edit;
use crate::mutation::{
    KnownImage, KnownImages, Root, Settings, Substitution, localize_images, substitute,
};
use crate::oci::{Digest, Tag};
use crate::ocm::{Accepted, Resource};
use crate::publish::{BuiltIn, NewImage, Published, Snapshots};
use crate::snapshot::{self, Artifact, ContentKind, Namespace, Repository};
use crate::store::{Blob, BlobWriter, Cached, Store, Stored};

use layer::{Derived, Prepared};

pub use error::{Error, Result};
pub use layer::{Layer, Localized};

/// Part of every key: raised when a step comes to write other bytes for the same input.
/// 2: gzip in blocks, which several threads compress.
const FORMAT: u32 = 2;

/// The type of resources that are Helm charts.
const HELM_CHART: &str = "helmChart";

/// The steps over one store.
#[derive(Clone)]
pub struct Pipeline {
    components: Components,
    store: Store,
    snapshots: Arc<dyn Snapshots>,
    limits: Limits,
}

impl Pipeline {
    /// Steps that read through `components`, keep their results in `store`, and hold content to
    /// `limits`.
    pub fn new(components: Components, store: Store, limits: Limits) -> Self {
        Self {
            components,
            snapshots: Arc::new(BuiltIn::new(store.clone())),
            store,
            limits,
        }
    }

    /// The same with another place for snapshots than the store itself.
    #[must_use]
    pub fn publishing_to(self, snapshots: Arc<dyn Snapshots>) -> Self {
        Self { snapshots, ..self }
    }

    /// Where snapshots lie for Flux.
    pub fn snapshots(&self) -> &dyn Snapshots {
        &*self.snapshots
    }

    /// Where component versions are read from.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes `resource` out of `component`: a layer of tar and gzip, as Flux reads it. What is a
    /// Helm chart is packed as Helm packs it.
    pub async fn resource(
        &self,
        place: &Place,
        component: &Accepted,
        resource: &Resource,
    ) -> Result<Layer> {
        let content = self.components.locate(place, component, resource).await?;
        let is_chart = content.kind == ContentKind::HelmChart;
        let says_chart = resource.kind == HELM_CHART;
        let key = key(&json!([
            "resource",
            FORMAT,
            content.identity,
            resource.name,
            is_chart
        ]));
        let reader = self.components.open(place, &content);
        let name = resource.name.clone();
        let limits = self.limits.clone();
        let files = self.derive(&place.namespace, key, move |_, mut sink| {
            let may_be_chart = prepare::prepare(reader, &name, &limits, &mut sink)?;
            let layer = Layer::new(commit(sink)?, is_chart);
            Ok(Prepared {
                layer,
                may_be_chart,
            })
        });
        let Prepared {
            layer,
            may_be_chart,
        } = files.await?;
        if !may_be_chart {
            return Ok(layer);
        }
        self.packed_chart(&place.namespace, layer, says_chart).await
    }

    /// Applies `substitutions` to the files of `source`.
    pub async fn substitute(
        &self,
        namespace: &Namespace,
        source: &Layer,
        substitutions: Vec<Substitution>,
    ) -> Result<Layer> {
        let wanted: Vec<Value> = substitutions
            .iter()
            .map(|one| {
                json!([
                    one.file.as_str(),
                    one.path,
                    one.value,
                    format!("{:?}", one.missing)
                ])
            })
            .collect();
        let key = key(&json!(["substitute", FORMAT, source, wanted]));
        let (settings, source) = (self.settings(source).await?, source.clone());
        self.derive(namespace, key, move |store, mut sink| {
            let blob = open(store, &source.digest)?;
            substitute(blob, &substitutions, &settings, &mut sink)
                .map_err(|source| Error::Mutation { source })?;
            Ok(Layer::new(commit(sink)?, source.is_chart))
        })
        .await
    }

    /// Points every image in the files of `source` that is one of `known` at its copy.
    pub async fn localize_images(
        &self,
        namespace: &Namespace,
        source: &Layer,
        known: Vec<KnownImage>,
    ) -> Result<Localized> {
        let listed: Vec<Value> = known
            .iter()
            .map(|one| {
                json!([
                    one.resource,
                    one.version,
                    one.location.to_string(),
                    one.original
                ])
            })
            .collect();
        let key = key(&json!(["localize images", FORMAT, source, listed]));
        let (settings, source) = (self.settings(source).await?, source.clone());
        self.derive(namespace, key, move |store, mut sink| {
            let blob = open(store, &source.digest)?;
            let found = localize_images(blob, &KnownImages::new(known), &settings, &mut sink)
                .map_err(|source| Error::Mutation { source })?;
            Ok(Localized::new(
                Layer::new(commit(sink)?, source.is_chart),
                &found,
            ))
        })
        .await
    }

    /// How the files of `source` are changed: a chart's below the folder of its name.
    async fn settings(&self, source: &Layer) -> Result<Settings> {
        let edit_limits = edit::Limits {
            bytes: usize::try_from(self.limits.file_bytes).unwrap_or(usize::MAX),
            ..edit::Limits::default()
        };
        let settings = Settings {
            limits: self.limits.clone(),
            edit_limits,
            ..Settings::default()
        };
        if !source.is_chart {
            return Ok(settings);
        }
        let layout = Layout::RenameTop(self.chart_name(&source.digest).await?);
        Ok(Settings {
            layout,
            root: Root::Chart,
            ..settings
        })
    }

    /// Makes `layer` an image in `repository` under `tag`, for the object with the UID `owner`.
    pub async fn publish(
        &self,
        repository: Repository,
        tag: Tag,
        layer: &Layer,
        owner: String,
    ) -> Result<Published> {
        let artifact = if layer.is_chart {
            let metadata = self.chart_metadata(&layer.digest).await?;
            let config =
                snapshot::chart_config(&metadata).map_err(|source| Error::Chart { source })?;
            Artifact::HelmChart { config }
        } else {
            Artifact::Files
        };
        let image = NewImage {
            repository,
            tag,
            layer: layer.snapshot_layer(),
            artifact,
            owner,
        };
        self.snapshots
            .publish(image)
            .await
            .map_err(|source| Error::Publish { source })
    }

    /// The layer `digest` as it was published in `repository` under `tag`, if the store has all of
    /// it, for the next step to read.
    pub async fn published(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Layer>> {
        let local = BuiltIn::new(self.store.clone());
        let found = local
            .find(repository, tag, digest)
            .await
            .map_err(|source| Error::Publish { source })?;
        Ok(found.map(
            |Published {
                 layer,
                 size,
                 is_chart,
                 ..
             }| Layer {
                digest: layer,
                size,
                is_chart,
            },
        ))
    }

    /// What was made under `key` before, or else what `make` makes now.
    async fn derive<T: Derived>(
        &self,
        namespace: &Namespace,
        key: Digest,
        make: impl FnOnce(&Store, BlobWriter) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let namespace = namespace.clone();
        self.blocking(move |store| {
            let failed = |source| Error::Store { source };
            let known: Option<T> = store.derivation(&namespace, &key).map_err(failed)?;
            if let Some(known) = known {
                let Layer { digest, size, .. } = known.layer();
                if store.contains(digest).map_err(failed)? == Some(*size) {
                    store.count_lookup(Cached::Result, Some(*size));
                    return Ok(known);
                }
            }
            store.count_lookup(Cached::Result, None);
            let result = make(store, store.writer().map_err(failed)?)?;
            store
                .set_derivation(&namespace, &key, &result)
                .map_err(failed)?;
            Ok(result)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|source| Error::Aborted { source })?
    }
}

fn key(inputs: &Value) -> Digest {
    Digest::of(inputs.to_string())
}

fn open(store: &Store, digest: &Digest) -> Result<Blob> {
    let blob = store
        .open_blob(digest)
        .map_err(|source| Error::Store { source })?;
    blob.ok_or_else(|| Error::ContentMissing {
        digest: digest.clone(),
    })
}

fn commit(writer: BlobWriter) -> Result<Stored> {
    writer.commit().map_err(|source| Error::Store { source })
}
