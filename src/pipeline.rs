//! The chain's steps: from a resource to a layer in the store, and from one layer to the next.
//!
//! Each step knows everything that its result depends on. The digest of that is the key under
//! which the result is remembered, so that unchanged input costs one look into the store, also
//! after a restart; and a store that was lost is filled again with the same bytes.

mod chart;
mod prepare;

use std::io::Read as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::api::truncated;
use crate::archive::{self, Layout, Limits};
use crate::components::{self, Components, Content, Place};
use crate::edit;
use crate::mutation::{
    self, ConfigData, KnownImage, KnownImages, LocalizedImages, Root, Settings, Substitution,
    localize_images, substitute,
};
use crate::oci::{Digest, Tag};
use crate::ocm::{ReadComponent, Resource};
use crate::publish::{self, Published};
use crate::registry::BlobStream;
use crate::snapshot::{self, Artifact, ContentKind, Namespace, Repository, SnapshotLayer};
use crate::store::{self, Blob, BlobWriter, Store, Stored};

/// Part of every key: raised when a step comes to write other bytes for the same input.
const FORMAT: u32 = 1;

/// How many images and files a record lists.
const MAX_LISTED: usize = 100;

/// The longest line of such a list, in bytes: a record has a bound.
const MAX_LINE: usize = 300;

/// The type of resources that are Helm charts.
const HELM_CHART: &str = "helmChart";

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

    /// A result that should be one text is several files, or none.
    #[error("expected one file, found none or several: name a resource that is a single text")]
    NotOneFile,

    /// A chart has no Chart.yaml in its folder, or that one no name.
    #[error("the chart has no Chart.yaml with a name that a folder can have")]
    NoChart,

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

/// What [`Pipeline::localize_images`] made and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Localized {
    /// The files with their images localized.
    pub layer: Layer,
    /// How many images come from where the component's copies are.
    pub covered: usize,
    /// How many images no resource of the component covers.
    pub not_covered: usize,
    /// The first hundred of these: `FILE:LINE: IMAGE (why)`.
    pub uncovered: Vec<String>,
    /// The first hundred files that may hold images and could not be read, with the reason.
    pub unreadable: Vec<String>,
}

/// A record of what was derived, with the layer that it is about.
trait Derived: Serialize + DeserializeOwned + Send + 'static {
    fn layer(&self) -> &Layer;
}

impl Derived for Layer {
    fn layer(&self) -> &Layer {
        self
    }
}

impl Derived for Localized {
    fn layer(&self) -> &Layer {
        &self.layer
    }
}

impl Layer {
    fn new(stored: Stored, is_chart: bool) -> Self {
        Self {
            digest: stored.digest,
            size: stored.size,
            is_chart,
        }
    }

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

    /// Takes `resource` out of `component`: a layer of tar and gzip, as Flux reads it. What is a
    /// Helm chart is packed as Helm packs it.
    pub async fn resource(
        &self,
        place: &Place,
        component: &ReadComponent,
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
            prepare::prepare(reader, &name, &limits, &mut sink)?;
            Ok(Layer::new(commit(sink)?, is_chart))
        });
        let layer = files.await?;
        self.packed_chart(&place.namespace, layer, says_chart).await
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
        self.blocking(move |_| {
            ConfigData::parse(&text).map_err(|source| Error::Mutation { source })
        })
        .await
    }

    /// Reads the whole of a small text that `resource` is, such as a values file.
    pub async fn resource_text(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
    ) -> Result<Vec<u8>> {
        let content = self.components.locate(place, component, resource).await?;
        self.text(place, &content, resource).await
    }

    /// Reads the only file of the layer `digest`: what a text became when it was published.
    pub async fn only_file(&self, digest: &Digest) -> Result<Vec<u8>> {
        let (limits, digest) = (self.limits.clone(), digest.clone());
        self.blocking(move |store| {
            let found =
                archive::find_file(open(store, &digest)?, &limits, |_| true).map_err(|source| {
                    Error::Archive {
                        what: format!("layer {digest}"),
                        source,
                    }
                })?;
            Ok(found.map(|found| found.content).unwrap_or_default())
        })
        .await
    }

    /// The file at `path` of the archive with `digest`, if it was read before for this namespace.
    pub async fn known_file(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        path: &str,
    ) -> Result<Option<Vec<u8>>> {
        let (namespace, key) = (namespace.clone(), file_key(digest, path));
        let limit = self.limits.file_bytes;
        self.blocking(move |store| {
            let failed = |source| Error::Store { source };
            let known: Option<Digest> = store.derivation(&namespace, &key).map_err(failed)?;
            let known = known.map(|known| store.read_small(&known, limit));
            Ok(known.transpose().map_err(failed)?.flatten())
        })
        .await
    }

    /// Reads the file at `path` of the archive with `digest` as it is fetched, if it has one, and
    /// remembers it.
    pub async fn file_of(
        &self,
        namespace: &Namespace,
        archive: BlobStream,
        digest: &Digest,
        path: &str,
    ) -> Result<Option<Vec<u8>>> {
        let (limits, path, key) = (self.limits.clone(), path.to_owned(), file_key(digest, path));
        let namespace = namespace.clone();
        let mut reader = archive.into_reader(Handle::current());
        self.blocking(move |store| {
            let failed = |source| Error::Archive {
                what: "the source".to_owned(),
                source,
            };
            let found = archive::find_file(&mut reader, &limits, |found| found.as_str() == path)
                .map_err(failed)?;
            // To the end, or the digest of what was read is never checked.
            std::io::copy(&mut reader, &mut std::io::sink())
                .map_err(|source| failed(archive::Error::from_read(source)))?;
            let Some(found) = found else {
                return Ok(None);
            };
            let failed = |source| Error::Store { source };
            let digest = Digest::of(&found.content);
            store.write_small(&digest, &found.content).map_err(failed)?;
            store
                .set_derivation(&namespace, &key, &digest)
                .map_err(failed)?;
            Ok(Some(found.content))
        })
        .await
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
            {
                let metadata = self.chart_metadata(&layer.digest).await?;
                let config =
                    snapshot::chart_config(&metadata).map_err(|source| Error::Chart { source })?;
                Artifact::HelmChart { config }
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

    /// The layer `digest` as it was published in `repository` under `tag`, if it is all there.
    pub async fn published(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Layer>> {
        let found = publish::find(&self.store, repository, tag, digest)
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
                    return Ok(known);
                }
            }
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

fn file_key(archive: &Digest, path: &str) -> Digest {
    key(&json!(["file", FORMAT, archive, path]))
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

impl Localized {
    fn new(layer: Layer, found: &LocalizedImages) -> Self {
        let uncovered = found.uncovered.iter().map(|one| {
            let (file, line) = (one.file.as_str(), one.line);
            cut(&format!("{file}:{line}: {} ({})", one.image, one.reason))
        });
        let unreadable = found
            .unreadable
            .iter()
            .map(|(file, error)| cut(&format!("{}: {error}", file.as_str())));
        Self {
            layer,
            covered: found.covered,
            not_covered: found.uncovered.len(),
            uncovered: uncovered.take(MAX_LISTED).collect(),
            unreadable: unreadable.take(MAX_LISTED).collect(),
        }
    }
}

fn cut(line: &str) -> String {
    truncated(line, MAX_LINE).to_owned()
}
