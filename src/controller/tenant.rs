//! The two Secrets with which a namespace pulls: whom to trust, and the password.
//!
//! Every deployer of the namespace is one of their owners, so they go with the last one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Resource as _;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tracing::warn;

use super::FIELD_MANAGER;
use super::apply::{Error, manager_of, owner_reference};
use super::context::Context;
use super::endpoint::{Endpoint, Handout};
use crate::api::FluxDeployer;
use crate::serve::pull::Salt;
use crate::snapshot::Namespace;

/// The Secret with the authorities to trust, and nothing else: no key is ever in it.
pub(super) const CA_SECRET: &str = "ocm-registry-ca";

/// The Secret with the password.
pub(super) const PULL_SECRET: &str = "ocm-registry-pull";

/// The key of that Secret.
const CONFIG: &str = ".dockerconfigjson";

/// Brings about both Secrets in the namespace of `deployer`.
pub(super) async fn tell(
    deployer: &FluxDeployer,
    endpoint: &Endpoint,
    handout: &Handout,
    context: &Context,
) -> Result<(), Error> {
    let login = login(deployer, endpoint, context);
    for wanted in secrets(deployer, endpoint.address(), handout, login) {
        let key = ObjectRef::from_obj(&wanted);
        let seen = context.caches.tenant_secret(&key);
        if endpoint.told.is_told(&wanted, seen.as_deref()) {
            continue;
        }
        let namespace = wanted.namespace().unwrap_or_default();
        let writer = Writer {
            api: Api::namespaced(context.client.clone(), &namespace),
            wanted: &wanted,
            manager: manager_of(deployer),
        };
        let after = match &seen {
            Some(seen) => writer.apply_over(seen).await?,
            None => writer.create().await?,
        };
        endpoint.told.remember(&wanted, &after);
    }
    Ok(())
}

/// The user that the namespace of `deployer` is, and the salt of its password: the one that is
/// there, or a new one. The registry takes it before anybody can read it.
fn login(
    deployer: &FluxDeployer,
    endpoint: &Endpoint,
    context: &Context,
) -> Option<(Namespace, Salt)> {
    let namespace = deployer.namespace().unwrap_or_default();
    let secret = ObjectRef::new(PULL_SECRET).within(&namespace);
    let seen = context.caches.tenant_secret(&secret);
    // Kubernetes has no namespace whose name this does not take.
    let user: Namespace = namespace.parse().ok()?;
    match endpoint.salt_of(&user, seen.as_deref()) {
        Ok(salt) => Some((user, salt)),
        Err(failure) => {
            warn!(%failure, namespace, "failed to make a password");
            None
        }
    }
}

/// The salt of the password in a Secret.
pub(super) fn salt_in(secret: &Secret) -> Option<Salt> {
    let config = secret.data.as_ref()?.get(CONFIG)?;
    let config: Value = serde_json::from_slice(&config.0).ok()?;
    let login = config.get("auths")?.as_object()?.values().next()?;
    Salt::of(login.get("password")?.as_str()?)
}

fn secrets(
    deployer: &FluxDeployer,
    address: &str,
    handout: &Handout,
    login: Option<(Namespace, Salt)>,
) -> Vec<Secret> {
    let namespace = deployer.namespace().unwrap_or_default();
    let secret = |name: &str, kind: &str, key: &str, value: Vec<u8>| Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
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
    let mut secrets = vec![secret(
        CA_SECRET,
        "Opaque",
        "ca.crt",
        handout.authorities.clone().into_bytes(),
    )];
    if let Some((user, salt)) = login {
        let password = handout.keys.password(&user, salt);
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", *password));
        let login = json!({"username": user.as_str(), "password": *password, "auth": pair});
        let config = json!({"auths": {address: login}}).to_string();
        secrets.push(secret(
            PULL_SECRET,
            "kubernetes.io/dockerconfigjson",
            CONFIG,
            config.into_bytes(),
        ));
    }
    secrets
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
