//! Copies an image, or another artifact of a registry, with all it consists of.

use serde_json::{Map, Value};

use super::access::{Hint, Placed, local_blob};
use super::version::Moving;
use super::{Error, ImageNames, Result, set};
use crate::oci::{Digest, Hasher, RepositoryName};
use crate::ocm::BlobDescriptor;
use crate::registry::{Manifest, Reference};
use crate::repository::{Archive, ArtifactTree, Artifacts, MOST_MANIFESTS, TreeError};

/// An artifact at the source.
pub(super) struct Top<'a> {
    pub(super) artifacts: &'a dyn Artifacts,
    pub(super) repository: RepositoryName,
    pub(super) reference: Reference,
}

impl Top<'_> {
    /// All that the artifact of `manifest` consists of; `name` is for messages.
    pub(super) async fn tree(&self, name: &str, manifest: Manifest) -> Result<ArtifactTree> {
        let fetch = |digest| async move {
            let reference = Reference::Digest(digest);
            self.artifacts.manifest(&self.repository, &reference).await
        };
        let tree = ArtifactTree::collect(manifest, fetch).await;
        let element = || name.to_owned();
        tree.map_err(|error| match error {
            TreeError::TooLarge => Error::TooManyManifests {
                element: element(),
                limit: MOST_MANIFESTS,
            },
            TreeError::Fetch(source) => Error::Copy {
                element: element(),
                source,
            },
        })
    }
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
        let media_type = set::media_type(&manifest.media_type);
        let file = set::write(name, &top, &manifest, hint.as_ref()).await?;
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
        let pinned = self.transfer.options.image_names == ImageNames::Pinned
            || hint.as_ref().is_some_and(|hint| hint.pinned);
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
            Reference::Tag(tag) if pinned => format!(":{tag}@{}", manifest.digest),
            Reference::Tag(tag) => format!(":{tag}"),
            Reference::Digest(digest) => format!("@{digest}"),
        };
        let image = format!("{host}/{repository}{suffix}");
        self.transfer.progress.begin(&image);
        if !self
            .has_image(name, &image, &repository, &reference, &manifest)
            .await?
        {
            self.copy_artifact(name, top, &repository, manifest, &reference)
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

    /// Copies all of an artifact; each manifest after everything that it names.
    async fn copy_artifact(
        &self,
        name: &str,
        top: &Top<'_>,
        to: &RepositoryName,
        manifest: Manifest,
        reference: &Reference,
    ) -> Result<()> {
        let failed = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let main = manifest.digest.clone();
        let tree = top.tree(name, manifest).await?;
        for part in tree.blobs() {
            self.blob(top.artifacts, &top.repository, to, &part.digest, part.size)
                .await
                .map_err(failed)?;
        }
        let target = &self.transfer.destination.target;
        for found in tree.manifests {
            let by_digest = Reference::Digest(found.digest.clone());
            let reference = if found.digest == main {
                reference
            } else {
                &by_digest
            };
            target
                .put_manifest(to, reference, &found.media_type, found.bytes)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
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
