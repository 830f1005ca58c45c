//! The content store on a disk that fills up or cannot be written: small file systems in memory,
//! mounted in a namespace of the test's own. Needs root.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocm_controller::chain::chain;
use ocm_controller::oci::{Digest, Tag};
use ocm_controller::snapshot::Repository;
use ocm_controller::store::{Store, TagRecord};

use crate::pod;
use crate::running::{Running, program};

/// Names the folder to the process that runs in the namespace.
const DISK: &str = "OCM_CONTROLLER_TEST_DISK";

/// Mounts a file system with the options $1 at $2, and becomes the command that follows.
const MOUNT: &str = r#"mount -t tmpfs -o "$1" disk "$2" && shift 2 && exec "$@""#;

/// A command that runs `program` with a file system mounted at `folder` that nobody else sees.
fn with_disk(options: &str, folder: &Path, program: &Path) -> Command {
    pod::need_root();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "sh", "-c", MOUNT])
        .args(["disk", options])
        .args([folder, program]);
    command
}

/// Runs the test of this name once more with a file system of its own, and gives its folder there.
fn own_disk(test: &str, options: &str) -> Option<PathBuf> {
    if let Some(folder) = env::var_os(DISK) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let output = with_disk(options, folder.path(), &env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(DISK, folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    assert!(printed.contains("1 passed"), "{printed}");
    None
}

/// A store with what was put into it.
struct Kept {
    store: Store,
    contents: BTreeMap<Digest, Vec<u8>>,
}

impl Kept {
    fn open(folder: &Path) -> Self {
        Self {
            store: Store::open(folder).unwrap(),
            contents: BTreeMap::new(),
        }
    }

    /// Puts content that no other call puts; the error with its causes where that fails.
    fn put(&mut self, size: usize) -> Result<(), String> {
        let mut content = vec![0; size];
        let number = self.contents.len().to_le_bytes();
        content[..number.len()].copy_from_slice(&number);
        let mut writer = self.store.writer().map_err(|failure| chain(&failure))?;
        let written = writer.write_all(&content);
        written.map_err(|failure| chain(&failure))?;
        let stored = writer.commit().map_err(|failure| chain(&failure))?;
        self.contents.insert(stored.digest, content);
        Ok(())
    }

    /// Puts content until there is no more room.
    fn fill(&mut self, size: usize) -> String {
        loop {
            if let Err(problem) = self.put(size) {
                return problem;
            }
        }
    }

    /// All of it is whole: read back, and by the files themselves.
    fn assert_whole(&self, folder: &Path) {
        for (digest, content) in &self.contents {
            let found = self.store.read_small(digest, 1 << 20).unwrap();
            assert_eq!(found.as_ref(), Some(content), "{digest}");
        }
        let files = files_below(&folder.join("blobs"));
        assert_eq!(files.len(), self.contents.len());
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert_eq!(Digest::of(fs::read(&file).unwrap()).hex(), name);
        }
        assert_eq!(files_below(&folder.join("tmp")), [] as [PathBuf; 0]);
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Takes what room is left.
fn take_the_rest(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
}

fn record(content: &str) -> TagRecord {
    TagRecord {
        manifest: Digest::of(content),
        size: 1,
        owner: "uid".to_owned(),
        previous: Vec::new(),
    }
}

#[test]
fn f32_full_disk_tears_nothing_says_what_to_do_and_heals_when_there_is_room() {
    let test = "disk::f32_full_disk_tears_nothing_says_what_to_do_and_heals_when_there_is_room";
    let Some(folder) = own_disk(test, "size=2m") else {
        return;
    };
    let mut kept = Kept::open(&folder);
    let place = Repository::new("tenant", "snapshot").unwrap();
    let tag: Tag = "1".parse().unwrap();
    kept.store.set_tag(&place, &tag, record("old")).unwrap();
    let problem = kept.fill(100_000);
    assert_eq!(
        problem,
        format!(
            "failed to write to {:?} in the content store; make room on the volume of --data-dir, \
             or lower --store-size-limit: No space left on device (os error 28)",
            folder.join("tmp")
        )
    );
    assert!(kept.contents.len() > 10);
    let filler = folder.join("filler");
    take_the_rest(&filler);
    kept.put(8).unwrap_err();
    let failure = kept.store.set_tag(&place, &tag, record("new")).unwrap_err();
    assert!(failure.is_storage_full(), "{failure}");
    let failure = kept.store.check_writable().unwrap_err();
    assert!(failure.is_storage_full(), "{failure}");

    let found = kept.store.tag(&place, &tag).unwrap().unwrap();
    assert_eq!(found.manifest, Digest::of("old"));
    kept.assert_whole(&folder);

    // A process that starts now says so, and serves once there is room.
    let Kept { store, contents } = kept;
    drop(store);
    assert!(Store::open(&folder).unwrap_err().is_storage_full());
    fs::remove_file(filler).unwrap();
    let store = Store::open(&folder).unwrap();
    let mut kept = Kept { store, contents };
    kept.put(8).unwrap();
    kept.store.set_tag(&place, &tag, record("new")).unwrap();
    kept.store.check_writable().unwrap();
    kept.assert_whole(&folder);
}

#[test]
fn f32_disk_without_room_for_further_files_tears_nothing_and_heals() {
    let test = "disk::f32_disk_without_room_for_further_files_tears_nothing_and_heals";
    let Some(folder) = own_disk(test, "size=16m,nr_inodes=100") else {
        return;
    };
    let mut kept = Kept::open(&folder);
    let problem = kept.fill(1_000);
    assert!(
        problem.contains("make room on the volume of --data-dir"),
        "{problem}"
    );
    kept.assert_whole(&folder);
    let first = kept.contents.first_key_value().unwrap().0.clone();
    assert!(kept.store.remove_blob(&first).unwrap());
    kept.contents.remove(&first);
    kept.store.check_writable().unwrap();
    kept.assert_whole(&folder);
}

#[test]
fn f34_read_only_data_folder_makes_the_program_not_ready_with_the_reason_and_heals() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let running = Running::start(with_disk("size=8m,ro", data, program()), data);
    let namespace = format!("--mount=/proc/{}/ns/mnt", running.id());
    let there = |command: &[&str]| {
        let mut done = Command::new("nsenter");
        let done = done.arg(&namespace).args(command).arg(data).status();
        assert!(done.unwrap().success(), "{command:?}");
    };
    let says_so = |line: Option<&str>| {
        line.is_some_and(|line| {
            line.contains("mount the volume of --data-dir writable: Read-only file system")
        })
    };
    running.await_store(says_so);
    there(&["mount", "-o", "remount,rw"]);
    running.await_store(|line| line.is_none());
    // Over what is open for writing; a disk that fails is made read-only in the same way.
    there(&["mount", "-t", "tmpfs", "-o", "ro", "over"]);
    running.await_store(says_so);
    there(&["umount"]);
    running.await_store(|line| line.is_none());
}
