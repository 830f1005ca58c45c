//! One way out for all HTTP: trust, time-outs, retries, gates and redirects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::Result;
use super::answer::{connection_failure, retry_after};
use super::blob::{BlobStream, Source};
use super::body::{Body, Meter};
use super::connector::{DialRules, Dialer};
use super::counters::{Counters, RequestKind};
use super::download::Download;
use super::endpoint::Scheme;
use super::failure::{Failure, is_temporary};
use super::gate::{Gate, Gates};
use super::origin::{authority, check_url, redirect_target, same_origin, without_query};
use super::policy::{AddressPolicy, Origin};
use super::proxy::Proxy;
use super::settings::Settings;
use super::tls::{self, ExtraRoots};
use super::tunnel::hint;
use crate::oci::Digest;

type HttpClient = legacy::Client<HttpsConnector<Dialer>, Full<Bytes>>;

/// Past this many different trusts, the connections of all of them are given up.
const KEPT_CLIENTS: usize = 64;

/// The largest head of an answer, and so the read buffer of a connection.
const LARGEST_HEAD: usize = 64 << 10;

/// The one way out: cheap to clone, shared by everything that fetches.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    roots: RootCertStore,
    rules: Arc<DialRules>,
    clients: Mutex<HashMap<(Option<Digest>, Origin), HttpClient>>,
    gates: Gates,
    /// Uploads at a time, each of which holds a piece in memory.
    uploads: Semaphore,
    counters: Arc<Counters>,
    user_agent: HeaderValue,
}

/// One request, before redirects and retries.
pub(super) struct Request<'a> {
    pub(super) kind: RequestKind,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Sent to the host of `url` and to no other, as `authorization` is.
    pub(super) own_headers: HeaderMap,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Whether sending it twice does no harm, although its method changes something.
    pub(super) repeatable: bool,
    /// Whether redirects are followed; else they are errors.
    pub(super) redirects: bool,
    /// How much longer than usual the answer may take: the body has to get there first.
    pub(super) patience: Duration,
    pub(super) roots: Option<&'a ExtraRoots>,
    /// The URL whose host the user named: every other host is a foreign one.
    pub(super) home: Option<Url>,
}

/// An answer; its status may be anything.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) body: Body,
}

impl Transport {
    /// Sets up trust, limits and rules.
    ///
    /// # Errors
    ///
    /// If the extra certificates of the settings cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let roots = tls::base_roots(settings.extra_roots.as_deref())?;
        let rules = Arc::new(DialRules {
            overrides: settings.overrides.clone(),
            policy: AddressPolicy {
                allow_loopback: settings.allow_loopback,
                denied: settings.denied_addresses.clone(),
            },
            trusted_hosts: settings.trusted_hosts.clone(),
            timeout: settings.timeouts.connect,
            proxies: settings.proxies.clone(),
            proxy_tls: Arc::new(tls::config(&roots, None)),
        });
        let named = settings.user_agent.as_deref().map(HeaderValue::from_str);
        let user_agent = named.and_then(std::result::Result::ok).unwrap_or_else(|| {
            HeaderValue::from_static(concat!("ocm-controller/", env!("CARGO_PKG_VERSION")))
        });
        let uploads = settings.limits.uploads;
        let inner = Inner {
            settings,
            roots,
            rules,
            clients: Mutex::default(),
            gates: Gates::default(),
            uploads: Semaphore::new(uploads),
            counters: Arc::default(),
            user_agent,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What went over the wire so far.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Streams what `download` asks for, and checks it against each of `expected` as it flows.
    /// Without any it is what came: a connection that breaks then is not taken up again.
    pub async fn download(&self, download: Download, expected: &[Digest]) -> Result<BlobStream> {
        let source = Source::Url {
            transport: self.clone(),
            download: Box::new(download),
        };
        BlobStream::open(source, expected, None).await
    }

    /// A place among the uploads that hold memory at a time.
    pub(super) async fn upload_place(&self) -> SemaphorePermit<'_> {
        let place = self.inner.uploads.acquire().await;
        place.expect("the semaphore of uploads is never closed")
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Sends `request`, follows redirects within the policy, and retries what may be retried.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, Failure> {
        check_url(&request.url)?;
        let mut url = request.url.clone();
        for _ in 0..=self.settings().limits.redirects {
            let response = self.send_with_retries(request, &url).await?;
            match redirect_target(&request.method, &url, &response)? {
                None => return Ok(response),
                Some(next) if !request.redirects => {
                    let reason = format!(
                        "{:?} redirects to it, and this access wants no redirects",
                        authority(&url)
                    );
                    return Err(Failure::refused(without_query(&next), reason));
                }
                Some(next) => url = next,
            }
        }
        let reason = format!("more than {} redirects", self.settings().limits.redirects);
        Err(Failure::refused(without_query(&request.url), reason))
    }

    async fn send_with_retries(
        &self,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<Response, Failure> {
        let host = authority(url);
        let gate = self.inner.gates.of(&host, &self.settings().limits);
        let idempotent = request.method.is_safe() || request.repeatable;
        let mut tried = 1;
        loop {
            let outcome = self.send_once(request, url, &host, &gate).await;
            let failed = match &outcome {
                Ok(response) => is_temporary(response.status),
                Err(failure) => failure.class() == super::Class::Transient,
            };
            if !matches!(outcome, Err(Failure::Throttled { .. })) {
                self.inner.counters.request(&host, request.kind, failed);
            }
            if let Ok(response) = &outcome {
                self.heed_retry_after(response, &gate, request.kind, tried)?;
            }
            let stays = matches!(
                outcome,
                Err(Failure::Throttled { .. } | Failure::TimedOut { .. })
            );
            if !failed || stays || !idempotent || tried >= self.settings().limits.tries {
                return outcome;
            }
            drop(outcome);
            tokio::time::sleep(self.backoff(tried)).await;
            tried += 1;
        }
    }

    /// Closes the host's gate for as long as it asks for. A long wait is an error at once.
    fn heed_retry_after(
        &self,
        response: &Response,
        gate: &Gate,
        kind: RequestKind,
        tried: u32,
    ) -> Result<(), Failure> {
        let status = response.status;
        let timeouts = &self.settings().timeouts;
        let throttled = status == StatusCode::TOO_MANY_REQUESTS;
        if !throttled && status != StatusCode::SERVICE_UNAVAILABLE {
            return Ok(());
        }
        let asked = retry_after(&response.headers, SystemTime::now());
        let wait = match asked {
            Some(wait) => wait.min(timeouts.longest_retry_after),
            None if throttled => self.backoff(tried),
            None => return Ok(()),
        };
        let host = &response.body.host;
        self.inner.counters.throttled(host, kind, wait);
        gate.close_for(wait);
        if wait > timeouts.longest_pause {
            let host = host.clone();
            return Err(Failure::Throttled { host, wait });
        }
        Ok(())
    }

    /// Doubled for each try, between half and the whole of it, so that many do not come at once.
    pub(super) fn backoff(&self, tried: u32) -> Duration {
        let whole = self.settings().timeouts.backoff * 2_u32.saturating_pow(tried.min(8) - 1);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        host: &str,
        gate: &Gate,
    ) -> Result<Response, Failure> {
        let timeouts = &self.settings().timeouts;
        let place = gate.enter(host, timeouts).await?;
        let home = request.home.as_ref();
        let origin = if home.is_some_and(|home| same_origin(url, home)) {
            Origin::Named
        } else {
            Origin::Foreign
        };
        let client = self.client(request.roots, origin);
        let sending = client.request(self.build(request, url)?);
        let after = timeouts.head + request.patience;
        let length = request.body.len() as u64;
        self.inner.counters.sent(host, request.kind, length);
        let response = match tokio::time::timeout(after, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(connection_failure(host, &error)),
            Err(_) => {
                return Err(Failure::TimedOut {
                    host: host.to_owned(),
                    what: "answer",
                    after,
                });
            }
        };
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = self.forwarding_proxy(url)
        {
            let reason = format!(
                "the proxy {proxy} answered {}{}",
                response.status(),
                hint(response.status())
            );
            return Err(Failure::refused(host, reason));
        }
        let (parts, incoming) = response.into_parts();
        let minimum = self.settings().limits.minimum_rate;
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            url: url.clone(),
            body: Body {
                incoming,
                host: host.to_owned(),
                kind: request.kind,
                counters: Arc::clone(&self.inner.counters),
                read_timeout: timeouts.read,
                meter: Meter::new(timeouts.rate_window, minimum),
                _place: place,
            },
        })
    }

    fn build(
        &self,
        request: &Request<'_>,
        url: &Url,
    ) -> Result<http::Request<Full<Bytes>>, Failure> {
        let mut sent = http::Request::new(Full::new(request.body.clone()));
        *sent.method_mut() = request.method.clone();
        *sent.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| Failure::refused(without_query(url), "it cannot be sent as a URL"))?;
        *sent.headers_mut() = request.headers.clone();
        let headers = sent.headers_mut();
        let is_own = same_origin(url, &request.url);
        if is_own {
            headers.extend(request.own_headers.clone());
        }
        headers.insert(header::USER_AGENT, self.inner.user_agent.clone());
        // Digests are over the bytes as stored, so nothing may be compressed on the way.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        if let Some(authorization) = &request.authorization
            && is_own
        {
            let mut authorization = authorization.clone();
            authorization.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let proxy = self.forwarding_proxy(url);
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            headers.insert(header::PROXY_AUTHORIZATION, authorization);
        }
        Ok(sent)
    }

    /// The proxy that reads and forwards what is asked of `url`: only plain HTTP can be read.
    fn forwarding_proxy(&self, url: &Url) -> Option<&Proxy> {
        let host = url.host_str().filter(|_| url.scheme() == "http")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default()?;
        self.inner.rules.proxy(Scheme::Http, host, port)
    }

    /// The connections that trust `roots` and were opened for `origin`. They are kept apart:
    /// a connection that one request may use must not serve another that may not open it.
    fn client(&self, roots: Option<&ExtraRoots>, origin: Origin) -> HttpClient {
        let key = (roots.map(|roots| roots.digest().clone()), origin);
        let mut clients = self
            .inner
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return client.clone();
        }
        if clients.len() >= KEPT_CLIENTS {
            clients.clear();
        }
        let dialer = Dialer::new(Arc::clone(&self.inner.rules), origin);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(&self.inner.roots, roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(self.settings().limits.concurrency)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(LARGEST_HEAD)
            .build(connector);
        clients.insert(key, client.clone());
        client
    }
}
