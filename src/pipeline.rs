//! The chain's steps: from a resource to a layer in the store, and from one layer to the next.
//!
//! Each step knows everything that its result depends on. The digest of that is the key under
//! which the result is remembered, so that unchanged input costs one look into the store, also
//! after a restart; and a store that was lost is filled again with the same bytes.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::archive::{self, Content as ArchiveContent, EntryPath, Inspected, Layout, Limits};
use crate::components::{self, Components, Content, Place};
use crate::mutation::{self, ConfigData, Substitution, substitute};
use crate::oci::{Digest, Tag};
use crate::ocm::{ReadComponent, Resource};
use crate::publish::{self, Published};
use crate::snapshot::{self, Artifact, ContentKind, Namespace, Repository, SnapshotLayer};
use crate::store::{self, BlobWriter, Store};

/// Part of every key: raised when a step comes to write other bytes for the same input.
const FORMAT: u32 = 1;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource cannot be read from its registry.
    #[error(transparent)]
    Components(#[from] components::Error),

    /// The content is not an archive as it should be.
    #[error("failed to read the content of {what}")]
    Archive {
        /// Whose content.
        what: String,
        /// What does not fit.
        source: archive::Error,
    },

    /// The rules cannot be read or applied.
    #[error("failed to apply the rules")]
    Mutation {
        /// What does not fit.
        source: mutation::Error,
    },

    /// The content of the source has gone from the store; its owner makes it again.
    #[error("content {digest} is not in the store; it is being made again")]
    ContentMissing {
        /// The layer's digest.
        digest: Digest,
    },

    /// What a snapshot names as its digest is none.
    #[error("the snapshot's digest cannot be used")]
    ParseDigest {
        /// What does not fit.
        source: crate::oci::Error,
    },

    /// A packed chart has no usable Chart.yaml.
    #[error("failed to read the chart's metadata")]
    Chart {
        /// What does not fit.
        source: crate::snapshot::Error,
    },

    /// The result cannot be published.
    #[error("failed to publish the layer")]
    Publish {
        /// The cause.
        source: publish::Error,
    },

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

impl Error {
    /// Whether the content is something else than an archive of files.
    pub fn is_not_an_archive(&self) -> bool {
        match self {
            Self::Archive { source, .. } => source.is_not_an_archive(),
            Self::Mutation {
                source: mutation::Error::RewriteArchive { source },
            } => source.is_not_an_archive(),
            _ => false,
        }
    }
}

/// Results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A step's result: one layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether it is a packed Helm chart.
    pub is_chart: bool,
}

impl Layer {
    /// The layer as an image names it.
    pub fn snapshot_layer(&self) -> SnapshotLayer {
        let kind = if self.is_chart {
            ContentKind::HelmChart
        } else {
            ContentKind::Files
        };
        SnapshotLayer {
            media_type: kind.layer_media_type().to_owned(),
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// The steps over one store.
#[derive(Clone)]
pub struct Pipeline {
    components: Components,
    store: Store,
    limits: Limits,
}

impl Pipeline {
    /// Steps that read through `components`, keep their results in `store`, and hold content to
    /// `limits`.
    pub fn new(components: Components, store: Store, limits: Limits) -> Self {
        Self {
            components,
            store,
            limits,
        }
    }

    /// Where component versions are read from.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes `resource` out of `component`: a layer of tar and gzip, as Flux reads it.
    pub async fn resource(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
    ) -> Result<Layer> {
        let content = self.components.locate(place, component, resource).await?;
        let key = key(&json!([
            "resource",
            FORMAT,
            content.identity,
            resource.name
        ]));
        let reader = self.components.open(place, &content);
        let name = resource.name.clone();
        let limits = self.limits.clone();
        self.derive(&place.namespace, key, move |sink| {
            prepare(reader, &name, &limits, sink)?;
            Ok(content.kind == ContentKind::HelmChart)
        })
        .await
    }

    /// Reads the ConfigData document that is the content of `resource`.
    pub async fn config_data(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
    ) -> Result<ConfigData> {
        let content = self.components.locate(place, component, resource).await?;
        let text = self.text(place, &content, resource).await?;
        ConfigData::parse(&text).map_err(|source| Error::Mutation { source })
    }

    /// Applies `substitutions` to the files of the layer `source`.
    pub async fn substitute(
        &self,
        namespace: &Namespace,
        source: &Digest,
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
        let (store, digest) = (self.store.clone(), source.clone());
        let settings = mutation::Settings {
            limits: self.limits.clone(),
            ..mutation::Settings::default()
        };
        self.derive(namespace, key, move |sink| {
            let blob = store
                .open_blob(&digest)
                .map_err(|source| Error::Store { source })?;
            let blob = blob.ok_or(Error::ContentMissing { digest })?;
            substitute(blob, &substitutions, &settings, sink)
                .map_err(|source| Error::Mutation { source })?;
            Ok(false)
        })
        .await
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
            Artifact::HelmChart {
                config: self.chart_config(&layer.digest).await?,
            }
        } else {
            Artifact::Files
        };
        publish::publish(
            &self.store,
            repository,
            tag,
            layer.snapshot_layer(),
            artifact,
            owner,
        )
        .await
        .map_err(|source| Error::Publish { source })
    }

    /// What a chart's image says about the chart, from its Chart.yaml.
    async fn chart_config(&self, layer: &Digest) -> Result<Vec<u8>> {
        let (store, limits, digest) = (self.store.clone(), self.limits.clone(), layer.clone());
        let work = move || {
            let blob = store
                .open_blob(&digest)
                .map_err(|source| Error::Store { source })?;
            let blob = blob.ok_or_else(|| Error::ContentMissing {
                digest: digest.clone(),
            })?;
            let is_metadata = |path: &EntryPath| {
                path.as_str()
                    .split_once('/')
                    .is_some_and(|(_, file)| file == "Chart.yaml")
            };
            let found = archive::find_file(blob, &limits, is_metadata).map_err(|source| {
                Error::Archive {
                    what: "the chart".to_owned(),
                    source,
                }
            })?;
            let text = found.map(|found| found.content).unwrap_or_default();
            snapshot::chart_config(&String::from_utf8_lossy(&text))
                .map_err(|source| Error::Chart { source })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
    }

    /// What was made under `key` before, or else what `make` writes now.
    async fn derive(
        &self,
        namespace: &Namespace,
        key: Digest,
        make: impl FnOnce(&mut BlobWriter) -> Result<bool> + Send + 'static,
    ) -> Result<Layer> {
        let (store, namespace) = (self.store.clone(), namespace.clone());
        let work = move || {
            let failed = |source| Error::Store { source };
            let known: Option<Layer> = store.derivation(&namespace, &key).map_err(failed)?;
            if let Some(layer) = known
                && store.contains(&layer.digest).map_err(failed)? == Some(layer.size)
            {
                return Ok(layer);
            }
            let mut writer = store.writer().map_err(failed)?;
            let is_chart = make(&mut writer)?;
            let stored = writer.commit().map_err(failed)?;
            let layer = Layer {
                digest: stored.digest,
                size: stored.size,
                is_chart,
            };
            store
                .set_derivation(&namespace, &key, &layer)
                .map_err(failed)?;
            Ok(layer)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
    }

    /// A small text as a whole, decompressed.
    async fn text(&self, place: &Place, content: &Content, resource: &Resource) -> Result<Vec<u8>> {
        let reader = self.components.open(place, content);
        let (limits, what) = (self.limits.clone(), resource.identity().to_string());
        let work = move || {
            let failed = |source| Error::Archive {
                what: what.clone(),
                source,
            };
            let mut text = Vec::new();
            let limit = limits.file_bytes;
            archive::decompress(reader, &limits)
                .map_err(failed)?
                .take(limit.saturating_add(1))
                .read_to_end(&mut text)
                .map_err(|source| failed(archive::Error::from_read(source)))?;
            Ok(text)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
    }
}

fn key(inputs: &Value) -> Digest {
    Digest::of(inputs.to_string())
}

/// Makes of a resource's content what Flux reads, and keeps its bytes where they are that already.
fn prepare(source: impl Read, name: &str, limits: &Limits, sink: &mut impl Write) -> Result<()> {
    let failed = |source| Error::Archive {
        what: format!("resource {name:?}"),
        source,
    };
    let Inspected { kind, source } = archive::inspect(source, limits).map_err(failed)?;
    match (kind.content, kind.compression) {
        (ArchiveContent::Tar, archive::Compression::Gzip) => {
            archive::copy_checked(source, sink, limits).map_err(failed)?;
        }
        (ArchiveContent::Text, _) => {
            let path: EntryPath = format!("{name}.yaml").parse().map_err(failed)?;
            let text = archive::decompress(source, limits).map_err(failed)?;
            archive::pack_single_file(&path, text, sink, limits).map_err(failed)?;
        }
        (
            ArchiveContent::Tar
            | ArchiveContent::Empty
            | ArchiveContent::Packed(_)
            | ArchiveContent::Other,
            _,
        ) => {
            archive::normalize(source, sink, limits, &Layout::Keep).map_err(failed)?;
        }
    }
    Ok(())
}
