//! What can be measured from outside: reconciles by kind, registries by host, the content store. Labels are bounded;
//! no object's name is one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;
use crate::registry::{HostCount, Transport};
use crate::serve::Refusals;
use crate::store::{CacheStatistics, Statistics, Store};

/// In front of every name.
const PREFIX: &str = "ocm_controller";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabel {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    verb: &'static str,
    code: String,
}

/// What was counted elsewhere, read when somebody asks.
#[derive(Clone)]
pub struct Sources {
    /// Requests to registries.
    pub transport: Transport,
    /// The content store.
    pub store: Store,
    /// Connections to the registry of this program that came to nothing.
    pub refusals: Arc<Refusals>,
    /// What another registry did not delete.
    pub undeleted: Arc<AtomicU64>,
}

/// What became of an event that was to be posted to `--events-addr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notified {
    /// It was taken.
    Sent,
    /// It was not taken.
    Failed,
    /// Too many were waiting.
    Dropped,
}

/// A reconcile that is under way; it ends when this is dropped.
#[derive(Debug)]
pub struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

type Durations = Family<KindLabel, Histogram, fn() -> Histogram>;

/// All metrics of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<VerdictLabel, Counter>,
    durations: Durations,
    under_way: Family<KindLabel, Gauge>,
    queues: Family<KindLabel, Gauge>,
    requests: Family<RequestLabel, Counter>,
    certificate_expiry: Family<HostLabel, Gauge>,
    leader: Gauge,
    failing_watches: Family<WatchLabel, Gauge>,
    notifications: Family<ResultLabel, Counter>,
    collections: Histogram,
    failed_collections: Counter,
}

impl Metrics {
    /// Metrics of this process, with what `sources` have counted.
    pub fn new(sources: Sources) -> Self {
        let reconciles: Family<VerdictLabel, Counter> = Family::default();
        let durations: Durations = Family::new_with_constructor(seconds);
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register(
            "reconciles",
            "Reconciles by kind and what they came to",
            reconciles.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "How long reconciles took, by kind",
            durations.clone(),
        );
        let under_way: Family<KindLabel, Gauge> = Family::default();
        registry.register(
            "objects_under_way",
            "Reconciles that go on now, by kind",
            under_way.clone(),
        );
        let queues: Family<KindLabel, Gauge> = Family::default();
        registry.register(
            "queue_depth",
            "Objects that wait to be looked at, by kind",
            queues.clone(),
        );
        let requests: Family<RequestLabel, Counter> = Family::default();
        registry.register(
            "api_requests",
            "Requests to the API server, by what they wanted and what was answered",
            requests.clone(),
        );
        let certificate_expiry: Family<HostLabel, Gauge> = Family::default();
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate that the registry shows expires",
            certificate_expiry.clone(),
        );
        let leader = Gauge::default();
        registry.register(
            "leader",
            "Whether this process is the one that acts",
            leader.clone(),
        );
        let failing_watches: Family<WatchLabel, Gauge> = Family::default();
        registry.register(
            "watch_failing_seconds",
            "For how long the watch of a kind has been failing",
            failing_watches.clone(),
        );
        let notifications: Family<ResultLabel, Counter> = Family::default();
        registry.register(
            "notifications",
            "Events posted to --events-addr, and what became of them",
            notifications.clone(),
        );
        let (collections, failed_collections) = (seconds(), Counter::default());
        registry.register(
            "garbage_collection_seconds",
            "How long garbage collections took",
            collections.clone(),
        );
        registry.register(
            "garbage_collection_failures",
            "Garbage collections that failed",
            failed_collections.clone(),
        );
        let Sources {
            transport,
            store,
            refusals,
            undeleted,
        } = sources;
        registry.register_collector(Box::new(Registries { transport }));
        registry.register_collector(Box::new(Content { store }));
        registry.register_collector(Box::new(Endpoints {
            refusals,
            undeleted,
        }));
        Self {
            registry: Arc::new(registry),
            reconciles,
            durations,
            under_way,
            queues,
            requests,
            certificate_expiry,
            leader,
            failing_watches,
            notifications,
            collections,
            failed_collections,
        }
    }

    /// Counts one reconcile of an object of `kind` that came to `reason`.
    pub fn reconciled(&self, kind: &'static str, reason: Reason, took: Duration) {
        let verdict = VerdictLabel {
            kind,
            reason: reason.as_str(),
        };
        self.reconciles.get_or_create(&verdict).inc();
        self.durations
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    /// Counts a reconcile of an object of `kind` as under way, until the answer is dropped.
    pub fn begun(&self, kind: &'static str) -> UnderWay {
        let gauge = self.under_way.get_or_create(&KindLabel { kind }).clone();
        gauge.inc();
        UnderWay(gauge)
    }

    /// The gauge of how many objects of `kind` wait to be looked at.
    pub fn queue(&self, kind: &'static str) -> Gauge {
        self.queues.get_or_create(&KindLabel { kind }).clone()
    }

    /// Counts a request to the API server; without a code where there was no answer.
    pub fn asked(&self, verb: &'static str, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let label = RequestLabel { verb, code };
        self.requests.get_or_create(&label).inc();
    }

    /// Sets when the certificate expires that the registry shows as `host`.
    pub fn set_certificate_expiry(&self, host: &str, expires: SystemTime) {
        let since = expires.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let host = host.to_owned();
        let gauge = self.certificate_expiry.get_or_create(&HostLabel { host });
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Sets whether this process is the one that acts.
    pub fn set_leader(&self, acts: bool) {
        self.leader.set(i64::from(acts));
    }

    /// Sets for how long the watch of each kind has been failing.
    pub fn set_failing_watches(&self, watches: impl IntoIterator<Item = (String, Duration)>) {
        for (kind, time) in watches {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            let gauge = self.failing_watches.get_or_create(&WatchLabel { kind });
            gauge.set(seconds);
        }
    }

    /// Counts an event that was to be posted.
    pub fn notified(&self, result: Notified) {
        let result = match result {
            Notified::Sent => "sent",
            Notified::Failed => "failed",
            Notified::Dropped => "dropped",
        };
        self.notifications
            .get_or_create(&ResultLabel { result })
            .inc();
    }

    /// Counts one garbage collection.
    pub fn collected(&self, took: Duration, has_succeeded: bool) {
        self.collections.observe(took.as_secs_f64());
        if !has_succeeded {
            self.failed_collections.inc();
        }
    }

    /// All of them in the `OpenMetrics` text format.
    pub fn render(&self) -> String {
        let mut rendered = String::new();
        // Writing to a text does not fail; a part of the metrics is better than none all the same.
        let _ = text::encode(&mut rendered, &self.registry);
        rendered
    }
}

/// From a millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

/// Name, help, and which count it is.
type Column = (&'static str, &'static str, fn(&HostCount) -> u64);

/// What the transport has counted, read when somebody asks.
struct Registries {
    transport: Transport,
}

impl fmt::Debug for Registries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Registries")
    }
}

impl Collector for Registries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.transport.counters().snapshot();
        let columns: [Column; 4] = [
            (
                "registry_requests",
                "Requests to registries by host and kind",
                |count| count.requests,
            ),
            (
                "registry_failures",
                "Requests that failed, by host and kind",
                |count| count.failures,
            ),
            (
                "registry_bytes",
                "Bytes received, by host and kind",
                |count| count.bytes,
            ),
            (
                "registry_sent_bytes",
                "Bytes sent, by host and kind",
                |count| count.sent,
            ),
        ];
        for (name, help, value) in columns {
            let mut column = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for ((host, kind), count) in &counts {
                let labels = [("host", host.as_str()), ("kind", kind.as_str())];
                let counter = ConstCounter::new(value(count));
                counter.encode(column.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What the content store has counted, read when somebody asks.
#[derive(Debug)]
struct Content {
    store: Store,
}

impl Collector for Content {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Statistics {
            blobs,
            bytes,
            repositories,
            limit,
            swept_blobs,
            swept_bytes,
            quarantined,
            reread_bytes,
            rereads,
            content,
            results,
            free,
        } = self.store.statistics();
        let gauges = [
            ("store_blobs", "Blobs in the content store", Some(blobs)),
            (
                "store_bytes",
                "Bytes that the content store takes",
                Some(bytes),
            ),
            (
                "store_snapshots",
                "Snapshots that are served",
                Some(repositories),
            ),
            ("store_limit_bytes", "Bytes that it may take", limit),
            ("store_free_bytes", "Bytes that can still be written", free),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let column = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(column)?;
        }
        let counters = [
            (
                "store_swept_blobs",
                "Blobs that were removed as garbage",
                swept_blobs,
            ),
            ("store_swept_bytes", "Bytes of these", swept_bytes),
            ("store_quarantined", "Blobs that were damaged", quarantined),
            (
                "store_reread_bytes",
                "Bytes of content that were read again to see whether they are right",
                reread_bytes,
            ),
            (
                "store_rereads",
                "How often all content was read again",
                rereads,
            ),
        ];
        for (name, help, value) in counters {
            let column = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(column)?;
        }
        let lookups: [Lookups; 3] = [
            (
                "store_hits",
                "Content and results that were in the store",
                |found| found.hits,
            ),
            ("store_hit_bytes", "Bytes of these", |found| found.bytes),
            (
                "store_misses",
                "Content and results that had to be fetched or made",
                |found| found.misses,
            ),
        ];
        for (name, help, value) in lookups {
            let mut column = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (what, found) in [("content", content), ("result", results)] {
                let counter = ConstCounter::new(value(&found));
                counter.encode(column.encode_family(&[("what", what)])?)?;
            }
        }
        Ok(())
    }
}

/// Name, help, and which count it is.
type Lookups = (&'static str, &'static str, fn(&CacheStatistics) -> u64);

/// What the registries for snapshots have counted, read when somebody asks.
#[derive(Debug)]
struct Endpoints {
    refusals: Arc<Refusals>,
    undeleted: Arc<AtomicU64>,
}

impl Collector for Endpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters = [
            (
                "endpoint_failed_handshakes",
                "Connections to the registry whose TLS handshake failed",
                self.refusals.handshakes(),
            ),
            (
                "endpoint_refused_connections",
                "Connections to the registry that were one too many",
                self.refusals.connections(),
            ),
            (
                "outside_undeleted_manifests",
                "Manifests that another registry did not delete",
                self.undeleted.load(Ordering::Relaxed),
            ),
        ];
        for (name, help, value) in counters {
            let column = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(column)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Settings;

    #[test]
    fn reconciles_are_counted_by_kind_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let metrics = Metrics::new(Sources {
            transport: Transport::new(Settings::default()).unwrap(),
            store,
            refusals: Arc::default(),
            undeleted: Arc::default(),
        });
        metrics.reconciled(
            "resource",
            Reason::GetResourceFailed,
            Duration::from_millis(2),
        );
        metrics.reconciled("resource", Reason::Succeeded, Duration::from_millis(2));
        metrics.reconciled("resource", Reason::Succeeded, Duration::from_millis(2));
        let rendered = metrics.render();
        let expected = r#"ocm_controller_reconciles_total{kind="resource",reason="Succeeded"} 2"#;
        assert!(rendered.contains(expected), "{rendered}");
        assert!(rendered.contains(r#"ocm_controller_reconcile_seconds_count{kind="resource"} 3"#));
        assert!(rendered.ends_with("# EOF\n"));
    }
}
