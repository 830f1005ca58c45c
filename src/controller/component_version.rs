//! ComponentVersion: gather (credentials, keys, tags, descriptors) -> choose, verify (pure) ->
//! publish (ComponentDescriptors, status).

mod choose;
mod descriptors;
mod error;
mod replicate;
pub(super) mod verify;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

pub(super) use self::error::Error;
use self::verify::Taken;
use super::context::{Context, OnRepublish};
use super::driver::Reconcile;
use super::outcome::{Note, Outcome};
use crate::api::{ComponentVersion, ComponentVersionStatus, DescriptorReference, Reason};
use crate::components::{self, Place, Resolved};
use crate::oci::Digest;
use crate::ocm::{ComponentName, Constraint, OcmRepository, Version};
use crate::registry::Credentials;
use crate::snapshot::Namespace;

/// What a ComponentVersion asks for, parsed.
struct Wanted {
    component: ComponentName,
    constraint: Constraint,
    repository: OcmRepository,
    destination: Option<OcmRepository>,
}

/// The version that is taken, and what is to be said about it.
struct Chosen {
    version: Version,
    digest: Digest,
    notes: Vec<Note>,
    /// What the tag names now, where that is not taken.
    held: Option<Digest>,
    /// Newer versions that do not verify.
    refused: Vec<Version>,
}

impl Chosen {
    /// The condition's message.
    fn message(&self) -> String {
        let held = self.held.as_ref().map_or_else(String::new, |found| {
            format!(" (held: its tag names {found} now)")
        });
        let applied = format!("Applied version: {}{held}", self.version);
        if self.refused.is_empty() {
            return applied;
        }
        let refused: Vec<_> = self.refused.iter().map(Version::as_str).collect();
        format!(
            "{applied} (not verified and so not used: {})",
            refused.join(", ")
        )
    }
}

impl Reconcile for ComponentVersion {
    const NAME: &'static str = "component_version";
    type Status = ComponentVersionStatus;
    type Error = Error;

    fn status(&self) -> Option<&ComponentVersionStatus> {
        self.status.as_ref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.spec.interval.into())
    }

    /// What the keys of today did not sign is not verified, whatever those of yesterday did: nothing
    /// more is taken out of it.
    fn status_after(&self, error: &Error) -> ComponentVersionStatus {
        let mut status = self.status.clone().unwrap_or_default();
        if error.is_verdict() {
            status.verified = status.verified.map(|_| false);
        }
        status
    }

    fn forget(context: &Context, namespace: &str, name: &str) {
        context.credentials.forget(namespace, name);
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome<ComponentVersionStatus>, Error> {
        let wanted = self.wanted()?;
        let place = self.place(context, &wanted).await?;
        let signers = verify::signers(self, context)
            .await
            .map_err(|source| verify::failed(self, source))?;
        let (mut chosen, mut taken) = if signers.is_empty() {
            let chosen = self.choose(context, &place, &wanted).await?;
            let closure = self
                .closure(context, &place, &wanted, &chosen.version, &chosen.digest)
                .await?;
            (chosen, Taken::unverified(closure))
        } else {
            self.choose_verified(context, &place, &wanted, &signers)
                .await?
        };
        if let Some(replica) = self.replicate(context, &place, &wanted, &chosen).await? {
            taken = self
                .accept_replica(context, &wanted, &chosen, &replica, &signers)
                .await?;
            chosen.notes.extend(replica.note);
        }
        self.publish(context, &taken.closure).await?;
        let tree = descriptors::tree(self, &taken.closure);
        let mut notes = chosen.notes.clone();
        notes.extend(self.republished_below(tree.as_ref()));
        let status = ComponentVersionStatus {
            component_descriptor: tree,
            reconciled_version: Some(chosen.version.to_string()),
            digest: Some(chosen.digest.to_string()),
            verified: taken.is_verified(),
            replicated_repository_url: Some(self.home().to_owned()),
            ..self.status.clone().unwrap_or_default()
        };
        let message = chosen.message();
        let about = format!("{}:{}", wanted.component, chosen.version);
        Ok(Outcome::ready(status, message)
            .again_after(self.spec.interval.into())
            .noting(notes)
            .about("component_version", about))
    }
}

impl ComponentVersion {
    /// What is to be said of versions further below that were pushed again. They are taken.
    fn republished_below(&self, tree: Option<&DescriptorReference>) -> Option<Note> {
        let before = self.status.as_ref()?.component_descriptor.as_ref()?;
        let changed = descriptors::republished(before, tree?);
        if changed.is_empty() {
            return None;
        }
        let message = format!(
            "versions that {} refers to were pushed again; the new content is taken: {}",
            self.spec.component,
            changed.join("; ")
        );
        Some(Note {
            reason: Reason::ComponentVersionRepublished,
            message,
        })
    }

    fn wanted(&self) -> Result<Wanted, Error> {
        let spec = &self.spec;
        let parse = |field| move |source| Error::ParseSpec { field, source };
        Ok(Wanted {
            component: spec.component.parse().map_err(parse("component"))?,
            constraint: self.constraint().parse().map_err(parse("version.semver"))?,
            repository: spec
                .repository
                .url
                .parse()
                .map_err(parse("repository.url"))?,
            destination: spec
                .destination
                .as_ref()
                .map(|destination| destination.url.parse())
                .transpose()
                .map_err(parse("destination.url"))?,
        })
    }

    fn constraint(&self) -> String {
        self.spec.version.semver.clone().unwrap_or_default()
    }

    async fn place(&self, context: &Context, wanted: &Wanted) -> Result<Place, Error> {
        let credentials =
            context
                .credentials
                .read(self)
                .await
                .map_err(|source| Error::ReadCredentials {
                    repository: self.spec.repository.url.clone(),
                    source,
                })?;
        place(self, wanted.repository.clone(), credentials)
    }

    /// Chooses the version.
    async fn choose(
        &self,
        context: &Context,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Chosen, Error> {
        let available = self.available(context, place, wanted).await?;
        let current = self.in_use(wanted);
        let (version, is_listed) = choose::choose(
            &wanted.constraint,
            current.as_ref().map(|(version, _)| version),
            &available,
        )
        .ok_or_else(|| self.no_match(&available))?;
        self.take(context, place, wanted, version, is_listed).await
    }

    fn no_match(&self, available: &[Version]) -> Error {
        Error::NoMatch {
            component: self.spec.component.clone(),
            constraint: self.constraint(),
            found: choose::summary(available),
        }
    }

    fn check_failed(&self, source: components::Error) -> Error {
        Error::CheckVersion {
            component: self.spec.component.clone(),
            constraint: self.constraint(),
            source,
        }
    }

    async fn available(
        &self,
        context: &Context,
        place: &Place,
        wanted: &Wanted,
    ) -> Result<Vec<Version>, Error> {
        let components = context.pipeline.components();
        components
            .versions(place, &wanted.component)
            .await
            .map_err(|source| self.check_failed(source))
    }

    /// Resolves the tag of a version: from here on there are only digests.
    async fn take(
        &self,
        context: &Context,
        place: &Place,
        wanted: &Wanted,
        version: Version,
        is_listed: bool,
    ) -> Result<Chosen, Error> {
        let kept = self
            .in_use(wanted)
            .filter(|(current, _)| *current == version)
            .map(|(_, digest)| digest);
        if let (false, Some(digest)) = (is_listed, kept.clone()) {
            let message =
                format!("version {version} is no longer listed by the repository; it stays in use");
            let note = Note {
                reason: Reason::ComponentVersionInvalid,
                message,
            };
            return Ok(Chosen {
                version,
                digest,
                notes: vec![note],
                held: None,
                refused: Vec::new(),
            });
        }
        let components = context.pipeline.components();
        let found = components
            .resolve(place, &wanted.component, &version)
            .await
            .map_err(|source| self.check_failed(source))?;
        let policy = context.settings.on_republish;
        let (digest, notes) = settle(policy, &version, kept, found.clone());
        Ok(Chosen {
            version,
            held: Some(found).filter(|found| *found != digest),
            digest,
            notes,
            refused: Vec::new(),
        })
    }

    /// The version in use and its digest, if it comes from where the spec points now.
    fn in_use(&self, wanted: &Wanted) -> Option<(Version, Digest)> {
        let status = self.status.as_ref()?;
        let is_same_place = status.replicated_repository_url.as_deref() == Some(self.home());
        let is_same_component =
            status.component_descriptor.as_ref()?.name == wanted.component.as_str();
        if !is_same_place || !is_same_component {
            return None;
        }
        let version = status.reconciled_version.as_deref()?.parse().ok()?;
        Some((version, status.digest.as_deref()?.parse().ok()?))
    }

    async fn closure(
        &self,
        context: &Context,
        place: &Place,
        wanted: &Wanted,
        version: &Version,
        digest: &Digest,
    ) -> Result<Vec<Resolved>, Error> {
        let components = context.pipeline.components();
        let root = components
            .read(place, &wanted.component, version, digest)
            .await
            .map_err(|source| Error::ReadVersion {
                version: version.clone(),
                source,
            })?;
        components
            .closure(place, root)
            .await
            .map_err(|source| Error::FollowReferences {
                version: version.clone(),
                source,
            })
    }

    async fn publish(&self, context: &Context, closure: &[Resolved]) -> Result<(), Error> {
        for resolved in closure {
            let object = descriptors::object(self, resolved);
            let name = object.name_any();
            descriptors::write(self, context, &object)
                .await
                .map_err(|source| Error::WriteDescriptor { name, source })?;
        }
        Ok(())
    }
}

/// Where `component` is read, on its own behalf.
pub(super) fn place(
    component: &ComponentVersion,
    repository: OcmRepository,
    credentials: Arc<Credentials>,
) -> Result<Place, Error> {
    let namespace: Namespace = component
        .namespace()
        .unwrap_or_default()
        .parse()
        .map_err(|source| Error::ParseNamespace { source })?;
    Ok(Place {
        repository,
        archive: None,
        credentials,
        namespace,
        holder: component.uid().unwrap_or_default(),
    })
}

/// Decides about a version in use whose tag names other content now; either way it is said.
fn settle(
    policy: OnRepublish,
    version: &Version,
    kept: Option<Digest>,
    found: Digest,
) -> (Digest, Vec<Note>) {
    let Some(kept) = kept.filter(|kept| *kept != found) else {
        return (found, Vec::new());
    };
    let (digest, what) = match policy {
        OnRepublish::Accept => (found.clone(), "the new content is taken"),
        OnRepublish::Hold => (
            kept.clone(),
            "the content in use is kept (--on-republish=hold)",
        ),
    };
    let message =
        format!("version {version} was pushed again: it was {kept} and is {found} now; {what}");
    (
        digest,
        vec![Note {
            reason: Reason::ComponentVersionRepublished,
            message,
        }],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn republished_version_is_never_taken_or_held_silently() {
        let (old, new) = (Digest::of("old"), Digest::of("new"));
        let version: Version = "1.0.0".parse().unwrap();
        let (digest, notes) = settle(
            OnRepublish::Accept,
            &version,
            Some(old.clone()),
            new.clone(),
        );
        assert_eq!((digest, notes.len()), (new.clone(), 1));
        let (digest, notes) = settle(OnRepublish::Hold, &version, Some(old.clone()), new.clone());
        assert_eq!((digest, notes.len()), (old.clone(), 1));
        assert!(notes[0].message.contains(&old.to_string()));
        assert!(notes[0].message.contains(&new.to_string()));
        let (digest, notes) = settle(OnRepublish::Hold, &version, Some(new.clone()), new.clone());
        assert_eq!((digest, notes.len()), (new, 0));
    }
}
