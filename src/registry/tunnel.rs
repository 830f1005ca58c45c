//! Connections through a proxy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Scheme;
use super::proxy::{Proxy, authority};

/// The largest head of a proxy's answer, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

/// What a connection is made of.
pub(super) trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Io for T {}

/// A connection as the HTTP client uses it.
pub(super) struct Stream {
    io: Box<dyn Io>,
    /// Whether a proxy reads the requests, which then have to name their host.
    to_proxy: bool,
}

impl Stream {
    /// Straight to the host.
    pub(super) fn direct(stream: TcpStream) -> Self {
        Self {
            io: Box::new(TokioIo::new(stream)),
            to_proxy: false,
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.to_proxy)
    }
}

/// Why a proxy is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("failed to establish TLS with the proxy")]
    Tls { source: io::Error },

    #[error("the proxy broke off")]
    Broken { source: hyper::Error },

    #[error("the proxy answered {status} to CONNECT{hint}")]
    Refused {
        status: StatusCode,
        hint: &'static str,
    },
}

impl TunnelError {
    /// Whether it may be another time.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Tls { .. } => false,
            Self::Broken { .. } => true,
            Self::Refused { status, .. } => super::failure::is_temporary(*status),
        }
    }
}

/// What the operator can do about an answer of a proxy.
pub(super) fn hint(status: StatusCode) -> &'static str {
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        "; give its user and password in the URL of HTTPS_PROXY or HTTP_PROXY"
    } else if status.is_client_error() {
        "; allow the host there, or name it in NO_PROXY"
    } else {
        ""
    }
}

/// Reaches `host` over `stream`, a connection to `proxy`.
///
/// What is behind it in plain HTTP is asked of the proxy; to everything else it opens a tunnel, in
/// which TLS is spoken with the host itself.
pub(super) async fn through(
    proxy: &Proxy,
    stream: TcpStream,
    tls: &Arc<ClientConfig>,
    (scheme, host, port): (Scheme, &str, u16),
) -> Result<Stream, TunnelError> {
    let io: Box<dyn Io> = match proxy.scheme {
        Scheme::Http => Box::new(TokioIo::new(stream)),
        Scheme::Https => {
            let failed = |source| TunnelError::Tls { source };
            let name = ServerName::try_from(proxy.host.clone())
                .map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
            let connected = TlsConnector::from(Arc::clone(tls))
                .connect(name, stream)
                .await;
            Box::new(TokioIo::new(connected.map_err(failed)?))
        }
    };
    match scheme {
        Scheme::Http => Ok(Stream { io, to_proxy: true }),
        Scheme::Https => {
            let tunnel = connect(proxy, io, &authority(host, port)).await?;
            Ok(Stream {
                io: Box::new(tunnel),
                to_proxy: false,
            })
        }
    }
}

/// Has the proxy open a tunnel (RFC 9110, 9.3.6).
async fn connect(
    proxy: &Proxy,
    io: Box<dyn Io>,
    target: &str,
) -> Result<hyper::upgrade::Upgraded, TunnelError> {
    let broken = |source| TunnelError::Broken { source };
    let handshake = http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .handshake::<_, Empty<Bytes>>(io)
        .await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    // Ends with the tunnel, or with `sender` where there is none.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::connect(target).header(header::HOST, target);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request
        .body(Empty::new())
        .expect("host and port are a target");
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let hint = hint(status);
        return Err(TunnelError::Refused { status, hint });
    }
    hyper::upgrade::on(response).await.map_err(broken)
}
