//! Credentials of one object: what its Secrets say, matched by host and path.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::endpoint::{Endpoint, RegistryRepository, RepositoryUrl, Scheme};
use super::scope::{Asked, Purpose, Scope};
use super::secret::Secret;
use super::tls::ExtraRoots;
use super::{Error, Result};

/// The largest Secret value that is read; Kubernetes allows 1 MiB for a whole Secret.
const LARGEST: usize = 1 << 20;

/// Who to be, and which certificates to trust, at one place.
#[derive(Clone)]
pub struct Credential {
    identity: Identity,
    roots: Option<ExtraRoots>,
    /// The Secret or file that it was read from, for messages.
    secret: Option<String>,
}

#[derive(Clone)]
pub(super) enum Identity {
    Anonymous,
    Password { username: String, password: Secret },
    Token(Secret),
}

impl Credential {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::of(Identity::Anonymous)
    }

    /// A user name and a password, sent as they are or exchanged for a token.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::of(Identity::Password {
            username: username.into(),
            password: Secret::new(password.into()),
        })
    }

    /// An identity token (`OAuth2` refresh token), exchanged for an access token.
    pub fn identity_token(token: impl Into<String>) -> Self {
        Self::of(Identity::Token(Secret::new(token.into())))
    }

    /// The same, trusting `roots` as well.
    #[must_use]
    pub fn with_roots(mut self, roots: ExtraRoots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Whether it says nothing about who we are.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.identity, Identity::Anonymous)
    }

    fn of(identity: Identity) -> Self {
        Self {
            identity,
            roots: None,
            secret: None,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn roots(&self) -> Option<&ExtraRoots> {
        self.roots.as_ref()
    }

    /// The `Authorization` header for a password.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let Identity::Password { username, password } = &self.identity else {
            return None;
        };
        let pair = Secret::new(format!("{username}:{}", password.reveal()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.reveal());
        let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// The `Authorization` header for a host that takes passwords and tokens as they are.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let Identity::Token(token) = &self.identity else {
            return self.basic();
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Equal credentials, equal fingerprints. In memory only: it is made from the secret.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let mut take = |part: &str| {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        match &self.identity {
            Identity::Anonymous => take("anonymous"),
            Identity::Password { username, password } => {
                take("password");
                take(username);
                take(password.reveal());
            }
            Identity::Token(token) => {
                take("token");
                take(token.reveal());
            }
        }
        if let Some(roots) = &self.roots {
            take(roots.digest().hex());
        }
        // Who shares a client shares its messages, and they name the Secret.
        if let Some(secret) = &self.secret {
            take(secret);
        }
        hasher.finalize().into()
    }

    /// For messages: who was refused, or that nobody was named.
    pub(super) fn described(&self, endpoint: &Endpoint) -> String {
        let host = endpoint.authority();
        let secret = match &self.secret {
            Some(secret) => format!(" of {secret}"),
            None => String::new(),
        };
        match &self.identity {
            Identity::Anonymous => format!("no credential for host {host:?}"),
            Identity::Password { username, .. } => {
                format!("the credential{secret} for host {host:?} (user {username:?})")
            }
            Identity::Token(_) => format!("the identity token{secret} for host {host:?}"),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.identity {
            Identity::Anonymous => "anonymous",
            Identity::Password { .. } => "password",
            Identity::Token(_) => "identity token",
        };
        write!(formatter, "Credential({kind})")
    }
}

/// An ordered set of credentials, each for a host (and port, scheme, path prefix).
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    entries: Vec<(Scope, Credential)>,
}

impl Credentials {
    /// The most specific credential for `repository`, the first added among equals; anonymous
    /// where there is none. Certificates may come from another entry than the password.
    pub fn find(&self, repository: &RegistryRepository) -> Credential {
        let asked = Asked::of_repository(repository);
        self.best(|scope| scope.fits(&asked))
    }

    /// The same for `url`, which content names. A password goes over plain HTTP only where its
    /// entry says that scheme: whoever writes `http://` into a component must not lay it open.
    pub fn find_for_url(&self, purpose: Purpose, url: &Url) -> Credential {
        let Some(asked) = Asked::of_url(purpose, url) else {
            return Credential::anonymous();
        };
        self.best(|scope| scope.fits(&asked) && (asked.is_private() || scope.says_plain_http()))
    }

    fn best(&self, fits: impl Fn(&Scope) -> bool) -> Credential {
        let best = |wanted: fn(&Credential) -> bool| {
            let fitting = self.entries.iter().rev();
            fitting
                .filter(|(scope, credential)| wanted(credential) && fits(scope))
                .max_by_key(|(scope, _)| scope.weight())
                .map(|(_, credential)| credential.clone())
        };
        let mut found =
            best(|credential| !credential.is_anonymous()).unwrap_or_else(Credential::anonymous);
        if found.roots.is_none() {
            found.roots = best(|credential| credential.roots.is_some())
                .and_then(|credential| credential.roots);
        }
        found
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one credential for everything at `endpoint`.
    pub fn add(&mut self, endpoint: &Endpoint, credential: Credential) {
        self.push(Scope::of(endpoint), credential);
    }

    /// Adds what the docker config JSON under `key` of a Secret says.
    pub fn add_docker_config(&mut self, secret: &str, key: &str, json: &[u8]) -> Result<()> {
        let place = Place { secret, key };
        place.check_size(json)?;
        super::docker_config::read(&place, json, self)
    }

    /// Adds what the OCM configuration (YAML) under `key` of a Secret says.
    pub fn add_ocm_config(&mut self, secret: &str, key: &str, yaml: &[u8]) -> Result<()> {
        let place = Place { secret, key };
        place.check_size(yaml)?;
        super::ocm_config::read(&place, yaml, self)
    }

    /// Adds the plain keys of a Secret (`username`, `password`, `identityToken`,
    /// `certificateAuthority`, `ca.crt`) as the credential for the registry of `url`, and before
    /// all others for what lies below its path.
    pub fn add_properties(
        &mut self,
        secret: &str,
        data: &BTreeMap<String, Vec<u8>>,
        url: &RepositoryUrl,
    ) -> Result<()> {
        let mut properties = BTreeMap::new();
        for key in [
            "username",
            "password",
            "identityToken",
            "certificateAuthority",
            "ca.crt",
        ] {
            let Some(value) = data.get(key) else { continue };
            let place = Place { secret, key };
            place.check_size(value)?;
            let text = std::str::from_utf8(value).map_err(|_| place.wrong("is not UTF-8 text"))?;
            properties.insert(key, text.trim_end_matches(['\r', '\n']).to_owned());
        }
        let key = "username";
        let credential =
            from_properties(&Place { secret, key }, |name| properties.get(name).cloned())?;
        let credential = credential.ok_or_else(|| {
            Place { secret, key }.wrong(
                "is missing: expected .dockerconfigjson, .ocmcredentialconfig, or username and \
                 password, identityToken, certificateAuthority, ca.crt",
            )
        })?;
        if let Some(path) = url.path() {
            let mut scope = Scope::of(url.endpoint());
            scope.path = Some(path.to_string());
            self.push(scope, credential.clone());
        }
        self.add(url.endpoint(), credential);
        Ok(())
    }

    pub(super) fn push(&mut self, scope: Scope, credential: Credential) {
        self.entries.push((scope, credential));
    }
}

/// The key of a Secret, to be named in errors; a file where the key is empty.
pub(super) struct Place<'a> {
    pub(super) secret: &'a str,
    pub(super) key: &'a str,
}

impl Place<'_> {
    /// The Secret or the file.
    fn described(&self) -> String {
        let name = self.secret;
        if self.key.is_empty() {
            format!("{name:?}")
        } else {
            format!("Secret {name:?}")
        }
    }

    pub(super) fn wrong(&self, problem: impl Into<String>) -> Error {
        Error::ReadCredentials {
            secret: self.secret.to_owned(),
            key: self.key.to_owned(),
            problem: problem.into(),
        }
    }

    fn check_size(&self, content: &[u8]) -> Result<()> {
        if content.len() > LARGEST {
            return Err(self.wrong(format!("is larger than {LARGEST} bytes")));
        }
        Ok(())
    }
}

/// Makes a credential of the properties that OCM and plain Secrets share; `None` if none is set.
pub(super) fn from_properties(
    place: &Place<'_>,
    property: impl Fn(&str) -> Option<String>,
) -> Result<Option<Credential>> {
    let set = |name: &str| property(name).filter(|value| !value.is_empty());
    let identity = match (set("username"), set("password"), set("identityToken")) {
        (Some(username), Some(password), _) | (Some(username), None, Some(password)) => {
            Identity::Password {
                username,
                password: Secret::new(password),
            }
        }
        (None, _, Some(token)) => Identity::Token(Secret::new(token)),
        (Some(_), None, None) => {
            return Err(place.wrong("holds a user name without password or identity token"));
        }
        (None, Some(_), None) => return Err(place.wrong("holds a password without a user name")),
        (None, None, None) => Identity::Anonymous,
    };
    let mut credential = Credential::of(identity);
    credential.secret = Some(place.described());
    for name in ["certificateAuthority", "ca.crt"] {
        if let Some(pem) = set(name) {
            let key = if place.key == "username" {
                name
            } else {
                place.key
            };
            let roots = ExtraRoots::from_secret(place.secret, key, pem.as_bytes())?;
            credential.roots = Some(roots);
            break;
        }
    }
    let says_something = !credential.is_anonymous() || credential.roots.is_some();
    Ok(says_something.then_some(credential))
}

/// Reads the key of a docker config entry: `[SCHEME://]HOST[:PORT][/PATH]`.
pub(super) fn parse_server(text: &str) -> Result<Scope> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some((_, rest)) => (Scheme::Https, rest),
        None => (Scheme::Https, text),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let endpoint = Endpoint::new(scheme, authority)?;
    // `https://index.docker.io/v1/` and its like name the API, not a repository.
    let path = Some(path.trim_matches('/')).filter(|path| !matches!(*path, "" | "v1" | "v2"));
    let written_port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    Ok(Scope {
        host: endpoint.host().to_owned(),
        port: written_port,
        path: path.map(str::to_owned),
        ..Scope::default()
    })
}
