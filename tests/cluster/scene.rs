//! What the tests of the controller share: cluster, registries, and the controller itself with the
//! rights that `config/` gives it.

use std::time::Duration;

use kube::Api;
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::wait::{self, eventually};
use crate::support::{fixture, in_repository};

/// What everything has to come to be within, on a loaded machine.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// The user and password of the private registry.
pub const USER: &str = "ops";
pub const PASSWORD: &str = "for-a-test";

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ocm-controller");

/// A cluster with Flux, three registries, and the controller.
///
/// `ghcr.io` is the private registry with TLS and password; `public.example.org` and
/// `fragile.example.org` are others with TLS and without. Whoever stops the last one holds it.
pub struct Scene {
    pub cluster: Cluster,
    pub private: Registry,
    pub public: Registry,
    pub fragile: Mutex<Registry>,
    pub controller: Mutex<Controller>,
}

impl Scene {
    /// Starts everything, the registries still empty.
    pub async fn start() -> Self {
        Self::start_with(Flux::KustomizeAndHelm, &[]).await
    }

    /// Starts everything, the controller with further arguments.
    pub async fn start_with(flux: Flux, arguments: &[&str]) -> Self {
        let options = Options {
            flux,
            audit: true,
            crds: vec![in_repository("crds")],
        };
        let registry = |name: &str, password| RegistryOptions {
            tls: vec![name.to_owned()],
            password,
        };
        let password = Some((USER.to_owned(), PASSWORD.to_owned()));
        let (cluster, private, public, fragile) = tokio::join!(
            Cluster::start(options),
            Registry::start(registry("ghcr.io", password)),
            Registry::start(registry("public.example.org", None)),
            Registry::start(registry("fragile.example.org", None)),
        );
        install(&cluster).await;
        let mut all = arguments_for(&[
            ("ghcr.io", &private),
            ("public.example.org", &public),
            ("fragile.example.org", &fragile),
        ]);
        all.extend(arguments.iter().map(ToString::to_string));
        let options = ControllerOptions {
            token: cluster
                .service_account_token("ocm-system", "ocm-controller")
                .await,
            arguments: all,
            ..ControllerOptions::default()
        };
        let controller = Controller::start(&cluster, PROGRAM, options).await;
        Self {
            cluster,
            private,
            public,
            fragile: Mutex::new(fragile),
            controller: Mutex::new(controller),
        }
    }

    /// Puts a fixture of `tests/fixtures/registry` into the private registry.
    pub async fn load_private(&self, name: &str) {
        self.private
            .load(&fixture("registry").join(name), |_| true)
            .await;
    }

    /// Makes the Secret that names the private registry's password.
    pub async fn give_password(&self, namespace: &str, secret: &str, password: &str) {
        self.cluster
            .kubectl(&[
                "create",
                "secret",
                "docker-registry",
                "-n",
                namespace,
                secret,
                "--docker-server=ghcr.io",
                &format!("--docker-username={USER}"),
                &format!("--docker-password={password}"),
            ])
            .await;
    }

    /// The API of a kind of this group.
    pub async fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        self.cluster
            .api("delivery.ocm.software/v1alpha1", kind, namespace)
            .await
    }

    /// Waits until an object is ready in its present form.
    pub async fn ready(&self, kind: &str, namespace: &str, name: &str) -> DynamicObject {
        let api = self.api(kind, namespace).await;
        wait::until(&api, name, "ready", wait::is_ready).await
    }

    /// Waits until an object is not ready for this reason; gives the message.
    pub async fn fails(&self, kind: &str, namespace: &str, name: &str, reason: &str) -> String {
        let api = self.api(kind, namespace).await;
        let wanted = reason.to_owned();
        let object = wait::until(
            &api,
            name,
            &format!("failing with {reason}"),
            move |object: Option<&DynamicObject>| {
                object
                    .and_then(ready_condition)
                    .is_some_and(|found| found["status"] == "False" && found["reason"] == wanted)
            },
        )
        .await;
        let condition = ready_condition(&object).expect("it was there");
        condition["message"]
            .as_str()
            .expect("a message is text")
            .to_owned()
    }

    /// Waits until a Deployment's first container has this image.
    pub async fn deployed(&self, namespace: &str, name: &str, image: &str) {
        let api = self.cluster.api("apps/v1", "Deployment", namespace).await;
        eventually(
            &format!("Deployment {name} has image {image}"),
            TIMEOUT,
            async || {
                let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
                let found = found.ok_or_else(|| "no such Deployment".to_owned())?;
                let seen = &found.data["spec"]["template"]["spec"]["containers"][0]["image"];
                if seen == image {
                    Ok(())
                } else {
                    Err(seen.to_string())
                }
            },
        )
        .await;
    }
}

/// The arguments of a controller that knows these registries by these names.
pub fn arguments_for(registries: &[(&str, &Registry)]) -> Vec<String> {
    let mut all = vec!["--log-level=info,ocm_controller=debug".to_owned()];
    for (host, registry) in registries {
        all.push(format!("--resolve={host}={}", registry.address()));
        all.push(format!("--ca-file={}", registry.ca_file().display()));
    }
    all
}

/// CRDs are there; this adds what the chart would: namespace, account, rights.
pub async fn install(cluster: &Cluster) {
    for file in [
        "config/manager/namespace.yaml",
        "config/rbac/role.yaml",
        "config/rbac/own_role.yaml",
        "config/rbac/binding.yaml",
        "config/rbac/leader_election.yaml",
    ] {
        let text = std::fs::read_to_string(in_repository(file)).expect("it is in the repository");
        cluster.apply(&text).await;
    }
}

/// The condition Ready of an object of any kind.
pub fn ready_condition(object: &DynamicObject) -> Option<&Value> {
    let conditions = object.data.get("status")?.get("conditions")?.as_array()?;
    conditions.iter().find(|found| found["type"] == "Ready")
}

/// One scene for all tests that leave it as they found it.
pub async fn shared_scene() -> &'static Scene {
    static SCENE: OnceCell<Scene> = OnceCell::const_new();
    SCENE
        .get_or_init(|| async {
            let scene = Scene::start().await;
            for name in [
                "phoban01-air-gapped",
                "phoban01-air-gapped-v1",
                "phoban01-air-gapped-blobs",
                "example-air-gapped",
            ] {
                scene.load_private(name).await;
            }
            scene
        })
        .await
}

/// One scene for the tests that stop the controller, which take turns; it runs at the begin of
/// each.
pub async fn exclusive_scene() -> MutexGuard<'static, Scene> {
    static SCENE: OnceCell<Mutex<Scene>> = OnceCell::const_new();
    let scene = SCENE
        .get_or_init(|| async {
            // What these tests interrupt is not to depend on when garbage is collected, or when the
            // content store is read again.
            let flags = ["--gc-interval=1s", "--scrub-interval=1s"];
            let scene = Scene::start_with(Flux::Kustomize, &flags).await;
            scene.load_private("phoban01-air-gapped").await;
            Mutex::new(scene)
        })
        .await;
    let scene = scene.lock().await;
    {
        let mut controller = scene.controller.lock().await;
        if !controller.process().is_running() {
            controller.start_again().await;
        }
    }
    scene
}
