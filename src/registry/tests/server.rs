//! A registry that answers by a script and records every request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::oci::{Digest, RepositoryName};
use crate::registry::{
    Client, Credential, Endpoint, Error, Reference, Scheme, Settings, Timeouts, Transport,
    media_type,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization").map(String::as_str)
    }
}

/// What happens behind the bytes of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Then {
    Keep,
    Close,
    Hang,
    /// Send this many bytes over and over until nobody listens.
    Flood(usize),
    /// Be a tunnel to there.
    Tunnel(SocketAddr),
}

/// An answer, byte by byte.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) then: Then,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
        let then = Then::Keep;
        Self { head, body, then }
    }

    /// Anything at all, followed by the end of the connection.
    pub(crate) fn raw(text: impl AsRef<[u8]>) -> Self {
        Self {
            head: String::new(),
            body: text.as_ref().to_vec(),
            then: Then::Close,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    /// The same, cut after `length` bytes of the body.
    pub(crate) fn cut(mut self, length: usize, then: Then) -> Self {
        self.body.truncate(length);
        self.then(then)
    }

    pub(crate) fn manifest(body: &str) -> Self {
        Self::new(200, body).header("Content-Type", media_type::OCI_MANIFEST)
    }

    /// The answer of a proxy that leads to `address`.
    pub(crate) fn tunnel(address: SocketAddr) -> Self {
        Self {
            head: "HTTP/1.1 200 x\r\n".to_owned(),
            body: Vec::new(),
            then: Then::Tunnel(address),
        }
    }

    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "").header("Location", location)
    }

    pub(crate) fn bearer(realm: &str) -> Self {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"reg\"");
        Self::new(401, "").header("WWW-Authenticate", &challenge)
    }
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// A scripted server on loopback; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers each request by `script`, which is told how many came before.
    pub(crate) async fn start(
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Arc::new(script)).await
    }

    pub(crate) async fn start_tls(
        identity: &TlsIdentity,
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(identity.acceptor()), Arc::new(script)).await
    }

    async fn serve(acceptor: Option<tokio_rustls::TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let seen = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, acceptor) = (script.clone(), seen.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => answer(stream, &*script, &seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                answer(stream, &*script, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, log }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(Scheme::Http, &self.address.to_string()).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_as(Credential::anonymous())
    }

    pub(crate) fn client_as(&self, credential: Credential) -> Client {
        Client::new(transport(settings()), self.endpoint(), credential)
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &Script,
    log: &Mutex<Vec<Seen>>,
) {
    while let Some(seen) = receive(&mut stream).await {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        let reply = script(&seen, before);
        let mut bytes = reply.head.clone().into_bytes();
        if !reply.head.is_empty() {
            bytes.extend_from_slice(b"\r\n");
        }
        if seen.method != "HEAD" {
            bytes.extend_from_slice(&reply.body);
        }
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match reply.then {
            Then::Keep => {}
            Then::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Then::Hang => std::future::pending::<()>().await,
            Then::Tunnel(address) => {
                let mut target = TcpStream::connect(address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
                return;
            }
            Then::Flood(length) => {
                let piece = vec![b'a'; length];
                while stream.write_all(&piece).await.is_ok() {}
                return;
            }
        }
    }
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Seen {
        method,
        path,
        headers,
        body,
    })
}

/// A certificate of its own authority.
pub(crate) struct TlsIdentity {
    pub(crate) authority_pem: String,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: Vec<u8>,
}

impl TlsIdentity {
    pub(crate) fn of(name: &str) -> Self {
        Self::changed(name, |_| {})
    }

    /// The same, after `change` of the certificate's parameters.
    pub(crate) fn changed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut leaf);
        let authority_key = KeyPair::generate().unwrap();
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        Self {
            authority_pem: authority_certificate.pem(),
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        }
    }

    /// Issued by a certificate that is no authority, which a trusted authority issued.
    pub(crate) fn through_non_authority(name: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let authority = Issuer::new(authority, authority_key);
        let mut middle = CertificateParams::new(vec!["middle.example".to_owned()]).unwrap();
        middle.is_ca = IsCa::ExplicitNoCa;
        // Without a name of its own it would be taken for the authority.
        middle
            .distinguished_name
            .push(rcgen::DnType::CommonName, "middle");
        let middle_key = KeyPair::generate().unwrap();
        let middle_certificate = middle.signed_by(&middle_key, &authority).unwrap();
        let middle = Issuer::new(middle, middle_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &middle).unwrap();
        Self {
            authority_pem,
            chain: vec![certificate.der().clone(), middle_certificate.der().clone()],
            key: key.serialize_der(),
        }
    }

    fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        Arc::new(config).into()
    }
}

/// Settings for loopback, with short waits.
pub(crate) fn settings() -> Settings {
    Settings {
        allow_loopback: true,
        timeouts: Timeouts {
            connect: Duration::from_millis(500),
            head: Duration::from_millis(500),
            read: Duration::from_millis(300),
            small_body: Duration::from_millis(600),
            rate_window: Duration::from_millis(200),
            queue: Duration::from_millis(500),
            backoff: Duration::from_millis(1),
            longest_pause: Duration::from_secs(1),
            ..Timeouts::default()
        },
        ..Settings::default()
    }
}

pub(crate) fn transport(settings: Settings) -> Transport {
    Transport::new(settings).unwrap()
}

pub(crate) fn repository() -> RepositoryName {
    "team/app".parse().unwrap()
}

pub(crate) fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse().unwrap())
}

pub(crate) fn digest_of(content: impl AsRef<[u8]>) -> Digest {
    Digest::of(content)
}

/// An error with its causes, as it is shown to users.
pub(crate) fn told(error: &Error) -> String {
    crate::registry::body::with_causes(error)
}

/// A manifest that is fine.
pub(crate) fn plain_manifest() -> String {
    let empty = Digest::of("{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[]}}"#,
        media_type::OCI_MANIFEST
    )
}
