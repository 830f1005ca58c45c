//! What is remembered of objects between their reconciles, in this process alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

use crate::controller::outcome::Note;

/// Kind, namespace and name.
pub(super) type Key = (&'static str, String, String);

/// What is remembered of an object between its reconciles.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Failures in a row.
    pub(super) failures: u32,
    /// Since when the object waits, if it does.
    pub(super) waiting_since: Option<Instant>,
    /// The resource version that was seen when a status was last written, and that status: what
    /// the watch shows may be older than what was written.
    pub(super) written: Option<(Option<String>, Value)>,
    /// What the last run that came to an end had to say besides.
    pub(super) notes: Option<Vec<Note>>,
}

/// What is remembered of all objects, by kind, namespace and name.
#[derive(Debug, Default)]
pub(in crate::controller) struct Memories(Mutex<HashMap<Key, Memory>>);

impl Memories {
    pub(super) fn with<T>(&self, key: &Key, act: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(memories.entry(key.clone()).or_default())
    }

    pub(super) fn forget(&self, key: &Key) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}
