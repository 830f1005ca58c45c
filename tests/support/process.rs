//! A child process with a log, which never outlives its owner.

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::watchdog;

/// How often a process is looked at while something is awaited of it.
const POLL: Duration = Duration::from_millis(25);

/// How long a program may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// A running program and all that it has started in turn; killed when dropped.
///
/// It is a process group of its own, so that signals reach its children too, and Ctrl-C on the
/// terminal reaches none of them before the test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program; what it prints is appended to `FOLDER/NAME.log`.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let errors = output.try_clone().expect("a file handle can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name} ({command:?}): {error}"));
        watchdog::kill_at_end(child.id());
        Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
        }
    }

    /// The process id, which is the id of its group as well.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds what the program has printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that the program has printed so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the program still runs (a paused one does).
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Ends the program at once, as a crash or the kernel's out-of-memory killer would.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            self.child.kill().expect("a child can be killed");
            let status = self.child.wait().expect("a child can be waited for");
            self.set_ended(status);
        }
    }

    /// Asks the program to end, as Kubernetes does.
    pub fn ask_to_end(&self) {
        if self.ended.is_none() {
            self.signal("TERM");
        }
    }

    /// Asks the program to end and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.ask_to_end();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            let waited = begun.elapsed();
            assert!(
                waited < STOP_TIMEOUT,
                "{}",
                self.failure("does not end on SIGTERM")
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Halts the program where it is: its connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused program go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Waits until `is_ready` says so; panics with the end of the log if that takes longer than
    /// `timeout` or the program ends before.
    pub async fn wait_until<F, Fut>(&mut self, what: &str, timeout: Duration, mut is_ready: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = bool>,
    {
        let begun = Instant::now();
        while !is_ready().await {
            if let Some(status) = self.exit_status() {
                panic!(
                    "{}",
                    self.failure(&format!("ended ({status}) before {what}"))
                );
            }
            let waited = begun.elapsed();
            assert!(
                waited < timeout,
                "{}",
                self.failure(&format!("not {what} in {timeout:?}"))
            );
            tokio::time::sleep(POLL).await;
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait().expect("a child can be waited for")
        {
            self.set_ended(status);
        }
        self.ended
    }

    fn set_ended(&mut self, status: ExitStatus) {
        // What the program itself has started must go with it.
        self.signal("KILL");
        watchdog::has_ended(self.child.id());
        self.ended = Some(status);
    }

    /// Sends a signal to the whole group, by a shell's `kill`: the standard library has no safe
    /// way. Whether anybody of the group is still there to receive it makes no difference.
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        Command::new("sh")
            .args(["-c", r#"kill -s "$0" -- "$1""#, signal, &group])
            .stderr(Stdio::null())
            .status()
            .expect("sh is on the path");
    }

    fn failure(&self, what: &str) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        format!(
            "{}: {what}; the end of {}:\n{tail}",
            self.name,
            self.log.display()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
