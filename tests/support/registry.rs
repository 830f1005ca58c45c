//! The reference OCI registry, public or private.

mod access_log;
mod fixture;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

pub use self::access_log::Access;
pub use self::fixture::Artifact;
use super::certificates::Authority;
use super::process::Process;
use super::{ports, scratch, tools, web};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// All kinds of manifest; without this header the registry converts or refuses some of them.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// How a registry is reached. The default is public: plain HTTP without a password.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// The host names and addresses of its certificate, or plain HTTP where empty. `127.0.0.1`
    /// and `localhost` are added.
    pub tls: Vec<String>,
    /// The only user and the password.
    pub password: Option<(String, String)>,
}

/// A running registry with storage of its own; dropping it stops it.
pub struct Registry {
    process: Process,
    address: SocketAddr,
    folder: PathBuf,
    ca: Option<String>,
    password: Option<(String, String)>,
    client: Client,
}

impl Registry {
    /// Starts an empty registry and returns when it answers.
    pub async fn start(options: RegistryOptions) -> Self {
        let folder = scratch::folder("registry");
        let address = ports::free();
        let mut http = json!({"addr": address, "secret": "signs the state of uploads"});
        let ca = (!options.tls.is_empty()).then(|| {
            let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
            http["tls"] = json!({"certificate": certificate, "key": key});
            write_certificate(&certificate, &key, &options.tls)
        });
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "warn"},
            "http": http,
            "storage": {
                "filesystem": {"rootdirectory": folder.join("storage")},
                "delete": {"enabled": true},
            },
        });
        if let Some((user, password)) = &options.password {
            let file = folder.join("htpasswd");
            // The lowest cost there is: each request is checked against it.
            let hash = bcrypt::hash(password, 4).expect("a cost that bcrypt knows");
            fs::write(&file, format!("{user}:{hash}\n")).expect("the folder is writable");
            config["auth"] = json!({"htpasswd": {"realm": "test registry", "path": file}});
        }
        let config = serde_yaml::to_string(&config).expect("JSON can be written as YAML");
        fs::write(folder.join("config.yaml"), config).expect("the folder is writable");
        let process = spawn(&folder);
        let client = web::client(ca.as_deref());
        let mut registry = Self {
            process,
            address,
            folder,
            ca,
            password: options.password,
            client,
        };
        registry.wait_until_ready().await;
        registry
    }

    /// Where it listens, on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of its authority.
    ///
    /// # Panics
    ///
    /// Where it speaks plain HTTP.
    pub fn ca_pem(&self) -> &str {
        self.ca.as_deref().expect("a registry with TLS")
    }

    /// The authority's certificate as a file, for `--ca-file`.
    pub fn ca_file(&self) -> PathBuf {
        let file = self.folder.join("ca.crt");
        fs::write(&file, self.ca_pem()).expect("the folder is writable");
        file
    }

    /// A `.dockerconfigjson` with the password for a host, as an image pull secret holds it.
    pub fn docker_config(&self, host: &str) -> String {
        let (user, password) = self.password.as_ref().expect("a registry with a password");
        json!({"auths": {host: {"username": user, "password": password}}}).to_string()
    }

    /// Every request it has answered, except those of this harness.
    pub fn requests(&self) -> Vec<Access> {
        access_log::read(&self.process.output())
    }

    /// The running program, to kill or pause it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it; its content stays.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Starts it again with the same address and content, after [`stop`](Self::stop) or a kill.
    pub async fn start_again(&mut self) {
        self.process.kill();
        self.process = spawn(&self.folder);
        self.wait_until_ready().await;
    }

    /// Pushes the artifacts of a fixture that `wanted` chooses, under their names and tags.
    pub async fn load(&self, fixture: &Path, wanted: impl Fn(&Artifact) -> bool) {
        for artifact in fixture::artifacts(fixture)
            .iter()
            .filter(|artifact| wanted(artifact))
        {
            fixture::push(self, fixture, artifact).await;
        }
    }

    /// The digest of these bytes, as OCI writes it.
    pub fn digest(content: &[u8]) -> String {
        fixture::digest(content)
    }

    /// Stores a blob and returns its digest.
    pub async fn put_blob(&self, repository: &str, content: Vec<u8>) -> String {
        let digest = fixture::digest(&content);
        let known = self.request(Method::HEAD, &format!("{repository}/blobs/{digest}"));
        if known
            .send()
            .await
            .is_ok_and(|response| response.status() == StatusCode::OK)
        {
            return digest;
        }
        let begin = self.request(Method::POST, &format!("{repository}/blobs/uploads/"));
        let upload = expect(begin, StatusCode::ACCEPTED).await;
        let location = upload.headers()[LOCATION].to_str().expect("a URL");
        let mut url = upload.url().join(location).expect("a URL");
        url.query_pairs_mut().append_pair("digest", &digest);
        let put = self.authorized(self.client.put(url)).body(content);
        expect(put, StatusCode::CREATED).await;
        digest
    }

    /// Stores a manifest under a tag or its own digest; returns its digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        content: Vec<u8>,
    ) -> String {
        let digest = fixture::digest(&content);
        let put = self
            .request(Method::PUT, &format!("{repository}/manifests/{reference}"))
            .header(CONTENT_TYPE, media_type)
            .body(content);
        expect(put, StatusCode::CREATED).await;
        digest
    }

    /// Reads a manifest: its media type and its bytes.
    pub async fn manifest(&self, repository: &str, reference: &str) -> (String, Vec<u8>) {
        let get = self.request(Method::GET, &format!("{repository}/manifests/{reference}"));
        let answer = expect(get.header(ACCEPT, MANIFEST_TYPES), StatusCode::OK).await;
        let media_type = answer.headers()[CONTENT_TYPE]
            .to_str()
            .expect("a media type")
            .to_owned();
        (
            media_type,
            answer.bytes().await.expect("a complete body").to_vec(),
        )
    }

    /// Reads a blob.
    pub async fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        let get = self.request(Method::GET, &format!("{repository}/blobs/{digest}"));
        let answer = expect(get, StatusCode::OK).await;
        answer.bytes().await.expect("a complete body").to_vec()
    }

    /// How many bytes a blob has.
    pub async fn blob_size(&self, repository: &str, digest: &str) -> u64 {
        let head = self.request(Method::HEAD, &format!("{repository}/blobs/{digest}"));
        let answer = expect(head, StatusCode::OK).await;
        let length = answer.headers()[CONTENT_LENGTH].to_str().expect("a number");
        length.parse().expect("a number")
    }

    /// Lets a tag name what `reference` (another tag, a digest) names in the same repository.
    pub async fn put_tag(&self, repository: &str, reference: &str, tag: &str) -> String {
        let (media_type, content) = self.manifest(repository, reference).await;
        self.put_manifest(repository, tag, &media_type, content)
            .await
    }

    /// Removes a tag; the manifest stays.
    pub async fn delete_tag(&self, repository: &str, tag: &str) {
        let delete = self.request(Method::DELETE, &format!("{repository}/manifests/{tag}"));
        expect(delete, StatusCode::ACCEPTED).await;
    }

    /// The tags of a repository, sorted; none where there is no such repository.
    pub async fn tags(&self, repository: &str) -> Vec<String> {
        let list = self.request(Method::GET, &format!("{repository}/tags/list"));
        let answer = list.send().await.expect("the registry answers");
        if answer.status() == StatusCode::NOT_FOUND {
            return Vec::new();
        }
        let body = answer.bytes().await.expect("a complete body");
        let list: Value = serde_json::from_slice(&body).expect("a JSON body");
        let tags = list["tags"].as_array().map_or(&[][..], Vec::as_slice);
        let mut tags: Vec<String> = tags
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        tags.sort();
        tags
    }

    async fn wait_until_ready(&mut self) {
        let url = self.url("");
        let client = self.client.clone();
        // A private one answers 401, which says as much.
        let is_ready = || async { client.get(url.clone()).send().await.is_ok() };
        self.process
            .wait_until("ready", START_TIMEOUT, is_ready)
            .await;
    }

    fn url(&self, path: &str) -> Url {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{}/v2/{path}", self.address)).expect("a valid path")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.authorized(self.client.request(method, self.url(path)))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.password {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

fn spawn(folder: &Path) -> Process {
    let mut command = Command::new(tools::program("registry"));
    command
        .arg("serve")
        .arg(folder.join("config.yaml"))
        .env("OTEL_TRACES_EXPORTER", "none");
    Process::spawn("registry", command, folder)
}

fn write_certificate(certificate: &Path, key: &Path, names: &[String]) -> String {
    let authority = Authority::new("test registry");
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .chain(["127.0.0.1", "localhost"])
        .collect();
    let identity = authority.issue(&names);
    fs::write(certificate, identity.certificate).expect("the folder is writable");
    fs::write(key, identity.key).expect("the folder is writable");
    authority.pem()
}

async fn expect(request: RequestBuilder, status: StatusCode) -> Response {
    let response = request.send().await.expect("the registry answers");
    if response.status() == status {
        return response;
    }
    let (seen, url) = (response.status(), response.url().clone());
    panic!(
        "{url}: {seen} instead of {status}: {}",
        response.text().await.unwrap_or_default()
    );
}
