//! Completes descriptors with the digests of what they refer to, from the leaves to the root.

use std::collections::HashMap;

use super::{Claim, Contents, Error, Found, Result, Wanted};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::ocm::descriptor::{
    Descriptor, DigestSpec, NestedDigest, NestedResourceDigest, Resource,
};
use crate::ocm::error::component_version;
use crate::ocm::{ComponentName, Version};

/// The computation of one root's digest, by the rules of one claim.
pub(super) struct Run<'a> {
    claim: &'a Claim,
    descriptors: Vec<&'a Descriptor>,
    /// Where each component version stands in `descriptors`.
    positions: HashMap<(&'a ComponentName, &'a Version), usize>,
    /// What the root lists as digests of what is below it; mostly nothing, then each reference
    /// and resource records its own.
    listed: &'a [NestedDigest],
}

/// How far the digest of a component version is.
#[derive(Clone)]
enum Progress {
    Pending,
    /// On the way down: whoever comes here again goes in a circle.
    Open,
    Done(Digest),
}

impl<'a> Run<'a> {
    pub(super) fn new<C: AsRef<Descriptor>>(closure: &'a [C], claim: &'a Claim) -> Self {
        let descriptors: Vec<&Descriptor> = closure.iter().map(AsRef::as_ref).collect();
        let positions = descriptors
            .iter()
            .enumerate()
            .map(|(position, found)| ((&found.name, &found.version), position))
            .collect();
        let listed = descriptors
            .first()
            .map_or([].as_slice(), |root| &root.nested_digests);
        Self {
            claim,
            descriptors,
            positions,
            listed,
        }
    }

    /// The digest of the root with everything below it as it was found.
    pub(super) fn digest_of_root(&self, contents: &Contents) -> Result<Digest> {
        let mut progress = vec![Progress::Pending; self.descriptors.len()];
        self.digest(0, contents, &mut progress)
    }

    /// How the content of `resource` is hashed; `None` where no content is covered.
    pub(super) fn algorithm(&self, component: usize, resource: &Resource) -> Option<Algorithm> {
        if resource.is_excluded() {
            return None;
        }
        let expected = self.expected(component, resource);
        let recorded = expected.and_then(DigestSpec::digest);
        Some(recorded.map_or(self.claim.digest.algorithm(), |digest| digest.algorithm()))
    }

    /// The depth of the recursion is that of the walk that made the closure, which is bounded.
    fn digest(&self, at: usize, contents: &Contents, progress: &mut [Progress]) -> Result<Digest> {
        progress[at] = Progress::Open;
        let mut completed = self.descriptors[at].clone();
        for position in 0..completed.references.len() {
            let digest = self.below(at, position, contents, progress)?;
            completed.references[position].digest = Some(digest);
        }
        for (position, resource) in completed.resources.iter_mut().enumerate() {
            if !resource.is_excluded() {
                resource.digest = Some(self.content(at, position, contents)?);
            }
        }
        let text = self.claim.normalisation.apply(&completed)?;
        let mut hasher = Hasher::new(self.claim.digest.algorithm());
        hasher.update(text.as_bytes());
        let digest = hasher.finish();
        progress[at] = Progress::Done(digest.clone());
        Ok(digest)
    }

    /// The digest of what a reference leads to, compared with what is recorded by the same rules.
    /// What is recorded by other rules cannot be compared and is replaced: either way the digest
    /// goes into that of the root.
    fn below(
        &self,
        at: usize,
        position: usize,
        contents: &Contents,
        progress: &mut [Progress],
    ) -> Result<DigestSpec> {
        let reference = &self.descriptors[at].references[position];
        let key = (&reference.component_name, &reference.version);
        let by = self.name(at);
        let not_read = || Error::NotRead {
            component: component_version(key.0, key.1),
            by: by.clone(),
        };
        let below = *self.positions.get(&key).ok_or_else(not_read)?;
        let digest = match progress[below].clone() {
            Progress::Done(digest) => digest,
            Progress::Open => return Err(not_read()),
            Progress::Pending => self.digest(below, contents, progress)?,
        };
        let found = self.spelled(&digest, &self.claim.spec.normalisation_algorithm);
        let listed = match self.listed(below)? {
            Some(listed) => listed.digest.as_ref(),
            None => None,
        };
        for expected in [reference.digest.as_ref(), listed].into_iter().flatten() {
            let is_comparable = expected.normalisation_algorithm == found.normalisation_algorithm
                && expected.hash_algorithm == found.hash_algorithm;
            if is_comparable && expected.value != found.value {
                return Err(Error::OtherReference {
                    component: self.name(below),
                    by,
                    expected: expected.value.clone(),
                    found: found.value,
                });
            }
        }
        Ok(found)
    }

    /// The digest of a resource's content, which is the recorded one or an error.
    fn content(&self, at: usize, position: usize, contents: &Contents) -> Result<DigestSpec> {
        let resource = &self.descriptors[at].resources[position];
        let unknown = |problem: &str| Error::UnknownContent {
            component: self.name(at),
            resource: resource.identity(),
            problem: problem.to_owned(),
        };
        let expected = self.expected(at, resource);
        if at > 0 && expected.is_none() && self.listed(at)?.is_some() {
            return Err(Error::NotListed {
                component: self.name(0),
                element: format!(
                    "resource {} of component {}",
                    resource.identity(),
                    self.name(at)
                ),
            });
        }
        let recorded = match expected {
            Some(spec) => Some(spec.digest().ok_or_else(|| {
                unknown("its recorded digest is malformed or of an algorithm that is not known")
            })?),
            None => None,
        };
        let algorithm = recorded
            .as_ref()
            .map_or(self.claim.digest.algorithm(), Digest::algorithm);
        let found = contents.get(&Wanted::new(at, position, algorithm));
        let digest = match (found, recorded) {
            (Some(Found::Content(found)), Some(recorded)) if *found != recorded => {
                return Err(Error::OtherContent {
                    component: self.name(at),
                    resource: resource.identity(),
                    expected: recorded.to_string(),
                    found: found.to_string(),
                });
            }
            (Some(Found::Content(found)), _) => found.clone(),
            (Some(Found::Unreadable), Some(recorded)) => recorded,
            (Some(Found::Unreadable), None) => {
                return Err(unknown(
                    "the descriptor records no digest, and its access cannot be read",
                ));
            }
            (None, _) => return Err(unknown("its content was not looked at")),
        };
        let normalisation = expected.map_or_else(
            || {
                if resource.is_artifact() {
                    "ociArtifactDigest/v1"
                } else {
                    "genericBlobDigest/v1"
                }
            },
            |spec| &spec.normalisation_algorithm,
        );
        Ok(self.spelled(&digest, normalisation))
    }

    /// The digest that the content of a resource is recorded to have: by the component version
    /// itself, or else by the root's list.
    fn expected(&self, at: usize, resource: &'a Resource) -> Option<&'a DigestSpec> {
        let listed = || {
            let is_meant = |found: &&NestedResourceDigest| {
                found.name == resource.name
                    && found.version == resource.version
                    && found.extra_identity == resource.extra_identity
            };
            let entry = self.listed(at).ok()??;
            Some(&entry.resource_digests.iter().find(is_meant)?.digest)
        };
        resource.digest.as_ref().or_else(listed)
    }

    /// The root's list for a component version below it; `None` where there is no list at all.
    fn listed(&self, at: usize) -> Result<Option<&'a NestedDigest>> {
        if self.listed.is_empty() || at == 0 {
            return Ok(None);
        }
        let descriptor = self.descriptors[at];
        let is_meant = |found: &&NestedDigest| {
            found.name == descriptor.name && found.version == descriptor.version
        };
        let entry = self.listed.iter().find(is_meant);
        let entry = entry.ok_or_else(|| Error::NotListed {
            component: self.name(0),
            element: format!("component {}", self.name(at)),
        })?;
        Ok(Some(entry))
    }

    /// Writes a digest as the signer did: who spelled the algorithm the older way does so in all
    /// digests.
    fn spelled(&self, digest: &Digest, normalisation: &str) -> DigestSpec {
        let is_legacy = self.claim.spec.hash_algorithm.starts_with("sha");
        let name = match (digest.algorithm(), is_legacy) {
            (Algorithm::Sha256, false) => "SHA-256",
            (Algorithm::Sha512, false) => "SHA-512",
            (Algorithm::Sha256, true) => "sha256",
            (Algorithm::Sha512, true) => "sha512",
        };
        DigestSpec {
            hash_algorithm: name.to_owned(),
            normalisation_algorithm: normalisation.to_owned(),
            value: digest.hex().to_owned(),
        }
    }

    fn name(&self, at: usize) -> String {
        let descriptor = self.descriptors[at];
        component_version(&descriptor.name, &descriptor.version)
    }
}
