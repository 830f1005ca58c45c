//! Who we are, to one registry: passwords, and tokens from its token server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::answer::unwanted;
use super::challenge::Challenge;
use super::connector::is_listed;
use super::counters::RequestKind;
use super::credentials::{Credential, Identity};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::origin::{authority, check_url, same_origin, without_query};
use super::transport::{Request, Transport};

/// Tokens of this many scopes are remembered for one registry and credential.
const KEPT_TOKENS: usize = 4_096;

/// A token lives this long where its server does not say (token authentication specification).
const DEFAULT_LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 60 * 60;

/// Not used in its last moments, which it may spend on the way.
const MARGIN: Duration = Duration::from_secs(10);

/// What one client knows of how to identify itself.
pub(super) struct Authenticator {
    endpoint: Endpoint,
    credential: Credential,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<HashMap<String, Slot>>,
}

/// Holds its lock during an exchange, so that many requests for one scope make one exchange.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    header: HeaderValue,
    expires: Instant,
}

impl Authenticator {
    pub(super) fn new(endpoint: Endpoint, credential: Credential) -> Self {
        Self {
            endpoint,
            credential,
            challenge: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What to send along unasked, because the registry asked for it before.
    pub(super) async fn header(
        &self,
        transport: &Transport,
        scope: &str,
    ) -> Result<Option<HeaderValue>, Failure> {
        let challenge = self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match challenge {
            None => Ok(None),
            Some(challenge) => self.answer(transport, &challenge, scope, None).await,
        }
    }

    /// What to send in answer to a 401 with `headers`; `refused` is what it was given for.
    /// `None` where there is nothing better to send.
    pub(super) async fn retry(
        &self,
        transport: &Transport,
        headers: &HeaderMap,
        scope: &str,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Some(challenge) = Challenge::from_headers(headers) else {
            return Ok(None);
        };
        *self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(challenge.clone());
        let header = self.answer(transport, &challenge, scope, refused).await?;
        Ok(header.filter(|header| Some(header) != refused))
    }

    async fn answer(
        &self,
        transport: &Transport,
        challenge: &Challenge,
        scope: &str,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Challenge::Bearer { realm, service } = challenge else {
            return Ok(self.credential.basic());
        };
        let slot = self.slot(scope);
        let mut token = slot.lock().await;
        if let Some(token) = &*token
            && token.expires > Instant::now()
            && refused != Some(&token.header)
        {
            return Ok(Some(token.header.clone()));
        }
        *token = None;
        let fresh = self
            .exchange(transport, realm, service.as_deref(), scope)
            .await?;
        let header = fresh.header.clone();
        *token = Some(fresh);
        Ok(Some(header))
    }

    fn slot(&self, scope: &str) -> Slot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= KEPT_TOKENS && !tokens.contains_key(scope) {
            tokens.clear();
        }
        Arc::clone(tokens.entry(scope.to_owned()).or_default())
    }

    async fn exchange(
        &self,
        transport: &Transport,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Token, Failure> {
        let home = self.endpoint.url();
        let url = self.realm_url(transport, realm, &home)?;
        let request = self.token_request(url, home, service, scope);
        let response = transport.send(&request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(Failure::Unauthorized {
                    status: response.status,
                    problem: format!(
                        "token server {:?} refused {}",
                        authority(&response.url),
                        self.credential.described(&self.endpoint),
                    ),
                });
            }
            _ => return Err(unwanted(response).await),
        }
        let settings = transport.settings();
        let limit = settings.limits.token;
        let deadline = settings.timeouts.small_body;
        let body = response
            .body
            .collect("token answer", limit, deadline)
            .await?;
        parse_token(&body)
    }

    fn token_request(
        &self,
        mut url: Url,
        home: Url,
        service: Option<&str>,
        scope: &str,
    ) -> Request<'_> {
        let mut headers = HeaderMap::new();
        let mut request_body = Bytes::new();
        let mut method = Method::GET;
        if let Identity::Token(token) = self.credential.identity() {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("client_id", "ocm-controller");
            form.append_pair("service", service.unwrap_or(self.endpoint.host()));
            form.append_pair("scope", scope);
            form.append_pair("refresh_token", token.reveal());
            request_body = form.finish().into();
            method = Method::POST;
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
        } else {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            // The token specification has one parameter for each scope of a GET.
            for scope in scope.split(' ') {
                query.append_pair("scope", scope);
            }
        }
        Request {
            kind: RequestKind::Token,
            method,
            url,
            headers,
            own_headers: HeaderMap::new(),
            authorization: self.credential.basic(),
            body: request_body,
            // Asking again for a token changes nothing at the server, also by POST.
            repeatable: true,
            redirects: true,
            patience: Duration::ZERO,
            roots: self.credential.roots(),
            home: Some(home),
        }
    }

    /// Where the registry sends us for a token, if that is a place for our credential.
    ///
    /// The registry's own origin always is. Another host has to speak TLS (unless the registry
    /// itself does not), and gets a credential only within the registry's own domain or where
    /// the settings trust it; its address is checked when it is dialled, as a foreign one.
    fn realm_url(&self, transport: &Transport, realm: &str, home: &Url) -> Result<Url, Failure> {
        let shown: String = realm
            .chars()
            .take(200)
            .flat_map(char::escape_debug)
            .collect();
        let refuse = |reason: &str| Failure::refused(shown.clone(), reason);
        if !realm.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("the token realm is not plain ASCII"));
        }
        let url = Url::parse(realm).map_err(|_| refuse("the token realm is not a URL"))?;
        if url.cannot_be_a_base() || check_url(&url).is_err() {
            return Err(refuse("the token realm is no plain http or https URL"));
        }
        if same_origin(&url, home) {
            return Ok(url);
        }
        if url.scheme() == "http" && home.scheme() != "http" {
            return Err(refuse("the token realm is plain HTTP"));
        }
        let (own, other) = (self.endpoint.host(), url.host_str().unwrap_or_default());
        let known =
            same_domain(own, other) || is_listed(&transport.settings().trusted_hosts, other);
        if !self.credential.is_anonymous() && !known {
            return Err(Failure::refused(
                without_query(&url),
                format!(
                    "the token realm is outside the domain of {own:?}, whose credential it \
                         would get; name it as a trusted host if it is the right one"
                ),
            ));
        }
        Ok(url)
    }
}

/// Whether `other` is in the domain that `own` is in: `auth.docker.io` for `docker.io`,
/// `gitlab.com` for `registry.gitlab.com`. Addresses are in no domain.
fn same_domain(own: &str, other: &str) -> bool {
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address(own) || is_address(other) {
        return false;
    }
    let domain = match own.split_once('.') {
        Some((_, parent)) if parent.contains('.') => parent,
        _ => own,
    };
    other == domain
        || other
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

fn parse_token(body: &[u8]) -> Result<Token, Failure> {
    let wrong = |problem: &str| Failure::invalid(format!("token answer {problem}"));
    let value: Value = serde_json::from_slice(body).map_err(|_| wrong("is not JSON"))?;
    let text = ["token", "access_token"]
        .iter()
        .filter_map(|key| value.get(key)?.as_str())
        .find(|text| !text.is_empty())
        .ok_or_else(|| wrong("holds no token"))?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(
            "holds a token with characters that no header may have",
        ));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| wrong("holds a token that is no header value"))?;
    header.set_sensitive(true);
    let life = value.get("expires_in").and_then(Value::as_u64);
    let life = life
        .unwrap_or(DEFAULT_LIFE)
        .clamp(DEFAULT_LIFE, LONGEST_LIFE);
    Ok(Token {
        header,
        expires: Instant::now() + Duration::from_secs(life) - MARGIN,
    })
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn f215e513d_realm_is_in_the_registrys_domain_or_not() {
        for (own, other) in [
            ("docker.io", "auth.docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("registry.gitlab.com", "gitlab.com"),
            ("registry.corp.example", "auth.corp.example"),
        ] {
            assert!(same_domain(own, other), "{own} {other}");
        }
        for (own, other) in [
            ("ghcr.io", "evil.io"),
            ("ghcr.io", "notghcr.io"),
            ("ghcr.io", "io"),
            ("ghcr.io", "ghcr.io.evil.org"),
            ("registry.gitlab.com", "com"),
            ("10.0.0.1", "10.1.0.1"),
            ("1.0.0.1", "0.0.1"),
        ] {
            assert!(!same_domain(own, other), "{own} {other}");
        }
    }

    #[test]
    fn b41_token_answers_are_read_without_a_panic() {
        let refused = [
            r#"{"token":"a\nb"}"#,
            r#"{"token":"a\r\nX-Evil: 1"}"#,
            r#"{"token":"ä"}"#,
            r#"{"token":""}"#,
            r#"{"token":7}"#,
            "{}",
            "[]",
            "null",
            "",
            "<html>login</html>",
        ];
        for text in refused {
            assert!(parse_token(text.as_bytes()).is_err(), "{text}");
        }
        let both = parse_token(br#"{"access_token":"second","token":"first"}"#).unwrap();
        assert_eq!(both.header, "Bearer first");
        assert!(both.header.is_sensitive());
        for life in [
            "0",
            "-1",
            "1000000000000",
            "1e300",
            "\"x\"",
            "null",
            "18446744073709551616",
        ] {
            let text = format!(r#"{{"access_token":"t","expires_in":{life}}}"#);
            let token = parse_token(text.as_bytes()).unwrap();
            let left = token.expires - Instant::now();
            assert!(left > Duration::from_secs(40), "{life}");
            assert!(left <= Duration::from_secs(LONGEST_LIFE), "{life}");
        }
    }
}
