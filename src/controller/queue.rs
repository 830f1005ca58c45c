//! The queue of a kind: what is to be looked at, put in by many and taken out by one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

/// The queue of one kind's controller.
pub(super) struct Queue<K: Resource> {
    sender: mpsc::UnboundedSender<ReconcileRequest<K>>,
    waiting: Waiting<K>,
}

/// The objects that somebody wants looked at, each once, until that begins.
pub(super) struct Waiting<K: Resource> {
    objects: Arc<Mutex<HashSet<ObjectRef<K>>>>,
    depth: Gauge,
}

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            waiting: self.waiting.clone(),
        }
    }
}

impl<K: Resource> Clone for Waiting<K> {
    fn clone(&self) -> Self {
        Self {
            objects: Arc::clone(&self.objects),
            depth: self.depth.clone(),
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Queue<K> {
    /// A queue, whose length `depth` shows, and the end that its controller reads from.
    pub(super) fn new(depth: Gauge) -> (Self, Backlog<K>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Waiting {
            objects: Arc::default(),
            depth,
        };
        let queue = Self { sender, waiting };
        let backlog = Backlog {
            queue: queue.clone(),
            receiver,
        };
        (queue, backlog)
    }

    /// Has the object looked at.
    pub(super) fn push(&self, namespace: &str, name: &str) {
        self.send(ObjectRef::new(name).within(namespace));
    }

    /// Has every object of `store` looked at.
    pub(super) fn push_all(&self, store: &Store<K>)
    where
        K: Clone,
    {
        for object in store.state() {
            self.push(&object.namespace().unwrap_or_default(), &object.name_any());
        }
    }

    fn send(&self, object: ObjectRef<K>) {
        self.waiting.add(object.clone());
        // A closed queue means that the process is on its way out.
        let _ = self.sender.send(object.into());
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Waiting<K> {
    /// The object is looked at now, or is gone.
    pub(super) fn done(&self, object: &ObjectRef<K>) {
        let mut objects = self.objects();
        objects.remove(object);
        self.show(&objects);
    }

    fn add(&self, object: ObjectRef<K>) {
        let mut objects = self.objects();
        objects.insert(object);
        self.show(&objects);
    }

    fn clear(&self) {
        let mut objects = self.objects();
        objects.clear();
        self.show(&objects);
    }

    fn show(&self, objects: &HashSet<ObjectRef<K>>) {
        self.depth
            .set(i64::try_from(objects.len()).unwrap_or(i64::MAX));
    }

    fn objects(&self) -> MutexGuard<'_, HashSet<ObjectRef<K>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a queue that its controller reads from.
pub(super) struct Backlog<K: Resource> {
    queue: Queue<K>,
    receiver: mpsc::UnboundedReceiver<ReconcileRequest<K>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Backlog<K> {
    /// The next object to look at.
    pub(super) async fn next(&mut self) -> Option<ReconcileRequest<K>> {
        self.receiver.recv().await
    }

    /// The objects that wait to be looked at.
    pub(super) fn waiting(&self) -> Waiting<K> {
        self.queue.waiting.clone()
    }

    /// Has every object of `store` looked at, and nothing else.
    pub(super) fn refill(&mut self, store: &Store<K>) {
        // The store has a change before it is told of: what is dropped here is in it.
        while self.receiver.try_recv().is_ok() {}
        self.queue.waiting.clear();
        self.queue.push_all(store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Snapshot;

    #[tokio::test]
    async fn depth_counts_each_object_once_until_it_is_looked_at() {
        let depth = Gauge::default();
        let (queue, mut backlog) = Queue::<Snapshot>::new(depth.clone());
        queue.push("team-a", "one");
        queue.push("team-a", "one");
        queue.push("team-a", "two");
        assert_eq!(depth.get(), 2);
        let first = backlog.next().await.unwrap();
        assert_eq!(depth.get(), 2, "it was taken, but nobody has begun");
        backlog.waiting().done(&first.obj_ref);
        assert_eq!(depth.get(), 1);
    }
}
