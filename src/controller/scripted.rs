//! An API server for tests: each request waits for the answer that the test gives it.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tower::service_fn;

/// What a client has asked for.
pub(super) struct Asked {
    /// Path and query.
    pub(super) uri: String,
    answer: oneshot::Sender<Response<Body>>,
}

/// The requests of a client, in their order.
pub(super) struct Requests(mpsc::UnboundedReceiver<Asked>);

/// A client, and the requests that it makes.
pub(super) fn server() -> (Client, Requests) {
    let (sender, requests) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            uri: request.uri().to_string(),
            answer,
        };
        // Once the test is over nobody answers any more.
        let _ = sender.send(asked);
        async move {
            let answer = answered.await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|_| whole(503, "")))
        }
    });
    (Client::new(service, "default"), Requests(requests))
}

fn whole(status: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

impl Requests {
    /// Waits for the next request.
    pub(super) async fn next(&mut self) -> Asked {
        self.0.recv().await.unwrap()
    }
}

impl Asked {
    pub(super) fn is_watch(&self) -> bool {
        self.uri.contains("watch=true")
    }

    /// Answers with JSON.
    pub(super) fn answer(self, status: u16, body: &Value) {
        let _ = self.answer.send(whole(status, body.to_string()));
    }

    /// Answers a list.
    pub(super) fn list(self, version: &str, items: &[Value]) {
        assert!(!self.is_watch(), "{}", self.uri);
        self.answer(
            200,
            &json!({"metadata": {"resourceVersion": version}, "items": items}),
        );
    }

    /// Answers a watch, which lasts until the sender is dropped.
    pub(super) fn watch(self) -> Events {
        assert!(self.is_watch(), "{}", self.uri);
        let (events, lines) = mpsc::unbounded_channel::<String>();
        let lines = stream::unfold(lines, |mut lines| async {
            let line = lines.recv().await?;
            Some((Ok::<_, Infallible>(Bytes::from(line)), lines))
        });
        let _ = self.answer.send(Response::new(Body::from_stream(lines)));
        Events(events)
    }
}

/// A watch that goes on.
pub(super) struct Events(mpsc::UnboundedSender<String>);

impl Events {
    /// Sends an event.
    pub(super) fn send(&self, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.0.send(format!("{event}\n")).unwrap();
    }
}
