//! What the demo plays on: cluster, registry, Git server, controller.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::shell::Shell;
use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::git::GitRepository;
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::{fixture, in_repository, scratch, tools};

const USER: &str = "ops";
const PASSWORD: &str = "for-the-demo";

/// What `flux bootstrap` leaves in the cluster: the repository is followed, all of it is applied.
const SYNC: &str = "
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, url: URL, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec:
  interval: 10m0s
  path: ./
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
";

/// Everything that runs; dropping it ends it, clients before what they talk to.
pub(crate) struct Stage {
    controller: Controller,
    pub(crate) cluster: Cluster,
    pub(crate) git: GitRepository,
    registry: Registry,
    home: PathBuf,
}

impl Stage {
    /// Starts everything; the registry holds what is public.
    pub(crate) async fn start() -> Self {
        let cluster = Options {
            flux: Flux::Kustomize,
            audit: false,
            crds: vec![in_repository("crds")],
        };
        let registry = RegistryOptions {
            tls: vec!["ghcr.io".to_owned()],
            password: Some((USER.to_owned(), PASSWORD.to_owned())),
        };
        let readme = [("README.md", "# The repository that Flux follows\n")];
        let (cluster, registry, git) = tokio::join!(
            Cluster::start(cluster),
            Registry::start(registry),
            GitRepository::start(&readme),
        );
        // The guide knows of two versions.
        let public = fixture("registry/phoban01-public");
        registry
            .load(&public, |found| found.tag.as_deref() != Some("6.4.0"))
            .await;
        for file in [
            "manager/namespace.yaml",
            "rbac/role.yaml",
            "rbac/own_role.yaml",
            "rbac/binding.yaml",
        ] {
            let path = in_repository("config").join(file);
            let text = std::fs::read_to_string(path).expect("it is in the repository");
            cluster.apply(&text).await;
        }
        cluster.apply(&SYNC.replace("URL", &git.url())).await;
        let options = ControllerOptions {
            token: cluster
                .service_account_token("ocm-system", "ocm-controller")
                .await,
            arguments: vec![
                format!("--resolve=ghcr.io={}", registry.address()),
                format!("--ca-file={}", registry.ca_file().display()),
                "--log-format=text".to_owned(),
            ],
            ..ControllerOptions::default()
        };
        let controller = Controller::start(&cluster, &program(), options).await;
        let stage = Self {
            controller,
            cluster,
            git,
            registry,
            home: scratch::folder("home"),
        };
        stage.furnish();
        stage
    }

    /// Gives the user a password for `ghcr.io`, and an `ocm-controller` that finds it on loopback.
    fn furnish(&self) {
        let bin = self.home.join("bin");
        std::fs::create_dir_all(&bin).expect("the folder is writable");
        let script = format!(
            "#!/bin/sh\nexec {program} \"$@\" --allow-loopback --resolve=ghcr.io={address} \
             --ca-file={ca}\n",
            program = program(),
            address = self.registry.address(),
            ca = self.registry.ca_file().display(),
        );
        let file = bin.join("ocm-controller");
        std::fs::write(&file, script).expect("the folder is writable");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&file, executable).expect("the file is the demo's own");
        let config = self.registry.docker_config("ghcr.io");
        std::fs::write(self.home.join("config.json"), config).expect("the folder is writable");
    }

    /// A shell of a user who has kubectl, Git, and the credentials that the guide assumes.
    pub(crate) fn shell(&self) -> Shell {
        let set = |name, value: &str| (name, OsString::from(value));
        let environment = vec![
            ("KUBECONFIG", self.cluster.admin_kubeconfig().into()),
            ("KUBECACHEDIR", self.home.join("kube").into()),
            ("PATH", path(&self.home.join("bin"))),
            ("DOCKER_CONFIG", self.home.clone().into()),
            set("AIR_GAPPED_REGISTRY", "ghcr.io/phoban01/air-gapped"),
            set("GITHUB_USER", USER),
            set("GITHUB_TOKEN", PASSWORD),
            set("GIT_AUTHOR_NAME", "ops"),
            set("GIT_AUTHOR_EMAIL", "ops@example.org"),
            set("GIT_COMMITTER_NAME", "ops"),
            set("GIT_COMMITTER_EMAIL", "ops@example.org"),
            // The user's own settings, such as signing each commit, are not for the demo.
            set("GIT_CONFIG_GLOBAL", "/dev/null"),
        ];
        Shell::new(self.home.clone(), environment)
    }

    /// How a person reaches what is running.
    pub(crate) fn directions(&self) -> String {
        let port = self.registry.address().port();
        format!(
            "\nEverything keeps running. In another terminal:\n\n  \
             export KUBECONFIG={kubeconfig}\n  \
             export PATH={tools}:$PATH\n\n  \
             kubectl get ocm -A                  # all objects of the chain\n  \
             kubectl get events -n ocm-system\n  \
             git clone {git}    # push a change to main, and Flux applies it within a minute\n  \
             curl --cacert {ca} --resolve ghcr.io:{port}:127.0.0.1 -u {USER}:{PASSWORD} https://ghcr.io:{port}/v2/_catalog\n  \
             curl http://{snapshots}/v2/         # what Flux pulls from\n  \
             tail -f {log}",
            kubeconfig = self.cluster.admin_kubeconfig().display(),
            tools = tools_folder().display(),
            git = self.git.url(),
            ca = self.registry.ca_file().display(),
            snapshots = self.controller.registry_address(),
            log = self.controller.log().display(),
        )
    }

    /// The last lines of the controller's log.
    pub(crate) fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.controller.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        format!("\nThe end of the log of ocm-controller:\n{tail}")
    }
}

/// The program that was built beside this one: cargo names it to tests only.
fn program() -> String {
    let demo = env::current_exe().expect("the system knows it");
    let built = demo
        .ancestors()
        .nth(2)
        .expect("examples/ lies in cargo's folder");
    let program = built.join("ocm-controller");
    assert!(
        program.exists(),
        "{} is missing: run `make demo`, which builds it",
        program.display()
    );
    program.display().to_string()
}

/// The user's own programs first, then those of `make tools`.
fn path(own: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = [own.to_owned(), tools_folder()]
        .into_iter()
        .chain(env::split_paths(&path));
    env::join_paths(all).expect("PATH is made of folders")
}

fn tools_folder() -> PathBuf {
    let kubectl = tools::program("kubectl");
    kubectl
        .parent()
        .expect("a program lies in a folder")
        .to_owned()
}
