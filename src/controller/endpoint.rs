//! The registry's certificate and pull keys: kept in two Secrets of the controller's own namespace,
//! made and changed there, and handed to the server and to the namespaces that pull.
//!
//! The order of a change is always the same. The Secret is written first, by who wins the race.
//! Then every namespace that pulls is told whom to trust besides, and only after a while, and once
//! all have been told, is the new certificate shown; passwords of the key before stay good until the next change. So nobody
//! who has read the old state fails while the new one spreads.

mod keys;
mod turn;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use futures::stream::select;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::Store as Cache;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Probe;
use super::informer::Change;
use super::lease::Claim;
use super::queue::Queue;
use super::tenant::{is_ours, salt_in};
use crate::api::FluxDeployer;
use crate::chain::chain;
use crate::metrics::Metrics;
use crate::serve::access::{Access, Guest};
use crate::serve::certificate;
use crate::serve::pull::{NoRandomness, PullKeys, Salt};
use crate::snapshot::{Namespace, Repository};

use keys::advance_keys;
use turn::{Tls, advance_certificate, has_all};

/// The Secret with the keys that pull credentials are derived from.
pub const PULL_KEY_SECRET: &str = "ocm-registry-pull-key";

/// How long a failed look at the Secrets waits for the next one.
const RETRY: Duration = Duration::from_secs(5);

/// The longest time between two looks, for clocks that jump.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Where certificate and keys are kept, and how long they are good.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The controller's own namespace.
    pub namespace: String,
    /// The Secret with the certificate.
    pub certificate_secret: String,
    /// How Flux reaches the registry: host, and port where there is one.
    pub address: String,
    /// How long a certificate that is made is good. It and the pull key are changed when two
    /// thirds of that are over.
    pub life: Duration,
}

impl EndpointSettings {
    /// The host that clients dial.
    fn host(&self) -> &str {
        let address = &self.address;
        let host = match address.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => address,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The age at which certificate and key are changed.
    fn turn(&self) -> Duration {
        self.life / 3 * 2
    }
}

/// What is wrong with the Secrets of the controller's own namespace.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to {verb} Secret {namespace}/{name}")]
    Request {
        verb: &'static str,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    #[error("Secret {name:?} has no {key:?}: add it, or delete the Secret, and one is made")]
    MissingKey { name: String, key: &'static str },

    #[error("failed to use the certificate of Secret {name:?}")]
    Certificate {
        name: String,
        source: certificate::Error,
    },

    #[error("failed to make a pull key")]
    MakeKey { source: NoRandomness },
}

/// What is to be done about a Secret.
#[derive(Debug)]
enum Step {
    /// It is good until then.
    Keep { until: SystemTime },
    /// It has to be written, in place of the one that was read.
    Write(Box<Secret>),
}

/// What namespaces that pull are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handout {
    /// Whom to trust, PEM.
    pub(super) authorities: String,
    /// What passwords are made by.
    pub(super) keys: PullKeys,
}

/// The registry's certificate and keys, and those who are told of them.
pub(super) struct Endpoint {
    settings: EndpointSettings,
    access: Access,
    metrics: Metrics,
    state: Mutex<State>,
}

/// All deployers, and how they are woken.
type Deployers = (Cache<FluxDeployer>, Queue<FluxDeployer>);

#[derive(Default)]
struct State {
    tls: Tls,
    keys: Option<PullKeys>,
    handout: Option<Handout>,
}

impl Endpoint {
    /// An endpoint that has nothing to show yet; the server looks at `access`.
    pub(super) fn new(settings: EndpointSettings, access: Access, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            settings,
            access,
            metrics,
            state: Mutex::default(),
        })
    }

    /// What namespaces that pull are given, once it is known.
    pub(super) fn handout(&self) -> Option<Handout> {
        self.state().handout.clone()
    }

    /// The address that credentials are for.
    pub(super) fn address(&self) -> &str {
        &self.settings.address
    }

    /// The salt of the password of `namespace`: that of its Secret, if it has one.
    pub(super) fn salt_of(
        &self,
        namespace: &Namespace,
        secret: Option<&Secret>,
    ) -> Result<Salt, NoRandomness> {
        let Some(salt) = secret.and_then(salt_in) else {
            return self.access.salt_of(namespace);
        };
        self.access.expect(namespace.clone(), salt);
        Ok(salt)
    }

    /// Takes note of the Secrets that namespaces pull with, all that there are.
    pub(super) fn know(&self, secrets: &Cache<Secret>) {
        for secret in secrets.state() {
            self.see(&secret, Change::Applied);
        }
        self.access.lock_out_others();
    }

    /// Takes note of a change of a Secret that a namespace pulls with.
    pub(super) fn see(&self, secret: &Secret, change: Change) {
        let namespace = secret.namespace().unwrap_or_default();
        let Ok(namespace) = namespace.parse::<Namespace>() else {
            return;
        };
        match (change, salt_in(secret)) {
            (Change::Deleted, _) => self.access.lock_out(&namespace),
            (Change::Applied, Some(salt)) => self.access.expect(namespace, salt),
            // What somebody has damaged is repaired.
            (Change::Applied, None) => {}
        }
    }

    /// Lets a deployer's namespace read the snapshot of another one, as long as it asks for it.
    pub(super) fn invite(&self, namespace: &str, name: &str, repository: Option<Repository>) {
        let guest = Guest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.access.invite(guest, repository);
    }

    /// Keeps the Secrets until `shutdown`, and writes them only while `claim` holds. `probe` hears
    /// what is wrong, or that nothing is; `deployers` are woken when there is something to tell
    /// their namespaces, and `tenants` shows what these have been told.
    pub(super) async fn run(
        self: Arc<Self>,
        client: Client,
        (deployers, tenants): (Deployers, Cache<Secret>),
        mut claim: Claim,
        probe: impl Probe,
        shutdown: CancellationToken,
    ) {
        let api: Api<Secret> = Api::namespaced(client, &self.settings.namespace);
        let certificates = watch_object(api.clone(), &self.settings.certificate_secret);
        let keys = watch_object(api.clone(), PULL_KEY_SECRET);
        let changes = select(certificates, keys).default_backoff();
        let mut changes = std::pin::pin!(changes);
        let mut problem = None;
        loop {
            let leads = claim.holds();
            let pause = match self.look(&api, leads, &tenants).await {
                Ok(pause) => {
                    problem = None;
                    pause
                }
                Err(error) => {
                    let text = chain(&error);
                    if problem.as_ref() != Some(&text) {
                        warn!(
                            error = text,
                            "the registry's certificate or pull key is amiss"
                        );
                    }
                    problem = Some(text);
                    RETRY
                }
            };
            self.hand_out(&deployers);
            // What is shown already stays good while something new is amiss.
            let is_serving = self.state().handout.is_some();
            probe.registry(problem.as_deref().filter(|_| !is_serving));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                Some(_) = changes.next() => {}
                () = claim.won(), if !leads => {}
            }
        }
    }

    /// Reads both Secrets, writes what is due, and gives the time until the next look.
    async fn look(
        &self,
        api: &Api<Secret>,
        leads: bool,
        tenants: &Cache<Secret>,
    ) -> Result<Duration, Error> {
        let now = SystemTime::now();
        let key_turn = self.look_at_keys(api, leads, now).await?;
        let certificate_turn = self.look_at_certificate(api, leads, now).await?;
        let mut pause = [key_turn, certificate_turn]
            .into_iter()
            .map(|turn| turn.duration_since(now).unwrap_or_default())
            .fold(LONGEST_PAUSE, Duration::min)
            .max(Duration::from_secs(1));
        let mut state = self.state();
        let is_known = |authorities: &str| {
            let secrets = tenants.state();
            secrets.iter().all(|secret| knows(secret, authorities))
        };
        if state.tls.take_turn(Instant::now(), is_known)
            && let Some(shown) = state.tls.shown()
        {
            self.access.show(&shown.certificate);
            let expires = shown.certificate.expires();
            self.metrics
                .set_certificate_expiry(self.settings.host(), expires);
            info!(expires = ?jiff::Timestamp::try_from(shown.certificate.expires()).ok(), "registry shows a certificate");
        }
        if let Some(until) = state.tls.next_turn(Instant::now()) {
            pause = pause.min(until);
        }
        Ok(pause)
    }

    async fn look_at_keys(
        &self,
        api: &Api<Secret>,
        leads: bool,
        now: SystemTime,
    ) -> Result<SystemTime, Error> {
        let found = self.get(api, PULL_KEY_SECRET).await?;
        let known = self.state().keys.clone();
        let (keys, step) = advance_keys(found, known.as_ref(), self.settings.turn(), now)
            .map_err(|source| Error::MakeKey { source })?;
        let until = match step {
            Step::Keep { until } => until,
            // The leader does it, and the watch shows it.
            Step::Write(_) if !leads => return Ok(now + LONGEST_PAUSE),
            Step::Write(secret) => {
                self.write(api, *secret).await?;
                info!(secret = PULL_KEY_SECRET, "made a pull key");
                now + self.settings.turn()
            }
        };
        self.access.take(keys.clone());
        self.state().keys = Some(keys);
        Ok(until)
    }

    async fn look_at_certificate(
        &self,
        api: &Api<Secret>,
        leads: bool,
        now: SystemTime,
    ) -> Result<SystemTime, Error> {
        let found = self.get(api, &self.settings.certificate_secret).await?;
        let trusted = self.state().tls.authorities();
        let (loaded, step) = advance_certificate(found, &trusted, &self.settings, now)?;
        let until = match step {
            Step::Keep { until } => until,
            Step::Write(_) if !leads => return Ok(now + LONGEST_PAUSE),
            Step::Write(secret) => {
                let name = secret.name_any();
                self.write(api, *secret).await?;
                info!(secret = name, "made a certificate for the registry");
                now + self.settings.turn()
            }
        };
        let host = self.settings.host();
        if !loaded.certificate.is_for(host) && !self.state().tls.knows(&loaded) {
            warn!(
                host,
                "the registry's certificate is for another host: Flux will refuse it"
            );
        }
        self.state().tls.see(loaded, host, Instant::now());
        Ok(until)
    }

    async fn get(&self, api: &Api<Secret>, name: &str) -> Result<Option<Secret>, Error> {
        let found = api.get_opt(name).await;
        found.map_err(|source| self.failed("get", name, source))
    }

    /// Writes a Secret in place of the one that was read: of two who do so at once, one fails, and
    /// sees at its next look what the other has written.
    async fn write(&self, api: &Api<Secret>, mut secret: Secret) -> Result<(), Error> {
        let name = secret.name_any();
        let parameters = PostParams {
            field_manager: Some(super::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        secret.metadata.managed_fields = None;
        let written = if secret.metadata.resource_version.is_some() {
            api.replace(&name, &parameters, &secret).await
        } else {
            api.create(&parameters, &secret).await
        };
        written
            .map(|_| ())
            .map_err(|source| self.failed("write", &name, source))
    }

    /// Wakes all deployers if there is something new to tell their namespaces.
    fn hand_out(&self, (deployers, queue): &Deployers) {
        let mut state = self.state();
        let Some(keys) = state.keys.clone().filter(|_| state.tls.shown().is_some()) else {
            return;
        };
        let handout = Handout {
            authorities: state.tls.authorities(),
            keys,
        };
        if state.handout.as_ref() == Some(&handout) {
            return;
        }
        state.handout = Some(handout);
        drop(state);
        queue.push_all(deployers);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, verb: &'static str, name: &str, source: kube::Error) -> Error {
        Error::Request {
            verb,
            namespace: self.settings.namespace.clone(),
            name: name.to_owned(),
            source: Box::new(source),
        }
    }
}

/// Whether a namespace has been told of `authorities`. What somebody else has put there is not
/// waited for.
fn knows(secret: &Secret, authorities: &str) -> bool {
    let told = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
    let told = told.map(|told| String::from_utf8_lossy(&told.0));
    !is_ours(secret) || told.is_some_and(|told| has_all(&told, authorities))
}
