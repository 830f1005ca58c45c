//! Commands as a user types them: shown, run as they stand, their output shown.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::{Error, Result};

/// Prints a line on standard output; a reader who has gone away ends nothing.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A user's shell: a folder and an environment.
#[derive(Debug)]
pub(crate) struct Shell {
    folder: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Shell {
    /// A shell that stands in `folder`.
    pub(crate) fn new(folder: PathBuf, environment: Vec<(&'static str, OsString)>) -> Self {
        Self {
            folder,
            environment,
        }
    }

    /// Changes into a folder.
    pub(crate) fn enter(&mut self, folder: &str) {
        say(&format!("$ cd {folder}"));
        self.folder.push(folder);
    }

    /// Shows a command, runs it, and shows and returns what it prints.
    pub(crate) async fn run(&self, line: &str) -> Result<String> {
        say(&format!("$ {line}"));
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {line}; }} 2>&1")])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("sh is on the path");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !printed.is_empty() {
            say(printed.trim_end());
        }
        if output.status.success() {
            Ok(printed)
        } else {
            Err(Error::Run {
                line: line.to_owned(),
                status: output.status,
            })
        }
    }
}
