//! What the process knows about its own health.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long ago any list or watch of the API server got through.
#[derive(Debug)]
pub(super) struct WatchAge {
    last: Mutex<Instant>,
}

impl WatchAge {
    /// Starts as if something had been heard just now.
    pub(super) fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
        }
    }

    /// Notes that something was heard.
    pub(super) fn heard(&self) {
        *self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// How long nothing was heard.
    pub(super) fn age(&self) -> Duration {
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .elapsed()
    }
}
