//! Follows all objects of the chain and prints a line for each change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream, SelectAll, StreamExt as _};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;

use crate::shell::say;
use crate::support::cluster::Cluster;
use crate::{Error, Result};

const TIMEOUT: Duration = Duration::from_mins(2);

/// A kind in a namespace, and where its objects say what version they are at.
struct Followed {
    api_version: &'static str,
    kind: &'static str,
    namespace: &'static str,
    version: &'static str,
}

const fn kind(
    api_version: &'static str,
    kind: &'static str,
    namespace: &'static str,
    version: &'static str,
) -> Followed {
    Followed {
        api_version,
        kind,
        namespace,
        version,
    }
}

const OCM: &str = "delivery.ocm.software/v1alpha1";
const SOURCE: &str = "source.toolkit.fluxcd.io/v1";
const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/v1";

/// In the order of the flow. The last one is what all of it is for.
const KINDS: [Followed; 11] = [
    kind(
        SOURCE,
        "GitRepository",
        "flux-system",
        "/status/artifact/revision",
    ),
    kind(
        KUSTOMIZE,
        "Kustomization",
        "flux-system",
        "/status/lastAppliedRevision",
    ),
    kind(
        OCM,
        "ComponentVersion",
        "ocm-system",
        "/status/reconciledVersion",
    ),
    kind(OCM, "ComponentDescriptor", "ocm-system", "/spec/version"),
    kind(
        OCM,
        "Resource",
        "ocm-system",
        "/status/lastAppliedResourceVersion",
    ),
    kind(
        OCM,
        "Localization",
        "ocm-system",
        "/status/latestSourceVersion",
    ),
    kind(OCM, "Snapshot", "ocm-system", "/spec/tag"),
    kind(
        OCM,
        "FluxDeployer",
        "ocm-system",
        "/status/lastAppliedVersion",
    ),
    kind(
        SOURCE,
        "OCIRepository",
        "ocm-system",
        "/status/artifact/revision",
    ),
    kind(
        KUSTOMIZE,
        "Kustomization",
        "ocm-system",
        "/status/lastAppliedRevision",
    ),
    kind(
        "apps/v1",
        "Deployment",
        "default",
        "/spec/template/spec/containers/0/image",
    ),
];

const GOAL: &str = "Deployment";

/// What a line tells of an object.
#[derive(PartialEq)]
struct Line {
    state: &'static str,
    version: String,
    message: String,
}

impl Line {
    fn of(kind: &Followed, object: &DynamicObject) -> Self {
        let text = |value: Option<&Value>| {
            let text = value.and_then(Value::as_str).unwrap_or_default();
            shortened(text.lines().next().unwrap_or_default())
        };
        let ready = object.data.get("status").and_then(|status| {
            let conditions = status.get("conditions")?.as_array()?;
            conditions.iter().find(|found| found["type"] == "Ready")
        });
        let state = match ready.and_then(|found| found["status"].as_str()) {
            Some("True") => "ready",
            Some("False") => "not ready",
            Some(_) => "working",
            // These say all they have to say by being there.
            None if [GOAL, "ComponentDescriptor"].contains(&kind.kind) => "there",
            None => "new",
        };
        Self {
            state,
            version: text(object.data.pointer(kind.version)),
            message: text(ready.and_then(|found| found.get("message"))),
        }
    }

    fn is_good(&self) -> bool {
        ["ready", "there"].contains(&self.state)
    }
}

/// What a watch tells, and of which of the kinds.
type Seen = (usize, watcher::Result<Event<DynamicObject>>);

/// The watches of all kinds, and the last line of each object.
pub(crate) struct Chain {
    events: SelectAll<BoxStream<'static, Seen>>,
    lines: BTreeMap<(usize, String), Line>,
}

impl Chain {
    /// Asks the API server for the kinds, so that [`follow`](Self::follow) can begin at once.
    pub(crate) async fn find(cluster: &Cluster) -> Self {
        let mut streams = Vec::new();
        for (place, kind) in KINDS.iter().enumerate() {
            let api = cluster
                .api(kind.api_version, kind.kind, kind.namespace)
                .await;
            let events = watcher(api, watcher::Config::default());
            streams.push(events.map(move |event| (place, event)).boxed());
        }
        Self {
            events: stream::select_all(streams),
            lines: BTreeMap::new(),
        }
    }

    /// Prints changes until the Deployment is there and all that led to it is ready.
    pub(crate) async fn follow(mut self) -> Result<()> {
        let begun = Instant::now();
        let followed = tokio::time::timeout(TIMEOUT, self.until_ready(begun)).await;
        followed.unwrap_or_else(|_| {
            Err(Error::Wait {
                seconds: TIMEOUT.as_secs(),
                awaited: self.awaited(),
            })
        })
    }

    async fn until_ready(&mut self, begun: Instant) -> Result<()> {
        while let Some((place, event)) = self.events.next().await {
            let kind = &KINDS[place];
            let event = event.map_err(|source| Error::Watch {
                kind: kind.kind,
                source: Box::new(source),
            })?;
            let (Event::Apply(object) | Event::InitApply(object)) = event else {
                continue;
            };
            let line = Line::of(kind, &object);
            // Flux says ready first and of which version in a second write.
            if line.state == "ready" && line.version.is_empty() {
                continue;
            }
            let key = (place, object.name_any());
            if self.lines.get(&key) != Some(&line) {
                print(begun, kind, &key.1, &line);
                self.lines.insert(key, line);
            }
            if self.has_arrived() && self.lines.values().all(Line::is_good) {
                return Ok(());
            }
        }
        unreachable!("a watch goes on for ever")
    }

    fn has_arrived(&self) -> bool {
        let mut places = self.lines.keys();
        places.any(|(place, _)| KINDS[*place].kind == GOAL)
    }

    fn awaited(&self) -> String {
        let waiting = self.lines.iter().filter(|(_, line)| !line.is_good());
        let mut awaited: Vec<String> = waiting
            .map(|((place, name), line)| {
                format!("{} {name} ({})", KINDS[*place].kind, line.message)
            })
            .collect();
        if !self.has_arrived() {
            awaited.push(format!("{GOAL} podinfo"));
        }
        awaited.join(", ")
    }
}

fn print(begun: Instant, kind: &Followed, name: &str, line: &Line) {
    let printed = format!(
        "{:5.2} s  {:<19} {:<32} {:<9} {:<19} {}",
        begun.elapsed().as_secs_f32(),
        kind.kind,
        shortened(name),
        line.state,
        line.version,
        line.message
    );
    say(printed.trim_end());
}

/// Cuts digests, commit ids and hashes down to what a person compares.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 8;
    let mut short = String::with_capacity(text.len());
    let mut digits = 0;
    for character in text.chars() {
        if character.is_ascii_hexdigit() {
            digits += 1;
        } else {
            digits = 0;
        }
        if digits <= SHOWN {
            short.push(character);
        }
    }
    short
}
