//! What all kinds share around a reconcile: suspend, forced runs, status, events, retries, panics.

mod memory;
mod patch;
mod pause;

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt as _, Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Error as ApplierError, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::FIELD_MANAGER;
use super::context::Context;
use super::lease::Claim;
use super::outcome::{Fault, Note, Outcome, Retry, Status, is_storage_failure};
use super::queue::Backlog;
use crate::api::{Conditions, RECONCILE_REQUEST, Reason, State};
use crate::chain::chain;

use memory::Key;
use patch::{WriteError, merge_patch, to_json, verdict_of};
use pause::{backoff, go_duration, jittered};

pub(super) use memory::Memories;

/// A status that only says "waiting" or "progressing" is written when it lasts longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where the status that is there holds meanwhile.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

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

    /// Whether the object says that it is being looked at, when that takes long.
    const SAYS_PROGRESS: bool = true;

    /// How often the object asks to be looked at.
    fn interval(&self) -> Option<Duration>;

    /// Takes off what would keep the object from being deleted; done for suspended objects and
    /// for those on their way out as well.
    fn release(&self, _context: &Context) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// The kind's own status fields after a reconcile that failed: as they were, unless the failure
    /// says that one of them does not hold any more.
    fn status_after(&self, _error: &Self::Error) -> Self::Status {
        self.status().cloned().unwrap_or_default()
    }

    /// Drops what the process keeps of an object that is gone.
    fn forget(_context: &Context, _namespace: &str, _name: &str) {}

    /// Brings the world in line with the object.
    fn reconcile(
        &self,
        context: &Context,
    ) -> impl Future<Output = Result<Outcome<Self::Status>, Self::Error>> + Send;
}

/// Reconciles what `queue` names as long as `claim` holds, again and again until `shutdown`, then
/// lets what is under way end.
///
/// Whoever loses the claim drops its work where it stands: what it would still write is no longer
/// its to write. Each time it holds again, it looks at everything, since others have acted.
pub(super) async fn run<K: Reconcile>(
    context: Arc<Context>,
    store: Store<K>,
    mut queue: Backlog<K>,
    mut claim: Claim,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = claim.won() => {}
            () = stand_by(&context, &store, &mut queue) => return,
        }
        queue.refill(&store);
        let mut loser = claim.clone();
        tokio::select! {
            () = act(&context, &store, &mut queue, &shutdown) => return,
            () = loser.lost() => {}
        }
    }
}

/// Takes what comes in from the queue, so that it does not grow; ends when nothing more can come.
async fn stand_by<K: Reconcile>(context: &Context, store: &Store<K>, queue: &mut Backlog<K>) {
    let waiting = queue.waiting();
    while let Some(request) = queue.next().await {
        let gone = request.obj_ref;
        waiting.done(&gone);
        if store.get(&gone).is_none() {
            forget::<K>(context, gone.namespace.unwrap_or_default(), gone.name);
        }
    }
}

/// Reconciles what `queue` names until `shutdown`, then lets what is under way end.
async fn act<K: Reconcile>(
    context: &Arc<Context>,
    store: &Store<K>,
    queue: &mut Backlog<K>,
    shutdown: &CancellationToken,
) {
    let config = Config::default().concurrency(context.settings.concurrent);
    let (begun, waiting) = (queue.waiting(), queue.waiting());
    let requests = requests(queue).take_until(shutdown.clone().cancelled_owned());
    let results = applier(
        move |object: Arc<K>, context| {
            begun.done(&ObjectRef::from_obj(&*object));
            Box::pin(drive(object, context))
        },
        |_, never: &Infallible, _| match *never {},
        Arc::clone(context),
        store.clone(),
        requests,
        config,
    );
    results
        .for_each(|result| {
            if let Err(ApplierError::ObjectNotFound(object)) = result {
                waiting.done(&object.clone().into_kind_unchecked::<K>(()));
                forget::<K>(context, object.namespace.unwrap_or_default(), object.name);
            }
            std::future::ready(())
        })
        .await;
}

/// Drops what the process keeps of an object that is gone.
fn forget<K: Reconcile>(context: &Context, namespace: String, name: String) {
    K::forget(context, &namespace, &name);
    context.memories.forget(&(K::NAME, namespace, name));
}

fn requests<K: Reconcile>(
    queue: &mut Backlog<K>,
) -> impl Stream<Item = Result<ReconcileRequest<K>, Infallible>> {
    futures::stream::unfold(queue, |queue| async {
        queue.next().await.map(|request| (Ok(request), queue))
    })
}

async fn drive<K: Reconcile>(object: Arc<K>, context: Arc<Context>) -> Result<Action, Infallible> {
    let namespace = object.namespace().unwrap_or_default();
    let span = info_span!("reconcile", kind = K::NAME, %namespace, object = object.name_any());
    let run = Run {
        key: (K::NAME, namespace, object.name_any()),
        object,
        context,
    };
    Ok(run.reconcile().instrument(span).await)
}

/// One reconcile of one object.
struct Run<K> {
    key: Key,
    object: Arc<K>,
    context: Arc<Context>,
}

impl<K: Reconcile> Run<K> {
    async fn reconcile(&self) -> Action {
        if let Err(fault) = self.object.release(&self.context).await {
            warn!(error = chain(&fault), "failed to release the object");
            return Action::requeue(backoff(self.count_failure(), None));
        }
        if self.object.is_suspended() || self.object.meta().deletion_timestamp.is_some() {
            return Action::await_change();
        }
        let begun = Instant::now();
        let under_way = (
            self.context.work.begin(begun),
            self.context.metrics.begun(K::NAME),
        );
        // What is made on the way has no Snapshot yet that would keep it.
        let _hold = self.context.pipeline.store().hold();
        let outcome = self.outcome().await;
        drop(under_way);
        self.context
            .metrics
            .reconciled(K::NAME, outcome.reason, begun.elapsed());
        let again = self.pause(&outcome);
        let patience = if outcome.is_patient {
            LONG_PATIENCE
        } else {
            PATIENCE
        };
        let may_wait = outcome.state == State::Waiting && !outcome.is_urgent;
        if may_wait && self.is_patient(patience) {
            return Action::requeue(PATIENCE);
        }
        match self.write(&outcome).await {
            Ok(has_written) => {
                if !matches!(outcome.state, State::Failing | State::Stalled) {
                    self.context
                        .memories
                        .with(&self.key, |memory| memory.failures = 0);
                }
                self.tell_notes(&outcome, has_written).await;
                again
            }
            Err(error) if error.is_gone() => Action::await_change(),
            Err(source) => {
                warn!(%source, "failed to write the status");
                Action::requeue(jittered(backoff(
                    self.count_failure(),
                    self.object.interval(),
                )))
            }
        }
    }

    /// Failures in a row, this one counted.
    fn count_failure(&self) -> u32 {
        self.context.memories.with(&self.key, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        })
    }

    /// Reconciles, and says after a while that it is under way.
    async fn outcome(&self) -> Outcome<K::Status> {
        let work = AssertUnwindSafe(self.object.reconcile(&self.context)).catch_unwind();
        let mut work = std::pin::pin!(work);
        let early = tokio::time::timeout(PATIENCE, &mut work).await;
        let result = if let Ok(result) = early {
            result
        } else {
            if K::SAYS_PROGRESS {
                self.say_progressing().await;
            }
            let limit = self.context.settings.reconcile_timeout;
            match tokio::time::timeout(limit.saturating_sub(PATIENCE), &mut work).await {
                Ok(result) => result,
                Err(_) => return self.timed_out(limit),
            }
        };
        match result {
            Ok(Ok(outcome)) => self.accepted(outcome),
            Ok(Err(fault)) => {
                let reason = if is_storage_failure(&fault) {
                    Reason::StorageOperationFailed
                } else {
                    fault.reason()
                };
                let failed = self.failed(reason, fault.retry(), &chain(&fault));
                Outcome {
                    status: self.object.status_after(&fault),
                    ..failed
                }
            }
            Err(_) => {
                error!("the reconcile panicked");
                let message = "the controller failed on this object by a defect of its own; its log tells more";
                self.failed(Reason::InternalError, Retry::Backoff, message)
            }
        }
    }

    fn timed_out(&self, limit: Duration) -> Outcome<K::Status> {
        let message = format!(
            "given up after {}, the limit that --reconcile-timeout sets: look at the registry or \
             source that it waits for, or raise the limit",
            go_duration(limit)
        );
        self.failed(Reason::ReconcileTimedOut, Retry::Backoff, &message)
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
        if !waits {
            self.context
                .memories
                .with(&self.key, |memory| memory.waiting_since = None);
        }
        outcome
    }

    fn failed(&self, reason: Reason, retry: Retry, message: &str) -> Outcome<K::Status> {
        self.context
            .memories
            .with(&self.key, |memory| memory.waiting_since = None);
        let failures = self.count_failure();
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
    fn is_patient(&self, patience: Duration) -> bool {
        self.context.memories.with(&self.key, |memory| {
            memory
                .waiting_since
                .get_or_insert_with(Instant::now)
                .elapsed()
                < patience
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
        let (reason, message) = (outcome.reason.as_str(), &outcome.message);
        match outcome.state {
            State::Failing | State::Stalled => warn!(reason, message, "reconciliation failed"),
            State::Ready | State::Progressing | State::Waiting => {
                info!(reason, message, "state changed");
            }
        }
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
