//! The artifact that holds a component version in an OCI registry.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use super::descriptor::MAX_DESCRIPTOR;
use super::error::{Error, Result};
use super::{Descriptor, document};
use crate::oci::Digest;

/// How large a manifest or index may be, in bytes: what registries commonly accept.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// How large the layer of a descriptor may be: the descriptor and what a tar archive adds.
pub const MAX_DESCRIPTOR_LAYER: usize = MAX_DESCRIPTOR + 64 * 1024;

const IMAGE_MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

const CONFIGS: [&str; 3] = [
    "application/vnd.ocm.software.component.config.v1+json",
    "application/vnd.gardener.cloud.cnudie.component.config.v1+json",
    "application/vnd.oci.gardener.cloud.cnudie.component-descriptor-metadata.config.v2+json",
];

const DESCRIPTOR_PREFIXES: [&str; 3] = [
    "application/vnd.ocm.software.component-descriptor.v2",
    "application/vnd.gardener.cloud.cnudie.component-descriptor.v2",
    "application/vnd.oci.gardener.cloud.cnudie.component-descriptor.config.v2",
];

/// The entry of the tar archive that is the descriptor.
const DESCRIPTOR_FILE: &str = "component-descriptor.yaml";

/// How many entries in front of the descriptor are looked at.
const MAX_ENTRIES: usize = 16;

/// Marks the entry of an index that is the component's own manifest.
const DESCRIPTOR_ANNOTATION: &str = "software.ocm.descriptor";

/// Content in a registry, as manifests refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobDescriptor {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// What the writer noted.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The manifest of a component version: an image whose first layers are descriptor and blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentImage {
    /// The config, which names the descriptor's layer.
    pub config: BlobDescriptor,
    /// All layers.
    pub layers: Vec<BlobDescriptor>,
}

/// What the tag of a component version names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentManifest {
    /// The component's manifest.
    Image(ComponentImage),
    /// An index that holds it among others.
    Index {
        /// The component's manifest, to be fetched and parsed next.
        component: BlobDescriptor,
        /// All other manifests: local images.
        others: Vec<BlobDescriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenManifest {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<BlobDescriptor>,
    #[serde(default)]
    layers: Option<Vec<BlobDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<BlobDescriptor>>,
}

const MANIFEST: &str = "the component version's manifest";

impl ComponentManifest {
    /// Reads a manifest or index that was served as `content_type`.
    ///
    /// Parameters of the content type are ignored. What could be read as both is refused, and so
    /// is a media type inside that says otherwise (CVE-2021-41190).
    pub fn parse(bytes: &[u8], content_type: &str) -> Result<Self> {
        if bytes.len() > MAX_MANIFEST {
            return Err(refused(format!("it is larger than {MAX_MANIFEST} bytes")));
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let written: WrittenManifest =
            document::typed(document::parse_json(bytes, MANIFEST)?, MANIFEST)?;
        if written.schema_version != 2 {
            return Err(refused(format!(
                "its schemaVersion is {}, expected 2",
                written.schema_version
            )));
        }
        if let Some(media_type) = &written.media_type
            && media_type != content_type
        {
            return Err(refused(format!(
                "it says media type {media_type:?} and was served as {content_type:?}"
            )));
        }
        let is_image = IMAGE_MANIFESTS.contains(&content_type);
        let is_index = INDEXES.contains(&content_type);
        match (written.config, written.layers, written.manifests) {
            (Some(config), Some(layers), None) if is_image => {
                if !CONFIGS.contains(&config.media_type.as_str()) {
                    return Err(Error::NoComponent {
                        media_type: config.media_type,
                    });
                }
                Ok(Self::Image(ComponentImage { config, layers }))
            }
            (None, None, Some(manifests)) if is_index => index(manifests),
            (_, Some(_), Some(_)) => Err(refused("it has both layers and manifests".to_owned())),
            _ if is_image => Err(refused("an image needs config and layers alone".to_owned())),
            _ if is_index => Err(refused("an index needs manifests alone".to_owned())),
            _ => Err(Error::NoComponent {
                media_type: content_type.to_owned(),
            }),
        }
    }
}

/// The component's manifest is the marked one or else the first.
fn index(mut manifests: Vec<BlobDescriptor>) -> Result<ComponentManifest> {
    let marked = |found: &BlobDescriptor| {
        let mark = found.annotations.get(DESCRIPTOR_ANNOTATION);
        mark.is_some_and(|value| value == "true")
    };
    if manifests.is_empty() {
        return Err(refused("the index is empty".to_owned()));
    }
    let position = manifests.iter().position(marked).unwrap_or_default();
    let component = manifests.remove(position);
    if !IMAGE_MANIFESTS.contains(&component.media_type.as_str()) {
        return Err(Error::NoComponent {
            media_type: component.media_type,
        });
    }
    Ok(ComponentManifest::Index {
        component,
        others: manifests,
    })
}

/// Reads the config of a component's manifest: which layer the descriptor is.
pub fn descriptor_layer(config: &[u8]) -> Result<BlobDescriptor> {
    const CONFIG: &str = "the component version's config";
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        component_descriptor_layer: BlobDescriptor,
    }
    let Config {
        component_descriptor_layer: layer,
    } = document::typed(document::parse_json(config, CONFIG)?, CONFIG)?;
    encoding(&layer.media_type)?;
    if layer.size > MAX_DESCRIPTOR_LAYER as u64 {
        return Err(Error::RefuseDocument {
            what: CONFIG,
            problem: format!(
                "the descriptor has {} bytes, which is too large",
                layer.size
            ),
        });
    }
    Ok(layer)
}

/// How a descriptor is stored in its layer.
enum Encoding {
    Plain,
    Tar,
}

fn encoding(media_type: &str) -> Result<Encoding> {
    let suffix = DESCRIPTOR_PREFIXES
        .iter()
        .find_map(|prefix| media_type.strip_prefix(prefix));
    match suffix {
        Some("+yaml+tar") => Ok(Encoding::Tar),
        Some("+yaml" | "+json") => Ok(Encoding::Plain),
        _ => Err(Error::NoComponent {
            media_type: media_type.to_owned(),
        }),
    }
}

/// Reads the descriptor out of its layer, whose media type says how it is stored.
pub fn read_descriptor(media_type: &str, layer: impl Read) -> Result<Descriptor> {
    Descriptor::parse(&descriptor_bytes(media_type, layer)?)
}

/// The text of the descriptor in its layer.
pub fn descriptor_bytes(media_type: &str, layer: impl Read) -> Result<Vec<u8>> {
    let failed = |source| Error::ReadLayer { source };
    let layer = layer.take(MAX_DESCRIPTOR_LAYER as u64 + 1);
    match encoding(media_type)? {
        Encoding::Plain => read_bounded(layer),
        Encoding::Tar => {
            let mut archive = tar::Archive::new(layer);
            for entry in archive.entries().map_err(failed)?.take(MAX_ENTRIES) {
                let entry = entry.map_err(failed)?;
                let path = entry.path_bytes();
                let name = path.strip_prefix(b"./".as_slice()).unwrap_or(&path);
                let leading = name.iter().take_while(|byte| **byte == b'/').count();
                if name[leading..] == *DESCRIPTOR_FILE.as_bytes() {
                    return read_bounded(entry);
                }
            }
            Err(Error::RefuseDocument {
                what: "the component descriptor's layer",
                problem: format!("it holds no {DESCRIPTOR_FILE:?}"),
            })
        }
    }
}

fn read_bounded(source: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        // One more than allowed, so that the parser sees what is too large.
        .take(MAX_DESCRIPTOR as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::ReadLayer { source })?;
    Ok(bytes)
}

/// Whether content of this media type is a manifest or an index.
pub fn is_manifest(media_type: &str) -> bool {
    IMAGE_MANIFESTS.contains(&media_type) || INDEXES.contains(&media_type)
}

/// Whether content of this media type is an artifact set: a manifest with all its blobs, as a tar.
pub fn is_artifact_set(media_type: &str) -> bool {
    media_type
        .strip_suffix("+gzip")
        .unwrap_or(media_type)
        .strip_suffix("+tar")
        .is_some_and(|front| is_manifest(front) || is_manifest(&format!("{front}+json")))
}

fn refused(problem: String) -> Error {
    Error::RefuseDocument {
        what: MANIFEST,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const IMAGE: &str = IMAGE_MANIFESTS[0];
    const INDEX: &str = INDEXES[0];

    fn entry(media_type: &str, content: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
    }

    fn parse(document: &Value, content_type: &str) -> Result<ComponentManifest> {
        ComponentManifest::parse(document.to_string().as_bytes(), content_type)
    }

    fn image() -> Value {
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": entry(CONFIGS[0], "c"),
               "layers": [entry(DESCRIPTOR_PREFIXES[0], "l")]})
    }

    #[test]
    fn b23_parameters_of_the_content_type_are_ignored() {
        let served = format!("{IMAGE}; charset=utf-8");
        assert!(parse(&image(), &served).is_ok());
    }

    #[test]
    fn b23_ambiguous_manifests_are_refused() {
        let mut both = image();
        both["manifests"] = json!([entry(IMAGE, "m")]);
        let mut served_as_index = image();
        served_as_index.as_object_mut().unwrap().remove("mediaType");
        let mut old = image();
        old["schemaVersion"] = json!(1);
        for (document, content_type) in [
            (&both, IMAGE),
            (&both, INDEX),
            (&image(), INDEX),
            (&served_as_index, INDEX),
            (&old, IMAGE),
            (&image(), "text/html"),
        ] {
            assert!(
                parse(document, content_type).is_err(),
                "{content_type} {document}"
            );
        }
    }

    #[test]
    fn b25_sizes_and_keys_of_manifests_are_checked() {
        let text = image().to_string();
        for (from, to) in [
            (r#""size":1"#, r#""size":-1"#),
            (r#""size":1"#, r#""size":18446744073709551616"#),
            (r#""size":1"#, r#""size":1,"size":1"#),
            ("sha256:", "sha256:../"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(
                ComponentManifest::parse(changed.as_bytes(), IMAGE).is_err(),
                "{to}"
            );
        }
    }

    #[test]
    fn image_of_something_else_is_no_component() {
        let mut other = image();
        other["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let error = parse(&other, IMAGE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "artifact is no component: \"application/vnd.oci.image.config.v1+json\""
        );
    }

    #[test]
    fn marked_entry_of_an_index_is_the_component_or_else_the_first() {
        let mut index =
            json!({"schemaVersion": 2, "manifests": [entry(IMAGE, "1"), entry(IMAGE, "2")]});
        let component = |index: &Value| match parse(index, INDEX).unwrap() {
            ComponentManifest::Index { component, others } => (component.digest, others.len()),
            ComponentManifest::Image(_) => panic!("an index was taken for an image"),
        };
        assert_eq!(component(&index), (Digest::of("1"), 1));
        index["manifests"][1]["annotations"] = json!({DESCRIPTOR_ANNOTATION: "true"});
        assert_eq!(component(&index), (Digest::of("2"), 1));
        assert!(parse(&json!({"schemaVersion": 2, "manifests": []}), INDEX).is_err());
    }

    #[test]
    fn descriptor_is_read_from_every_encoding() {
        let text = "{meta: {schemaVersion: v2}, component: {name: example.org/x, version: 1.0.0, \
                    provider: p}}";
        let text = text.replacen('{', "# a comment\n{", 1);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        archive
            .append_data(&mut header, "./component-descriptor.yaml", text.as_bytes())
            .unwrap();
        let archive = archive.into_inner().unwrap();
        for prefix in DESCRIPTOR_PREFIXES {
            for (suffix, bytes) in [("+yaml", text.as_bytes()), ("+yaml+tar", &archive)] {
                let descriptor = read_descriptor(&format!("{prefix}{suffix}"), bytes).unwrap();
                assert_eq!(descriptor.name.as_str(), "example.org/x");
            }
        }
        assert!(read_descriptor("application/json", text.as_bytes()).is_err());
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        assert!(read_descriptor(&format!("{}+yaml+tar", DESCRIPTOR_PREFIXES[0]), &*empty).is_err());
    }

    #[test]
    fn artifact_sets_are_told_from_manifests() {
        assert!(is_artifact_set(
            "application/vnd.oci.image.manifest.v1+tar+gzip"
        ));
        assert!(is_artifact_set(
            "application/vnd.docker.distribution.manifest.v2+tar"
        ));
        assert!(!is_artifact_set(IMAGE));
        assert!(!is_artifact_set("application/x-tar"));
        assert!(is_manifest(INDEX));
    }
}
