//! Component versions made by the reference tools, read from folders instead of registries.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    BlobDescriptor, ComponentImage, ComponentManifest, ReadComponent, descriptor_layer,
    read_descriptor,
};
use crate::oci::Digest;

#[derive(Deserialize)]
struct ArtifactIndex {
    artifacts: Vec<Artifact>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Artifact {
    repository: String,
    pub(super) tag: Option<String>,
    digest: Digest,
    media_type: String,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// All artifacts of a folder that are in the repository of a component.
pub(super) fn artifacts(name: &str, url: &str, component: &str) -> Vec<Artifact> {
    let index = std::fs::read(folder(name).join("artifact-index.json")).unwrap();
    let index: ArtifactIndex = serde_json::from_slice(&index).unwrap();
    let repository: super::OcmRepository = url.parse().unwrap();
    let path = repository
        .component_repository(&component.parse().unwrap())
        .unwrap();
    let of_component = |artifact: &Artifact| artifact.repository == path.as_str();
    index.artifacts.into_iter().filter(of_component).collect()
}

/// A blob of a folder.
pub(crate) fn blob(name: &str, digest: &Digest) -> Vec<u8> {
    let file = digest.to_string().replace(':', ".");
    let bytes = std::fs::read(folder(name).join("blobs").join(file)).unwrap();
    assert_eq!(Digest::of(&bytes), *digest);
    bytes
}

/// Reads a component version as a client does that finds the folder's content in the registry of
/// `url`.
pub(crate) fn read(name: &str, url: &str, component: &str, version: &str) -> ReadComponent {
    let (digest, image, manifests) = manifest(name, url, component, version);
    let (layer, bytes) = layer(name, &image);
    let descriptor = read_descriptor(&layer.media_type, bytes.as_slice()).unwrap();
    let version = version.parse().unwrap();
    descriptor
        .expect(&component.parse().unwrap(), &version)
        .unwrap();
    ReadComponent {
        repository: url.parse().unwrap(),
        digest,
        layers: image.layers,
        manifests,
        descriptor,
    }
}

/// The text of the descriptor that [`read`] reads.
pub(crate) fn descriptor(name: &str, url: &str, component: &str, version: &str) -> Vec<u8> {
    let (_, image, _) = manifest(name, url, component, version);
    let (layer, bytes) = layer(name, &image);
    super::descriptor_bytes(&layer.media_type, bytes.as_slice()).unwrap()
}

/// The digest that the tag names, the manifest of the component version, and those beside it.
fn manifest(
    name: &str,
    url: &str,
    component: &str,
    version: &str,
) -> (Digest, ComponentImage, Vec<BlobDescriptor>) {
    let artifact = artifacts(name, url, component)
        .into_iter()
        .find(|artifact| artifact.tag.as_deref() == Some(version))
        .unwrap();
    let manifest = blob(name, &artifact.digest);
    let manifest = ComponentManifest::parse(&manifest, &artifact.media_type).unwrap();
    let (image, manifests) = match manifest {
        ComponentManifest::Image(image) => (image, Vec::new()),
        ComponentManifest::Index { component, others } => {
            let bytes = blob(name, &component.digest);
            match ComponentManifest::parse(&bytes, &component.media_type).unwrap() {
                ComponentManifest::Image(image) => (image, others),
                ComponentManifest::Index { .. } => panic!("an index in an index"),
            }
        }
    };
    (artifact.digest, image, manifests)
}

fn layer(name: &str, image: &ComponentImage) -> (BlobDescriptor, Vec<u8>) {
    let layer = descriptor_layer(&blob(name, &image.config.digest)).unwrap();
    let bytes = blob(name, &layer.digest);
    assert_eq!(layer.size, bytes.len() as u64);
    (layer, bytes)
}
