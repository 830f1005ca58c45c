//! Events in the form that Flux's notification-controller takes (`event.toolkit.fluxcd.io`), posted
//! to one address. At best: one that cannot be delivered is counted, and holds up nobody.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::ObjectReference;
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::throttle::Throttle;
use crate::metrics::{Metrics, Notified};

/// How many events may wait to be posted; the next one is dropped.
const WAITING: usize = 512;

/// Events a second on average, and how many at once.
const RATE: (f64, u32) = (10.0, 50);

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before the second try, the last.
const PAUSE: Duration = Duration::from_secs(1);

/// Where events are posted to: the URL of notification-controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsAddress(Uri);

impl FromStr for EventsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let has_user = uri
            .authority()
            .is_some_and(|found| found.as_str().contains('@'));
        if uri.scheme_str() != Some("http") || uri.host().is_none() || has_user {
            return Err(format!(
                "{text:?} is not the address of a notification-controller, such as \
                 http://notification-controller.flux-system.svc.cluster.local./"
            ));
        }
        Ok(Self(uri))
    }
}

/// An event as notification-controller reads it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification {
    pub(super) involved_object: ObjectReference,
    /// `info` or `error`.
    pub(super) severity: &'static str,
    pub(super) timestamp: String,
    pub(super) message: String,
    pub(super) reason: &'static str,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) reporting_controller: &'static str,
    pub(super) reporting_instance: String,
}

/// Hands events to the task that posts them.
#[derive(Debug, Clone)]
pub(super) struct Notifier {
    waiting: mpsc::Sender<Notification>,
    metrics: Metrics,
}

impl Notifier {
    /// Starts to post what it is given to `address`, until the last clone is gone.
    pub(super) fn start(address: EventsAddress, metrics: Metrics) -> Self {
        let (waiting, events) = mpsc::channel(WAITING);
        let counts = metrics.clone();
        tokio::spawn(async move {
            Poster::new(address).run(events, &counts).await;
        });
        Self { waiting, metrics }
    }

    /// Has `notification` posted, unless too many wait already.
    pub(super) fn send(&self, notification: Notification) {
        if self.waiting.try_send(notification).is_err() {
            self.metrics.notified(Notified::Dropped);
        }
    }
}

struct Poster {
    address: EventsAddress,
    client: Client<HttpConnector, Full<Bytes>>,
    throttle: Throttle,
}

impl Poster {
    fn new(address: EventsAddress) -> Self {
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            throttle: Throttle::new(RATE.0, RATE.1),
        }
    }

    async fn run(self, mut events: mpsc::Receiver<Notification>, metrics: &Metrics) {
        while let Some(event) = events.recv().await {
            sleep_until(self.throttle.due(Instant::now())).await;
            let result = self.post(&event).await;
            metrics.notified(result);
        }
    }

    async fn post(&self, event: &Notification) -> Notified {
        let body = Bytes::from(serde_json::to_vec(event).unwrap_or_default());
        for attempt in 0..2 {
            if attempt > 0 {
                sleep(PAUSE).await;
            }
            match self.attempt(body.clone()).await {
                Ok(status) if status.is_success() => return Notified::Sent,
                // It limits how often it is told the same, and a refusal stays one.
                Ok(status) if status.is_client_error() => {
                    debug!(%status, "an event was refused by --events-addr");
                    return Notified::Failed;
                }
                Ok(status) => debug!(%status, "an event was not taken by --events-addr"),
                Err(error) => debug!(error, "an event could not be posted to --events-addr"),
            }
        }
        Notified::Failed
    }

    async fn attempt(&self, body: Bytes) -> Result<StatusCode, String> {
        let request = Request::post(self.address.0.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        match timeout(PATIENCE, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.status()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;
    use crate::metrics::Sources;
    use crate::registry::{Settings, Transport};
    use crate::store::Store;

    fn notification(message: &str) -> Notification {
        Notification {
            involved_object: ObjectReference {
                kind: Some("ComponentVersion".to_owned()),
                name: Some("podinfo".to_owned()),
                ..ObjectReference::default()
            },
            severity: "info",
            timestamp: "2026-11-23T03:15:44Z".to_owned(),
            message: message.to_owned(),
            reason: "Succeeded",
            metadata: BTreeMap::new(),
            reporting_controller: "ocm-controller",
            reporting_instance: "pod".to_owned(),
        }
    }

    fn metrics() -> (tempfile::TempDir, Metrics) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let transport = Transport::new(Settings::default()).unwrap();
        let metrics = Metrics::new(Sources {
            transport,
            store,
            refusals: Arc::default(),
            undeleted: Arc::default(),
        });
        (folder, metrics)
    }

    /// A server that hands on what it is posted, and answers the first request with an error.
    async fn receiver() -> (EventsAddress, mpsc::UnboundedReceiver<Value>) {
        let (sender, received) = mpsc::unbounded_channel();
        let take = async |State(sender): State<mpsc::UnboundedSender<Value>>, body: Bytes| {
            let is_first = sender.strong_count() > 0 && body.len() > 10_000;
            sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
            if is_first {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::ACCEPTED
            }
        };
        let router = Router::new().route("/", post(take)).with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address.parse().unwrap(), received)
    }

    #[tokio::test]
    async fn events_arrive_in_the_form_of_flux_and_in_order() {
        let (_folder, metrics) = metrics();
        let (address, mut received) = receiver().await;
        let notifier = Notifier::start(address, metrics);
        notifier.send(notification("first"));
        notifier.send(notification("second"));
        let first = received.recv().await.unwrap();
        assert_eq!(first["involvedObject"]["kind"], "ComponentVersion");
        assert_eq!(first["severity"], "info");
        assert_eq!(first["message"], "first");
        assert_eq!(first["reason"], "Succeeded");
        assert_eq!(first["reportingController"], "ocm-controller");
        assert_eq!(first["timestamp"], "2026-11-23T03:15:44Z");
        assert_eq!(received.recv().await.unwrap()["message"], "second");
    }

    #[tokio::test]
    async fn refused_event_is_not_posted_again() {
        let (_folder, metrics) = metrics();
        let (address, mut received) = receiver().await;
        let notifier = Notifier::start(address, metrics.clone());
        notifier.send(notification(&"refused ".repeat(2_000)));
        notifier.send(notification("next"));
        received.recv().await.unwrap();
        assert_eq!(received.recv().await.unwrap()["message"], "next");
        let failed = r#"ocm_controller_notifications_total{result="failed"} 1"#;
        assert!(metrics.render().contains(failed));
    }

    #[tokio::test]
    async fn queue_is_bounded_and_nobody_waits_for_it() {
        let (_folder, metrics) = metrics();
        // Nothing is ever taken out of this queue.
        let (waiting, _kept) = mpsc::channel(WAITING);
        let notifier = Notifier {
            waiting,
            metrics: metrics.clone(),
        };
        for _ in 0..WAITING + 3 {
            notifier.send(notification("many"));
        }
        let dropped = r#"ocm_controller_notifications_total{result="dropped"} 3"#;
        assert!(metrics.render().contains(dropped), "{}", metrics.render());
    }

    #[test]
    fn address_that_is_none_is_refused() {
        for address in [
            "",
            "notification-controller",
            "https://host/",
            "http://",
            "http://u:p@host/",
        ] {
            assert!(address.parse::<EventsAddress>().is_err(), "{address}");
        }
        assert!(
            "http://notification-controller.flux-system.svc.cluster.local./"
                .parse::<EventsAddress>()
                .is_ok()
        );
    }
}
