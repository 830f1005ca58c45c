//! Artifact sets: one artifact with all it consists of, as a tar file that may be compressed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use super::files::{self, Files};
use super::{Archive, ArchiveError, Inner};
use crate::archive::{EntryKind, Limits, Reader};
use crate::oci::{Digest, RepositoryName, json};
use crate::registry::{Error, Manifest, Reference, Result};
use crate::repository::{ArtifactTree, Artifacts as _, MOST_MANIFESTS, TreeError};

/// What lists the artifacts of a set; the second one is older.
const INDEXES: [&str; 2] = ["index.json", "artifact-descriptor.json"];

/// How large the index may be, in bytes.
const LARGEST_INDEX: u64 = 4 << 20;

/// Says which of several manifests is the artifact.
const MAIN: [&str; 2] = ["software.ocm/main", "cloud.gardener.ocm/main"];

#[derive(Deserialize)]
struct Document {
    manifests: Vec<Entry>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
}

/// Unpacks a set into a temporary folder and gives the digest of its artifact. Blobs are checked
/// against their digests when they are read.
pub(super) fn unpack(label: &str, source: impl Read) -> Result<(Archive, Digest), ArchiveError> {
    let wrong = |source| ArchiveError::Unpack { source };
    let spool = tempfile::tempdir().map_err(|source| ArchiveError::Spool { source })?;
    let blobs = spool.path().join(files::BLOBS);
    fs::create_dir(&blobs).map_err(|source| ArchiveError::Spool { source })?;
    let limits = Limits::default();
    let mut reader = Reader::open(source, &limits).map_err(wrong)?;
    let mut index = None;
    let mut seen = HashSet::new();
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        let EntryKind::File { size, .. } = entry.kind else {
            continue;
        };
        let name = entry.path.as_str();
        if INDEXES.contains(&name) {
            if size > LARGEST_INDEX || index.is_some() {
                return Err(refuse(name, "a set has one index, of at most 4 MiB"));
            }
            index = Some(reader.read_file(&entry.path).map_err(wrong)?);
        } else if let Some(rest) = name.strip_prefix("blobs/") {
            let digest: Digest = rest
                .replacen(['.', '/'], ":", 1)
                .parse()
                .map_err(|_| refuse(name, "its name is no digest"))?;
            if !seen.insert(digest.clone()) {
                return Err(refuse(name, "it comes twice"));
            }
            let path = blobs.join(files::file_name(&digest));
            let mut file =
                File::create_new(path).map_err(|source| ArchiveError::Spool { source })?;
            io::copy(&mut reader.body(), &mut file)
                .map_err(|source| ArchiveError::Read { source })?;
        }
    }
    if reader.dropped_links() > 0 {
        return Err(refuse(label, "it holds symbolic links"));
    }
    let index = index.ok_or(ArchiveError::Unknown)?;
    let main = main_of(&index)?;
    let archive = Archive {
        inner: Arc::new(Inner {
            path: PathBuf::from(label),
            files: Files::new(spool.path().to_owned()),
            index: Mutex::default(),
            made_up: HashMap::new(),
            output: None,
            _lock: None,
            _spool: Some(spool),
        }),
    };
    Ok((archive, main))
}

/// Reads every piece of the set, so that each is compared with its digest.
pub(super) async fn check(archive: &Archive, main: &Digest) -> Result<Manifest> {
    // All repositories of an archive share their content.
    let repository: RepositoryName = "set".parse().expect("a name by its grammar");
    let read = |digest| {
        let repository = &repository;
        async move {
            archive
                .manifest(repository, &Reference::Digest(digest))
                .await
        }
    };
    let top = read(main.clone()).await?;
    let tree = ArtifactTree::collect(top.clone(), read).await;
    let tree = tree.map_err(|error| match error {
        TreeError::Fetch(error) => error,
        TreeError::TooLarge => Error::Archive {
            reference: archive.name(),
            source: ArchiveError::TooManyManifests {
                limit: MOST_MANIFESTS,
            },
        },
    })?;
    for part in tree.blobs() {
        let opened = archive.blob(&repository, &part.digest, Some(part.size));
        let mut blob = opened.await?;
        while blob.chunk().await?.is_some() {}
    }
    Ok(top)
}

fn main_of(index: &[u8]) -> Result<Digest, ArchiveError> {
    let malformed = |problem: String| ArchiveError::Malformed {
        file: INDEXES[0],
        problem,
    };
    let document: Document =
        json::from_slice(index).map_err(|source| malformed(source.to_string()))?;
    let annotations = document.annotations.unwrap_or_default();
    if let Some(main) = MAIN.iter().find_map(|key| annotations.get(*key)) {
        let main: Digest = main
            .parse()
            .map_err(|source: crate::oci::Error| malformed(source.to_string()))?;
        let is_listed = document.manifests.iter().any(|entry| entry.digest == main);
        return is_listed
            .then_some(main)
            .ok_or_else(|| malformed("its main artifact is not listed".to_owned()));
    }
    match document.manifests.as_slice() {
        [only] => Ok(only.digest.clone()),
        several => Err(malformed(format!(
            "it lists {} artifacts and names none as the main one",
            several.len()
        ))),
    }
}

fn refuse(entry: &str, problem: &'static str) -> ArchiveError {
    ArchiveError::RefuseEntry {
        entry: entry.to_owned(),
        problem,
    }
}
