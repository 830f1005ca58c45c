//! Leader election: of several processes one acts, by a claim with an end that it has to renew.
//!
//! The claim is a `Lease` of `coordination.k8s.io`, used as the Go controllers use theirs, so that
//! either kind takes over from the other. Leadership is no flag but a point in time: each write to
//! the API server compares it with the clock ([`Gate`]), so that a process that was paused, or cut
//! off, writes nothing once others may believe that it is gone.
//!
//! No clocks of two machines are compared. Whoever waits measures by its own clock how long the
//! Lease has stayed the same; whoever holds it counts from the moment before it asked.

mod claim;
mod gate;
mod record;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::chain::chain;

use claim::Claimant;
use record::{Observation, Step};

pub use claim::Claim;
pub use gate::{Expired, Gate, Gated};

/// The Lease of the Go ocm-controller: where both run, one of them acts.
pub const LEASE_NAME: &str = "f8b21459.ocm.software";

/// How an election is held.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Where the Lease is.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// How long the Lease has to stay the same before somebody else may take it.
    pub duration: Duration,
    /// How long after its last renewal a leader acts.
    pub renew_deadline: Duration,
    /// How long to wait between two tries.
    pub retry_period: Duration,
}

/// Who acts: this process always, or as long as it holds a Lease.
pub struct Leadership {
    claim: Claim,
    candidate: Option<Candidate>,
}

impl Leadership {
    /// There is no election: this process acts.
    pub fn unlimited() -> Self {
        Self {
            claim: Claim::unlimited(),
            candidate: None,
        }
    }

    /// By a Lease, for which this process stands as `identity`. `client` must not be one whose
    /// writes wait for the claim.
    pub fn by_lease(client: Client, terms: Terms, identity: String) -> Self {
        let (candidate, claim) = Candidate::new(client, terms, identity);
        Self {
            claim,
            candidate: Some(candidate),
        }
    }

    /// The right to act.
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Stands for election until `stop`, if there is one; see [`Candidate::run`].
    pub(super) async fn run(self, reached: impl Fn(Option<&str>), stop: CancellationToken) {
        match self.candidate {
            Some(candidate) => candidate.run(reached, stop).await,
            None => reached(None),
        }
    }
}

/// Why a Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "failed to {verb} Lease {namespace}/{name}: allow get, create and update of leases in that \
         namespace, or stop using --leader-elect"
    )]
    Request {
        verb: &'static str,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    #[error("failed to {verb} Lease {namespace}/{name}: no answer within {seconds} s")]
    Silent {
        verb: &'static str,
        namespace: String,
        name: String,
        seconds: f32,
    },
}

/// What came of one try.
enum Turn {
    /// The Lease is ours, counted from before it was asked for.
    Held,
    /// Somebody else has it.
    Waiting,
    /// It has changed meanwhile; the next turn looks at it.
    Unclear,
}

/// One who stands for election.
struct Candidate {
    api: Api<Lease>,
    terms: Terms,
    identity: String,
    claimant: Claimant,
    seen: Option<Observation>,
    /// Whether it has said that it is the leader, and not yet that it no longer is.
    leads: bool,
    /// What went wrong last, so that it is said once.
    said: Option<String>,
}

impl Candidate {
    /// A candidate that calls itself `identity`, and the claim that it will hold from time to time.
    /// `client` must not be one whose writes wait for that claim.
    fn new(client: Client, terms: Terms, identity: String) -> (Self, Claim) {
        let (claimant, claim) = claim::pair();
        let candidate = Self {
            api: Api::namespaced(client, &terms.namespace),
            terms,
            identity,
            claimant,
            seen: None,
            leads: false,
            said: None,
        };
        (candidate, claim)
    }

    /// Gets the Lease and renews it until `stop`, then gives it up. `reached` is told after each
    /// try whether the Lease could be reached, and what is wrong if it could not.
    async fn run(mut self, reached: impl Fn(Option<&str>), stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            match self.turn(begun).await {
                Ok(Turn::Held) => {
                    if !std::mem::replace(&mut self.leads, true) {
                        info!(identity = self.identity, "became the leader");
                    }
                    self.claimant.extend(begun + self.terms.renew_deadline);
                    self.said = None;
                    reached(None);
                }
                Ok(turn @ (Turn::Waiting | Turn::Unclear)) => {
                    if matches!(turn, Turn::Waiting) {
                        self.claimant.end();
                    }
                    self.said = None;
                    reached(None);
                }
                Err(error) => {
                    let problem = chain(&error);
                    reached(Some(&problem));
                    if self.said.as_ref() != Some(&problem) {
                        warn!(error = problem, "the Lease of the leader is out of reach");
                        self.said = Some(problem);
                    }
                }
            }
            if self.leads && !self.claimant.holds() {
                self.leads = false;
                warn!(identity = self.identity, "is the leader no more");
            }
            let pause = self.pause();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(begun + pause) => {}
            }
        }
        self.release().await;
    }

    /// Those who wait look at different times, so that not all ask at once for a free Lease.
    fn pause(&self) -> Duration {
        if self.claimant.holds() {
            self.terms.retry_period
        } else {
            self.terms.retry_period.mul_f64(1.0 + fastrand::f64() / 2.0)
        }
    }

    async fn turn(&mut self, now: Instant) -> Result<Turn, Error> {
        // Whoever holds the Lease knows what it says, unless somebody has taken it.
        if let Some(seen) = self.seen.clone().filter(|_| self.claimant.holds()) {
            return self.update(seen.renewed(&self.terms), now).await;
        }
        let found = self
            .answered("get", self.api.get_opt(&self.terms.name))
            .await?;
        let Some(found) = found else {
            return self.create_when_due(now).await;
        };
        // Seen only now: `now` may be long ago where this process was stopped on the way, and in that
        // time it has not watched the holder.
        let observation = Observation::of(found, self.seen.take(), Instant::now());
        let step = observation.step(&self.identity, &self.terms, now);
        self.seen = Some(observation.clone());
        match step {
            Step::Wait => Ok(Turn::Waiting),
            Step::Renew => self.update(observation.renewed(&self.terms), now).await,
            Step::Take => {
                let lease = observation.taken(&self.identity, &self.terms);
                self.update(lease, now).await
            }
        }
    }

    /// A Lease that was deleted under its holder still binds those who have seen it.
    async fn create_when_due(&mut self, now: Instant) -> Result<Turn, Error> {
        let binds = |seen: &Observation| seen.step(&self.identity, &self.terms, now) == Step::Wait;
        if self.seen.as_ref().is_some_and(binds) {
            return Ok(Turn::Waiting);
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.terms.name.clone()),
                namespace: Some(self.terms.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(record::first(&self.identity, &self.terms, Timestamp::now())),
        };
        let parameters = PostParams::default();
        let created = self.answered("create", self.api.create(&parameters, &lease));
        self.keep(created.await, now)
    }

    /// Replaces what was seen; the API server refuses where it has changed since.
    async fn update(&mut self, lease: Lease, now: Instant) -> Result<Turn, Error> {
        let parameters = PostParams::default();
        let replaced = self.api.replace(&self.terms.name, &parameters, &lease);
        let replaced = self.answered("update", replaced).await;
        self.keep(replaced, now)
    }

    fn keep(&mut self, written: Result<Lease, Error>, now: Instant) -> Result<Turn, Error> {
        match written {
            Ok(lease) => {
                self.seen = Some(Observation::of(lease, None, now));
                Ok(Turn::Held)
            }
            // Somebody was faster, or an earlier try of ours got through without an answer.
            Err(Error::Request { source, .. }) if is_conflict(&source) => {
                self.seen = None;
                Ok(Turn::Unclear)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets the next one begin at once.
    async fn release(mut self) {
        let holds = self.claimant.holds();
        self.claimant.end();
        let Some(seen) = self.seen.take().filter(|_| holds) else {
            return;
        };
        let parameters = PostParams::default();
        let lease = seen.released();
        let released = self.api.replace(&self.terms.name, &parameters, &lease);
        match self.answered("release", released).await {
            Ok(_) => info!("gave up the Lease"),
            Err(error) => warn!(error = chain(&error), "failed to give up the Lease"),
        }
    }

    /// The answer, if it comes early enough for another try before the claim ends.
    async fn answered<T>(
        &self,
        verb: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let patience = self.terms.renew_deadline / 2;
        let (namespace, name) = (self.terms.namespace.clone(), self.terms.name.clone());
        match timeout(patience, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Error::Request {
                verb,
                namespace,
                name,
                source: Box::new(source),
            }),
            Err(_) => Err(Error::Silent {
                verb,
                namespace,
                name,
                seconds: patience.as_secs_f32(),
            }),
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.is_conflict() || status.is_already_exists() || status.is_not_found())
}

#[cfg(test)]
mod tests;
