//! Small named records that point into the content: tags, derivations, grants.
//!
//! Every part of a record's path is a type that was parsed or a digest, so that no text from
//! outside becomes a path. A record's file is the digest of its JSON, a line break, and the JSON:
//! one that does not fit its digest reads as absent, like damaged content.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::oci::{Digest, Tag};
use crate::snapshot::{Image, Namespace, Repository};

use super::survey;
use super::uses::Used;
use super::{Error, Result, Store, TAGGING_SHARDS};

/// The longest record, in bytes; they are meant to be some hundred.
const RECORD_LIMIT: usize = 64 * 1024;

/// The most bytes of a note.
const NOTE_LIMIT: usize = 64 << 20;

/// How many manifests that a tag pointed to before are remembered at most.
const PREVIOUS_LIMIT: usize = 16;

/// What a tag of a snapshot's repository points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The digest of the image manifest, which is itself a blob of the store.
    pub manifest: Digest,
    /// The size of the image manifest in bytes.
    pub size: u64,
    /// The UID of the object that the tag was written for.
    pub owner: String,
    /// What the tag pointed to before, newest first. It can still be pulled by its digest, so that
    /// who was told of it finds it until he has been told of the new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Digest>,
}

impl TagRecord {
    /// All manifests that can be pulled because of this tag.
    pub fn manifests(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.manifest).chain(&self.previous)
    }
}

/// Who was let in by a repository, and may have from the store what was pulled from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The namespace of the object whose credentials were used.
    pub namespace: &'a Namespace,
    /// The UID of that object: one that is made again under its name has to be let in anew, and
    /// so has a namespace.
    pub uid: &'a str,
    /// The repository that let it in.
    pub repository: &'a str,
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
        // Of what was found, the name may be in memory only: the process that wrote it may have
        // been killed before it synced it. A tag is not to outlive what it points to.
        for digest in survey::digests_in(&image.manifest)
            .iter()
            .chain([&image.digest])
        {
            if self.contains(digest)?.is_some() {
                let path = self.blob_path(digest);
                let settled = self.disk().settle_once(&path);
                settled.map_err(Error::access("sync", path))?;
            }
        }
        let record = TagRecord {
            manifest: image.digest.clone(),
            size: image.manifest.len() as u64,
            owner: owner.to_owned(),
            previous: Vec::new(),
        };
        self.set_tag(repository, tag, record)
    }

    /// Points `tag` to a manifest; what it pointed to before can still be pulled for a while.
    pub fn set_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        mut record: TagRecord,
    ) -> Result<TagRecord> {
        let _turn = self.tagging(repository);
        self.uses().touch(Used::Repository(repository.clone()));
        if let Some(before) = self.tag(repository, tag)? {
            for digest in before.manifests() {
                if *digest != record.manifest && !record.previous.contains(digest) {
                    record.previous.push(digest.clone());
                }
            }
            record.previous.truncate(PREVIOUS_LIMIT);
            if before.manifest != record.manifest {
                // Its grace begins now.
                self.uses().touch(Used::Blob(before.manifest));
            }
        }
        self.set_record(self.tag_path(repository, tag), &record)?;
        Ok(record)
    }

    /// What `tag` points to.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<TagRecord>> {
        self.record(&self.tag_path(repository, tag))
    }

    /// Everything that can be pulled from a repository by its digest.
    pub fn manifests(&self, repository: &Repository) -> Result<Vec<Digest>> {
        let mut manifests = Vec::new();
        for tag in self.tags(repository)? {
            if let Some(record) = self.tag(repository, &tag)? {
                manifests.extend(record.manifests().cloned());
            }
        }
        Ok(manifests)
    }

    /// The tags of a repository in the order of their bytes; none where it is unknown.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let folder = self.repository_path(repository);
        let names = self.disk().list(&folder);
        let mut tags: Vec<Tag> = names
            .map_err(Error::access("list", &folder))?
            .into_iter()
            .filter_map(|name| name.into_string().ok()?.parse().ok())
            .collect();
        tags.sort();
        Ok(tags)
    }

    /// Removes a tag; says whether it was there. What it points to stays.
    pub fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool> {
        let _turn = self.tagging(repository);
        self.remove_record(&self.tag_path(repository, tag))
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
        let path = self.derivation_path(namespace, key);
        self.use_record(&path);
        self.record(&path)
    }

    /// Remembers what was derived from the inputs that `key` is the digest of.
    pub fn set_derivation<T: Serialize>(
        &self,
        namespace: &Namespace,
        key: &Digest,
        value: &T,
    ) -> Result<()> {
        let path = self.derivation_path(namespace, key);
        self.use_record(&path);
        self.set_record(path, value)
    }

    /// Forgets a derivation; says whether it was there.
    pub fn remove_derivation(&self, namespace: &Namespace, key: &Digest) -> Result<bool> {
        self.remove_record(&self.derivation_path(namespace, key))
    }

    /// What the process before noted under `name` to know after a restart. It may be lost.
    pub fn note<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>> {
        self.record_up_to(&self.note_path(name), NOTE_LIMIT)
    }

    /// Notes `value` under `name`, in place of what was noted before.
    pub fn set_note<T: Serialize>(&self, name: &'static str, value: &T) -> Result<()> {
        self.set_record_up_to(self.note_path(name), value, NOTE_LIMIT)
    }

    /// Remembers that `holder` has pulled a blob with its own credentials.
    ///
    /// Content is shared between namespaces, permission is not: what one object fetched is given
    /// to another only after that one has been let in by the same repository.
    pub fn grant(&self, holder: Holder<'_>, digest: &Digest) -> Result<()> {
        let grant = Grant {
            repository: holder.repository.to_owned(),
            digest: digest.clone(),
        };
        let path = self.grant_path(holder, digest);
        self.use_record(&path);
        self.set_record(path, &grant)
    }

    /// Whether `holder` has pulled the blob before.
    pub fn is_granted(&self, holder: Holder<'_>, digest: &Digest) -> Result<bool> {
        let path = self.grant_path(holder, digest);
        self.use_record(&path);
        let grant: Option<Grant> = self.record(&path)?;
        Ok(grant
            .is_some_and(|grant| grant.repository == holder.repository && grant.digest == *digest))
    }

    /// Takes back all that `holder` was given, as after a 401; says how much it was.
    pub fn revoke(&self, holder: Holder<'_>) -> Result<usize> {
        let folder = self.granted_folder(holder);
        let names = self.disk().list(&folder);
        let mut count = 0;
        for name in names.map_err(Error::access("list", &folder))? {
            count += usize::from(self.remove_record(&folder.join(name))?);
        }
        let removed = self.disk().remove_folder(&folder);
        removed.map_err(Error::access("remove", &folder))?;
        Ok(count)
    }

    /// The record in a file; absent where the file is, or is damaged.
    pub(super) fn record<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        self.record_up_to(path, RECORD_LIMIT)
    }

    /// The record in a file, of at most `limit` bytes.
    fn record_up_to<T: DeserializeOwned>(&self, path: &Path, limit: usize) -> Result<Option<T>> {
        let limit = (limit + 256) as u64;
        let content = self.disk().read(path, limit);
        let Some(content) = content.map_err(Error::access("read", path))? else {
            return Ok(None);
        };
        let record = decode(&content);
        if record.is_none() {
            warn!(path = %path.display(), "ignored an unreadable record");
        }
        Ok(record)
    }

    /// Writes a record unless it is there already: unchanged input costs no sync.
    pub(super) fn set_record<T: Serialize>(&self, path: PathBuf, record: &T) -> Result<()> {
        self.set_record_up_to(path, record, RECORD_LIMIT)
    }

    fn set_record_up_to<T: Serialize>(
        &self,
        path: PathBuf,
        record: &T,
        limit: usize,
    ) -> Result<()> {
        let json = match serde_json::to_string(record) {
            Ok(json) if json.len() <= limit => json,
            Ok(json) => {
                let problem = format!("{} bytes are more than {limit}", json.len());
                return Err(Error::Encode { path, problem });
            }
            Err(source) => {
                let problem = source.to_string();
                return Err(Error::Encode { path, problem });
            }
        };
        let content = format!("{}\n{json}", Digest::of(&json));
        let present = self.disk().read(&path, content.len() as u64);
        if matches!(present, Ok(Some(present)) if present == content.as_bytes()) {
            let settled = self.disk().settle_once(&path);
            return settled.map_err(Error::access("write", path));
        }
        self.replace_file(&path, content.as_bytes())
    }

    fn repository_path(&self, repository: &Repository) -> PathBuf {
        self.disk()
            .path("refs/tags")
            .join(repository.namespace().as_str())
            .join(repository.name())
    }

    pub(super) fn tag_path(&self, repository: &Repository, tag: &Tag) -> PathBuf {
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

    fn grant_path(&self, holder: Holder<'_>, digest: &Digest) -> PathBuf {
        self.granted_folder(holder)
            .join(format!("{}-{}", digest.algorithm().name(), digest.hex()))
    }

    fn note_path(&self, name: &str) -> PathBuf {
        self.disk().path("notes").join(name)
    }

    fn granted_folder(&self, holder: Holder<'_>) -> PathBuf {
        self.disk()
            .path("refs/grants")
            .join(holder.namespace.as_str())
            .join(holder_name(holder.uid))
            .join(Digest::of(holder.repository).hex())
    }

    /// Not synced: a record that comes back after a power loss points to what is still there.
    pub(super) fn remove_record(&self, path: &Path) -> Result<bool> {
        let removed = self.disk().remove(path);
        removed.map_err(Error::access("remove", path))
    }

    /// Notes the use of a derivation or grant.
    fn use_record(&self, path: &Path) {
        self.uses().touch(Used::Record(path.to_owned()));
    }

    /// The right to change the tags of a repository.
    pub(super) fn tagging(&self, repository: &Repository) -> MutexGuard<'_, ()> {
        let digest = Digest::of(repository.to_string());
        let shard = usize::from(digest.hex().as_bytes()[0]) % TAGGING_SHARDS;
        self.inner.tagging[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for the UID of a holder in a path: an API server gives any text as one.
pub(super) fn holder_name(uid: &str) -> String {
    Digest::of(uid).hex()[..32].to_owned()
}

fn decode<T: DeserializeOwned>(content: &[u8]) -> Option<T> {
    let content = std::str::from_utf8(content).ok()?;
    let (digest, json) = content.split_once('\n')?;
    if digest.parse::<Digest>().ok()? != Digest::of(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}
