//! `ocm-controller run`: the controllers, and the registry that Flux pulls from.

mod cluster;
mod serving;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use clap::{ArgAction, Args};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::network::{self, NetworkArguments};
use crate::archive::Limits;
use crate::components::Components;
use crate::controller::{Controllers, OnRepublish, PinImages, Probe, Settings};
use crate::metrics::Metrics;
use crate::mutation::SchemaPolicy;
use crate::pipeline::Pipeline;
use crate::registry::Pool;
use crate::serve::admin::{Readiness, health_router, metrics_router};
use crate::serve::{self, Acceptor, Plain};
use crate::store::{self, Store};
use crate::telemetry::{self, LogFormat};

/// The check that passes once the registry has a certificate and a pull key.
const REGISTRY: &str = "registry";

/// The check that passes once all caches are filled.
const CACHES: &str = "caches";

/// The check that passes while the Lease of the leader can be reached.
const LEASE: &str = "lease";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    cluster: cluster::ClusterArguments,

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

    #[command(flatten)]
    network: NetworkArguments,

    /// The most bytes that the files of a resource may have unpacked.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unpacked_bytes)]
    max_unpacked_bytes: u64,

    /// The most bytes that one file may have that is changed.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().file_bytes)]
    max_file_bytes: u64,

    /// Refuse references into other namespaces.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_cross_namespace_refs: bool,

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

    let store = Store::open(&arguments.data_dir).map_err(|source| Error::OpenStore {
        path: arguments.data_dir.clone(),
        source,
    })?;
    let transport = arguments.network.transport().map_err(Error::Network)?;
    let components = Components::new(Pool::new(transport.clone()), store.clone());
    let pipeline = Pipeline::new(components, store.clone(), arguments.limits());
    let metrics = Metrics::new(transport.clone(), store.clone());
    let cluster = arguments.cluster.connect().await;
    let (client, leadership) = cluster.map_err(|source| Error::Cluster { source })?;
    let claim = leadership.claim();
    let controllers = Controllers::new(
        client,
        leadership,
        arguments.settings(),
        pipeline,
        transport,
        metrics.clone(),
    );

    let controllers = arguments
        .serving
        .serve(store, claim, controllers, &mut tasks, &shutdown)
        .await?;

    let health = controllers.health();
    let readiness = Readiness::awaiting([CACHES, LEASE, REGISTRY]);
    let endpoints = [
        (
            "health-probe-bind-address",
            arguments.health_probe_bind_address,
            health_router(readiness.clone(), move || health.problem()),
        ),
        (
            "metrics-bind-address",
            arguments.metrics_bind_address,
            metrics_router(move || metrics.render()),
        ),
    ];
    for (flag, address, router) in endpoints {
        tasks.spawn(endpoint(flag, address, Plain, router, shutdown.clone()).await?);
    }
    controllers.run(ReadinessProbe(readiness), shutdown).await;
    tasks.join_all().await;
    Ok(())
}

/// Tells the readiness probe how the controllers are doing.
#[derive(Clone)]
struct ReadinessProbe(Readiness);

impl ReadinessProbe {
    fn judge(&self, check: &'static str, problem: Option<&str>) {
        match problem {
            None => self.0.pass(check),
            Some(problem) => self.0.fail(check, problem),
        }
    }
}

impl Probe for ReadinessProbe {
    fn synced(&self) {
        self.0.pass(CACHES);
    }

    fn lease(&self, problem: Option<&str>) {
        self.judge(LEASE, problem);
    }

    fn registry(&self, problem: Option<&str>) {
        self.judge(REGISTRY, problem);
    }
}

/// Binds now, so that a taken port is an error at the start; serves when it is run.
async fn endpoint<A: Acceptor>(
    flag: &'static str,
    address: SocketAddr,
    acceptor: A,
    router: Router,
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
    fn limits(&self) -> Limits {
        Limits {
            unpacked_bytes: self.max_unpacked_bytes,
            file_bytes: self.max_file_bytes,
            ..Limits::default()
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            registry_address: self.serving.address(),
            concurrent: self.concurrent,
            graceful_shutdown: self.graceful_shutdown_timeout,
            no_cross_namespace_refs: self.no_cross_namespace_refs,
            on_republish: self.on_republish,
            config_schema: self.config_schema,
            pin_images: self.pin_images,
            lenient_localization: self.lenient_localization,
            gc_interval: self.gc_interval,
            store_size_limit: (self.store_size_limit > 0).then_some(self.store_size_limit),
        }
    }
}

/// A time between two runs: `90s`, `5m`, `1h`.
fn interval(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|interval| *interval >= Duration::from_secs(1))
        .ok_or_else(|| format!("{text:?} is not a time of a second or more, such as 90s or 5m"))
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
