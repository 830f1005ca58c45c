//! HTTP clients for what the tests look at themselves.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Certificate, Client};

/// How the harness calls itself, so that its own requests can be told apart.
pub const USER_AGENT: &str = "test-harness";

/// A client that trusts this authority alone; without one it speaks plain HTTP only.
///
/// Each caller makes its own: a client's connections live on the runtime that opened them, and
/// every test has its own runtime.
pub fn client(ca_pem: Option<&str>) -> Client {
    install_tls_provider();
    let certificates =
        ca_pem.map(|pem| Certificate::from_pem(pem.as_bytes()).expect("a PEM certificate"));
    Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .tls_certs_only(certificates)
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a TLS provider is installed")
}

/// Whether a GET of this path answers 200.
pub async fn is_ok(client: &Client, address: SocketAddr, path: &str) -> bool {
    let answer = client.get(format!("http://{address}{path}")).send().await;
    answer.is_ok_and(|response| response.status() == 200)
}

/// Chooses ring for all TLS of this process; once is enough, more often does no harm.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
