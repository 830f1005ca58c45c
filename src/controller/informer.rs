//! One watch a kind, for the whole process: keeps the kind's store and tells who has to look again.
//!
//! Each watch runs in a task of its own with a backoff of its own, so that one that keeps failing
//! holds up no other. Objects that cannot be decoded are reported and left out; they never stop
//! the watch. A listener hears of an object only when what it cares about has changed: a status
//! that this program wrote itself wakes nobody who does not read it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::health::WatchHealth;
use super::takeover;

/// How long the API server keeps a watch open, in seconds. A connection that silently died is
/// noticed five seconds later.
const WATCH_TIMEOUT: u32 = 45;

/// The pause before a failed watch is tried again, where the backoff names none.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there, new or changed.
    Applied,
    /// It is gone; what is shown is its last form.
    Deleted,
}

/// Somebody who has to look again when an object changes.
pub(super) struct Listener<K> {
    /// What of the object is cared about, condensed. Equal values mean: nothing changed.
    pub(super) fingerprint: fn(&K) -> u64,
    /// Called for each change.
    pub(super) notify: Notify<K>,
}

/// What is done about a change of an object.
type Notify<K> = Box<dyn Fn(&K, Change) + Send>;

/// What a watch yields: objects of a kind, whole or as metadata.
pub(super) trait Watched:
    Resource + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// The object to keep.
    type Object: Resource<DynamicType = Self::DynamicType> + Clone + Send + Sync + 'static;

    /// The object, unless it cannot be decoded.
    fn into_object(self) -> Result<Self::Object, InvalidObject>;
}

impl<K> Watched for DeserializeGuard<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    type Object = K;

    fn into_object(self) -> Result<K, InvalidObject> {
        self.0
    }
}

impl<K> Watched for PartialObjectMeta<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    type Object = Self;

    fn into_object(self) -> Result<Self, InvalidObject> {
        Ok(self)
    }
}

/// Told once all objects of a kind have been listed. (A store's own `wait_until_ready` wakes only
/// the last of those who wait, and its controller is one of them.)
pub(super) type Listed = Arc<SetOnce<()>>;

/// A watch that is not running yet, and the store that it will fill.
pub(super) struct Informer<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone,
{
    api: Api<W>,
    kind: W::DynamicType,
    writer: Writer<W::Object>,
    listeners: Vec<Listener<W::Object>>,
    listed: Listed,
    /// The name that objects have to have, where only those of one name are watched.
    name: Option<&'static str>,
    /// How long the API server keeps a watch open, in seconds.
    watch_timeout: u32,
    /// Drops what is not needed before an object is kept.
    prune: fn(&mut W::Object),
    /// What each listener cared about when it was last told, by object.
    told: HashMap<ObjectRef<W::Object>, Vec<u64>>,
}

impl<W> Informer<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Prepares a watch over what `api` shows; `prune` drops what need not be kept of an object.
    pub(super) fn new(api: Api<W>, kind: W::DynamicType, prune: fn(&mut W::Object)) -> Self {
        let writer = Writer::new(kind.clone());
        Self {
            api,
            kind,
            writer,
            listeners: Vec::new(),
            listed: Listed::default(),
            name: None,
            watch_timeout: WATCH_TIMEOUT,
            prune,
            told: HashMap::new(),
        }
    }

    /// Watches objects of this name only, for which a right to that name is enough.
    pub(super) fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// The store; it is filled once the watch runs.
    pub(super) fn store(&self) -> Store<W::Object> {
        self.writer.as_reader()
    }

    /// Told once the store is filled.
    pub(super) fn listed(&self) -> Listed {
        Arc::clone(&self.listed)
    }

    /// Has `listener` told of changes.
    pub(super) fn listen(&mut self, listener: Listener<W::Object>) {
        self.listeners.push(listener);
    }

    /// Watches until `shutdown`.
    pub(super) async fn run(mut self, health: Arc<WatchHealth>, shutdown: CancellationToken) {
        let mut config = watcher::Config::default().timeout(self.watch_timeout);
        if let Some(name) = self.name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let events = watcher::watcher(self.api.clone(), config)
            .take_until(shutdown.clone().cancelled_owned());
        let mut events = std::pin::pin!(events);
        let kind = W::kind(&self.kind).into_owned();
        let mut pauses = DefaultBackoff::default();
        while let Some(event) = events.next().await {
            match event {
                // Comes before each attempt to list, so it is no sign of success.
                Ok(Event::Init) => self.handle(Event::Init),
                Ok(event) => {
                    pauses.reset();
                    health.heard(&kind);
                    self.handle(event);
                }
                Err(error) => {
                    health.failed(&kind, Instant::now());
                    debug!(%kind, %error, "watch failed; it is tried again");
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
                }
            }
        }
    }

    fn handle(&mut self, event: Event<W>) {
        match event {
            Event::Apply(object) => match self.decoded(object) {
                Ok(object) => {
                    self.writer
                        .apply_watcher_event(&Event::Apply(object.clone()));
                    self.tell(&object);
                }
                Err(metadata) => self.drop_known(metadata),
            },
            Event::Delete(object) => match self.decoded(object) {
                Ok(object) => {
                    self.writer
                        .apply_watcher_event(&Event::Delete(object.clone()));
                    self.tell_deleted(&object);
                }
                Err(metadata) => self.drop_known(metadata),
            },
            Event::Init => self.writer.apply_watcher_event(&Event::Init),
            Event::InitApply(object) => {
                if let Ok(object) = self.decoded(object) {
                    self.writer.apply_watcher_event(&Event::InitApply(object));
                }
            }
            Event::InitDone => self.replace(),
        }
    }

    /// An object that can no longer be decoded is as good as gone: its old form must not be used.
    fn drop_known(&mut self, metadata: ObjectMeta) {
        let name = metadata.name.unwrap_or_default();
        let namespace = metadata.namespace.unwrap_or_default();
        let key = ObjectRef::new_with(&name, self.kind.clone()).within(&namespace);
        if let Some(known) = self.store().get(&key) {
            self.writer
                .apply_watcher_event(&Event::Delete((*known).clone()));
            self.tell_deleted(&known);
        }
    }

    /// Swaps in a whole new list. Objects that went while nobody watched are told of as well.
    fn replace(&mut self) {
        let store = self.store();
        let before = store.state();
        self.writer.apply_watcher_event(&Event::InitDone);
        for object in before {
            if store.get(&self.key(&object)).is_none() {
                self.tell_deleted(&object);
            }
        }
        for object in store.state() {
            self.tell(&object);
        }
        // Only the first list is news; later ones find it set.
        let _ = self.listed.set(());
    }

    fn tell(&mut self, object: &W::Object) {
        let now: Vec<u64> = self
            .listeners
            .iter()
            .map(|listener| (listener.fingerprint)(object))
            .collect();
        let before = self.told.insert(self.key(object), now.clone());
        for (at, listener) in self.listeners.iter().enumerate() {
            if before.as_ref().is_none_or(|before| before[at] != now[at]) {
                (listener.notify)(object, Change::Applied);
            }
        }
    }

    fn tell_deleted(&mut self, object: &W::Object) {
        self.told.remove(&self.key(object));
        for listener in &self.listeners {
            (listener.notify)(object, Change::Deleted);
        }
    }

    fn key(&self, object: &W::Object) -> ObjectRef<W::Object> {
        ObjectRef::from_obj_with(object, self.kind.clone())
    }

    /// The object, or the metadata of one that cannot be decoded.
    fn decoded(&self, object: W) -> Result<W::Object, ObjectMeta> {
        match object.into_object() {
            Ok(mut object) => {
                object
                    .managed_fields_mut()
                    .retain(takeover::is_to_take_over);
                (self.prune)(&mut object);
                Ok(object)
            }
            Err(invalid) => {
                warn!(
                    kind = %W::kind(&self.kind),
                    namespace = invalid.metadata.namespace,
                    name = invalid.metadata.name,
                    error = invalid.error,
                    "left out an object that cannot be decoded"
                );
                Err(invalid.metadata)
            }
        }
    }
}

#[cfg(test)]
mod tests;
