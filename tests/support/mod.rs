//! A real cluster on loopback for the tests, the demo and the benchmarks.
//!
//! Everything runs as a child of the test process: etcd, API server, controller manager, Flux,
//! registries, a Git server and the controller under test. Nothing needs Docker, root or the
//! Internet; the programs come from `make tools`. Each child has a folder and a log of its own, and
//! all of them end with the test process, however it ends.
//!
//! Failures are panics that say what was awaited and show the end of the log concerned.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several test binaries, each of which uses a part"
)]

pub mod between;
pub mod certificates;
pub mod cluster;
pub mod controller;
pub mod git;
pub mod large;
pub mod made;
pub mod manifests;
pub mod pod;
pub mod ports;
pub mod process;
pub mod registry;
pub mod scratch;
pub mod tools;
pub mod usage;
pub mod wait;
pub mod watchdog;
pub mod web;

use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use self::cluster::{Cluster, Flux, Options};

/// The cluster that all tests of one binary share; the first one that asks starts it.
///
/// Take a [`Cluster::namespace`] of your own in it. It is stopped when the test process ends.
pub async fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| {
            Cluster::start(Options {
                flux: Flux::KustomizeAndHelm,
                audit: true,
                // Generated files; the harness's own tests do without them.
                crds: Some(in_repository("crds"))
                    .filter(|folder| folder.is_dir())
                    .into_iter()
                    .collect(),
            })
        })
        .await
}

/// A file or folder under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    in_repository("tests/fixtures").join(name)
}

/// A file or folder of this repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
