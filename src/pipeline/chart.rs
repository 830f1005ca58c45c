//! Helm charts: found by their Chart.yaml, packed in a folder of the chart's name, as Helm wants it.

use serde::Deserialize;
use serde_json::json;

use super::{Error, FORMAT, Layer, Pipeline, Result, commit, key, open};
use crate::archive::{self, EntryPath, Layout};
use crate::oci::Digest;
use crate::snapshot::Namespace;

const METADATA: &str = "Chart.yaml";

impl Pipeline {
    /// `layer` as a packed chart, if it is a chart: one that is packed already, or a folder with a
    /// Chart.yaml at its root. Other layers stay as they are. `says_chart` is what the resource says
    /// of itself: its one folder is taken for that of a packed chart then.
    pub(super) async fn packed_chart(
        &self,
        namespace: &Namespace,
        layer: Layer,
        says_chart: bool,
    ) -> Result<Layer> {
        if layer.is_chart {
            return Ok(layer);
        }
        let key = key(&json!([
            "chart of a folder",
            FORMAT,
            layer.digest,
            says_chart
        ]));
        let (limits, source) = (self.limits.clone(), layer);
        self.derive(namespace, key, move |store, mut sink| {
            let failed = |source| Error::Archive {
                what: "the chart".to_owned(),
                source,
            };
            let is_metadata = |path: &EntryPath| {
                path.as_str() == METADATA || says_chart && is_packed_metadata(path)
            };
            let blob = open(store, &source.digest)?;
            let found = archive::find_file(blob, &limits, is_metadata).map_err(failed)?;
            let Some(found) = found else {
                return Ok(source);
            };
            if is_packed_metadata(&found.path) {
                return Ok(Layer {
                    is_chart: true,
                    ..source
                });
            }
            let layout = Layout::Below(name_in(&found.content)?);
            let blob = open(store, &source.digest)?;
            archive::normalize(blob, &mut sink, &limits, &layout).map_err(failed)?;
            Ok(Layer::new(commit(sink)?, true))
        })
        .await
    }

    /// The name of the packed chart in the layer `digest`.
    pub(super) async fn chart_name(&self, digest: &Digest) -> Result<EntryPath> {
        name_in(self.chart_metadata(digest).await?.as_bytes())
    }

    /// The version of the chart that `layer` is, if it is one.
    pub async fn chart_version(&self, layer: &Layer) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Metadata {
            version: String,
        }
        if !layer.is_chart {
            return Ok(None);
        }
        let metadata = self.chart_metadata(&layer.digest).await?;
        let metadata: Metadata = serde_yaml::from_str(&metadata).map_err(|_| Error::NoChart)?;
        Ok(Some(metadata.version))
    }

    /// The Chart.yaml of the packed chart in the layer `digest`.
    pub(super) async fn chart_metadata(&self, digest: &Digest) -> Result<String> {
        let (limits, digest) = (self.limits.clone(), digest.clone());
        self.blocking(move |store| {
            let chart = open(store, &digest)?;
            let found = archive::find_file(chart, &limits, is_packed_metadata);
            let found = found.map_err(|source| Error::Archive {
                what: "the chart".to_owned(),
                source,
            })?;
            let found = found.ok_or(Error::NoChart)?;
            String::from_utf8(found.content).map_err(|_| Error::NoChart)
        })
        .await
    }
}

/// Whether content with a file there may be a chart, packed or as a folder.
pub(super) fn may_be_metadata(path: &EntryPath) -> bool {
    path.as_str() == METADATA || is_packed_metadata(path)
}

/// Whether a packed chart has its Chart.yaml there: in the one folder at its top.
fn is_packed_metadata(path: &EntryPath) -> bool {
    path.as_str()
        .split_once('/')
        .is_some_and(|(_, file)| file == METADATA)
}

/// The chart's name as a folder.
fn name_in(metadata: &[u8]) -> Result<EntryPath> {
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let metadata: Metadata = serde_yaml::from_slice(metadata).map_err(|_| Error::NoChart)?;
    let path: EntryPath = metadata.name.parse().map_err(|_| Error::NoChart)?;
    if path.as_str().contains('/') {
        Err(Error::NoChart)
    } else {
        Ok(path)
    }
}
