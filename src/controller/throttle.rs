//! How often the API server is asked: a rate and a burst, as the Go controllers have them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

/// Requests a second on average, and how many may come at once. Clones share the count.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// The time between two requests; none where there is no limit.
    gap: Option<Duration>,
    burst: u32,
    /// When the count of all requests so far is made up for.
    settled: Arc<Mutex<Instant>>,
}

impl Throttle {
    /// No more than `rate` requests a second on average; no limit where it is not above zero.
    pub fn new(rate: f64, burst: u32) -> Self {
        let gap = (rate > 0.0).then(|| Duration::from_secs_f64(1.0 / rate.max(0.001)));
        Self {
            gap,
            burst: burst.max(1),
            settled: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Counts a request that comes up at `now`, and says when it may be sent.
    fn due(&self, now: Instant) -> Instant {
        let Some(gap) = self.gap else { return now };
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = (*settled).max(now);
        *settled = begun + gap;
        // All but the last of a burst may still be unsettled.
        let credit = gap.saturating_mul(self.burst - 1);
        now.max(begun.checked_sub(credit).unwrap_or(now))
    }
}

impl<S> Layer<S> for Throttle {
    type Service = Throttled<S>;

    fn layer(&self, inner: S) -> Throttled<S> {
        Throttled {
            throttle: self.clone(),
            inner,
        }
    }
}

/// A client behind a [`Throttle`].
#[derive(Debug, Clone)]
pub struct Throttled<S> {
    throttle: Throttle,
    inner: S,
}

impl<S, B> Service<Request<B>> for Throttled<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let now = Instant::now();
        let due = self.throttle.due(now);
        // Nothing is sent before the first poll.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if due > now {
                sleep_until(due).await;
            }
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_passes_at_once_and_the_rest_at_the_rate() {
        let throttle = Throttle::new(10.0, 3);
        let begun = Instant::now();
        let waits: Vec<u128> = (0..6)
            .map(|_| throttle.due(begun).duration_since(begun).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        let later = begun + Duration::from_secs(10);
        let waits: Vec<u128> = (0..4)
            .map(|_| throttle.due(later).duration_since(later).as_millis())
            .collect();
        assert_eq!(
            waits,
            [0, 0, 0, 100],
            "the burst is there again after a rest"
        );
    }

    #[test]
    fn rate_of_zero_is_no_limit() {
        let throttle = Throttle::new(0.0, 1);
        let now = Instant::now();
        assert!((0..1_000).all(|_| throttle.due(now) == now));
    }
}
