//! What all kinds share around a reconcile: suspend, forced runs, status, events, retries, panics.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::Status as ApiStatus;
use kube::runtime::controller::{Action, Config, Error as ApplierError, ReconcileRequest, applier};
use kube::runtime::reflector::Store;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::FIELD_MANAGER;
use super::context::Context;
use super::outcome::{Fault, Note, Outcome, Retry, Status};
use crate::api::{Conditions, RECONCILE_REQUEST, Reason, State};
use crate::chain::chain;

/// A status that only says "waiting" or "progressing" is written when it lasts longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first pause after a failure; each further one is twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest pause after a failure, unless the object's own interval is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A kind that is reconciled.
pub(super) trait Reconcile:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The kind's name in logs and metrics.
    const NAME: &'static str;

    /// The kind's status.
    type Status: Status;

    /// What can go wrong.
    type Error: Fault;

    /// The status as it was when the object was last seen.
    fn status(&self) -> Option<&Self::Status>;

    /// Whether the object is to be left alone.
    fn is_suspended(&self) -> bool;

    /// How often the object asks to be looked at.
    fn interval(&self) -> Option<Duration>;

    /// Takes off what would keep the object from being deleted; done for suspended objects and
    /// for those on their way out as well.
    fn release(&self, _context: &Context) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Brings the world in line with the object.
    fn reconcile(
        &self,
        context: &Context,
    ) -> impl Future<Output = Result<Outcome<Self::Status>, Self::Error>> + Send;
}

/// What is remembered of an object between its reconciles.
#[derive(Debug, Default)]
struct Memory {
    /// Failures in a row.
    failures: u32,
    /// Since when the object waits, if it does.
    waiting_since: Option<Instant>,
    /// The resource version that was seen when a status was last written, and that status: what
    /// the watch shows may be older than what was written.
    written: Option<(Option<String>, Value)>,
    /// What the last run that came to an end had to say besides.
    notes: Option<Vec<Note>>,
}

/// What is remembered of all objects, by kind, namespace and name.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<HashMap<(&'static str, String, String), Memory>>);

impl Memories {
    fn with<T>(
        &self,
        key: &(&'static str, String, String),
        act: impl FnOnce(&mut Memory) -> T,
    ) -> T {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(memories.entry(key.clone()).or_default())
    }

    fn forget(&self, key: &(&'static str, String, String)) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// Reconciles what `queue` names until `shutdown`, then lets what is under way end.
pub(super) async fn run<K: Reconcile>(
    context: Arc<Context>,
    store: Store<K>,
    queue: mpsc::UnboundedReceiver<ReconcileRequest<K>>,
    shutdown: CancellationToken,
) {
    let config = Config::default().concurrency(context.settings.concurrent);
    let requests = requests(queue).take_until(shutdown.cancelled_owned());
    let results = applier(
        |object, context| Box::pin(drive(object, context)),
        |_, never: &Infallible, _| match *never {},
        Arc::clone(&context),
        store,
        requests,
        config,
    );
    results
        .for_each(|result| {
            if let Err(ApplierError::ObjectNotFound(object)) = result {
                let namespace = object.namespace.unwrap_or_default();
                context.memories.forget(&(K::NAME, namespace, object.name));
            }
            std::future::ready(())
        })
        .await;
}

fn requests<K: Reconcile>(
    queue: mpsc::UnboundedReceiver<ReconcileRequest<K>>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, Infallible>> {
    futures::stream::unfold(queue, |mut queue| async {
        queue.recv().await.map(|request| (Ok(request), queue))
    })
}

async fn drive<K: Reconcile>(object: Arc<K>, context: Arc<Context>) -> Result<Action, Infallible> {
    let namespace = object.namespace().unwrap_or_default();
    let span = info_span!("reconcile", kind = K::NAME, %namespace, name = object.name_any());
    let run = Run {
        key: (K::NAME, namespace, object.name_any()),
        object,
        context,
    };
    Ok(run.reconcile().instrument(span).await)
}

/// One reconcile of one object.
struct Run<K> {
    key: (&'static str, String, String),
    object: Arc<K>,
    context: Arc<Context>,
}

impl<K: Reconcile> Run<K> {
    async fn reconcile(&self) -> Action {
        if let Err(fault) = self.object.release(&self.context).await {
            debug!(error = chain(&fault), "failed to release the object");
            return Action::requeue(FIRST_RETRY);
        }
        if self.object.is_suspended() || self.object.meta().deletion_timestamp.is_some() {
            return Action::await_change();
        }
        let begun = Instant::now();
        let outcome = self.outcome().await;
        self.context
            .metrics
            .reconciled(K::NAME, outcome.reason, begun.elapsed());
        let again = self.pause(&outcome);
        if outcome.state == State::Waiting && !outcome.is_urgent && self.is_patient() {
            return Action::requeue(PATIENCE);
        }
        match self.write(&outcome).await {
            Ok(has_written) => {
                self.tell_notes(&outcome, has_written).await;
                again
            }
            Err(error) if error.is_gone() => Action::await_change(),
            Err(source) => {
                warn!(%source, "failed to write the status");
                Action::requeue(FIRST_RETRY)
            }
        }
    }

    /// Reconciles, and says after a while that it is under way.
    async fn outcome(&self) -> Outcome<K::Status> {
        let work = AssertUnwindSafe(self.object.reconcile(&self.context)).catch_unwind();
        let mut work = std::pin::pin!(work);
        let early = tokio::time::timeout(PATIENCE, &mut work).await;
        let result = if let Ok(result) = early {
            result
        } else {
            self.say_progressing().await;
            work.await
        };
        match result {
            Ok(Ok(outcome)) => self.accepted(outcome),
            Ok(Err(fault)) => self.failed(fault.reason(), fault.retry(), &chain(&fault)),
            Err(_) => {
                error!("the reconcile panicked");
                let message = "the controller failed on this object by a defect of its own; its log tells more";
                self.failed(Reason::InternalError, Retry::Backoff, message)
            }
        }
    }

    async fn say_progressing(&self) {
        let kind = K::kind(&()).to_lowercase();
        let message = format!(
            "reconciliation in progress for {kind}: {}",
            self.object.name_any()
        );
        let outcome = Outcome {
            state: State::Progressing,
            reason: Reason::Progressing,
            ..Outcome::ready(self.object.status().cloned().unwrap_or_default(), message)
        };
        if let Err(source) = self.write(&outcome).await {
            debug!(%source, "failed to write the status");
        }
    }

    fn accepted(&self, outcome: Outcome<K::Status>) -> Outcome<K::Status> {
        let waits = outcome.state == State::Waiting;
        self.context.memories.with(&self.key, |memory| {
            memory.failures = 0;
            if !waits {
                memory.waiting_since = None;
            }
        });
        outcome
    }

    fn failed(&self, reason: Reason, retry: Retry, message: &str) -> Outcome<K::Status> {
        warn!(reason = reason.as_str(), message, "reconciliation failed");
        let failures = self.context.memories.with(&self.key, |memory| {
            memory.waiting_since = None;
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        });
        let (state, again) = match retry {
            Retry::OnChange => (State::Stalled, None),
            Retry::Backoff => (
                State::Failing,
                Some(backoff(failures, self.object.interval())),
            ),
            Retry::After(pause) => (State::Failing, Some(pause)),
        };
        let status = self.object.status().cloned().unwrap_or_default();
        Outcome {
            state,
            reason,
            again,
            ..Outcome::ready(status, message)
        }
    }

    /// Whether the object has not yet waited long enough for it to be worth a write.
    fn is_patient(&self) -> bool {
        self.context.memories.with(&self.key, |memory| {
            memory
                .waiting_since
                .get_or_insert_with(Instant::now)
                .elapsed()
                < PATIENCE
        })
    }

    fn pause(&self, outcome: &Outcome<K::Status>) -> Action {
        let again = match outcome.state {
            State::Waiting => outcome.again.or(self.object.interval()),
            _ => outcome.again,
        };
        again.map_or_else(Action::await_change, |again| {
            Action::requeue(jittered(again))
        })
    }

    /// Writes the status if it differs, and tells of a change by an event; says whether it did.
    async fn write(&self, outcome: &Outcome<K::Status>) -> Result<bool, WriteError> {
        let seen = self.object.meta().resource_version.clone();
        let before = self
            .context
            .memories
            .with(&self.key, |memory| match &memory.written {
                Some((at, status)) if *at == seen => Some(status.clone()),
                _ => None,
            });
        let before = match before {
            Some(before) => before,
            None => to_json(self.object.status())?,
        };
        let after = to_json(Some(&self.status(outcome)))?;
        let Some(difference) = merge_patch(&before, &after) else {
            return Ok(false);
        };
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"uid": self.object.meta().uid},
            "status": difference,
        });
        let namespace = &self.key.1;
        let api: Api<K> = Api::namespaced(self.context.client.clone(), namespace);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch_status(&self.object.name_any(), &parameters, &Patch::Merge(patch))
            .await
            .map_err(|source| WriteError::Patch {
                source: Box::new(source),
            })?;
        self.context.memories.with(&self.key, |memory| {
            memory.written = Some((seen, after.clone()));
        });
        if outcome.state != State::Progressing {
            self.tell(outcome, &before, &after).await;
        }
        Ok(true)
    }

    fn status(&self, outcome: &Outcome<K::Status>) -> K::Status {
        let generation = self.object.meta().generation;
        let mut status = outcome.status.clone();
        let before = self
            .object
            .status()
            .map(|status| status.conditions().to_vec())
            .unwrap_or_default();
        let conditions = Conditions::new(&before, generation, Timestamp::now()).with(
            outcome.state,
            outcome.reason,
            &outcome.message,
        );
        let common = status.common();
        *common.conditions = conditions;
        if outcome.state != State::Progressing {
            *common.observed_generation = generation;
            if let Some(request) = self.object.annotations().get(RECONCILE_REQUEST) {
                *common.last_handled_reconcile_at = Some(request.clone());
            }
        }
        status
    }

    async fn tell(&self, outcome: &Outcome<K::Status>, before: &Value, after: &Value) {
        if !outcome.is_told && outcome.state == State::Ready
            || verdict_of(before) == verdict_of(after)
        {
            return;
        }
        info!(
            reason = outcome.reason.as_str(),
            message = outcome.message,
            "state changed"
        );
        let note = match (outcome.state, outcome.again) {
            (State::Ready, Some(again)) => {
                format!(
                    "{}. Reconciliation finished, next run in {}",
                    outcome.message,
                    go_duration(again)
                )
            }
            (State::Failing, Some(again)) => {
                format!(
                    "{}. Reconciliation did not succeed, retrying in {}",
                    outcome.message,
                    go_duration(again)
                )
            }
            _ => outcome.message.clone(),
        };
        let regarding = self.object.object_ref(&());
        self.context
            .events
            .publish(regarding, outcome.reason, &note, &outcome.metadata)
            .await;
    }

    /// Tells of each note once, as long as one run after the other has it. What the first run of
    /// this process finds was told by the process before, unless that run has changed something.
    async fn tell_notes(&self, outcome: &Outcome<K::Status>, has_written: bool) {
        if outcome.state != State::Ready {
            return;
        }
        let before = self.context.memories.with(&self.key, |memory| {
            memory.notes.replace(outcome.notes.clone())
        });
        let is_new = |note: &&Note| match &before {
            Some(before) => !before.contains(note),
            None => has_written,
        };
        for note in outcome.notes.iter().filter(is_new) {
            let regarding = self.object.object_ref(&());
            let events = &self.context.events;
            events
                .publish(regarding, note.reason, &note.message, &[])
                .await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("failed to patch the status: {source}")]
    Patch { source: Box<kube::Error> },
    #[error("failed to write the status as JSON: {source}")]
    Serialize { source: serde_json::Error },
}

impl WriteError {
    /// Whether the object is gone, or another one has taken its name.
    fn is_gone(&self) -> bool {
        match self {
            Self::Patch { source } => match &**source {
                kube::Error::Api(status) => is_gone(status),
                _ => false,
            },
            Self::Serialize { .. } => false,
        }
    }
}

/// A patch that carries the UID of an object that was deleted and made again is answered as an
/// attempt to change an immutable field, or as a conflict.
fn is_gone(status: &ApiStatus) -> bool {
    status.is_not_found() || status.is_conflict() || status.message.contains("metadata.uid")
}

fn to_json<S: Serialize>(status: Option<&S>) -> Result<Value, WriteError> {
    serde_json::to_value(status).map_err(|source| WriteError::Serialize { source })
}

/// Status, reason and message of the condition Ready.
fn verdict_of(status: &Value) -> Option<(&Value, &Value, &Value)> {
    let conditions = status.get("conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|found| found.get("type").is_some_and(|kind| kind == "Ready"))?;
    Some((
        ready.get("status")?,
        ready.get("reason")?,
        ready.get("message")?,
    ))
}

/// The JSON merge patch (RFC 7386) that turns `before` into `after`, if they differ.
fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = serde_json::Map::new();
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in after {
                let difference = before
                    .get(key)
                    .map_or(Some(value.clone()), |old| merge_patch(old, value));
                if let Some(difference) = difference {
                    patch.insert(key.clone(), difference);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (before != after).then(|| after.clone()),
    }
}

fn backoff(failures: u32, interval: Option<Duration>) -> Duration {
    let longest = LONGEST_RETRY.max(interval.unwrap_or_default().min(Duration::from_mins(5)));
    FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)))
        .min(longest)
}

/// Spreads repeated work by up to a tenth, so that objects made together do not stay together.
fn jittered(pause: Duration) -> Duration {
    pause + pause.mul_f64(fastrand::f64() / 10.0)
}

/// A duration as Go prints it: `1m0s`, `1h0m0s`, `1.5s`.
fn go_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    let (hours, minutes, seconds) = (total / 3_600, total / 60 % 60, total % 60);
    let fraction = duration.subsec_millis();
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if total >= 60 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if fraction > 0 {
        let _ = write!(text, "{}", format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_patch_names_only_what_differs() {
        let before = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "gone": true});
        let after = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1], "new": "x"});
        let expected = json!({"gone": null, "b": {"d": 4}, "e": [1], "new": "x"});
        assert_eq!(merge_patch(&before, &after), Some(expected));
        assert_eq!(merge_patch(&after, &after), None);
    }

    #[test]
    fn durations_print_as_in_go() {
        let cases = [
            (300_000, "5m0s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
            (1_500, "1.5s"),
            (0, "0s"),
        ];
        for (millis, expected) in cases {
            assert_eq!(go_duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn pauses_grow_up_to_half_a_minute_or_the_interval() {
        assert_eq!(backoff(1, None), Duration::from_secs(1));
        assert_eq!(backoff(3, None), Duration::from_secs(4));
        assert_eq!(backoff(40, None), Duration::from_secs(30));
        assert_eq!(
            backoff(40, Some(Duration::from_mins(1))),
            Duration::from_mins(1)
        );
        assert_eq!(
            backoff(40, Some(Duration::from_hours(24))),
            Duration::from_mins(5)
        );
    }
}
