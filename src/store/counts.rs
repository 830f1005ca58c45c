//! What the store counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;
use super::garbage::{Sizes, Swept};

/// Counts that go up, and what the last garbage collection saw.
#[derive(Debug, Default)]
pub(super) struct Counts {
    blobs: AtomicU64,
    bytes: AtomicU64,
    repositories: AtomicU64,
    /// 0 where there is none.
    limit: AtomicU64,
    swept_blobs: AtomicU64,
    swept_bytes: AtomicU64,
    quarantined: AtomicU64,
    reread_bytes: AtomicU64,
    rereads: AtomicU64,
    content: Found,
    results: Found,
}

/// How often something was there already.
#[derive(Debug, Default)]
struct Found {
    hits: AtomicU64,
    bytes: AtomicU64,
    misses: AtomicU64,
}

/// What is looked for in the store before it is fetched or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// Manifests and blobs of a registry.
    Content,
    /// Results of steps.
    Result,
}

/// How often something was there already since the start, and how often it was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// How often it was there.
    pub hits: u64,
    /// The bytes that were so neither fetched nor made.
    pub bytes: u64,
    /// How often it was not.
    pub misses: u64,
}

/// What a store has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The blobs that the last garbage collection saw.
    pub blobs: u64,
    /// The bytes that the store took then, in whole blocks.
    pub bytes: u64,
    /// The repositories that it saw, one for each Snapshot.
    pub repositories: u64,
    /// The bytes that it may take before it gives up what no Snapshot needs.
    pub limit: Option<u64>,
    /// The blobs that garbage collection removed since the start.
    pub swept_blobs: u64,
    /// The bytes of these.
    pub swept_bytes: u64,
    /// The damaged blobs that were set aside since the start.
    pub quarantined: u64,
    /// The bytes of content that were read again since the start, to see whether they are right.
    pub reread_bytes: u64,
    /// How often all content was read again.
    pub rereads: u64,
    /// Content that had to be fetched, or was there.
    pub content: CacheStatistics,
    /// Results that had to be made, or were there.
    pub results: CacheStatistics,
    /// The bytes that can still be written, where the file system tells.
    pub free: Option<u64>,
}

impl Counts {
    pub(super) fn surveyed(&self, sizes: &Sizes, limit: Option<u64>) {
        self.limit
            .store(limit.unwrap_or_default(), Ordering::Relaxed);
        self.blobs.store(sizes.blobs, Ordering::Relaxed);
        self.bytes.store(sizes.bytes, Ordering::Relaxed);
        self.repositories
            .store(sizes.repositories, Ordering::Relaxed);
    }

    pub(super) fn swept(&self, swept: &Swept) {
        self.swept_blobs.fetch_add(swept.blobs, Ordering::Relaxed);
        self.swept_bytes.fetch_add(swept.bytes, Ordering::Relaxed);
        self.blobs.fetch_sub(swept.blobs, Ordering::Relaxed);
    }

    pub(super) fn quarantined(&self) {
        self.quarantined.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reread(&self, bytes: u64, is_done: bool) {
        self.reread_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rereads
            .fetch_add(u64::from(is_done), Ordering::Relaxed);
    }

    fn found(&self, what: Cached) -> &Found {
        match what {
            Cached::Content => &self.content,
            Cached::Result => &self.results,
        }
    }
}

impl Found {
    fn statistics(&self) -> CacheStatistics {
        CacheStatistics {
            hits: self.hits.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl Store {
    /// Counts that something was looked for: it was there, with so many bytes, or it was not.
    pub fn count_lookup(&self, what: Cached, found: Option<u64>) {
        let counts = self.inner.counts.found(what);
        match found {
            Some(bytes) => {
                counts.hits.fetch_add(1, Ordering::Relaxed);
                counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            None => {
                counts.misses.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        let counts = &self.inner.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Statistics {
            blobs: read(&counts.blobs),
            bytes: read(&counts.bytes),
            repositories: read(&counts.repositories),
            limit: Some(read(&counts.limit)).filter(|limit| *limit > 0),
            swept_blobs: read(&counts.swept_blobs),
            swept_bytes: read(&counts.swept_bytes),
            quarantined: read(&counts.quarantined),
            reread_bytes: read(&counts.reread_bytes),
            rereads: read(&counts.rereads),
            content: counts.content.statistics(),
            results: counts.results.statistics(),
            free: self.disk().free().ok(),
        }
    }
}
