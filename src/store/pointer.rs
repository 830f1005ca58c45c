//! Small named records that point into the content: tags, derivations, grants.
//!
//! Every part of a record's path is a type that was parsed or a digest, so that no text from
//! outside becomes a path. A record's file is the digest of its JSON, a line break, and the JSON:
//! one that does not fit its digest reads as absent, like damaged content.

use std::io::Write as _;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::oci::{Digest, Tag};
use crate::snapshot::{Image, Namespace, Repository};

use super::disk::Disk;
use super::{Error, Result, Store};

/// The longest record, in bytes; they are meant to be some hundred.
const RECORD_LIMIT: usize = 64 * 1024;

/// What a tag of a snapshot's repository points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The digest of the image manifest, which is itself a blob of the store.
    pub manifest: Digest,
    /// The size of the image manifest in bytes.
    pub size: u64,
    /// The UID of the object that the tag was written for.
    pub owner: String,
}

/// Says of a blob where it was pulled from, for the reader of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Grant {
    repository: String,
    digest: Digest,
}

impl Store {
    /// Stores an image whose layer is already here, and points `tag` to it.
    ///
    /// The tag comes last, so that it never points to something that is not there.
    pub fn publish(
        &self,
        repository: &Repository,
        tag: &Tag,
        image: &Image,
        owner: &str,
    ) -> Result<TagRecord> {
        for content in [&image.config, &image.manifest] {
            if self.open_blob(&Digest::of(content))?.is_some() {
                continue;
            }
            let mut writer = self.writer()?;
            writer
                .write_all(content)
                .map_err(Error::access("write to", self.temporary_folder()))?;
            writer.commit()?;
        }
        let record = TagRecord {
            manifest: image.digest.clone(),
            size: image.manifest.len() as u64,
            owner: owner.to_owned(),
        };
        self.set_tag(repository, tag, &record)?;
        Ok(record)
    }

    /// Points `tag` to a manifest, in place of what it pointed to before.
    pub fn set_tag(&self, repository: &Repository, tag: &Tag, record: &TagRecord) -> Result<()> {
        self.set_record(self.tag_path(repository, tag), record)
    }

    /// What `tag` points to.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<TagRecord>> {
        Self::record(&self.tag_path(repository, tag))
    }

    /// The tags of a repository in the order of their bytes; none where it is unknown.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let folder = self.repository_path(repository);
        let names = Disk::list(&folder).map_err(Error::access("list", &folder))?;
        let mut tags: Vec<Tag> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok()?.parse().ok())
            .collect();
        tags.sort();
        Ok(tags)
    }

    /// Removes a tag; says whether it was there. What it points to stays.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool> {
        remove(&self.tag_path(repository, tag))
    }

    /// What was derived before from the inputs that `key` is the digest of.
    ///
    /// The key has to cover everything that the result depends on: source, rules, and the version
    /// of the code's output format. A record that `T` cannot be read from is absent.
    pub fn derivation<T: DeserializeOwned>(
        &self,
        namespace: &Namespace,
        key: &Digest,
    ) -> Result<Option<T>> {
        Self::record(&self.derivation_path(namespace, key))
    }

    /// Remembers what was derived from the inputs that `key` is the digest of.
    pub fn set_derivation<T: Serialize>(
        &self,
        namespace: &Namespace,
        key: &Digest,
        value: &T,
    ) -> Result<()> {
        self.set_record(self.derivation_path(namespace, key), value)
    }

    /// Forgets a derivation; says whether it was there.
    pub fn remove_derivation(&self, namespace: &Namespace, key: &Digest) -> Result<bool> {
        remove(&self.derivation_path(namespace, key))
    }

    /// Remembers that `namespace` has pulled a blob from `repository` with its own credentials.
    ///
    /// Content is shared between namespaces, permission is not: what one namespace fetched is
    /// given to another only after that one has been let in by the same repository.
    pub fn grant(&self, namespace: &Namespace, repository: &str, digest: &Digest) -> Result<()> {
        let grant = Grant {
            repository: repository.to_owned(),
            digest: digest.clone(),
        };
        self.set_record(self.grant_path(namespace, repository, digest), &grant)
    }

    /// Whether `namespace` has pulled the blob from `repository` before.
    pub fn is_granted(
        &self,
        namespace: &Namespace,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool> {
        let path = self.grant_path(namespace, repository, digest);
        let grant: Option<Grant> = Self::record(&path)?;
        Ok(grant.is_some_and(|grant| grant.repository == repository && grant.digest == *digest))
    }

    /// Takes a grant back, as after a 401; says whether it was there.
    pub fn remove_grant(
        &self,
        namespace: &Namespace,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool> {
        remove(&self.grant_path(namespace, repository, digest))
    }

    fn record<T: DeserializeOwned>(path: &PathBuf) -> Result<Option<T>> {
        let limit = (RECORD_LIMIT + 256) as u64;
        let Some(content) = Disk::read(path, limit).map_err(Error::access("read", path))? else {
            return Ok(None);
        };
        let record = decode(&content);
        if record.is_none() {
            warn!(path = %path.display(), "ignored an unreadable record");
        }
        Ok(record)
    }

    /// Writes a record unless it is there already: unchanged input costs no sync.
    fn set_record<T: Serialize>(&self, path: PathBuf, record: &T) -> Result<()> {
        let json = match serde_json::to_string(record) {
            Ok(json) if json.len() <= RECORD_LIMIT => json,
            Ok(json) => {
                let problem = format!("{} bytes are more than {RECORD_LIMIT}", json.len());
                return Err(Error::Encode { path, problem });
            }
            Err(source) => {
                let problem = source.to_string();
                return Err(Error::Encode { path, problem });
            }
        };
        let content = format!("{}\n{json}", Digest::of(&json));
        let present = Disk::read(&path, content.len() as u64);
        if matches!(present, Ok(Some(present)) if present == content.as_bytes()) {
            return Ok(());
        }
        self.replace_file(&path, content.as_bytes())
    }

    fn repository_path(&self, repository: &Repository) -> PathBuf {
        self.disk()
            .path("refs/tags")
            .join(repository.namespace().as_str())
            .join(repository.name())
    }

    fn tag_path(&self, repository: &Repository, tag: &Tag) -> PathBuf {
        self.repository_path(repository).join(tag.as_str())
    }

    fn derivation_path(&self, namespace: &Namespace, key: &Digest) -> PathBuf {
        self.disk()
            .path("refs/derivations")
            .join(namespace.as_str())
            .join(key.algorithm().name())
            .join(&key.hex()[..2])
            .join(key.hex())
    }

    fn grant_path(&self, namespace: &Namespace, repository: &str, digest: &Digest) -> PathBuf {
        self.disk()
            .path("refs/grants")
            .join(namespace.as_str())
            .join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
            .join(Digest::of(repository).hex())
    }
}

fn decode<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    let content = std::str::from_utf8(content).ok()?;
    let (digest, json) = content.split_once('\n')?;
    if digest.parse::<Digest>().ok()? != Digest::of(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}

/// Not synced: a record that comes back after a power loss points to what is still there.
fn remove(path: &PathBuf) -> Result<bool> {
    Disk::remove(path).map_err(Error::access("remove", path))
}
