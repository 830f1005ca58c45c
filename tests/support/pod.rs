//! A container, as far as the kernel alone makes one: a read-only root with the image's files, its
//! user, no capabilities, nothing of the machine in sight but the network. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments: root, then pairs of folder and mount point, then `--` and the command.
const SCRIPT: &str = r#"
set -e
root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
# What every runtime gives: the harmless devices, and /proc.
mkdir -p "$root/dev" "$root/proc"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind /proc "$root/proc"
mount -o remount,ro,bind "$root"
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all \
    chroot --userspec=65532:65532 --groups= "$root" "$@"
"#;

/// The command that runs `program` of the image whose files lie in `root`, with these folders
/// mounted. Variables of the test's environment are not passed on.
pub fn command(root: &Path, mounts: &[(PathBuf, &str)], program: &[String]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation=private",
            "sh",
            "-c",
            SCRIPT,
            "pod",
        ])
        .arg(root)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for (folder, point) in mounts {
        command.arg(folder).arg(point);
    }
    command.arg("--").args(program);
    command
}

/// The binary that goes into the image.
pub fn static_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image/ocm-controller");
    assert!(
        path.exists(),
        "{} is missing: run `make binary` first",
        path.display()
    );
    path
}

/// Says what is missing, where this is not root.
pub fn need_root() {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("id is on the path");
    assert_eq!(
        String::from_utf8_lossy(&id.stdout).trim(),
        "0",
        "this test makes containers: run it as root"
    );
}
