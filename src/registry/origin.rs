//! Where a request goes, and where a redirect may lead it.

use http::{Method, header};
use url::Url;

use super::failure::Failure;
use super::transport::Response;

/// What a URL must be before anything is dialled.
pub(super) fn check_url(url: &Url) -> Result<(), Failure> {
    let reason = if !matches!(url.scheme(), "http" | "https") {
        "only http and https are spoken"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it carries a user name"
    } else if url.host_str().is_none_or(str::is_empty) {
        "it names no host"
    } else {
        return Ok(());
    };
    Err(Failure::refused(without_query(url), reason))
}

/// Scheme, host and port.
pub(super) fn same_origin(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme()
        && left.host_str() == right.host_str()
        && left.port_or_known_default() == right.port_or_known_default()
}

/// Host, and the port where it is not the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A URL for messages: the query of a signed URL is as good as a password, and so is userinfo.
pub(super) fn without_query(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

/// Where `response` sends us, if it does and the policy lets us go.
pub(super) fn redirect_target(
    method: &Method,
    from: &Url,
    response: &Response,
) -> Result<Option<Url>, Failure> {
    let redirects = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects || !method.is_safe() {
        return Ok(None);
    }
    let location = response.headers.get(header::LOCATION);
    let target = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok())
        .ok_or_else(|| {
            let problem = format!(
                "redirect from {:?} without a usable Location",
                authority(from)
            );
            Failure::invalid(problem)
        })?;
    check_url(&target)?;
    if from.scheme() == "https" && target.scheme() != "https" {
        return Err(Failure::refused(
            without_query(&target),
            format!("{:?} redirects from TLS to plain HTTP", authority(from)),
        ));
    }
    Ok(Some(target))
}
