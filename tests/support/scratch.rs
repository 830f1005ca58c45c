//! Folders for what the tests write; gone when the test process ends without a panic.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::watchdog;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = create_root(&std::env::temp_dir()).expect("TMPDIR is a folder one can write to");
    watchdog::remove_at_end(&root);
    keep_when_panicking(root.clone());
    root
});

/// In memory where there is such a file system: etcd writes much and nothing of it is kept.
static MEMORY_ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| match create_root(Path::new("/dev/shm")) {
        Ok(root) => {
            watchdog::remove_at_end(&root);
            root
        }
        Err(_) => folder("memory"),
    });

/// The folder of this process, in which all other ones lie.
pub fn root() -> &'static Path {
    &ROOT
}

/// A new, empty folder; its name begins with `name`.
pub fn folder(name: &str) -> PathBuf {
    create(&ROOT, name)
}

/// A new, empty folder whose content is never looked at after the end.
pub fn memory_folder(name: &str) -> PathBuf {
    create(&MEMORY_ROOT, name)
}

fn create_root(parent: &Path) -> std::io::Result<PathBuf> {
    Ok(tempfile::Builder::new()
        .prefix("ocm-controller-test-")
        .tempdir_in(parent)?
        .keep())
}

fn create(root: &Path, name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let path = root.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// Logs tell most about a failure, so after one they stay.
fn keep_when_panicking(root: PathBuf) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        watchdog::keep(&root);
        report(info);
        eprintln!("logs and data of this run are kept in {}", root.display());
    }));
}
