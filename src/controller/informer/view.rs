//! What the watches of a kind have shown so far, and who is told of it.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Change, Listener, Presence, Watched};
use crate::controller::decode::Undecodable;
use crate::controller::takeover;

/// What the watches of a kind have shown so far, and who is told of it.
pub(super) struct View<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone,
{
    kind: W::DynamicType,
    /// Drops what is not needed before an object is kept.
    prune: fn(&mut W::Object),
    writer: Writer<W::Object>,
    states: Vec<State<W::Object>>,
    pub(super) listeners: Vec<Listener<W::Object>>,
    pub(super) presence: Option<Presence>,
    pub(super) undecodable: Option<mpsc::UnboundedSender<Undecodable>>,
    /// What each listener cared about when it was last told, by object.
    told: HashMap<ObjectRef<W::Object>, Vec<u64>>,
    /// What was logged of objects that cannot be read.
    problems: HashMap<ObjectRef<W::Object>, String>,
}

/// How far one watch has come.
struct State<K> {
    namespace: Option<String>,
    /// What the list that is under way has shown.
    incoming: Vec<K>,
    is_listed: bool,
    /// The kind was not there at the last try.
    is_missing: bool,
}

impl<W> View<W>
where
    W: Watched,
    W::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    /// A view of one watch for each of `namespaces`, where absent of the whole cluster.
    pub(super) fn new(
        kind: W::DynamicType,
        namespaces: impl Iterator<Item = Option<String>>,
        prune: fn(&mut W::Object),
    ) -> Self {
        let states = namespaces.map(|namespace| State {
            namespace,
            incoming: Vec::new(),
            is_listed: false,
            is_missing: false,
        });
        let mut writer = Writer::new(kind.clone());
        // Controllers wait until the store says that it is filled; here whoever starts them waits
        // until everything is listed. Said now, since it is said by swapping in what was listed.
        writer.apply_watcher_event(&Event::InitDone);
        Self {
            writer,
            kind,
            prune,
            states: states.collect(),
            listeners: Vec::new(),
            presence: None,
            undecodable: None,
            told: HashMap::new(),
            problems: HashMap::new(),
        }
    }

    /// What the watches show.
    pub(super) fn store(&self) -> Store<W::Object> {
        self.writer.as_reader()
    }

    /// Whether each watch has shown a whole list.
    pub(super) fn is_listed(&self) -> bool {
        self.states.iter().all(|state| state.is_listed)
    }

    /// The namespace of one watch.
    pub(super) fn namespace(&self, at: usize) -> Option<&str> {
        self.states[at].namespace.as_deref()
    }

    /// Takes note of what one watch has shown.
    pub(super) fn handle(&mut self, at: usize, event: Event<W>) {
        match event {
            Event::Apply(object) => {
                if let Some(object) = self.decoded(object) {
                    self.writer
                        .apply_watcher_event(&Event::Apply(object.clone()));
                    self.tell(&object);
                }
            }
            Event::Delete(object) => match object.into_object() {
                Ok(object) => self.remove(&object),
                Err(undecodable) => {
                    let key = self.key_of(&undecodable);
                    self.problems.remove(&key);
                    self.drop_known(&key);
                }
            },
            Event::Init => self.states[at].incoming.clear(),
            Event::InitApply(object) => {
                if let Some(object) = self.decoded(object) {
                    self.states[at].incoming.push(object);
                }
            }
            Event::InitDone => self.replace(at),
        }
    }

    /// Swaps in a whole new list. Objects that went while nobody watched are told of as well.
    fn replace(&mut self, at: usize) {
        let incoming = std::mem::take(&mut self.states[at].incoming);
        let there: HashSet<_> = incoming.iter().map(|object| self.key(object)).collect();
        for object in self.shown_by(at) {
            if !there.contains(&self.key(&object)) {
                self.remove(&object);
            }
        }
        for object in &incoming {
            self.writer
                .apply_watcher_event(&Event::Apply(object.clone()));
        }
        for object in &incoming {
            self.tell(object);
        }
        self.states[at].is_listed = true;
    }

    /// The kind is no longer there, and so are its objects.
    pub(super) fn missing(&mut self, at: usize) {
        if std::mem::replace(&mut self.states[at].is_missing, true) {
            return;
        }
        for object in self.shown_by(at) {
            self.remove(&object);
        }
        if let (Some(presence), true) = (&self.presence, self.states[at].is_listed) {
            info!(kind = %W::kind(&self.kind), "the kind was removed from the cluster");
            presence();
        }
    }

    /// The kind is there.
    pub(super) fn found(&mut self, at: usize) {
        let was_missing = std::mem::take(&mut self.states[at].is_missing);
        if let (Some(presence), true) = (&self.presence, was_missing) {
            info!(kind = %W::kind(&self.kind), "the kind is in the cluster now");
            presence();
        }
    }

    /// The objects of one watch.
    fn shown_by(&self, at: usize) -> Vec<Arc<W::Object>> {
        let namespace = &self.states[at].namespace;
        let mut objects = self.store().state();
        objects.retain(|object| namespace.is_none() || object.meta().namespace == *namespace);
        objects
    }

    fn remove(&mut self, object: &W::Object) {
        self.writer
            .apply_watcher_event(&Event::Delete(object.clone()));
        self.told.remove(&self.key(object));
        for listener in &self.listeners {
            (listener.notify)(object, Change::Deleted);
        }
    }

    /// An object that can no longer be decoded is as good as gone: its old form must not be used.
    fn drop_known(&mut self, key: &ObjectRef<W::Object>) {
        if let Some(known) = self.store().get(key) {
            self.remove(&known);
        }
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

    fn key(&self, object: &W::Object) -> ObjectRef<W::Object> {
        ObjectRef::from_obj_with(object, self.kind.clone())
    }

    fn key_of(&self, undecodable: &Undecodable) -> ObjectRef<W::Object> {
        let name = undecodable.metadata.name.clone().unwrap_or_default();
        let namespace = undecodable.metadata.namespace.clone().unwrap_or_default();
        ObjectRef::new_with(&name, self.kind.clone()).within(&namespace)
    }

    /// The object, unless it cannot be decoded: then it is reported, and logged once.
    fn decoded(&mut self, object: W) -> Option<W::Object> {
        let undecodable = match object.into_object() {
            Ok(mut object) => {
                object
                    .managed_fields_mut()
                    .retain(takeover::is_to_take_over);
                (self.prune)(&mut object);
                self.problems.remove(&self.key(&object));
                return Some(object);
            }
            Err(undecodable) => undecodable,
        };
        let key = self.key_of(&undecodable);
        let problem = &undecodable.problem;
        if self.problems.get(&key) != Some(problem) {
            warn!(
                kind = %W::kind(&self.kind),
                namespace = undecodable.metadata.namespace,
                name = undecodable.metadata.name,
                error = problem,
                "left out an object that cannot be decoded"
            );
            self.problems.insert(key.clone(), problem.clone());
        }
        self.drop_known(&key);
        if let Some(reports) = &self.undecodable {
            // Who no longer listens is on its way out.
            let _ = reports.send(*undecodable);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::Snapshot;
    use crate::controller::decode::Decoded;

    type Told = Arc<Mutex<Vec<String>>>;

    /// A view of these namespaces, and what its listener and its presence were told.
    fn view(namespaces: &[Option<&str>]) -> (View<Decoded<Snapshot>>, Told) {
        let namespaces = namespaces.iter().map(|found| found.map(str::to_owned));
        let mut view = View::new((), namespaces, |_| ());
        let told = Told::default();
        let (heard, present) = (Arc::clone(&told), Arc::clone(&told));
        view.listeners.push(Listener {
            fingerprint: |snapshot: &Snapshot| u64::from(snapshot.spec.tag == "2"),
            notify: Box::new(move |snapshot: &Snapshot, change| {
                let text = format!("{change:?} {}", snapshot.name_any());
                heard.lock().unwrap().push(text);
            }),
        });
        view.presence = Some(Box::new(move || {
            present.lock().unwrap().push("presence".to_owned());
        }));
        (view, told)
    }

    fn snapshot(namespace: &str, name: &str, tag: &Value) -> Decoded<Snapshot> {
        serde_json::from_value(json!({
            "apiVersion": "delivery.ocm.software/v1alpha1",
            "kind": "Snapshot",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"identity": {}, "digest": "sha256:0", "tag": tag},
        }))
        .unwrap()
    }

    fn list(view: &mut View<Decoded<Snapshot>>, at: usize, objects: &[Decoded<Snapshot>]) {
        view.handle(at, Event::Init);
        for object in objects {
            view.handle(at, Event::InitApply(object.clone()));
        }
        view.handle(at, Event::InitDone);
    }

    fn names(view: &View<Decoded<Snapshot>>) -> Vec<String> {
        let mut names: Vec<_> = view
            .store()
            .state()
            .iter()
            .map(|found| found.name_any())
            .collect();
        names.sort();
        names
    }

    fn taken(told: &Told) -> Vec<String> {
        std::mem::take(&mut *told.lock().unwrap())
    }

    #[test]
    fn list_of_one_namespace_replaces_the_objects_of_that_one_alone() {
        let (mut view, told) = view(&[Some("a"), Some("b")]);
        list(&mut view, 0, &[snapshot("a", "one", &json!("1"))]);
        assert!(!view.is_listed(), "the other is still to come");
        list(&mut view, 1, &[snapshot("b", "two", &json!("1"))]);
        assert!(view.is_listed());
        assert_eq!(taken(&told), ["Applied one", "Applied two"]);
        list(&mut view, 0, &[snapshot("a", "three", &json!("1"))]);
        assert_eq!(names(&view), ["three", "two"]);
        assert_eq!(taken(&told), ["Deleted one", "Applied three"]);
    }

    #[test]
    fn who_is_told_hears_only_what_it_cares_about() {
        let (mut view, told) = view(&[None]);
        list(&mut view, 0, &[snapshot("a", "one", &json!("0"))]);
        view.handle(0, Event::Apply(snapshot("a", "one", &json!("1"))));
        assert_eq!(taken(&told), ["Applied one"]);
        view.handle(0, Event::Apply(snapshot("a", "one", &json!("2"))));
        assert_eq!(taken(&told), ["Applied one"]);
    }

    #[test]
    fn f26_objects_of_a_kind_that_is_removed_are_gone_and_it_is_told_of_once() {
        let (mut view, told) = view(&[None]);
        view.missing(0);
        view.found(0);
        assert_eq!(taken(&told), ["presence"], "it was installed later");
        list(&mut view, 0, &[snapshot("a", "one", &json!("1"))]);
        taken(&told);
        view.missing(0);
        view.missing(0);
        assert_eq!(taken(&told), ["Deleted one", "presence"]);
        assert!(names(&view).is_empty());
        view.found(0);
        view.found(0);
        assert_eq!(taken(&told), ["presence"]);
    }

    #[test]
    fn b64_object_that_cannot_be_decoded_is_as_good_as_gone_and_reported() {
        let (mut view, told) = view(&[None]);
        let (sender, mut reports) = mpsc::unbounded_channel();
        view.undecodable = Some(sender);
        let bad = snapshot("a", "one", &json!(5));
        list(
            &mut view,
            0,
            &[
                snapshot("a", "one", &json!("1")),
                snapshot("a", "two", &json!("1")),
            ],
        );
        taken(&told);
        view.handle(0, Event::Apply(bad.clone()));
        assert_eq!(taken(&told), ["Deleted one"]);
        assert_eq!(names(&view), ["two"]);
        let report = reports.try_recv().unwrap();
        assert_eq!(report.metadata.name.as_deref(), Some("one"));
        // The same again is reported, as its status may have changed, but it is no news.
        assert_eq!(view.problems.len(), 1);
        view.handle(0, Event::Delete(bad));
        assert!(view.problems.is_empty());
    }
}
