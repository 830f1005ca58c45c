//! The image: built from nothing by buildah, looked at, and run as a container would run it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::command_line::printed;
use crate::files::{path, text};
use crate::pod;

const MEBIBYTE: u64 = 1024 * 1024;

/// The name that only the name server of the test knows.
const HOST: &str = "api.image-test.example.org";

#[test]
#[ignore = "needs root, buildah and the binary of `make binary`"]
fn image_holds_one_static_binary_and_runs_as_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::build(folder.path(), "first");

    let config = &image.config["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/manager"]));
    assert_eq!(config["Cmd"], json!(["run"]));
    assert!(image.size <= 20 * MEBIBYTE, "{} bytes", image.size);
    let root = folder.path().join("root");
    let files = image.unpack(&root);
    let modes: BTreeMap<&str, u32> = files.iter().map(|(name, mode)| (&**name, *mode)).collect();
    assert_eq!(modes, BTreeMap::from([("manager", 0o755)]));
    let ldd = Command::new("ldd")
        .arg(root.join("manager"))
        .output()
        .unwrap();
    let said = [ldd.stdout, ldd.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("statically linked") || said.contains("not a dynamic executable"),
        "{said}"
    );
}

/// The stage that compiles needs a base image, which no test pulls: what can be said without it.
#[test]
fn compile_stage_builds_as_make_binary_does() {
    let (dockerfile, makefile) = (text("Dockerfile"), text("Makefile"));
    let manifest = text("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.expect("a version").trim_matches('"');
    let base = format!("FROM docker.io/library/rust:{version}-slim-bookworm AS build");
    assert!(dockerfile.contains(&base), "{base}");
    for part in [
        "SOURCE_DATE_EPOCH=0",
        "-C target-feature=+crt-static",
        "cargo build --release --locked",
        "--bin ocm-controller --target",
        "=/cargo\"",
    ] {
        assert!(dockerfile.contains(part), "the Dockerfile lacks {part}");
        assert!(makefile.contains(part), "the Makefile lacks {part}");
    }
    // It lies there where the Makefile says that it lies.
    assert!(dockerfile.contains("WORKDIR /src\n") && makefile.contains("$(CURDIR)=/src"));
    let run = dockerfile.split("\nRUN ").nth(1).expect("one step");
    let run = run.split("\n\n").next().expect("its lines");
    let shell = Command::new("sh").args(["-n", "-c", run]).output().unwrap();
    assert!(shell.status.success(), "{}", complaint(&shell));
    // What the build takes along is the source, and not what was built of it.
    let left_out = text(".dockerignore");
    for folder in ["/target", "/.git"] {
        assert!(left_out.lines().any(|line| line == folder), "{folder}");
    }
}

#[test]
#[ignore = "needs root, buildah and the binary of `make binary`"]
fn image_is_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Image::build(folder.path(), "first");
    let second = Image::build(folder.path(), "second");
    assert_eq!(first.digest, second.digest);
}

#[test]
#[ignore = "needs root, buildah and the binary of `make binary`"]
fn image_runs_on_a_read_only_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    Image::build(folder.path(), "first").unpack(&root);

    let help = run(&root, &[], &["/manager", "--help"]);
    assert!(help.status.success(), "{help:?}");
    assert!(printed(&help).contains("run"));

    // It opens its store in the one place that it may write to, and then looks for the cluster.
    let without_cluster = ["/manager", "run", "--data-dir=/data"];
    let data = folder.path().join("data");
    writable(&data);
    let started = run(&root, &[(data.clone(), "/data")], &without_cluster);
    assert_eq!(started.status.code(), Some(1));
    assert!(
        complaint(&started).contains("find the cluster"),
        "{started:?}"
    );
    assert!(fs::read_dir(&data).unwrap().count() > 0);
    // Public authorities are built in, since the image has none.
    assert!(complaint(&started).contains("Mozilla"), "{started:?}");

    // Without that place it says so, and waits for it.
    let mut waiting = pod::command(&root, &[], &without_cluster.map(str::to_owned))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let has_said = lines
        .map_while(Result::ok)
        .any(|line| line.contains("Read-only file system"));
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert!(has_said);
}

/// The test starts itself in a network of its own, where it is the name server.
const INSIDE: &str = "OCM_IMAGE_TEST_ROOT";

#[test]
#[ignore = "needs root, buildah and the binary of `make binary`"]
fn image_finds_names_by_dns() {
    if let Some(root) = std::env::var_os(INSIDE) {
        return finds_names(Path::new(&root));
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    Image::build(folder.path(), "first").unpack(&root);
    let output = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec \"$@\"",
            "net",
        ])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "image::image_finds_names_by_dns",
            "--ignored",
            "--nocapture",
        ])
        .env(INSIDE, &root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        printed(&output),
        complaint(&output)
    );
}

/// As in a cluster: `/etc/resolv.conf` is mounted, there is no nsswitch.conf and no library.
fn finds_names(root: &Path) {
    let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 6443)).unwrap();
    std::thread::spawn(move || answer_names(&names));
    let folder = root.parent().unwrap();
    let (etc, data) = (folder.join("etc"), folder.join("data"));
    fs::create_dir(&etc).unwrap();
    writable(&data);
    fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let authority = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    fs::write(etc.join("ca.crt"), authority.cert.pem()).unwrap();
    let server_url = format!("https://{HOST}:6443");
    let cluster = json!({"server": server_url, "certificate-authority": "/etc/ca.crt"});
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    fs::write(etc.join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let program = [
        "/manager",
        "run",
        "--data-dir=/data",
        "--kubeconfig=/etc/kubeconfig",
    ];
    let program: Vec<String> = program.map(str::to_owned).to_vec();
    let mut running = pod::command(root, &[(etc, "/etc"), (data, "/data")], &program)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, outcome) = mpsc::channel();
    let mut log = running.stderr.take().unwrap();
    let ended = sender.clone();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = log.read_to_string(&mut text);
        let _ = ended.send(Err(text));
    });
    // Whoever dials has asked for the name: nothing else says that it is here.
    std::thread::spawn(move || {
        let dialled = server.accept().map(|_| ());
        let _ = sender.send(dialled.map_err(|error| error.to_string()));
    });
    let outcome = outcome.recv().unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    outcome.unwrap();
}

/// Answers each question for [`HOST`] with loopback, and that there is no such name otherwise.
fn answer_names(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
        let question = &buffer[12..length];
        let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
        let wanted: Vec<u8> = HOST
            .split('.')
            .flat_map(|label| {
                let length = u8::try_from(label.len()).unwrap();
                std::iter::once(length).chain(label.bytes())
            })
            .collect();
        let is_known = question.starts_with(&wanted);
        let is_v4 = question[end - 4..end] == [0, 1, 0, 1];
        let answers = u8::from(is_known && is_v4);
        let code = if is_known { 0x80 } else { 0x83 };
        let mut answer = buffer[..2].to_vec();
        answer.extend([0x81, code, 0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(&question[..end]);
        if answers == 1 {
            // A pointer to the question's name, A, IN, one second, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, asker).unwrap();
    }
}

/// A folder that the image's user may write to.
fn writable(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

fn run(root: &Path, mounts: &[(PathBuf, &str)], program: &[&str]) -> Output {
    let program: Vec<String> = program.iter().map(ToString::to_string).collect();
    pod::command(root, mounts, &program).output().unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An image as buildah wrote it, in the layout of OCI.
struct Image {
    layout: PathBuf,
    digest: String,
    config: Value,
    layers: Vec<String>,
    /// Of all that is pulled.
    size: u64,
}

impl Image {
    fn build(folder: &Path, name: &str) -> Self {
        pod::need_root();
        let context = pod::static_binary();
        let context = context.parent().unwrap().display().to_string();
        let layout = folder.join(format!("{name}-layout"));
        let target = format!("oci:{}:latest", layout.display());
        buildah(
            folder,
            name,
            &[
                "build",
                "--isolation=chroot",
                "--target=prebuilt",
                "--timestamp=0",
                "--tag",
                name,
                "--file",
                &path("Dockerfile").display().to_string(),
                &context,
            ],
        );
        buildah(folder, name, &["push", name, &target]);
        Self::read(layout)
    }

    fn read(layout: PathBuf) -> Self {
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = json_of(&layout, &digest);
        let config = json_of(&layout, manifest["config"]["digest"].as_str().unwrap());
        let layers = manifest["layers"].as_array().unwrap();
        Self {
            digest,
            config,
            size: layers
                .iter()
                .map(|layer| layer["size"].as_u64().unwrap())
                .sum(),
            layers: layers
                .iter()
                .map(|layer| layer["digest"].as_str().unwrap().to_owned())
                .collect(),
            layout,
        }
    }

    /// Writes all files below `root`; gives their names and modes.
    fn unpack(&self, root: &Path) -> Vec<(String, u32)> {
        fs::create_dir(root).unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        let mut files = Vec::new();
        for layer in &self.layers {
            let file = File::open(blob(&self.layout, layer)).unwrap();
            let mut archive = tar::Archive::new(GzDecoder::new(file));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                if entry.header().entry_type().is_file() {
                    let name = entry.path().unwrap().display().to_string();
                    files.push((name, entry.header().mode().unwrap() & 0o7777));
                }
                entry.unpack_in(root).unwrap();
            }
        }
        files
    }
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn json_of(layout: &Path, digest: &str) -> Value {
    serde_json::from_slice(&fs::read(blob(layout, digest)).unwrap()).unwrap()
}

/// Runs buildah with a storage of its own.
fn buildah(folder: &Path, storage: &str, arguments: &[&str]) {
    let output = Command::new("buildah")
        .args(["--storage-driver=vfs", "--root"])
        .arg(folder.join(storage).join("root"))
        .arg("--runroot")
        .arg(folder.join(storage).join("run"))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("buildah: {error}: install your system's package buildah"));
    assert!(
        output.status.success(),
        "buildah {arguments:?}: {}",
        complaint(&output)
    );
}
