//! The answer to an HTTP request (`wget`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::{Asker, Error, Fetched, Result, UNKNOWN_MEDIA_TYPE};
use crate::oci::Digest;
use crate::ocm::Wget;
use crate::registry::{Download, Purpose};
use crate::repository::Blob;

/// How many header fields a request may have beside those of this program.
const MOST_HEADERS: usize = 64;

/// What says where a request goes, how long it is and how it is packed is this program's to say.
const OWN_HEADERS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A request whose answer is the content.
#[derive(Clone)]
pub struct WebRequest {
    url: Url,
    media_type: Option<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    redirects: bool,
}

impl WebRequest {
    /// The request that an access describes.
    pub fn of(wget: &Wget) -> Result<Self> {
        let method = match wget.verb.as_deref().unwrap_or_default() {
            "" | "GET" => Method::GET,
            "POST" => Method::POST,
            verb => {
                let verb = verb.to_owned();
                return Err(Error::Verb { verb });
            }
        };
        let body = match wget.body.as_deref().unwrap_or_default() {
            "" => Bytes::new(),
            _ if method == Method::GET => {
                let problem = "a GET has none";
                return Err(Error::Body { problem });
            }
            text => STANDARD
                .decode(text)
                .map_err(|_| Error::Body {
                    problem: "expected base64",
                })?
                .into(),
        };
        Ok(Self {
            url: web_url("URL", &wget.url)?,
            media_type: wget.media_type.clone().filter(|text| !text.is_empty()),
            method,
            headers: headers(wget)?,
            body,
            redirects: !wget.no_redirect,
        })
    }

    /// What the access says that the answer is.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    pub(super) async fn fetch(&self, asker: &Asker<'_>, expected: &[Digest]) -> Result<Fetched> {
        let credential = asker.credentials.find_for_url(Purpose::Web, &self.url);
        let mut download = Download::get(self.url.clone())
            .found_in(asker.home)
            .sending(self.method.clone(), self.body.clone())
            .with_headers(self.headers.clone())
            .by(credential);
        if !self.redirects {
            download = download.without_redirects();
        }
        if self.media_type.as_deref() == Some("text/html") {
            download = download.accepting_pages();
        }
        let opened = asker.transport.download(download, expected).await;
        let stream = opened.map_err(|source| Error::Fetch { source })?;
        let served = stream.media_type().map(str::to_owned);
        let media_type = self.media_type.clone().or(served);
        Ok(Fetched {
            media_type: media_type.unwrap_or_else(|| UNKNOWN_MEDIA_TYPE.to_owned()),
            content: Blob::from(stream),
        })
    }
}

/// The header fields of an access.
fn headers(wget: &Wget) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut count = 0;
    for (name, values) in &wget.header {
        let wrong = |problem| Error::Header {
            name: name.chars().take(100).collect(),
            problem,
        };
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| wrong("it is no name of a header field"))?;
        if OWN_HEADERS.contains(&parsed.as_str()) {
            return Err(wrong("a component has no say in it"));
        }
        for value in values {
            count += 1;
            if count > MOST_HEADERS {
                return Err(wrong("there are more than 64 of them"));
            }
            let value = HeaderValue::from_str(value)
                .map_err(|_| wrong("its value has characters that no header field may have"))?;
            headers.append(parsed.clone(), value);
        }
    }
    Ok(headers)
}

/// A URL of the field `field` that a web server can be asked by.
pub(super) fn web_url(field: &'static str, text: &str) -> Result<Url> {
    let wrong = |problem: String| Error::Url {
        field,
        // What stands before an `@` or behind a `?` may be a password.
        url: text
            .rsplit_once('@')
            .map_or(text, |(_, behind)| behind)
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .chars()
            .take(300)
            .collect(),
        problem,
    };
    let url = Url::parse(text).map_err(|source| wrong(source.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https are spoken".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it holds a user or password; put credentials into a Secret".to_owned(),
        ));
    }
    Ok(url)
}

/// A URL without what may be a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

impl fmt::Display for WebRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(&self.url))
    }
}

impl fmt::Debug for WebRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WebRequest({} {self})", self.method)
    }
}
