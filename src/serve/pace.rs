//! A stream that gives up on a client which does not take what it asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Counts only the time that the client makes the server wait: in each `window` of it, `quota`
/// bytes have to go out. Time in which the server itself has nothing to send is free, so hashing
/// a large blob before its first byte goes out is nobody's fault.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    window: Duration,
    quota: u64,
    /// Bytes that went out in this window.
    sent: u64,
    /// Time waited in this window, without the wait that goes on now.
    waited: Duration,
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, window: Duration, quota: u64) -> Self {
        Self {
            stream,
            window,
            quota,
            sent: 0,
            waited: Duration::ZERO,
            wait: None,
        }
    }

    fn progressed(&mut self, bytes: usize) {
        if let Some(wait) = self.wait.take() {
            self.waited += wait.since.elapsed();
        }
        self.sent += bytes as u64;
        if self.sent >= self.quota {
            self.sent = 0;
            self.waited = Duration::ZERO;
        }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let left = self.window.saturating_sub(self.waited);
        let wait = self.wait.get_or_insert_with(|| {
            let since = Instant::now();
            let end = Box::pin(sleep_until(since + left));
            Wait { since, end }
        });
        ready!(wait.end.as_mut().poll(context));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes its answer too slowly",
        ))
    }

    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Ok(done)) => {
                self.progressed(bytes(&done));
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(source)) => Poll::Ready(Err(source)),
            Poll::Pending => self.poll_patience(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, piece);
        this.judge(context, result, |written| *written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.judge(context, result, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(context);
        this.judge(context, result, |()| 0)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.judge(context, result, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::sleep;

    use super::*;

    const WINDOW: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn b85_client_that_reads_nothing_is_given_up() {
        let (server, _client) = duplex(8);
        let mut paced = Paced::new(server, WINDOW, 100);
        let failure = paced.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn b85_client_that_reads_a_byte_at_a_time_is_given_up() {
        let (server, mut client) = duplex(8);
        let mut paced = Paced::new(server, WINDOW, 100);
        let reader = tokio::spawn(async move {
            while client.read_u8().await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let failure = paced.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
        drop(paced);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn pause_of_the_server_is_not_the_clients() {
        let (server, mut client) = duplex(8);
        let mut paced = Paced::new(server, WINDOW, 100);
        paced.write_all(&[1; 4]).await.unwrap();
        sleep(WINDOW * 3).await;
        let reader = tokio::spawn(async move {
            let mut content = Vec::new();
            client.read_to_end(&mut content).await.map(|_| content)
        });
        paced.write_all(&[1; 1000]).await.unwrap();
        paced.shutdown().await.unwrap();
        drop(paced);
        assert_eq!(reader.await.unwrap().unwrap().len(), 1004);
    }
}
