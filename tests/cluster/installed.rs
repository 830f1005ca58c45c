//! The operator, run as its pod says: the files of the image, the arguments, the environment, the
//! volumes and the token that the API server admitted, and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use crate::scene::TIMEOUT;
use crate::support::cluster::Cluster;
use crate::support::process::Process;
use crate::support::wait::eventually;
use crate::support::{pod, scratch, web};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The running operator; dropping it kills it.
pub struct Installed {
    process: Process,
    pub arguments: Vec<String>,
}

impl Installed {
    /// Runs the pod of the Deployment `ocm-controller`; returns when it is ready at `health`.
    pub async fn start(cluster: &Cluster, namespace: &str, health: SocketAddr) -> Self {
        pod::need_root();
        let spec = admitted(cluster, namespace).await;
        let folder = scratch::folder("installed");
        let root = folder.join("root");
        fs::create_dir(&root).expect("the scratch folder is writable");
        fs::copy(pod::static_binary(), root.join("manager")).expect("there is space");
        let container = &spec["containers"][0];
        let mounts = mounts(cluster, namespace, &spec, &folder).await;
        let mounts: Vec<(PathBuf, &str)> = mounts
            .iter()
            .map(|(folder, point)| (folder.clone(), point.as_str()))
            .collect();
        let arguments: Vec<String> = list(&container["args"]).iter().map(text).collect();
        let mut program = vec!["/manager".to_owned()];
        program.extend(arguments.clone());
        let mut command = pod::command(&root, &mounts, &program);
        let api_server = cluster.api_server();
        command
            .env("KUBERNETES_SERVICE_HOST", api_server.ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", api_server.port().to_string());
        for variable in list(&container["env"]) {
            command.env(text(&variable["name"]), value_of(variable, namespace));
        }
        let mut process = Process::spawn("installed", command, &folder);
        let client = web::client(None);
        let is_ready = || web::is_ok(&client, health, "/readyz");
        process.wait_until("ready", START_TIMEOUT, is_ready).await;
        Self { process, arguments }
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    pub async fn stop(&mut self) {
        let status = self.process.stop().await;
        assert!(status.success(), "{status}");
    }
}

/// The value that the kubelet would give to a variable.
fn value_of(variable: &Value, namespace: &str) -> String {
    let Some(source) = variable.get("valueFrom") else {
        return text(&variable["value"]);
    };
    let field = &source["fieldRef"]["fieldPath"];
    assert_eq!(field, "metadata.namespace", "the test knows no such source");
    namespace.to_owned()
}

/// The spec of the newest pod. That there is one shows that the namespace admits it.
async fn admitted(cluster: &Cluster, namespace: &str) -> Value {
    let deployments = cluster.api("apps/v1", "Deployment", namespace).await;
    let pods = cluster.api("v1", "Pod", namespace).await;
    let wanted = ListParams::default().labels("app=ocm-controller");
    let found = eventually("the pod is admitted", TIMEOUT, async || {
        let error = |error: kube::Error| error.to_string();
        let deployment = deployments.get("ocm-controller").await.map_err(error)?;
        let template = &deployment.data["spec"]["template"]["spec"]["containers"][0]["args"];
        let found = pods.list(&wanted).await.map_err(error)?.items;
        let is_wanted =
            |pod: &DynamicObject| pod.data["spec"]["containers"][0]["args"] == *template;
        found
            .into_iter()
            .find(is_wanted)
            .ok_or_else(|| deployment.data["status"]["conditions"].to_string())
    });
    found.await.data["spec"].clone()
}

/// The pod's volumes as folders, and where the container sees them.
async fn mounts(
    cluster: &Cluster,
    namespace: &str,
    spec: &Value,
    folder: &Path,
) -> Vec<(PathBuf, String)> {
    let mut mounts = Vec::new();
    for mount in list(&spec["containers"][0]["volumeMounts"]) {
        let name = text(&mount["name"]);
        let volume = list(&spec["volumes"])
            .iter()
            .find(|volume| volume["name"] == mount["name"])
            .expect("a mount has its volume");
        let content = folder.join(&name);
        fs::create_dir(&content).expect("the scratch folder is writable");
        if volume.get("emptyDir").is_some() {
            set_mode(&content, 0o777);
        } else if let Some(map) = volume.get("configMap") {
            write_config_map(cluster, namespace, &text(&map["name"]), &content).await;
        } else if volume.get("projected").is_some() {
            let account = text(&spec["serviceAccountName"]);
            let token = cluster.service_account_token(namespace, &account).await;
            write_config_map(cluster, namespace, "kube-root-ca.crt", &content).await;
            write(&content, "token", &token);
            write(&content, "namespace", namespace);
        } else {
            panic!("the test knows no such volume: {volume}");
        }
        mounts.push((content, text(&mount["mountPath"])));
    }
    mounts
}

async fn write_config_map(cluster: &Cluster, namespace: &str, name: &str, folder: &Path) {
    let maps = cluster.api("v1", "ConfigMap", namespace).await;
    let map = maps.get(name).await;
    let map = map.unwrap_or_else(|error| panic!("ConfigMap {name}: {error}"));
    for (key, value) in map.data["data"].as_object().expect("it has data") {
        write(folder, key, &text(value));
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::write(&path, content).expect("the scratch folder is writable");
    set_mode(&path, 0o644);
}

fn set_mode(path: &Path, mode: u32) {
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, mode).expect("it belongs to the test");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
