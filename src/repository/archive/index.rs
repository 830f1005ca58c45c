//! `artifact-index.json`: which artifacts a transport archive holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::files::Files;
use crate::oci::{Digest, RepositoryName, Tag, json};
use crate::registry::{Reference, Resolved};

/// The file's name.
pub(super) const FILE: &str = "artifact-index.json";

/// How large the file may be, in bytes.
const LARGEST: usize = 64 << 20;

/// How many artifacts it may list.
const MOST_ARTIFACTS: usize = 100_000;

/// The artifacts of an archive.
#[derive(Debug, Default)]
pub(super) struct Index {
    tagged: BTreeMap<(RepositoryName, Tag), Named>,
    untagged: BTreeMap<(RepositoryName, Digest), String>,
}

#[derive(Debug, Clone)]
struct Named {
    digest: Digest,
    media_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    #[serde(default)]
    artifacts: Option<Vec<Entry>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    repository: RepositoryName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    digest: Digest,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    media_type: String,
}

impl Index {
    pub(super) fn read(files: &Files) -> Result<Self, ArchiveError> {
        let malformed = |problem: String| ArchiveError::Malformed {
            file: FILE,
            problem,
        };
        let content = files.document(FILE, LARGEST)?;
        let document: Document =
            json::from_slice(&content).map_err(|source| malformed(source.to_string()))?;
        if document.schema_version != 1 {
            let version = document.schema_version;
            return Err(malformed(format!(
                "its schemaVersion is {version}, expected 1"
            )));
        }
        let artifacts = document.artifacts.unwrap_or_default();
        if artifacts.len() > MOST_ARTIFACTS {
            return Err(malformed(format!(
                "it lists more than {MOST_ARTIFACTS} artifacts"
            )));
        }
        let mut index = Self::default();
        for entry in artifacts {
            if let Some(tag) = &entry.tag {
                let known = index.tagged.get(&(entry.repository.clone(), tag.clone()));
                if known.is_some_and(|known| known.digest != entry.digest) {
                    return Err(malformed(format!(
                        "{}:{tag} names two artifacts",
                        entry.repository
                    )));
                }
            }
            index.set(entry.repository, entry.tag, entry.digest, entry.media_type);
        }
        Ok(index)
    }

    pub(super) fn write(&self, files: &Files) -> Result<(), ArchiveError> {
        let tagged = self.tagged.iter().map(|((repository, tag), named)| Entry {
            repository: repository.clone(),
            tag: Some(tag.clone()),
            digest: named.digest.clone(),
            media_type: named.media_type.clone(),
        });
        let untagged = self
            .untagged
            .iter()
            .map(|((repository, digest), media_type)| Entry {
                repository: repository.clone(),
                tag: None,
                digest: digest.clone(),
                media_type: media_type.clone(),
            });
        let document = Document {
            schema_version: 1,
            artifacts: Some(tagged.chain(untagged).collect()),
        };
        let content = serde_json::to_vec(&document).expect("texts and numbers are JSON");
        files.replace(FILE, &content)
    }

    pub(super) fn set(
        &mut self,
        repository: RepositoryName,
        tag: Option<Tag>,
        digest: Digest,
        media_type: String,
    ) {
        match tag {
            Some(tag) => {
                let named = Named { digest, media_type };
                self.tagged.insert((repository, tag), named);
            }
            None => {
                self.untagged.insert((repository, digest), media_type);
            }
        }
    }

    pub(super) fn tags(&self, repository: &RepositoryName) -> Vec<Tag> {
        let of_repository = self.tagged.keys().filter(|(named, _)| named == repository);
        of_repository.map(|(_, tag)| tag.clone()).collect()
    }

    pub(super) fn resolve(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Option<Resolved> {
        match reference {
            Reference::Tag(tag) => {
                let named = self.tagged.get(&(repository.clone(), tag.clone()))?;
                Some(Resolved {
                    digest: named.digest.clone(),
                    media_type: named.media_type.clone(),
                })
            }
            Reference::Digest(digest) => {
                let key = (repository.clone(), digest.clone());
                let tagged = || {
                    let named = self.tagged.iter();
                    named
                        .filter(|((named, _), found)| {
                            named == repository && found.digest == *digest
                        })
                        .map(|(_, found)| &found.media_type)
                        .next()
                };
                let media_type = self.untagged.get(&key).or_else(tagged)?.clone();
                Some(Resolved {
                    digest: digest.clone(),
                    media_type,
                })
            }
        }
    }
}
