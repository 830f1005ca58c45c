//! Writing objects: server-side apply by one field manager, and only where something differs.

mod written;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::json;

use super::takeover::{is_to_take_over, taken_over};
use super::{FIELD_MANAGER, outcome::Retry};
use crate::api::Reason;
use crate::oci::Digest;
use crate::store::Store;

use written::Memory;

/// What went wrong when an object was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The API server refused, or cannot be reached.
    #[error("failed to {verb} {kind} {namespace}/{name}")]
    Request {
        verb: &'static str,
        kind: String,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    /// The name is taken.
    #[error(
        "{kind} {namespace}/{name} exists and belongs to {owner}: give this object another name, or \
         delete that one"
    )]
    Foreign {
        kind: String,
        namespace: String,
        name: String,
        owner: String,
    },

    /// The kind is not installed.
    #[error("kind {kind} ({api_version}) is not installed in the cluster: install Flux")]
    NotInstalled { kind: String, api_version: String },
}

impl Error {
    /// The reason, where it says more than `otherwise`.
    pub(super) fn reason(&self, otherwise: Reason) -> Reason {
        match self {
            Self::Request { .. } => otherwise,
            Self::Foreign { .. } => Reason::Conflict,
            Self::NotInstalled { .. } => Reason::FluxNotInstalled,
        }
    }

    fn is_conflict(&self) -> bool {
        match self {
            Self::Request { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.is_conflict())
            }
            Self::Foreign { .. } | Self::NotInstalled { .. } => false,
        }
    }

    /// When to try again: objects of others and missing kinds are not always watched.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Request { .. } | Self::Foreign { .. } | Self::NotInstalled { .. } => {
                Retry::Backoff
            }
        }
    }
}

/// How often fields are taken over from an object that changes meanwhile.
const TAKE_OVER_ATTEMPTS: u32 = 5;

/// Writes objects and remembers what it wrote.
pub(super) struct Applier {
    client: Client,
    written: Arc<Memory>,
}

/// Whether an object may exist already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Creation {
    /// Its name is ours alone: it is applied.
    Apply,
    /// Somebody may have an object of that name: it is created, and applied only if it is ours.
    Exclusive,
}

impl Applier {
    /// Writes by `client`, and keeps in `store` what it wrote.
    pub(super) fn new(client: Client, store: Store) -> Self {
        Self {
            client,
            written: Arc::new(Memory::new(store)),
        }
    }

    /// What was written so far.
    pub(super) fn written(&self) -> &Arc<Memory> {
        &self.written
    }

    /// Brings `object` about as `manager`. `seen` is its metadata as the watch shows it.
    pub(super) async fn apply(
        &self,
        kind: &ApiResource,
        object: &DynamicObject,
        manager: &str,
        creation: Creation,
        seen: Option<&ObjectMeta>,
    ) -> Result<(), Error> {
        let content = Digest::of(serde_json::to_vec(object).unwrap_or_default());
        if self.written.is_as_written(kind, manager, &content, seen) {
            return Ok(());
        }
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, kind);
        let writer = Writer {
            api,
            kind,
            object,
            manager,
        };
        let after = match (creation, seen) {
            (Creation::Exclusive, None) => writer.create().await?,
            (Creation::Exclusive, Some(seen)) => writer.apply_if_ours(seen).await?,
            (Creation::Apply, seen) => writer.apply_over(seen).await?,
        };
        self.written.remember(kind, manager, content, after);
        Ok(())
    }

    /// Deletes an object that `seen` shows, and no other of its name.
    pub(super) async fn delete(&self, kind: &ApiResource, seen: &ObjectMeta) -> Result<(), Error> {
        let (namespace, name) = (
            seen.namespace.clone().unwrap_or_default(),
            seen.name.clone().unwrap_or_default(),
        );
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, kind);
        let preconditions = Preconditions {
            uid: seen.uid.clone(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(&name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                Ok(())
            }
            Err(source) => {
                let kind = kind.kind.clone();
                Err(Error::Request {
                    verb: "delete",
                    kind,
                    namespace,
                    name,
                    source: Box::new(source),
                })
            }
        }
    }

    /// Whether what the watch shows of an object is not older than what was written last.
    pub(super) fn is_seen(&self, kind: &ApiResource, seen: &ObjectMeta) -> bool {
        self.written.is_seen(kind, seen)
    }
}

/// Writes one object.
struct Writer<'a> {
    api: Api<DynamicObject>,
    kind: &'a ApiResource,
    object: &'a DynamicObject,
    manager: &'a str,
}

impl Writer<'_> {
    async fn create(&self) -> Result<ObjectMeta, Error> {
        let created = match self.try_to_create().await? {
            Some(created) => Some(created),
            // What had the name was on its way out, and is gone now.
            None => self.try_to_create().await?,
        };
        match created {
            Some(created) => Ok(created),
            None => self.get().await,
        }
    }

    /// Creates the object, or applies it over one of ours; `None` where one of that name was there
    /// and went in between.
    async fn try_to_create(&self) -> Result<Option<ObjectMeta>, Error> {
        let parameters = PostParams {
            field_manager: Some(self.manager.to_owned()),
            ..PostParams::default()
        };
        match self.api.create(&parameters, self.object).await {
            Ok(created) => Ok(Some(created.metadata)),
            Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
                let found = self.api.get_metadata_opt(&self.object.name_any()).await;
                match found.map_err(|source| self.failed("get", source))? {
                    Some(found) => self.apply_if_ours(&found.metadata).await.map(Some),
                    None => Ok(None),
                }
            }
            Err(source) => Err(self.failed("create", source)),
        }
    }

    async fn apply_if_ours(&self, seen: &ObjectMeta) -> Result<ObjectMeta, Error> {
        let ours = |reference: &OwnerReference| {
            self.object
                .owner_references()
                .iter()
                .any(|owner| owner.uid == reference.uid)
        };
        let owners = seen.owner_references.as_deref().unwrap_or_default();
        if !owners.iter().any(ours) {
            let owner = owners.first().map_or_else(
                || "nobody that this controller knows".to_owned(),
                |owner| format!("{} {:?}", owner.kind, owner.name),
            );
            return Err(Error::Foreign {
                kind: self.kind.kind.clone(),
                namespace: self.namespace(),
                name: self.object.name_any(),
                owner,
            });
        }
        self.apply_over(Some(seen)).await
    }

    /// Applies over what `seen` shows, after taking over fields that were written otherwise.
    async fn apply_over(&self, seen: Option<&ObjectMeta>) -> Result<ObjectMeta, Error> {
        let fields = seen
            .and_then(|seen| seen.managed_fields.as_deref())
            .unwrap_or_default();
        if fields.iter().any(is_to_take_over) {
            self.take_over_fields().await?;
        }
        let mut object = self.object.clone();
        object.metadata.uid = seen.and_then(|seen| seen.uid.clone());
        let parameters = PatchParams::apply(self.manager).force();
        let after = self
            .api
            .patch(&self.object.name_any(), &parameters, &Patch::Apply(&object))
            .await
            .map_err(|source| self.failed("apply", source))?;
        Ok(after.metadata)
    }

    async fn take_over_fields(&self) -> Result<(), Error> {
        let mut attempts = 1;
        loop {
            match self.try_to_take_over_fields().await {
                // Somebody wrote the object in between, such as its finalizer.
                Err(error) if error.is_conflict() && attempts < TAKE_OVER_ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    async fn try_to_take_over_fields(&self) -> Result<(), Error> {
        let found = self.get().await?;
        let entries = taken_over(
            found.managed_fields.as_deref().unwrap_or_default(),
            self.manager,
        );
        let patch = json!({"metadata": {
            "resourceVersion": found.resource_version,
            "managedFields": entries,
        }});
        self.api
            .patch_metadata(
                &self.object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await
            .map_err(|source| self.failed("take over the fields of", source))?;
        Ok(())
    }

    async fn get(&self) -> Result<ObjectMeta, Error> {
        let found = self.api.get_metadata(&self.object.name_any()).await;
        Ok(found.map_err(|source| self.failed("get", source))?.metadata)
    }

    fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    fn failed(&self, verb: &'static str, source: kube::Error) -> Error {
        // For a path that it does not serve the API server answers a bare 404, and no Status.
        let not_installed = matches!(&source, kube::Error::Api(status) if status.code == 404
            && status.details.as_ref().is_none_or(|details| details.kind.is_empty()));
        if verb == "create" && not_installed {
            let api_version = self.kind.api_version.clone();
            return Error::NotInstalled {
                kind: self.kind.kind.clone(),
                api_version,
            };
        }
        Error::Request {
            verb,
            kind: self.kind.kind.clone(),
            namespace: self.namespace(),
            name: self.object.name_any(),
            source: Box::new(source),
        }
    }
}

/// Names `owner` as the controller of an object: it goes when its owner goes.
pub(super) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        controller: Some(true),
        ..owner_reference(owner)
    }
}

/// Names `owner` as one of the owners of an object.
pub(super) fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        block_owner_deletion: None,
        controller: None,
    }
}

/// The manager for objects that have several owners: each applies its own part.
pub(super) fn manager_of<K: Resource<DynamicType = ()>>(owner: &K) -> String {
    format!("{FIELD_MANAGER}-{}", owner.uid().unwrap_or_default())
}
