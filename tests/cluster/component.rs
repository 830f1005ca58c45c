//! Component versions that a test makes itself, as the OCM command line would have pushed them.

use serde_json::{Value, json};

use crate::support::fixture;
use crate::support::registry::Registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.ocm.software.component.config.v1+json";
const DESCRIPTOR: &str = "application/vnd.ocm.software.component-descriptor.v2+json";

/// The guide's rule.
pub const RULES: &str = "\
- name: image
  file: deployment.yaml
  image: spec.template.spec.containers[0].image
  resource: {name: image}";

/// The guide's Deployment and Service as a `.tgz`.
pub const PODINFO: &str = "registry/phoban01-air-gapped/blobs/\
    sha256.6cdfe021b83676b2f5439d496597e5933748a1c12b9f39d9ae2a1aca5542229c";

/// A component version whose resources are local blobs.
pub struct Component {
    name: String,
    version: String,
    resources: Vec<Value>,
    blobs: Vec<(&'static str, Vec<u8>)>,
}

impl Component {
    /// A component version without resources.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            resources: Vec::new(),
            blobs: Vec::new(),
        }
    }

    /// As the guide's podinfo, but with this image and these localization rules.
    pub fn podinfo(name: &str, version: &str, image: &str, rules: &str) -> Self {
        let config = format!(
            "apiVersion: config.ocm.software/v1alpha1\nkind: ConfigData\nlocalization:\n{rules}\n"
        );
        let manifests = std::fs::read(fixture(PODINFO)).expect("the fixture is there");
        Self::new(name, version)
            .with_blob("config", "PlainText", "text/plain", config.into_bytes())
            .with_blob("deployment", "Directory", "application/x-tgz", manifests)
            .with_image("image", image)
    }

    /// Adds a resource that lies beside the descriptor.
    pub fn with_blob(
        mut self,
        name: &str,
        kind: &str,
        media_type: &'static str,
        content: Vec<u8>,
    ) -> Self {
        let access = json!({
            "type": "localBlob",
            "localReference": Registry::digest(&content),
            "mediaType": media_type,
        });
        self.add(name, kind, "local", &access);
        let digest = Registry::digest(&content);
        if let Some(added) = self.resources.last_mut() {
            added["digest"] = json!({
                "hashAlgorithm": "SHA-256",
                "normalisationAlgorithm": "genericBlobDigest/v1",
                "value": digest.trim_start_matches("sha256:"),
            });
        }
        self.blobs.push((media_type, content));
        self
    }

    /// Adds an image that lies elsewhere.
    pub fn with_image(mut self, name: &str, reference: &str) -> Self {
        let access = json!({"type": "ociArtifact", "imageReference": reference});
        self.add(name, "ociImage", "external", &access);
        self
    }

    /// Adds a resource that is where its access says.
    pub fn with_access(mut self, name: &str, kind: &str, access: &Value) -> Self {
        self.add(name, kind, "external", access);
        self
    }

    fn add(&mut self, name: &str, kind: &str, relation: &str, access: &Value) {
        self.resources.push(json!({
            "name": name,
            "version": self.version,
            "type": kind,
            "relation": relation,
            "access": access,
        }));
    }

    /// Its descriptor, without signatures.
    pub fn descriptor(&self) -> Value {
        json!({
            "meta": {"schemaVersion": "v2"},
            "component": {
                "name": self.name,
                "version": self.version,
                "provider": "example.org",
                "repositoryContexts": [],
                "resources": self.resources,
                "sources": [],
                "componentReferences": [],
            },
        })
    }

    /// Pushes it below `base`, the path of an OCM repository in the registry.
    pub async fn push(self, registry: &Registry, base: &str) {
        self.push_signed(registry, base, &json!([])).await;
    }

    /// The same with these signatures.
    pub async fn push_signed(self, registry: &Registry, base: &str, signatures: &Value) {
        let mut descriptor = self.descriptor();
        descriptor["signatures"] = signatures.clone();
        let repository = format!("{base}/component-descriptors/{}", self.name);
        let mut layers = Vec::new();
        let descriptor = (DESCRIPTOR, descriptor.to_string().into_bytes());
        for (media_type, content) in std::iter::once(descriptor).chain(self.blobs) {
            layers.push(put(registry, &repository, media_type, content).await);
        }
        let config = json!({"componentDescriptorLayer": layers[0]}).to_string();
        let config = put(registry, &repository, CONFIG, config.into_bytes()).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        registry
            .put_manifest(&repository, &self.version, MANIFEST, manifest)
            .await;
    }
}

async fn put(registry: &Registry, repository: &str, media_type: &str, content: Vec<u8>) -> Value {
    let size = content.len();
    let digest = registry.put_blob(repository, content).await;
    json!({"mediaType": media_type, "digest": digest, "size": size})
}
