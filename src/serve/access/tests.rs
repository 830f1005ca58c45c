//! Certificates and passwords over real sockets, and what they let nobody do.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Request, header};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::serve::certificate::{Issued, issue};
use crate::serve::pull::{KEY_LENGTH, PullKey};
use crate::serve::{Limits, Refusals, listen};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn keys(current: u8, previous: Option<u8>) -> PullKeys {
    let key = |byte| PullKey::from_bytes(&[byte; KEY_LENGTH]).unwrap();
    PullKeys {
        current: key(current),
        previous: previous.map(key),
    }
}

fn made() -> (Issued, ServerCertificate) {
    let life = Duration::from_hours(1);
    let issued = issue("127.0.0.1", life, SystemTime::now()).unwrap();
    let certificate =
        ServerCertificate::parse(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
    (issued, certificate)
}

async fn serve(access: &Access) -> SocketAddr {
    serve_counting(access, Arc::default()).await
}

async fn serve_counting(access: &Access, refusals: Arc<Refusals>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(async || "hello"));
    let tls = access.tls().unwrap();
    let shutdown = CancellationToken::new();
    let limits = Limits::default();
    tokio::spawn(listen(listener, tls, router, limits, refusals, shutdown));
    address
}

/// Connects as a client that trusts `authority` alone and offers these protocols.
async fn connect(
    address: SocketAddr,
    authority: &str,
    protocols: &[&str],
) -> io::Result<ClientStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> String {
    // The server may close before it has read all of what it refuses.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn f13_certificate_changes_for_new_connections_and_open_ones_go_on() {
    let access = Access::default();
    let (old, old_certificate) = made();
    access.show(&old_certificate);
    let address = serve(&access).await;
    let open = connect(address, &old.authority, &[]).await.unwrap();

    let (new, new_certificate) = made();
    access.show(&new_certificate);

    assert!(connect(address, &old.authority, &[]).await.is_err());
    let both = format!("{}{}", old.authority, new.authority);
    let fresh = connect(address, &both, &[]).await.unwrap();
    assert!(ask(fresh, ASK).await.ends_with("hello"));
    assert!(ask(open, ASK).await.ends_with("hello"));
}

#[tokio::test]
async fn without_a_certificate_there_is_no_connection() {
    let access = Access::default();
    let address = serve(&access).await;
    assert!(connect(address, &made().0.authority, &[]).await.is_err());
}

#[tokio::test]
async fn b86_cve_2023_44487_what_is_no_tls_or_http_2_is_closed_and_counted() {
    let access = Access::default();
    let (issued, certificate) = made();
    access.show(&certificate);
    let refusals = Arc::<Refusals>::default();
    let address = serve_counting(&access, Arc::clone(&refusals)).await;
    for garbage in [ASK, &[0xff; 4096], b"\x16\x03\x01\xff\xff", b""] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = ask(socket, b"").await;
        assert!(!answer.contains("hello"), "{answer:?}");
    }
    // All but the one that says nothing, as a probe does.
    assert_eq!(refusals.handshakes(), 3);
    // A client that only speaks HTTP/2 is told so in the handshake; one that speaks it all the
    // same is answered like anybody who speaks nonsense.
    assert!(connect(address, &issued.authority, &["h2"]).await.is_err());
    assert_eq!(refusals.handshakes(), 4);
    let stream = connect(address, &issued.authority, &[]).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(!ask(stream, preface).await.contains("hello"));
    let stream = connect(address, &issued.authority, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(ask(stream, ASK).await.ends_with("hello"));
}

fn allows(access: &Access, login: Option<(&str, &str)>, repository: &str) -> bool {
    let mut request = Request::builder();
    if let Some((user, password)) = login {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let repository = (!repository.is_empty()).then(|| repository.parse().unwrap());
    access.allows(&parts, repository.as_ref())
}

#[test]
fn b83_password_reads_its_own_namespace_alone() {
    let access = Access::default();
    let password = |namespace: &str| keys(1, None).password(&namespace.parse().unwrap(), salt());
    let (ours, theirs) = (password("ours"), password("theirs"));
    assert!(
        !allows(&access, Some(("ours", &ours)), "ours/app"),
        "no key yet"
    );
    access.take(keys(1, None));
    for (login, repository, expected) in [
        (Some(("ours", &ours)), "ours/app", true),
        (Some(("ours", &ours)), "", true),
        (Some(("ours", &ours)), "theirs/app", false),
        (Some(("theirs", &ours)), "theirs/app", false),
        (Some(("theirs", &theirs)), "theirs/app", true),
        (None, "ours/app", false),
        (None, "", false),
    ] {
        let login = login.map(|(user, password)| (user, password.as_str()));
        assert_eq!(
            allows(&access, login, repository),
            expected,
            "{repository:?}"
        );
    }
    access.take(keys(2, Some(1)));
    assert!(allows(&access, Some(("ours", &ours)), "ours/app"));
    access.take(keys(3, Some(2)));
    assert!(!allows(&access, Some(("ours", &ours)), "ours/app"));
}

fn salt() -> Salt {
    Salt::random().unwrap()
}

#[test]
fn b83_namespace_that_is_made_again_does_not_take_the_password_of_the_one_before() {
    let access = Access::default();
    access.take(keys(1, None));
    let shop: Namespace = "shop".parse().unwrap();
    let first = access.salt_of(&shop).unwrap();
    assert_eq!(access.salt_of(&shop).unwrap(), first, "it is kept");
    let old = keys(1, None).password(&shop, first);
    let reads = |password: &str| allows(&access, Some(("shop", password)), "shop/app");
    assert!(reads(&old));

    access.lock_out(&shop);
    access.lock_out_others();
    assert!(!reads(&old), "it has no password any more");
    let second = access.salt_of(&shop).unwrap();
    let new = keys(1, None).password(&shop, second);
    assert!(reads(&new));
    assert!(!reads(&old));
}

#[test]
fn password_is_good_after_a_restart_until_all_are_known_and_then_if_it_is() {
    let access = Access::default();
    access.take(keys(1, None));
    let (shop, salt): (Namespace, _) = ("shop".parse().unwrap(), salt());
    let password = keys(1, None).password(&shop, salt);
    let reads = || allows(&access, Some(("shop", password.as_str())), "shop/app");
    assert!(reads());
    access.expect(shop, salt);
    access.lock_out_others();
    assert!(reads());
}

#[test]
fn guest_reads_what_it_was_invited_to_and_only_as_long() {
    let access = Access::default();
    access.take(keys(1, None));
    let password = keys(1, None).password(&"guests".parse().unwrap(), salt());
    let reads = |repository| allows(&access, Some(("guests", &password)), repository);
    let guest = || Guest {
        namespace: "guests".to_owned(),
        name: "podinfo".to_owned(),
    };
    access.invite(guest(), Some("hosts/app".parse().unwrap()));
    assert!(reads("hosts/app"));
    assert!(!reads("hosts/other"));
    access.invite(guest(), None);
    assert!(!reads("hosts/app"));
}
