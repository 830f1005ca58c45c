//! What every write to the API server goes through: none is sent by who may not act.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request};
use tower::{BoxError, Layer, Service};

use super::Claim;

/// A write was not sent, since another process may be the leader by now.
#[derive(Debug, thiserror::Error)]
#[error("nothing is written any more: this process is not the leader at this moment")]
pub struct Expired;

/// Lets writes pass as long as a claim holds, and reads always.
#[derive(Debug, Clone)]
pub struct Gate {
    claim: Claim,
}

impl Gate {
    /// A gate that is open as long as `claim` holds.
    pub fn new(claim: Claim) -> Self {
        Self { claim }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            claim: self.claim.clone(),
            inner,
        }
    }
}

/// A client behind a [`Gate`].
#[derive(Debug, Clone)]
pub struct Gated<S> {
    claim: Claim,
    inner: S,
}

impl<S, B> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let claim = self.claim.clone();
        let mut answer = Box::pin(self.inner.call(request));
        Box::pin(std::future::poll_fn(move |context| {
            // Asked before each step, not only before the first: the process may have been paused
            // while it was waiting for a connection.
            if !is_read && !claim.holds() {
                return Poll::Ready(Err(Expired.into()));
            }
            answer.as_mut().poll(context).map_err(Into::into)
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;
    use crate::controller::lease::claim;

    fn request(method: &Method) -> Request<()> {
        Request::builder().method(method).body(()).unwrap()
    }

    #[tokio::test]
    async fn f39_writes_pass_only_as_long_as_the_claim_holds() {
        let sent = Arc::new(AtomicUsize::new(0));
        let (claimant, claim) = claim::pair();
        let sent_by = async |method: Method| {
            let sent = Arc::clone(&sent);
            let inner = service_fn(move |_: Request<()>| {
                let sent = Arc::clone(&sent);
                async move {
                    sent.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Infallible>(())
                }
            });
            let answer = Gate::new(claim.clone()).layer(inner).call(request(&method));
            answer.await.is_ok()
        };
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        for method in writes.clone() {
            assert!(!sent_by(method).await);
        }
        assert_eq!(sent.load(Ordering::SeqCst), 0);
        assert!(sent_by(Method::GET).await, "reads keep the caches warm");
        claimant.extend(Instant::now() + Duration::from_hours(1));
        for method in writes.clone() {
            assert!(sent_by(method).await);
        }
        claimant.end();
        for method in writes {
            assert!(!sent_by(method).await);
        }
        assert_eq!(sent.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn f39_write_that_waits_to_be_sent_ends_with_the_claim() {
        let connected = Arc::new(Notify::new());
        let (claimant, claim) = claim::pair();
        claimant.extend(Instant::now() + Duration::from_hours(1));
        let waits = Arc::clone(&connected);
        let inner = service_fn(move |_: Request<()>| {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                Ok::<_, Infallible>("sent")
            }
        });
        let mut write = Gate::new(claim).layer(inner).call(request(&Method::PATCH));
        assert!(futures::poll!(write.as_mut()).is_pending());
        claimant.end();
        connected.notify_one();
        let error = write.await.unwrap_err();
        assert!(error.is::<Expired>());
    }
}
