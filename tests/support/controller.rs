//! The controller under test, as a process of its own with the rights of a `ServiceAccount`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::cluster::Cluster;
use super::process::Process;
use super::{ports, scratch, web};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What differs between the controllers of the tests.
#[derive(Debug, Clone, Default)]
pub struct ControllerOptions {
    /// Whose rights it has: a token of [`Cluster::service_account_token`].
    pub token: String,
    /// Arguments after those that every controller of a test gets.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// The proxy by which it speaks to the API server, where it is not asked directly.
    pub by: Option<SocketAddr>,
    /// The address that it gives to Flux, where it is not the one that it listens on.
    pub announced: Option<SocketAddr>,
}

/// A running controller; dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    setup: Setup,
}

impl Controller {
    /// Starts the program (`env!("CARGO_BIN_EXE_ocm-controller")`) and returns when it is ready.
    pub async fn start(cluster: &Cluster, program: &str, options: ControllerOptions) -> Self {
        let folder = scratch::folder("controller");
        let setup = Setup {
            program: PathBuf::from(program),
            kubeconfig: match options.by {
                Some(proxy) => cluster.kubeconfig_by(proxy, &options.token),
                None => cluster.kubeconfig(&options.token),
            },
            data: folder.join("data"),
            folder,
            registry: ports::free(),
            metrics: ports::free(),
            health: ports::free(),
            options,
        };
        let mut controller = Self {
            process: setup.spawn(),
            setup,
        };
        controller.wait_until_ready().await;
        controller
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Starts it again, after [`kill`](Self::kill) or [`stop`](Self::stop), with the same
    /// addresses and data.
    pub async fn start_again(&mut self) {
        self.process.kill();
        self.process = self.setup.spawn();
        self.wait_until_ready().await;
    }

    /// As [`start_again`](Self::start_again), with other arguments.
    pub async fn start_again_with(&mut self, arguments: &[&str]) {
        self.setup.options.arguments = arguments.iter().map(ToString::to_string).collect();
        self.start_again().await;
    }

    /// The running program, to pause it or to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The file that it logs to.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The address under which Flux pulls snapshots.
    pub fn registry_address(&self) -> SocketAddr {
        self.setup.registry
    }

    /// The address of its probes.
    pub fn health_address(&self) -> SocketAddr {
        self.setup.health
    }

    /// Where it keeps its content store.
    pub fn data_folder(&self) -> &Path {
        &self.setup.data
    }

    /// Its metrics as text.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.setup.metrics);
        let answer = web::client(None)
            .get(url)
            .send()
            .await
            .expect("metrics are served");
        answer.text().await.expect("metrics are text")
    }

    async fn wait_until_ready(&mut self) {
        let client = web::client(None);
        let health = self.setup.health;
        let is_ready = || web::is_ok(&client, health, "/readyz");
        self.process
            .wait_until("ready", START_TIMEOUT, is_ready)
            .await;
    }
}

/// What stays the same when the program is started again.
#[derive(Debug)]
struct Setup {
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    registry: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    options: ControllerOptions,
}

impl Setup {
    fn spawn(&self) -> Process {
        let announced = self.options.announced.unwrap_or(self.registry);
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--oci-registry-addr", &announced.to_string()])
            .args(["--registry-listen", &self.registry.to_string()])
            .args(["--metrics-bind-address", &self.metrics.to_string()])
            .args(["--health-probe-bind-address", &self.health.to_string()])
            .arg("--allow-loopback")
            .args(&self.options.arguments)
            .envs(
                self.options
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        Process::spawn("ocm-controller", command, &self.folder)
    }
}
