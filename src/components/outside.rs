//! Content outside of the component's registry: charts, and answers of web servers.
//!
//! It is not addressed by its digest. So it is held to the digest that the descriptor records;
//! where none is recorded, it is fetched once for a component version, and held to what came then.

#[cfg(test)]
mod tests;

use std::io::{Read as _, Write as _};

use serde_json::json;
use tokio::runtime::Handle;

use super::content::{self, Content, reference};
use super::kept::Home;
use super::signed::{self, Terms, digest_of};
use super::{Components, Error, Place, Result, artifact, guarded};
use crate::oci::{Algorithm, Digest, Hasher, ImageReference};
use crate::ocm::signature::Found;
use crate::ocm::{Access, BlobDescriptor, ReadComponent, Resource};
use crate::registry::{self, Manifest, Reference};
use crate::remote::{Asker, Chart, Fetched, Remote, chart_layer};
use crate::snapshot::ContentKind;
use crate::{remote, store};

/// Part of the key of what is remembered: raised when something else is fetched.
const FORMAT: u32 = 1;

/// Where an access leads that is not to an image.
enum Outside {
    Remote(Remote),
    /// A chart in a registry.
    Image(ImageReference),
}

/// A chart in a registry, as far as its manifest says.
struct ChartImage {
    home: Home,
    manifest: Manifest,
    layer: BlobDescriptor,
}

impl Components {
    /// Finds where the content of `resource` is.
    pub(super) async fn locate_outside(
        &self,
        terms: &Terms,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
        access: &Access,
    ) -> Result<Content> {
        let remote = match outside(resource, access)? {
            Outside::Remote(remote) => remote,
            Outside::Image(image) => {
                let chart = self.chart_image(place, resource, &image).await?;
                check_chart(terms, resource, &chart)?;
                return Ok(Content::of_blobs(&chart.home, vec![chart.layer]));
            }
        };
        if let Some(recorded) = resource.content_digest() {
            return Ok(Content::of_remote(remote, recorded));
        }
        let access = resource.access.object();
        let key = Digest::of(json!(["outside", FORMAT, component.digest, access]).to_string());
        let namespace = place.namespace.clone();
        let known = {
            let (namespace, key) = (namespace.clone(), key.clone());
            self.blocking(move |store| store.derivation::<Digest>(&namespace, &key))
                .await?
        };
        if let Some(known) = known {
            return Ok(Content::of_remote(remote, known));
        }
        let (stored, _) = self
            .learn(place, resource, &remote, Algorithm::Sha256)
            .await?;
        let digest = stored.clone();
        self.blocking(move |store| store.set_derivation(&namespace, &key, &digest))
            .await?;
        Ok(Content::of_remote(remote, stored))
    }

    /// Finds the content of `resource` for verification: it is fetched.
    pub(super) async fn find_outside(
        &self,
        place: &Place,
        resource: &Resource,
        access: &Access,
        algorithm: Algorithm,
    ) -> Result<Found> {
        let image = match outside(resource, access)? {
            Outside::Remote(remote) => {
                let (_, found) = self.learn(place, resource, &remote, algorithm).await?;
                return Ok(Found::Content(found));
            }
            Outside::Image(image) => image,
        };
        let chart = self.chart_image(place, resource, &image).await?;
        let whole = digest_of(&chart.manifest, algorithm);
        if signed::records_manifest(resource) || resource.content_digest().as_ref() == Some(&whole)
        {
            return Ok(Found::Content(whole));
        }
        if chart.layer.digest.algorithm() == algorithm {
            return Ok(Found::Content(chart.layer.digest));
        }
        let content = Content::of_blobs(&chart.home, vec![chart.layer]);
        self.hash(place, resource, &content, algorithm).await
    }

    /// Asks for content that has to have each of the digests `expected`.
    pub(super) async fn fetch(
        &self,
        place: &Place,
        remote: &Remote,
        expected: &[Digest],
    ) -> Result<remote::Result<Fetched>> {
        let home = match &place.archive {
            Some(archive) => archive.endpoint().cloned(),
            None => Some(super::endpoint(&place.repository)?),
        };
        let asker = Asker {
            transport: self.pool.transport(),
            credentials: &place.credentials,
            home: home.as_ref(),
        };
        let fetched = remote.fetch(&asker, expected).await;
        let failed = fetched.as_ref().err();
        let failed = failed.and_then(|error| registry::error_in(error));
        if failed.is_some_and(guarded::is_denied) {
            let (place, from) = (place.clone(), remote.to_string());
            self.blocking(move |store| store.revoke(place.holder(&from)))
                .await?;
        }
        Ok(fetched)
    }

    /// Fetches content into the store, to find out which it is: the digest that it is stored by, and
    /// the one by `algorithm`.
    async fn learn(
        &self,
        place: &Place,
        resource: &Resource,
        remote: &Remote,
        algorithm: Algorithm,
    ) -> Result<(Digest, Digest)> {
        let fetched = self.fetch(place, remote, &[]).await?;
        let fetched = fetched.map_err(|source| Error::Fetch {
            resource: resource.identity(),
            source,
        })?;
        let mut reader = fetched.content.into_reader(&Handle::current());
        let (place, from, store) = (place.clone(), remote.to_string(), self.store.clone());
        let identity = resource.identity();
        let work = move || {
            let failed = |source: store::Error| Error::Store { source };
            let read = |source| Error::Hash {
                resource: identity.clone(),
                source,
            };
            let mut writer = store.writer().map_err(failed)?;
            let mut hasher = Hasher::new(algorithm);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = reader.read(&mut buffer).map_err(read)?;
                if count == 0 {
                    break;
                }
                writer.write_all(&buffer[..count]).map_err(read)?;
                hasher.update(&buffer[..count]);
            }
            let stored = writer.commit().map_err(failed)?.digest;
            store.grant(place.holder(&from), &stored).map_err(failed)?;
            Ok((stored, hasher.finish()))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
    }

    async fn chart_image(
        &self,
        place: &Place,
        resource: &Resource,
        image: &ImageReference,
    ) -> Result<ChartImage> {
        let home = self.home_of(place, image, resource)?;
        let wanted = match (reference(image), content::manifest_digest(resource)) {
            (Reference::Tag(_), Some(digest)) => Reference::Digest(digest),
            (wanted, _) => wanted,
        };
        let manifest = self.pull(place, resource, &home, &wanted).await?;
        let layer = match &manifest.content {
            registry::Content::Image(image) => chart_layer(image).map(artifact::blob),
            registry::Content::Index(_) => None,
        };
        let mut layer = layer.ok_or_else(|| Error::NoChart {
            resource: resource.identity(),
            image: image.to_string(),
        })?;
        // Helm's older name for it means the same.
        ContentKind::HelmChart
            .layer_media_type()
            .clone_into(&mut layer.media_type);
        Ok(ChartImage {
            home,
            manifest,
            layer,
        })
    }
}

fn outside(resource: &Resource, access: &Access) -> Result<Outside> {
    let failed = |source| Error::Fetch {
        resource: resource.identity(),
        source,
    };
    if let Access::Helm(helm) = access
        && let Chart::Registry(image) = Chart::of(helm).map_err(failed)?
    {
        return Ok(Outside::Image(image));
    }
    let remote = Remote::of(access).map_err(failed)?;
    let remote = remote.ok_or_else(|| Error::UnsupportedAccess {
        resource: resource.identity(),
        kind: resource.access.kind().to_owned(),
    })?;
    Ok(Outside::Remote(remote))
}

/// The recorded digest is that of the packed chart, or that of the image that it is in.
fn check_chart(terms: &Terms, resource: &Resource, chart: &ChartImage) -> Result<()> {
    let Some(recorded) = resource.content_digest() else {
        return Ok(());
    };
    let whole = digest_of(&chart.manifest, recorded.algorithm());
    if whole == recorded {
        return Ok(());
    }
    if chart.layer.digest.algorithm() == recorded.algorithm() {
        return content::check_digest(resource, &[&chart.layer.digest]);
    }
    terms.refuse_other_algorithm(resource)
}
