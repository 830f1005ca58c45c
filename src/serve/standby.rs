//! A registry that only the leader serves: who stands by may lack what the leader has.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};

/// When a client should ask again, in seconds.
const RETRY_AFTER: &str = "5";

/// `router` as long as `serves` says so, otherwise 503, so that nobody takes content that this
/// process has not made for content that does not exist.
pub fn while_serving(
    router: Router,
    serves: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let serves = serves();
        async move {
            if serves {
                next.run(request).await
            } else {
                unavailable()
            }
        }
    }))
}

fn unavailable() -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    let text = "another replica is the leader and serves this registry\n";
    (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn f41_who_stands_by_never_says_that_content_does_not_exist() {
        let leads = Arc::new(AtomicBool::new(false));
        let router = Router::new().route("/v2/", get(async || "here"));
        let serves = Arc::clone(&leads);
        let router = while_serving(router, move || serves.load(Ordering::SeqCst));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap()
        };
        for path in ["/v2/", "/v2/tenant/snapshot/manifests/latest"] {
            let answer = ask(path).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(answer.headers().contains_key(header::RETRY_AFTER));
        }
        leads.store(true, Ordering::SeqCst);
        assert_eq!(ask("/v2/").await.status(), StatusCode::OK);
    }
}
