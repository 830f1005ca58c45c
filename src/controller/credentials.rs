//! Credentials for an OCM repository, from the Secrets that a ComponentVersion names.
//!
//! Secrets are read by GET when a ComponentVersion is reconciled, once for each interval, and kept
//! in memory for the Resources and Localizations that read through it until the next reading. Where
//! Secrets are watched (`--watch-secrets`), a changed one is read at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client, ResourceExt as _};

use crate::api::ComponentVersion;
use crate::registry::{self, Class, Credentials, RepositoryUrl};

/// The data key of a Secret that `kubectl create secret docker-registry` makes.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// The data key that the Go ocm-controller reads OCM's own credential configuration from.
const OCM_CONFIG: &str = ".ocmcredentialconfig";

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "ServiceAccount {namespace}/{name} does not exist: create it, or correct spec.serviceAccountName"
    )]
    MissingAccount { namespace: String, name: String },

    #[error(
        "Secret {namespace}/{name}, named by {named_by}, does not exist: create it, or correct the reference"
    )]
    MissingSecret {
        namespace: String,
        name: String,
        named_by: String,
    },

    #[error(
        "failed to find {DOCKER_CONFIG} in secret {name}, which ServiceAccount {account:?} names as an imagePullSecret"
    )]
    MissingDockerConfig { name: String, account: String },

    #[error("failed to get {kind} {namespace}/{name}")]
    Get {
        kind: &'static str,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    #[error("spec.repository.url is no registry URL")]
    ParseUrl { source: registry::Error },

    #[error("failed to use Secret {name:?}")]
    Parse {
        name: String,
        source: registry::Error,
    },
}

/// Namespace and name of a ComponentVersion.
type Key = (String, String);

/// What was read last for a ComponentVersion.
struct Kept {
    uid: Option<String>,
    credentials: Arc<Credentials>,
}

fn key_of(component: &ComponentVersion) -> Key {
    (
        component.namespace().unwrap_or_default(),
        component.name_any(),
    )
}

/// Reads credentials, and keeps them between readings.
pub(super) struct CredentialCache {
    client: Client,
    kept: Mutex<HashMap<Key, Kept>>,
    /// The Secrets that were asked for, whether they were there or not.
    asked: Mutex<HashMap<Key, BTreeSet<String>>>,
}

impl CredentialCache {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kept: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Reads the credentials of `component` anew.
    pub(super) async fn read(
        &self,
        component: &ComponentVersion,
    ) -> Result<Arc<Credentials>, Error> {
        let credentials = Arc::new(self.gather(component).await?);
        let kept = Kept {
            uid: component.uid(),
            credentials: Arc::clone(&credentials),
        };
        self.kept().insert(key_of(component), kept);
        Ok(credentials)
    }

    /// The credentials of `component` as they were read last.
    pub(super) async fn last(
        &self,
        component: &ComponentVersion,
    ) -> Result<Arc<Credentials>, Error> {
        let kept = self
            .kept()
            .get(&key_of(component))
            .filter(|kept| kept.uid == component.uid())
            .map(|kept| Arc::clone(&kept.credentials));
        match kept {
            Some(credentials) => Ok(credentials),
            None => self.read(component).await,
        }
    }

    /// Drops what is kept of a ComponentVersion that is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.kept().remove(&key);
        self.asked().remove(&key);
    }

    /// The names of the ComponentVersions that a changed Secret matters to; their credentials are
    /// read anew next time.
    pub(super) fn changed(&self, namespace: &str, secret: &str) -> Vec<String> {
        let asked = self.asked();
        let affected = asked
            .iter()
            .filter(|((own, _), secrets)| own == namespace && secrets.contains(secret));
        let mut kept = self.kept();
        affected
            .map(|(key, _)| {
                kept.remove(key);
                key.1.clone()
            })
            .collect()
    }

    /// Has the credentials of `component` read anew where a registry refused them.
    pub(super) fn refused(&self, component: &ComponentVersion, error: &(dyn StdError + 'static)) {
        let class = registry::error_in(error).map(registry::Error::class);
        if matches!(class, Some(Class::Unauthorized | Class::Forbidden)) {
            self.kept().remove(&key_of(component));
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Key, BTreeSet<String>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn gather(&self, component: &ComponentVersion) -> Result<Credentials, Error> {
        let mut credentials = Credentials::default();
        if let Some(account) = component
            .spec
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty())
        {
            self.add_account(&mut credentials, component, account)
                .await?;
        }
        let spec = &component.spec;
        let named = [
            (Some(&spec.repository), "spec.repository.secretRef"),
            (spec.destination.as_ref(), "spec.destination.secretRef"),
        ];
        for (repository, named_by) in named {
            let Some(repository) = repository else {
                continue;
            };
            let reference = repository.secret_ref.as_ref();
            let Some(reference) = reference.filter(|found| !found.name.is_empty()) else {
                continue;
            };
            let data = self.secret(component, &reference.name, named_by).await?;
            add_secret(&mut credentials, &reference.name, &data, &repository.url)?;
        }
        Ok(credentials)
    }

    async fn add_account(
        &self,
        credentials: &mut Credentials,
        component: &ComponentVersion,
        account: &str,
    ) -> Result<(), Error> {
        let namespace = &component.namespace().unwrap_or_default();
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(account).await.map_err(|source| Error::Get {
            kind: "ServiceAccount",
            namespace: namespace.to_owned(),
            name: account.to_owned(),
            source: Box::new(source),
        })?;
        let found = found.ok_or_else(|| Error::MissingAccount {
            namespace: namespace.to_owned(),
            name: account.to_owned(),
        })?;
        for secret in found.image_pull_secrets.unwrap_or_default() {
            let named_by = format!("imagePullSecrets of ServiceAccount {account:?}");
            let data = self.secret(component, &secret.name, &named_by).await?;
            let json = data
                .get(DOCKER_CONFIG)
                .ok_or_else(|| Error::MissingDockerConfig {
                    name: secret.name.clone(),
                    account: account.to_owned(),
                })?;
            credentials
                .add_docker_config(&secret.name, DOCKER_CONFIG, json)
                .map_err(|source| Error::Parse {
                    name: secret.name.clone(),
                    source,
                })?;
        }
        Ok(())
    }

    /// The data of a Secret beside `component`, read now. `named_by` says in messages what named it.
    pub(super) async fn secret(
        &self,
        component: &ComponentVersion,
        name: &str,
        named_by: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let namespace = &component.namespace().unwrap_or_default();
        let key = key_of(component);
        self.asked().entry(key).or_default().insert(name.to_owned());
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(|source| Error::Get {
            kind: "Secret",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let found = found.ok_or_else(|| Error::MissingSecret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            named_by: named_by.to_owned(),
        })?;
        let data = found.data.unwrap_or_default();
        Ok(data
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect())
    }
}

/// Takes the first form that the Secret has: docker's, OCM's, or plain keys for the repository.
fn add_secret(
    credentials: &mut Credentials,
    name: &str,
    data: &BTreeMap<String, Vec<u8>>,
    repository: &str,
) -> Result<(), Error> {
    let parse = |source| Error::Parse {
        name: name.to_owned(),
        source,
    };
    if let Some(json) = data.get(DOCKER_CONFIG) {
        return credentials
            .add_docker_config(name, DOCKER_CONFIG, json)
            .map_err(parse);
    }
    if let Some(yaml) = data.get(OCM_CONFIG) {
        return credentials
            .add_ocm_config(name, OCM_CONFIG, yaml)
            .map_err(parse);
    }
    let url: RepositoryUrl = repository
        .parse()
        .map_err(|source| Error::ParseUrl { source })?;
    credentials.add_properties(name, data, &url).map_err(parse)
}
