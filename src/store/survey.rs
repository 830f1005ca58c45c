//! What lies in the store: names and sizes, and which record points to what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::oci::{Digest, Tag};
use crate::snapshot::{Namespace, Repository};

use super::pointer::TagRecord;
use super::{Error, Result, Store};

/// What a small file takes on most file systems.
const BLOCK: u64 = 4096;

/// The largest manifest that is looked into.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;

/// Everything in the store.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Each blob with its size.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// The tags of each repository; without a record where it is damaged.
    pub(super) repositories: BTreeMap<Repository, BTreeMap<Tag, Option<TagRecord>>>,
    /// What the manifests of tags name.
    pub(super) named: BTreeMap<Digest, Vec<Digest>>,
    /// Derivations and grants.
    pub(super) pointers: Vec<Pointer>,
}

/// A derivation or grant.
#[derive(Debug, Clone)]
pub(super) struct Pointer {
    pub(super) path: PathBuf,
    pub(super) namespace: Namespace,
    /// Of a grant, what stands for its holder in the path.
    pub(super) holder: Option<String>,
    /// The digests that it names.
    pub(super) targets: Vec<Digest>,
    /// Whether it cannot be read, and so serves nobody.
    pub(super) is_damaged: bool,
}

/// A folder of blobs whose digests begin alike.
#[derive(Debug)]
pub(super) struct BlobFolder {
    algorithm: String,
    two: String,
    path: PathBuf,
}

impl Survey {
    /// About how much of the disk is taken.
    pub(super) fn bytes(&self) -> u64 {
        let tags: usize = self.repositories.values().map(BTreeMap::len).sum();
        let records = (tags + self.pointers.len()) as u64 * BLOCK;
        self.blobs.values().map(|size| on_disk(*size)).sum::<u64>() + records
    }
}

/// What `size` bytes take in whole blocks.
pub(super) fn on_disk(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

impl Store {
    /// Looks at everything by name; reads records and manifests, and no other content.
    pub(super) fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        self.survey_blobs(&mut survey)?;
        self.survey_tags(&mut survey)?;
        self.survey_derivations(&mut survey)?;
        self.survey_grants(&mut survey)?;
        Ok(survey)
    }

    /// The digests of all blobs, in their order.
    pub(super) fn blobs(&self) -> Result<Vec<Digest>> {
        let mut blobs = Vec::new();
        for folder in self.blob_folders()? {
            blobs.extend(self.blobs_in(&folder)?);
        }
        blobs.sort();
        Ok(blobs)
    }

    /// The folders that blobs lie in.
    pub(super) fn blob_folders(&self) -> Result<Vec<BlobFolder>> {
        let mut folders = Vec::new();
        for (algorithm, folder) in self.names(&self.disk().path("blobs"))? {
            for (two, path) in self.names(&folder)? {
                let algorithm = algorithm.clone();
                folders.push(BlobFolder {
                    algorithm,
                    two,
                    path,
                });
            }
        }
        Ok(folders)
    }

    /// The digests of the blobs in one folder, in their order.
    pub(super) fn blobs_in(&self, folder: &BlobFolder) -> Result<Vec<Digest>> {
        let BlobFolder {
            algorithm,
            two,
            path,
        } = folder;
        let names = self.names(path)?.into_iter();
        // Other files are not ours.
        let digests = names.filter_map(|(hex, _)| {
            let digest = format!("{algorithm}:{hex}").parse().ok()?;
            hex.starts_with(two).then_some(digest)
        });
        Ok(digests.collect())
    }

    fn survey_blobs(&self, survey: &mut Survey) -> Result<()> {
        for digest in self.blobs()? {
            let path = self.blob_path(&digest);
            let stamp = self.disk().look(&path);
            if let Some(stamp) = stamp.map_err(Error::access("look at", &path))? {
                survey.blobs.insert(digest, stamp.size);
            }
        }
        Ok(())
    }

    fn survey_tags(&self, survey: &mut Survey) -> Result<()> {
        for (namespace, folder) in self.names(&self.disk().path("refs/tags"))? {
            for (name, _) in self.names(&folder)? {
                let Ok(repository) = Repository::new(&namespace, &name) else {
                    continue;
                };
                let mut tags = BTreeMap::new();
                for tag in self.tags(&repository)? {
                    let record = self.tag(&repository, &tag)?;
                    for manifest in record.iter().flat_map(TagRecord::manifests) {
                        if !survey.named.contains_key(manifest) {
                            let named = self.named_in(manifest)?;
                            survey.named.insert(manifest.clone(), named);
                        }
                    }
                    tags.insert(tag, record);
                }
                survey.repositories.insert(repository, tags);
            }
        }
        Ok(())
    }

    /// What a manifest names; nothing where it is absent or none.
    fn named_in(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let path = self.blob_path(manifest);
        let content = self.disk().read(&path, MANIFEST_LIMIT);
        let content = content.map_err(Error::access("read", &path))?;
        Ok(content
            .map(|content| digests_in(&content))
            .unwrap_or_default())
    }

    fn survey_derivations(&self, survey: &mut Survey) -> Result<()> {
        for (namespace, folder) in self.names(&self.disk().path("refs/derivations"))? {
            let Ok(namespace) = namespace.parse::<Namespace>() else {
                continue;
            };
            for (algorithm, folder) in self.names(&folder)? {
                for (_, folder) in self.names(&folder)? {
                    for (hex, path) in self.names(&folder)? {
                        if format!("{algorithm}:{hex}").parse::<Digest>().is_ok() {
                            let pointer = self.pointer(path, &namespace, None)?;
                            survey.pointers.extend(pointer);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn survey_grants(&self, survey: &mut Survey) -> Result<()> {
        for (namespace, folder) in self.names(&self.disk().path("refs/grants"))? {
            let Ok(namespace) = namespace.parse::<Namespace>() else {
                continue;
            };
            for (holder, folder) in self.names(&folder)? {
                for (_, folder) in self.names(&folder)? {
                    for (name, path) in self.names(&folder)? {
                        if name.replacen('-', ":", 1).parse::<Digest>().is_ok() {
                            let holder = Some(holder.clone());
                            let pointer = self.pointer(path, &namespace, holder)?;
                            survey.pointers.extend(pointer);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn pointer(
        &self,
        path: PathBuf,
        namespace: &Namespace,
        holder: Option<String>,
    ) -> Result<Option<Pointer>> {
        let there = self.disk().look(&path);
        if there.map_err(Error::access("look at", &path))?.is_none() {
            return Ok(None);
        }
        let record: Option<Value> = self.record(&path)?;
        Ok(Some(Pointer {
            namespace: namespace.clone(),
            holder,
            targets: record.as_ref().map(named).unwrap_or_default(),
            is_damaged: record.is_none(),
            path,
        }))
    }

    /// What lies in a folder under names that can be text.
    fn names(&self, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
        let names = self.disk().list(folder);
        let mut names: Vec<_> = names
            .map_err(Error::access("list", folder))?
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .map(|name| (name.clone(), folder.join(name)))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// All digests that a JSON document names; none where it is none.
pub(super) fn digests_in(content: &[u8]) -> Vec<Digest> {
    let document: Option<Value> = serde_json::from_slice(content).ok();
    document.as_ref().map(named).unwrap_or_default()
}

/// All texts in `value` that are digests.
fn named(value: &Value) -> Vec<Digest> {
    match value {
        Value::String(text) => text.parse().ok().into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(named).collect(),
        Value::Object(fields) => fields.values().flat_map(named).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
