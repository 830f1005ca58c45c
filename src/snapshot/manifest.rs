//! The image manifest of a snapshot, as the OCI image specification 1.1 describes it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::oci::Digest;

use super::encode;

/// The media type of an OCI image manifest.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The empty descriptor of the image specification ("Guidance for an Empty Descriptor").
const EMPTY_CONFIG_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_CONFIG: &[u8] = b"{}";

const HELM_CONFIG_MEDIA_TYPE: &str = "application/vnd.cncf.helm.config.v1+json";

/// What a snapshot's layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// Manifests or other files, tar and gzip, which Flux unpacks.
    Files,
    /// A packed Helm chart, which Flux copies.
    HelmChart,
}

impl ContentKind {
    /// The media type of the layer, which an `OCIRepository`'s `layerSelector` names.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Self::Files => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::HelmChart => "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        }
    }
}

/// The one layer of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLayer {
    /// The media type, see [`ContentKind::layer_media_type`].
    pub media_type: String,
    /// The digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What the image is made of beside its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// No configuration.
    Files,
    /// The chart's metadata, from [`super::chart_config`].
    HelmChart {
        /// The bytes of the config blob.
        config: Vec<u8>,
    },
}

/// An image, ready to be stored: first the config, then the manifest, then a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The bytes of the config blob.
    pub config: Vec<u8>,
    /// The bytes of the manifest.
    pub manifest: Vec<u8>,
    /// The digest of the manifest, which an `OCIRepository`'s `ref.digest` names.
    pub digest: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: [Descriptor<'a>; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
}

/// Describes `layer` as an image with `annotations`.
///
/// A client that reads images (as Flux does) needs the manifest and the layer; the config is
/// there because the specification asks for one.
pub fn image(
    layer: &SnapshotLayer,
    artifact: Artifact,
    annotations: &BTreeMap<String, String>,
) -> Image {
    let (config_media_type, config) = match artifact {
        Artifact::Files => (EMPTY_CONFIG_MEDIA_TYPE, EMPTY_CONFIG.to_vec()),
        Artifact::HelmChart { config } => (HELM_CONFIG_MEDIA_TYPE, config),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST_MEDIA_TYPE,
        config: Descriptor {
            media_type: config_media_type,
            digest: Digest::of(&config),
            size: config.len() as u64,
        },
        layers: [Descriptor {
            media_type: &layer.media_type,
            digest: layer.digest.clone(),
            size: layer.size,
        }],
        annotations,
    };
    let manifest = encode(&manifest).into_bytes();
    Image {
        digest: Digest::of(&manifest),
        config,
        manifest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(kind: ContentKind) -> SnapshotLayer {
        SnapshotLayer {
            media_type: kind.layer_media_type().to_owned(),
            digest: Digest::of("the layer"),
            size: 9,
        }
    }

    fn annotations() -> BTreeMap<String, String> {
        [
            ("org.opencontainers.image.version", "6.3.5"),
            ("a.example/first", "\"quoted\""),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn files_become_these_bytes() {
        let expected = concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","c"#,
            r#"onfig":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136"#,
            r#"fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers"#,
            r#"":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256"#,
            r#":286aab53bbc3bbb3f2bda81635fa21668f15308f1cc98cab1b315d84b8a75d97","size":9}],"#,
            r#""annotations":{"a.example/first":"\"quoted\"","org.opencontainers.image.versio"#,
            r#"n":"6.3.5"}}"#,
        );
        let image = image(&layer(ContentKind::Files), Artifact::Files, &annotations());
        assert_eq!(String::from_utf8(image.manifest).unwrap(), expected);
        assert_eq!(image.digest, Digest::of(expected));
        assert_eq!(
            Digest::of(image.config).to_string(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn chart_becomes_these_bytes() {
        let expected = concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","c"#,
            r#"onfig":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha25"#,
            r#"6:6606b01fee7264a033784609133dadebd37310b9aca04974fcc2783a731f3e9e","size":54}"#,
            r#","layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","#,
            r#""digest":"sha256:286aab53bbc3bbb3f2bda81635fa21668f15308f1cc98cab1b315d84b8a75"#,
            r#"d97","size":9}]}"#,
        );
        let config = br#"{"name":"podinfo","version":"6.3.5","apiVersion":"v2"}"#.to_vec();
        let artifact = Artifact::HelmChart { config };
        let image = image(&layer(ContentKind::HelmChart), artifact, &BTreeMap::new());
        assert_eq!(String::from_utf8(image.manifest).unwrap(), expected);
    }
}
