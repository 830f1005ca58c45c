//! The guide's objects in a namespace of a test's own.

use std::time::Duration;

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::scene::{PASSWORD, Scene, ready_condition};
use crate::support::in_repository;
use crate::support::wait::{self, eventually};

/// The guide's private registry, whose content is `phoban01-air-gapped`.
pub const PRIVATE: &str = "ghcr.io/phoban01/air-gapped";

/// The image that the guide ends with.
pub const IMAGE: &str = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";

/// All kinds that the controller writes or reads, in the order of the chain.
pub const OURS: [&str; 7] = [
    "ComponentVersion",
    "ComponentDescriptor",
    "Resource",
    "Localization",
    "Configuration",
    "Snapshot",
    "FluxDeployer",
];

/// The kinds of Flux that the controller writes.
pub const OF_FLUX: [&str; 3] = ["OCIRepository", "Kustomization", "HelmRelease"];

/// The guide's manifests of a component of `url`, for `namespace`, deployed to `target`.
pub fn guide_in(namespace: &str, target: &str, url: &str) -> String {
    let folder = in_repository("examples/air-gapped/components");
    let mut texts: Vec<String> = std::fs::read_dir(folder)
        .expect("the example is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| std::fs::read_to_string(path).expect("a text"))
        .collect();
    // Who names an account that comes only later hears of that first.
    texts.sort_by_key(|text| !text.contains("kind: ServiceAccount"));
    texts
        .join("\n---\n")
        .replace("namespace: ocm-system", &format!("namespace: {namespace}"))
        .replace(
            "targetNamespace: default",
            &format!("targetNamespace: {target}"),
        )
        .replace(PRIVATE, url)
}

/// Two namespaces of a test's own: one for the objects, one to deploy to.
pub struct Site<'a> {
    pub scene: &'a Scene,
    pub namespace: String,
    pub target: String,
    client: Client,
}

impl<'a> Site<'a> {
    /// Namespaces with the Secret that the guide makes.
    pub async fn new(scene: &'a Scene, name: &str) -> Self {
        let site = Self::without_secret(scene, name).await;
        scene
            .give_password(&site.namespace, "ghcr-cred", PASSWORD)
            .await;
        site
    }

    /// Namespaces with nothing in them.
    pub async fn without_secret(scene: &'a Scene, name: &str) -> Self {
        let target = format!("{name}-target");
        let (namespace, target, client) = tokio::join!(
            scene.cluster.namespace(name),
            scene.cluster.namespace(&target),
            scene.cluster.client(),
        );
        Self {
            scene,
            namespace,
            target,
            client,
        }
    }

    /// The namespaces of another site, with connections of its own.
    pub async fn at(scene: &'a Scene, namespace: String, target: String) -> Self {
        let client = scene.cluster.client().await;
        Self {
            scene,
            namespace,
            target,
            client,
        }
    }

    /// The guide's manifests for this place, with a component of `url`.
    pub fn guide(&self, url: &str) -> String {
        guide_in(&self.namespace, &self.target, url)
    }

    /// The guide's chain with names that end with `suffix`, and with these labels.
    pub fn chain(&self, suffix: &str, labels: &Value) -> String {
        let mut documents = Vec::new();
        for document in serde_yaml::Deserializer::from_str(&self.guide(PRIVATE)) {
            let mut object = Value::deserialize(document).expect("valid YAML");
            if object["kind"] != "ServiceAccount" {
                object["metadata"]["labels"] = labels.clone();
                for name in [
                    "/metadata/name",
                    "/spec/sourceRef/name",
                    "/spec/configRef/name",
                ] {
                    if let Some(name) = object.pointer_mut(name) {
                        *name = json!(format!("{}{suffix}", name.as_str().expect("a text")));
                    }
                }
            }
            documents.push(object.to_string());
        }
        documents.join("\n---\n")
    }

    /// Applies manifests.
    pub async fn apply(&self, yaml: &str) {
        self.scene.cluster.apply_in(&self.namespace, yaml).await;
    }

    /// Waits until the guide's Deployment has this image.
    pub async fn deployed(&self, image: &str) {
        self.scene.deployed(&self.target, "podinfo", image).await;
    }

    /// Applies the guide with the private registry, and waits until all of it is done.
    pub async fn complete(scene: &'a Scene, name: &str) -> Self {
        let site = Self::new(scene, name).await;
        site.apply(&site.guide(PRIVATE)).await;
        site.settled().await;
        site
    }

    /// Waits until each object of the guide is ready.
    pub async fn settled(&self) {
        self.deployed(IMAGE).await;
        for (kind, name) in [
            ("ComponentVersion", "podinfo"),
            ("Resource", "podinfo-deployment"),
            ("Localization", "podinfo-deployment"),
            ("FluxDeployer", "podinfo"),
        ] {
            self.ready(kind, name).await;
        }
    }

    /// The API of any kind that the tests look at.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (group, version) = match kind {
            "OCIRepository" => ("source.toolkit.fluxcd.io", "v1"),
            "Kustomization" => ("kustomize.toolkit.fluxcd.io", "v1"),
            "HelmRelease" => ("helm.toolkit.fluxcd.io", "v2"),
            "Secret" | "ServiceAccount" | "Namespace" => ("", "v1"),
            "Event" => ("events.k8s.io", "v1"),
            _ => ("delivery.ocm.software", "v1alpha1"),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if kind == "Namespace" {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// An object, which must be there.
    pub async fn get(&self, kind: &str, name: &str) -> DynamicObject {
        let found = self.api(kind).get(name).await;
        found.unwrap_or_else(|error| panic!("no {kind} {name:?}: {error}"))
    }

    /// All objects of a kind.
    pub async fn list(&self, kind: &str) -> Vec<DynamicObject> {
        match self.api(kind).list(&ListParams::default()).await {
            Ok(found) => found.items,
            // The kind is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => panic!("no list of {kind}: {error}"),
        }
    }

    /// The notes of the events with this reason.
    pub async fn events(&self, reason: &str) -> Vec<String> {
        let found = self.list("Event").await;
        let told = found.iter().filter(|event| event.data["reason"] == reason);
        told.map(|event| event.data["note"].to_string()).collect()
    }

    /// All objects of ours and of Flux, as `KIND/NAME`.
    pub async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for kind in OURS.iter().chain(&OF_FLUX) {
            let found = self.list(kind).await;
            left.extend(
                found
                    .iter()
                    .map(|object| format!("{kind}/{}", object.name_any())),
            );
        }
        left
    }

    /// Changes an object by a JSON merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> DynamicObject {
        let patched = self
            .api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.unwrap_or_else(|error| panic!("failed to patch {kind} {name:?}: {error}"))
    }

    /// Deletes an object without waiting until it is gone.
    pub async fn delete(&self, kind: &str, name: &str) {
        let deleted = self.api(kind).delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("failed to delete {kind} {name:?}: {error}"));
    }

    /// Waits until an object is ready in its present form.
    pub async fn ready(&self, kind: &str, name: &str) -> DynamicObject {
        wait::until(&self.api(kind), name, "ready", wait::is_ready).await
    }

    /// Waits until an object is not ready for this reason; gives the message.
    pub async fn fails(&self, kind: &str, name: &str, reason: &str) -> String {
        self.scene.fails(kind, &self.namespace, name, reason).await
    }

    /// Waits until an object fulfils `condition`.
    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        condition: impl Fn(&DynamicObject) -> bool + Send + Sync,
    ) -> DynamicObject {
        wait::until(
            &self.api(kind),
            name,
            what,
            move |object: Option<&DynamicObject>| object.is_some_and(&condition),
        )
        .await
    }

    /// Asks for a run, as `flux reconcile` does.
    pub async fn request(&self, kind: &str, name: &str, token: &str) {
        let annotation = json!({"reconcile.fluxcd.io/requestedAt": token});
        self.patch(kind, name, json!({"metadata": {"annotations": annotation}}))
            .await;
    }

    /// Asks for a run, and waits until it is over.
    pub async fn run(&self, kind: &str, name: &str, token: &str) -> DynamicObject {
        self.request(kind, name, token).await;
        self.until(kind, name, "answered", |object| {
            object.data["status"]["lastHandledReconcileAt"] == token
        })
        .await
    }

    /// Deletes the whole namespace.
    pub async fn delete_namespace(&self) {
        self.delete("Namespace", &self.namespace).await;
    }

    /// Waits until the namespace is gone.
    pub async fn namespace_gone(&self, timeout: Duration) {
        let namespaces = self.api("Namespace");
        eventually("the namespace is gone", timeout, async || match namespaces
            .get_opt(&self.namespace)
            .await
        {
            Ok(None) => Ok(()),
            Ok(Some(found)) => Err(found.data["status"].to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }
}

/// The message of the condition Ready.
pub fn message(object: &DynamicObject) -> String {
    let condition = ready_condition(object).expect("it has the condition Ready");
    condition["message"].as_str().unwrap_or_default().to_owned()
}
