//! What a garbage collection may remove: a pure function of what lies in the store, what the
//! cluster needs, and what was used when.
//!
//! - Tags go with their Snapshot. A manifest that a tag no longer points to goes when no object of
//!   Flux names it.
//! - Derivations go with their namespace, grants with the object whose credentials they stand for.
//! - Content goes when no tag, derivation or grant points to it.
//! - Derivations and grants are cache. Where the store is larger than its limit, the longest unused
//!   go first, with the content that only they point to; never what a Snapshot needs.
//!
//! All of this only after the grace of [`Horizon`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use crate::oci::{Digest, Tag};
use crate::snapshot::Repository;

use super::live::{Live, LiveSnapshot};
use super::pointer::{TagRecord, holder_name};
use super::survey::{Pointer, Survey, on_disk};
use super::uses::{Horizon, Used};

/// What is to be removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Tags to remove.
    pub(super) tags: Vec<(Repository, Tag)>,
    /// Manifests to be forgotten by tags that stay.
    pub(super) previous: Vec<(Repository, Tag, BTreeSet<Digest>)>,
    /// Derivations and grants to remove.
    pub(super) records: Vec<PathBuf>,
    /// Content to remove, once the above is done.
    pub(super) blobs: Vec<Digest>,
    /// What is needed, and so counts as used now.
    pub(super) needed: Vec<Used>,
}

impl Plan {
    /// Whether nothing is to be removed.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
            && self.previous.is_empty()
            && self.records.is_empty()
            && self.blobs.is_empty()
    }
}

/// What the decisions are made by.
struct Judge<'a> {
    survey: &'a Survey,
    live: &'a Live,
    horizon: Horizon,
    last: &'a dyn Fn(&Used) -> u64,
    /// The manifests that live Snapshots say they have.
    said: BTreeSet<&'a Digest>,
    /// Content that kept tags and live Snapshots reach.
    marked: BTreeSet<Digest>,
    plan: Plan,
}

/// Decides; `last` gives the generation in which something was used last.
pub(super) fn plan(
    survey: &Survey,
    live: &Live,
    horizon: Horizon,
    last: &dyn Fn(&Used) -> u64,
    limit: Option<u64>,
) -> Plan {
    let mut judge = Judge {
        survey,
        live,
        horizon,
        last,
        said: live
            .snapshots
            .values()
            .filter_map(|snapshot| snapshot.manifest.as_ref())
            .collect(),
        marked: BTreeSet::new(),
        plan: Plan::default(),
    };
    judge.tags();
    judge.plan.needed = judge.needed();
    let kept = judge.pointers();
    judge.content(kept, limit);
    judge.plan
}

impl<'a> Judge<'a> {
    fn is_old(&self, used: &Used) -> bool {
        self.horizon.has_passed((self.last)(used))
    }

    /// Whether a manifest that its tag no longer points to may go. A Snapshot whose tag was moved,
    /// but that was not written since, still says the old one.
    fn is_superseded(&self, manifest: &Digest) -> bool {
        !self.live.deployed.contains(manifest)
            && !self.said.contains(manifest)
            && self.is_old(&Used::Blob(manifest.clone()))
    }

    /// Keeps or drops tags, and marks what the kept ones reach.
    fn tags(&mut self) {
        for (repository, tags) in &self.survey.repositories {
            let snapshot = self.live.snapshots.get(repository);
            let is_gone = snapshot.is_none() && self.is_old(&Used::Repository(repository.clone()));
            for (tag, record) in tags {
                if is_gone || !self.keeps(snapshot, tag, record.as_ref()) {
                    self.plan.tags.push((repository.clone(), tag.clone()));
                } else if let Some(record) = record {
                    let current = snapshot.and_then(|snapshot| snapshot.tag.as_ref());
                    let is_current = current.is_none_or(|current| current == tag);
                    self.keep(repository, tag, record, is_current);
                }
            }
        }
        for digest in self.live.snapshots.values().flat_map(LiveSnapshot::content) {
            self.marked.insert(digest.clone());
        }
    }

    /// Whether a tag stays in a repository that stays.
    fn keeps(
        &self,
        snapshot: Option<&LiveSnapshot>,
        tag: &Tag,
        record: Option<&TagRecord>,
    ) -> bool {
        // Without a Snapshot, or one that has a tag, nothing is known about this one.
        let current = snapshot.and_then(|snapshot| snapshot.tag.as_ref());
        if current.is_none_or(|current| current == tag) {
            return true;
        }
        record.is_some_and(|record| {
            record
                .manifests()
                .any(|manifest| !self.is_superseded(manifest))
        })
    }

    fn keep(&mut self, repository: &Repository, tag: &Tag, record: &TagRecord, is_current: bool) {
        let dropped: BTreeSet<Digest> = record
            .manifests()
            .skip(usize::from(is_current))
            .filter(|manifest| self.is_superseded(manifest))
            .cloned()
            .collect();
        for manifest in record.manifests().filter(|one| !dropped.contains(one)) {
            self.marked.insert(manifest.clone());
            let named = self.survey.named.get(manifest);
            self.marked.extend(named.into_iter().flatten().cloned());
        }
        if !dropped.is_empty() {
            let trimmed = (repository.clone(), tag.clone(), dropped);
            self.plan.previous.push(trimmed);
        }
    }

    /// What live Snapshots need, as opposed to what is only kept for the grace.
    fn needed(&self) -> Vec<Used> {
        let mut needed = Vec::new();
        for (repository, snapshot) in &self.live.snapshots {
            needed.push(Used::Repository(repository.clone()));
            needed.extend(snapshot.content().cloned().map(Used::Blob));
            let Some(tags) = self.survey.repositories.get(repository) else {
                continue;
            };
            let current = snapshot
                .tag
                .as_ref()
                .and_then(|tag| tags.get(tag)?.as_ref());
            if let Some(TagRecord { manifest, .. }) = current {
                needed.push(Used::Blob(manifest.clone()));
                let named = self.survey.named.get(manifest);
                needed.extend(named.into_iter().flatten().cloned().map(Used::Blob));
            }
        }
        needed
    }

    /// Keeps or drops derivations and grants; gives those that stay.
    fn pointers(&mut self) -> Vec<&'a Pointer> {
        let holders: BTreeSet<String> = self
            .live
            .holders
            .iter()
            .map(|uid| holder_name(uid))
            .collect();
        let survey = self.survey;
        let (kept, dropped): (Vec<&'a Pointer>, Vec<&'a Pointer>) =
            survey.pointers.iter().partition(|pointer| {
                let serves = match &pointer.holder {
                    Some(holder) => holders.contains(holder),
                    None => self.live.namespaces.contains(&pointer.namespace),
                };
                (serves && !pointer.is_damaged) || !self.is_old(&used(pointer))
            });
        let dropped = dropped.into_iter().map(|pointer| pointer.path.clone());
        self.plan.records.extend(dropped);
        kept
    }

    /// Drops content that nothing points to, then cache until the rest fits the limit.
    fn content(&mut self, kept: Vec<&'a Pointer>, limit: Option<u64>) {
        let mut pointed: HashMap<&'a Digest, usize> = HashMap::new();
        for target in kept.iter().flat_map(|pointer| &pointer.targets) {
            *pointed.entry(target).or_default() += 1;
        }
        let mut swept: BTreeMap<&'a Digest, u64> = BTreeMap::new();
        let survey = self.survey;
        for (digest, size) in &survey.blobs {
            if !self.marked.contains(digest)
                && !pointed.contains_key(digest)
                && self.is_old(&Used::Blob(digest.clone()))
            {
                swept.insert(digest, *size);
            }
        }
        if let Some(limit) = limit {
            let removed = (self.plan.tags.len() + self.plan.records.len()) as u64 * on_disk(1);
            let freed: u64 = swept.values().map(|size| on_disk(*size)).sum();
            let taken = self.survey.bytes().saturating_sub(freed + removed);
            self.evict(kept, pointed, taken.saturating_sub(limit), &mut swept);
        }
        self.plan.blobs.extend(swept.into_keys().cloned());
    }

    /// Gives up cache, the longest unused first, until `excess` bytes are free.
    fn evict(
        &mut self,
        kept: Vec<&'a Pointer>,
        mut pointed: HashMap<&'a Digest, usize>,
        mut excess: u64,
        swept: &mut BTreeMap<&'a Digest, u64>,
    ) {
        let mut candidates: Vec<(u64, Reverse<u64>, &Pointer)> = kept
            .into_iter()
            .filter(|pointer| self.is_cache(pointer))
            .map(|pointer| {
                let last = (self.last)(&used(pointer));
                (last, Reverse(self.weight(pointer)), pointer)
            })
            .collect();
        // Of those as old as each other, the largest: the fewest things are done again.
        candidates.sort_by(|one, other| {
            (one.0, one.1, &one.2.path).cmp(&(other.0, other.1, &other.2.path))
        });
        for (_, _, pointer) in candidates {
            if excess == 0 {
                break;
            }
            self.plan.records.push(pointer.path.clone());
            excess = excess.saturating_sub(on_disk(1));
            for target in &pointer.targets {
                let Some(count) = pointed.get_mut(target) else {
                    continue;
                };
                *count -= 1;
                let Some(size) = self.survey.blobs.get(target).filter(|_| *count == 0) else {
                    continue;
                };
                if !self.marked.contains(target) && self.is_old(&Used::Blob(target.clone())) {
                    swept.insert(target, *size);
                    excess = excess.saturating_sub(on_disk(*size));
                }
            }
        }
    }

    /// Whether giving up a record makes room, and hurts nobody who is in the middle of something.
    fn is_cache(&self, pointer: &Pointer) -> bool {
        let is_there = |digest: &&Digest| self.survey.blobs.contains_key(*digest);
        let mut targets = pointer.targets.iter().filter(is_there).peekable();
        // What leads to a live Snapshot's content saves more than the block it takes.
        let is_needed = targets.peek().is_some() && targets.all(|one| self.marked.contains(one));
        !is_needed && self.is_old(&used(pointer))
    }

    fn weight(&self, pointer: &Pointer) -> u64 {
        let sizes = pointer
            .targets
            .iter()
            .filter_map(|one| self.survey.blobs.get(one));
        sizes.sum()
    }
}

fn used(pointer: &Pointer) -> Used {
    Used::Record(pointer.path.clone())
}
