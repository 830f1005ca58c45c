//! A Git repository over smart HTTP, as Flux clones it: Git's own CGI program behind axum.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

use super::{ports, scratch};

const BRANCH: &str = "main";

/// A repository with one branch, `main`; dropping it ends the server.
///
/// The server belongs to the async runtime that started it.
#[derive(Debug)]
pub struct GitRepository {
    folder: Arc<PathBuf>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl GitRepository {
    /// Serves a new repository, with these files in its first commit.
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let folder = Arc::new(scratch::folder("git"));
        git(
            &folder,
            &["init", "--quiet", "--bare", "--initial-branch", BRANCH],
        )
        .await;
        let address = ports::free();
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("the port was free just now");
        let app = Router::new().fallback(answer).with_state(folder.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("an accepting socket");
        });
        let repository = Self {
            folder,
            address,
            _server: AbortOnDropHandle::new(server),
        };
        repository.commit(files).await;
        repository
    }

    /// Where to clone it from.
    pub fn url(&self) -> String {
        format!("http://{}/repo.git", self.address)
    }

    /// Writes files (path, content) and commits them; a client sees the commit at once. Returns
    /// its id.
    pub async fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = work_tree(&self.folder).join(path);
            let parent = path.parent().expect("a file lies in a folder");
            tokio::fs::create_dir_all(parent)
                .await
                .expect("the scratch folder is writable");
            tokio::fs::write(path, content)
                .await
                .expect("the scratch folder is writable");
        }
        self.commit_all().await
    }

    /// Removes files and commits that. Returns the commit's id.
    pub async fn remove(&self, paths: &[&str]) -> String {
        for path in paths {
            let path = work_tree(&self.folder).join(path);
            tokio::fs::remove_file(path)
                .await
                .expect("the file has been committed");
        }
        self.commit_all().await
    }

    async fn commit_all(&self) -> String {
        git(&self.folder, &["add", "--all"]).await;
        git(
            &self.folder,
            &[
                "commit",
                "--quiet",
                "--allow-empty",
                "--message",
                "A change",
            ],
        )
        .await;
        git(&self.folder, &["rev-parse", "HEAD"])
            .await
            .trim()
            .to_owned()
    }
}

fn work_tree(folder: &Path) -> PathBuf {
    folder.join("work")
}

/// Runs Git on the bare repository `repo.git` with the files beside it, whatever the user's own
/// configuration says.
async fn git(folder: &Path, arguments: &[&str]) -> String {
    tokio::fs::create_dir_all(work_tree(folder))
        .await
        .expect("the scratch folder is writable");
    let mut command = Command::new("git");
    if arguments[0] != "init" {
        command.env("GIT_WORK_TREE", work_tree(folder));
    }
    let output = isolated(&mut command)
        .env("GIT_DIR", folder.join("repo.git"))
        .args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
        .args(arguments)
        .current_dir(work_tree(folder))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("git is on the path");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "git {}: {errors}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).expect("git prints UTF-8")
}

fn isolated(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
}

async fn answer(State(folder): State<Arc<PathBuf>>, request: Request) -> Response {
    match run_cgi(&folder, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Passes a request to `git http-backend` by the rules of CGI (RFC 3875).
async fn run_cgi(folder: &Path, request: Request) -> std::io::Result<Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(std::io::Error::other)?;
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    };
    let mut command = Command::new("git");
    let mut child = isolated(&mut command)
        // Anybody may push, as into a repository of one's own.
        .args(["-c", "http.receivepack=true", "http-backend"])
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", text(header::CONTENT_TYPE.as_str()))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env(
            "HTTP_CONTENT_ENCODING",
            text(header::CONTENT_ENCODING.as_str()),
        )
        .env("GIT_PROTOCOL", text("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (written, output) = tokio::join!(
        async {
            let written = stdin.write_all(&body).await;
            drop(stdin);
            written
        },
        child.wait_with_output()
    );
    let output = output?;
    // A request that Git refuses is not read to its end.
    if output.status.success() {
        written?;
    }
    parse_cgi(&output.stdout).ok_or_else(|| std::io::Error::other("git http-backend failed"))
}

fn parse_cgi(output: &[u8]) -> Option<Response> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).ok()?.lines() {
        let (name, value) = line.split_once(": ")?;
        response = if name.eq_ignore_ascii_case("Status") {
            response.status(value.split(' ').next()?)
        } else {
            response.header(name, value)
        };
    }
    response
        .body(Body::from(Bytes::copy_from_slice(&output[end + 4..])))
        .ok()
}
