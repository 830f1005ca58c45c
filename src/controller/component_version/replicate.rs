//! `spec.destination`: a version is copied there first, and read from there.

use std::sync::Arc;

use super::verify::{self, Taken};
use super::{Chosen, Error, Wanted, place};
use crate::api::{ComponentVersion, Reason};
use crate::components::Place;
use crate::controller::context::Context;
use crate::controller::outcome::Note;
use crate::oci::Digest;
use crate::ocm::signature::Signer;
use crate::repository::RegistryArtifacts;
use crate::transfer::{Destination, ImageNames, Options, Outcome, Silent, Source, Transfer};

/// The copy of a version.
pub(super) struct Replica {
    pub(super) place: Place,
    /// The digest of the copy. It is not that of the source: a copy says where its resources are.
    pub(super) digest: Digest,
    /// What is to be said about it.
    pub(super) note: Option<Note>,
}

impl ComponentVersion {
    /// The repository that versions are read from once they are chosen.
    pub(super) fn home(&self) -> &str {
        let spec = &self.spec;
        let home = spec.destination.as_ref().unwrap_or(&spec.repository);
        &home.url
    }

    /// Copies what was chosen to the destination, if there is one, unless it was copied before
    /// and is still there: then it costs one HEAD.
    pub(super) async fn replicate(
        &self,
        context: &Context,
        from: &Place,
        wanted: &Wanted,
        chosen: &Chosen,
    ) -> Result<Option<Replica>, Error> {
        let Some(destination) = &wanted.destination else {
            return Ok(None);
        };
        let to = place(self, destination.clone(), Arc::clone(&from.credentials))?;
        if let Some(digest) = self.replica(context, &to, wanted, chosen).await? {
            return Ok(Some(Replica {
                place: to,
                digest,
                note: None,
            }));
        }
        let failed = |source| Error::Replicate {
            component: self.spec.component.clone(),
            destination: destination.to_string(),
            source: Box::new(source),
        };
        let transfer = Self::transfer(context, from, &to)?;
        let moved = transfer.run_resolved(&wanted.component, &chosen.version, &chosen.digest);
        let moved = moved.await.map_err(failed)?;
        let note = (moved.outcome == Outcome::Transferred).then(|| Note {
            reason: Reason::Succeeded,
            message: format!(
                "replicated {}:{} to {destination}",
                moved.component, moved.version
            ),
        });
        Ok(Some(Replica {
            place: to,
            digest: moved.digest,
            note,
        }))
    }

    /// Reads the copy, and verifies it as its original was.
    pub(super) async fn accept_replica(
        &self,
        context: &Context,
        wanted: &Wanted,
        chosen: &Chosen,
        replica: &Replica,
        signers: &[Signer],
    ) -> Result<Taken, Error> {
        let (version, Replica { place, digest, .. }) = (&chosen.version, replica);
        if signers.is_empty() {
            let closure = self
                .closure(context, place, wanted, version, digest)
                .await?;
            return Ok(Taken::unverified(closure));
        }
        verify::accept(context, place, wanted, version, digest, signers)
            .await
            .map_err(|source| verify::failed(self, source))
    }

    /// The copy that was made of this content before, if the destination still has it.
    async fn replica(
        &self,
        context: &Context,
        to: &Place,
        wanted: &Wanted,
        chosen: &Chosen,
    ) -> Result<Option<Digest>, Error> {
        let made = self.in_use(wanted).and_then(|(version, digest)| {
            let is_same = version == chosen.version && digest == chosen.digest;
            let tree = self.status.as_ref()?.component_descriptor.as_ref()?;
            is_same.then(|| tree.digest.as_deref()?.parse::<Digest>().ok())?
        });
        let Some(made) = made else {
            return Ok(None);
        };
        let components = context.pipeline.components();
        let found = components
            .resolve(to, &wanted.component, &chosen.version)
            .await;
        match found {
            Ok(found) => Ok((found == made).then_some(made)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::CheckDestination {
                component: self.spec.component.clone(),
                destination: to.repository.to_string(),
                source,
            }),
        }
    }

    fn transfer(context: &Context, from: &Place, to: &Place) -> Result<Transfer, Error> {
        let pool = context.pipeline.components().pool();
        let registry = |place: &Place, field| {
            RegistryArtifacts::at(pool.clone(), &place.repository, from.credentials.clone())
                .map(Arc::new)
                .map_err(|source| Error::DialSpec { field, source })
        };
        Ok(Transfer {
            source: Source {
                artifacts: registry(from, "repository.url")?,
                place: from.repository.clone(),
            },
            destination: Destination {
                target: registry(to, "destination.url")?,
                place: to.repository.clone(),
            },
            pool: pool.clone(),
            credentials: Arc::clone(&from.credentials),
            options: Options {
                copy_resources: true,
                recursive: true,
                overwrite: true,
                image_names: ImageNames::Pinned,
            },
            progress: Arc::new(Silent),
        })
    }
}
