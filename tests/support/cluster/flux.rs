//! Flux's controllers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use kube::Client;

use super::Flux;
use crate::support::process::Process;
use crate::support::{manifests, ports, tools, web};

const START_TIMEOUT: Duration = Duration::from_mins(1);

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: flux-system
";

/// The names of the controllers, which are those of their programs too.
pub fn controllers(flux: Flux) -> &'static [&'static str] {
    match flux {
        Flux::None => &[],
        Flux::Kustomize => &["source-controller", "kustomize-controller"],
        Flux::KustomizeAndHelm => &[
            "source-controller",
            "kustomize-controller",
            "helm-controller",
        ],
    }
}

/// Starts these controllers side by side and waits until all of them are ready.
pub async fn start(
    controllers: &[&str],
    client: &Client,
    folder: &Path,
    kubeconfig: &Path,
) -> Vec<Process> {
    if controllers.is_empty() {
        return Vec::new();
    }
    manifests::apply(client, "", NAMESPACE).await;
    let http = web::client(None);
    let started = controllers.iter().map(|name| {
        let health = ports::free();
        let mut process = spawn(name, health, folder, kubeconfig);
        let http = http.clone();
        async move {
            let is_ready = || web::is_ok(&http, health, "/readyz");
            process.wait_until("ready", START_TIMEOUT, is_ready).await;
            process
        }
    });
    join_all(started).await
}

fn spawn(name: &str, health: SocketAddr, folder: &Path, kubeconfig: &Path) -> Process {
    let mut command = Command::new(tools::program(name));
    command
        .env("KUBECONFIG", kubeconfig)
        .env("RUNTIME_NAMESPACE", "flux-system")
        .args([
            "--enable-leader-election=false",
            "--watch-all-namespaces=true",
        ])
        .arg(format!("--health-addr={health}"))
        .arg(format!("--metrics-addr={}", ports::free()));
    if name == "source-controller" {
        let storage = folder.join("source-controller");
        std::fs::create_dir(&storage).expect("the scratch folder is writable");
        let address = ports::free();
        command
            .arg(format!("--storage-path={}", storage.display()))
            .arg(format!("--storage-addr={address}"))
            .arg(format!("--storage-adv-addr={address}"));
    } else {
        // A source that is not ready is looked at again after 30 s by default.
        command.arg("--requeue-dependency=2s");
    }
    Process::spawn(name, command, folder)
}
