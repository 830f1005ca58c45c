//! What the process knows about its own health: whether watches of the API server get through.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
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

/// The health of all watches, by kind. One that never failed is not in it.
#[derive(Debug, Default)]
pub(super) struct WatchHealth {
    failing: Mutex<HashMap<String, Failing>>,
}

impl WatchHealth {
    /// Notes that the watch of `kind` got something.
    pub(super) fn heard(&self, kind: &str) {
        self.failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(kind);
    }

    /// Notes that the watch of `kind` failed at `now`.
    pub(super) fn failed(&self, kind: &str, now: Instant) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = failing
            .get(kind)
            .is_none_or(|found| now.duration_since(found.last) > FORGIVEN);
        if is_new {
            failing.insert(
                kind.to_owned(),
                Failing {
                    first: now,
                    last: now,
                },
            );
        } else if let Some(found) = failing.get_mut(kind) {
            found.last = now;
        }
    }

    /// Whether each of `kinds` has been failing for too long at `now`. A single one that fails may
    /// lack its definition; all of them lack the API server.
    pub(super) fn is_cut_off<'a>(
        &self,
        mut kinds: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> bool {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.all(|kind| {
            failing.get(kind).is_some_and(|found| {
                now.duration_since(found.first) > PATIENCE
                    && now.duration_since(found.last) <= FORGIVEN
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 2] = ["Resource", "Snapshot"];

    fn fail(health: &WatchHealth, kind: &str, begun: Instant, seconds: std::ops::Range<u64>) {
        for second in seconds.step_by(30) {
            health.failed(kind, begun + Duration::from_secs(second));
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
        health.heard("Snapshot");
        assert!(
            !health.is_cut_off(KINDS.into_iter(), at(200)),
            "one got through"
        );
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
    fn idle_watch_is_healthy() {
        assert!(!WatchHealth::default().is_cut_off(KINDS.into_iter(), Instant::now()));
    }
}
