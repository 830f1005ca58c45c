//! The program as it runs, with an API server that does not answer.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A program that is ended with the test.
pub(crate) struct Running {
    child: Child,
    probes: String,
    _folder: tempfile::TempDir,
}

/// The program.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ocm-controller"))
}

impl Running {
    /// Starts what `command` becomes, the program, with this data folder.
    pub(crate) fn start(mut command: Command, data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, users: [{{name: u, user: {{}}}}], \
             clusters: [{{name: k, cluster: {{server: 'https://{}'}}}}], \
             contexts: [{{name: c, context: {{cluster: k, user: u}}}}]}}",
            free_address()
        );
        fs::write(&kubeconfig, text).unwrap();
        let probes = free_address();
        let child = command
            .arg("run")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--health-probe-bind-address={probes}"))
            .arg(format!("--metrics-bind-address={}", free_address()))
            .arg(format!("--registry-listen={}", free_address()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            probes,
            _folder: folder,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A connection to where probes are answered.
    pub(crate) fn connect(&self) -> Option<TcpStream> {
        let socket = TcpStream::connect(&self.probes).ok()?;
        let patience = Duration::from_secs(2);
        socket.set_read_timeout(Some(patience)).unwrap();
        Some(socket)
    }

    /// What /readyz answers.
    fn ready(&self) -> Option<String> {
        ask(&mut self.connect()?, "/readyz", "close")
    }

    /// Waits until what /readyz says of the store is as wanted: nothing where all is well.
    pub(crate) fn await_store(&self, is_wanted: impl Fn(Option<&str>) -> bool) {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let answer = self.ready();
            let line = answer
                .as_deref()
                .and_then(|answer| answer.lines().find(|line| line.starts_with("store: ")));
            if answer.is_some() && is_wanted(line) {
                return;
            }
            assert!(Instant::now() < end, "{answer:?}");
            sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is answered, if there is an answer in time.
pub(crate) fn ask(socket: &mut TcpStream, path: &str, connection: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    if connection == "close" {
        socket.read_to_string(&mut answer).ok()?;
    } else {
        let mut bytes = [0; 1024];
        let length = socket.read(&mut bytes).ok()?;
        answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    (!answer.is_empty()).then_some(answer)
}

/// An address that nobody listens on.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn f49_program_without_file_descriptors_serves_whom_it_has_and_recovers() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=96:96").arg(program());
    let running = Running::start(command, data.path());
    running.await_store(|line| line.is_none());
    let mut before = running.connect().unwrap();
    let is_served = |answer: Option<String>| answer.is_some_and(|answer| answer.contains("200 OK"));
    assert!(is_served(ask(&mut before, "/healthz", "keep-alive")));

    // The system takes connections that the program does not.
    let idle: Vec<TcpStream> = (0..120).map(|_| running.connect().unwrap()).collect();
    let mut late = running.connect().unwrap();
    assert!(!is_served(ask(&mut late, "/healthz", "close")));
    assert!(is_served(ask(&mut before, "/healthz", "keep-alive")));

    drop((idle, late));
    running.await_store(|line| line.is_none());
}
