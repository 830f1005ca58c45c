//! A registry whose large blob is made as it is sent: nothing of it is ever stored.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use flate2::Compression;
use flate2::read::GzEncoder;
use http::{StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.ocm.software.component.config.v1+json";
const DESCRIPTOR: &str = "application/vnd.ocm.software.component-descriptor.v2+json";

/// The component that such a registry has, in version 1.0.0.
pub const COMPONENT: &str = "example.org/large";

/// The image in the manifest of the large resource.
pub const IMAGE: &str = "registry.example.org/large:1.0.0";

const RULES: &str = "apiVersion: config.ocm.software/v1alpha1
kind: ConfigData
localization:
- name: image
  file: deployment.yaml
  image: spec.template.spec.containers[0].image
  resource: {name: image}
";

/// A manifest, so long that something is left to see of it in the archive.
const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: large}
spec:
  template:
    spec:
      containers:
      - name: large
        image: public.example.org/large:0.0.1
";

/// Gives the same bytes each time.
pub type Open = Arc<dyn Fn() -> Box<dyn Read + Send> + Send + Sync>;

/// A blob that is made, or read from a file, whenever somebody asks for it.
#[derive(Clone)]
pub struct Made {
    open: Open,
    size: u64,
    digest: String,
}

impl Made {
    /// Goes through the content once, for its size and digest.
    pub fn new(open: Open) -> io::Result<Self> {
        let (mut source, mut hasher, mut size) = (open(), Sha256::new(), 0);
        let mut piece = vec![0; 256 << 10];
        loop {
            let count = source.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            size += count as u64;
        }
        let digest = format!("sha256:{}", hex::encode(hasher.finalize()));
        Ok(Self { open, size, digest })
    }

    /// A tar and gzip of one manifest and `size` bytes that no compression makes smaller, the same
    /// for the same seed.
    pub fn noise(size: u64, seed: u64) -> io::Result<Self> {
        Self::new(Arc::new(move || {
            let tar = archive(size, Noise::new(seed));
            // Nothing is gained by trying, so nothing is spent on it.
            Box::new(GzEncoder::new(tar, Compression::none()))
        }))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A tar archive of one manifest and a file of `size` bytes of `filling`.
pub fn archive(size: u64, filling: impl Read + Send) -> impl Read + Send {
    let header = |name: &str, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_path(name).expect("a short name");
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let padding = |size: u64| io::repeat(0).take((512 - size % 512) % 512);
    let length = DEPLOYMENT.len() as u64;
    io::Cursor::new(header("deployment.yaml", length))
        .chain(DEPLOYMENT.as_bytes())
        .chain(padding(length))
        .chain(io::Cursor::new(header("filling.bin", size)))
        .chain(filling.take(size))
        .chain(padding(size))
        .chain(io::repeat(0).take(1024))
}

/// Noise by a seed.
pub struct Noise {
    random: fastrand::Rng,
    made: Vec<u8>,
    taken: usize,
}

impl Noise {
    /// Starts at the first byte.
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            made: vec![0; 64 << 10],
            taken: 64 << 10,
        }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.made.len() {
            self.random.fill(&mut self.made);
            self.taken = 0;
        }
        let count = buffer.len().min(self.made.len() - self.taken);
        buffer[..count].copy_from_slice(&self.made[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}

/// What is answered under a path.
#[derive(Clone)]
enum Content {
    Small(Bytes),
    Made(Made),
}

struct Entry {
    path: String,
    media_type: &'static str,
    digest: String,
    content: Content,
}

/// A running registry on loopback, without TLS or password; it ends when dropped.
pub struct MadeRegistry {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    blob: String,
    _end: DropGuard,
}

impl MadeRegistry {
    /// Serves [`COMPONENT`], whose resource `deployment` is `large`, on this runtime.
    pub async fn start(large: Made) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it listens");
        let requests = Arc::new(AtomicU64::new(0));
        let blob = format!(
            "http://{address}/v2/{}/blobs/{}",
            repository(),
            large.digest
        );
        let entries = Arc::new(entries(large));
        let count = requests.clone();
        let router = Router::new().fallback(move |request: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer(&entries, request.uri().path());
            async move { answer }
        });
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move {
            let serving = axum::serve(listener, router);
            let _ = ended.run_until_cancelled(serving.into_future()).await;
        });
        Self {
            address,
            requests,
            blob,
            _end: end.drop_guard(),
        }
    }

    /// The URL of the OCM repository.
    pub fn url(&self) -> String {
        format!("http://{}/made", self.address)
    }

    /// The URL of the large blob.
    pub fn blob_url(&self) -> &str {
        &self.blob
    }

    /// How many requests were answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn repository() -> String {
    format!("made/component-descriptors/{COMPONENT}")
}

/// All that the registry has.
fn entries(large: Made) -> Vec<Entry> {
    let rules = Bytes::from_static(RULES.as_bytes());
    let resource = |name: &str, kind: &str, relation: &str, access: Value| {
        json!({"name": name, "version": "1.0.0", "type": kind, "relation": relation,
            "access": access})
    };
    let local = |digest: &str, media_type: &str| json!({"type": "localBlob", "localReference": digest, "mediaType": media_type});
    let descriptor = json!({
        "meta": {"schemaVersion": "v2"},
        "component": {
            "name": COMPONENT, "version": "1.0.0", "provider": "example.org",
            "repositoryContexts": [], "sources": [], "componentReferences": [],
            "resources": [
                resource("config", "PlainText", "local", local(&digest(&rules), "text/plain")),
                resource("deployment", "Directory", "local",
                    local(&large.digest, "application/x-tgz")),
                resource("image", "ociImage", "external",
                    json!({"type": "ociArtifact", "imageReference": IMAGE})),
            ],
        },
    });
    let descriptor = Bytes::from(descriptor.to_string());
    let described = |media_type: &str, digest: &str, size: u64| json!({"mediaType": media_type, "digest": digest, "size": size});
    let size = descriptor.len() as u64;
    let first = described(DESCRIPTOR, &digest(&descriptor), size);
    let config = Bytes::from(json!({"componentDescriptorLayer": first}).to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, &digest(&config), config.len() as u64),
        "layers": [
            first,
            described("text/plain", &digest(&rules), rules.len() as u64),
            described("application/x-tgz", &large.digest, large.size),
        ],
    });
    let manifest = Bytes::from(manifest.to_string());
    let tags = Bytes::from(json!({"name": repository(), "tags": ["1.0.0"]}).to_string());
    let entry = |path: String, media_type, content: Content| {
        let digest = match &content {
            Content::Small(bytes) => digest(bytes),
            Content::Made(made) => made.digest.clone(),
        };
        let path = format!("/v2/{path}");
        Entry {
            path,
            media_type,
            digest,
            content,
        }
    };
    let repository = repository();
    let mut entries = vec![
        entry(
            String::new(),
            "application/json",
            Content::Small("{}".into()),
        ),
        entry(
            format!("{repository}/tags/list"),
            "application/json",
            Content::Small(tags),
        ),
    ];
    for reference in ["1.0.0", &digest(&manifest)] {
        let path = format!("{repository}/manifests/{reference}");
        entries.push(entry(path, MANIFEST, Content::Small(manifest.clone())));
    }
    let small = [descriptor, config, rules].map(Content::Small);
    for content in small.into_iter().chain([Content::Made(large)]) {
        let mut blob = entry(String::new(), "application/octet-stream", content);
        blob.path = format!("/v2/{repository}/blobs/{}", blob.digest);
        entries.push(blob);
    }
    entries
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

fn answer(entries: &[Entry], path: &str) -> Response {
    let Some(found) = entries.iter().find(|entry| entry.path == path) else {
        let body = Body::from(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
        return Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(body)
            .expect("a valid answer");
    };
    let (size, body) = match &found.content {
        Content::Small(bytes) => (bytes.len() as u64, Body::from(bytes.clone())),
        Content::Made(made) => (made.size, stream(made)),
    };
    Response::builder()
        .header(header::CONTENT_TYPE, found.media_type)
        .header(header::CONTENT_LENGTH, size)
        .header("docker-content-digest", &found.digest)
        .body(body)
        .expect("a valid answer")
}

/// Makes the content on a thread of its own, no further ahead than a few pieces.
fn stream(made: &Made) -> Body {
    const PIECE: usize = 128 << 10;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let mut source = (made.open)();
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = source.read(&mut piece);
            let goes_on = !matches!(read, Ok(0) | Err(_));
            let sent = read.map(|count| {
                piece.truncate(count);
                Bytes::from(piece)
            });
            // Fails where the client has gone.
            if sender.blocking_send(sent).is_err() || !goes_on {
                break;
            }
        }
    });
    Body::from_stream(futures::stream::unfold(
        receiver,
        |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((piece, receiver))
        },
    ))
}
