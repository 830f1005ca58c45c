//! What a Lease says, and what follows from it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::Terms;

/// The longest that a Lease of somebody else is believed. One that names more, by mistake or
/// otherwise, would keep everybody from acting.
const LONGEST_DURATION: Duration = Duration::from_mins(5);

/// A Lease, and since when it has said the same.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    lease: Lease,
    since: Instant,
}

/// What is to be done about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody else has it.
    Wait,
    /// It is ours.
    Renew,
    /// It is free, or its holder has not been heard of for as long as it lasts.
    Take,
}

impl Observation {
    /// `lease` as it is found at `now`, `before` what it was when it was last looked at.
    pub(super) fn of(lease: Lease, before: Option<Self>, now: Instant) -> Self {
        let version = &lease.metadata.resource_version;
        let same = before.filter(|before| before.lease.metadata.resource_version == *version);
        let since = same.map_or(now, |before| before.since);
        Self { lease, since }
    }

    /// What a candidate that calls itself `identity` has to do at `now`.
    pub(super) fn step(&self, identity: &str, terms: &Terms, now: Instant) -> Step {
        let spec = self.lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        match holder {
            None | Some("") => Step::Take,
            Some(holder) if holder == identity => Step::Renew,
            Some(_) => {
                let named = spec.and_then(|spec| spec.lease_duration_seconds);
                let named = named.and_then(|seconds| u64::try_from(seconds).ok());
                let named = named.map_or(terms.duration, Duration::from_secs);
                let duration = named.min(LONGEST_DURATION).max(terms.duration);
                if now.duration_since(self.since) < duration {
                    Step::Wait
                } else {
                    Step::Take
                }
            }
        }
    }

    /// The Lease, renewed by its holder.
    pub(super) fn renewed(&self, terms: &Terms) -> Lease {
        let mut lease = self.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(seconds(terms.duration));
        lease
    }

    /// The Lease, taken by `identity`.
    pub(super) fn taken(&self, identity: &str, terms: &Terms) -> Lease {
        let mut lease = self.lease.clone();
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            lease_transitions: Some(transitions.saturating_add(1)),
            ..first(identity, terms, Timestamp::now())
        });
        lease
    }

    /// The Lease, free for the next one.
    pub(super) fn released(&self) -> Lease {
        let mut lease = self.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        // The API server refuses no holder at all together with a time of acquisition; the Go
        // controllers write an empty one.
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        lease
    }
}

/// The content of a Lease that `identity` takes first.
pub(super) fn first(identity: &str, terms: &Terms, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(seconds(terms.duration)),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    }
}

/// In whole seconds, at least one, as the API server wants it. Rounded up: who waits has to wait
/// for no less than what the holder goes by.
fn seconds(duration: Duration) -> i32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            namespace: "ocm-system".to_owned(),
            name: "lease".to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    fn lease(holder: Option<&str>, version: &str) -> Lease {
        let mut lease = Lease {
            spec: Some(first(
                holder.unwrap_or_default(),
                &terms(),
                Timestamp::now(),
            )),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn lease_of_another_is_waited_for_as_long_as_it_changes() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let first = Observation::of(lease(Some("other"), "1"), None, begun);
        assert_eq!(first.step("me", &terms(), at(14)), Step::Wait);
        let renewed = Observation::of(lease(Some("other"), "2"), Some(first), at(14));
        assert_eq!(renewed.step("me", &terms(), at(28)), Step::Wait);
        let same = Observation::of(lease(Some("other"), "2"), Some(renewed), at(28));
        assert_eq!(same.step("me", &terms(), at(29)), Step::Take);
    }

    #[test]
    fn f38_clock_of_the_holder_does_not_matter() {
        let begun = Instant::now();
        for hours in [-10, 10] {
            let mut theirs = lease(Some("other"), "1");
            let shifted = Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_hours(hours);
            theirs.spec.as_mut().unwrap().renew_time = Some(MicroTime(shifted));
            let seen = Observation::of(theirs, None, begun);
            let at = |seconds| begun + Duration::from_secs(seconds);
            assert_eq!(seen.step("me", &terms(), at(14)), Step::Wait);
            assert_eq!(seen.step("me", &terms(), at(15)), Step::Take);
        }
    }

    #[test]
    fn f40_lease_that_is_empty_released_or_senseless_is_taken() {
        let now = Instant::now();
        let step = |lease: Lease, seconds| {
            let seen = Observation::of(lease, None, now);
            seen.step("me", &terms(), now + Duration::from_secs(seconds))
        };
        assert_eq!(step(Lease::default(), 0), Step::Take);
        assert_eq!(step(lease(None, "1"), 0), Step::Take);
        let held = Observation::of(lease(Some("other"), "1"), None, now);
        assert_eq!(step(held.released(), 0), Step::Take);
        for senseless in [-1, 0, i32::MAX] {
            let mut forged = lease(Some("other"), "1");
            forged.spec.as_mut().unwrap().lease_duration_seconds = Some(senseless);
            assert_eq!(step(forged.clone(), 14), Step::Wait, "{senseless}");
            assert_eq!(step(forged, 300), Step::Take, "{senseless}");
        }
        assert_eq!(step(lease(Some("me"), "1"), 0), Step::Renew);
    }

    #[test]
    fn taking_over_counts_and_renewing_does_not() {
        let seen = Observation::of(lease(Some("other"), "7"), None, Instant::now());
        let taken = seen.taken("me", &terms());
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(1));
        let mine = Observation::of(taken, None, Instant::now());
        let renewed = mine.renewed(&terms()).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(1));
        assert_eq!(renewed.acquire_time, spec.acquire_time);
        assert!(renewed.renew_time > spec.renew_time);
    }

    #[test]
    fn durations_are_written_in_whole_seconds_and_never_too_short() {
        assert_eq!(seconds(Duration::from_secs(15)), 15);
        assert_eq!(seconds(Duration::from_millis(1_500)), 2);
        assert_eq!(seconds(Duration::ZERO), 1);
    }
}
