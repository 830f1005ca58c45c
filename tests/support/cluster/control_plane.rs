//! etcd, kube-apiserver and kube-controller-manager.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use serde_json::json;

use super::audit;
use crate::support::certificates::{self, Authority};
use crate::support::process::Process;
use crate::support::{ports, scratch, tools, web};

/// The token of a member of `system:masters`.
pub const ADMIN_TOKEN: &str = "admin-of-a-test-cluster";

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The control plane's processes and their common files.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: clients before what they talk to.
    controller_manager: Option<Process>,
    api_server: Process,
    etcd: Process,
    files: Files,
}

impl ControlPlane {
    /// Starts etcd and the API server; [`wait_until_ready`](Self::wait_until_ready) comes next.
    pub async fn start(folder: &Path, audit: bool) -> Self {
        let files = Files::write(folder, audit);
        let etcd = start_etcd(&files).await;
        let api_server = files.spawn_api_server();
        Self {
            controller_manager: None,
            api_server,
            etcd,
            files,
        }
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.files.address
    }

    /// The file that the API server writes its audit events to.
    pub fn audit_log(&self) -> PathBuf {
        self.files.path("audit.jsonl")
    }

    /// The API server.
    pub fn api_server(&mut self) -> &mut Process {
        &mut self.api_server
    }

    /// The database.
    pub fn etcd(&mut self) -> &mut Process {
        &mut self.etcd
    }

    /// The certificate of the API server's authority.
    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.files.path("ca.crt")).expect("it was written at the start")
    }

    /// Ends the API server if it runs, and starts it again.
    pub fn start_api_server(&mut self) {
        self.api_server.kill();
        self.api_server = self.files.spawn_api_server();
    }

    /// Waits until the API server has made the objects without which nobody has any rights.
    pub async fn wait_until_ready(&mut self, client: &Client) {
        let is_ready = || async {
            let request = Request::get("/readyz")
                .body(Vec::new())
                .expect("a valid request");
            client.request_text(request).await.is_ok()
        };
        self.api_server
            .wait_until("ready", START_TIMEOUT, is_ready)
            .await;
    }

    /// Starts the controllers for garbage collection, namespaces, service accounts, workloads;
    /// [`wait_for_controllers`](Self::wait_for_controllers) comes next.
    pub fn start_controller_manager(&mut self, kubeconfig: &Path) {
        let address = ports::free();
        let mut command = Command::new(tools::program("kube-controller-manager"));
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--service-account-private-key-file")
            .arg(self.files.path("service-account.key"))
            .arg("--root-ca-file")
            .arg(self.files.path("ca.crt"))
            .arg("--cert-dir")
            .arg(self.files.path("controller-manager"))
            .args([
                "--use-service-account-credentials=false",
                "--leader-elect=false",
            ])
            .args([
                "--bind-address=127.0.0.1",
                "--secure-port",
                &address.port().to_string(),
            ]);
        let process = Process::spawn("kube-controller-manager", command, &self.files.folder);
        self.controller_manager = Some(process);
    }

    /// Waits until the controllers show their first work.
    pub async fn wait_for_controllers(&mut self, client: &Client) {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let process = self
            .controller_manager
            .as_mut()
            .expect("it has been started");
        let is_ready = || async { accounts.get("default").await.is_ok() };
        process.wait_until("ready", START_TIMEOUT, is_ready).await;
    }

    /// The text of a kubeconfig for the holder of a token.
    pub fn kubeconfig(&self, token: &str) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.files.address),
                "certificate-authority": self.files.path("ca.crt"),
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        serde_yaml::to_string(&config).expect("JSON can be written as YAML")
    }

    /// The ids of the processes.
    pub fn process_ids(&self) -> Vec<u32> {
        let controller_manager = self.controller_manager.iter().map(Process::id);
        controller_manager
            .chain([self.api_server.id(), self.etcd.id()])
            .collect()
    }
}

/// What the processes are started with, and again after a crash.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    address: SocketAddr,
    etcd: SocketAddr,
    audit: bool,
}

impl Files {
    fn write(folder: &Path, audit: bool) -> Self {
        let address = ports::free();
        let files = Self {
            folder: folder.to_owned(),
            address,
            etcd: ports::free(),
            audit,
        };
        let authority = Authority::new("test cluster");
        let names = [
            "127.0.0.1",
            "localhost",
            "kubernetes.default.svc",
            "10.96.0.1",
        ];
        let server = authority.issue(&names);
        let account_key = certificates::new_key();
        files.write_file("ca.crt", &authority.pem());
        files.write_file("server.crt", &server.certificate);
        files.write_file("server.key", &server.key);
        files.write_file("service-account.key", &account_key.serialize_pem());
        files.write_file("service-account.pub", &account_key.public_key_pem());
        files.write_file(
            "tokens.csv",
            &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"),
        );
        files.write_file("audit.yaml", audit::POLICY);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write_file(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("the scratch folder is writable");
    }

    fn spawn_api_server(&self) -> Process {
        let mut command = Command::new(tools::program("kube-apiserver"));
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        command
            .arg(format!("--etcd-servers=http://{}", self.etcd))
            .arg(format!("--secure-port={}", self.address.port()))
            .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC"])
            .args([
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.96.0.0/16",
            ])
            .arg(file("tls-cert-file", "server.crt"))
            .arg(file("tls-private-key-file", "server.key"))
            .arg(file("token-auth-file", "tokens.csv"))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("service-account-key-file", "service-account.pub"))
            .arg(file(
                "service-account-signing-key-file",
                "service-account.key",
            ));
        if self.audit {
            command
                .arg(file("audit-policy-file", "audit.yaml"))
                .arg(file("audit-log-path", "audit.jsonl"));
        }
        Process::spawn("kube-apiserver", command, &self.folder)
    }
}

async fn start_etcd(files: &Files) -> Process {
    let client_url = format!("http://{}", files.etcd);
    let mut command = Command::new(tools::program("etcd"));
    command
        .arg("--data-dir")
        .arg(scratch::memory_folder("etcd"))
        .args([
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
        ])
        .arg("--listen-peer-urls")
        .arg(format!("http://{}", ports::free()))
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    let mut etcd = Process::spawn("etcd", command, &files.folder);
    let http = web::client(None);
    etcd.wait_until("ready", START_TIMEOUT, || {
        web::is_ok(&http, files.etcd, "/readyz")
    })
    .await;
    etcd
}
