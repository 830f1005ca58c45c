//! One watch: of the whole cluster or of a namespace, tried again for ever.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::controller::decode::Decoded;
use crate::controller::selection::Selection;
use crate::snapshot::Namespace;

/// The pause before a failed watch is tried again, where the backoff names none.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a watch looks.
pub(in crate::controller) struct Place<W> {
    /// The namespace; where absent, all of them.
    pub(super) namespace: Option<String>,
    pub(super) api: Api<W>,
}

impl<W> Place<W>
where
    W: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    /// The places that `selection` names.
    pub(in crate::controller) fn all(client: &Client, selection: &Selection) -> Vec<Self> {
        selection.places(|namespace| Self {
            namespace: namespace.map(str::to_owned),
            api: match namespace {
                None => Api::all(client.clone()),
                Some(namespace) => Api::namespaced(client.clone(), namespace),
            },
        })
    }

    /// These namespaces.
    pub(in crate::controller) fn of(client: &Client, namespaces: &[Namespace]) -> Vec<Self> {
        let namespaces = namespaces.iter().map(Namespace::as_str);
        let place = |namespace: &str| Self {
            namespace: Some(namespace.to_owned()),
            api: Api::namespaced(client.clone(), namespace),
        };
        namespaces.map(place).collect()
    }
}

impl Place<Decoded<DynamicObject>> {
    /// The places that `selection` names, for a kind that is known only by its name.
    pub(in crate::controller) fn all_of(
        kind: &ApiResource,
        client: &Client,
        selection: &Selection,
    ) -> Vec<Self> {
        selection.places(|namespace| Self {
            namespace: namespace.map(str::to_owned),
            api: match namespace {
                None => Api::all_with(client.clone(), kind),
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
            },
        })
    }
}

/// A watch that is under way.
struct Watching<W: Resource> {
    api: Api<W>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<W>>>,
    pauses: DefaultBackoff,
    /// How long to wait before the next try.
    pause: Option<Duration>,
}

/// What a watch of `api` shows, for ever. After each failure there is a pause, which grows until
/// something gets through.
pub(super) fn watch<W>(
    api: Api<W>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<W>>> + Send
where
    W: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let watching = Watching {
        events: watcher::watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        pauses: DefaultBackoff::default(),
        pause: None,
    };
    stream::unfold(watching, Watching::next)
}

impl<W> Watching<W>
where
    W: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn next(mut self) -> Option<(watcher::Result<Event<W>>, Self)> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let event = self.events.next().await?;
        match &event {
            // Comes before each attempt to list, so it is no sign of success.
            Ok(Event::Init) => {}
            Ok(_) => self.pauses.reset(),
            Err(error) => {
                self.pause = Some(self.pauses.next().unwrap_or(LONGEST_PAUSE));
                // What a watch knows of a kind that is gone is of no use when it comes back, nor a
                // place to go on from that is forgotten, which the library would try for ever.
                if is_missing(error) || is_expired(error) {
                    let (api, config) = (self.api.clone(), self.config.clone());
                    self.events = watcher::watcher(api, config).boxed();
                }
            }
        }
        Some((event, self))
    }
}

/// Whether the API server does not know the kind.
pub(super) fn is_missing(error: &watcher::Error) -> bool {
    status_code(error) == Some(404)
}

/// Whether a watch cannot go on where it ended.
fn is_expired(error: &watcher::Error) -> bool {
    status_code(error) == Some(410)
}

/// Whether the right to list or watch is missing.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    status_code(error) == Some(403)
}

fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
