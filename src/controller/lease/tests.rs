//! Elections among several candidates, on a Lease as the API server keeps it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The Lease as it is stored: replaced only by who has seen it as it is.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    version: u64,
    lease: Option<Value>,
}

impl Server {
    /// One where the Lease says `spec`.
    fn with(spec: &Value) -> Self {
        let server = Self::default();
        server.0.lock().unwrap().store(json!({"spec": spec}));
        server
    }

    fn delete(&self) {
        self.0.lock().unwrap().lease = None;
    }

    fn overwrite(&self, spec: &Value) {
        self.0.lock().unwrap().store(json!({"spec": spec}));
    }

    fn client(&self) -> Client {
        let stored = Arc::clone(&self.0);
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let stored = Arc::clone(&stored);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let sent = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = stored.lock().unwrap().answer(&parts.method, sent);
                let mut response = Response::new(Body::from(answer.to_string()));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "ns")
    }
}

impl Stored {
    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["name"] = json!("lease");
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn answer(&mut self, method: &Method, sent: Value) -> (StatusCode, Value) {
        let refused = |status: StatusCode, reason: &str| {
            let code = status.as_u16();
            let answer = json!({"kind": "Status", "status": "Failure", "code": code,
                                "reason": reason, "message": reason});
            (status, answer)
        };
        match (method, &self.lease) {
            (&Method::GET, Some(lease)) => (StatusCode::OK, lease.clone()),
            (&Method::POST, None) => (StatusCode::CREATED, self.store(sent)),
            (&Method::POST, Some(_)) => refused(StatusCode::CONFLICT, "AlreadyExists"),
            (&Method::PUT, Some(lease)) => {
                let seen = &sent["metadata"]["resourceVersion"];
                if *seen == lease["metadata"]["resourceVersion"] {
                    (StatusCode::OK, self.store(sent))
                } else {
                    refused(StatusCode::CONFLICT, "Conflict")
                }
            }
            _ => refused(StatusCode::NOT_FOUND, "NotFound"),
        }
    }
}

fn terms() -> Terms {
    Terms {
        namespace: "ns".to_owned(),
        name: "lease".to_owned(),
        // The API server keeps whole seconds.
        duration: Duration::from_secs(1),
        renew_deadline: Duration::from_millis(600),
        retry_period: Duration::from_millis(50),
    }
}

/// Candidates that run until this is dropped.
struct Election {
    claims: Vec<Claim>,
    stop: CancellationToken,
}

impl Drop for Election {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Election {
    fn begin(server: &Server, candidates: usize) -> Self {
        let stop = CancellationToken::new();
        let claims = (0..candidates).map(|number| {
            let identity = format!("candidate-{number}");
            let (candidate, claim) = Candidate::new(server.client(), terms(), identity);
            tokio::spawn(candidate.run(|_| (), stop.clone()));
            claim
        });
        Self {
            claims: claims.collect(),
            stop,
        }
    }

    /// Which of them act at this moment; never more than one.
    fn leader(&self) -> Option<usize> {
        // The first look tells of the latest moment: a claim that ends between two looks is not
        // counted beside the one that begins then.
        let holding: Vec<usize> = (0..self.claims.len())
            .filter(|at| self.claims[*at].holds())
            .collect();
        assert!(holding.len() < 2, "{holding:?} act at once");
        holding.first().copied()
    }

    /// Looks until one acts, and for a while after that.
    async fn decided(&self) -> usize {
        let begun = Instant::now();
        while self.leader().is_none() {
            assert!(begun.elapsed() < PATIENCE, "nobody acts");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for _ in 0..50 {
            self.leader();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.leader().unwrap_or_default()
    }
}

/// A hundred times, side by side: who is first, by whatever was left there.
#[tokio::test]
async fn f40_of_several_that_begin_at_once_one_acts_whatever_the_lease_says() {
    let dead = json!({"holderIdentity": "somebody-dead", "leaseDurationSeconds": 1,
                      "leaseTransitions": 3});
    let endless = json!({"holderIdentity": "candidate-1", "leaseDurationSeconds": i32::MAX});
    let nonsense = json!({"holderIdentity": "", "leaseDurationSeconds": -4,
                          "leaseTransitions": i32::MAX});
    let rounds = (0..100).map(|round| {
        let server = match round % 5 {
            0 => Server::default(),
            1 => Server::with(&dead),
            2 => Server::with(&endless),
            3 => Server::with(&nonsense),
            _ => Server::with(&Value::Null),
        };
        async move {
            Election::begin(&server, 2 + round % 2).decided().await;
        }
    });
    join_all(rounds).await;
}

/// The Lease is deleted, or somebody else is written into it, under its leader.
#[tokio::test]
async fn f40_lease_that_is_deleted_or_taken_away_never_has_two_act() {
    let stolen = json!({"holderIdentity": "somebody-dead", "leaseDurationSeconds": 1});
    let rounds = (0..30).map(|round| {
        let stolen = stolen.clone();
        async move {
            let server = Server::default();
            let election = Election::begin(&server, 2);
            election.decided().await;
            if round % 2 == 0 {
                server.delete();
            } else {
                server.overwrite(&stolen);
            }
            // Through the time in which the one before may still act, and the next one begins.
            for _ in 0..100 {
                election.leader();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            election.decided().await;
        }
    });
    join_all(rounds).await;
}

/// Whoever empties the Lease says that its holder has given it up: another one begins at once, and
/// the one before ends with its next try.
#[tokio::test]
async fn f40_lease_that_is_emptied_is_held_by_one_again() {
    let empty = json!({"holderIdentity": "", "leaseDurationSeconds": -1});
    let rounds = (0..10).map(|_| {
        let empty = empty.clone();
        async move {
            let server = Server::default();
            let election = Election::begin(&server, 2);
            election.decided().await;
            server.overwrite(&empty);
            tokio::time::sleep(terms().renew_deadline).await;
            election.decided().await;
        }
    });
    join_all(rounds).await;
}

/// Stopped between its look at the clock and the request, it has not watched the holder meanwhile.
#[tokio::test]
async fn f17_time_in_which_a_candidate_was_stopped_is_not_silence_of_the_holder() {
    let server = Server::with(&json!({"holderIdentity": "other", "leaseDurationSeconds": 1}));
    let (mut candidate, _claim) = Candidate::new(server.client(), terms(), "me".to_owned());
    let before_the_stop = Instant::now()
        .checked_sub(Duration::from_secs(10))
        .expect("the clock runs for longer");
    let turn = candidate.turn(before_the_stop).await;
    assert!(matches!(turn, Ok(Turn::Waiting)));
    let turn = candidate.turn(Instant::now()).await;
    assert!(matches!(turn, Ok(Turn::Waiting)));
}
