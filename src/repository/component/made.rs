//! Component versions that a test makes.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::ocm::{BlobDescriptor, DescriptorDocument, component_manifest};
use crate::registry::{Reference, WholeBlob};
use crate::repository::Target;

/// Stores a component version with these resources, whose local blobs are `blobs`.
pub(crate) async fn store(
    target: &dyn Target,
    name: &str,
    resources: &Value,
    blobs: Vec<(BlobDescriptor, Bytes)>,
) {
    let descriptor = json!({"meta": {"schemaVersion": "v2"}, "component": {
        "name": name, "version": "1.0.0", "provider": "example.org", "repositoryContexts": [],
        "sources": [], "componentReferences": [], "resources": resources}});
    let document = DescriptorDocument::parse(descriptor.to_string().as_bytes()).unwrap();
    let layers = blobs.iter().map(|(blob, _)| blob.clone()).collect();
    let made = component_manifest(&document, layers);
    let repository = format!("component-descriptors/{name}").parse().unwrap();
    let own = [
        (made.descriptor, made.descriptor_bytes),
        (made.config, made.config_bytes),
    ];
    for (blob, bytes) in own.into_iter().chain(blobs) {
        target
            .put_blob(&repository, &blob.digest, blob.size, &WholeBlob(bytes))
            .await
            .unwrap();
    }
    let tag = Reference::Tag("1.0.0".parse().unwrap());
    target
        .put_manifest(&repository, &tag, made.media_type, made.manifest)
        .await
        .unwrap();
}

/// A blob and how a manifest names it.
pub(crate) fn blob(media_type: &str, bytes: impl Into<Bytes>) -> (BlobDescriptor, Bytes) {
    let bytes = bytes.into();
    let described = BlobDescriptor {
        media_type: media_type.to_owned(),
        digest: crate::oci::Digest::of(&bytes),
        size: bytes.len() as u64,
        annotations: std::collections::BTreeMap::new(),
    };
    (described, bytes)
}

/// A resource, with the digest that is recorded of it.
pub(crate) fn resource(name: &str, kind: &str, access: &Value, digest: Option<&str>) -> Value {
    let mut resource = json!({"name": name, "version": "1.0.0", "type": kind,
                              "relation": "external", "access": access});
    if let Some(value) = digest {
        resource["digest"] = json!({"hashAlgorithm": "SHA-256", "value": value,
                                    "normalisationAlgorithm": "genericBlobDigest/v1"});
    }
    resource
}

/// A packed chart, as Helm packs it.
pub(crate) fn chart(name: &str, version: &str) -> Vec<u8> {
    let metadata = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, content) in [("Chart.yaml", metadata.as_str()), ("values.yaml", "a: b\n")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let path = format!("{name}/{path}");
        archive
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}
