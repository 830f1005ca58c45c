//! A Kubernetes control plane with Flux, started in a few seconds.
//!
//! Without a kubelet no pod runs: a Deployment gets its `ReplicaSet` and pods, which stay Pending.
//! Everything else is real: RBAC, admission, garbage collection, namespace deletion, Flux.

pub mod audit;
mod control_plane;
mod flux;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use self::audit::AuditEvent;
use self::control_plane::ControlPlane;
use super::process::Process;
use super::{manifests, scratch, tools, web};

/// Which of Flux's controllers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flux {
    /// None, and their CRDs are not there either.
    None,
    /// source-controller and kustomize-controller.
    #[default]
    Kustomize,
    /// helm-controller as well.
    KustomizeAndHelm,
}

/// What a cluster is made of.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Flux's controllers, and with them their CRDs.
    pub flux: Flux,
    /// Whether requests are logged for [`Cluster::audit_log`].
    pub audit: bool,
    /// Folders of further CRDs. Best given here: the garbage collector looks for new kinds only
    /// every 30 seconds, and those of these folders are there before it starts.
    pub crds: Vec<PathBuf>,
}

/// A running cluster; dropping it stops all of it.
///
/// Nothing in it is bound to the async runtime that started it, so tests may share it.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: clients before what they talk to.
    flux: Vec<Process>,
    control_plane: ControlPlane,
    folder: PathBuf,
    admin_kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts a cluster and returns when all its parts are ready.
    pub async fn start(options: Options) -> Self {
        web::install_tls_provider();
        let folder = scratch::folder("cluster");
        let mut control_plane = ControlPlane::start(&folder, options.audit).await;
        let admin_kubeconfig = folder.join("admin.kubeconfig");
        let config = control_plane.kubeconfig(control_plane::ADMIN_TOKEN);
        fs::write(&admin_kubeconfig, config).expect("the scratch folder is writable");
        let client = connect(&admin_kubeconfig).await;
        control_plane.wait_until_ready(&client).await;
        let controllers = flux::controllers(options.flux);
        for controller in controllers {
            manifests::apply_crds(&client, &tools::flux_crds(controller)).await;
        }
        for crds in &options.crds {
            manifests::apply_crds(&client, crds).await;
        }
        control_plane.start_controller_manager(&admin_kubeconfig);
        let flux = flux::start(controllers, &client, &folder, &admin_kubeconfig).await;
        control_plane.wait_for_controllers(&client).await;
        Self {
            flux,
            control_plane,
            folder,
            admin_kubeconfig,
        }
    }

    /// A client with all rights. Make one for each test: its connections belong to the runtime
    /// of the test.
    pub async fn client(&self) -> Client {
        connect(&self.admin_kubeconfig).await
    }

    /// A client with the rights of whom the token is for.
    pub async fn client_for(&self, token: &str) -> Client {
        connect(&self.kubeconfig(token)).await
    }

    /// The address of the API server.
    pub fn api_server(&self) -> SocketAddr {
        self.control_plane.address()
    }

    /// The kubeconfig with all rights.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Writes a kubeconfig for the holder of this token.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number}.kubeconfig"));
        let config = self.control_plane.kubeconfig(token);
        fs::write(&path, config).expect("the scratch folder is writable");
        path
    }

    /// As [`kubeconfig`](Self::kubeconfig), by a proxy that speaks no TLS.
    pub fn kubeconfig_by(&self, proxy: SocketAddr, token: &str) -> PathBuf {
        let path = self.kubeconfig(token);
        let config = fs::read_to_string(&path).expect("it was just written");
        let direct = format!("https://{}", self.api_server());
        let config = config.replace(&direct, &format!("http://{proxy}"));
        fs::write(&path, config).expect("the scratch folder is writable");
        path
    }

    /// The certificate of the API server's authority.
    pub fn ca_pem(&self) -> String {
        self.control_plane.ca_pem()
    }

    /// A token of a `ServiceAccount`, valid for an hour.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("no token for {namespace}/{name}: {error}"));
        answer
            .status
            .and_then(|status| status.token)
            .expect("the API server sets the token")
    }

    /// Makes a namespace whose name begins with `prefix` and which no other test has.
    pub async fn namespace(&self, prefix: &str) -> String {
        let namespaces: Api<Namespace> = Api::all(self.client().await);
        let namespace = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{prefix}-")),
                ..Default::default()
            },
            ..Default::default()
        };
        let created = namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap_or_else(|error| panic!("no namespace {prefix:?}: {error}"));
        created
            .metadata
            .name
            .expect("the API server generates the name")
    }

    /// Applies manifests; objects that name no namespace go into `default`.
    pub async fn apply(&self, yaml: &str) -> Vec<DynamicObject> {
        self.apply_in("default", yaml).await
    }

    /// Applies manifests; objects that name no namespace go into `namespace`.
    pub async fn apply_in(&self, namespace: &str, yaml: &str) -> Vec<DynamicObject> {
        manifests::apply(&self.client().await, namespace, yaml).await
    }

    /// Applies all CRDs of a folder and waits until they are served.
    pub async fn apply_crds(&self, folder: &Path) {
        manifests::apply_crds(&self.client().await, folder).await;
    }

    /// The API of any kind, such as `("source.toolkit.fluxcd.io/v1", "GitRepository")`.
    pub async fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        manifests::api(&self.client().await, api_version, kind, namespace).await
    }

    /// What kubectl prints; panics with its error output where it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new(tools::program("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.admin_kubeconfig)
            .arg("--cache-dir")
            .arg(self.folder.join("kubectl"))
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("kubectl can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "kubectl {}: {errors}",
            arguments.join(" ")
        );
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Every request to the API server so far, in the order of their answers.
    pub fn audit_log(&self) -> Vec<AuditEvent> {
        audit::read(&self.control_plane.audit_log())
    }

    /// The API server, to pause it or to end and [`restart`](Self::restart_api_server) it.
    pub fn api_server_process(&mut self) -> &mut Process {
        self.control_plane.api_server()
    }

    /// The database, to pause it.
    pub fn etcd_process(&mut self) -> &mut Process {
        self.control_plane.etcd()
    }

    /// Starts the API server anew, with the same address and content.
    pub async fn restart_api_server(&mut self) {
        self.control_plane.start_api_server();
        let client = self.client().await;
        self.control_plane.wait_until_ready(&client).await;
    }

    /// The ids of all processes of this cluster.
    pub fn process_ids(&self) -> Vec<u32> {
        self.flux
            .iter()
            .map(Process::id)
            .chain(self.control_plane.process_ids())
            .collect()
    }
}

async fn connect(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the file that was just written");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the kubeconfig names one context");
    Client::try_from(config).expect("a TLS provider is installed")
}
