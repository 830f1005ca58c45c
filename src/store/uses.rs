//! What is in use, counted in generations: each garbage collection begins a new one.
//!
//! Never in time: a clock that jumps, or a file's date, must not make fresh content old. What a
//! generation has not seen used is not removed before [`GRACE`] generations have passed, and not
//! while work goes on that began before ([`Hold`]).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oci::Digest;
use crate::snapshot::Repository;

/// How many generations something lies unused before it may be removed.
const GRACE: u64 = 2;

/// What can be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Used {
    /// Content.
    Blob(Digest),
    /// The tags of a repository.
    Repository(Repository),
    /// A derivation or grant, by its path below the root.
    Record(PathBuf),
}

/// The last use of everything that this process knows a use of.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    generation: u64,
    last: HashMap<Used, u64>,
    /// How many holds began in which generation.
    holds: BTreeMap<u64, usize>,
}

/// Work under way: what it uses stays until it ends, also what nothing points to yet.
#[derive(Debug)]
pub struct Hold {
    uses: Arc<Uses>,
    generation: u64,
}

/// What is old, as of the beginning of a garbage collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    pub(super) generation: u64,
    /// The generation of the oldest work under way.
    oldest_hold: u64,
}

impl Horizon {
    /// Whether what was used last in generation `last` may be removed.
    pub(super) fn has_passed(&self, last: u64) -> bool {
        last < self.oldest_hold && last.saturating_add(GRACE) <= self.generation
    }
}

impl Uses {
    /// Notes a use.
    pub(super) fn touch(&self, used: Used) {
        let mut inner = self.lock();
        let generation = inner.generation;
        inner.last.insert(used, generation);
    }

    /// The generation of the last use. What was never used in this process counts as used when it
    /// began: after a restart the grace begins anew.
    pub(super) fn last(&self, used: &Used) -> u64 {
        self.lock().last.get(used).copied().unwrap_or_default()
    }

    /// Begins work that needs what it uses to stay.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut inner = self.lock();
        let generation = inner.generation;
        *inner.holds.entry(generation).or_default() += 1;
        Hold {
            uses: Arc::clone(self),
            generation,
        }
    }

    /// Begins a new generation.
    pub(super) fn advance(&self) -> Horizon {
        let mut inner = self.lock();
        let oldest_hold = inner.holds.keys().next().copied();
        inner.generation += 1;
        Horizon {
            generation: inner.generation,
            oldest_hold: oldest_hold.unwrap_or(inner.generation),
        }
    }

    /// Forgets what was not there, so that the memory does not grow with all that ever was. What is
    /// not old may only not have been there yet.
    pub(super) fn retain(&self, horizon: Horizon, was_there: impl Fn(&Used) -> bool) {
        self.lock()
            .last
            .retain(|used, last| !horizon.has_passed(*last) || was_there(used));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.uses.lock();
        if let Some(count) = inner.holds.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                inner.holds.remove(&self.generation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(text: &str) -> Used {
        Used::Blob(Digest::of(text))
    }

    #[test]
    fn f38_what_was_used_stays_for_two_generations_and_no_clock_is_asked() {
        let uses = Arc::new(Uses::default());
        uses.advance();
        uses.touch(blob("a"));
        let last = uses.last(&blob("a"));
        assert!(!uses.advance().has_passed(last));
        assert!(uses.advance().has_passed(last));
    }

    #[test]
    fn what_a_hold_used_stays_until_it_ends() {
        let uses = Arc::new(Uses::default());
        let hold = uses.hold();
        uses.advance();
        uses.touch(blob("a"));
        for _ in 0..5 {
            assert!(!uses.advance().has_passed(uses.last(&blob("a"))));
        }
        drop(hold);
        assert!(uses.advance().has_passed(uses.last(&blob("a"))));
    }

    #[test]
    fn a_restart_begins_the_grace_anew() {
        let uses = Arc::new(Uses::default());
        assert!(!uses.advance().has_passed(uses.last(&blob("never seen"))));
        assert!(uses.advance().has_passed(uses.last(&blob("never seen"))));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let uses = Arc::new(Uses::default());
        uses.touch(blob("a"));
        uses.touch(blob("b"));
        uses.advance();
        let horizon = uses.advance();
        let hold = uses.hold();
        uses.touch(blob("written after the look"));
        uses.retain(horizon, |used| *used == blob("a"));
        drop(hold);
        assert_eq!(uses.lock().last.len(), 2);
    }
}
