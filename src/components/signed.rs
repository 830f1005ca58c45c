//! Verification of component versions in a registry, and content that signatures cover: found for
//! verification, and held to its digest when it is used.
//!
//! In a registry content is addressed by its digest, and each reader of this program checks what
//! it reads against the address. So a blob is known by its address and not read for verification,
//! unless the descriptor records a digest by another algorithm.

use std::io::Read as _;

use serde_json::json;

use super::content::reference;
use super::kept::Home;
use super::{Components, Content, Error, Place, Resolved, Result};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::ocm::signature::{self, Claim, Contents, Found, Signer, Verified, Wanted};
use crate::ocm::{
    Accepted, Access, BlobDescriptor, BlobLocation, LocalBlob, ReadComponent, Resource,
    is_artifact_set, location,
};
use crate::registry::{Manifest, Reference};
use crate::repository::Archive;
use crate::store;

/// Part of the key of what is remembered: raised when something else is looked at.
const FORMAT: u32 = 1;

impl Components {
    /// Verifies the component version `root` and all it refers to: each of `signers` has to have
    /// signed it.
    ///
    /// Nothing below the root is fetched for a signature that does not hold. Only
    /// [`Error::Signature`] says that this is not what was signed; any other error that it could
    /// not be found out.
    pub async fn verify(
        &self,
        place: &Place,
        root: ReadComponent,
        signers: &[Signer],
    ) -> Result<(Verified<Vec<Resolved>>, Vec<Claim>)> {
        let refused = |source| Error::Signature { source };
        let claims = signature::authenticate(&root.descriptor, signers).map_err(refused)?;
        let closure = self.closure(place, root).await?;
        let wanted = signature::wanted(&closure, &claims);
        let contents = self.find_contents(place, &closure, &wanted).await?;
        let verified = signature::verify(closure, &claims, &contents).map_err(refused)?;
        Ok((verified, claims))
    }

    /// Finds the content that `wanted` names in `closure`, as a signature's verification asks for.
    ///
    /// What was found is remembered for this closure, manifest by manifest: an access by a tag is
    /// looked at once, and later readers hold what it leads to against the recorded digest again.
    async fn find_contents(
        &self,
        place: &Place,
        closure: &[Resolved],
        wanted: &[Wanted],
    ) -> Result<Contents> {
        let manifests: Vec<_> = closure
            .iter()
            .map(|found| &found.component.digest)
            .collect();
        let repository = place.repository.to_string();
        let key =
            Digest::of(json!(["contents", FORMAT, repository, manifests, wanted]).to_string());
        let namespace = place.namespace.clone();
        let known = {
            let (namespace, key) = (namespace.clone(), key.clone());
            self.blocking(move |store| store.derivation::<Vec<(Wanted, Found)>>(&namespace, &key))
                .await?
        };
        if let Some(known) = known {
            return Ok(known.into_iter().collect());
        }
        let mut contents = Contents::new();
        for wanted in wanted {
            let component = &closure[wanted.component].component;
            let resource = &component.descriptor.resources[wanted.resource];
            let algorithm = wanted.algorithm();
            let found = self.find(place, component, resource, algorithm).await?;
            contents.insert(*wanted, found);
        }
        let record: Vec<_> = contents.clone().into_iter().collect();
        self.blocking(
            move |store| match store.set_derivation(&namespace, &key, &record) {
                // A list too long for a record is found again each time.
                Err(store::Error::Encode { .. }) => Ok(()),
                result => result,
            },
        )
        .await?;
        Ok(contents)
    }

    /// The digest of what the access of `resource` leads to.
    pub(crate) async fn find(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
        algorithm: Algorithm,
    ) -> Result<Found> {
        let failed = |source| Error::Locate {
            resource: resource.identity(),
            source,
        };
        match resource.access.typed().map_err(failed)? {
            Access::LocalBlob(blob) => {
                self.find_local(place, component, resource, &blob, algorithm)
                    .await
            }
            Access::OciArtifact { .. } | Access::RelativeOciReference { .. } => {
                let image = location(component, resource).map_err(failed)?;
                let home = self.home_of(place, &image, resource)?;
                let wanted = reference(&image);
                let pull = |source| Error::Pull {
                    resource: resource.identity(),
                    source,
                };
                if algorithm == Algorithm::Sha256 {
                    let found = home.artifacts.resolve(&home.name, &wanted).await;
                    return Ok(Found::Content(found.map_err(pull)?.digest));
                }
                let manifest = home.artifacts.manifest(&home.name, &wanted).await;
                Ok(Found::Content(digest_of(
                    &manifest.map_err(pull)?,
                    algorithm,
                )))
            }
            Access::OciBlob(blob) if blob.digest.algorithm() == algorithm => {
                Ok(Found::Content(blob.digest))
            }
            Access::OciBlob(_) => {
                let terms = Terms::AsFound;
                let located = self.locate_on(&terms, place, component, resource);
                let content = located.await?;
                self.hash(place, resource, &content, algorithm).await
            }
            access @ (Access::Helm(_) | Access::Wget(_)) => {
                self.find_outside(place, resource, &access, algorithm).await
            }
            _ => Ok(Found::Unreadable),
        }
    }

    async fn find_local(
        &self,
        place: &Place,
        component: &ReadComponent,
        resource: &Resource,
        blob: &LocalBlob,
        algorithm: Algorithm,
    ) -> Result<Found> {
        let failed = |source| Error::Locate {
            resource: resource.identity(),
            source,
        };
        let home = self.home(place, &component.descriptor.name)?;
        match component.local_blob(resource, blob).map_err(failed)? {
            BlobLocation::Blobs(blobs) if is_set(resource, &blob.media_type, &blobs) => {
                match blobs.as_slice() {
                    [set] if is_artifact_set(&blob.media_type) => {
                        self.find_in_set(place, resource, &home, set, algorithm)
                            .await
                    }
                    _ => Ok(Found::Unreadable),
                }
            }
            BlobLocation::Blobs(blobs) => {
                if let [only] = blobs.as_slice()
                    && only.digest.algorithm() == algorithm
                {
                    return Ok(Found::Content(only.digest.clone()));
                }
                let content = Content::of_blobs(&home, blobs);
                self.hash(place, resource, &content, algorithm).await
            }
            BlobLocation::Manifest(digest) if digest.algorithm() == algorithm => {
                Ok(Found::Content(digest))
            }
            BlobLocation::Manifest(digest) => {
                let wanted = Reference::Digest(digest);
                let manifest = home.artifacts.manifest(&home.name, &wanted).await;
                let manifest = manifest.map_err(|source| Error::Pull {
                    resource: resource.identity(),
                    source,
                })?;
                Ok(Found::Content(digest_of(&manifest, algorithm)))
            }
        }
    }

    /// The digest of the artifact in a file that holds all of one, once its content was compared
    /// with what its manifests say.
    async fn find_in_set(
        &self,
        place: &Place,
        resource: &Resource,
        home: &Home,
        set: &BlobDescriptor,
        algorithm: Algorithm,
    ) -> Result<Found> {
        let label = format!("{home}@{}", set.digest);
        let content = Content::of_blobs(home, vec![set.clone()]);
        let reader = self.open(place, &content);
        let unpacking = tokio::task::spawn_blocking(move || Archive::unpack_set(&label, reader));
        let pull = |source| Error::Pull {
            resource: resource.identity(),
            source,
        };
        let unpacked = unpacking
            .await
            .map_err(|source| Error::Aborted { source })?;
        let (archive, main) = unpacked.map_err(pull)?;
        let manifest = archive.check_set(&main).await.map_err(pull)?;
        Ok(Found::Content(digest_of(&manifest, algorithm)))
    }

    pub(super) async fn hash(
        &self,
        place: &Place,
        resource: &Resource,
        content: &Content,
        algorithm: Algorithm,
    ) -> Result<Found> {
        let mut reader = self.open(place, content);
        let work = move || {
            let mut hasher = Hasher::new(algorithm);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(Found::Content(hasher.finish())),
                    count => hasher.update(&buffer[..count]),
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

/// What the content of a resource has to be, so that it may be used.
#[derive(Debug)]
pub(super) enum Terms {
    /// The content with this digest, which signatures cover.
    Signed(Digest),
    /// What the access leads to: nobody asked for signatures.
    AsFound,
}

impl Terms {
    /// On which terms the content of a resource of `component` is used. Of what was verified,
    /// content without a recorded digest is not used at all.
    pub(super) fn of(component: &Accepted, resource: &Resource) -> Result<Self> {
        match (component, resource.content_digest()) {
            (Accepted::NotAsked(_), _) => Ok(Self::AsFound),
            (Accepted::Verified(_), _) if resource.is_excluded() => Err(unsigned(
                resource,
                "it is excluded from the signature (NO-DIGEST)",
            )),
            (Accepted::Verified(_), None) => Err(unsigned(
                resource,
                "its descriptor records no digest of it, or one by an algorithm that is not known",
            )),
            (Accepted::Verified(_), Some(digest)) => Ok(Self::Signed(digest)),
        }
    }

    /// The recorded digest of an artifact packed in a blob says nothing of the blob's other
    /// content.
    pub(super) fn refuse_artifact_set(&self, resource: &Resource) -> Result<()> {
        match self {
            Self::Signed(_) => Err(unsigned(
                resource,
                "the digest is that of a manifest inside the blob; transfer the component with \
                 its resources as OCI artifacts",
            )),
            Self::AsFound => Ok(()),
        }
    }

    /// A tag leads to a blob by SHA-256, which a digest by SHA-512 says nothing of before it is
    /// read.
    pub(super) fn refuse_other_algorithm(&self, resource: &Resource) -> Result<()> {
        match self {
            Self::Signed(_) => Err(unsigned(
                resource,
                "its digest is recorded by SHA-512, and a tag says where it is; transfer the \
                 component with its resources",
            )),
            Self::AsFound => Ok(()),
        }
    }

    /// A tag may lead elsewhere by now: what is used is what was signed.
    pub(super) fn check_manifest(&self, resource: &Resource, manifest: &Manifest) -> Result<()> {
        let Self::Signed(expected) = self else {
            return Ok(());
        };
        let found = digest_of(manifest, expected.algorithm());
        if found == *expected {
            return Ok(());
        }
        Err(Error::DigestMismatch {
            resource: resource.identity(),
            expected: expected.clone(),
            found,
        })
    }
}

fn unsigned(resource: &Resource, problem: &'static str) -> Error {
    Error::Unsigned {
        resource: resource.identity(),
        problem,
    }
}

/// Whether the recorded digest is that of the artifact that is packed in the one blob, and not that
/// of the blob. Writers do not agree on the name of such a digest: the successor of the reference
/// tool calls it as that of any blob.
pub(super) fn is_set(resource: &Resource, media_type: &str, blobs: &[BlobDescriptor]) -> bool {
    let [set] = blobs else {
        return records_manifest(resource);
    };
    let recorded = resource.content_digest();
    records_manifest(resource)
        || is_artifact_set(media_type)
            && recorded.is_some_and(|recorded| {
                recorded.algorithm() == set.digest.algorithm() && recorded != set.digest
            })
}

/// Whether the recorded digest is that of a manifest and not of the bytes that are delivered.
pub(super) fn records_manifest(resource: &Resource) -> bool {
    let spec = resource.digest.as_ref();
    spec.is_some_and(|spec| spec.normalisation_algorithm.starts_with("ociArt"))
}

pub(super) fn digest_of(manifest: &Manifest, algorithm: Algorithm) -> Digest {
    if manifest.digest.algorithm() == algorithm {
        return manifest.digest.clone();
    }
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&manifest.bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::ocm::fixture::read;
    use crate::registry::{Content, ImageIndex};

    /// The terms of a component version that was verified.
    fn signed(resource: &Resource) -> Result<Terms> {
        let component = read(
            "ctf/podinfo-signed",
            "ghcr.io",
            "phoban.io/podinfo",
            "6.3.5",
        );
        let recorded = component.digest.clone();
        let verified = Verified::again(component, &recorded).unwrap();
        Terms::of(&Accepted::Verified(verified), resource)
    }

    fn as_found(resource: &Resource) -> Terms {
        let component = read(
            "ctf/podinfo-signed",
            "ghcr.io",
            "phoban.io/podinfo",
            "6.3.5",
        );
        Terms::of(&Accepted::NotAsked(component), resource).unwrap()
    }

    fn resource(normalisation: &str, hash: &str, value: &str) -> Resource {
        let digest = json!({"hashAlgorithm": hash, "normalisationAlgorithm": normalisation,
                            "value": value});
        serde_json::from_value(json!({
            "name": "thing", "version": "1.0.0", "type": "ociImage", "digest": digest,
            "access": {"type": "ociArtifact", "imageReference": "r.example.org/a:1"},
        }))
        .unwrap()
    }

    #[test]
    fn b56_excluded_or_unrecorded_content_is_not_used_where_signatures_are_required() {
        let hex = "ab".repeat(32);
        let excluded = resource("EXCLUDE-FROM-SIGNATURE", "NO-DIGEST", "NO-DIGEST");
        let unknown = resource("genericBlobDigest/v1", "MD5", &hex);
        let mut unrecorded = unknown.clone();
        unrecorded.digest = None;
        for resource in [excluded, unknown, unrecorded] {
            as_found(&resource);
            let refused = signed(&resource);
            assert!(
                matches!(refused, Err(Error::Unsigned { .. })),
                "{resource:?}"
            );
        }
        signed(&resource("genericBlobDigest/v1", "SHA-256", &hex)).unwrap();
        let packed = resource("ociArtifactDigest/v1", "SHA-256", &hex);
        as_found(&packed).refuse_artifact_set(&packed).unwrap();
        let terms = signed(&packed).unwrap();
        assert!(terms.refuse_artifact_set(&packed).is_err());
    }

    #[test]
    fn ghsa_wfqx_gjrf_g28r_cve_2022_47633_manifest_that_is_used_is_the_one_that_was_signed() {
        let bytes = Bytes::from_static(b"{}");
        let index = ImageIndex {
            artifact_type: None,
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let manifest = Manifest {
            digest: Digest::of(&bytes),
            media_type: String::new(),
            content: Content::Index(index),
            bytes: bytes.clone(),
        };
        let mut by_sha512 = Hasher::new(Algorithm::Sha512);
        by_sha512.update(&bytes);
        let by_sha512 = by_sha512.finish();
        let covered = [
            resource("ociArtifactDigest/v1", "SHA-256", manifest.digest.hex()),
            // The successor of the reference tool records the manifest's digest under this name.
            resource("genericBlobDigest/v1", "SHA-256", manifest.digest.hex()),
            resource("ociArtifactDigest/v1", "SHA-512", by_sha512.hex()),
        ];
        for resource in covered {
            let terms = signed(&resource).unwrap();
            terms.check_manifest(&resource, &manifest).unwrap();
        }
        let other = resource("ociArtifactDigest/v1", "SHA-256", &"ab".repeat(32));
        let terms = as_found(&other);
        terms.check_manifest(&other, &manifest).unwrap();
        let refused = signed(&other).unwrap().check_manifest(&other, &manifest);
        assert!(matches!(refused, Err(Error::DigestMismatch { .. })));
    }
}
