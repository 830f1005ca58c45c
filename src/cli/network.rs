//! What all commands that speak to registries share: where to dial, whom to trust, who to be.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::chain::chain;
use crate::registry::{self, Credentials, Override, Proxies, Transport};

/// How registries are reached.
#[derive(Debug, Args)]
pub(super) struct NetworkArguments {
    /// Dial ADDR:PORT for HOST, and keep name, TLS name and credentials. Repeatable.
    #[arg(long, value_name = "HOST[:PORT]=ADDR:PORT")]
    resolve: Vec<Override>,

    /// PEM file with certificate authorities to trust besides the system's. Repeatable.
    #[arg(long, value_name = "FILE")]
    ca_file: Vec<PathBuf>,

    /// Allow registries on loopback addresses (for tests and demonstrations).
    #[arg(long)]
    allow_loopback: bool,

    /// A host that a registry may send us on to (redirect, token realm) or a component may name
    /// (helm, wget) although its address is private, or that a registry may send us on to although
    /// it is of another domain and gets a credential. Repeatable.
    #[arg(long, value_name = "HOST")]
    trusted_host: Vec<String>,
}

/// Who a command without a cluster is to registries.
#[derive(Debug, Args)]
pub(super) struct CredentialArguments {
    /// Docker's configuration file with passwords of registries [default: config.json in
    /// `DOCKER_CONFIG` or ~/.docker, where there is one].
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,

    /// OCM's configuration file with passwords of registries.
    #[arg(long, value_name = "FILE")]
    ocm_config: Option<PathBuf>,
}

/// What keeps registries from being reached at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read --{flag} {path:?}")]
    ReadFile {
        flag: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("failed to set up the client of registries")]
    Transport { source: registry::Error },

    #[error("failed to use --{flag}")]
    Credentials {
        flag: &'static str,
        source: registry::Error,
    },
}

impl NetworkArguments {
    /// The way out, as the arguments say.
    pub(super) fn transport(&self) -> Result<Transport, Error> {
        let mut roots = Vec::new();
        for path in &self.ca_file {
            roots.extend(read("ca-file", path)?);
            roots.push(b'\n');
        }
        let failed = |source| Error::Transport { source };
        let settings = registry::Settings {
            proxies: Proxies::from_environment().map_err(failed)?,
            denied_addresses: api_server().into_iter().collect(),
            overrides: self.resolve.clone(),
            allow_loopback: self.allow_loopback,
            trusted_hosts: self.trusted_host.clone(),
            extra_roots: (!roots.is_empty()).then_some(roots),
            user_agent: Some(concat!("ocm-controller/", env!("CARGO_PKG_VERSION")).to_owned()),
            ..registry::Settings::default()
        };
        Transport::new(settings).map_err(failed)
    }
}

impl CredentialArguments {
    /// The credentials of the files that are named, or of Docker's own file where none is.
    pub(super) fn credentials(&self) -> Result<Credentials, Error> {
        let mut credentials = Credentials::default();
        if let Some(path) = &self.ocm_config {
            let (flag, text) = ("ocm-config", read("ocm-config", path)?);
            credentials
                .add_ocm_config(&path.to_string_lossy(), "", &text)
                .map_err(|source| Error::Credentials { flag, source })?;
        }
        if let Some(path) = &self.docker_config {
            let (flag, text) = ("docker-config", read("docker-config", path)?);
            credentials
                .add_docker_config(&path.to_string_lossy(), "", &text)
                .map_err(|source| Error::Credentials { flag, source })?;
        } else if let Some(path) = default_docker_config()
            && let Ok(text) = std::fs::read(&path)
        {
            let mut found = credentials.clone();
            match found.add_docker_config(&path.to_string_lossy(), "", &text) {
                Ok(()) => credentials = found,
                // Nobody named the file, so that it being of no use is no error.
                Err(error) => {
                    let _ = writeln!(
                        std::io::stderr(),
                        "ocm-controller: going on without credentials: {}",
                        chain(&error)
                    );
                }
            }
        }
        Ok(credentials)
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ReadFile {
        flag,
        path: path.to_owned(),
        source,
    })
}

/// The API server that this program is next to: no registry leads there. One on loopback, as in
/// tests, shares its address with others.
fn api_server() -> Option<IpAddr> {
    let address = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok();
    address.filter(|address: &IpAddr| !address.is_loopback())
}

/// Where Docker keeps its configuration.
fn default_docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    Some(folder.or_else(home)?.join("config.json"))
}
