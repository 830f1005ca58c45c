//! What was written last, remembered with the generation that the object got by it.
//!
//! As long as the watch shows that generation, nobody has changed the object since, and writing it
//! again is left out. It is noted in the content store as well, so that a restart writes nothing
//! either.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::chain::chain;
use crate::oci::Digest;
use crate::store::Store;

/// How often is noted what was written.
const KEEPING: Duration = Duration::from_secs(30);

/// The note's name.
const NOTE: &str = "written";

/// All that is remembered, as it is noted.
type Note = Vec<(Key, Parts)>;

/// What identifies an object: plural of its kind, namespace, name.
type Key = (String, String, String);

/// What each field manager has written of an object: one that has several owners has a part for
/// each.
type Parts = BTreeMap<String, Written>;

/// What was written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    content: Digest,
    uid: Option<String>,
    generation: Option<i64>,
    /// The process before wrote it.
    #[serde(skip)]
    is_recalled: bool,
}

/// What was written so far, by object.
pub(in crate::controller) struct Memory {
    store: Store,
    written: Mutex<HashMap<Key, Parts>>,
}

impl Memory {
    /// Nothing so far; notes go into `store`.
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            written: Mutex::default(),
        }
    }

    /// Recalls what the process before has written.
    pub(in crate::controller) async fn recall(&self) {
        let store = self.store.clone();
        // What is not known is written again.
        let note = spawn_blocking(move || store.note::<Note>(NOTE)).await;
        let Ok(Ok(Some(mut note))) = note else { return };
        for written in note.iter_mut().flat_map(|(_, parts)| parts.values_mut()) {
            written.is_recalled = true;
        }
        self.lock().extend(note);
    }

    /// Notes what is written until `shutdown`, and what was written last then.
    pub(in crate::controller) async fn keep(self: Arc<Self>, shutdown: CancellationToken) {
        let mut kept = HashMap::new();
        loop {
            let is_last = timeout(KEEPING, shutdown.cancelled()).await.is_ok();
            let written = self.lock().clone();
            if written != kept {
                let note: Note = written.clone().into_iter().collect();
                let store = self.store.clone();
                match spawn_blocking(move || store.set_note(NOTE, &note)).await {
                    Ok(Ok(())) => kept = written,
                    Ok(Err(error)) => {
                        debug!(error = chain(&error), "failed to note what was written");
                    }
                    Err(panic) => debug!(%panic, "failed to note what was written"),
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Drops what is remembered of an object that is gone.
    pub(in crate::controller) fn forget(&self, kind: &ApiResource, gone: &ObjectMeta) {
        self.lock().remove(&key_of(kind, gone));
    }

    /// Remembers that the API server answered `after` when `manager` wrote `content`.
    pub(super) fn remember(
        &self,
        kind: &ApiResource,
        manager: &str,
        content: Digest,
        after: ObjectMeta,
    ) {
        let key = key_of(kind, &after);
        let written = Written {
            content,
            uid: after.uid,
            generation: after.generation,
            is_recalled: false,
        };
        let mut all = self.lock();
        let parts = all.entry(key).or_default();
        parts.insert(manager.to_owned(), written);
    }

    /// Whether what the watch shows of an object is not older than what was written last.
    pub(super) fn is_seen(&self, kind: &ApiResource, seen: &ObjectMeta) -> bool {
        let written = self.lock();
        let parts = written.get(&key_of(kind, seen)).into_iter().flatten();
        let mut generations = parts.map(|(_, written)| written.generation);
        generations.all(|generation| generation <= seen.generation)
    }

    /// Whether `content` is what `manager` has made of an object that the watch shows as `seen`.
    pub(super) fn is_as_written(
        &self,
        kind: &ApiResource,
        manager: &str,
        content: &Digest,
        seen: Option<&ObjectMeta>,
    ) -> bool {
        let Some(seen) = seen else { return false };
        let written = self.lock();
        let parts = written.get(&key_of(kind, seen));
        let written = parts.and_then(|parts| parts.get(manager));
        written.is_some_and(|written| {
            written.content == *content
                && written.uid == seen.uid
                && written.is_shown_by(seen.generation)
                && seen.deletion_timestamp.is_none()
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Parts>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// Whether a generation that the watch shows is this one. One below is the watch being late,
    /// but not for what the process before wrote: a cluster may have been restored since.
    fn is_shown_by(&self, generation: Option<i64>) -> bool {
        if self.is_recalled {
            return generation == self.generation;
        }
        generation <= self.generation
    }
}

fn key_of(kind: &ApiResource, meta: &ObjectMeta) -> Key {
    (
        kind.plural.clone(),
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recalled_counts_only_in_the_very_generation_that_was_written() {
        let mut written = Written {
            content: Digest::of("content"),
            uid: None,
            generation: Some(5),
            is_recalled: false,
        };
        assert!(written.is_shown_by(Some(5)));
        assert!(written.is_shown_by(Some(4)), "the watch is late");
        assert!(!written.is_shown_by(Some(6)), "somebody has changed it");
        written.is_recalled = true;
        assert!(written.is_shown_by(Some(5)));
        assert!(!written.is_shown_by(Some(4)), "the cluster was restored");
        assert!(!written.is_shown_by(Some(6)));
    }
}
