//! Snapshot: is what it names in the store, whole and right? Only then is it ready.

use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::context::{Context, OutsideRegistry};
use super::driver::Reconcile;
use super::outcome::{Fault, Outcome, Retry, Waiting};
use super::tenant;
use crate::api::{ORIGINAL_SNAPSHOT_FINALIZER, Reason, Snapshot, SnapshotStatus, is_ready};
use crate::deploy::Pullable;
use crate::oci::Digest;
use crate::publish::{self, Published};
use crate::registry::Scheme;
use crate::snapshot::{self, Repository, tag_for};

/// How often is looked whether the content is still there: a stat for each of its files, unless one
/// was changed.
const RECHECK: Duration = Duration::from_mins(1);

/// What can go wrong with a Snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to name the repository of the snapshot")]
    NameRepository { source: snapshot::Error },

    #[error("spec.digest is no digest")]
    ParseDigest { source: crate::oci::Error },

    #[error("failed to read the content of the snapshot")]
    ReadContent { source: publish::Error },

    #[error("failed to take off the finalizer {ORIGINAL_SNAPSHOT_FINALIZER:?}")]
    RemoveFinalizer { source: Box<kube::Error> },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::NameRepository { .. } | Self::ParseDigest { .. } => Reason::InvalidSpec,
            Self::ReadContent { .. } => Reason::StorageOperationFailed,
            Self::RemoveFinalizer { .. } => Reason::ApiServerRequestFailed,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::NameRepository { .. } | Self::ParseDigest { .. } => Retry::OnChange,
            Self::ReadContent { .. } | Self::RemoveFinalizer { .. } => Retry::Backoff,
        }
    }
}

impl Reconcile for Snapshot {
    const NAME: &'static str = "snapshot";
    // Others judge by a Snapshot whether they can go on; hashing its content again after a restart
    // makes it no less ready.
    const SAYS_PROGRESS: bool = false;
    type Status = SnapshotStatus;
    type Error = Error;

    fn status(&self) -> Option<&SnapshotStatus> {
        self.status.as_ref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    fn interval(&self) -> Option<Duration> {
        None
    }

    /// Deletion never waits for this program: content goes when nothing points to it. The Go
    /// ocm-controller did it by a finalizer, which would keep its Snapshots for ever.
    async fn release(&self, context: &Context) -> Result<(), Error> {
        remove_finalizer(self, context).await
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome<SnapshotStatus>, Error> {
        let status = self.status.clone().unwrap_or_default();
        let repository = repository_of(self)?;
        let digest: Digest = self
            .spec
            .digest
            .parse()
            .map_err(|source| Error::ParseDigest { source })?;
        let tag = tag_for(&self.spec.tag);
        let found = context
            .pipeline
            .snapshots()
            .find(&repository, &tag, &digest)
            .await
            .map_err(|source| Error::ReadContent { source })?;
        let Some(Published {
            layer, manifest, ..
        }) = found
        else {
            if let Some(outcome) = self.served_elsewhere(context, &repository).await {
                return Ok(outcome);
            }
            let message = format!(
                "content {digest} of snapshot {repository} is not in the store; it is being made again"
            );
            let waiting = Waiting::new(Reason::SnapshotContentMissing, message);
            return Ok(Outcome::waiting(status, waiting).at_once());
        };
        let status = SnapshotStatus {
            digest: Some(layer.to_string()),
            manifest_digest: Some(manifest.to_string()),
            tag: Some(self.spec.tag.clone()),
            repository_url: Some(url_of(&repository, context)),
            ..status
        };
        let message = format!("Snapshot with name '{}' is ready", self.name_any());
        Ok(Outcome::ready(status, message)
            .again_after(RECHECK)
            .silent()
            .about("snapshot_digest", layer.to_string()))
    }
}

impl Snapshot {
    /// Another registry still has the image, although this process, which may be new, lacks its
    /// content: nothing changes for Flux. The owner makes it again, for those who read it here.
    async fn served_elsewhere(
        &self,
        context: &Context,
        repository: &Repository,
    ) -> Option<Outcome<SnapshotStatus>> {
        let status = self.status.clone()?;
        let is_current = status.digest.as_ref() == Some(&self.spec.digest)
            && status.tag.as_ref() == Some(&self.spec.tag)
            && is_ready(&status.conditions);
        let manifest = status.manifest_digest.as_deref()?.parse().ok()?;
        if !is_current
            || !context
                .pipeline
                .snapshots()
                .serves(repository, &manifest)
                .await
        {
            return None;
        }
        context.queues.make_again(self.meta());
        let message = format!("Snapshot with name '{}' is ready", self.name_any());
        let outcome = Outcome::ready(status, message);
        Some(outcome.again_after(RECHECK).silent())
    }
}

async fn remove_finalizer(snapshot: &Snapshot, context: &Context) -> Result<(), Error> {
    let before = snapshot.finalizers();
    if !before
        .iter()
        .any(|finalizer| finalizer == ORIGINAL_SNAPSHOT_FINALIZER)
    {
        return Ok(());
    }
    let after: Vec<_> = before
        .iter()
        .filter(|finalizer| *finalizer != ORIGINAL_SNAPSHOT_FINALIZER)
        .collect();
    let patch = json!({"metadata": {
        "finalizers": after,
        "resourceVersion": snapshot.resource_version(),
    }});
    let api: Api<Snapshot> = Api::namespaced(
        context.client.clone(),
        &snapshot.namespace().unwrap_or_default(),
    );
    match api
        .patch(
            &snapshot.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::RemoveFinalizer {
            source: Box::new(source),
        }),
    }
}

pub(super) fn repository_of(snapshot: &Snapshot) -> Result<Repository, Error> {
    let namespace = snapshot.namespace().unwrap_or_default();
    Repository::new(&namespace, &snapshot.name_any())
        .map_err(|source| Error::NameRepository { source })
}

/// Where a snapshot lies, for the reader.
fn url_of(repository: &Repository, context: &Context) -> String {
    let settings = &context.settings;
    match &settings.outside_registry {
        Some(OutsideRegistry { url, .. }) => {
            format!("{}://{url}/{repository}", url.endpoint().scheme().as_str())
        }
        None if context.endpoint.is_some() => {
            format!("https://{}/{repository}", settings.registry_address)
        }
        None => format!("http://{}/{repository}", settings.registry_address),
    }
}

/// How Flux pulls a ready snapshot.
pub(super) fn pullable(snapshot: &Snapshot, context: &Context) -> Option<Pullable> {
    let status = snapshot.status.as_ref()?;
    let repository = repository_of(snapshot).ok()?.to_string();
    let manifest = status.manifest_digest.as_deref()?.parse().ok()?;
    let tag = status.tag.as_deref().map(tag_for);
    let named = |name: &str| context.settings.selection.named(name);
    if let Some(outside) = &context.settings.outside_registry {
        let place = outside.url.join(&repository).ok()?;
        return Some(Pullable {
            registry: place.endpoint().authority(),
            repository: place.name().clone(),
            manifest,
            tag,
            plain_http: place.endpoint().scheme() == Scheme::Http,
            ca_secret: outside.ca_secret.as_ref().map(|_| named(tenant::CA_SECRET)),
            pull_secret: outside
                .pull_secret
                .as_ref()
                .map(|_| named(tenant::PULL_SECRET)),
        });
    }
    let secret = |name: &str| context.endpoint.is_some().then(|| named(name));
    Some(Pullable {
        registry: context.settings.registry_address.clone(),
        repository: repository.parse().ok()?,
        manifest,
        tag,
        plain_http: context.endpoint.is_none(),
        ca_secret: secret(tenant::CA_SECRET),
        pull_secret: secret(tenant::PULL_SECRET),
    })
}
