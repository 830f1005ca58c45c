//! Moves component versions between registries and archives, with what they deliver.
//!
//! Content flows from one place to the other without being kept, and what the target has is not
//! sent again. Only what signatures do not cover is rewritten: where content is, and where the
//! component was stored. What refers to something is written after it, the component version last.

mod access;
mod artifact;
mod error;
mod outside;
mod progress;
mod report;
mod set;
#[cfg(test)]
mod tests;
mod version;

use std::collections::HashSet;
use std::sync::Arc;

pub use error::{Error, Result};
pub use progress::{Progress, Silent};
pub use report::{Counts, Moved, Outcome};

use crate::ocm::{ComponentName, DescriptorDocument, OcmRepository, ReadComponent, Version, Walk};
use crate::registry::{Credentials, Pool, Reference};
use crate::repository::component::{self, InPlace, Wanted};
use crate::repository::{SharedArtifacts, Target};

/// What is moved, and what may be replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Resources that are elsewhere come along.
    pub copy_resources: bool,
    /// The components that are referred to come along.
    pub recursive: bool,
    /// A version at the target that has other content is replaced.
    pub overwrite: bool,
    /// How copied images are named.
    pub image_names: ImageNames,
}

/// How copied images are named in the component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageNames {
    /// By tag, digest or both, as the source names them: so does the successor of the reference
    /// tool, and the guide.
    #[default]
    AsWritten,
    /// By tag and digest (`name:tag@sha256:…`), as the reference tool and the Go controller do.
    Pinned,
}

/// From where component versions come.
#[derive(Clone)]
pub struct Source {
    /// What is read.
    pub artifacts: SharedArtifacts,
    /// What it is called.
    pub place: OcmRepository,
}

/// Where component versions go.
#[derive(Clone)]
pub struct Destination {
    /// What is written.
    pub target: Arc<dyn Target>,
    /// What it is called.
    pub place: OcmRepository,
}

/// A way from one place to another.
pub struct Transfer {
    /// From where.
    pub source: Source,
    /// Where to.
    pub destination: Destination,
    /// Clients of the registries that accesses name.
    pub pool: Pool,
    /// Who we are there.
    pub credentials: Arc<Credentials>,
    /// What is moved.
    pub options: Options,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// A component version that was read at the source.
struct Read {
    component: ReadComponent,
    document: DescriptorDocument,
}

impl Transfer {
    /// Moves the version of a component, or all that the source has, oldest first.
    pub async fn run(&self, name: &ComponentName, version: Option<&Version>) -> Result<Vec<Moved>> {
        let versions = match version {
            Some(version) => vec![version.clone()],
            None => self.versions(name).await?,
        };
        let mut moved = Vec::new();
        let mut seen = HashSet::new();
        for version in versions {
            let digest = self.resolve(name, &version).await?;
            for read in self.closure(name, &version, &digest).await? {
                let descriptor = &read.component.descriptor;
                if seen.insert((descriptor.name.clone(), descriptor.version.clone())) {
                    moved.push(self.version(read).await?);
                }
            }
        }
        self.finish().await?;
        Ok(moved)
    }

    /// Moves the version of a component whose manifest at the source has `digest`; tells of that
    /// version alone.
    pub async fn run_resolved(
        &self,
        name: &ComponentName,
        version: &Version,
        digest: &crate::oci::Digest,
    ) -> Result<Moved> {
        let mut last = None;
        for read in self.closure(name, version, digest).await? {
            last = Some(self.version(read).await?);
        }
        self.finish().await?;
        // What refers to the others comes last.
        last.ok_or_else(|| Error::NoVersions {
            component: name.clone(),
            place: self.source.place.to_string(),
        })
    }

    async fn finish(&self) -> Result<()> {
        let finished = self.destination.target.finish().await;
        finished.map_err(|source| Error::Finish {
            target: self.destination.place.to_string(),
            source,
        })
    }

    async fn versions(&self, name: &ComponentName) -> Result<Vec<Version>> {
        let failed = |source| component::Error::ListVersions {
            component: name.clone(),
            source,
        };
        let repository = component::repository(&self.source.place, name)?;
        let tags = self.source.artifacts.tags(&repository).await;
        let mut versions = component::versions(&tags.map_err(failed)?);
        if versions.is_empty() {
            return Err(Error::NoVersions {
                component: name.clone(),
                place: self.source.place.to_string(),
            });
        }
        versions.sort_by(|left, right| {
            let order = left.precedence(right);
            order.then_with(|| left.as_str().cmp(right.as_str()))
        });
        Ok(versions)
    }

    async fn resolve(&self, name: &ComponentName, version: &Version) -> Result<crate::oci::Digest> {
        let repository = component::repository(&self.source.place, name)?;
        let tag = Reference::Tag(version.tag().clone());
        let resolved = self.source.artifacts.resolve(&repository, &tag).await;
        let resolved = resolved.map_err(|source| component::Error::read(name, version, source))?;
        Ok(resolved.digest)
    }

    /// The component version and, where they come along, those that it refers to: what is
    /// referred to before what refers to it.
    async fn closure(
        &self,
        name: &ComponentName,
        version: &Version,
        digest: &crate::oci::Digest,
    ) -> Result<Vec<Read>> {
        let malformed = |source| component::Error::FollowReferences { source };
        let root = self.read(&self.source, name, version, digest).await?;
        if !self.options.recursive {
            return Ok(vec![root]);
        }
        let mut walk = Walk::new(root.component.descriptor.clone());
        let mut all = vec![root];
        while let Some(request) = walk.next_request().map_err(malformed)? {
            let name = request.reference.component_name.clone();
            let version = request.reference.version.clone();
            let digest = self.resolve(&name, &version).await?;
            let read = self.read(&self.source, &name, &version, &digest).await?;
            let descriptor = read.component.descriptor.clone();
            walk.supply(request, descriptor).map_err(malformed)?;
            all.push(read);
        }
        // A walk comes to each version before those below it that it alone leads to.
        all.reverse();
        Ok(all)
    }

    async fn read(
        &self,
        source: &Source,
        name: &ComponentName,
        version: &Version,
        digest: &crate::oci::Digest,
    ) -> Result<Read> {
        let repository = component::repository(&source.place, name)?;
        let wanted = Wanted {
            place: &source.place,
            repository: &repository,
            name,
            version,
        };
        let parts = InPlace {
            artifacts: &*source.artifacts,
            wanted: &wanted,
        };
        let read = component::read(&parts, &wanted, digest).await;
        let (component, document) = read?;
        Ok(Read {
            component,
            document,
        })
    }
}
