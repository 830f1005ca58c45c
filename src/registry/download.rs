//! Content that is named by its URL: the one request for it.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::answer::unwanted;
use super::counters::RequestKind;
use super::credentials::Credential;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::origin::{authority, check_url};
use super::transport::{Request, Response, Transport};

/// A request for content at a URL.
#[derive(Clone)]
pub struct Download {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    credential: Credential,
    redirects: bool,
    pages: bool,
    home: Option<Url>,
}

impl Download {
    /// A GET of `url`, which the user or the cluster has named.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            home: Some(url.clone()),
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            credential: Credential::anonymous(),
            redirects: true,
            pages: false,
        }
    }

    /// The same for a URL that stands in content of `registry`, or of an archive where there is
    /// none. Nobody here has named its host, so it has no private address, unless it is that
    /// registry's or the settings name it.
    #[must_use]
    pub fn found_in(mut self, registry: Option<&Endpoint>) -> Self {
        self.home = registry.map(Endpoint::url);
        self
    }

    /// The same with another method, and with what is sent.
    #[must_use]
    pub fn sending(mut self, method: Method, body: Bytes) -> Self {
        self.method = method;
        self.body = body;
        self
    }

    /// The same with header fields, which only the host of the URL gets.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The same as somebody, and with the certificates to trust there. Only the host of the URL
    /// gets the password.
    #[must_use]
    pub fn by(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// The same, where being sent elsewhere is an error.
    #[must_use]
    pub fn without_redirects(mut self) -> Self {
        self.redirects = false;
        self
    }

    /// The same, where the content may be a web page; else one is an error.
    #[must_use]
    pub fn accepting_pages(mut self) -> Self {
        self.pages = true;
        self
    }

    /// Where to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn accepts_pages(&self) -> bool {
        self.pages
    }

    /// Whether asking again does no harm and gives the same.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method == Method::GET
    }

    /// Sends the request, with `headers` beside those that only the host of the URL gets.
    pub(super) async fn send(
        &self,
        transport: &Transport,
        headers: HeaderMap,
    ) -> Result<Response, Failure> {
        check_url(&self.url)?;
        let request = Request {
            kind: RequestKind::Artifact,
            method: self.method.clone(),
            url: self.url.clone(),
            headers,
            own_headers: self.headers.clone(),
            authorization: self.credential.authorization(),
            body: self.body.clone(),
            repeatable: false,
            redirects: self.redirects,
            patience: std::time::Duration::ZERO,
            roots: self.credential.roots(),
            home: self.home.clone(),
        };
        let response = transport.send(&request).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let (host, anonymous) = (authority(&self.url), self.credential.is_anonymous());
        match unwanted(response).await {
            Failure::Unauthorized { status, problem } if anonymous => Err(Failure::Unauthorized {
                status,
                problem: format!("no credential for host {host:?}; {problem}"),
            }),
            failure => Err(failure),
        }
    }
}
