//! What a watch makes of an API server that fails, lies and falls silent.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::api::ComponentVersion;
use crate::controller::scripted::{Requests, server};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A watch that runs, and what it tells: `+NAME` and `-NAME`.
struct Watch<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    listed: Listed,
    told: mpsc::UnboundedReceiver<String>,
    health: Arc<WatchHealth>,
    task: JoinHandle<()>,
}

impl<K: Resource<DynamicType = ()>> Drop for Watch<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K: Resource<DynamicType = ()>> Watch<K> {
    /// The next object that it tells of.
    async fn told(&mut self) -> String {
        timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    /// What it has told by now.
    fn told_so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }
}

fn watch<K>(client: &Client, patience: u32) -> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (tell, told) = mpsc::unbounded_channel();
    let place = Place {
        namespace: None,
        api: Api::all(client.clone()),
    };
    let mut informer: Informer<Decoded<K>> = Informer::new(vec![place], (), |_| ());
    informer.config = informer.config.timeout(patience);
    informer.listen(Listener {
        fingerprint: |object| {
            let version = object.meta().resource_version.as_deref().unwrap_or("0");
            version.parse().unwrap()
        },
        notify: Box::new(move |object, change| {
            let sign = if change == Change::Applied { '+' } else { '-' };
            let _ = tell.send(format!("{sign}{}", object.name_any()));
        }),
    });
    let health = Arc::new(WatchHealth::default());
    let (store, listed) = (informer.store(), informer.listed());
    let task = tokio::spawn(informer.run(Arc::clone(&health), CancellationToken::new()));
    Watch {
        store,
        listed,
        told,
        health,
        task,
    }
}

fn object(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "resourceVersion": version}})
}

async fn next(requests: &mut Requests) -> crate::controller::scripted::Asked {
    timeout(PATIENCE, requests.next()).await.unwrap()
}

#[tokio::test]
async fn f18_half_open_watch_is_begun_anew_and_nothing_is_lost() {
    // As long as the API server keeps a watch, and the margin that the library adds.
    assert!(Duration::from_secs(u64::from(WATCH_TIMEOUT) + 5) <= Duration::from_mins(1));
    let (client, mut requests) = server();
    let mut watch = watch::<ConfigMap>(&client, 1);
    next(&mut requests).await.list("7", &[object("a", "1")]);
    assert_eq!(watch.told().await, "+a");
    // Nothing comes, and nothing says that nothing will.
    let silent = next(&mut requests).await.watch();
    let again = next(&mut requests).await;
    assert!(again.uri.contains("resourceVersion=7"), "{}", again.uri);
    let events = again.watch();
    events.send("ADDED", &object("b", "8"));
    assert_eq!(watch.told().await, "+b");
    drop((silent, events));
}

#[tokio::test]
async fn f19_watch_that_fails_again_and_again_comes_back_and_holds_up_no_other() {
    let (client, mut requests) = server();
    let mut failing = watch::<ConfigMap>(&client, 45);
    let (other_client, mut other_requests) = server();
    let mut other = watch::<Secret>(&other_client, 45);
    for _ in 0..3 {
        next(&mut requests).await.answer(500, &json!({}));
    }
    next(&mut other_requests)
        .await
        .list("1", &[object("s", "1")]);
    assert_eq!(other.told().await, "+s");
    let failing_since = |watch: &Watch<ConfigMap>| {
        let kinds = watch.health.failing(Instant::now());
        kinds.into_values().next().unwrap_or_default()
    };
    let back = next(&mut requests).await;
    assert!(failing_since(&failing) > Duration::ZERO);
    back.list("1", &[object("a", "1")]);
    assert_eq!(failing.told().await, "+a");
    assert_eq!(failing_since(&failing), Duration::ZERO);
    // However long it has failed, it is tried again within half a minute, and a spread of it.
    let longest = DefaultBackoff::default().take(100).max().unwrap();
    assert!(longest <= Duration::from_mins(1), "{longest:?}");
}

#[tokio::test]
async fn f20_list_after_410_tells_of_what_went_and_of_nothing_that_is_the_same() {
    let (client, mut requests) = server();
    let mut watch = watch::<ConfigMap>(&client, 45);
    let before = [
        object("kept", "1"),
        object("gone", "2"),
        object("changed", "3"),
    ];
    next(&mut requests).await.list("3", &before);
    for _ in 0..3 {
        watch.told().await;
    }
    let events = next(&mut requests).await.watch();
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
                      "message": "too old resource version"});
    events.send("ERROR", &gone);
    drop(events);
    let after = [
        object("kept", "1"),
        object("changed", "8"),
        object("new", "9"),
    ];
    next(&mut requests).await.list("9", &after);
    let mut told = [watch.told().await, watch.told().await, watch.told().await];
    told.sort_unstable();
    assert_eq!(told, ["+changed", "+new", "-gone"]);
    // One list was enough.
    let events = next(&mut requests).await.watch();
    assert_eq!(watch.told_so_far(), Vec::<String>::new());
    assert_eq!(watch.store.len(), 3);
    // The same as an answer, in place of an event.
    drop(events);
    next(&mut requests).await.answer(410, &gone);
    next(&mut requests).await.list("12", &[object("new", "9")]);
    let mut told = [watch.told().await, watch.told().await];
    told.sort_unstable();
    assert_eq!(told, ["-changed", "-kept"]);
}

#[tokio::test]
async fn f21_event_that_comes_twice_or_late_wakes_nobody_for_nothing() {
    let (client, mut requests) = server();
    let mut watch = watch::<ConfigMap>(&client, 45);
    next(&mut requests).await.list("1", &[object("a", "1")]);
    assert_eq!(watch.told().await, "+a");
    let events = next(&mut requests).await.watch();
    for _ in 0..3 {
        events.send("MODIFIED", &object("a", "2"));
    }
    events.send("ADDED", &object("b", "3"));
    assert_eq!(watch.told().await, "+a");
    assert_eq!(watch.told().await, "+b");
    // It was deleted and made again, and neither was seen.
    events.send("MODIFIED", &object("b", "5"));
    assert_eq!(watch.told().await, "+b");
    events.send("DELETED", &object("b", "6"));
    assert_eq!(watch.told().await, "-b");
    assert_eq!(watch.store.len(), 1);
}

/// Of a list in pages nobody sees a part: who looked at one would take the rest for missing, and
/// remove what belongs to it.
#[tokio::test]
async fn list_is_seen_once_its_last_page_is_there() {
    let (client, mut requests) = server();
    let mut watch = watch::<ConfigMap>(&client, 45);
    let page = json!({"metadata": {"resourceVersion": "1", "continue": "more"},
                      "items": [object("a", "1")]});
    next(&mut requests).await.answer(200, &page);
    let rest = next(&mut requests).await;
    assert!(rest.uri.contains("continue=more"), "{}", rest.uri);
    assert_eq!(watch.store.len(), 0);
    assert!(watch.listed.get().is_none());
    rest.list("1", &[object("b", "1")]);
    timeout(PATIENCE, watch.listed.wait()).await.unwrap();
    assert_eq!(watch.store.len(), 2);
    let mut told = watch.told_so_far();
    told.sort_unstable();
    assert_eq!(told, ["+a", "+b"]);
}

#[tokio::test]
async fn cve_2022_39272_objects_that_cannot_be_decoded_stop_no_other() {
    let (client, mut requests) = server();
    let mut watch = watch::<ComponentVersion>(&client, 45);
    let version = |name: &str, version: &str, interval: Value| {
        json!({
            "apiVersion": "delivery.ocm.software/v1alpha1",
            "kind": "ComponentVersion",
            "metadata": {"namespace": "ns", "name": name, "resourceVersion": version},
            "spec": {
                "component": "example.org/podinfo",
                "interval": interval,
                "version": {"semver": "1.0.0"},
                "repository": {"url": "registry.example.org"},
            },
        })
    };
    let mut items: Vec<Value> = (0..100)
        .map(|number| match number % 5 {
            0 => version(&format!("bad-{number}"), "1", json!("1z")),
            1 => version(&format!("bad-{number}"), "1", json!(10)),
            2 => version(&format!("bad-{number}"), "1", json!(["1m"])),
            3 => json!({"metadata": object(&format!("bad-{number}"), "1")["metadata"]}),
            _ => {
                let mut bad = version(&format!("bad-{number}"), "1", json!("1m"));
                bad["spec"]["version"] = Value::Null;
                bad
            }
        })
        .collect();
    items.push(version("good", "1", json!("1m")));
    next(&mut requests).await.list("1", &items);
    assert_eq!(watch.told().await, "+good");
    let events = next(&mut requests).await.watch();
    events.send("ADDED", &version("late", "2", json!("-1x")));
    events.send("ADDED", &version("later", "3", json!("1m")));
    assert_eq!(watch.told().await, "+later");
    // One that was good and is not any more: its old form is used no longer.
    events.send("MODIFIED", &version("good", "4", json!("1z")));
    assert_eq!(watch.told().await, "-good");
    events.send("MODIFIED", &version("good", "5", json!("2m")));
    assert_eq!(watch.told().await, "+good");
    assert_eq!(watch.store.len(), 2);
}
