//! Where component versions are stored.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ComponentName;
use super::error::{Error, excerpt};
use crate::oci::{Digest, ImageReference, RepositoryName};

/// Below which path the component versions of a repository are.
const COMPONENTS: &str = "component-descriptors";

/// An OCM repository in an OCI registry: `[https://|http://]HOST[:PORT][/SUBPATH]`.
///
/// `http://` means plain HTTP; everything else is TLS. The text is written back as it was given.
/// Two repositories are equal when they mean the same place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OcmRepository {
    text: String,
    plain_http: bool,
    /// Empty for an archive.
    host: String,
    sub_path: Option<RepositoryName>,
}

impl OcmRepository {
    /// An archive on disk, called `text`. No text is parsed into this: what a cluster's objects
    /// name is never a file.
    pub fn archive(text: String) -> Self {
        Self {
            text,
            plain_http: false,
            host: String::new(),
            sub_path: None,
        }
    }

    /// Whether it is an archive on disk.
    pub fn is_archive(&self) -> bool {
        self.host.is_empty()
    }

    /// How a descriptor notes that it is stored here; an archive is not noted.
    pub(super) fn context(&self) -> Option<Value> {
        if self.is_archive() {
            return None;
        }
        let scheme = if self.plain_http { "http://" } else { "" };
        let sub_path = self.sub_path.as_ref().map_or("", RepositoryName::as_str);
        Some(json!({
            "baseUrl": format!("{scheme}{}", self.host),
            "componentNameMapping": "urlPath",
            "subPath": sub_path,
            "type": "OCIRegistry",
        }))
    }

    /// The host with its port, if one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path inside the registry, if one was given.
    pub fn sub_path(&self) -> Option<&RepositoryName> {
        self.sub_path.as_ref()
    }

    /// Whether the URL asks for HTTP without TLS.
    pub fn plain_http(&self) -> bool {
        self.plain_http
    }

    /// The registry's repository that holds the versions of `component`.
    pub fn component_repository(&self, component: &ComponentName) -> Result<RepositoryName, Error> {
        let path = match &self.sub_path {
            Some(sub_path) => format!("{sub_path}/{COMPONENTS}/{component}"),
            None => format!("{COMPONENTS}/{component}"),
        };
        path.parse().map_err(|source| Error::MapComponent {
            component: component.clone(),
            repository: self.text.clone(),
            source,
        })
    }

    /// The reference by which content that is stored with `component` can be pulled.
    pub(super) fn reference(
        &self,
        component: &ComponentName,
        digest: Digest,
    ) -> Result<ImageReference, Error> {
        let repository = self.component_repository(component)?;
        Ok(ImageReference::by_digest(
            &self.written_host()?,
            repository,
            digest,
        ))
    }

    /// The host as image references need it: one without a dot or port would be read as the
    /// first part of a path on Docker Hub.
    pub fn written_host(&self) -> Result<String, Error> {
        if self.is_archive() {
            return Err(Error::NoRegistry {
                archive: self.text.clone(),
            });
        }
        if self.host.contains(['.', ':']) {
            return Ok(self.host.clone());
        }
        let port = if self.plain_http { 80 } else { 443 };
        Ok(format!("{}:{port}", self.host))
    }
}

impl FromStr for OcmRepository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::ParseRepository {
            // What stands before an `@` may be a password.
            url: excerpt(text.rsplit_once('@').map_or(text, |(_, behind)| behind)),
            problem: problem.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let plain_http = match scheme.to_ascii_lowercase().as_str() {
            "https" => false,
            "http" => true,
            _ => return Err(wrong("expected \"https://\", \"http://\" or no scheme")),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains('@') {
            return Err(wrong(
                "it holds a user or password; put credentials into a Secret",
            ));
        }
        if rest.contains(['?', '#']) {
            return Err(wrong("a query or fragment has no meaning here"));
        }
        check_host(host).map_err(wrong)?;
        let path = path.trim_matches('/');
        let sub_path = match path {
            "" => None,
            path => Some(path.parse().map_err(|source: crate::oci::Error| {
                wrong(&format!("its path does not fit: {source}"))
            })?),
        };
        Ok(Self {
            text: text.to_owned(),
            plain_http,
            host: host.to_owned(),
            sub_path,
        })
    }
}

/// Checks that `host` is a name or an address that a registry may have.
fn check_host(host: &str) -> Result<(), &'static str> {
    let with_port = if host.ends_with(']') || !host.contains(':') {
        format!("{host}:443")
    } else {
        host.to_owned()
    };
    // An image reference is what the host will be part of, so its rules decide.
    if host.is_empty() || format!("{with_port}/x").parse::<ImageReference>().is_err() {
        return Err("expected HOST or HOST:PORT after the scheme");
    }
    let name = with_port
        .rsplit_once(':')
        .map_or(with_port.as_str(), |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    match name.parse::<IpAddr>() {
        Ok(address) if is_never_a_registry(address) => {
            Err("link-local and unspecified addresses are no registries")
        }
        // `2852039166` and `0xa9.0xfe.0xa9.0xfe` are addresses to some resolvers.
        Err(_) if ends_in_number(name) => Err("it looks like an address in disguise"),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_never_a_registry(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        IpAddr::V4(v4) => IpAddr::V4(v4),
    };
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || Ipv6Addr::is_unicast_link_local(&v6),
    }
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last
        .get(..2)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"))
        && last[2..].bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
}

impl TryFrom<String> for OcmRepository {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<OcmRepository> for String {
    fn from(repository: OcmRepository) -> Self {
        repository.text
    }
}

impl PartialEq for OcmRepository {
    fn eq(&self, other: &Self) -> bool {
        self.is_archive() == other.is_archive()
            && (!self.is_archive() || self.text == other.text)
            && self.plain_http == other.plain_http
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.sub_path == other.sub_path
    }
}

impl Eq for OcmRepository {}

impl fmt::Display for OcmRepository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> OcmRepository {
        text.parse().unwrap()
    }

    #[test]
    fn component_lives_below_the_sub_path() {
        let name: ComponentName = "phoban.io/podinfo".parse().unwrap();
        for (url, host, path, plain) in [
            ("ghcr.io/phoban01", "ghcr.io", "phoban01/", false),
            ("https://ghcr.io/phoban01/", "ghcr.io", "phoban01/", false),
            ("http://localhost:5001/a/b", "localhost:5001", "a/b/", true),
            ("registry.local:5000", "registry.local:5000", "", false),
            ("https://[::1]:5000/x", "[::1]:5000", "x/", false),
            ("localhost/x", "localhost", "x/", false),
        ] {
            let repository = repository(url);
            assert_eq!(repository.host(), host, "{url}");
            assert_eq!(repository.plain_http(), plain, "{url}");
            assert_eq!(
                repository.component_repository(&name).unwrap().as_str(),
                format!("{path}component-descriptors/phoban.io/podinfo"),
            );
            assert_eq!(repository.to_string(), url);
        }
    }

    #[test]
    fn spelling_of_the_same_place_does_not_matter() {
        assert_eq!(repository("GHCR.io/a"), repository("https://ghcr.io/a/"));
        assert_ne!(repository("ghcr.io/a"), repository("http://ghcr.io/a"));
        assert_ne!(repository("ghcr.io/a"), repository("ghcr.io/b"));
    }

    #[test]
    fn b40_urls_that_lead_elsewhere_are_refused() {
        for url in [
            "",
            "https://",
            "/path",
            "unix:///run/registry.sock",
            "file:///etc",
            "ftp://example.org/x",
            "oci://example.org/x",
            "https://user:secret@example.org/x",
            "user@example.org/x",
            "https://example.org/x?y=z",
            "https://example.org/x#y",
            "https://example.org/../x",
            "https://example.org/a//b",
            "https://example.org/%2e%2e",
            "https://example.org/Upper",
            "https://example.org:99999/x",
            "https://exa mple.org/x",
            "169.254.169.254/latest",
            "https://[::ffff:169.254.169.254]/x",
            "https://[fe80::1]/x",
            "0.0.0.0:5000/x",
            "2852039166/x",
            "0xa9fea9fe/x",
            "127.1:5000/x",
        ] {
            assert!(
                url.parse::<OcmRepository>().is_err(),
                "{url:?} was taken for a repository"
            );
        }
    }

    #[test]
    fn b40_password_does_not_reach_the_message() {
        let error = "https://user:geheim@example.org/x"
            .parse::<OcmRepository>()
            .unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[test]
    fn host_without_dot_is_written_with_its_port() {
        let name = "phoban.io/podinfo".parse().unwrap();
        let reference = repository("http://registry/x")
            .reference(&name, Digest::of("x"))
            .unwrap();
        assert_eq!(reference.host(), "registry:80");
        assert_eq!(
            reference.to_string().parse::<ImageReference>().unwrap(),
            reference
        );
    }
}
