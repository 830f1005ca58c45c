//! Connections, with a bound on everything that a client can hold open.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::pace::Paced;

/// How long accepting rests when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client, and all of them, may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; the next one is closed at once.
    pub connections: usize,
    /// Open connections of one address.
    pub connections_per_address: usize,
    /// Time for the handshake, if the acceptor has one.
    pub handshake: Duration,
    /// Time from the start of a connection, or from the last answer, to the end of the next
    /// request's header. So it is also how long a connection may be idle.
    pub header: Duration,
    /// Time for which a client may make the server wait while it takes `quota` bytes.
    pub window: Duration,
    /// Bytes that a client has to take in each `window` of waiting.
    pub quota: u64,
    /// Size of a request's header in bytes, at least 8 KiB.
    pub header_size: usize,
    /// Time that running answers get to end after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            window: Duration::from_secs(30),
            quota: 30 * 1024,
            header_size: 64 * 1024,
            drain: Duration::from_secs(25),
        }
    }
}

/// Connections that came to nothing, counted.
#[derive(Debug, Default)]
pub struct Refusals {
    handshakes: AtomicU64,
    connections: AtomicU64,
}

impl Refusals {
    /// Handshakes that failed or took too long, such as those of clients that do not speak TLS or
    /// do not trust the certificate. Who hangs up without a word, as probes do, is not counted.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once, because too many were open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Turns a socket into the stream that HTTP is spoken over, such as one inside TLS.
pub trait Acceptor: Clone + Send + Sync + 'static {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Does the handshake; it is given up after [`Limits::handshake`].
    fn accept(&self, socket: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// HTTP over the bare socket.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Acceptor for Plain {
    type Stream = TcpStream;

    async fn accept(&self, socket: TcpStream) -> io::Result<TcpStream> {
        Ok(socket)
    }
}

/// Serves `router` on `listener` with HTTP/1.1 until `shutdown`, then lets running answers end.
///
/// Returns when the last connection is closed or [`Limits::drain`] is over. What comes to nothing
/// is counted in `refusals`.
pub async fn listen<A: Acceptor>(
    listener: TcpListener,
    acceptor: A,
    router: Router,
    limits: Limits,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
) {
    let census = Census::default();
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let (socket, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(failure) => {
                    warn!(error = %failure, "failed to accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(seat) = census.admit(peer.ip(), &limits) else {
            refusals.connections.fetch_add(1, Ordering::Relaxed);
            debug!(%peer, "refused a connection over the limit");
            continue;
        };
        let connection = Connection {
            acceptor: acceptor.clone(),
            router: router.clone(),
            limits: Arc::clone(&limits),
            refusals: Arc::clone(&refusals),
            shutdown: shutdown.clone(),
            _seat: seat,
        };
        connections.spawn(connection.run(socket, peer));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, drained).await.is_err() {
        warn!(
            open = connections.len(),
            "closed connections that did not end in time"
        );
        connections.shutdown().await;
    }
}

struct Connection<A> {
    acceptor: A,
    router: Router,
    limits: Arc<Limits>,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
    _seat: Seat,
}

impl<A: Acceptor> Connection<A> {
    async fn run(self, socket: TcpStream, peer: SocketAddr) {
        let limits = &self.limits;
        let accepted = timeout(limits.handshake, self.acceptor.accept(socket)).await;
        let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = match accepted {
            Ok(stream) => stream,
            Err(failure) => {
                if failure.kind() != io::ErrorKind::UnexpectedEof {
                    self.refusals.handshakes.fetch_add(1, Ordering::Relaxed);
                }
                debug!(%peer, error = %failure, "handshake failed");
                return;
            }
        };
        let stream = TokioIo::new(Paced::new(stream, limits.window, limits.quota));
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.header_size)
            .serve_connection(stream, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(failure) = ended {
            debug!(%peer, error = %failure, "connection ended early");
        }
    }
}

/// Who is connected.
#[derive(Debug, Clone, Default)]
struct Census {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Census {
    fn admit(&self, address: IpAddr, limits: &Limits) -> Option<Seat> {
        let mut open = self.lock();
        let total: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or(0);
        if total >= limits.connections || of_address >= limits.connections_per_address {
            return None;
        }
        open.insert(address, of_address + 1);
        let census = self.clone();
        Some(Seat { census, address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place among the connections, free again when dropped.
#[derive(Debug)]
struct Seat {
    census: Census,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.census.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
