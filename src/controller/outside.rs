//! What namespaces pull with from another registry: copies of two Secrets of the controller's own
//! namespace, as the people who run that registry have put them there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, select_all};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store as Cache;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::context::OutsideRegistry;
use super::queue::Queue;
use super::tenant::{Authority, Login, Means};
use crate::api::FluxDeployer;
use crate::chain::chain;

/// How long a failed look at the Secrets waits for the next one.
const RETRY: Duration = Duration::from_secs(5);

/// The longest time between two looks, for watches that stay silent.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Why there is nothing to hand out.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to get Secret {namespace}/{name}, which --{flag} names")]
    Get {
        flag: &'static str,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    #[error("Secret {namespace}/{name}, which --{flag} names, does not exist: create it")]
    Missing {
        flag: &'static str,
        namespace: String,
        name: String,
    },

    #[error("Secret {namespace}/{name}, which --{flag} names, has no {key:?}: add it")]
    MissingKey {
        flag: &'static str,
        namespace: String,
        name: String,
        key: &'static str,
    },
}

/// The Secrets that are copied, as they were read last.
pub(super) struct OutsideSecrets {
    registry: OutsideRegistry,
    state: Mutex<Result<Means, String>>,
}

impl OutsideSecrets {
    /// The Secrets for `registry`, if any are named.
    pub(super) fn new(registry: &OutsideRegistry) -> Option<Arc<Self>> {
        let is_named = registry.pull_secret.is_some() || registry.ca_secret.is_some();
        is_named.then(|| {
            Arc::new(Self {
                registry: registry.clone(),
                state: Mutex::new(Err("the Secrets are being read".to_owned())),
            })
        })
    }

    /// What namespaces are given, or why it is not known.
    pub(super) fn means(&self) -> Result<Means, String> {
        self.state().clone()
    }

    /// Follows the Secrets until `shutdown`; `deployers` are woken by each change.
    pub(super) async fn run(
        self: Arc<Self>,
        client: Client,
        deployers: (Cache<FluxDeployer>, Queue<FluxDeployer>),
        shutdown: CancellationToken,
    ) {
        let api: Api<Secret> = Api::namespaced(client, &self.registry.namespace);
        let OutsideRegistry {
            pull_secret,
            ca_secret,
            ..
        } = &self.registry;
        let names = pull_secret.iter().chain(ca_secret);
        let watches = names.map(|name| watch_object(api.clone(), name).default_backoff().boxed());
        // With no end: a watch that is silent is no reason to look again and again.
        let mut changes = select_all(watches).chain(stream::pending());
        loop {
            let pause = self.look(&api, &deployers).await;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = changes.next() => {}
            }
        }
    }

    /// Reads the Secrets, and gives the time until the next look.
    async fn look(
        &self,
        api: &Api<Secret>,
        (cache, queue): &(Cache<FluxDeployer>, Queue<FluxDeployer>),
    ) -> Duration {
        let (means, pause) = match self.read(api).await {
            Ok(means) => (Ok(means), LONGEST_PAUSE),
            Err(error) => (Err(chain(&error)), RETRY),
        };
        let mut state = self.state();
        // What was good stays good while its source is amiss.
        let is_news = *state != means && (means.is_ok() || state.is_err());
        if is_news {
            match &means {
                Ok(_) => info!("read what namespaces pull with"),
                Err(error) => warn!(error, "namespaces cannot be told what to pull with"),
            }
            *state = means;
            drop(state);
            queue.push_all(cache);
        }
        pause
    }

    async fn read(&self, api: &Api<Secret>) -> Result<Means, Error> {
        let OutsideRegistry {
            pull_secret,
            ca_secret,
            ..
        } = &self.registry;
        let mut means = Means::default();
        if let Some(name) = pull_secret {
            let flag = "registry-pull-secret";
            means.login = Some(Login(self.value(api, flag, name, Login::KEY).await?));
        }
        if let Some(name) = ca_secret {
            let flag = "registry-ca-secret";
            means.authority = Some(Authority(
                self.value(api, flag, name, Authority::KEY).await?,
            ));
        }
        Ok(means)
    }

    async fn value(
        &self,
        api: &Api<Secret>,
        flag: &'static str,
        name: &str,
        key: &'static str,
    ) -> Result<Vec<u8>, Error> {
        let (namespace, name) = (self.registry.namespace.clone(), name.to_owned());
        let found = api.get_opt(&name).await.map_err(|source| Error::Get {
            flag,
            namespace: namespace.clone(),
            name: name.clone(),
            source: Box::new(source),
        })?;
        let Some(found) = found else {
            return Err(Error::Missing {
                flag,
                namespace,
                name,
            });
        };
        let value = found.data.and_then(|mut data| data.remove(key));
        value.map(|value| value.0).ok_or(Error::MissingKey {
            flag,
            namespace,
            name,
            key,
        })
    }

    fn state(&self) -> MutexGuard<'_, Result<Means, String>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
