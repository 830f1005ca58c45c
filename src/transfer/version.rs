//! One component version on its way.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tracing::info;

use super::{Counts, Error, Moved, Outcome, Progress, Read, Result, Source, Transfer};
use crate::oci::{Digest, RepositoryName};
use crate::ocm::{
    Access, BlobDescriptor, BlobLocation, DescriptorDocument, ElementKind, component_manifest,
};
use crate::registry::{self, BlobSource, Reference, WholeBlob};
use crate::repository::{Artifacts, StoredBlob, component};

/// What is gathered while a component version is moved.
pub(super) struct Moving<'a> {
    pub(super) transfer: &'a Transfer,
    /// The component at the source.
    pub(super) read: &'a Read,
    /// The repository of the component at the source.
    pub(super) from: RepositoryName,
    /// The repository of the component at the target.
    pub(super) to: RepositoryName,
    pub(super) counts: Mutex<Counts>,
}

impl Transfer {
    /// Moves one component version, unless it is there.
    pub(super) async fn version(&self, read: Read) -> Result<Moved> {
        let descriptor = &read.component.descriptor;
        let (name, version) = (&descriptor.name, &descriptor.version);
        self.progress.begin(&format!("{name}:{version}"));
        let moved = |digest, outcome, counts| Moved {
            component: name.clone(),
            version: version.clone(),
            digest,
            outcome,
            counts,
        };
        let there = self.there(&read).await?;
        let moving = Moving {
            transfer: self,
            from: component::repository(&self.source.place, name)?,
            to: component::repository(&self.destination.place, name)?,
            read: &read,
            counts: Mutex::default(),
        };
        let mut document = read.document.clone();
        if let Some(there) = &there {
            let found = &there.document;
            let is_same = found.is_same_content(&document);
            if !is_same && !self.options.overwrite {
                return Err(Error::Exists {
                    target: self.destination.place.to_string(),
                    component: name.clone(),
                    version: version.clone(),
                });
            }
            if is_same && self.is_complete(found) {
                if found.has_signatures_of(&document) {
                    let digest = there.component.digest.clone();
                    info!(component = %name, %version, "component version is there already");
                    return Ok(moved(digest, Outcome::Unchanged, Counts::default()));
                }
                if let Some(layers) = layers_of(there) {
                    let mut signed = found.clone();
                    signed.add_signatures(&document);
                    let digest = moving.write(&signed, layers).await?;
                    info!(component = %name, %version, "added signatures");
                    return Ok(moved(digest, Outcome::Transferred, Counts::default()));
                }
            }
            if is_same {
                document.add_signatures(found);
            }
        }
        let digest = moving.copy(document).await?;
        let counts = moving.counts();
        info!(component = %name, %version, blobs = counts.blobs_sent, bytes = counts.bytes_sent,
              "transferred component version");
        Ok(moved(digest, Outcome::Transferred, counts))
    }

    /// The version as the target has it, if it does.
    async fn there(&self, read: &Read) -> Result<Option<Read>> {
        let descriptor = &read.component.descriptor;
        let target = Source {
            artifacts: self.destination.target.clone(),
            place: self.destination.place.clone(),
        };
        let repository = component::repository(&target.place, &descriptor.name)?;
        let tag = Reference::Tag(descriptor.version.tag().clone());
        let digest = match target.artifacts.resolve(&repository, &tag).await {
            Ok(resolved) => resolved.digest,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => {
                let (name, version) = (&descriptor.name, &descriptor.version);
                return Err(component::Error::read(name, version, source).into());
            }
        };
        let found = self
            .read(&target, &descriptor.name, &descriptor.version, &digest)
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            // What cannot be read as a component is not lost by replacing it.
            Err(Error::Component(_)) if self.options.overwrite => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether all that is to be at the target is there, as far as the descriptor there says.
    fn is_complete(&self, found: &DescriptorDocument) -> bool {
        if !self.options.copy_resources {
            return true;
        }
        let is_here = |reference: &str| self.is_at_target(reference);
        found.elements().iter().all(|element| {
            element.kind == ElementKind::Source
                || match found.access(element).typed() {
                    Ok(Access::LocalBlob(_) | Access::None) => true,
                    Ok(Access::OciArtifact { image_reference }) => is_here(&image_reference),
                    _ => false,
                }
        })
    }
}

impl Moving<'_> {
    pub(super) fn counts(&self) -> Counts {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        let counts = self.counts.lock();
        counts.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Copies the content, then the descriptor that says where it is now.
    async fn copy(&self, mut document: DescriptorDocument) -> Result<Digest> {
        let mut layers: Vec<BlobDescriptor> = Vec::new();
        for element in document.elements() {
            let Some(placed) = self.element(&element).await? else {
                continue;
            };
            document.set_access(&element, placed.access);
            for mut layer in placed.layers {
                if layers.iter().any(|known| known.digest == layer.digest) {
                    continue;
                }
                layer.annotations = document.annotation(&element);
                layers.push(layer);
            }
        }
        document.add_context(&self.transfer.destination.place);
        self.write(&document, layers).await
    }

    /// Writes the component version itself, after all that it names.
    async fn write(
        &self,
        document: &DescriptorDocument,
        layers: Vec<BlobDescriptor>,
    ) -> Result<Digest> {
        let destination = &self.transfer.destination;
        let made = component_manifest(document, layers);
        let descriptor = document.descriptor();
        let failed = |source| Error::Write {
            component: descriptor.name.clone(),
            version: descriptor.version.clone(),
            target: destination.place.to_string(),
            source,
        };
        for (blob, bytes) in [
            (&made.descriptor, &made.descriptor_bytes),
            (&made.config, &made.config_bytes),
        ] {
            self.put(blob, bytes).await.map_err(failed)?;
        }
        let tag = Reference::Tag(descriptor.version.tag().clone());
        let digest = Digest::of(&made.manifest);
        destination
            .target
            .put_manifest(&self.to, &tag, made.media_type, made.manifest)
            .await
            .map_err(failed)?;
        Ok(digest)
    }

    async fn put(&self, blob: &BlobDescriptor, bytes: &Bytes) -> registry::Result<()> {
        let target = &self.transfer.destination.target;
        if target.has_blob(&self.to, &blob.digest).await? {
            return Ok(());
        }
        let content = WholeBlob(bytes.clone());
        target
            .put_blob(&self.to, &blob.digest, blob.size, &content)
            .await
    }

    /// Brings one blob to the target, by the shortest way.
    pub(super) async fn blob(
        &self,
        source: &dyn Artifacts,
        from: &RepositoryName,
        to: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> registry::Result<()> {
        let target = &self.transfer.destination.target;
        if target.has_blob(to, digest).await? {
            self.lock().blobs_present += 1;
            return Ok(());
        }
        let is_same_registry =
            source.endpoint().is_some() && source.endpoint() == target.endpoint();
        if is_same_registry && target.mount(to, digest, from).await? {
            self.lock().blobs_mounted += 1;
            return Ok(());
        }
        let content = StoredBlob {
            artifacts: source,
            repository: from,
            digest,
            size,
        };
        self.put_counted(to, digest, size, &content).await
    }

    /// Sends content to the target, unless it is there.
    pub(super) async fn send(
        &self,
        to: &RepositoryName,
        digest: &Digest,
        size: u64,
        content: &dyn BlobSource,
    ) -> registry::Result<()> {
        let target = &self.transfer.destination.target;
        if target.has_blob(to, digest).await? {
            self.lock().blobs_present += 1;
            return Ok(());
        }
        self.put_counted(to, digest, size, content).await
    }

    async fn put_counted(
        &self,
        to: &RepositoryName,
        digest: &Digest,
        size: u64,
        content: &dyn BlobSource,
    ) -> registry::Result<()> {
        let target = &self.transfer.destination.target;
        let counted = Counted {
            content,
            progress: &self.transfer.progress,
        };
        target.put_blob(to, digest, size, &counted).await?;
        let mut counts = self.lock();
        counts.blobs_sent += 1;
        counts.bytes_sent += size;
        Ok(())
    }
}

/// The layers of a component version beside its descriptor, marked with what they are; `None` where
/// some of its content is no layer.
fn layers_of(there: &Read) -> Option<Vec<BlobDescriptor>> {
    let Read {
        component,
        document,
    } = there;
    let mut layers: Vec<BlobDescriptor> = Vec::new();
    for element in document.elements() {
        let Ok(Access::LocalBlob(blob)) = document.access(&element).typed() else {
            continue;
        };
        let located = component.local_blob_of(&document.identity(&element), &blob);
        let Ok(BlobLocation::Blobs(blobs)) = located else {
            return None;
        };
        for mut layer in blobs {
            if layers.iter().all(|known| known.digest != layer.digest) {
                layer.annotations = document.annotation(&element);
                layers.push(layer);
            }
        }
    }
    Some(layers)
}

/// Content that tells how far it is.
struct Counted<'a> {
    content: &'a dyn BlobSource,
    progress: &'a Arc<dyn Progress>,
}

impl BlobSource for Counted<'_> {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        async move {
            let progress = Arc::clone(self.progress);
            let told = move |piece: &io::Result<Bytes>| {
                if let Ok(piece) = piece {
                    progress.sent(piece.len() as u64);
                }
            };
            Ok(self.content.open().await?.inspect(told).boxed())
        }
        .boxed()
    }
}
