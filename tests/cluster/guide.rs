//! The guide, as it is written there: from Git to the image in the Deployment.

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::scene::{PASSWORD, Scene, TIMEOUT, shared_scene};
use crate::site::{IMAGE, PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::git::GitRepository;
use crate::support::registry::{Access, Artifact};
use crate::support::wait::{self, eventually};
use crate::support::{fixture, in_repository};

/// The manifests of the guide as they are committed there.
fn components() -> Vec<(String, String)> {
    let folder = in_repository("examples/air-gapped/components");
    let entries = std::fs::read_dir(folder).expect("the example is in the repository");
    entries
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            let text = std::fs::read_to_string(&path).expect("a text");
            (format!("components/{name}"), text)
        })
        .collect()
}

const SYNC: &str = "
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, url: URL, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: components, namespace: flux-system}
spec:
  interval: 1m0s
  path: ./components
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
";

async fn walk_through(fixture: &str, url: &str, image: &str) {
    let scene = Scene::start_with(Flux::Kustomize, &[]).await;
    scene.load_private(fixture).await;
    scene
        .give_password("ocm-system", "ghcr-cred", PASSWORD)
        .await;
    let files: Vec<(String, String)> = components()
        .into_iter()
        .map(|(path, text)| (path, text.replace("ghcr.io/phoban01/air-gapped", url)))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let git = GitRepository::start(&files).await;
    scene
        .cluster
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: flux-system}}")
        .await;
    scene.cluster.apply(&SYNC.replace("URL", &git.url())).await;

    scene.deployed("default", "podinfo", image).await;

    let printed = scene
        .cluster
        .kubectl(&["get", "deployment", "-n", "default", "podinfo", "-oyaml"])
        .await;
    let lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("image"))
        .collect();
    let words: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    assert!(
        words.join(" ").contains(&format!("image: {image}")),
        "{words:?}"
    );
    let kustomizations = scene
        .cluster
        .api(
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            "ocm-system",
        )
        .await;
    let found = wait::until(&kustomizations, "podinfo", "ready", wait::is_ready).await;
    assert_eq!(found.data["spec"]["targetNamespace"], "default");
    let repositories = scene
        .cluster
        .api("source.toolkit.fluxcd.io/v1", "OCIRepository", "ocm-system")
        .await;
    let found = wait::until(&repositories, "podinfo", "ready", wait::is_ready).await;
    let reference = &found.data["spec"]["ref"];
    assert!(
        reference["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:"))
    );
    assert_ne!(reference["tag"], Value::Null);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn guide_ends_with_the_image_of_the_private_registry() {
    walk_through("phoban01-air-gapped", PRIVATE, IMAGE).await;
}

/// The same registry as other releases of the OCM tools fill it: with digests in the access, and
/// with the image inside the component version itself.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn guide_ends_with_the_image_wherever_the_transfer_put_it() {
    const DIGEST: &str = "sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
    let scene = shared_scene().await;
    for (url, repository) in [
        (
            "ghcr.io/phoban01/air-gapped-v1",
            "stefanprodan/podinfo:6.3.5",
        ),
        (
            "ghcr.io/phoban01/air-gapped-blobs",
            "component-descriptors/phoban.io/podinfo",
        ),
    ] {
        let site = Site::new(scene, "transfer").await;
        site.apply(&site.guide(url)).await;
        site.deployed(&format!("{url}/{repository}@{DIGEST}")).await;
    }
}

/// Where the guide says "to be continued": the pods need credentials of their own.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn guide_goes_on_until_pods_can_pull() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "pull").await;
    scene
        .give_password(&site.target, "ghcr-cred", PASSWORD)
        .await;
    let deployer = in_repository("examples/air-gapped/pull/deployer.yaml");
    let deployer = std::fs::read_to_string(deployer).expect("a text");
    let deployer = deployer
        .replace(
            "namespace: ocm-system",
            &format!("namespace: {}", site.namespace),
        )
        .replace(
            "targetNamespace: default",
            &format!("targetNamespace: {}", site.target),
        );

    site.apply(&deployer).await;

    let pods = scene.cluster.api("v1", "Pod", &site.target).await;
    eventually("the pods name the Secret", TIMEOUT, async || {
        let found = pods.list(&ListParams::default()).await;
        let found = found.map_err(|error| error.to_string())?.items;
        let secrets: Vec<&Value> = found
            .iter()
            .map(|pod| &pod.data["spec"]["imagePullSecrets"])
            .collect();
        // The pod of before goes when its Deployment's new one could run, which no pod can here.
        if secrets.contains(&&json!([{"name": "ghcr-cred"}])) {
            Ok(())
        } else {
            Err(format!("{secrets:?}"))
        }
    })
    .await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn pushed_version_is_deployed_and_an_edited_constraint_goes_back() {
    let scene = shared_scene().await;
    let public = fixture("registry/phoban01-public");
    scene
        .public
        .load(&public, |artifact| artifact.tag.as_deref() != Some("6.4.0"))
        .await;
    let site = Site::without_secret(scene, "newer").await;
    let guide = site
        .guide("public.example.org/phoban01")
        .replace("  serviceAccountName: air-gapped-ops\n", "")
        .replace("interval: 1m0s\n  component", "interval: 2s\n  component");
    site.apply(&guide).await;
    site.deployed("ghcr.io/stefanprodan/podinfo:6.3.5").await;

    scene
        .public
        .load(&public, |artifact| artifact.tag.as_deref() == Some("6.4.0"))
        .await;
    site.deployed("ghcr.io/stefanprodan/podinfo:6.4.0").await;

    let constraint = json!({"spec": {"version": {"semver": "6.2.3"}}});
    site.patch("ComponentVersion", "podinfo", constraint).await;
    site.deployed("ghcr.io/stefanprodan/podinfo:6.2.3").await;
    let found = site.ready("ComponentVersion", "podinfo").await;
    assert_eq!(found.data["status"]["reconciledVersion"], "6.2.3");
    // What the newer version left behind must not be taken for the current one.
    let found = site.ready("Localization", "podinfo-deployment").await;
    assert_eq!(found.data["status"]["latestSourceVersion"], "6.2.3");
}

/// The versions are public, the images are in the private registry, and so is the destination:
/// only its own Secret opens it.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn destination_gets_each_version_once_and_everything_comes_from_there() {
    let scene = shared_scene().await;
    let public = fixture("registry/phoban01-public");
    scene
        .public
        .load(&public, |artifact| artifact.tag.as_deref() != Some("6.4.0"))
        .await;
    let is_image = |artifact: &Artifact| artifact.repository == "stefanprodan/podinfo";
    scene.private.load(&public, is_image).await;
    let site = Site::new(scene, "destination").await;
    let destination =
        "  destination:\n    url: ghcr.io/replicas\n    secretRef:\n      name: ghcr-cred\n";
    let guide = site
        .guide("public.example.org/phoban01")
        .replace("  serviceAccountName: air-gapped-ops\n", destination)
        .replace(">=v6.3.5", "6.3.5");
    assert!(guide.contains(destination), "{guide}");
    site.apply(&guide).await;
    // A copy is named by tag and digest, as the Go controller names it.
    let digest = "sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
    let image = format!("ghcr.io/replicas/stefanprodan/podinfo:6.3.5@{digest}");
    site.deployed(&image).await;
    let found = site.ready("ComponentVersion", "podinfo").await;
    assert_eq!(
        found.data["status"]["replicatedRepositoryURL"],
        "ghcr.io/replicas"
    );
    let told = site.events("Succeeded").await;
    assert!(
        told.iter()
            .any(|note| note.contains("replicated phoban.io/podinfo:6.3.5")),
        "{told:?}"
    );

    let replica = "replicas/component-descriptors/phoban.io/podinfo";
    let writes = |requests: Vec<Access>| {
        let of_replica = |access: &&Access| {
            access.path.contains("/v2/replicas/")
                && access.method != "GET"
                && access.method != "HEAD"
        };
        requests.iter().filter(of_replica).count()
    };
    let heads = |requests: Vec<Access>| {
        let of_tag =
            |access: &&Access| access.path.ends_with(&format!("{replica}/manifests/6.3.5"));
        requests.iter().filter(of_tag).count()
    };
    let (written, asked) = (
        writes(scene.private.requests()),
        heads(scene.private.requests()),
    );
    site.run("ComponentVersion", "podinfo", "nothing-changed")
        .await;
    assert_eq!(writes(scene.private.requests()), written);
    assert_eq!(heads(scene.private.requests()), asked + 1);

    scene.private.delete_tag(replica, "6.3.5").await;
    site.run("ComponentVersion", "podinfo", "copy-is-gone")
        .await;
    assert_eq!(scene.private.tags(replica).await, ["6.3.5"]);
}
