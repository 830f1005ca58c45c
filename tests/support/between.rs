//! A proxy in front of the API server, which does to requests what a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::{Method, StatusCode, header};
use serde_json::json;

use super::web;

/// A request body of these tests is no larger.
const LARGEST: usize = 8 << 20;

/// A client that waits for as long as a watch lasts.
fn client(ca: &str) -> reqwest::Client {
    web::install_tls_provider();
    let ca = reqwest::Certificate::from_pem(ca.as_bytes()).expect("a PEM certificate");
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()
        .expect("a TLS provider is installed")
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is handed on.
    Pass,
    /// The API server is not asked; this is the answer, with a Status of this message.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// In seconds.
        retry_after: Option<u64>,
        /// What is said.
        message: &'static str,
    },
    /// It is handed on, and each event of the watch that answers it comes twice.
    Twice,
}

/// A request that came by.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub uri: String,
}

impl Asked {
    /// Whether it would change something.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.uri.contains("watch=true")
    }
}

type Rule = Box<dyn FnMut(&Asked) -> Deed + Send>;

/// A running proxy; it ends with the test process.
#[derive(Clone)]
pub struct Between {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    client: reqwest::Client,
    rule: Mutex<Rule>,
    asked: Mutex<Vec<Asked>>,
}

impl Between {
    /// Starts one in front of `server`, whose certificate is of the authority `ca`. It has a
    /// thread of its own, as the tests that share it have a runtime each.
    pub fn start(server: SocketAddr, ca: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server,
            client: client(ca),
            rule: Mutex::new(Box::new(|_| Deed::Pass)),
            asked: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let _ = axum::serve(listener, router).await;
            });
        });
        Self { address, shared }
    }

    /// Where it listens, without TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `rule` says what becomes of each request.
    pub fn set(&self, rule: impl FnMut(&Asked) -> Deed + Send + 'static) {
        *self.shared.rule.lock().expect("nobody panics with it") = Box::new(rule);
    }

    /// From now on everything passes.
    pub fn pass(&self) {
        self.set(|_| Deed::Pass);
    }

    /// What came by so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock().expect("nobody panics with it");
        asked.clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = Asked {
        method: request.method().clone(),
        uri: request.uri().to_string(),
    };
    let deed = shared.rule.lock().expect("nobody panics with it")(&asked);
    shared
        .asked
        .lock()
        .expect("nobody panics with it")
        .push(asked);
    match deed {
        Deed::Pass => handed_on(&shared, request, 1).await,
        Deed::Twice => handed_on(&shared, request, 2).await,
        Deed::Refuse {
            status,
            retry_after,
            message,
        } => {
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                              "code": status, "message": message, "reason": "InternalError"});
            let mut response = Response::new(Body::from(body.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            );
            if let Some(seconds) = retry_after {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
    }
}

/// The server's answer, in which each line comes so often.
async fn handed_on(shared: &Shared, request: Request, times: usize) -> Response {
    let (mut parts, body) = request.into_parts();
    let url = format!("https://{}{}", shared.server, parts.uri);
    parts.headers.remove(header::HOST);
    let body = to_bytes(body, LARGEST).await.unwrap_or_default();
    let sent = shared
        .client
        .request(parts.method, url)
        .headers(parts.headers)
        .body(body)
        .send()
        .await;
    let Ok(answer) = sent else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return response;
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        // The body is sent anew, in pieces of its own.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            response = response.header(name, value);
        }
    }
    let pieces = futures::stream::unfold(
        (answer, Vec::new()),
        move |(mut answer, mut line)| async move {
            let piece = answer.chunk().await.ok()??;
            if times == 1 {
                return Some((Ok::<_, std::io::Error>(piece), (answer, line)));
            }
            line.extend_from_slice(&piece);
            let end = line
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let rest = line.split_off(end);
            let mut doubled = Vec::new();
            for event in line.split_inclusive(|byte| *byte == b'\n') {
                for _ in 0..times {
                    doubled.extend_from_slice(event);
                }
            }
            Some((Ok(doubled.into()), (answer, rest)))
        },
    );
    response
        .body(Body::from_stream(pieces))
        .expect("the parts are those of an answer")
}
