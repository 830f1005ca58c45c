//! What went over the wire, for the metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How many hosts are counted by name; what comes later is counted as `other`.
const HOSTS: usize = 256;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// A page of a tag list.
    Tags,
    /// HEAD of a manifest.
    Resolve,
    /// GET of a manifest.
    Manifest,
    /// GET of a blob.
    Blob,
    /// A token from a registry's token server.
    Token,
    /// An artifact that is named by its URL.
    Artifact,
    /// HEAD of a blob.
    BlobStatus,
    /// A step of an upload of a blob.
    Upload,
    /// PUT of a manifest.
    Push,
    /// DELETE of a manifest.
    Delete,
}

impl RequestKind {
    /// The value of a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Resolve => "resolve",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Token => "token",
            Self::Artifact => "artifact",
            Self::BlobStatus => "blob_status",
            Self::Upload => "upload",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// The counts of one host and one kind of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCount {
    /// Requests sent, each try and each redirect counted.
    pub requests: u64,
    /// Requests that got no answer, or 429, or 5xx.
    pub failures: u64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// Bytes of bodies sent, each try counted.
    pub sent: u64,
    /// How often the host asked to be left alone.
    pub throttles: u64,
    /// For how long in all, in milliseconds.
    pub throttled_millis: u64,
}

/// Counts by host and kind of request. Only grows.
#[derive(Debug, Default)]
pub struct Counters {
    counts: Mutex<BTreeMap<(String, RequestKind), HostCount>>,
}

impl Counters {
    /// A copy of all counts.
    pub fn snapshot(&self) -> BTreeMap<(String, RequestKind), HostCount> {
        self.lock().clone()
    }

    pub(super) fn request(&self, host: &str, kind: RequestKind, failed: bool) {
        self.add(host, kind, |count| {
            count.requests += 1;
            count.failures += u64::from(failed);
        });
    }

    pub(super) fn received(&self, host: &str, kind: RequestKind, bytes: u64) {
        self.add(host, kind, |count| count.bytes += bytes);
    }

    pub(super) fn sent(&self, host: &str, kind: RequestKind, bytes: u64) {
        if bytes > 0 {
            self.add(host, kind, |count| count.sent += bytes);
        }
    }

    pub(super) fn throttled(&self, host: &str, kind: RequestKind, wait: Duration) {
        self.add(host, kind, |count| {
            count.throttles += 1;
            count.throttled_millis += u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        });
    }

    fn add(&self, host: &str, kind: RequestKind, change: impl FnOnce(&mut HostCount)) {
        let mut counts = self.lock();
        let mut key = (host.to_owned(), kind);
        // Hosts come from redirects as well: a registry must not fill the memory with names.
        if !counts.contains_key(&key) && counts.len() >= HOSTS {
            "other".clone_into(&mut key.0);
        }
        change(counts.entry(key).or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, RequestKind), HostCount>> {
        self.counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn number_of_counted_hosts_is_bounded() {
        let counters = Counters::default();
        for number in 0..HOSTS + 10 {
            counters.request(&format!("h{number}.example.org"), RequestKind::Blob, false);
        }
        let counts = counters.snapshot();
        assert_eq!(counts.len(), HOSTS + 1);
        assert_eq!(
            counts[&("other".to_owned(), RequestKind::Blob)].requests,
            10
        );
    }
}
