//! What becomes of each access when a component version is moved.

use serde_json::{Map, Value, json};

use super::artifact::Top;
use super::version::Moving;
use super::{Error, Result, Transfer};
use crate::oci::{Digest, ImageReference, RepositoryName, Tag};
use crate::ocm::{
    Access, BlobDescriptor, BlobLocation, Element, ElementKind, LocalBlob, Resource,
    is_artifact_set,
};
use crate::registry::{Reference, RegistryRepository, Scheme};
use crate::repository::RegistryArtifacts;

/// Where content is after it was moved.
pub(super) struct Placed {
    pub(super) access: Map<String, Value>,
    /// What has to be a layer of the component's manifest.
    pub(super) layers: Vec<BlobDescriptor>,
}

/// The name that an image has below a repository, and its tag: `team/app:1.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) path: RepositoryName,
    pub(super) tag: Option<Tag>,
    /// Whether it was written with a digest, and so is written with one again.
    pub(super) pinned: bool,
}

impl Hint {
    /// Reads a `referenceName`. Its first segment is never a host, also where it looks like one.
    fn parse(text: &str) -> Option<Self> {
        let (text, pinned) = match text.split_once('@') {
            Some((front, _)) => (front, true),
            None => (text, false),
        };
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (text, None),
        };
        Some(Self {
            path: path.trim_matches('/').parse().ok()?,
            tag: tag.map(str::parse).transpose().ok()?,
            pinned,
        })
    }

    pub(super) fn text(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.path),
            None => self.path.to_string(),
        }
    }
}

impl Transfer {
    /// Whether an image reference leads to the target, below its path.
    pub(super) fn is_at_target(&self, reference: &str) -> bool {
        let place = &self.destination.place;
        let Ok(host) = place.written_host() else {
            return false;
        };
        let parsed = reference.parse::<ImageReference>();
        parsed.is_ok_and(|image| {
            image.host() == host && below(image.repository(), place.sub_path()).is_some()
        })
    }
}

/// The part of `name` behind the path `prefix`.
fn below(name: &RepositoryName, prefix: Option<&RepositoryName>) -> Option<RepositoryName> {
    let Some(prefix) = prefix else {
        return Some(name.clone());
    };
    let rest = name.as_str().strip_prefix(prefix.as_str())?;
    rest.strip_prefix('/')?.parse().ok()
}

impl Moving<'_> {
    /// Moves the content of an element; `None` where its access stays as it is.
    pub(super) async fn element(&self, element: &Element) -> Result<Option<Placed>> {
        let document = &self.read.document;
        let name = self.described(element);
        let access = document.access(element);
        let failed = |source| Error::Access {
            element: name.clone(),
            source,
        };
        let by_value =
            self.transfer.options.copy_resources && element.kind == ElementKind::Resource;
        match access.typed() {
            Ok(Access::LocalBlob(blob)) => self.local(element, &name, &blob).await.map(Some),
            Ok(Access::None) => Ok(None),
            _ if !by_value => Ok(None),
            Ok(Access::OciArtifact { image_reference }) => {
                self.image(element, &name, &image_reference).await.map(Some)
            }
            Ok(Access::RelativeOciReference { reference }) => {
                let host = self.transfer.source.place.written_host().map_err(failed)?;
                let reference = format!("{host}/{}", reference.trim_start_matches('/'));
                self.image(element, &name, &reference).await.map(Some)
            }
            Ok(Access::OciBlob(blob)) => self.oci_blob(element, &name, &blob).await.map(Some),
            Ok(Access::Helm(helm)) => self.chart(element, &name, &helm).await.map(Some),
            Ok(Access::Wget(wget)) => self.web(element, &name, &wget).await.map(Some),
            Ok(_) => Err(Error::UnsupportedAccess {
                element: name,
                kind: access.kind().to_owned(),
            }),
            Err(source) => Err(failed(source)),
        }
    }

    /// A blob that is stored with the component: stays one, unless it is an image and the target
    /// can hold images.
    async fn local(&self, element: &Element, name: &str, blob: &LocalBlob) -> Result<Placed> {
        let failed = |source| Error::Access {
            element: name.to_owned(),
            source,
        };
        let copy = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let component = &self.read.component;
        let source = &*self.transfer.source.artifacts;
        let located = component
            .local_blob_of(&self.read.document.identity(element), blob)
            .map_err(failed)?;
        let hint = blob.reference_name.as_deref().and_then(Hint::parse);
        let recorded = self.recorded(element);
        match located {
            BlobLocation::Manifest(digest) => {
                let top = Top {
                    artifacts: source,
                    repository: self.from.clone(),
                    reference: Reference::Digest(digest),
                };
                self.artifact(name, top, hint, recorded).await
            }
            BlobLocation::Blobs(blobs) => match blobs.as_slice() {
                // Where the digest of the file is what was recorded, the file has to stay one.
                [set]
                    if is_artifact_set(&blob.media_type)
                        && self.target_is_registry()
                        && recorded.as_ref() != Some(&set.digest) =>
                {
                    self.unpack(name, set, hint, recorded).await
                }
                _ => {
                    for part in &blobs {
                        self.blob(source, &self.from, &self.to, &part.digest, part.size)
                            .await
                            .map_err(copy)?;
                    }
                    let mut access = self.read.document.access(element).object().clone();
                    // It names the place that the component comes from.
                    access.remove("globalAccess");
                    Ok(Placed {
                        access,
                        layers: blobs,
                    })
                }
            },
        }
    }

    /// An image in a registry.
    async fn image(&self, element: &Element, name: &str, reference: &str) -> Result<Placed> {
        let parsed: ImageReference = reference.parse().map_err(|source| Error::NameImage {
            element: name.to_owned(),
            source,
        })?;
        let recorded = self.recorded(element);
        let wanted = match (parsed.digest(), &recorded) {
            (None, Some(recorded)) => Reference::Digest(recorded.clone()),
            (Some(_), _) | (None, None) => as_written(&parsed),
        };
        self.image_of(name, &parsed, wanted, recorded).await
    }

    /// The artifact `wanted` of the repository that `image` names.
    pub(super) async fn image_of(
        &self,
        name: &str,
        image: &ImageReference,
        wanted: Reference,
        recorded: Option<Digest>,
    ) -> Result<Placed> {
        let (artifacts, repository) = self.registry(name, image)?;
        let place = &self.transfer.source.place;
        let stripped = below(repository.name(), place.sub_path());
        let hint = Hint {
            path: stripped.unwrap_or_else(|| repository.name().clone()),
            tag: image.tag().cloned(),
            pinned: image.digest().is_some(),
        };
        let top = Top {
            artifacts: &artifacts,
            repository: repository.name().clone(),
            reference: wanted,
        };
        self.artifact(name, top, Some(hint), recorded).await
    }

    pub(super) fn registry(
        &self,
        name: &str,
        reference: &ImageReference,
    ) -> Result<(RegistryArtifacts, RegistryRepository)> {
        let transfer = self.transfer;
        let place = &transfer.source.place;
        // Plain HTTP is the source's own setting; it holds for nobody else's host.
        let is_own = place
            .written_host()
            .is_ok_and(|host| host == reference.host());
        let scheme = if is_own && place.plain_http() {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let repository = RegistryRepository::of_image(reference, scheme);
        let repository = repository.map_err(|source| Error::Copy {
            element: name.to_owned(),
            source,
        })?;
        let artifacts = RegistryArtifacts::new(
            transfer.pool.clone(),
            repository.endpoint().clone(),
            transfer.credentials.clone(),
        );
        Ok((artifacts, repository))
    }

    /// The digest that the descriptor records for the content of an element.
    pub(super) fn recorded(&self, element: &Element) -> Option<Digest> {
        self.read
            .document
            .resource(element)
            .and_then(Resource::content_digest)
    }

    pub(super) fn target_is_registry(&self) -> bool {
        !self.transfer.destination.place.is_archive()
    }

    /// An element, for messages.
    fn described(&self, element: &Element) -> String {
        let descriptor = &self.read.component.descriptor;
        let what = self.read.document.described(element);
        format!("{what} of {}:{}", descriptor.name, descriptor.version)
    }
}

/// What is asked of a registry for an image, as its reference stands.
pub(super) fn as_written(image: &ImageReference) -> Reference {
    match (image.digest(), image.tag()) {
        (Some(digest), _) => Reference::Digest(digest.clone()),
        (None, Some(tag)) => Reference::Tag(tag.clone()),
        (None, None) => Reference::Tag("latest".parse().expect("a tag by its grammar")),
    }
}

/// Content that is a layer of the component's manifest.
pub(super) fn local_blob(
    media_type: &str,
    digest: &Digest,
    size: u64,
    reference_name: Option<&str>,
) -> Placed {
    let mut access = json!({
        "localReference": digest,
        "mediaType": media_type,
        "type": "localBlob",
    });
    if let Some(reference_name) = reference_name {
        access["referenceName"] = reference_name.into();
    }
    let Value::Object(access) = access else {
        unreachable!("an object was written");
    };
    let layer = BlobDescriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        annotations: std::collections::BTreeMap::new(),
    };
    Placed {
        access,
        layers: vec![layer],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_has_no_host_and_may_lack_a_tag() {
        for (text, path, tag, pinned) in [
            (
                "stefanprodan/podinfo:6.3.5",
                "stefanprodan/podinfo",
                Some("6.3.5"),
                false,
            ),
            (
                "example.org/echo/echo:0.3.0",
                "example.org/echo/echo",
                Some("0.3.0"),
                false,
            ),
            ("echo", "echo", None, false),
            ("a/b:1@sha256:00", "a/b", Some("1"), true),
        ] {
            let hint = Hint::parse(text).unwrap();
            assert_eq!(hint.path.as_str(), path);
            assert_eq!(hint.tag.as_ref().map(Tag::as_str), tag);
            assert_eq!(hint.pinned, pinned);
        }
        for text in ["", "../x:1", "A:1", "a:/", "a: "] {
            assert_eq!(Hint::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn path_of_the_source_is_left_out_at_segment_borders_only() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let prefix = name("phoban01/air-gapped");
        let cut = |text| below(&name(text), Some(&prefix));
        assert_eq!(cut("phoban01/air-gapped/a/b"), Some(name("a/b")));
        assert_eq!(cut("phoban01/air-gapped-v1/a"), None);
        assert_eq!(cut("phoban01/air-gapped"), None);
        assert_eq!(below(&prefix, None), Some(prefix.clone()));
    }
}
