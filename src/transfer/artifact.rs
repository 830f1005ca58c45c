//! Copies an image, or another artifact of a registry, with all it consists of.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::access::{Hint, Placed, local_blob};
use super::version::Moving;
use super::{Error, Result, set};
use crate::oci::{Digest, Hasher, RepositoryName};
use crate::ocm::BlobDescriptor;
use crate::registry::{Content, Descriptor, Manifest, Reference};
use crate::repository::{Archive, Artifacts};

/// How many manifests an artifact may consist of.
pub(super) const MOST_MANIFESTS: usize = 1_000;

/// How deep indexes may be nested.
const DEEPEST: usize = 4;

/// An artifact at the source.
pub(super) struct Top<'a> {
    pub(super) artifacts: &'a dyn Artifacts,
    pub(super) repository: RepositoryName,
    pub(super) reference: Reference,
}

impl Moving<'_> {
    /// Copies an artifact to where the target keeps it: a registry as what it is, an archive as a
    /// file with all of it.
    pub(super) async fn artifact(
        &self,
        name: &str,
        top: Top<'_>,
        hint: Option<Hint>,
        recorded: Option<Digest>,
    ) -> Result<Placed> {
        let failed = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let found = top.artifacts.manifest(&top.repository, &top.reference);
        let manifest = found.await.map_err(failed)?;
        check(name, &manifest, recorded.as_ref())?;
        if self.target_is_registry() {
            return self.exploded(name, &top, manifest, hint).await;
        }
        let pieces = set::pieces(name, &top, manifest.clone()).await?;
        let media_type = set::media_type(&manifest.media_type);
        let file = set::write(name, &top, &manifest, hint.as_ref(), pieces).await?;
        let reference_name = hint.map(|hint| hint.text());
        self.send(&self.to, &file.digest, file.size, &file.content)
            .await
            .map_err(failed)?;
        Ok(local_blob(
            &media_type,
            &file.digest,
            file.size,
            reference_name.as_deref(),
        ))
    }

    /// Takes an artifact out of the file that it is stored as, and puts it into the registry.
    pub(super) async fn unpack(
        &self,
        name: &str,
        stored: &BlobDescriptor,
        hint: Option<Hint>,
        recorded: Option<Digest>,
    ) -> Result<Placed> {
        let source = &*self.transfer.source.artifacts;
        let opened = source.blob(&self.from, &stored.digest, Some(stored.size));
        let failed = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let reader = opened
            .await
            .map_err(failed)?
            .into_reader(&tokio::runtime::Handle::current());
        let label = format!("{}@{}", self.from, stored.digest);
        let work = move || Archive::unpack_set(&label, reader);
        let (archive, main) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
            .map_err(failed)?;
        let top = Top {
            artifacts: &archive,
            repository: self.from.clone(),
            reference: Reference::Digest(main),
        };
        self.artifact(name, top, hint, recorded).await
    }

    /// Copies an artifact into the registry of the target.
    async fn exploded(
        &self,
        name: &str,
        top: &Top<'_>,
        manifest: Manifest,
        hint: Option<Hint>,
    ) -> Result<Placed> {
        let place = &self.transfer.destination.place;
        let repository = match (&hint, place.sub_path()) {
            (None, _) => self.to.clone(),
            (Some(hint), None) => hint.path.clone(),
            (Some(hint), Some(prefix)) => {
                format!("{prefix}/{}", hint.path)
                    .parse()
                    .map_err(|source| Error::NameImage {
                        element: name.to_owned(),
                        source,
                    })?
            }
        };
        let tag = hint.and_then(|hint| hint.tag);
        let host = place.written_host().map_err(|source| Error::Access {
            element: name.to_owned(),
            source,
        })?;
        let reference = match tag {
            Some(tag) => Reference::Tag(tag),
            None => Reference::Digest(manifest.digest.clone()),
        };
        let suffix = match &reference {
            Reference::Tag(tag) => format!(":{tag}"),
            Reference::Digest(digest) => format!("@{digest}"),
        };
        let image = format!("{host}/{repository}{suffix}");
        self.transfer.progress.begin(&image);
        if !self
            .has_image(name, &image, &repository, &reference, &manifest)
            .await?
        {
            let mut count = 0;
            self.tree(name, top, &repository, manifest, reference, &mut count, 0)
                .await?;
        }
        let access = [("imageReference", image.as_str()), ("type", "ociArtifact")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::from(value)));
        Ok(Placed {
            access: access.collect::<Map<_, _>>(),
            layers: Vec::new(),
        })
    }

    /// Whether the target has the image. Another one of its name is not replaced unasked.
    async fn has_image(
        &self,
        name: &str,
        image: &str,
        repository: &RepositoryName,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<bool> {
        let target = &self.transfer.destination.target;
        match target.resolve(repository, reference).await {
            Ok(found) if found.digest == manifest.digest => Ok(true),
            Ok(_) if self.transfer.options.overwrite => Ok(false),
            Ok(found) => Err(Error::ImageExists {
                image: image.to_owned(),
                found: found.digest,
                wanted: manifest.digest.clone(),
            }),
            Err(error) if error.is_not_found() => Ok(false),
            Err(source) => Err(Error::Copy {
                element: name.to_owned(),
                source,
            }),
        }
    }

    /// Copies a manifest after everything below it.
    #[allow(
        clippy::too_many_arguments,
        reason = "what is walked, where it goes, and how far it may go"
    )]
    fn tree<'a>(
        &'a self,
        name: &'a str,
        top: &'a Top<'_>,
        to: &'a RepositoryName,
        manifest: Manifest,
        reference: Reference,
        count: &'a mut usize,
        depth: usize,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let failed = |source| Error::Copy {
                element: name.to_owned(),
                source,
            };
            let target = &self.transfer.destination.target;
            match &manifest.content {
                Content::Image(image) => {
                    for part in std::iter::once(&image.config).chain(&image.layers) {
                        if is_foreign(part) {
                            continue;
                        }
                        self.blob(top.artifacts, &top.repository, to, &part.digest, part.size)
                            .await
                            .map_err(failed)?;
                    }
                }
                Content::Index(index) => {
                    *count += index.manifests.len();
                    if *count > MOST_MANIFESTS || depth >= DEEPEST {
                        return Err(Error::TooManyManifests {
                            element: name.to_owned(),
                            limit: MOST_MANIFESTS,
                        });
                    }
                    for child in &index.manifests {
                        let reference = Reference::Digest(child.digest.clone());
                        let found = top.artifacts.manifest(&top.repository, &reference).await;
                        let found = found.map_err(failed)?;
                        self.tree(name, top, to, found, reference, &mut *count, depth + 1)
                            .await?;
                    }
                }
            }
            target
                .put_manifest(to, &reference, &manifest.media_type, manifest.bytes)
                .await
                .map_err(failed)
        }
        .boxed()
    }
}

/// Whether a layer is not stored in registries at all (Windows base layers).
pub(super) fn is_foreign(layer: &Descriptor) -> bool {
    layer.media_type.contains("nondistributable") || layer.media_type.contains(".foreign.")
}

/// Content that is not what the component records is not spread further.
fn check(name: &str, manifest: &Manifest, recorded: Option<&Digest>) -> Result<()> {
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let found = if manifest.digest.algorithm() == recorded.algorithm() {
        manifest.digest.clone()
    } else {
        let mut hasher = Hasher::new(recorded.algorithm());
        hasher.update(&manifest.bytes);
        hasher.finish()
    };
    if found == *recorded {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        element: name.to_owned(),
        found,
        recorded: recorded.clone(),
    })
}
