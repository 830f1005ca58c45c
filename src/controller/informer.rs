//! One watch a kind and place, for the whole process: keeps the kind's store and tells who has to
//! look again.
//!
//! Each kind has a task of its own and each watch a backoff of its own, so that one that keeps
//! failing holds up no other. Objects that cannot be decoded are reported and left out; they never
//! stop the watch. A listener hears of an object only when what it cares about has changed: a
//! status that this program wrote itself wakes nobody who does not read it.

mod place;
mod view;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::select_all;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::{SetOnce, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::decode::{Decoded, Undecodable};
use super::health::WatchHealth;
use super::selection::LabelSelector;

use view::View;

pub(super) use place::Place;

/// How long the API server keeps a watch open, in seconds. A connection that silently died is
/// noticed five seconds later.
const WATCH_TIMEOUT: u32 = 45;

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
    fn into_object(self) -> Result<Self::Object, Box<Undecodable>>;
}

impl<K> Watched for Decoded<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    type Object = K;

    fn into_object(self) -> Result<K, Box<Undecodable>> {
        self.0
    }
}

impl<K> Watched for PartialObjectMeta<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    type Object = Self;

    fn into_object(self) -> Result<Self, Box<Undecodable>> {
        Ok(self)
    }
}

/// Told once all objects of a kind have been listed. (A store's own `wait_until_ready` wakes only
/// the last of those who wait, and its controller is one of them.)
pub(super) type Listed = Arc<SetOnce<()>>;

/// A kind that comes or goes while this program runs.
type Presence = Box<dyn Fn() + Send>;

/// The watches of a kind that are not running yet, and the store that they will fill.
pub(super) struct Informer<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone,
{
    places: Vec<Place<W>>,
    kind: W::DynamicType,
    config: watcher::Config,
    listed: Listed,
    view: View<W>,
}

impl<W> Informer<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// Prepares watches of `places`; `prune` drops what need not be kept of an object.
    pub(super) fn new(
        places: Vec<Place<W>>,
        kind: W::DynamicType,
        prune: fn(&mut W::Object),
    ) -> Self {
        let namespaces = places.iter().map(|place| place.namespace.clone());
        Self {
            view: View::new(kind.clone(), namespaces, prune),
            places,
            kind,
            config: watcher::Config::default().timeout(WATCH_TIMEOUT),
            listed: Listed::default(),
        }
    }

    /// Watches objects of this name only, for which a right to that name is enough.
    pub(super) fn named(mut self, name: &str) -> Self {
        self.config = self.config.fields(&format!("metadata.name={name}"));
        self
    }

    /// Watches objects with such labels only.
    pub(super) fn selected(mut self, labels: Option<&LabelSelector>) -> Self {
        if let Some(labels) = labels {
            self.config = self.config.labels_from(&labels.selector());
        }
        self
    }

    /// The store; it is filled once the watches run.
    pub(super) fn store(&self) -> Store<W::Object> {
        self.view.store()
    }

    /// Told once the store is filled.
    pub(super) fn listed(&self) -> Listed {
        Arc::clone(&self.listed)
    }

    /// Has `listener` told of changes.
    pub(super) fn listen(&mut self, listener: Listener<W::Object>) {
        self.view.listeners.push(listener);
    }

    /// Has `presence` told when the kind is removed from the cluster, and when it is back.
    pub(super) fn on_presence(&mut self, presence: Presence) {
        self.view.presence = Some(presence);
    }

    /// Has objects that cannot be read given to `reports`.
    pub(super) fn report_to(&mut self, reports: mpsc::UnboundedSender<Undecodable>) {
        self.view.undecodable = Some(reports);
    }

    /// Watches until `shutdown`.
    pub(super) async fn run(self, health: Arc<WatchHealth>, shutdown: CancellationToken) {
        let kind = W::kind(&self.kind).into_owned();
        let (mut view, listed) = (self.view, self.listed);
        let watches = self.places.into_iter().enumerate().map(|(at, place)| {
            let events = place::watch(place.api, self.config.clone());
            events.map(move |event| (at, event)).boxed()
        });
        let events = select_all(watches).take_until(shutdown.cancelled_owned());
        let mut events = std::pin::pin!(events);
        while let Some((at, event)) = events.next().await {
            match event {
                Ok(event) => {
                    // Comes before each attempt to list, so it is no sign of success.
                    if !matches!(event, Event::Init) {
                        health.heard(&kind, at);
                        view.found(at);
                    }
                    view.handle(at, event);
                    if view.is_listed() {
                        // Only the first list is news; later ones find it set.
                        let _ = listed.set(());
                    }
                }
                Err(error) => {
                    let is_news = health.failed(&kind, at, Instant::now());
                    if is_news && place::is_forbidden(&error) {
                        warn!(%kind, namespace = view.namespace(at), %error,
                              "a right to list and watch is missing; it is tried again");
                    } else {
                        debug!(%kind, %error, "watch failed; it is tried again");
                    }
                    if place::is_missing(&error) {
                        view.missing(at);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
