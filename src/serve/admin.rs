//! What the platform asks: is the process alive, is it ready, how is it doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{StatusCode, header};

/// Named checks that all have to pass before the process is ready; clones share them.
///
/// A check says what is wrong in words, since `kubectl describe` shows the answer of a failed
/// probe.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// Not ready until each of `checks` has passed.
    pub fn awaiting(checks: impl IntoIterator<Item = &'static str>) -> Self {
        let readiness = Self::default();
        for check in checks {
            readiness.fail(check, "not yet started");
        }
        readiness
    }

    /// Marks a check as passed.
    pub fn pass(&self, check: &'static str) {
        self.checks().insert(check, None);
    }

    /// Marks a check as failed, with what is wrong.
    pub fn fail(&self, check: &'static str, problem: impl Into<String>) {
        self.checks().insert(check, Some(problem.into()));
    }

    /// Marks a check as failed where there is a problem, else as passed.
    pub fn judge(&self, check: &'static str, problem: Option<&str>) {
        match problem {
            None => self.pass(check),
            Some(problem) => self.fail(check, problem),
        }
    }

    /// What is wrong, one line a failed check; `None` where everything passes.
    pub fn problems(&self) -> Option<String> {
        let checks = self.checks();
        let lines: Vec<String> = checks
            .iter()
            .filter_map(|(check, problem)| Some(format!("{check}: {}\n", problem.as_ref()?)))
            .collect();
        (!lines.is_empty()).then(|| lines.concat())
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/healthz`, which answers while the process can, `/livez`, which fails with what `problem` says,
/// and `/readyz`.
pub fn health_router(
    readiness: Readiness,
    problem: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
) -> Router {
    let live = async move || match problem() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.problems() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problems) => (StatusCode::SERVICE_UNAVAILABLE, problems),
    }
}

/// `/metrics`, with what `render` writes in the `OpenMetrics` text format.
pub fn metrics_router(render: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let answer = async move || ([(header::CONTENT_TYPE, media_type)], render());
    Router::new().route("/metrics", get(answer))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: Router, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn process_is_ready_when_every_check_has_passed() {
        let readiness = Readiness::awaiting(["store", "lease"]);
        let router = health_router(readiness.clone(), || None);
        readiness.pass("lease");
        readiness.fail("store", "read-only file system");
        assert_eq!(
            ask(router.clone(), "GET", "/readyz").await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "store: read-only file system\n".to_owned()
            )
        );
        let alive = ask(router.clone(), "GET", "/livez").await;
        assert_eq!(alive, (StatusCode::OK, "ok\n".to_owned()));
        readiness.pass("store");
        assert_eq!(ask(router, "GET", "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn b90_other_verbs_and_paths_are_refused() {
        let router =
            health_router(Readiness::default(), || None).merge(metrics_router(|| "up 1\n".into()));
        assert_eq!(
            ask(router.clone(), "GET", "/metrics").await,
            (StatusCode::OK, "up 1\n".to_owned())
        );
        for (method, path, status) in [
            ("POST", "/metrics", StatusCode::METHOD_NOT_ALLOWED),
            ("DELETE", "/readyz", StatusCode::METHOD_NOT_ALLOWED),
            ("GET", "/debug/pprof", StatusCode::NOT_FOUND),
            ("GET", "/metrics/../healthz", StatusCode::NOT_FOUND),
        ] {
            let (found, _) = ask(router.clone(), method, path).await;
            assert_eq!(found, status, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn f18_liveness_fails_with_the_problem() {
        let router = health_router(Readiness::default(), || Some("nothing heard".to_owned()));
        let (status, body) = ask(router, "GET", "/livez").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "nothing heard\n");
    }
}
