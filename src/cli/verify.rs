//! `ocm-controller verify`: the signatures of a component version and all digests below it.

mod report;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use self::report::Report;
use super::network::{self, CredentialArguments, NetworkArguments};
use super::transfer;
use crate::components::{self, Components, Place};
use crate::ocm::signature::{self, PublicKey, Signer};
use crate::ocm::{ComponentName, Version};
use crate::registry::Pool;
use crate::repository::{ComponentReference, Location};
use crate::snapshot::Namespace;
use crate::store::{self, Store};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The component version; the newest version where none is named.
    #[arg(value_name = "REPOSITORY//COMPONENT[:VERSION]")]
    component: ComponentReference,

    /// A public key or certificate (PEM) and the name of the signature it is for; without a name
    /// it is for those that --signature names. Repeatable.
    #[arg(long, value_name = "[NAME=]FILE", required = true)]
    key: Vec<String>,

    /// The name of a signature that has to verify with the --key that has no name. Repeatable.
    #[arg(long, value_name = "NAME")]
    signature: Vec<String>,

    /// How the result is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,

    #[command(flatten)]
    network: NetworkArguments,

    #[command(flatten)]
    credentials: CredentialArguments,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Yaml,
}

/// What keeps a component version from being verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read the key {path:?} of signature {signature:?}")]
    ReadKey {
        signature: String,
        path: PathBuf,
        source: std::io::Error,
    },

    #[error("the key {path:?} of signature {signature:?}")]
    ParseKey {
        signature: String,
        path: PathBuf,
        source: signature::Error,
    },

    #[error(transparent)]
    Network { source: network::Error },

    #[error(transparent)]
    Open { source: Box<transfer::Error> },

    #[error("failed to make a temporary folder")]
    TemporaryFolder { source: std::io::Error },

    #[error("failed to use a temporary folder")]
    Store { source: store::Error },

    #[error("repository {repository:?} has no version of component {component}")]
    NoVersion {
        repository: String,
        component: ComponentName,
    },

    #[error("component {component} {version}")]
    Verify {
        component: ComponentName,
        version: Version,
        source: components::Error,
    },

    #[error("failed to find the versions of component {component}")]
    Find {
        component: ComponentName,
        source: components::Error,
    },
}

/// Verifies, and prints what was verified.
pub(super) async fn verify(
    arguments: &VerifyArguments,
    output: &mut impl Write,
) -> Result<(), super::Error> {
    let files = arguments.files()?;
    let failed = |source| super::Error::Verify {
        source: Box::new(source),
    };
    let signers = read_keys(files).map_err(failed)?;
    let report = arguments.report(&signers).await.map_err(failed)?;
    let text = match arguments.output {
        Output::Text => report.to_string(),
        Output::Json => {
            let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
            text + "\n"
        }
        Output::Yaml => serde_yaml::to_string(&report).expect("a report is plain data"),
    };
    let written = output.write_all(text.as_bytes());
    written.map_err(super::Error::write_output)
}

impl VerifyArguments {
    /// Which signature verifies with the key in which file.
    fn files(&self) -> Result<Vec<(String, PathBuf)>, super::Error> {
        let wrong = |problem: &str| super::Error::WrongUse {
            problem: problem.to_owned(),
        };
        let mut files = Vec::new();
        let mut nameless = None;
        for key in &self.key {
            match key.split_once('=') {
                Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                    files.push((name.to_owned(), PathBuf::from(file)));
                }
                Some(_) => return Err(wrong("--key: expected NAME=FILE or FILE")),
                None if nameless.is_some() => {
                    return Err(wrong("--key: only one key can be without a name"));
                }
                None => nameless = Some(PathBuf::from(key)),
            }
        }
        match (nameless, self.signature.as_slice()) {
            (None, []) => {}
            (Some(_), []) => {
                return Err(wrong(
                    "--key: say which signature the key is for, as NAME=FILE or by --signature",
                ));
            }
            (None, _) => {
                return Err(wrong(
                    "--signature: there is no --key without a name that it could verify with",
                ));
            }
            (Some(file), names) => {
                files.extend(names.iter().map(|name| (name.clone(), file.clone())));
            }
        }
        Ok(files)
    }

    async fn report(&self, signers: &[Signer]) -> Result<Report, Error> {
        let network = |source| Error::Network { source };
        let transport = self.network.transport().map_err(network)?;
        let credentials = self.credentials.credentials().map_err(network)?;
        let folder = tempfile::tempdir().map_err(|source| Error::TemporaryFolder { source })?;
        let store = Store::open(folder.path()).map_err(|source| Error::Store { source })?;
        let pool = Pool::new(transport);
        let credentials = Arc::new(credentials);
        let location = &self.component.location;
        let archive = match location {
            Location::Registry(_) => None,
            Location::Archive { .. } => {
                let opened = transfer::open(location, &pool, &credentials).await;
                Some(opened.map_err(|source| Error::Open {
                    source: Box::new(source),
                })?)
            }
        };
        let components = Components::new(pool, store);
        let place = Place {
            repository: location.repository(),
            archive,
            credentials,
            namespace: namespace(),
            holder: String::new(),
        };
        let name = &self.component.component;
        let version = match &self.component.version {
            Some(version) => version.clone(),
            None => newest(&components, &place, name).await?,
        };
        self::report::gather(&components, &place, name, &version, signers)
            .await
            .map_err(|source| Error::Verify {
                component: name.clone(),
                version,
                source,
            })
    }
}

/// On whose behalf things are fetched: here there is only one user.
fn namespace() -> Namespace {
    "local".parse().expect("a name by its grammar")
}

async fn newest(
    components: &Components,
    place: &Place,
    name: &ComponentName,
) -> Result<Version, Error> {
    let versions = components.versions(place, name).await;
    let versions = versions.map_err(|source| Error::Find {
        component: name.clone(),
        source,
    })?;
    versions
        .into_iter()
        .max_by(|left, right| {
            let order = left.precedence(right);
            order.then_with(|| left.as_str().cmp(right.as_str()))
        })
        .ok_or_else(|| Error::NoVersion {
            repository: place.repository.to_string(),
            component: name.clone(),
        })
}

fn read_keys(files: Vec<(String, PathBuf)>) -> Result<Vec<Signer>, Error> {
    let at = SystemTime::now();
    files
        .into_iter()
        .map(|(name, path)| {
            let text = std::fs::read(&path).map_err(|source| Error::ReadKey {
                signature: name.clone(),
                path: path.clone(),
                source,
            })?;
            let key = PublicKey::parse(&text).map_err(|source| Error::ParseKey {
                signature: name.clone(),
                path,
                source,
            })?;
            Ok(Signer { name, key, at })
        })
        .collect()
}
