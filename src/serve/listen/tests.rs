//! Real sockets on loopback.

use std::collections::BTreeMap;
use std::io::Write as _;

use axum::routing::get;
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::oci::Digest;
use crate::serve::distribution::{Anyone, router};
use crate::snapshot::{Artifact, ContentKind, SnapshotLayer, image};
use crate::store::Store;

use super::*;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn serve(router: Router, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(listen(listener, Plain, router, limits, shutdown.clone()));
    Server {
        address,
        shutdown,
        task,
    }
}

/// Sends `request` and reads until the server closes.
async fn talk(address: SocketAddr, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read all of a request that it refuses.
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn snapshot_is_pulled_by_a_registry_client() {
    // Another test may have installed it first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let content = vec![42; 300_000];
    let layer = SnapshotLayer {
        media_type: ContentKind::Files.layer_media_type().to_owned(),
        digest: Digest::of(&content),
        size: content.len() as u64,
    };
    let image = image(&layer, Artifact::Files, &BTreeMap::new());
    let mut writer = store.writer().unwrap();
    writer.write_all(&content).unwrap();
    writer.commit().unwrap();
    let repository = "ocm-system/podinfo".parse().unwrap();
    let tag = "6.3.5".parse().unwrap();
    store.publish(&repository, &tag, &image, "uid").unwrap();
    let server = serve(router(store, Arc::new(Anyone)), Limits::default()).await;

    let config = ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).unwrap();
    let name = format!("{}/ocm-system/podinfo:6.3.5", server.address);
    let reference: Reference = name.parse().unwrap();
    let pulled = client
        .pull(
            &reference,
            &RegistryAuth::Anonymous,
            vec![ContentKind::Files.layer_media_type()],
        )
        .await
        .unwrap();
    assert_eq!(pulled.digest, Some(image.digest.to_string()));
    assert_eq!(pulled.layers.len(), 1);
    assert_eq!(pulled.layers[0].data, content);
    let listed = client
        .list_tags(&reference, &RegistryAuth::Anonymous, None, None)
        .await
        .unwrap();
    assert_eq!(listed.tags, ["6.3.5"]);
}

#[tokio::test]
async fn b85_slow_header_is_cut_off_and_others_are_served() {
    let limits = Limits {
        header: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = serve(hello(), limits).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    assert!(talk(server.address, ASK).await.ends_with("hello"));
    let mut answer = Vec::new();
    let end = timeout(Duration::from_secs(20), slow.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection stayed open");
}

#[tokio::test]
async fn b85_one_address_has_a_bounded_number_of_connections() {
    let limits = Limits {
        connections_per_address: 2,
        ..Limits::default()
    };
    let server = serve(hello(), limits).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let _second = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /").await.unwrap();
    assert_eq!(talk(server.address, ASK).await, "");
    // A place that becomes free is given again.
    drop(first);
    let freed = async {
        while !talk(server.address, ASK).await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}

#[tokio::test]
async fn b87_header_without_end_is_refused() {
    let server = serve(hello(), Limits::default()).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(1000)
    );
    assert!(
        talk(server.address, many.as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
    let answer = talk(server.address, long.as_bytes()).await;
    // The reset that follows unread bytes can overtake the answer.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert!(talk(server.address, ASK).await.ends_with("hello"));
}

#[tokio::test]
async fn b82_rustsec_2022_0055_body_of_a_write_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let server = serve(router(store, Arc::new(Anyone)), Limits::default()).await;
    let request = b"PUT /v2/ns/app/manifests/1 HTTP/1.1\r\nHost: x\r\n\
                    Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n";
    let answer = timeout(Duration::from_secs(20), talk(server.address, request)).await;
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(
        answer.to_lowercase().contains("allow: get, head"),
        "{answer}"
    );
}

#[tokio::test]
async fn shutdown_lets_a_running_answer_end_and_takes_no_new_one() {
    let (started, mut has_started) = tokio::sync::mpsc::channel::<()>(1);
    let slow = get(async move || {
        let _ = started.send(()).await;
        sleep(Duration::from_millis(300)).await;
        "done"
    });
    let server = serve(Router::new().route("/", slow), Limits::default()).await;
    let running = tokio::spawn(talk(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    has_started.recv().await.unwrap();
    server.shutdown.cancel();
    assert!(running.await.unwrap().ends_with("done"));
    timeout(Duration::from_secs(20), server.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
