//! The two Secrets with which a namespace pulls: whom to trust, and the password.
//!
//! Some deployers of the namespace own them, so they go with the last one.

mod told;

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Resource as _;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::apply::{Error, manager_of, owner_reference};
use super::context::Context;
use super::endpoint::Endpoint;
use super::lookup::get;
use crate::api::FluxDeployer;
use crate::serve::pull::{PullKeys, Salt};
use crate::snapshot::Namespace;

pub(super) use told::Told;

/// The Secret with the authorities to trust, and nothing else: no key is ever in it.
pub(super) const CA_SECRET: &str = "ocm-registry-ca";

/// The Secret with the password.
pub(super) const PULL_SECRET: &str = "ocm-registry-pull";

/// How many deployers own a namespace's Secrets. With all of them as owners, every write and every
/// event of the watch would be as long as their number.
const OWNERS: usize = 8;

/// Whom to trust, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority(pub(super) Vec<u8>);

impl Authority {
    /// The data key in Secrets.
    pub(super) const KEY: &'static str = "ca.crt";
}

/// The password, as Docker's configuration.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login(pub(super) Vec<u8>);

impl Login {
    /// The data key in Secrets.
    pub(super) const KEY: &'static str = ".dockerconfigjson";

    /// The password of a namespace at the registry of `address`, by the keys of this program.
    fn derived(namespace: &Namespace, salt: Salt, keys: &PullKeys, address: &str) -> Self {
        let password = keys.password(namespace, salt);
        let pair = BASE64_STANDARD.encode(format!("{namespace}:{}", *password));
        let login = json!({"username": namespace.as_str(), "password": *password, "auth": pair});
        let config = json!({"auths": {address: login}}).to_string();
        Self(config.into_bytes())
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Login")
    }
}

/// What a namespace pulls with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Means {
    pub(super) authority: Option<Authority>,
    pub(super) login: Option<Login>,
}

/// What the namespace of `deployer` is to pull with, or what is awaited before that is known.
fn means_of(deployer: &FluxDeployer, context: &Context) -> Result<Means, String> {
    if let Some(outside) = &context.outside_secrets {
        return outside.means();
    }
    let Some(endpoint) = &context.endpoint else {
        return Ok(Means::default());
    };
    let Some(handout) = endpoint.handout() else {
        return Err("waiting for the certificate and the pull key of the registry".to_owned());
    };
    Ok(Means {
        login: login(deployer, endpoint, &handout.keys, context)?,
        authority: Some(Authority(handout.authorities.into_bytes())),
    })
}

/// The password of the namespace of `deployer`, with the salt of the one that is there, or a new
/// one. The registry takes it before anybody can read it.
fn login(
    deployer: &FluxDeployer,
    endpoint: &Endpoint,
    keys: &PullKeys,
    context: &Context,
) -> Result<Option<Login>, String> {
    let namespace = deployer.namespace().unwrap_or_default();
    let name = context.settings.selection.named(PULL_SECRET);
    let seen = context
        .caches
        .tenant_secret(&ObjectRef::new(&name).within(&namespace));
    // Kubernetes has no namespace whose name this does not take.
    let Ok(user) = namespace.parse::<Namespace>() else {
        return Ok(None);
    };
    let salt = endpoint.salt_of(&user, seen.as_deref());
    let salt = salt.map_err(|failure| format!("failed to make a password: {failure}"))?;
    Ok(Some(Login::derived(&user, salt, keys, endpoint.address())))
}

/// Brings about the Secrets in the namespace of `deployer`; or says what is awaited before that.
pub(super) async fn tell(
    deployer: &FluxDeployer,
    context: &Context,
) -> Result<Result<(), String>, Error> {
    let means = match means_of(deployer, context) {
        Ok(means) => means,
        Err(awaited) => return Ok(Err(awaited)),
    };
    for wanted in secrets(deployer, means, context) {
        let key = ObjectRef::from_obj(&wanted);
        let seen = context.caches.tenant_secret(&key);
        let is_owned = |owners: &[OwnerReference]| is_owned(owners, deployer, context);
        if context.told.is_told(&wanted, seen.as_deref(), is_owned) {
            continue;
        }
        let namespace = wanted.namespace().unwrap_or_default();
        let writer = Writer {
            api: Api::namespaced(context.client.clone(), &namespace),
            wanted: &wanted,
            manager: manager_of(deployer),
        };
        let after = match &seen {
            Some(seen) => writer.apply_over(seen).await,
            None => writer.create().await,
        };
        match after {
            Ok(after) => context.told.remember(&wanted, &after),
            // A namespace may have been given a password of its own for another registry.
            Err(Error::Foreign { .. }) if context.outside_secrets.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

/// The salt of the password in a Secret.
pub(super) fn salt_in(secret: &Secret) -> Option<Salt> {
    let config = secret.data.as_ref()?.get(Login::KEY)?;
    let config: Value = serde_json::from_slice(&config.0).ok()?;
    let login = config.get("auths")?.as_object()?.values().next()?;
    Salt::of(login.get("password")?.as_str()?)
}

fn secrets(deployer: &FluxDeployer, means: Means, context: &Context) -> Vec<Secret> {
    let secret = |name: &str, kind: &str, key: &str, value: Vec<u8>| Secret {
        metadata: ObjectMeta {
            name: Some(context.settings.selection.named(name)),
            namespace: deployer.namespace(),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                FIELD_MANAGER.to_owned(),
            )])),
            owner_references: Some(vec![owner_reference(deployer)]),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(BTreeMap::from([(key.to_owned(), ByteString(value))])),
        ..Secret::default()
    };
    let Means { authority, login } = means;
    let authority = authority.map(|found| secret(CA_SECRET, "Opaque", Authority::KEY, found.0));
    let docker = "kubernetes.io/dockerconfigjson";
    let login = login.map(|found| secret(PULL_SECRET, docker, Login::KEY, found.0));
    authority.into_iter().chain(login).collect()
}

/// Whether `deployer` is one of `owners`, or need not be.
fn is_owned(owners: &[OwnerReference], deployer: &FluxDeployer, context: &Context) -> bool {
    let namespace = deployer.namespace().unwrap_or_default();
    let is_alive = |owner: &&OwnerReference| {
        let found = get(&context.caches.flux_deployers, &namespace, &owner.name);
        found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid))
    };
    let uid = deployer.uid();
    owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
        || owners.iter().filter(is_alive).count() >= OWNERS
}

/// The names of deployers that are to own the Secrets of their namespace now that `gone` does not.
pub(super) fn heirs(gone: &FluxDeployer, context: &Context) -> Vec<String> {
    let namespace = gone.namespace();
    let owners: HashSet<String> = [CA_SECRET, PULL_SECRET]
        .into_iter()
        .filter_map(|name| {
            let name = context.settings.selection.named(name);
            let key = ObjectRef::new(&name).within(namespace.as_deref()?);
            context.caches.tenant_secret(&key)
        })
        .flat_map(|secret| secret.metadata.owner_references.clone().unwrap_or_default())
        .map(|owner| owner.uid)
        .collect();
    if gone.uid().is_none_or(|uid| !owners.contains(&uid)) {
        return Vec::new();
    }
    let deployers = context.caches.flux_deployers.state().into_iter();
    deployers
        .filter(|found| found.namespace() == namespace)
        .filter(|found| found.uid().is_some_and(|uid| !owners.contains(&uid)))
        .take(OWNERS)
        .map(|found| found.name_any())
        .collect()
}

/// Whether a Secret was made for a deployer.
pub(super) fn is_ours(secret: &Secret) -> bool {
    let kind = FluxDeployer::kind(&());
    let group = FluxDeployer::group(&());
    secret
        .owner_references()
        .iter()
        .any(|owner| owner.kind == kind && owner.api_version.split('/').next() == Some(&*group))
}

/// Writes one Secret for one of its owners.
struct Writer<'a> {
    api: Api<Secret>,
    wanted: &'a Secret,
    manager: String,
}

impl Writer<'_> {
    async fn create(&self) -> Result<Secret, Error> {
        let parameters = PostParams {
            field_manager: Some(self.manager.clone()),
            ..PostParams::default()
        };
        match self.api.create(&parameters, self.wanted).await {
            Ok(created) => Ok(created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = self.api.get(&self.wanted.name_any()).await;
                self.apply_over(&found.map_err(|source| self.failed("get", source))?)
                    .await
            }
            Err(source) => Err(self.failed("create", source)),
        }
    }

    /// Applies over what is there, if it was made for a deployer.
    async fn apply_over(&self, seen: &Secret) -> Result<Secret, Error> {
        if !is_ours(seen) {
            let owner = seen.owner_references().first().map_or_else(
                || "nobody that this controller knows".to_owned(),
                |owner| format!("{} {:?}", owner.kind, owner.name),
            );
            return Err(Error::Foreign {
                kind: "Secret".to_owned(),
                namespace: self.namespace(),
                name: self.wanted.name_any(),
                owner,
            });
        }
        let mut wanted = self.wanted.clone();
        wanted.metadata.uid.clone_from(&seen.metadata.uid);
        let parameters = PatchParams::apply(&self.manager).force();
        let name = self.wanted.name_any();
        let patch = Patch::Apply(&wanted);
        let applied = self.api.patch(&name, &parameters, &patch).await;
        applied.map_err(|source| self.failed("apply", source))
    }

    fn namespace(&self) -> String {
        self.wanted.namespace().unwrap_or_default()
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> Error {
        Error::Request {
            verb,
            kind: "Secret".to_owned(),
            namespace: self.namespace(),
            name: self.wanted.name_any(),
            source: Box::new(source),
        }
    }
}
