//! Real sockets on loopback.

use std::collections::BTreeMap;
use std::io::Write as _;

use axum::routing::get;
use oci_distribution::client::{ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use crate::oci::Digest;
use crate::serve::distribution::{Anyone, router};
use crate::snapshot::{Artifact, ContentKind, SnapshotLayer, image};
use crate::store::Store;

use super::*;

struct Server {
    address: SocketAddr,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn serve(router: Router, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let refusals = Arc::<Refusals>::default();
    let counted = Arc::clone(&refusals);
    let stop = shutdown.clone();
    let task = tokio::spawn(listen(listener, Plain, router, limits, counted, stop));
    Server {
        address,
        refusals,
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
    assert_eq!(server.refusals.connections(), 1);
    // A place that becomes free is given again.
    drop(first);
    let freed = async {
        while !talk(server.address, ASK).await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}

/// Connects from an address of this machine.
async fn connect_from(local: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Whether the server closes the connection before `patience` is over.
async fn is_closed(socket: &mut TcpStream, patience: Duration) -> bool {
    let mut answer = Vec::new();
    let ended = timeout(patience, socket.read_to_end(&mut answer)).await;
    ended.is_ok()
}

#[tokio::test]
async fn b85_five_thousand_idle_sockets_of_one_address_keep_nobody_else_out() {
    // So that none of those that are let in goes while they are counted.
    let limits = Limits {
        header: Duration::from_mins(10),
        ..Limits::default()
    };
    let allowed = limits.connections_per_address;
    let server = serve(hello(), limits).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for number in 0..5_000 {
        let mut socket = connect_from("127.0.0.2", server.address).await;
        let _ = socket.write_all(b"G").await;
        // The first ones are let in; the server takes connections in their order.
        if number < allowed {
            held.push(socket);
        } else {
            assert!(
                is_closed(&mut socket, Duration::from_secs(20)).await,
                "{number}"
            );
            refused += 1;
        }
        if number % 100 == 0 {
            assert!(
                talk(server.address, ASK).await.ends_with("hello"),
                "{number}"
            );
        }
    }
    assert_eq!((held.len(), refused), (128, 4_872));
    for socket in &mut held {
        assert!(!is_closed(socket, Duration::ZERO).await, "it was let in");
    }
    drop(held);
    let freed = async {
        while !(ask_from("127.0.0.2", server.address).await).ends_with("hello") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}

async fn ask_from(local: &str, address: SocketAddr) -> String {
    let mut socket = connect_from(local, address).await;
    let _ = socket.write_all(ASK).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn b85_all_who_send_a_byte_at_a_time_are_cut_off_at_the_end_of_their_time() {
    let limits = Limits {
        header: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = serve(hello(), limits).await;
    let slow = (0..100).map(async |_| {
        let mut socket = connect_from("127.0.0.2", server.address).await;
        let mut sent = 0;
        // An error is the end as well: the server has closed, and does not want the byte.
        while socket.write_all(b"G").await.is_ok() {
            sent += 1;
            if is_closed(&mut socket, Duration::from_millis(50)).await {
                break;
            }
        }
        sent
    });
    let sent = timeout(Duration::from_secs(20), futures::future::join_all(slow));
    let sent = sent.await.expect("all are cut off");
    assert!(sent.iter().all(|sent| (1..100).contains(sent)), "{sent:?}");
    assert!(talk(server.address, ASK).await.ends_with("hello"));
}

#[tokio::test]
async fn b85_half_closed_connection_is_closed_at_once() {
    let server = serve(hello(), Limits::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HT").await.unwrap();
    socket.shutdown().await.unwrap();
    let before_the_header_is_late = Duration::from_secs(8);
    assert!(is_closed(&mut socket, before_the_header_is_late).await);
}

#[tokio::test]
async fn b85_b87_hundred_thousand_requests_on_one_connection_are_answered_one_by_one() {
    const BATCH: usize = 500;
    let server = serve(hello(), Limits::default()).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(request).await.unwrap();
    // All answers are alike: the date has one length.
    let mut answer = vec![0; 1024];
    let length = socket.read(&mut answer).await.unwrap();
    assert!(answer[..length].ends_with(b"hello"));
    let batch = request.repeat(BATCH);
    let mut answers = vec![0; length * BATCH];
    for turn in 0..100_000 / BATCH {
        let (mut reader, mut writer) = socket.split();
        let (sent, read) = tokio::join!(writer.write_all(&batch), reader.read_exact(&mut answers));
        sent.unwrap();
        read.unwrap();
        for answer in answers.chunks(length) {
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"hello"));
        }
        if turn % 20 == 0 {
            assert!(talk(server.address, ASK).await.ends_with("hello"));
        }
    }
}

#[tokio::test]
async fn b87_body_of_a_read_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let server = serve(router(store, Arc::new(Anyone)), Limits::default()).await;
    for header in [
        "Transfer-Encoding: chunked",
        "Content-Length: 1000000000000",
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{header}\r\n{expect}\r\n");
            let answer = talk(server.address, request.as_bytes());
            let answer = timeout(Duration::from_secs(8), answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(!answer.contains("100 Continue"), "{answer}");
        }
    }
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
async fn f30_shutdown_lets_a_running_answer_end_and_takes_no_new_one() {
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
