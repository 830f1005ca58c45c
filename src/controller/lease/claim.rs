//! A claim: the right to act until a point in time.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The right to act, as those see it who act; clones share it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Without one the claim never ends: there is no election.
    until: Option<watch::Receiver<Instant>>,
}

/// The end of a claim that extends it.
#[derive(Debug)]
pub(super) struct Claimant {
    until: watch::Sender<Instant>,
}

/// A claim that has ended, and who may extend it.
pub(super) fn pair() -> (Claimant, Claim) {
    let (sender, receiver) = watch::channel(Instant::now());
    let claim = Claim {
        until: Some(receiver),
    };
    (Claimant { until: sender }, claim)
}

impl Claim {
    /// The claim of one that acts alone.
    pub fn unlimited() -> Self {
        Self { until: None }
    }

    /// Whether there is the right to act at this moment.
    pub fn holds(&self) -> bool {
        self.until
            .as_ref()
            .is_none_or(|until| Instant::now() < *until.borrow())
    }

    /// Waits for the right to act.
    pub(in crate::controller) async fn won(&mut self) {
        let Some(until) = &mut self.until else { return };
        // Whoever could extend it is gone: there is nothing to wait for any more.
        if until.wait_for(|end| Instant::now() < *end).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the end of the right to act.
    pub(in crate::controller) async fn lost(&mut self) {
        let Some(until) = &mut self.until else {
            return std::future::pending().await;
        };
        loop {
            let end = *until.borrow_and_update();
            if end <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                changed = until.changed() => if changed.is_err() {
                    sleep_until(end).await;
                },
            }
        }
    }
}

impl Claimant {
    /// Lets the claim last until `end`.
    pub(super) fn extend(&self, end: Instant) {
        self.until.send_replace(end);
    }

    /// Ends the claim now.
    pub(super) fn end(&self) {
        let now = Instant::now();
        self.until.send_if_modified(|end| {
            let holds = now < *end;
            if holds {
                *end = now;
            }
            holds
        });
    }

    /// Whether the claim lasts.
    pub(super) fn holds(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn claim_holds_until_it_ends_and_no_longer() {
        let (claimant, mut claim) = pair();
        assert!(!claim.holds(), "nobody begins as the leader");
        claimant.extend(Instant::now() + Duration::from_hours(1));
        claim.won().await;
        assert!(claim.holds() && claimant.holds());
        claimant.extend(Instant::now());
        claim.lost().await;
        assert!(!claim.holds());
        claimant.extend(Instant::now() + Duration::from_hours(1));
        claimant.end();
        claim.lost().await;
    }

    #[tokio::test]
    async fn claim_ends_by_the_clock_with_nobody_telling() {
        let (claimant, mut claim) = pair();
        claimant.extend(Instant::now() + Duration::from_millis(30));
        claim.won().await;
        drop(claimant);
        claim.lost().await;
        assert!(!claim.holds());
    }

    #[tokio::test]
    async fn claim_without_an_election_always_holds() {
        let mut claim = Claim::unlimited();
        claim.won().await;
        assert!(claim.holds());
    }
}
