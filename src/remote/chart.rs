//! A chart that an access names by repository, name and version (`helm`).

use std::fmt;

use url::Url;

use super::index::{self, Listed};
use super::web::{shown, web_url};
use super::{Asker, Error, Fetched, Result};
use crate::oci::{Digest, ImageReference};
use crate::ocm::Helm;
use crate::registry::{self, Credential, Download, ExtraRoots, ImageManifest, Purpose};
use crate::repository::Blob;
use crate::snapshot::ContentKind;

/// How large the index of a chart repository may be, in bytes. It is in memory while it is read;
/// the largest public ones have some 20 MB.
const LARGEST_INDEX: usize = 32 << 20;

/// The layer of a chart as Helm wrote it at first.
const LEGACY_LAYER: &str = "application/tar+gzip";

/// A version of a chart.
#[derive(Debug, Clone)]
pub enum Chart {
    /// In an OCI registry, where a version is a tag.
    Registry(ImageReference),
    /// In a chart repository.
    Repository(RepositoryChart),
}

/// A version of a chart in a chart repository, which lists its charts in `index.yaml`.
#[derive(Debug, Clone)]
pub struct RepositoryChart {
    repository: Url,
    name: String,
    version: String,
    authorities: Option<ExtraRoots>,
}

impl Chart {
    /// The chart that an access names.
    pub fn of(helm: &Helm) -> Result<Self> {
        let wrong = |problem: &str| Error::Chart {
            chart: helm.helm_chart.clone(),
            problem: problem.to_owned(),
        };
        let said = helm.version.as_deref().filter(|text| !text.is_empty());
        let (name, version) = match helm.helm_chart.split_once(':') {
            Some((_, version)) if said.is_some_and(|said| said != version) => {
                return Err(wrong("it names another version than the field version"));
            }
            Some((name, version)) => (name, version),
            None => {
                let missing = "it names no version, and neither does the field version";
                (
                    helm.helm_chart.as_str(),
                    said.ok_or_else(|| wrong(missing))?,
                )
            }
        };
        if name.is_empty() || version.is_empty() || version.contains(':') {
            return Err(wrong("expected NAME, or NAME:VERSION"));
        }
        if let Some(place) = helm.helm_repository.strip_prefix("oci://") {
            // A tag has no `+`; Helm writes `_` for it.
            let tag = version.replace('+', "_");
            let text = format!("{}/{name}:{tag}", place.trim_end_matches('/'));
            let image: ImageReference = text
                .parse()
                .map_err(|source: crate::oci::Error| wrong(&source.to_string()))?;
            return Ok(Self::Registry(image));
        }
        let authorities = helm.ca_cert.as_deref().filter(|pem| !pem.is_empty());
        let authorities = authorities
            .map(|pem| ExtraRoots::from_pem("caCert", pem.as_bytes()))
            .transpose()
            .map_err(|source| Error::Roots { source })?;
        Ok(Self::Repository(RepositoryChart {
            repository: web_url("helmRepository", &helm.helm_repository)?,
            name: name.to_owned(),
            version: version.to_owned(),
            authorities,
        }))
    }
}

impl RepositoryChart {
    pub(super) async fn fetch(&self, asker: &Asker<'_>, expected: &[Digest]) -> Result<Fetched> {
        let Listed { url, digest } = self.find(asker).await?;
        if let Some(listed) = &digest {
            let other = expected
                .iter()
                .find(|found| found.algorithm() == listed.algorithm() && *found != listed);
            if let Some(recorded) = other {
                return Err(Error::OtherChart {
                    repository: self.place(),
                    listed: listed.clone(),
                    recorded: recorded.clone(),
                });
            }
        }
        let url = self.url_of(&url)?;
        let mut expected = expected.to_vec();
        expected.extend(digest.filter(|digest| !expected.contains(digest)));
        let stream = asker
            .transport
            .download(self.download(asker, url), &expected)
            .await
            .map_err(|source| Error::Fetch { source })?;
        Ok(Fetched {
            media_type: ContentKind::HelmChart.layer_media_type().to_owned(),
            content: Blob::from(stream),
        })
    }

    /// The chart's entry in the index.
    async fn find(&self, asker: &Asker<'_>) -> Result<Listed> {
        let fetch = |source| Error::Fetch { source };
        let mut url = self.repository.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("index.yaml");
        }
        let download = self.download(asker, url);
        let opened = asker.transport.download(download, &[]).await;
        let collected = opened.map_err(fetch)?.collect(LARGEST_INDEX).await;
        let bytes = collected.map_err(fetch)?;
        let (name, version) = (self.name.clone(), self.version.clone());
        let place = self.place();
        let reading = tokio::task::spawn_blocking(move || {
            let wrong = |problem| Error::Index {
                repository: place.clone(),
                problem,
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
            index::find(text, &name, &version)
                .map_err(wrong)?
                .map_err(|known| Error::NoChart {
                    repository: place.clone(),
                    name,
                    version,
                    known,
                })
        });
        reading.await.map_err(|source| Error::Aborted { source })?
    }

    /// Where the index says that the chart is.
    fn url_of(&self, listed: &str) -> Result<Url> {
        let wrong = |problem: String| Error::Index {
            repository: self.place(),
            problem,
        };
        if listed.starts_with("oci://") {
            return Err(wrong(format!(
                "it says that the chart is in a registry ({listed:?}): name that as helmRepository"
            )));
        }
        let mut base = self.repository.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let query = base.query().map(str::to_owned);
        let mut url = base
            .join(listed)
            .map_err(|source| wrong(format!("the chart's URL {listed:?}: {source}")))?;
        let is_relative = Url::parse(listed).is_err();
        if is_relative && url.query().is_none() {
            url.set_query(query.as_deref());
        }
        web_url("the chart's URL", url.as_str())
    }

    /// A request to `url` as whoever is known there. Certificates of the access are trusted only
    /// where no password is sent: an access is not signed, and could let its writer listen.
    fn download(&self, asker: &Asker<'_>, url: Url) -> Download {
        let credential = asker
            .credentials
            .find_for_url(Purpose::ChartRepository, &url);
        let credential = match &self.authorities {
            Some(roots)
                if credential.is_anonymous() && url.origin() == self.repository.origin() =>
            {
                Credential::anonymous().with_roots(roots.clone())
            }
            Some(_) | None => credential,
        };
        Download::get(url).found_in(asker.home).by(credential)
    }

    fn place(&self) -> String {
        shown(&self.repository)
    }
}

impl fmt::Display for RepositoryChart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = (&self.name, &self.version);
        write!(formatter, "{} {name}:{version}", self.place())
    }
}

/// The layer of an artifact that is a packed chart; what proves its provenance is another one.
/// `None` where there is none, or more than one.
pub fn chart_layer(image: &ImageManifest) -> Option<&registry::Descriptor> {
    let of = |media_type: &str| {
        let mut found = image
            .layers
            .iter()
            .filter(|layer| layer.media_type == media_type);
        found.next().filter(|_| found.next().is_none())
    };
    of(ContentKind::HelmChart.layer_media_type()).or_else(|| of(LEGACY_LAYER))
}
