//! Kills a process that uses the content store, again and again, and judges what it leaves.
//!
//! `cargo test --test crash` kills it a hundred times. `make crash` kills it a thousand times at
//! random, then at each write, rename, sync and removal by strace, and writes what came of it to
//! `tests/crash/record.json`.

#![allow(
    clippy::unwrap_used,
    reason = "a test, with a main function of its own since it is also the process to be killed"
)]

mod checker;
mod judge;
mod script;
mod sweep;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use judge::Promised;

/// How often the process is killed in CI.
const KILLS: u32 = 100;

/// How often by hand.
const MANY_KILLS: u32 = 1000;

/// After how many kills a new folder is begun.
const KILLS_OF_A_FOLDER: u32 = 25;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["script", folder, seed, steps] => {
            let (seed, steps) = (seed.parse().unwrap(), steps.parse().unwrap());
            script::play(Path::new(folder), seed, steps);
        }
        ["by-hand"] => by_hand(),
        // Whatever cargo was told about other tests.
        _ => {
            let landed = f29_killed_process_loses_nothing_that_it_promised(KILLS);
            eprintln!("killed {landed} times; nothing lost, nothing torn");
        }
    }
    ExitCode::SUCCESS
}

fn by_hand() {
    let sweep = std::thread::spawn(sweep::f29_process_killed_at_each_call_loses_nothing);
    let landed = f29_killed_process_loses_nothing_that_it_promised(MANY_KILLS);
    eprintln!("killed at {landed} random moments");
    let calls = sweep.join().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/record.json");
    let record = serde_json::json!({
        "date": printed("date", &["-u", "+%F"]),
        "commit": printed("git", &["rev-parse", "HEAD"]),
        "randomKills": landed,
        "killsAtCalls": calls,
        "lost": 0,
        "torn": 0,
    });
    let text = serde_json::to_string_pretty(&record).unwrap();
    std::fs::write(&path, text + "\n").unwrap();
    eprintln!("wrote {}", path.display());
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Kills the script `kills` times at random moments, each time on what the one before left; panics
/// where anything is lost or torn.
fn f29_killed_process_loses_nothing_that_it_promised(kills: u32) -> u32 {
    let mut landed = 0;
    let mut seed = 0;
    while landed < kills {
        let folder = tempfile::tempdir().unwrap();
        let mut promised = Promised::default();
        for _ in 0..KILLS_OF_A_FOLDER {
            seed += 1;
            let mut child = script_command(folder.path(), seed, 100_000)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let said = child.stdout.take().unwrap();
            let reader = std::thread::spawn(move || std::io::read_to_string(said).unwrap());
            // Not a wait for something: any moment is as good as another.
            std::thread::sleep(Duration::from_micros(fastrand::u64(2_000..60_000)));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            assert_eq!(ended.code(), None, "it ended by itself: {ended}");
            promised.hear(&reader.join().unwrap());
            promised.judge(folder.path());
            landed += 1;
        }
    }
    landed
}

/// This program, as the process to be killed.
fn script_command(folder: &Path, seed: u32, steps: u32) -> Command {
    let mut command = Command::new(program());
    command
        .arg("script")
        .arg(folder)
        .args([seed.to_string(), steps.to_string()]);
    command
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}
