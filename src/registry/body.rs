//! Bodies of answers: read with an end to every wait, and to the patience with slow senders.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::counters::{Counters, RequestKind};
use super::failure::Failure;

/// The body of an answer. Holds its place at the host's gate until it is dropped.
pub(super) struct Body {
    pub(super) incoming: Incoming,
    pub(super) host: String,
    pub(super) kind: RequestKind,
    pub(super) counters: Arc<Counters>,
    pub(super) read_timeout: Duration,
    pub(super) meter: Meter,
    pub(super) _place: OwnedSemaphorePermit,
}

impl Body {
    /// The next piece; `None` at the proper end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let asked = Instant::now();
            let frame = tokio::time::timeout(self.read_timeout, self.incoming.frame()).await;
            let frame = match frame {
                Err(_) => {
                    return Err(Failure::TimedOut {
                        host: self.host.clone(),
                        what: "go on with its answer",
                        after: self.read_timeout,
                    });
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(source))) => {
                    return Err(Failure::Interrupted {
                        host: self.host.clone(),
                        problem: with_causes(&source),
                    });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let piece = frame.into_data().unwrap_or_default();
            if !self.meter.keeps_up(asked.elapsed(), piece.len()) {
                return Err(Failure::TooSlow {
                    host: self.host.clone(),
                    minimum: self.meter.minimum,
                });
            }
            if !piece.is_empty() {
                let length = piece.len() as u64;
                self.counters.received(&self.host, self.kind, length);
                return Ok(Some(piece));
            }
        }
    }

    /// The whole of a small body, at most `limit` bytes within `deadline`.
    pub(super) async fn collect(
        mut self,
        what: &'static str,
        limit: usize,
        deadline: Duration,
    ) -> Result<Bytes, Failure> {
        let host = self.host.clone();
        let whole = async {
            let mut whole = BytesMut::new();
            while let Some(piece) = self.chunk().await? {
                if whole.len() + piece.len() > limit {
                    let limit = format!("{limit} bytes");
                    return Err(Failure::TooLarge { what, limit });
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole.freeze())
        };
        tokio::time::timeout(deadline, whole)
            .await
            .unwrap_or(Err(Failure::TimedOut {
                host,
                what: "finish its answer",
                after: deadline,
            }))
    }

    /// The start of an error answer: whatever of it comes soon.
    pub(super) async fn excerpt(mut self) -> Vec<u8> {
        const KEPT: usize = 4 << 10;
        let mut start = Vec::new();
        let reading = async {
            while let Ok(Some(piece)) = self.chunk().await {
                let room = KEPT - start.len();
                start.extend_from_slice(&piece[..piece.len().min(room)]);
                if start.len() == KEPT {
                    break;
                }
            }
        };
        // An explanation is not worth a long wait: what came until then is shown.
        let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
        start
    }
}

/// Measures a sender by the time that we waited for it; our own slowness does not count.
pub(super) struct Meter {
    pub(super) window: Duration,
    pub(super) minimum: u64,
    waited: Duration,
    received: u64,
}

impl Meter {
    pub(super) fn new(window: Duration, minimum: u64) -> Self {
        Self {
            window,
            minimum,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    fn keeps_up(&mut self, waited: Duration, received: usize) -> bool {
        self.waited += waited;
        self.received += received as u64;
        if self.waited < self.window {
            return true;
        }
        let least = u128::from(self.minimum) * self.waited.as_millis() / 1_000;
        let kept_up = u128::from(self.received) >= least;
        self.waited = Duration::ZERO;
        self.received = 0;
        kept_up
    }
}

/// An error and its causes in one line: HTTP libraries keep what matters in the cause.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn f08_rate_counts_only_the_time_spent_waiting() {
        let second = Duration::from_secs(1);
        let mut meter = Meter::new(second * 60, 1024);
        assert!((0..59).all(|_| meter.keeps_up(second, 1)));
        assert!(!meter.keeps_up(second, 1), "one byte a second is too slow");
        let mut meter = Meter::new(second * 60, 1024);
        assert!((0..600).all(|_| meter.keeps_up(second, 1024)));
        assert!((0..600).all(|_| meter.keeps_up(Duration::ZERO, 0)));
    }
}
