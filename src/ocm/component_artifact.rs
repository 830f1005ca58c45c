//! The artifact that a component version becomes when it is stored.

use bytes::Bytes;
use serde_json::json;

use super::{BlobDescriptor, DescriptorDocument};
use crate::oci::Digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.ocm.software.component.config.v1+json";
const DESCRIPTOR: &str = "application/vnd.ocm.software.component-descriptor.v2+json";

/// The manifest of a component version, and the content it names that is made with it.
#[derive(Debug, Clone)]
pub struct ComponentArtifact {
    /// The manifest's media type.
    pub media_type: &'static str,
    /// The manifest.
    pub manifest: Bytes,
    /// The config.
    pub config: BlobDescriptor,
    /// Its bytes.
    pub config_bytes: Bytes,
    /// The layer with the descriptor.
    pub descriptor: BlobDescriptor,
    /// Its bytes.
    pub descriptor_bytes: Bytes,
}

/// Makes the artifact of a component version whose local blobs are `layers`. The same input gives
/// the same bytes.
pub fn component_manifest(
    document: &DescriptorDocument,
    layers: Vec<BlobDescriptor>,
) -> ComponentArtifact {
    let (descriptor, descriptor_bytes) = blob(DESCRIPTOR, document.to_json());
    let config = json!({"componentDescriptorLayer": {
        "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}});
    let (config, config_bytes) = blob(CONFIG, config.to_string().into_bytes());
    let said = document.descriptor();
    let mut all = vec![descriptor.clone()];
    all.extend(layers);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": written(&config),
        "layers": all.iter().map(written).collect::<Vec<_>>(),
        "annotations": {
            "software.ocm.componentversion": format!("{}:{}", said.name, said.version),
            "software.ocm.creator": "ocm-controller",
        },
    });
    ComponentArtifact {
        media_type: MANIFEST,
        manifest: manifest.to_string().into(),
        config,
        config_bytes,
        descriptor,
        descriptor_bytes,
    }
}

fn blob(media_type: &str, bytes: Vec<u8>) -> (BlobDescriptor, Bytes) {
    let descriptor = BlobDescriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        annotations: std::collections::BTreeMap::new(),
    };
    (descriptor, bytes.into())
}

fn written(blob: &BlobDescriptor) -> serde_json::Value {
    let mut value = json!({
        "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size});
    if !blob.annotations.is_empty() {
        value["annotations"] = json!(blob.annotations);
    }
    value
}
