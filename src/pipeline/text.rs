//! Small texts that are read whole: rules, values, a file of a source of Flux.

use std::io::Read as _;

use serde_json::json;
use tokio::runtime::Handle;

use super::{Error, FORMAT, Pipeline, Result, key, open};
use crate::archive::{self, EntryKind};
use crate::components::{Content, Place};
use crate::mutation::ConfigData;
use crate::oci::Digest;
use crate::ocm::{Accepted, Resource};
use crate::registry::BlobStream;
use crate::snapshot::Namespace;

impl Pipeline {
    /// Reads the ConfigData document that is the content of `resource`.
    pub async fn config_data(
        &self,
        place: &Place,
        component: &Accepted,
        resource: &Resource,
    ) -> Result<ConfigData> {
        let content = self.components.locate(place, component, resource).await?;
        let text = self.text(place, &content, resource).await?;
        self.blocking(move |_| {
            ConfigData::parse(&text).map_err(|source| Error::Mutation { source })
        })
        .await
    }

    /// Reads the whole of a small text that `resource` is, such as a values file.
    pub async fn resource_text(
        &self,
        place: &Place,
        component: &Accepted,
        resource: &Resource,
    ) -> Result<Vec<u8>> {
        let content = self.components.locate(place, component, resource).await?;
        self.text(place, &content, resource).await
    }

    /// Reads the only file of the layer `digest`: what a text became when it was published.
    pub async fn only_file(&self, digest: &Digest) -> Result<Vec<u8>> {
        let (limits, digest) = (self.limits.clone(), digest.clone());
        self.blocking(move |store| {
            let failed = |source| Error::Archive {
                what: format!("layer {digest}"),
                source,
            };
            let blob = open(store, &digest)?;
            let mut reader = archive::Reader::open(blob, &limits).map_err(failed)?;
            let mut only = None;
            while let Some(entry) = reader.next_entry().map_err(failed)? {
                if matches!(entry.kind, EntryKind::Directory) {
                    continue;
                }
                if only.is_some() {
                    return Err(Error::NotOneFile);
                }
                only = Some(reader.read_file(&entry.path).map_err(failed)?);
            }
            only.ok_or(Error::NotOneFile)
        })
        .await
    }

    /// The file at `path` of the archive with `digest`, if it was read before for this namespace.
    pub async fn known_file(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        path: &str,
    ) -> Result<Option<Vec<u8>>> {
        let (namespace, key) = (namespace.clone(), file_key(digest, path));
        let limit = self.limits.file_bytes;
        self.blocking(move |store| {
            let failed = |source| Error::Store { source };
            let known: Option<Digest> = store.derivation(&namespace, &key).map_err(failed)?;
            let known = known.map(|known| store.read_small(&known, limit));
            Ok(known.transpose().map_err(failed)?.flatten())
        })
        .await
    }

    /// Reads the file at `path` of the archive with `digest` as it is fetched, if it has one, and
    /// remembers it.
    pub async fn file_of(
        &self,
        namespace: &Namespace,
        archive: BlobStream,
        digest: &Digest,
        path: &str,
    ) -> Result<Option<Vec<u8>>> {
        let (limits, path, key) = (self.limits.clone(), path.to_owned(), file_key(digest, path));
        let namespace = namespace.clone();
        let mut reader = archive.into_reader(&Handle::current());
        self.blocking(move |store| {
            let failed = |source| Error::Archive {
                what: "the source".to_owned(),
                source,
            };
            let found = archive::find_file(&mut reader, &limits, |found| found.as_str() == path)
                .map_err(failed)?;
            // To the end, or the digest of what was read is never checked.
            std::io::copy(&mut reader, &mut std::io::sink())
                .map_err(|source| failed(archive::Error::from_read(source)))?;
            let Some(found) = found else {
                return Ok(None);
            };
            let failed = |source| Error::Store { source };
            let digest = Digest::of(&found.content);
            store.write_small(&digest, &found.content).map_err(failed)?;
            store
                .set_derivation(&namespace, &key, &digest)
                .map_err(failed)?;
            Ok(Some(found.content))
        })
        .await
    }

    /// A small text as a whole, decompressed.
    async fn text(&self, place: &Place, content: &Content, resource: &Resource) -> Result<Vec<u8>> {
        let reader = self.components.open(place, content);
        let (limits, what) = (self.limits.clone(), resource.identity().to_string());
        let work = move || {
            let failed = |source| Error::Archive {
                what: what.clone(),
                source,
            };
            let mut text = Vec::new();
            let limit = limits.file_bytes;
            archive::decompress(reader, &limits)
                .map_err(failed)?
                .take(limit.saturating_add(1))
                .read_to_end(&mut text)
                .map_err(|source| failed(archive::Error::from_read(source)))?;
            Ok(text)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
    }
}

fn file_key(archive: &Digest, path: &str) -> Digest {
    key(&json!(["file", FORMAT, archive, path]))
}
