//! Where a registry is, and which repository in it.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::{Error, Result};
use crate::oci::{ImageReference, RepositoryName};
use crate::ocm::{self, OcmRepository};

/// What Docker Hub is called in references, and where its API is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// How a host is spoken to. Never changed behind the user's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain text, where the URL says `http://`.
    Http,
}

impl Scheme {
    /// How the registry of an OCM repository is spoken to.
    pub fn of(repository: &OcmRepository) -> Self {
        if repository.plain_http() {
            Self::Http
        } else {
            Self::Https
        }
    }

    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// A registry: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
}

impl Endpoint {
    /// The registry of `host`, which may carry a port, over TLS.
    pub fn https(host: &str) -> Result<Self> {
        Self::new(Scheme::Https, host)
    }

    /// The registry at `authority` (`HOST[:PORT]`).
    ///
    /// # Errors
    ///
    /// If it has anything beside host and port (user, path, query), is not ASCII, or is a host
    /// that reads differently from what is dialled (`2852039166` for `169.254.169.254`).
    pub fn new(scheme: Scheme, authority: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::ParseUrl {
            text: without_userinfo(authority),
            problem: problem.to_owned(),
        };
        let forbidden = |c: char| !c.is_ascii_graphic() || "/?#@\\%".contains(c);
        if authority.contains(forbidden) {
            return Err(wrong("expected HOST or HOST:PORT and nothing else"));
        }
        let text = format!("{}://{authority}/", scheme.as_str());
        let url = Url::parse(&text).map_err(|source| wrong(&source.to_string()))?;
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        if !authority.to_ascii_lowercase().starts_with(host) {
            return Err(wrong("its host is another way to write an address"));
        }
        let host = match host {
            "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB,
            host => host,
        };
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: url.port(),
        })
    }

    /// The registry that an OCM repository is in.
    pub fn of(repository: &OcmRepository) -> Result<Self> {
        Self::new(Scheme::of(repository), repository.host())
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without a port; `docker.io` for each of Docker Hub's names.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// Host, and the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// The URL of the API's root.
    pub(super) fn url(&self) -> Url {
        let authority = match (self.host.as_str(), self.port) {
            (DOCKER_HUB, None) => DOCKER_HUB_API.to_owned(),
            _ => self.authority(),
        };
        let text = format!("{}://{authority}/", self.scheme.as_str());
        Url::parse(&text).expect("the parts were taken from a parsed URL")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.authority())
    }
}

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryRepository {
    endpoint: Endpoint,
    name: RepositoryName,
}

impl RegistryRepository {
    /// The repository `name` in the registry at `endpoint`.
    pub fn new(endpoint: Endpoint, name: RepositoryName) -> Self {
        Self { endpoint, name }
    }

    /// Where the image of `reference` is pulled from, with `library/` filled in for Docker Hub.
    pub fn of_image(reference: &ImageReference, scheme: Scheme) -> Result<Self> {
        let endpoint = Endpoint::new(scheme, reference.host())?;
        let name = reference.repository();
        let name = if endpoint.host == DOCKER_HUB && !name.as_str().contains('/') {
            parse_name(&format!("library/{name}"))?
        } else {
            name.clone()
        };
        Ok(Self { endpoint, name })
    }

    /// The registry.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The repository's name in its registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }
}

impl fmt::Display for RegistryRepository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.endpoint, self.name)
    }
}

/// A registry, and a path in it below which something lies: the components of an OCM repository, or
/// what this program pushes.
///
/// It is written as an [`OcmRepository`] is; `oci://` is another word for `https://`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryUrl {
    endpoint: Endpoint,
    path: Option<RepositoryName>,
}

impl RepositoryUrl {
    /// The registry.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The path behind the host, if there is one.
    pub fn path(&self) -> Option<&RepositoryName> {
        self.path.as_ref()
    }

    /// The repository `relative` below this URL.
    pub fn join(&self, relative: &str) -> Result<RegistryRepository> {
        let name = match &self.path {
            Some(path) => parse_name(&format!("{path}/{relative}"))?,
            None => parse_name(relative)?,
        };
        Ok(RegistryRepository::new(self.endpoint.clone(), name))
    }
}

impl TryFrom<&OcmRepository> for RepositoryUrl {
    type Error = Error;

    fn try_from(repository: &OcmRepository) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::of(repository)?,
            path: repository.sub_path().cloned(),
        })
    }
}

impl FromStr for RepositoryUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = match text.strip_prefix("oci://") {
            Some(rest) => format!("https://{rest}"),
            None => text.to_owned(),
        };
        let repository = plain.parse::<OcmRepository>();
        let repository = repository.map_err(|source| Error::ParseUrl {
            text: without_userinfo(text),
            problem: match source {
                ocm::Error::ParseRepository { problem, .. } => problem,
                source => source.to_string(),
            },
        })?;
        Self::try_from(&repository)
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(formatter, "{}/{path}", self.endpoint),
            None => fmt::Display::fmt(&self.endpoint, formatter),
        }
    }
}

fn parse_name(text: &str) -> Result<RepositoryName> {
    text.parse()
        .map_err(|source: crate::oci::Error| Error::ParseUrl {
            text: without_userinfo(text),
            problem: source.to_string(),
        })
}

/// A text for messages: short, and without what may be a password in front of an `@`.
fn without_userinfo(text: &str) -> String {
    let shown = match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    };
    shown.chars().take(300).collect()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn url_comes_apart_into_registry_and_path() {
        let url: RepositoryUrl = "registry.example.org:5000/team/ocm/".parse().unwrap();
        assert_eq!(url.endpoint().authority(), "registry.example.org:5000");
        assert_eq!(url.endpoint().scheme(), Scheme::Https);
        let joined = url.join("component-descriptors/example.org/shop").unwrap();
        assert_eq!(
            joined.name().as_str(),
            "team/ocm/component-descriptors/example.org/shop"
        );
        let plain: RepositoryUrl = "http://reg.example.org".parse().unwrap();
        assert_eq!((plain.endpoint().port(), plain.path()), (80, None));
        assert_eq!(
            "oci://ghcr.io/x".parse::<RepositoryUrl>().unwrap(),
            "https://ghcr.io/x".parse().unwrap()
        );
    }

    #[test]
    fn docker_hub_has_one_name_and_an_api_host() {
        for host in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            let endpoint = Endpoint::https(host).unwrap();
            assert_eq!(endpoint.host(), "docker.io");
            assert_eq!(endpoint.url().as_str(), "https://registry-1.docker.io/");
        }
        let image = "nginx:1".parse().unwrap();
        let repository = RegistryRepository::of_image(&image, Scheme::Https).unwrap();
        assert_eq!(repository.to_string(), "docker.io/library/nginx");
    }

    #[test]
    fn b40_urls_that_are_no_registry_are_refused() {
        for text in [
            "",
            "https://",
            "unix:///var/run/x.sock",
            "file:///etc/passwd",
            "ftp://x.org/a",
            "https://bot:s3cret@ghcr.io/x",
            "bot:s3cret@ghcr.io",
            "ghcr.io/x?y=z",
            "ghcr.io/x#y",
            "ghcr.io/../x",
            "2852039166/x",
            "0x7f.1/x",
            "127.1/x",
            "gh\u{441}r.io/x",
            "ghcr.io:99999/x",
            "ghcr.io\\@evil.org/x",
            "ghcr.io%2f/x",
            "ghcr.io /x",
        ] {
            let error = text.parse::<RepositoryUrl>();
            let Err(error) = error else {
                panic!("{text:?} was taken for a registry URL")
            };
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
