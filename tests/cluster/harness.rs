//! What the other cluster tests rely on.

use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::conditions::is_created;

use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::git::GitRepository;
use crate::support::process::Process;
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::wait::{self, eventually};
use crate::support::{fixture, scratch, shared_cluster, web};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn flux_applies_what_was_committed() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("flux").await;
    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: from-git}, data: {n: '1'}}";
    let git = GitRepository::start(&[("deploy/config.yaml", manifest)]).await;
    let flux_objects = format!(
        "
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: source}}
spec: {{interval: 1h, url: {url}, ref: {{branch: main}}}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: deploy}}
spec:
  interval: 1h
  path: ./deploy
  prune: true
  targetNamespace: {namespace}
  sourceRef: {{kind: GitRepository, name: source}}
",
        url = git.url()
    );
    cluster.apply_in(&namespace, &flux_objects).await;

    let kustomizations = cluster
        .api(
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            &namespace,
        )
        .await;
    wait::until(&kustomizations, "deploy", "ready", wait::is_ready).await;
    let printed = cluster
        .kubectl(&[
            "get",
            "configmap",
            "from-git",
            "-n",
            &namespace,
            "-o",
            "name",
        ])
        .await;
    assert_eq!(printed, "configmap/from-git\n");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn service_account_has_only_the_rights_it_was_given() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("rights").await;
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody}}";
    cluster.apply_in(&namespace, account).await;
    let token = cluster.service_account_token(&namespace, "nobody").await;
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client_for(&token).await, &namespace);

    let refused = config_maps.get("anything").await.unwrap_err();

    assert!(
        matches!(&refused, kube::Error::Api(status) if status.is_forbidden()),
        "{refused}"
    );
    let user = format!("system:serviceaccount:{namespace}:nobody");
    let logged = eventually("the refusal is in the audit log", TIMEOUT, async || {
        let mut events = cluster.audit_log().into_iter();
        events
            .find(|event| event.user == user)
            .ok_or_else(|| "nothing".to_owned())
    });
    let event = logged.await;
    assert_eq!(
        (event.verb.as_str(), event.resource.as_str()),
        ("get", "configmaps")
    );
    assert_eq!(
        (event.name.as_str(), event.code, event.is_write()),
        ("anything", 403, false)
    );
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn dependents_go_with_their_owner() {
    let cluster = shared_cluster().await;
    let namespace = cluster.namespace("garbage").await;
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, &namespace);
    let mut owner = ConfigMap::default();
    owner.metadata.name = Some("owner".to_owned());
    let owner = config_maps
        .create(&PostParams::default(), &owner)
        .await
        .unwrap();
    let uid = owner.metadata.uid.unwrap();
    let dependent = format!(
        "
apiVersion: v1
kind: ConfigMap
metadata:
  name: dependent
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}}}]
"
    );
    cluster.apply_in(&namespace, &dependent).await;
    wait::until(&config_maps, "dependent", "created", is_created()).await;

    config_maps
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();

    wait::until_gone(&config_maps, "dependent").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn private_registry_asks_for_the_password_and_serves_the_fixture() {
    let options = RegistryOptions {
        tls: vec!["ghcr.io".to_owned()],
        password: Some(("ops".to_owned(), "for-a-test".to_owned())),
    };
    let registry = Registry::start(options).await;
    let fixture = fixture("registry/phoban01-air-gapped-blobs");
    registry
        .load(&fixture, |artifact| {
            artifact.tag.as_deref() == Some("6.3.5")
        })
        .await;

    let repository = "phoban01/air-gapped-blobs/component-descriptors/phoban.io/podinfo";
    let (media_type, _) = registry.manifest(repository, "6.3.5").await;
    assert_eq!(media_type, "application/vnd.oci.image.index.v1+json");
    assert_eq!(registry.tags(repository).await, ["6.3.5"]);
    assert_eq!(registry.requests(), []);

    let client = reqwest::Client::builder()
        .user_agent("stranger")
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(registry.ca_pem().as_bytes()).unwrap()])
        .resolve("ghcr.io", registry.address())
        .build()
        .unwrap();
    let port = registry.address().port();
    let url = format!("https://ghcr.io:{port}/v2/{repository}/manifests/6.3.5");
    let stranger = client.get(url).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    let seen = eventually("the access log is written", TIMEOUT, async || {
        registry
            .requests()
            .pop()
            .ok_or_else(|| "nothing".to_owned())
    });
    assert_eq!(seen.await.status, 401);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn registry_keeps_address_and_content_when_started_again() {
    let mut registry = Registry::start(RegistryOptions::default()).await;
    registry
        .load(&fixture("registry/phoban01-public"), |_| true)
        .await;
    let repository = "phoban01/component-descriptors/phoban.io/podinfo";
    registry.put_tag(repository, "6.3.5", "latest").await;
    registry.delete_tag(repository, "6.2.3").await;
    let address = registry.address();

    registry.stop().await;
    assert!(!web::is_ok(&web::client(None), address, "/v2/").await);
    registry.start_again().await;

    assert_eq!(
        registry.tags(repository).await,
        ["6.3.5", "6.4.0", "latest"]
    );
    assert!(web::is_ok(&web::client(None), address, "/v2/").await);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn no_process_is_left_when_a_cluster_is_dropped() {
    let options = Options {
        flux: Flux::Kustomize,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await;
    let processes = cluster.process_ids();
    assert_eq!(processes.len(), 5);
    assert!(processes.iter().all(|id| is_alive(*id)));

    drop(cluster);

    assert!(!processes.iter().any(|id| is_alive(*id)));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn api_server_keeps_its_objects_when_restarted() {
    let mut cluster = Cluster::start(Options {
        flux: Flux::None,
        ..Options::default()
    })
    .await;
    let namespace = cluster.namespace("kept").await;

    cluster.api_server_process().kill();
    cluster.restart_api_server().await;

    let printed = cluster
        .kubectl(&["get", "namespace", &namespace, "-o", "name"])
        .await;
    assert_eq!(printed, format!("namespace/{namespace}\n"));
}

#[tokio::test]
async fn paused_program_goes_on_and_ends_with_what_it_started() {
    let folder = scratch::folder("process");
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 1000 & echo $!; wait"]);
    let mut process = Process::spawn("shell", shell, &folder);
    let log = process.log().to_owned();
    let printed = || async { std::fs::read_to_string(&log).unwrap().ends_with('\n') };
    process.wait_until("started", TIMEOUT, printed).await;
    let grandchild: u32 = process.output().trim().parse().unwrap();
    process.pause();
    assert!(process.is_running());
    process.resume();

    process.stop().await;

    assert!(!process.is_running());
    eventually("the grandchild has ended", TIMEOUT, async || {
        ended(grandchild)
    })
    .await;
}

/// The test process starts itself with this variable set to a file, and kills the copy.
const DOOMED: &str = "HARNESS_TEST_DOOMED";

#[tokio::test]
async fn programs_and_files_go_with_a_killed_test_process() {
    if let Some(report) = std::env::var_os(DOOMED) {
        let folder = scratch::folder("doomed");
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let process = Process::spawn("sleep", sleep, &folder);
        let text = format!("{} {}\n", process.id(), scratch::root().display());
        std::fs::write(report, text).unwrap();
        std::future::pending::<()>().await;
    }
    let report = scratch::folder("report").join("report");
    let mut copy = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "harness::programs_and_files_go_with_a_killed_test_process",
        ])
        .env(DOOMED, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (sleep, folder) = eventually("the copy has started a program", TIMEOUT, async || {
        let text = std::fs::read_to_string(&report).map_err(|error| error.to_string())?;
        let (id, folder) = text.trim_end().split_once(' ').ok_or("half a line")?;
        Ok((id.parse().unwrap(), std::path::PathBuf::from(folder)))
    })
    .await;
    assert!(is_alive(sleep) && folder.is_dir());

    copy.kill().unwrap();
    copy.wait().unwrap();

    eventually("its program has ended", TIMEOUT, async || ended(sleep)).await;
    eventually("its folder is removed", TIMEOUT, async || {
        if folder.exists() {
            Err(format!("{} is there", folder.display()))
        } else {
            Ok(())
        }
    })
    .await;
}

fn ended(process: u32) -> Result<(), String> {
    if is_alive(process) {
        Err(format!("process {process} is alive"))
    } else {
        Ok(())
    }
}

/// Whether there is such a process. One that has ended and that nobody waits for, as happens to
/// orphans in a container without an init, counts as gone.
fn is_alive(process: u32) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-p", &process.to_string()])
        .output()
        .expect("ps is on the path");
    let state = String::from_utf8_lossy(&ps.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
