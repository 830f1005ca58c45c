//! What the namespaces that pull were told last, so that nothing is written twice because a watch
//! is late.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use crate::oci::Digest;

/// Namespace and name of a Secret.
type Key = (String, String);

#[derive(Debug)]
struct Written {
    content: Digest,
    version: u64,
    owners: BTreeSet<String>,
}

/// The Secrets as they were written.
#[derive(Debug, Default)]
pub(in crate::controller) struct Told(Mutex<HashMap<Key, Written>>);

impl Told {
    /// Whether `wanted`, which names one owner, is there already, given what the watch shows.
    pub(in crate::controller) fn is_told(&self, wanted: &Secret, seen: Option<&Secret>) -> bool {
        let owner = owner_of(wanted);
        let is_seen = seen.is_some_and(|seen| {
            seen.data == wanted.data
                && seen.type_ == wanted.type_
                && seen.metadata.deletion_timestamp.is_none()
                && seen
                    .owner_references()
                    .iter()
                    .any(|found| found.uid == owner)
        });
        let known = self.lock();
        is_seen
            || known.get(&key_of(wanted)).is_some_and(|written| {
                written.content == content_of(wanted)
                    && written.owners.contains(&owner)
                    && seen.is_none_or(|seen| version_of(seen) < written.version)
            })
    }

    /// Remembers that the API server answered `after` to `wanted`.
    pub(in crate::controller) fn remember(&self, wanted: &Secret, after: &Secret) {
        let content = content_of(wanted);
        let owners = after.owner_references().iter();
        let written = Written {
            content,
            version: version_of(after),
            owners: owners.map(|owner| owner.uid.clone()).collect(),
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

fn owner_of(secret: &Secret) -> String {
    let owner = secret.owner_references().first();
    owner.map(|owner| owner.uid.clone()).unwrap_or_default()
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
