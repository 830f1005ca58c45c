//! What a reconcile comes to: an outcome, or an error that says how it is to be treated.

use std::error::Error as StdError;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{
    ComponentVersionStatus, FluxDeployerStatus, MutationStatus, Reason, ResourceStatus,
    SnapshotStatus, State,
};
use crate::registry;
use crate::store;

/// When to look at an object again after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Only a change of the object itself helps: it is stalled until then.
    OnChange,
    /// Something that this program does not watch may heal: tried again after pauses that grow to
    /// half a minute, or to the object's interval where that is longer, five minutes at most.
    Backoff,
    /// Somebody said when.
    After(Duration),
}

/// An error of a reconcile, which answers two questions.
pub(super) trait Fault: StdError + Send + Sync + 'static {
    /// The reason for condition, event and metric.
    fn reason(&self) -> Reason;

    /// When to look again.
    fn retry(&self) -> Retry;
}

/// Something that a person should know besides the state: becomes an event, once for each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// What a reconcile came to.
#[derive(Debug)]
pub(super) struct Outcome<S> {
    /// The kind's own status fields; conditions and the like are filled in by the driver.
    pub(super) status: S,
    pub(super) state: State,
    pub(super) reason: Reason,
    pub(super) message: String,
    /// When to look again; where absent, when something changes.
    pub(super) again: Option<Duration>,
    pub(super) notes: Vec<Note>,
    /// Annotations for the event that tells of this outcome.
    pub(super) metadata: Vec<(&'static str, String)>,
    /// Whether an event tells of it.
    pub(super) is_told: bool,
    /// Whether the status is written at once, although it only says that something is awaited.
    pub(super) is_urgent: bool,
    /// Whether the status is left for longer than usual where it only says that something is
    /// awaited: what it says holds meanwhile.
    pub(super) is_patient: bool,
}

impl<S> Outcome<S> {
    /// All is well.
    pub(super) fn ready(status: S, message: impl Into<String>) -> Self {
        Self {
            status,
            state: State::Ready,
            reason: Reason::Succeeded,
            message: message.into(),
            again: None,
            notes: Vec::new(),
            metadata: Vec::new(),
            is_told: true,
            is_urgent: false,
            is_patient: false,
        }
    }

    /// Something else has to become ready first; its watch will wake this object.
    pub(super) fn waiting(status: S, waiting: Waiting) -> Self {
        let Waiting { reason, message } = waiting;
        Self {
            state: State::Waiting,
            reason,
            ..Self::ready(status, message)
        }
    }

    /// Looks again after `interval`.
    #[must_use]
    pub(super) fn again_after(mut self, interval: Duration) -> Self {
        self.again = Some(interval);
        self
    }

    /// Raises no event: another object's tells the same.
    #[must_use]
    pub(super) fn silent(mut self) -> Self {
        self.is_told = false;
        self
    }

    /// Writes the status at once: others act on it.
    #[must_use]
    pub(super) fn at_once(mut self) -> Self {
        self.is_urgent = true;
        self
    }

    /// Leaves the status for longer than usual: what it says holds meanwhile.
    #[must_use]
    pub(super) fn patiently(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// Says `notes` besides.
    #[must_use]
    pub(super) fn noting(mut self, notes: Vec<Note>) -> Self {
        self.notes = notes;
        self
    }

    /// Annotates the event with `value` under `delivery.ocm.software/KEY`.
    #[must_use]
    pub(super) fn about(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Waiting {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// The fields that every kind's status has.
pub(super) struct CommonStatus<'a> {
    pub(super) observed_generation: &'a mut Option<i64>,
    pub(super) conditions: &'a mut Vec<Condition>,
    pub(super) last_handled_reconcile_at: &'a mut Option<String>,
}

/// A kind's status.
pub(super) trait Status:
    Clone + Default + PartialEq + serde::Serialize + Send + Sync
{
    /// The fields that every kind's status has.
    fn common(&mut self) -> CommonStatus<'_>;

    /// The conditions.
    fn conditions(&self) -> &[Condition];
}

macro_rules! status {
    ($($kind:ty),*) => {$(
        impl Status for $kind {
            fn common(&mut self) -> CommonStatus<'_> {
                CommonStatus {
                    observed_generation: &mut self.observed_generation,
                    conditions: &mut self.conditions,
                    last_handled_reconcile_at: &mut self.last_handled_reconcile_at,
                }
            }

            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
        }
    )*};
}

status!(
    ComponentVersionStatus,
    ResourceStatus,
    MutationStatus,
    SnapshotStatus,
    FluxDeployerStatus
);

/// When to try again after something failed: as a registry says that is at the bottom of it, else
/// ever more seldom.
pub(super) fn retry_of(error: &(dyn StdError + 'static)) -> Retry {
    registry::error_in(error)
        .and_then(registry::Error::retry_after)
        .map_or(Retry::Backoff, Retry::After)
}

/// Whether the content store is at the bottom of an error, and not what was asked of it.
pub(super) fn is_storage_failure(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // A writer of content hands the store's error through an error of input and output.
        let outer = error.downcast_ref::<std::io::Error>();
        let inner = outer.and_then(std::io::Error::get_ref);
        let is_carried = inner.is_some_and(<dyn StdError + Send + Sync>::is::<store::Error>);
        if error.is::<store::Error>() || is_carried {
            return true;
        }
        next = error.source();
    }
    false
}
