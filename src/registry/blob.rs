//! Blobs as streams that check themselves.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::answer::unwanted;
use super::body::Body;
use super::client::Client;
use super::counters::RequestKind;
use super::download::Download;
use super::failure::Failure;
use super::manifest::check_encoding;
use super::origin::without_query;
use super::transport::{Response, Transport};
use super::{Class, Error, Result};
use crate::oci::{Digest, Hasher, RepositoryName};

/// Pieces that are received before they are asked for. Each has less than half a megabyte.
const AHEAD: usize = 4;

/// Where a blob comes from.
pub(super) enum Source {
    Repository {
        client: Client,
        repository: RepositoryName,
        digest: Digest,
    },
    Url {
        transport: Transport,
        download: Box<Download>,
    },
}

impl Source {
    fn transport(&self) -> &Transport {
        match self {
            Self::Repository { client, .. } => client.transport(),
            Self::Url { transport, .. } => transport,
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Repository {
                client,
                repository,
                digest,
            } => format!("{}@{digest}", client.name(repository)),
            Self::Url { download, .. } => without_query(download.url()),
        }
    }

    /// Whether a broken answer can be taken up by a second request.
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Repository { .. } => true,
            Self::Url { download, .. } => download.is_repeatable(),
        }
    }

    /// A page for people (a login, an explanation) where content was asked for is no content.
    fn check_media_type(&self, served: Option<&str>) -> Result<(), Failure> {
        match self {
            Self::Url { download, .. }
                if served == Some("text/html") && !download.accepts_pages() =>
            {
                Err(Failure::invalid(
                    "a web page (text/html) came where content was asked for",
                ))
            }
            Self::Url { .. } | Self::Repository { .. } => Ok(()),
        }
    }

    async fn get(&self, headers: HeaderMap) -> Result<Response, Failure> {
        match self {
            Self::Repository {
                client,
                repository,
                digest,
            } => {
                let path = format!("blobs/{digest}");
                client
                    .request(RequestKind::Blob, Method::GET, repository, &path, headers)
                    .await
            }
            Self::Url {
                transport,
                download,
            } => download.send(transport, headers).await,
        }
    }
}

/// The bytes of a blob, checked against its digests and size as they flow.
///
/// Only a stream that came to its end without an error was the blob: whoever stores the bytes
/// makes them visible after that and not before. A broken connection is taken up again where it
/// broke.
pub struct BlobStream {
    source: Source,
    reference: String,
    /// What it has to be, and how far that is computed.
    checks: Vec<(Digest, Hasher)>,
    size: Option<u64>,
    /// What the first answer said of itself.
    announced: Option<u64>,
    media_type: Option<String>,
    received: u64,
    body: Option<Body>,
    /// Bytes at the start of the current answer that were handed on from an earlier one.
    repeated: u64,
    tries: u32,
    failed: bool,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "BlobStream({})", self.reference)
    }
}

impl BlobStream {
    pub(super) async fn open(
        source: Source,
        expected: &[Digest],
        size: Option<u64>,
    ) -> Result<Self> {
        let check = |digest: &Digest| (digest.clone(), Hasher::new(digest.algorithm()));
        let mut stream = Self {
            reference: source.described(),
            checks: expected.iter().map(check).collect(),
            source,
            size,
            announced: None,
            media_type: None,
            received: 0,
            body: None,
            repeated: 0,
            tries: 1,
            failed: false,
        };
        match stream.request(0).await {
            Ok(()) => Ok(stream),
            Err(failure) => Err(Error::pull_blob(&stream.reference, failure)),
        }
    }

    /// The size in bytes that the blob has to have, or else is announced to have.
    pub fn size(&self) -> Option<u64> {
        self.size.or(self.announced)
    }

    /// The media type that it was served as, without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// The next bytes; `None` once the whole blob has come and is the right one.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let outcome = self.next_piece().await;
        if outcome.is_err() {
            // An error is final: nobody may take what follows for the rest of the blob.
            self.body = None;
            self.failed = true;
        }
        outcome.map_err(|failure| Error::pull_blob(&self.reference, failure))
    }

    /// The whole blob, if it is not larger than `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes> {
        let reference = self.reference.clone();
        let too_large = || {
            let limit = format!("{limit} bytes");
            let what = "blob";
            Error::pull_blob(&reference, Failure::TooLarge { what, limit })
        };
        if self.size.is_some_and(|size| size > limit as u64) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if whole.len() + piece.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The blob as a stream; nothing comes after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures::stream::try_unfold(self, |mut blob| async move {
            let piece = blob.chunk().await?;
            Ok(piece.map(|piece| (piece, blob)))
        })
    }

    /// The blob for code on a blocking thread. An [`Error`] comes as the cause of the
    /// [`io::Error`].
    ///
    /// # Panics
    ///
    /// Reading panics on a thread of the async runtime: use `spawn_blocking`.
    pub fn into_reader(self, runtime: &Handle) -> BlobReader {
        let reference = self.reference.clone();
        BlobReader::start(self.into_stream().boxed(), reference, runtime)
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(body) = &mut self.body else {
                if self.failed {
                    return Err(Failure::invalid("the blob is broken: it failed before"));
                }
                return Ok(None);
            };
            match body.chunk().await {
                Ok(Some(piece)) => {
                    if let Some(piece) = self.take(piece)? {
                        self.tries = 1;
                        return Ok(Some(piece));
                    }
                }
                Ok(None) => {
                    let host = body.host.clone();
                    if !self.is_short() {
                        return self.finish();
                    }
                    let problem = "the answer ended early".to_owned();
                    self.resume(Failure::Interrupted { host, problem }).await?;
                }
                Err(failure) => self.resume(failure).await?,
            }
        }
    }

    /// Hashes the new part of a piece; `None` if it has come before.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, Failure> {
        let repeated = self.repeated.min(piece.len() as u64);
        self.repeated -= repeated;
        piece.advance(usize::try_from(repeated).unwrap_or(piece.len()));
        if piece.is_empty() {
            return Ok(None);
        }
        let received = self.received + piece.len() as u64;
        let limit = self.source.transport().settings().limits.blob;
        if received > self.size.unwrap_or(limit) {
            let what = "blob";
            let limit = format!("{} bytes", self.size.unwrap_or(limit));
            return Err(Failure::TooLarge { what, limit });
        }
        for (_, hasher) in &mut self.checks {
            hasher.update(&piece);
        }
        self.received = received;
        Ok(Some(piece))
    }

    fn is_short(&self) -> bool {
        self.repeated > 0 || self.size.is_some_and(|size| self.received < size)
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Failure> {
        self.body = None;
        for (expected, hasher) in std::mem::take(&mut self.checks) {
            let actual = hasher.finish();
            if actual != expected {
                return Err(Failure::Digest { expected, actual });
            }
        }
        Ok(None)
    }

    /// Goes on after `failure`, as often as is worth it without progress.
    async fn resume(&mut self, failure: Failure) -> Result<(), Failure> {
        self.body = None;
        let mut failure = failure;
        loop {
            let settings = self.source.transport().settings();
            // Without a digest nobody can tell that the rest is of the same content.
            if self.checks.is_empty()
                || !self.source.is_repeatable()
                || failure.class() != Class::Transient
                || failure.retry_after().is_some()
                || self.tries >= settings.limits.tries
            {
                return Err(failure);
            }
            tokio::time::sleep(self.source.transport().backoff(self.tries)).await;
            self.tries += 1;
            match self.request(self.received).await {
                Ok(()) => return Ok(()),
                Err(next) => failure = next,
            }
        }
    }

    /// Asks for the blob from `offset` on, and from its start where that cannot be had.
    async fn request(&mut self, offset: u64) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.insert(header::RANGE, range.expect("digits are header text"));
        }
        let mut response = self.source.get(headers).await?;
        let partial = response.status == StatusCode::PARTIAL_CONTENT;
        let usable = partial && starts_at(&response.headers, offset);
        let refused = response.status == StatusCode::RANGE_NOT_SATISFIABLE;
        if offset > 0 && (refused || (partial && !usable)) {
            drop(response);
            response = self.source.get(HeaderMap::new()).await?;
        }
        self.repeated = match response.status {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT if offset > 0 && usable => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(Failure::invalid(
                    "a part came where the whole was asked for",
                ));
            }
            _ => return Err(unwanted(response).await),
        };
        check_encoding(&response.headers)?;
        self.check_length(&response, offset)?;
        if offset == 0 {
            self.announced = length(&response.headers);
            self.media_type = essence(&response.headers);
            self.source.check_media_type(self.media_type.as_deref())?;
        }
        self.body = Some(response.body);
        Ok(())
    }

    /// Compares the announced length with the expected size before a byte is taken.
    fn check_length(&self, response: &Response, offset: u64) -> Result<(), Failure> {
        let (Some(announced), Some(size)) = (length(&response.headers), self.size) else {
            return Ok(());
        };
        let expected = size - (offset - self.repeated).min(size);
        if announced != expected {
            let kind = response.headers.get(header::CONTENT_TYPE);
            let kind = kind
                .and_then(|kind| kind.to_str().ok())
                .unwrap_or("no Content-Type");
            let kind: String = kind
                .chars()
                .take(100)
                .flat_map(char::escape_debug)
                .collect();
            return Err(Failure::invalid(format!(
                "answer has {announced} bytes ({kind}) where {expected} were expected"
            )));
        }
        Ok(())
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?;
    text.to_str().ok()?.parse().ok()
}

/// The media type of an answer, without parameters.
fn essence(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next()?.trim().to_ascii_lowercase();
    (!essence.is_empty()).then_some(essence)
}

/// Whether the part in an answer begins at `offset`.
fn starts_at(headers: &HeaderMap, offset: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok()?.trim().strip_prefix("bytes "));
    let start = range.and_then(|range| range.split('-').next()?.trim().parse::<u64>().ok());
    start == Some(offset)
}

/// A stream of content as [`io::Read`], for blocking threads.
///
/// A task receives and hashes ahead of the reader, by no more than a few pieces, so that the
/// network does not wait for what is done with the bytes.
#[derive(Debug)]
pub struct BlobReader {
    pieces: mpsc::Receiver<Result<Option<Bytes>>>,
    reference: String,
    current: Bytes,
    ended: bool,
}

impl BlobReader {
    /// Reads what `content` gives; `reference` is for messages.
    pub(crate) fn start(
        mut content: BoxStream<'static, Result<Bytes>>,
        reference: String,
        runtime: &Handle,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        runtime.spawn(async move {
            loop {
                let piece = content.next().await.transpose();
                let goes_on = matches!(piece, Ok(Some(_)));
                // Fails where the reader was dropped: nobody wants the rest.
                if sender.send(piece).await.is_err() || !goes_on {
                    break;
                }
            }
        });
        Self {
            pieces,
            reference,
            current: Bytes::new(),
            ended: false,
        }
    }
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.ended {
            return Ok(0);
        }
        if self.current.is_empty() {
            let piece = self.pieces.blocking_recv().unwrap_or_else(|| {
                // The end is told, so this is none: the task went with its runtime, or failed before.
                let failure = Failure::invalid("the blob is broken: it failed before");
                Err(Error::pull_blob(&self.reference, failure))
            });
            let Some(piece) = piece.map_err(io::Error::other)? else {
                self.ended = true;
                return Ok(0);
            };
            self.current = piece;
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Error {
    fn pull_blob(reference: &str, source: Failure) -> Self {
        Self::PullBlob {
            reference: reference.to_owned(),
            source,
        }
    }
}
