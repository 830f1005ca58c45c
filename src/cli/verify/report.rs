//! What was verified, by whom, and each digest.

use std::fmt;

use serde::Serialize;

use crate::components::{Components, Place, Recomputed, Resolved, Result};
use crate::oci::Digest;
use crate::ocm::signature::{Claim, Signer};
use crate::ocm::{ComponentName, Identity, Resource, Version};

/// A component version that is what its signers signed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    repository: String,
    component: ComponentName,
    version: Version,
    signatures: Vec<VerifiedSignature>,
    components: Vec<VerifiedComponent>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedSignature {
    name: String,
    /// The digest of the key or certificate that verified it.
    key: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    normalisation: String,
    hash_algorithm: String,
    digest: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedComponent {
    component: ComponentName,
    version: Version,
    /// The digest of its manifest.
    manifest: Digest,
    resources: Vec<VerifiedResource>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedResource {
    identity: Identity,
    version: String,
    #[serde(rename = "type")]
    kind: String,
    access: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalisation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Content {
    Read,
    Excluded,
    NotFetched,
}

/// Verifies a component version with all below it, and reads all content.
pub(super) async fn gather(
    components: &Components,
    place: &Place,
    name: &ComponentName,
    version: &Version,
    signers: &[Signer],
) -> Result<Report> {
    let digest = components.resolve(place, name, version).await?;
    let root = components.read(place, name, version, &digest).await?;
    let (verified, claims) = components.verify(place, root, signers).await?;
    let mut found = Vec::new();
    for component in verified.iter() {
        found.push(look(components, place, component).await?);
    }
    Ok(Report {
        repository: place.repository.to_string(),
        component: name.clone(),
        version: version.clone(),
        signatures: claims.into_iter().map(VerifiedSignature::from).collect(),
        components: found,
    })
}

async fn look(
    components: &Components,
    place: &Place,
    component: &Resolved,
) -> Result<VerifiedComponent> {
    let descriptor = &component.component.descriptor;
    let mut resources = Vec::new();
    for resource in &descriptor.resources {
        let recomputed = components.recompute(place, component, resource).await?;
        resources.push(VerifiedResource::new(resource, recomputed));
    }
    Ok(VerifiedComponent {
        component: descriptor.name.clone(),
        version: descriptor.version.clone(),
        manifest: component.component.digest.clone(),
        resources,
    })
}

impl From<Claim> for VerifiedSignature {
    fn from(claim: Claim) -> Self {
        Self {
            key: claim.key,
            subject: claim.subject,
            normalisation: claim.spec.normalisation_algorithm,
            hash_algorithm: claim.spec.hash_algorithm,
            digest: claim.spec.value,
            name: claim.name,
        }
    }
}

impl VerifiedResource {
    fn new(resource: &Resource, recomputed: Recomputed) -> Self {
        let (content, bytes) = match recomputed {
            Recomputed::Read { bytes } => (Content::Read, Some(bytes)),
            Recomputed::Excluded => (Content::Excluded, None),
            Recomputed::NotFetched => (Content::NotFetched, None),
        };
        let spec = resource.digest.as_ref();
        Self {
            identity: resource.identity(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
            access: resource.access.kind().to_owned(),
            normalisation: spec.map(|spec| spec.normalisation_algorithm.clone()),
            digest: resource.content_digest(),
            content,
            bytes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            repository,
            component,
            version,
            signatures,
            components,
        } = self;
        writeln!(formatter, "verified {repository}//{component}:{version}")?;
        for signature in signatures {
            write!(
                formatter,
                "  signature {:?}: {} {} ({}), key {}",
                signature.name,
                signature.hash_algorithm,
                signature.digest,
                signature.normalisation,
                signature.key,
            )?;
            if let Some(subject) = &signature.subject {
                write!(formatter, " of {subject:?}")?;
            }
            writeln!(formatter)?;
        }
        for found in components {
            writeln!(
                formatter,
                "component {}:{} ({})",
                found.component, found.version, found.manifest
            )?;
            for resource in &found.resources {
                writeln!(formatter, "  {resource}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for VerifiedResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "resource {} ({}): ", self.identity, self.kind)?;
        match (self.content, &self.digest, self.bytes) {
            (Content::Read, Some(digest), Some(bytes)) => {
                write!(formatter, "{digest}, {bytes} bytes read")
            }
            (Content::NotFetched, Some(digest), _) => write!(
                formatter,
                "{digest} as recorded; content of access type {:?} is not fetched",
                self.access
            ),
            _ => write!(formatter, "not covered by the signature"),
        }
    }
}
