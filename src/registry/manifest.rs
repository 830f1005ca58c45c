//! Manifests and indexes as a registry gives them out.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::Deserialize;

use super::failure::Failure;
use super::settings::Limits;
use crate::oci::{Digest, Hasher, json};

/// The media types of manifests that are read, and so asked for.
pub mod media_type {
    pub use oci_distribution::manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE as DOCKER_LIST,
        IMAGE_MANIFEST_MEDIA_TYPE as DOCKER_MANIFEST, OCI_IMAGE_INDEX_MEDIA_TYPE as OCI_INDEX,
        OCI_IMAGE_MEDIA_TYPE as OCI_MANIFEST,
    };
}

/// A manifest: the bytes that were pulled, the digest of exactly these, and what they say.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The digest of `bytes`, checked against what was asked for and what was announced.
    pub digest: Digest,
    /// The media type, without parameters.
    pub media_type: String,
    /// The bytes as stored.
    pub bytes: Bytes,
    /// What they say.
    pub content: Content,
}

/// What a manifest says, by its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One image or artifact.
    Image(Box<ImageManifest>),
    /// A list of manifests.
    Index(ImageIndex),
}

/// A piece of content that a manifest points to. Its `urls` and inline `data` are ignored: content
/// comes from the repository, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
    /// Notes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What kind of artifact a manifest in an index is.
    pub artifact_type: Option<String>,
}

/// An image manifest (OCI image specification, or Docker's version 2 schema 2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// What kind of artifact it is, where that is not said by `config`.
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// Notes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
}

/// An image index (OCI image specification), or Docker's manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// What kind of artifact it is.
    pub artifact_type: Option<String>,
    /// The manifests in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Notes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// The fields that decide what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Checks an answer and takes it apart. `asked` is the digest it was asked by, if it was.
    pub(super) fn from_answer(
        headers: &HeaderMap,
        bytes: Bytes,
        asked: Option<&Digest>,
        most_entries: usize,
    ) -> Result<Self, Failure> {
        let media_type = content_type(headers)?;
        let digest = check_digests(headers, &bytes, asked)?;
        let content = parse(&media_type, &bytes, most_entries)?;
        Ok(Self {
            digest,
            media_type,
            bytes,
            content,
        })
    }
}

impl Manifest {
    /// Takes a manifest apart that was found in an archive and checked against its digest.
    /// `announced` is the media type that the archive notes, if it does.
    pub(crate) fn stored(
        digest: Digest,
        announced: Option<&str>,
        bytes: Bytes,
    ) -> Result<Self, Failure> {
        let shape: Shape = json::from_slice(&bytes)
            .map_err(|source| Failure::invalid(format!("malformed manifest: {source}")))?;
        let guess = if shape.manifests.is_some() {
            media_type::OCI_INDEX
        } else {
            media_type::OCI_MANIFEST
        };
        let own = shape.media_type.as_deref();
        let media_type = announced.or(own).unwrap_or(guess).to_owned();
        if !is_manifest(&media_type) && !is_index(&media_type) {
            return Err(Failure::invalid(format!(
                "content is not a manifest ({media_type:?})"
            )));
        }
        let content = parse(&media_type, &bytes, Limits::default().manifest_entries)?;
        Ok(Self {
            digest,
            media_type,
            bytes,
            content,
        })
    }
}

/// The media type of an answer, without parameters, if it is a manifest's.
pub(super) fn content_type(headers: &HeaderMap) -> Result<String, Failure> {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or("no Content-Type");
    let essence = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if is_manifest(&essence) || is_index(&essence) {
        return Ok(essence);
    }
    let shown: String = text
        .chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect();
    Err(Failure::invalid(format!(
        "answer is not a manifest ({shown})"
    )))
}

/// The digest that an answer announces.
pub(super) fn announced_digest(headers: &HeaderMap) -> Result<Option<Digest>, Failure> {
    let mut announced: Option<Digest> = None;
    for value in headers.get_all("docker-content-digest") {
        let digest = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse::<Digest>().ok());
        let digest =
            digest.ok_or_else(|| Failure::invalid("Docker-Content-Digest is not a digest"))?;
        if announced.as_ref().is_some_and(|earlier| *earlier != digest) {
            return Err(Failure::invalid(
                "two different Docker-Content-Digest headers",
            ));
        }
        announced = Some(digest);
    }
    Ok(announced)
}

/// The bytes of an answer have to be those that are stored, or digests mean nothing.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            let problem = format!("answer has Content-Encoding {value:?}, which was not asked for");
            return Err(Failure::invalid(problem));
        }
    }
    Ok(())
}

fn check_digests(
    headers: &HeaderMap,
    bytes: &[u8],
    asked: Option<&Digest>,
) -> Result<Digest, Failure> {
    let announced = announced_digest(headers)?;
    for expected in asked.into_iter().chain(&announced) {
        let mut hasher = Hasher::new(expected.algorithm());
        hasher.update(bytes);
        let actual = hasher.finish();
        if actual != *expected {
            return Err(Failure::Digest {
                expected: expected.clone(),
                actual,
            });
        }
    }
    Ok(asked
        .cloned()
        .or(announced)
        .unwrap_or_else(|| Digest::of(bytes)))
}

fn parse(media_type: &str, bytes: &[u8], most_entries: usize) -> Result<Content, Failure> {
    let wrong =
        |source: serde_json::Error| Failure::invalid(format!("malformed manifest: {source}"));
    let shape: Shape = json::from_slice(bytes).map_err(wrong)?;
    if shape.schema_version != 2 {
        return Err(Failure::invalid(
            "manifest has a schemaVersion other than 2",
        ));
    }
    if let Some(inner) = &shape.media_type
        && inner != media_type
    {
        return Err(Failure::invalid(format!(
            "manifest says it is {inner:?}, its Content-Type {media_type:?}"
        )));
    }
    let looks_like_index = shape.manifests.is_some();
    let looks_like_image = shape.layers.is_some() || shape.config.is_some();
    if looks_like_index && looks_like_image {
        return Err(Failure::invalid("document is both a manifest and an index"));
    }
    let (content, entries) = if is_index(media_type) {
        if looks_like_image {
            return Err(Failure::invalid("index has layers or a config"));
        }
        let index: ImageIndex = serde_json::from_slice(bytes).map_err(wrong)?;
        let entries = index.manifests.len();
        (Content::Index(index), entries)
    } else {
        if looks_like_index {
            return Err(Failure::invalid("image manifest has manifests"));
        }
        let image: ImageManifest = serde_json::from_slice(bytes).map_err(wrong)?;
        let entries = image.layers.len();
        (Content::Image(Box::new(image)), entries)
    };
    if entries > most_entries {
        return Err(Failure::TooLarge {
            what: "list of a manifest",
            limit: format!("{most_entries} entries"),
        });
    }
    Ok(content)
}

fn is_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST
    )
}

fn is_index(media_type: &str) -> bool {
    matches!(media_type, media_type::OCI_INDEX | media_type::DOCKER_LIST)
}

/// Go writes an absent list as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
