//! Pushes a Common Transport Archive in directory form as it is: `artifact-index.json` and blobs.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An entry of the archive's index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The repository without a host.
    pub repository: String,
    /// The digest of its manifest.
    pub digest: String,
    /// An artifact without a tag is pushed by its digest.
    pub tag: Option<String>,
    /// Whether it is a manifest or an index; older archives leave it out.
    pub media_type: Option<String>,
}

/// The artifacts of an archive.
pub fn artifacts(archive: &Path) -> Vec<Artifact> {
    #[derive(Deserialize)]
    struct Index {
        artifacts: Vec<Artifact>,
    }
    let path = archive.join("artifact-index.json");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let index: Index = serde_json::from_str(&text).expect("an artifact index");
    index.artifacts
}

/// Pushes one artifact: what a manifest names must be there before it.
pub async fn push(registry: &Registry, archive: &Path, artifact: &Artifact) {
    let repository = &artifact.repository;
    let content = read_blob(archive, &artifact.digest);
    let manifest = parse(&content);
    let media_type = artifact
        .media_type
        .as_deref()
        .or(manifest["mediaType"].as_str());
    for child in descriptors(&manifest["manifests"]) {
        let content = read_blob(archive, digest_of(child));
        push_blobs(registry, archive, repository, &parse(&content)).await;
        let media_type = child["mediaType"].as_str().unwrap_or(MANIFEST);
        registry
            .put_manifest(repository, digest_of(child), media_type, content)
            .await;
    }
    push_blobs(registry, archive, repository, &manifest).await;
    let reference = artifact.tag.as_ref().unwrap_or(&artifact.digest);
    let stored = registry
        .put_manifest(
            repository,
            reference,
            media_type.unwrap_or(MANIFEST),
            content,
        )
        .await;
    assert_eq!(
        stored, artifact.digest,
        "{repository}: the fixture was altered"
    );
}

/// The digest of these bytes, as OCI writes it.
pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

async fn push_blobs(registry: &Registry, archive: &Path, repository: &str, manifest: &Value) {
    let config = manifest.get("config");
    for blob in config.into_iter().chain(descriptors(&manifest["layers"])) {
        registry
            .put_blob(repository, read_blob(archive, digest_of(blob)))
            .await;
    }
}

fn descriptors(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"]
        .as_str()
        .expect("a descriptor has a digest")
}

fn parse(manifest: &[u8]) -> Value {
    serde_json::from_slice(manifest).expect("a manifest is JSON")
}

fn read_blob(archive: &Path, digest: &str) -> Vec<u8> {
    let path = archive.join("blobs").join(digest.replace(':', "."));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
