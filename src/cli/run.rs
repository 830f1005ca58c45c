//! `ocm-controller run`: the controllers, and the registry that Flux pulls from.

mod cluster;
mod selection;
mod serving;
mod tenancy;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use clap::Args;
use futures::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::network::{self, NetworkArguments};
use crate::archive::Limits;
use crate::chain::chain;
use crate::components::Components;
use crate::controller::{Controllers, Health, OnRepublish, PinImages, Probe, Settings};
use crate::metrics::{Metrics, Sources};
use crate::mutation::SchemaPolicy;
use crate::pipeline::Pipeline;
use crate::registry::{Pool, Transport};
use crate::serve::admin::{Readiness, health_router, metrics_router};
use crate::serve::{self, Acceptor, Plain, Refusals};
use crate::store::{self, Store};
use crate::telemetry::{self, LogFormat};

/// The check that passes once the registry has a certificate and a pull key.
const CERTIFICATE: &str = "certificate";

/// The check that passes once all caches are filled.
const CACHES: &str = "caches";

/// The check that passes while the Lease of the leader can be reached.
const LEASE: &str = "lease";

/// The check that passes while the content store can be written.
const STORE: &str = "store";

/// The check that passes while the registry that Flux pulls from takes connections.
const ENDPOINT: &str = "endpoint";

/// How often the last two are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The same while something is amiss with one of them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    cluster: cluster::ClusterArguments,

    #[command(flatten)]
    selection: selection::SelectionArguments,

    /// Where content is kept. Losing it costs time, never correctness.
    #[arg(long, value_name = "DIR", default_value = "/data")]
    data_dir: PathBuf,

    #[command(flatten)]
    serving: serving::ServingArguments,

    /// Where metrics are served.
    #[arg(long, value_name = "[ADDRESS]:PORT", default_value = ":9443", value_parser = socket)]
    metrics_bind_address: SocketAddr,

    /// Where the health probes are served.
    #[arg(long, value_name = "[ADDRESS]:PORT", default_value = ":8081", value_parser = socket)]
    health_probe_bind_address: SocketAddr,

    /// How many objects of a kind are reconciled at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrent: u16,

    /// How long what is under way may take to end after SIGTERM.
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    graceful_shutdown_timeout: Duration,

    /// How long one reconcile may take before it is given up and tried again.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = interval)]
    reconcile_timeout: Duration,

    /// Where events are posted to, in the form of Flux: the URL of its notification-controller.
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    events_addr: String,

    #[command(flatten)]
    network: NetworkArguments,

    /// The most bytes that the files of a resource may have unpacked.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unpacked_bytes)]
    max_unpacked_bytes: u64,

    /// The most bytes that one file may have that is changed.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().file_bytes)]
    max_file_bytes: u64,

    #[command(flatten)]
    tenancy: tenancy::TenancyArguments,

    /// What to do about a version in use that is pushed again with other content.
    #[arg(long, value_enum, default_value_t = OnRepublish::Accept)]
    on_republish: OnRepublish,

    /// What to do where configuration values violate the component's schema.
    #[arg(long, value_enum, default_value_t = SchemaPolicy::Warn)]
    config_schema: SchemaPolicy,

    /// Which images are written with their digest (`name:tag@sha256:…`).
    #[arg(long, value_enum, default_value_t = PinImages::Verified)]
    pin_images: PinImages,

    /// Let a localization rule create the path that it names.
    #[arg(long)]
    lenient_localization: bool,

    /// How often garbage is collected. Content is removed after three collections that find it
    /// unused.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = interval)]
    gc_interval: Duration,

    /// Within which time all content is read again, a little at a time, to find what has rotted on
    /// the disk; 0s means never.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = interval_or_none)]
    scrub_interval: Duration,

    /// How many bytes the content store may have before it gives up what no Snapshot needs, longest
    /// unused first; 0 means no limit.
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 30)]
    store_size_limit: u64,

    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,

    /// Which log lines are written, such as `info` or `ocm_controller=debug,warn`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_level: String,
}

/// What keeps the operator from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--events-addr cannot be used: {problem}")]
    EventsAddress { problem: String },

    #[error("failed to set up logging")]
    Logging { source: telemetry::Error },

    #[error(transparent)]
    Network(network::Error),

    #[error("failed to open the content store in --data-dir {path:?}")]
    OpenStore { path: PathBuf, source: store::Error },

    #[error("failed to listen on {address} (--{flag})")]
    Listen {
        flag: &'static str,
        address: SocketAddr,
        source: std::io::Error,
    },

    #[error("failed to set up TLS for the registry")]
    Tls { source: rustls::Error },

    #[error("failed to listen for signals")]
    Signals { source: std::io::Error },

    #[error("failed to set up what speaks to the API server")]
    Cluster { source: cluster::Error },
}

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run(arguments: RunArguments, ignored: &[&'static str]) -> Result<(), Error> {
    telemetry::init(arguments.log_format, &arguments.log_level)
        .map_err(|source| Error::Logging { source })?;
    if !ignored.is_empty() {
        info!(flags = ?ignored, "ignored flags that have no meaning here");
    }
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let stop = stop_on_signal(shutdown.clone()).map_err(|source| Error::Signals { source })?;
    tasks.spawn(stop);

    let readiness = Readiness::awaiting([CACHES, LEASE, STORE]);
    let served = arguments.serving.served_at();
    if served.is_some() {
        readiness.fail(CERTIFICATE, "not yet started");
        readiness.fail(ENDPOINT, "not yet started");
    }
    let health: Arc<OnceLock<Arc<Health>>> = Arc::default();
    let asked = Arc::clone(&health);
    let probes = health_router(readiness.clone(), move || asked.get()?.problem());
    let (flag, address) = (
        "health-probe-bind-address",
        arguments.health_probe_bind_address,
    );
    tasks.spawn(
        endpoint(
            flag,
            address,
            Plain,
            probes,
            Arc::default(),
            shutdown.clone(),
        )
        .await?,
    );

    let opening = open_store(&arguments.data_dir, &readiness);
    let Some(opened) = shutdown.run_until_cancelled(opening).await else {
        tasks.join_all().await;
        return Ok(());
    };
    let store = opened?;
    let transport = arguments.network.transport().map_err(Error::Network)?;
    let (pipeline, undeleted) = arguments.pipeline(&store, &transport);
    let refusals = Arc::<Refusals>::default();
    let metrics = Metrics::new(Sources {
        transport: transport.clone(),
        store: store.clone(),
        refusals: Arc::clone(&refusals),
        undeleted,
    });
    let selection = arguments.selection.selection();
    let cluster = arguments.cluster.connect(&selection, &metrics).await;
    let (client, leadership) = cluster.map_err(|source| Error::Cluster { source })?;
    let claim = leadership.claim();
    let controllers = Controllers::new(
        client,
        leadership,
        arguments.settings()?,
        pipeline,
        transport,
        metrics.clone(),
    );

    let (acts, watches) = (claim.clone(), controllers.health());
    let offered = serving::Served {
        namespace: arguments.cluster.namespace(),
        store: store.clone(),
        claim,
        refusals,
    };
    let controllers = arguments
        .serving
        .serve(offered, controllers, &mut tasks, &shutdown)
        .await?;

    let _ = health.set(controllers.health());
    let rendered = metrics_router(move || {
        metrics.set_leader(acts.holds());
        metrics.set_failing_watches(watches.failing_watches());
        metrics.render()
    });
    let (flag, address) = ("metrics-bind-address", arguments.metrics_bind_address);
    tasks.spawn(
        endpoint(
            flag,
            address,
            Plain,
            rendered,
            Arc::default(),
            shutdown.clone(),
        )
        .await?,
    );
    let look = look_after(store, served, readiness.clone());
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(look).map(|_| ()));
    controllers.run(ReadinessProbe(readiness), shutdown).await;
    tasks.join_all().await;
    Ok(())
}

/// Opens the content store. As long as the disk does not let it, the process is not ready, and says
/// why; what only another setting changes is an error.
async fn open_store(folder: &Path, readiness: &Readiness) -> Result<Store, Error> {
    let mut problem = String::new();
    loop {
        let failure = match Store::open(folder) {
            Ok(store) => return Ok(store),
            Err(failure) => failure,
        };
        let may_pass = failure.is_of_the_disk();
        let failure = Error::OpenStore {
            path: folder.to_owned(),
            source: failure,
        };
        if !may_pass {
            return Err(failure);
        }
        let text = chain(&failure);
        if text != problem {
            warn!(error = text, "the content store cannot be used yet");
        }
        readiness.fail(STORE, text.as_str());
        problem = text;
        sleep(LOOK_AGAIN).await;
    }
}

/// Looks again and again whether content can be written, and be pulled.
async fn look_after(store: Store, registry: Option<SocketAddr>, readiness: Readiness) {
    loop {
        let probed = store.clone();
        let writable = tokio::task::spawn_blocking(move || probed.check_writable());
        let problem = match writable.await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(chain(&failure)),
            Err(panic) => Some(panic.to_string()),
        };
        let mut is_well = problem.is_none();
        readiness.judge(STORE, problem.as_deref());
        if let Some(registry) = registry {
            let problem = match timeout(LOOK, TcpStream::connect(registry)).await {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some(format!("{registry}: {failure}")),
                Err(_) => Some(format!("{registry} does not answer")),
            };
            is_well &= problem.is_none();
            readiness.judge(ENDPOINT, problem.as_deref());
        }
        sleep(if is_well { LOOK } else { LOOK_AGAIN }).await;
    }
}

/// Tells the readiness probe how the controllers are doing.
#[derive(Clone)]
struct ReadinessProbe(Readiness);

impl Probe for ReadinessProbe {
    fn synced(&self) {
        self.0.pass(CACHES);
    }

    fn lease(&self, problem: Option<&str>) {
        self.0.judge(LEASE, problem);
    }

    fn registry(&self, problem: Option<&str>) {
        self.0.judge(CERTIFICATE, problem);
    }
}

/// Binds now, so that a taken port is an error at the start; serves when it is run.
async fn endpoint<A: Acceptor>(
    flag: &'static str,
    address: SocketAddr,
    acceptor: A,
    router: Router,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()>, Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            flag,
            address,
            source,
        })?;
    Ok(serve::listen(
        listener,
        acceptor,
        router,
        serve::Limits::default(),
        refusals,
        shutdown,
    ))
}

/// Listens for SIGTERM and SIGINT, and cancels when one comes.
pub(super) fn stop_on_signal(shutdown: CancellationToken) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        shutdown.cancel();
    })
}

impl RunArguments {
    /// The chain over `store`, and the count of what another registry does not delete.
    fn pipeline(&self, store: &Store, transport: &Transport) -> (Pipeline, Arc<AtomicU64>) {
        let components = Components::new(Pool::new(transport.clone()), store.clone());
        let pipeline = Pipeline::new(components, store.clone(), self.limits());
        match self.serving.remote(store, transport) {
            None => (pipeline, Arc::default()),
            Some(remote) => {
                let undeleted = remote.undeleted();
                (pipeline.publishing_to(Arc::new(remote)), undeleted)
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            unpacked_bytes: self.max_unpacked_bytes,
            file_bytes: self.max_file_bytes,
            ..Limits::default()
        }
    }

    fn settings(&self) -> Result<Settings, Error> {
        let events_address = match self.events_addr.as_str() {
            "" => None,
            address => Some(
                address
                    .parse()
                    .map_err(|problem| Error::EventsAddress { problem })?,
            ),
        };
        Ok(Settings {
            selection: self.selection.selection(),
            registry_address: self.serving.address(),
            outside_registry: self.serving.outside(self.cluster.namespace()),
            concurrent: self.concurrent,
            graceful_shutdown: self.graceful_shutdown_timeout,
            reconcile_timeout: self.reconcile_timeout,
            events_address,
            templates: self.tenancy.templates(),
            no_cross_namespace_refs: self.tenancy.no_cross_namespace_refs,
            on_republish: self.on_republish,
            config_schema: self.config_schema,
            pin_images: self.pin_images,
            lenient_localization: self.lenient_localization,
            gc_interval: self.gc_interval,
            scrub_interval: (!self.scrub_interval.is_zero()).then_some(self.scrub_interval),
            store_size_limit: (self.store_size_limit > 0).then_some(self.store_size_limit),
        })
    }
}

/// A time between two runs: `90s`, `5m`, `1h`.
fn interval(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|interval| *interval >= Duration::from_secs(1))
        .ok_or_else(|| format!("{text:?} is not a time of a second or more, such as 90s or 5m"))
}

/// A time between two runs, or none.
fn interval_or_none(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(none) if none.is_zero() => Ok(none),
        _ => interval(text),
    }
}

/// An address to listen on; without a host, on all of them.
fn socket(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse()
        .map_err(|_| format!("{text:?} is not of the form [ADDRESS]:PORT"))
}

/// A duration as Kubernetes writes it, such as `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration = text
        .parse()
        .map_err(|_| format!("{text:?} is no duration such as 15s or 1m30s"))?;
    if parsed.is_negative() {
        return Err(format!("{text:?} is negative"));
    }
    Ok(parsed.into())
}
