//! A kill at each call of the kernel that changes a file, by strace.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::judge::Promised;
use crate::{program, script_command};

/// The calls that change files, as Rust's standard library makes them.
const CALLS: [&str; 6] = ["write", "fsync", "rename", "unlink", "mkdir", "rmdir"];

/// How many steps the script has that is killed.
const STEPS: u32 = 60;

/// Kills the script at its first, second, third call of each kind, until there is no further one;
/// panics where anything is lost or torn. Gives the number of kills of each kind.
pub(crate) fn f29_process_killed_at_each_call_loses_nothing() -> BTreeMap<&'static str, u32> {
    let sweeps = CALLS.map(|call| (call, std::thread::spawn(move || sweep(call))));
    sweeps
        .into_iter()
        .map(|(call, sweep)| (call, sweep.join().unwrap()))
        .collect()
}

fn sweep(call: &str) -> u32 {
    let mut count = 0;
    while was_killed(call, count + 1) {
        count += 1;
    }
    assert!(count > 0 || call == "rmdir", "the script has no {call}");
    eprintln!("killed at each of {count} calls of {call}");
    count
}

/// Kills the script at call number `at`; whether it got that far.
fn was_killed(call: &str, at: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut promised = Promised::default();
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:signal=SIGKILL:when={at}"))
        .arg(program())
        .arg("script")
        .arg(folder.path())
        .args(["7", &STEPS.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("strace is installed");
    promised.hear(&String::from_utf8(traced.stdout).unwrap());
    if traced.status.success() {
        return false;
    }
    let signal = traced.status.signal();
    assert_eq!(signal, Some(9), "{}: {call} {at}", traced.status);
    if folder.path().exists() {
        promised.judge(folder.path());
    }
    start_again(folder.path(), &mut promised);
    true
}

/// The next process goes on with what was left.
fn start_again(folder: &Path, promised: &mut Promised) {
    let again = script_command(folder, 8, 5).output().unwrap();
    assert!(again.status.success(), "it cannot start again");
    promised.hear(&String::from_utf8(again.stdout).unwrap());
    promised.judge(folder);
}
