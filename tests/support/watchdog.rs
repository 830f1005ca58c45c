//! Ends the child processes when the test process is gone, even by SIGKILL.
//!
//! A shell holds the reading end of a pipe whose only writer is this process. Through it the shell
//! is told which process groups and folders there are; when the pipe ends, it removes them all.
//! (Linux' parent-death signal is no help: it fires when the *thread* that forked ends, and each
//! test has a thread of its own.)

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

const SCRIPT: &str = r#"
without() {
    rest=
    for entry in $1; do [ "$entry" = "$2" ] || rest="$rest $entry"; done
    echo "$rest"
}
groups= folders=
while read -r verb what; do
    case $verb in
    group) groups="$groups $what" ;;
    ended) groups=$(without "$groups" "$what") ;;
    folder) folders="$folders $what" ;;
    keep) folders=$(without "$folders" "$what") ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
for folder in $folders; do rm -rf "$folder"; done
"#;

static SHELL: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of the terminal's foreground group, or Ctrl-C would end the watchdog as well.
        .process_group(0)
        .spawn()
        .expect("sh is on the path");
    Mutex::new(shell)
});

/// Kills this process group when the test process ends.
pub fn kill_at_end(group: u32) {
    tell("group", &group.to_string());
}

/// Forgets a process group: it has ended, and its id may come to name another one.
pub fn has_ended(group: u32) {
    tell("ended", &group.to_string());
}

/// Removes this folder when the test process ends.
pub fn remove_at_end(folder: &Path) {
    let folder = folder.to_str().expect("TMPDIR is UTF-8");
    assert!(
        !folder.contains(char::is_whitespace),
        "TMPDIR {folder:?} has a space in it"
    );
    tell("folder", folder);
}

/// Leaves a folder where it is.
pub fn keep(folder: &Path) {
    tell("keep", &folder.display().to_string());
}

fn tell(verb: &str, what: &str) {
    // A panic elsewhere can't leave half a line: each is one write.
    let mut shell = SHELL.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("stdin is piped");
    pipe.write_all(format!("{verb} {what}\n").as_bytes())
        .expect("the watchdog reads its pipe");
}
