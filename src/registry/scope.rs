//! Where a credential may be used.

use url::Url;

use super::endpoint::{Endpoint, RegistryRepository, Scheme};

/// What a credential is for: one for a registry is never given to a web server of its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// An OCI registry.
    #[default]
    Registry,
    /// A chart repository of Helm.
    ChartRepository,
    /// Any other web server.
    Web,
}

/// Where a credential may be used. What is not set fits everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) purpose: Purpose,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) path: Option<String>,
}

/// Where a credential is wanted.
pub(super) struct Asked<'a> {
    purpose: Purpose,
    scheme: Scheme,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn of_repository(repository: &'a RegistryRepository) -> Self {
        let endpoint = repository.endpoint();
        Self {
            purpose: Purpose::Registry,
            scheme: endpoint.scheme(),
            host: endpoint.host(),
            port: endpoint.port(),
            path: repository.name().as_str(),
        }
    }

    /// `None` where nothing is spoken that a credential could be used in.
    pub(super) fn of_url(purpose: Purpose, url: &'a Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        Some(Self {
            purpose,
            scheme,
            host: url.host_str()?,
            port: url.port_or_known_default()?,
            path: url.path().trim_matches('/'),
        })
    }

    /// Whether nobody on the way can read what is sent.
    pub(super) fn is_private(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

impl Scope {
    /// Everything in the registry at `endpoint`.
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self {
            host: endpoint.host().to_owned(),
            port: Some(endpoint.port()),
            ..Self::default()
        }
    }

    pub(super) fn fits(&self, asked: &Asked<'_>) -> bool {
        let path_fits = self.path.as_deref().is_none_or(|path| {
            let rest = asked.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        self.purpose == asked.purpose
            && self.scheme.is_none_or(|scheme| scheme == asked.scheme)
            && self.host == asked.host
            && self.port.is_none_or(|port| port == asked.port)
            && path_fits
    }

    /// More of it set, more weight: the heaviest that fits is used.
    pub(super) fn weight(&self) -> (usize, usize) {
        let set = usize::from(self.port.is_some()) + usize::from(self.scheme.is_some());
        (set, self.path.as_deref().map_or(0, str::len))
    }

    pub(super) fn says_plain_http(&self) -> bool {
        self.scheme == Some(Scheme::Http)
    }
}
