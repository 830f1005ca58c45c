//! Content read to its last byte and hashed again, where a user asks for no less.

use std::io::Read as _;

use super::signed::Terms;
use super::{Components, Content, Error, Place, Resolved, Result};
use crate::ocm::Resource;

/// What was found when the content of a resource was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recomputed {
    /// Every byte was read, and is the one that the descriptor records the digest of.
    Read {
        /// How many bytes.
        bytes: u64,
    },
    /// Signatures leave the content out, or there is none.
    Excluded,
    /// The access is of a type that is not fetched; the recorded digest was taken as it stands.
    NotFetched,
}

impl Components {
    /// Reads all content of `component`, each blob checked against its digest as it flows.
    ///
    /// What an access leads to was compared with the recorded digest by [`Components::verify`];
    /// this is for the bytes behind it, which a registry could hold other than it says.
    pub async fn recompute(
        &self,
        place: &Place,
        component: &Resolved,
        resource: &Resource,
    ) -> Result<Recomputed> {
        if resource.is_excluded() {
            return Ok(Recomputed::Excluded);
        }
        // What is not used is still read: it was compared with what was signed.
        let terms = Terms::AsFound;
        let component = &component.component;
        let located = self.locate_on(&terms, place, component, resource).await;
        let content = match located {
            Ok(content) => content,
            Err(Error::UnsupportedAccess { .. }) => return Ok(Recomputed::NotFetched),
            Err(error) => return Err(error),
        };
        let bytes = self.read_to_end(place, resource, &content).await?;
        Ok(Recomputed::Read { bytes })
    }

    async fn read_to_end(
        &self,
        place: &Place,
        resource: &Resource,
        content: &Content,
    ) -> Result<u64> {
        let mut reader = self.open(place, content);
        let work = move || {
            let mut buffer = vec![0; 64 * 1024];
            let mut total = 0;
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(total),
                    count => total += count as u64,
                }
            }
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::Aborted { source })?
            .map_err(|source| Error::Hash {
                resource: resource.identity(),
                source,
            })
    }
}
