//! One push of one blob at a time: whoever comes second finds it there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::oci::{Digest, RepositoryName};

type Key = (RepositoryName, Digest);

/// The blobs that are being pushed.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl Flights {
    /// Waits until nobody else pushes the blob; it is ours while the answer lives.
    pub(super) async fn board(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Those that only this table knows are over.
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            let key = (repository.clone(), digest.clone());
            Arc::clone(flights.entry(key).or_default())
        };
        flight.lock_owned().await
    }
}
