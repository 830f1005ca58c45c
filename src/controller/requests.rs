//! How often the API server was asked, and what it answered.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// Counts the requests of a client.
#[derive(Debug, Clone)]
pub struct Counting(Metrics);

impl Counting {
    /// Counts in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            metrics: self.0.clone(),
            inner,
        }
    }
}

/// A client whose requests are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    metrics: Metrics,
    inner: S,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = verb_of(request.method(), request.uri());
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.asked(verb, code);
            answer
        })
    }
}

/// What a request wants, in the words of Kubernetes' rights as far as they are seen from here: a
/// `get` may be of one object or of a list.
fn verb_of(method: &Method, uri: &Uri) -> &'static str {
    let mut query = uri.query().unwrap_or_default().split('&');
    match *method {
        Method::GET if query.any(|part| part == "watch=true") => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_told_from_other_reads() {
        let verb = |method, uri: &'static str| verb_of(&method, &Uri::from_static(uri));
        assert_eq!(verb(Method::GET, "/api/v1/secrets?limit=500"), "get");
        assert_eq!(verb(Method::GET, "/api/v1/secrets?a=b&watch=true"), "watch");
        assert_eq!(verb(Method::PATCH, "/api/v1/secrets/x"), "patch");
    }
}
