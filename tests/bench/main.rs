//! Measurements: `make bench`, or `make bench ONLY=chains` for one of them.
//!
//! Each prints a table and writes the same as JSON to `tests/bench/results`. Nothing is asserted:
//! machines differ. What has to hold on every machine (requests, how often a file is parsed, how
//! memory grows) is counted by the tests.
#![allow(
    clippy::cast_precision_loss,
    reason = "sizes and counts far below what a float holds"
)]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod large;
mod slope;
mod throughput;

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use support::in_repository;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ocm-controller");

/// Prints a line; a reader who has gone away ends nothing.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[tokio::main]
async fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let all = ["slope", "throughput", "chains"].map(str::to_owned);
    let wanted = if wanted.is_empty() {
        all.to_vec()
    } else {
        wanted
    };
    for name in wanted {
        say(&format!("== {name}"));
        let measured = match name.as_str() {
            "slope" => slope::measure(),
            "throughput" => throughput::measure().await,
            "chains" => chains::measure().await,
            "large" => large::measure().await,
            _ => {
                say("there are slope, throughput, chains and large (six gibibytes)");
                return ExitCode::from(2);
            }
        };
        if let Err(error) = measured.and_then(|result| record(&name, &result)) {
            say(&format!("{name}: {error}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Writes a result with what is needed to compare it.
fn record(name: &str, result: &Value) -> io::Result<()> {
    let printed = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(in_repository(""))
            .output()?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let record = json!({
        "date": printed("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
        "commit": printed("git", &["rev-parse", "--short", "HEAD"])?,
        "processors": processors,
        "result": result,
    });
    let folder = in_repository("tests/bench/results");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, format!("{record:#}\n"))?;
    say(&format!("written to tests/bench/results/{name}.json"));
    Ok(())
}
