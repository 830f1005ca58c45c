//! Waiting for what must come to be, with an account of what was seen instead.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Long enough for a loaded machine; a test that passes takes a fraction of it.
pub const TIMEOUT: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(50);

/// Calls `attempt` until it succeeds and returns its value; panics with its last error after
/// `timeout`.
pub async fn eventually<T, F, Fut>(what: &str, timeout: Duration, mut attempt: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(seen) => {
                assert!(
                    begun.elapsed() < timeout,
                    "not in {timeout:?}: {what}; last seen: {seen}"
                );
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Watches one object until it fulfils the condition and returns it; panics with the object as
/// YAML after [`TIMEOUT`].
pub async fn until<K>(api: &Api<K>, name: &str, what: &str, condition: impl Condition<K>) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let found = await_condition(api.clone(), name, |object: Option<&K>| {
        object.is_some() && condition.matches_object(object)
    });
    let Ok(found) = tokio::time::timeout(TIMEOUT, found).await else {
        let seen = describe(api, name).await;
        panic!("{name:?} is not {what} after {TIMEOUT:?}:\n{seen}");
    };
    let object = found
        .unwrap_or_else(|error| panic!("failed to watch {name:?} until it is {what}: {error}"));
    object.expect("the condition asks for an object")
}

/// Watches one object until it is gone.
pub async fn until_gone<K>(api: &Api<K>, name: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let gone = await_condition(api.clone(), name, |object: Option<&K>| object.is_none());
    let Ok(gone) = tokio::time::timeout(TIMEOUT, gone).await else {
        let seen = describe(api, name).await;
        panic!("{name:?} is there after {TIMEOUT:?}:\n{seen}");
    };
    gone.unwrap_or_else(|error| panic!("failed to watch {name:?}: {error}"));
}

/// Whether the object says Ready of the generation that it has now.
pub fn is_ready(object: Option<&DynamicObject>) -> bool {
    has_condition("Ready", "True")(object)
}

/// Whether a condition has this status, observed for the generation that the object has now.
pub fn has_condition(kind: &str, status: &str) -> impl Fn(Option<&DynamicObject>) -> bool {
    move |object| {
        let Some(object) = object else { return false };
        let reported = &object.data["status"];
        let conditions = reported["conditions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|entry| {
            let observed = entry
                .get("observedGeneration")
                .unwrap_or(&reported["observedGeneration"]);
            entry["type"] == kind
                && entry["status"] == status
                && observed.as_i64() == object.metadata.generation
        })
    }
}

async fn describe<K>(api: &Api<K>, name: &str) -> String
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    match api.get_opt(name).await {
        Ok(Some(mut object)) => {
            object.meta_mut().managed_fields = None;
            serde_yaml::to_string(&object).unwrap_or_else(|error| error.to_string())
        }
        Ok(None) => "there is no such object".to_owned(),
        Err(error) => error.to_string(),
    }
}
