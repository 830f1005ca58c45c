//! A large resource through the whole chain: the objects, and a controller that may be held to a
//! bound of memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cluster::Cluster;
use super::made::COMPONENT;
use super::wait::{self, eventually};
use super::{in_repository, scratch, tools};

/// Our CRDs and Flux's, for a cluster in which Flux does not run.
pub fn crds() -> Vec<PathBuf> {
    [
        "source-controller",
        "kustomize-controller",
        "helm-controller",
    ]
    .map(tools::flux_crds)
    .into_iter()
    .chain([in_repository("crds")])
    .collect()
}

/// Installs what the controller needs: its namespace, account and rights.
pub async fn install(cluster: &Cluster) {
    for file in [
        "config/manager/namespace.yaml",
        "config/rbac/role.yaml",
        "config/rbac/binding.yaml",
    ] {
        let text = fs::read_to_string(in_repository(file)).expect("it is in the repository");
        cluster.apply(&text).await;
    }
}

/// Localizes the large resource of the component in `url`, in a namespace of its own; waits until
/// the Localization is ready, for `timeout` at most, and removes the objects again.
pub async fn localize(cluster: &Cluster, url: &str, timeout: Duration) {
    let namespace = cluster.namespace("large").await;
    let objects = format!(
        "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {{name: large}}
spec:
  interval: 1h
  component: {COMPONENT}
  version: {{semver: '>=1.0.0'}}
  repository: {{url: '{url}'}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {{name: files}}
spec:
  interval: 1h
  sourceRef: {{kind: ComponentVersion, name: large, resourceRef: {{name: deployment}}}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {{name: localized}}
spec:
  interval: 1h
  sourceRef: {{kind: Resource, name: files}}
  configRef: {{kind: ComponentVersion, name: large, resourceRef: {{name: config}}}}
"
    );
    cluster.apply_in(&namespace, &objects).await;
    let api = cluster
        .api("delivery.ocm.software/v1alpha1", "Localization", &namespace)
        .await;
    eventually("the Localization is ready", timeout, async || {
        let found = api
            .get("localized")
            .await
            .map_err(|error| error.to_string())?;
        if wait::is_ready(Some(&found)) {
            return Ok(());
        }
        Err(found.data["status"].to_string())
    })
    .await;
    for kind in ["Localization", "Resource", "ComponentVersion"] {
        cluster
            .kubectl(&[
                "delete",
                &format!("{kind}.delivery.ocm.software"),
                "--all",
                "-n",
                &namespace,
            ])
            .await;
    }
}

/// A group of processes that may have so much memory together (control groups, version 1).
#[derive(Debug)]
pub struct Bound {
    folder: PathBuf,
}

impl Bound {
    /// Makes such a group, or says why it cannot be made.
    pub fn new(bytes: u64) -> std::io::Result<Self> {
        let name = format!("ocm-controller-{}", std::process::id());
        let folder = Path::new("/sys/fs/cgroup/memory").join(name);
        fs::create_dir(&folder)?;
        let bound = Self { folder };
        fs::write(
            bound.folder.join("memory.limit_in_bytes"),
            bytes.to_string(),
        )?;
        Ok(bound)
    }

    /// A program that starts `program` within the group.
    pub fn starter(&self, program: &str) -> String {
        let path = scratch::folder("bound").join("start");
        let processes = self.folder.join("cgroup.procs");
        let script = format!(
            "#!/bin/sh\necho $$ > {}\nexec {program} \"$@\"\n",
            processes.display()
        );
        fs::write(&path, script).expect("the scratch folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our file");
        path.display().to_string()
    }

    /// How often the kernel refused the group more, and what it used at most, in bytes.
    pub fn usage(&self) -> (u64, u64) {
        let read = |file: &str| {
            let text = fs::read_to_string(self.folder.join(file)).expect("the kernel tells");
            text.trim().parse().expect("a number")
        };
        (read("memory.failcnt"), read("memory.max_usage_in_bytes"))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Works once its processes have ended; else it is empty and harmless later.
        let _ = fs::remove_dir(&self.folder);
    }
}
