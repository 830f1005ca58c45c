//! Finds what `make tools` has built.

use std::env;
use std::path::{Path, PathBuf};

/// The path of a program that `make tools` builds.
pub fn program(name: &str) -> PathBuf {
    existing(&folder().join("bin").join(name))
}

/// The folder with the CRDs of one of Flux's controllers.
pub fn flux_crds(controller: &str) -> PathBuf {
    existing(&folder().join("crds").join(controller))
}

fn folder() -> PathBuf {
    env::var_os("OCM_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"),
        PathBuf::from,
    )
}

fn existing(path: &Path) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run `make tools` first, or name their folder by OCM_TOOLS",
        path.display()
    );
    path.to_owned()
}
