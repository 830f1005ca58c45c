//! What the namespaces that pull were told last, so that nothing is written twice because a watch
//! is late.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;

use crate::oci::Digest;

/// Namespace and name of a Secret.
type Key = (String, String);

#[derive(Debug)]
struct Written {
    content: Digest,
    version: u64,
    owners: Vec<OwnerReference>,
}

/// The Secrets as they were written.
#[derive(Debug, Default)]
pub(in crate::controller) struct Told(Mutex<HashMap<Key, Written>>);

impl Told {
    /// Whether `wanted` is there already, given what the watch shows, with owners that are enough
    /// for `is_owned`.
    pub(in crate::controller) fn is_told(
        &self,
        wanted: &Secret,
        seen: Option<&Secret>,
        is_owned: impl Fn(&[OwnerReference]) -> bool,
    ) -> bool {
        let is_seen = seen.is_some_and(|seen| {
            seen.data == wanted.data
                && seen.type_ == wanted.type_
                && seen.metadata.deletion_timestamp.is_none()
                && is_owned(seen.owner_references())
        });
        let known = self.lock();
        is_seen
            || known.get(&key_of(wanted)).is_some_and(|written| {
                written.content == content_of(wanted)
                    && is_owned(&written.owners)
                    && seen.is_none_or(|seen| version_of(seen) < written.version)
            })
    }

    /// Remembers that the API server answered `after` to `wanted`.
    pub(in crate::controller) fn remember(&self, wanted: &Secret, after: &Secret) {
        let written = Written {
            content: content_of(wanted),
            version: version_of(after),
            owners: after.owner_references().to_vec(),
        };
        self.lock().insert(key_of(wanted), written);
    }

    /// The Secret is gone.
    pub(in crate::controller) fn forget(&self, secret: &Secret) {
        self.lock().remove(&key_of(secret));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(secret: &Secret) -> Key {
    (secret.namespace().unwrap_or_default(), secret.name_any())
}

fn content_of(secret: &Secret) -> Digest {
    Digest::of(serde_json::to_vec(&(&secret.type_, &secret.data)).unwrap_or_default())
}

/// Resource versions of one resource can be compared as numbers.
fn version_of(secret: &Secret) -> u64 {
    let version = secret.resource_version();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}
