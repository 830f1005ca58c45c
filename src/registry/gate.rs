//! One gate for each host: how many requests at a time, and from when on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::failure::Failure;
use super::settings::{Limits, Timeouts};

/// Past this many hosts, gates that nobody uses are forgotten.
const KEPT: usize = 1_024;

/// The gates of all hosts.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Gates {
    pub(super) fn of(&self, host: &str, limits: &Limits) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= KEPT && !gates.contains_key(host) {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.closed_for().is_some());
        }
        let gate = gates.entry(host.to_owned()).or_insert_with(|| {
            Arc::new(Gate {
                places: Arc::new(Semaphore::new(limits.concurrency)),
                opens: Mutex::new(None),
            })
        });
        Arc::clone(gate)
    }
}

/// The gate of one host.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    opens: Mutex<Option<Instant>>,
}

impl Gate {
    /// Waits for a place, and for the end of a short closure. The place is held until the
    /// answer's body is read or dropped.
    ///
    /// # Errors
    ///
    /// [`Failure::Throttled`] where the gate stays closed for longer than a request waits in
    /// place: the caller comes back by then instead of sleeping.
    pub(super) async fn enter(
        &self,
        host: &str,
        timeouts: &Timeouts,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let entered = tokio::time::timeout(timeouts.queue, async {
            loop {
                let places = Arc::clone(&self.places);
                let place = places.acquire_owned().await;
                let place = place.expect("a gate's semaphore is never closed");
                // Looked at with the place in hand: it may have been closed while we queued.
                match self.closed_for() {
                    None => return Ok(place),
                    Some(wait) if wait > timeouts.longest_pause => {
                        let host = host.to_owned();
                        return Err(Failure::Throttled { host, wait });
                    }
                    Some(wait) => {
                        drop(place);
                        tokio::time::sleep(wait).await;
                    }
                }
            }
        });
        entered.await.unwrap_or_else(|_| {
            Err(Failure::TimedOut {
                host: host.to_owned(),
                what: "finish earlier requests",
                after: timeouts.queue,
            })
        })
    }

    /// Lets no request through for `wait`; never opens earlier than an earlier call said.
    pub(super) fn close_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut opens = self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        *opens = Some(opens.map_or(until, |earlier| earlier.max(until)));
    }

    fn closed_for(&self) -> Option<Duration> {
        let mut opens = self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        let left = opens.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.filter(|left| !left.is_zero());
        if left.is_none() {
            *opens = None;
        }
        left
    }
}
