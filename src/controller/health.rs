//! What the process knows about its own health: whether watches of the API server get through, and
//! whether reconciles come to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long all watches may fail before the process should be started anew.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long after its last error a watch still counts as failing. Longer than the pause between
/// two tries and the time after which a silent connection is given up, taken together: a watch
/// that came back is silent until something changes.
const FORGIVEN: Duration = Duration::from_secs(100);

/// When a watch began to fail, and when it failed last.
#[derive(Debug, Clone, Copy)]
struct Failing {
    first: Instant,
    last: Instant,
}

/// A watch: the kind, and which of those of this kind it is.
type Watch = (String, usize);

/// The health of all watches that ever got through or failed.
#[derive(Debug, Default)]
pub(super) struct WatchHealth {
    /// Absent where a watch gets through.
    watches: Mutex<BTreeMap<Watch, Option<Failing>>>,
}

/// How much longer than its time a reconcile may go on before the process should be started anew.
const OVERTIME: Duration = Duration::from_mins(1);

/// What is under way, by the moment at which it began.
#[derive(Debug)]
pub(super) struct WorkHealth {
    limit: Duration,
    begun: Mutex<BTreeSet<(Instant, u64)>>,
    count: AtomicU64,
}

/// One piece of work; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Work {
    health: Arc<WorkHealth>,
    key: (Instant, u64),
}

impl WorkHealth {
    /// Work that is to be given up after `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            begun: Mutex::default(),
            count: AtomicU64::default(),
        }
    }

    /// Notes that something begins at `now`.
    pub(super) fn begin(self: &Arc<Self>, now: Instant) -> Work {
        let key = (now, self.count.fetch_add(1, Ordering::Relaxed));
        self.begun().insert(key);
        Work {
            health: Arc::clone(self),
            key,
        }
    }

    /// Whether something goes on at `now` that should have been given up: nobody gives it up any
    /// more.
    pub(super) fn hangs(&self, now: Instant) -> bool {
        let begun = self.begun();
        let oldest = begun.first().map(|(begun, _)| *begun);
        oldest.is_some_and(|begun| now.duration_since(begun) > self.limit + OVERTIME)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.begun().is_empty()
    }

    fn begun(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.health.begun().remove(&self.key);
    }
}

impl WatchHealth {
    /// All kinds that are watched, and for how long a watch of each has been failing at `now`.
    pub(super) fn failing(&self, now: Instant) -> BTreeMap<String, Duration> {
        let mut kinds = BTreeMap::new();
        for ((kind, _), failing) in &*self.watches() {
            let failing = failing.filter(|found| !found.is_forgiven(now));
            let since = failing.map(|found| now.duration_since(found.first));
            let longest: &mut Duration = kinds.entry(kind.clone()).or_default();
            *longest = since.unwrap_or_default().max(*longest);
        }
        kinds
    }

    /// Notes that a watch of `kind` got something.
    pub(super) fn heard(&self, kind: &str, at: usize) {
        self.watches().insert((kind.to_owned(), at), None);
    }

    /// Notes that a watch of `kind` failed at `now`; says whether it did not fail before.
    pub(super) fn failed(&self, kind: &str, at: usize, now: Instant) -> bool {
        let mut watches = self.watches();
        let before = watches.entry((kind.to_owned(), at)).or_default();
        let before_that = before.filter(|found| !found.is_forgiven(now));
        *before = Some(Failing {
            first: before_that.map_or(now, |found| found.first),
            last: now,
        });
        before_that.is_none()
    }

    /// Whether each watch of each of `kinds` has been failing for too long at `now`. A single one
    /// that fails may lack its definition, or a right; all of them lack the API server.
    pub(super) fn is_cut_off<'a>(
        &self,
        mut kinds: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> bool {
        let watches = self.watches();
        kinds.all(|kind| {
            let mut of_kind = watches.iter().filter(|((found, _), _)| found == kind);
            let is_cut_off = |failing: &Option<Failing>| {
                failing.is_some_and(|found| {
                    now.duration_since(found.first) > PATIENCE && !found.is_forgiven(now)
                })
            };
            // Of one that is not there nothing is known yet.
            of_kind.clone().next().is_some() && of_kind.all(|(_, failing)| is_cut_off(failing))
        })
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<Watch, Option<Failing>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failing {
    fn is_forgiven(self, now: Instant) -> bool {
        now.duration_since(self.last) > FORGIVEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 2] = ["Resource", "Snapshot"];

    fn fail(health: &WatchHealth, kind: &str, begun: Instant, seconds: std::ops::Range<u64>) {
        for second in seconds.step_by(30) {
            health.failed(kind, 0, begun + Duration::from_secs(second));
        }
    }

    #[test]
    fn f18_all_watches_have_to_fail_for_two_minutes() {
        let (health, begun) = (WatchHealth::default(), Instant::now());
        let at = |second| begun + Duration::from_secs(second);
        fail(&health, "Resource", begun, 0..200);
        assert!(
            !health.is_cut_off(KINDS.into_iter(), at(200)),
            "one watch is not all"
        );
        fail(&health, "Snapshot", begun, 0..200);
        assert!(!health.is_cut_off(KINDS.into_iter(), at(110)), "not yet");
        assert!(health.is_cut_off(KINDS.into_iter(), at(200)));
        health.heard("Snapshot", 0);
        assert!(
            !health.is_cut_off(KINDS.into_iter(), at(200)),
            "one got through"
        );
    }

    #[test]
    fn watch_of_one_namespace_is_enough_to_be_healthy() {
        let (health, begun) = (WatchHealth::default(), Instant::now());
        for kind in KINDS {
            fail(&health, kind, begun, 0..200);
        }
        health.heard("Snapshot", 1);
        let at = begun + Duration::from_secs(200);
        assert!(!health.is_cut_off(KINDS.into_iter(), at));
        assert!(
            health.failing(at)["Snapshot"] > Duration::from_secs(100),
            "but it is told of"
        );
        assert!(health.failed("Snapshot", 1, at), "this is news");
        assert!(!health.failed("Snapshot", 1, at), "and this is not");
    }

    #[test]
    fn watch_that_came_back_silently_is_forgiven() {
        let (health, begun) = (WatchHealth::default(), Instant::now());
        for kind in KINDS {
            fail(&health, kind, begun, 0..200);
        }
        let later = begun + Duration::from_secs(400);
        assert!(!health.is_cut_off(KINDS.into_iter(), later));
    }

    #[test]
    fn time_of_failing_is_told_by_kind() {
        let (health, begun) = (WatchHealth::default(), Instant::now());
        health.heard("Snapshot", 0);
        fail(&health, "Resource", begun, 0..60);
        let at = |second| begun + Duration::from_secs(second);
        let told = |seconds| {
            let failing = health.failing(at(seconds));
            failing
                .into_iter()
                .map(|(kind, time)| (kind, time.as_secs()))
                .collect::<Vec<_>>()
        };
        let (resource, snapshot) = ("Resource".to_owned(), "Snapshot".to_owned());
        assert_eq!(told(60), [(resource.clone(), 60), (snapshot.clone(), 0)]);
        assert_eq!(told(200), [(resource, 0), (snapshot, 0)]);
    }

    #[test]
    fn f45_work_that_nobody_gives_up_is_noticed() {
        let begun = Instant::now();
        let health = Arc::new(WorkHealth::new(Duration::from_mins(10)));
        let late = begun + Duration::from_mins(12);
        let work = health.begin(begun);
        assert!(
            !health.hangs(begun + Duration::from_mins(10)),
            "it is about to be given up"
        );
        assert!(health.hangs(late));
        drop(work);
        assert!(!health.hangs(late));
    }

    #[test]
    fn idle_watch_is_healthy() {
        assert!(!WatchHealth::default().is_cut_off(KINDS.into_iter(), Instant::now()));
    }
}
