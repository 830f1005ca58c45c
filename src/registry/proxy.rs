//! Proxies of the site: which hosts are reached through one, and which one.
//!
//! The variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` mean what they mean to programs in Go
//! (package `golang.org/x/net/http/httpproxy`), which is what operators of Kubernetes set them for.

mod exceptions;

use std::fmt;

use base64::Engine as _;
use http::HeaderValue;
use url::Url;

use self::exceptions::Exceptions;
use super::endpoint::Scheme;
use super::{Error, Result};

/// The proxies of the site.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Exceptions,
}

impl Proxies {
    /// What the environment says; the names in capitals win.
    pub fn from_environment() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// What `variable` says, which gives the values of environment variables.
    ///
    /// # Errors
    ///
    /// If a proxy is none that can be used. The error does not show its password.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name: &str| {
            let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            given(name).or_else(|| given(&name.to_ascii_lowercase()))
        };
        let proxy = |name: &'static str| {
            value(name)
                .map(|text| Proxy::parse(name, text.trim()))
                .transpose()
        };
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            exceptions: Exceptions::parse(&value("NO_PROXY").unwrap_or_default()),
        })
    }

    /// The proxy through which `host` is reached; an IPv6 address is without brackets.
    pub(super) fn find(&self, scheme: Scheme, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = match scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        };
        proxy.filter(|_| !self.exceptions.contain(host, port))
    }
}

/// A proxy: where it is, and who we are to it.
#[derive(Clone)]
pub(super) struct Proxy {
    /// How the proxy itself is spoken to; what is behind it has its own scheme.
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
    /// The `Proxy-Authorization` header.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `[http://|https://][USER:PASSWORD@]HOST[:PORT]`.
    fn parse(variable: &'static str, text: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::ParseProxy {
            variable,
            problem: problem.to_owned(),
        };
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&with_scheme)
            .map_err(|_| wrong("expected a URL such as http://proxy.example:3128"))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("only proxies that speak HTTP can be used")),
        };
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut authorization = None;
        if !url.username().is_empty() || url.password().is_some() {
            let password = url.password().unwrap_or_default();
            let pair = [decoded(url.username()), b":".to_vec(), decoded(password)].concat();
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            let header = HeaderValue::from_str(&format!("Basic {encoded}"));
            let mut header = header.expect("base64 is a header value");
            header.set_sensitive(true);
            authorization = Some(header);
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: url.port_or_known_default().unwrap_or(80),
            authorization,
        })
    }
}

/// Without the password.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.scheme.as_str(), authority(&self.host, self.port));
        write!(formatter, "{scheme}://{authority}")
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({self})")
    }
}

/// Host and port as they stand in a URL.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies> {
        let find = |name: &str| {
            let mut found = variables.iter().filter(|(known, _)| *known == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        Proxies::from_variables(find)
    }

    fn found(variables: &[(&str, &str)], scheme: Scheme) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        let proxy = proxies.find(scheme, "ghcr.io", 443);
        proxy.map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_own_variable_and_capitals_win() {
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "b:2")];
        assert_eq!(found(&both, Scheme::Http).unwrap(), "http://a:1");
        assert_eq!(found(&both, Scheme::Https).unwrap(), "http://b:2");
        let small = [("https_proxy", "https://c"), ("NO_PROXY", "")];
        assert_eq!(found(&small, Scheme::Https).unwrap(), "https://c:443");
        assert_eq!(found(&small, Scheme::Http), None);
        let two = [("HTTPS_PROXY", "d"), ("https_proxy", "e")];
        assert_eq!(found(&two, Scheme::Https).unwrap(), "http://d:80");
        let empty = [("HTTPS_PROXY", " "), ("https_proxy", "[fd00::1]:3128")];
        assert_eq!(
            found(&empty, Scheme::Https).unwrap(),
            "http://[fd00::1]:3128"
        );
        assert_eq!(found(&[], Scheme::Https), None);
        let except = [("HTTPS_PROXY", "d"), ("no_proxy", "ghcr.io")];
        assert_eq!(found(&except, Scheme::Https), None);
    }

    #[test]
    fn password_of_a_proxy_is_decoded_and_never_shown() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://me:p%40ss@proxy:8080")]).unwrap();
        let proxy = proxies.find(Scheme::Https, "ghcr.io", 443).unwrap();
        let header = proxy.authorization.as_ref().unwrap();
        assert_eq!(header, "Basic bWU6cEBzcw==");
        assert!(header.is_sensitive());
        assert_eq!(proxy.to_string(), "http://proxy:8080");
        assert_eq!(format!("{proxy:?}"), "Proxy(http://proxy:8080)");
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_its_variable() {
        for text in [
            "socks5://me:geheim@proxy:1080",
            "http://",
            "://x",
            "me:geheim@proxy:x",
        ] {
            let error = proxies(&[("HTTPS_PROXY", text)]).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY"), "{text}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
