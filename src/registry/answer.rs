//! Answers other than the one wanted, and none at all, as failures.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use hyper_util::client::legacy;

use super::body::with_causes;
use super::connector::DialError;
use super::failure::{self, Failure};
use super::transport::Response;

/// The wait that an answer asks for: seconds or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds mean for ever; the cap is the caller's.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Why no answer came.
pub(super) fn connection_failure(host: &str, error: &legacy::Error) -> Failure {
    let host = host.to_owned();
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(current) = cause {
        if let Some(dial) = current.downcast_ref::<DialError>() {
            return match dial {
                DialError::Refused { .. } => Failure::refused(host, dial.to_string()),
                DialError::Tunnel { source, .. } if !source.is_temporary() => {
                    Failure::refused(host, with_causes(dial))
                }
                _ => Failure::Connect {
                    host,
                    problem: with_causes(dial),
                },
            };
        }
        if let Some(problem) = current.downcast_ref::<rustls::Error>() {
            let problem = problem.to_string();
            return Failure::Tls { host, problem };
        }
        // What an `io::Error` wraps is not its `source`, and TLS errors come wrapped twice.
        let wrapped = current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|wrapped| wrapped as &(dyn StdError + 'static));
        cause = wrapped.or_else(|| current.source());
    }
    let problem = with_causes(error);
    if error.is_connect() {
        Failure::Connect { host, problem }
    } else {
        Failure::Interrupted { host, problem }
    }
}

/// The error for an answer of `status` that is not the wanted one, with the start of its body.
pub(super) async fn unwanted(response: Response) -> Failure {
    let status = response.status;
    let host = response.body.host.clone();
    let retry_after = retry_after(&response.headers, SystemTime::now());
    let detail = failure::detail(&response.body.excerpt().await);
    match status {
        StatusCode::NOT_FOUND => Failure::NotFound {
            status,
            host,
            detail,
        },
        StatusCode::FORBIDDEN => Failure::Forbidden {
            status,
            host,
            detail,
        },
        StatusCode::UNAUTHORIZED => Failure::Unauthorized {
            status,
            problem: format!("{host:?} refused the request{detail}"),
        },
        _ => Failure::Status {
            status,
            host,
            detail,
            retry_after,
        },
    }
}

#[cfg(test)]
mod unit_tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn f04_retry_after_is_seconds_or_a_date() {
        let now = SystemTime::now();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("99999999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
        assert_eq!(read("-5"), None);
        assert_eq!(read("soon"), None);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(100));
        let wait = read(&date).unwrap().as_secs();
        assert!((98..=100).contains(&wait), "{wait}");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }
}
