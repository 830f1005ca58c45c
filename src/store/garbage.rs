//! Garbage collection: marks what the cluster needs, and removes what nothing points to.

use std::path::Path;

use crate::oci::{Digest, Tag};
use crate::snapshot::Repository;

use super::blob::TRASH;
use super::live::Live;
use super::plan::{self, Plan};
use super::pointer::TagRecord;
use super::survey::Survey;
use super::uses::{Horizon, Used};
use super::{Error, Result, Store};

/// One garbage collection, from its beginning.
///
/// What it needs to know of the cluster must be asked after it began: whoever published something
/// before has written its Snapshot by then, or still holds it.
#[derive(Debug)]
pub struct Collection {
    store: Store,
    horizon: Horizon,
}

/// What a garbage collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tags, with their repository or since they moved.
    pub tags: u64,
    /// Derivations and grants.
    pub records: u64,
    /// Blobs.
    pub blobs: u64,
    /// The bytes of these.
    pub bytes: u64,
}

impl Store {
    /// Begins a garbage collection; unlinks what the one before has swept.
    pub fn collect(&self) -> Result<Collection> {
        self.clear(TRASH)?;
        Ok(Collection {
            store: self.clone(),
            horizon: self.uses().advance(),
        })
    }
}

impl Collection {
    /// What may be removed if `live` is all that the cluster needs, to keep within `limit` bytes.
    ///
    /// Removes nothing. What `live` needs counts as used.
    pub fn plan(&self, live: &Live, limit: Option<u64>) -> Result<Plan> {
        let survey = self.store.survey()?;
        let uses = self.store.uses();
        let plan = plan::plan(&survey, live, self.horizon, &|used| uses.last(used), limit);
        for used in &plan.needed {
            uses.touch(used.clone());
        }
        let is_there = |used: &Used| match used {
            Used::Blob(digest) => survey.blobs.contains_key(digest),
            Used::Repository(repository) => survey.repositories.contains_key(repository),
            // A record without a use counts as used at the start, so it has to be remembered.
            Used::Record(path) => self.store.disk().look(path).is_ok_and(|it| it.is_some()),
        };
        uses.retain(self.horizon, is_there);
        self.store.inner.counts.surveyed(&Sizes::of(&survey), limit);
        Ok(plan)
    }

    /// Removes what `plan` says, unless it was used since: pointers first, then content.
    pub fn sweep(&self, plan: &Plan) -> Result<Swept> {
        let mut swept = Swept::default();
        self.sweep_tags(plan, &mut swept)?;
        for path in &plan.records {
            let last = self.store.uses().last(&Used::Record(path.clone()));
            if self.horizon.has_passed(last) && self.store.remove_record(path)? {
                swept.records += 1;
                self.clear_above(path)?;
            }
        }
        for digest in &plan.blobs {
            let bytes = self
                .store
                .trash(digest, |last| self.horizon.has_passed(last))?;
            if let Some(bytes) = bytes {
                swept.blobs += 1;
                swept.bytes += bytes;
            }
        }
        self.store.inner.counts.swept(&swept);
        Ok(swept)
    }

    fn sweep_tags(&self, plan: &Plan, swept: &mut Swept) -> Result<()> {
        let store = &self.store;
        for (repository, tag) in &plan.tags {
            let _turn = store.tagging(repository);
            let path = store.tag_path(repository, tag);
            // Published again since the plan was made: the next collection looks anew.
            if !self.is_unused(repository, tag, plan)? {
                continue;
            }
            if store.remove_record(&path)? {
                swept.tags += 1;
                self.clear_above(&path)?;
            }
        }
        for (repository, tag, dropped) in &plan.previous {
            let _turn = store.tagging(repository);
            let Some(mut record) = store.tag(repository, tag)? else {
                continue;
            };
            let old = |digest: &Digest| {
                let last = store.uses().last(&Used::Blob(digest.clone()));
                dropped.contains(digest) && self.horizon.has_passed(last)
            };
            let kept = record.manifests().filter(|digest| !old(digest));
            let mut kept = kept.cloned().collect::<Vec<_>>().into_iter();
            let Some(manifest) = kept.next() else {
                continue;
            };
            if manifest != record.manifest {
                // A tag that its Snapshot has left, and of which Flux still pulls an older state.
                record.size = store.contains(&manifest)?.unwrap_or_default();
            }
            record.manifest = manifest;
            record.previous = kept.collect();
            store.set_record(store.tag_path(repository, tag), &record)?;
        }
        Ok(())
    }

    /// Whether a tag was not written since the plan was made. The repository of a live Snapshot
    /// counts as used by the plan itself; there the manifests tell.
    fn is_unused(&self, repository: &Repository, tag: &Tag, plan: &Plan) -> Result<bool> {
        let is_old = |used: &Used| self.horizon.has_passed(self.store.uses().last(used));
        let used = Used::Repository(repository.clone());
        if !plan.needed.contains(&used) {
            return Ok(is_old(&used));
        }
        let record = self.store.tag(repository, tag)?;
        let mut manifests = record.iter().flat_map(TagRecord::manifests);
        Ok(manifests.all(|manifest| is_old(&Used::Blob(manifest.clone()))))
    }

    /// Removes the folders above a removed record that have become empty.
    fn clear_above(&self, path: &Path) -> Result<()> {
        let refs = self.store.disk().path("refs");
        let folders = path.ancestors().skip(1);
        // `refs/<kind>` stays.
        for folder in folders.take_while(|folder| folder.parent() != Some(&refs)) {
            let removed = self.store.disk().remove_folder(folder);
            if !removed.map_err(Error::access("remove", folder))? {
                break;
            }
        }
        Ok(())
    }
}

/// What a survey comes to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    pub(super) repositories: u64,
}

impl Sizes {
    fn of(survey: &Survey) -> Self {
        Self {
            blobs: survey.blobs.len() as u64,
            bytes: survey.bytes(),
            repositories: survey.repositories.len() as u64,
        }
    }
}
