//! Content that is no image: it becomes a blob that is stored with the component.

use std::io::Write as _;

use tempfile::NamedTempFile;

use super::access::{Placed, as_written, local_blob};
use super::version::Moving;
use super::{Error, Result};
use crate::oci::{Algorithm, Digest, Hasher, ImageReference};
use crate::ocm::{Element, Helm, OciBlob, Wget};
use crate::registry::{Content, Reference};
use crate::remote::{self, Asker, Chart, Remote, UNKNOWN_MEDIA_TYPE, WebRequest, chart_layer};
use crate::repository::{Artifacts as _, Blob, FileBlob};
use crate::snapshot::ContentKind;

impl Moving<'_> {
    /// A blob in a registry.
    pub(super) async fn oci_blob(
        &self,
        element: &Element,
        name: &str,
        blob: &OciBlob,
    ) -> Result<Placed> {
        let parsed: ImageReference = blob.reference.parse().map_err(|source| Error::NameImage {
            element: name.to_owned(),
            source,
        })?;
        let copy = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        if let Some(recorded) = self.recorded(element)
            && recorded.algorithm() == blob.digest.algorithm()
            && recorded != blob.digest
        {
            return Err(Error::DigestMismatch {
                element: name.to_owned(),
                found: blob.digest.clone(),
                recorded,
            });
        }
        let (artifacts, repository) = self.registry(name, &parsed)?;
        let media_type = match blob.media_type.as_str() {
            "" => UNKNOWN_MEDIA_TYPE,
            written => written,
        };
        let known = blob.size.and_then(|size| u64::try_from(size).ok());
        let size = if let Some(size) = known {
            size
        } else {
            let opened = artifacts.blob(repository.name(), &blob.digest, None).await;
            let opened = opened.map_err(copy)?;
            match opened.size() {
                Some(size) => size,
                None => return self.file(name, media_type, opened).await,
            }
        };
        self.blob(&artifacts, repository.name(), &self.to, &blob.digest, size)
            .await
            .map_err(copy)?;
        Ok(local_blob(media_type, &blob.digest, size, None))
    }

    /// A chart, packed as Helm packs it. One in a registry stays an image where the component
    /// records the digest of that image.
    pub(super) async fn chart(&self, element: &Element, name: &str, helm: &Helm) -> Result<Placed> {
        let image = match Chart::of(helm).map_err(unfetched(name))? {
            Chart::Registry(image) => image,
            Chart::Repository(chart) => {
                return self.remote(element, name, &Remote::Chart(chart)).await;
            }
        };
        let copy = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let (artifacts, repository) = self.registry(name, &image)?;
        let found = artifacts
            .manifest(repository.name(), &as_written(&image))
            .await
            .map_err(copy)?;
        let recorded = self.recorded(element);
        if recorded.as_ref() == Some(&found.digest) {
            let wanted = Reference::Digest(found.digest);
            return self.image_of(name, &image, wanted, recorded).await;
        }
        let layer = match &found.content {
            Content::Image(found) => chart_layer(found),
            Content::Index(_) => None,
        };
        let layer = layer.ok_or_else(|| Error::NoChart {
            element: name.to_owned(),
            image: image.to_string(),
        })?;
        if let Some(recorded) = recorded
            && recorded.algorithm() == layer.digest.algorithm()
            && recorded != layer.digest
        {
            return Err(Error::DigestMismatch {
                element: name.to_owned(),
                found: layer.digest.clone(),
                recorded,
            });
        }
        let (digest, size) = (&layer.digest, layer.size);
        self.blob(&artifacts, repository.name(), &self.to, digest, size)
            .await
            .map_err(copy)?;
        let media_type = ContentKind::HelmChart.layer_media_type();
        Ok(local_blob(media_type, digest, size, None))
    }

    /// The answer of a web server.
    pub(super) async fn web(&self, element: &Element, name: &str, wget: &Wget) -> Result<Placed> {
        let request = WebRequest::of(wget).map_err(unfetched(name))?;
        self.remote(element, name, &Remote::Web(request)).await
    }

    async fn remote(&self, element: &Element, name: &str, remote: &Remote) -> Result<Placed> {
        self.transfer.progress.begin(&remote.to_string());
        let asker = Asker {
            transport: self.transfer.pool.transport(),
            credentials: &self.transfer.credentials,
            home: self.transfer.source.artifacts.endpoint(),
        };
        let recorded: Vec<Digest> = self.recorded(element).into_iter().collect();
        let fetched = remote.fetch(&asker, &recorded).await;
        let fetched = fetched.map_err(unfetched(name))?;
        self.file(name, &fetched.media_type, fetched.content).await
    }

    /// Content whose digest or size nobody knows before it has come goes through a file.
    async fn file(&self, name: &str, media_type: &str, mut content: Blob) -> Result<Placed> {
        let failed = |source| Error::Pack {
            element: name.to_owned(),
            source,
        };
        let copy = |source| Error::Copy {
            element: name.to_owned(),
            source,
        };
        let mut file = NamedTempFile::new().map_err(failed)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        while let Some(piece) = content.chunk().await.map_err(copy)? {
            file.write_all(&piece).map_err(failed)?;
            hasher.update(&piece);
        }
        let size = hasher.length();
        let digest = hasher.finish();
        self.send(&self.to, &digest, size, &FileBlob(file))
            .await
            .map_err(copy)?;
        Ok(local_blob(media_type, &digest, size, None))
    }
}

fn unfetched(name: &str) -> impl Fn(remote::Error) -> Error {
    move |source| Error::Fetch {
        element: name.to_owned(),
        source,
    }
}
