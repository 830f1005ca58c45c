//! Where the image of a resource is pulled from.

use super::{
    Access, BlobLocation, Error, LocalBlob, OciBlob, RawAccess, ReadComponent, Resource, Result,
};
use crate::oci::{Algorithm, ImageReference};

/// The reference by which the image of `resource` can be pulled, as its access gives it.
///
/// Nothing is added to what is written there, neither a tag nor a digest. An image that is stored
/// with the component version and says no global access gets the name under which the registry it
/// was read from has it.
pub fn location(component: &ReadComponent, resource: &Resource) -> Result<ImageReference> {
    match resource.access.typed()? {
        Access::LocalBlob(blob) => match &blob.global_access {
            Some(global) => outside(component, resource, global),
            None => inside(component, resource, &blob),
        },
        _ => outside(component, resource, &resource.access),
    }
}

/// The reference of the image of `resource` with the digest that the component records of it, which
/// is the one that signatures cover.
///
/// An error where it records none, and where the access names another digest.
pub fn pinned_location(component: &ReadComponent, resource: &Resource) -> Result<ImageReference> {
    let reference = location(component, resource)?;
    let wrong = |problem: String| Error::Locate {
        resource: resource.identity(),
        problem,
    };
    let recorded = resource
        .content_digest()
        .filter(|digest| digest.algorithm() == Algorithm::Sha256)
        .ok_or_else(|| {
            wrong(format!(
                "{reference} cannot be pinned, since the component records no SHA-256 digest of it"
            ))
        })?;
    match reference.digest() {
        Some(named) if *named != recorded => Err(wrong(format!(
            "its access names {reference}, the component records digest {recorded}"
        ))),
        _ => Ok(reference.pinned(recorded)),
    }
}

/// An access that is usable without the component model.
fn outside(
    component: &ReadComponent,
    resource: &Resource,
    access: &RawAccess,
) -> Result<ImageReference> {
    let parse = |reference: &str| {
        reference.parse().map_err(|source| Error::ParseImage {
            resource: resource.identity(),
            source,
        })
    };
    match access.typed()? {
        Access::OciArtifact { image_reference } => parse(&image_reference),
        Access::RelativeOciReference { reference } => parse(&format!(
            "{}/{}",
            component.repository.written_host()?,
            reference.trim_start_matches('/')
        )),
        Access::OciBlob(OciBlob {
            reference, digest, ..
        }) => Ok(parse(&reference)?.pinned(digest)),
        // A global access that is local again would lead nowhere, however deep it is nested.
        Access::LocalBlob(_)
        | Access::Helm(_)
        | Access::Wget(_)
        | Access::GitHub(_)
        | Access::Git(_)
        | Access::S3(_)
        | Access::Npm(_)
        | Access::Maven(_)
        | Access::Ocm(_)
        | Access::None
        | Access::Other(_) => Err(Error::Locate {
            resource: resource.identity(),
            problem: format!(
                "its access is of type {:?}, whose content can't be pulled as an image",
                access.kind()
            ),
        }),
    }
}

/// An image that is a manifest in the component's own repository.
fn inside(
    component: &ReadComponent,
    resource: &Resource,
    blob: &LocalBlob,
) -> Result<ImageReference> {
    match component.local_blob(resource, blob)? {
        BlobLocation::Manifest(digest) => component
            .repository
            .reference(&component.descriptor.name, digest),
        BlobLocation::Blobs(_) => Err(Error::Locate {
            resource: resource.identity(),
            problem: format!(
                "its access is of type {:?} with media type {:?}, stored as a blob; transfer the \
                 component with its resources as OCI artifacts",
                resource.access.kind(),
                blob.media_type
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ocm::ResourceSelector;
    use crate::ocm::fixture::read;

    const PODINFO: &str = "phoban.io/podinfo";
    const IMAGE: &str = "d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";

    fn located(component: &ReadComponent, extra_identity: &[(&str, &str)]) -> String {
        let selector = ResourceSelector {
            name: "image".to_owned(),
            extra_identity: extra_identity.iter().copied().collect(),
            version: None,
        };
        let found = component.descriptor.find_resource(&selector).unwrap();
        location(component, found.resource).unwrap().to_string()
    }

    /// The location of podinfo's image if its access were `access`.
    fn located_by(access: Value) -> Result<ImageReference> {
        let component = read(
            "registry/phoban01-air-gapped",
            "ghcr.io/phoban01/air-gapped",
            PODINFO,
            "6.3.5",
        );
        let mut resource = component.descriptor.resources[2].clone();
        resource.access = serde_json::from_value(access).unwrap();
        location(&component, &resource)
    }

    #[test]
    fn image_comes_from_where_the_component_was_transferred_to() {
        let pinned = format!("stefanprodan/podinfo:6.3.5@sha256:{IMAGE}");
        for (place, expected) in [
            (
                "air-gapped",
                "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5".to_owned(),
            ),
            (
                "air-gapped-v1",
                format!("ghcr.io/phoban01/air-gapped-v1/{pinned}"),
            ),
            (
                "air-gapped-blobs",
                format!(
                    "ghcr.io/phoban01/air-gapped-blobs/component-descriptors/phoban.io/podinfo\
                     @sha256:{IMAGE}"
                ),
            ),
        ] {
            let component = read(
                &format!("registry/phoban01-{place}"),
                &format!("https://ghcr.io/phoban01/{place}"),
                PODINFO,
                "6.3.5",
            );
            assert_eq!(located(&component, &[]), expected);
        }
    }

    #[test]
    fn b55_pinned_image_has_the_recorded_digest_or_none_is_given() {
        let name = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";
        let component = read(
            "registry/phoban01-air-gapped",
            "ghcr.io/phoban01/air-gapped",
            PODINFO,
            "6.3.5",
        );
        let pinned = |access: Option<&str>, change: fn(&mut Resource)| {
            let mut resource = component.descriptor.resources[2].clone();
            if let Some(access) = access {
                let access = json!({"type": "ociArtifact", "imageReference": access});
                resource.access = serde_json::from_value(access).unwrap();
            }
            change(&mut resource);
            pinned_location(&component, &resource).map(|found| found.to_string())
        };
        let expected = format!("{name}@sha256:{IMAGE}");
        assert_eq!(pinned(None, |_| ()).unwrap(), expected);
        assert_eq!(pinned(Some(&expected), |_| ()).unwrap(), expected);
        // Wherever the access leads, only the recorded content is pulled from there.
        assert_eq!(
            pinned(Some("evil.example.org/x:1"), |_| ()).unwrap(),
            format!("evil.example.org/x:1@sha256:{IMAGE}")
        );
        let other = format!("{name}@sha256:{}", "0".repeat(64));
        assert!(pinned(Some(&other), |_| ()).is_err());
        assert!(pinned(None, |resource| resource.digest = None).is_err());
    }

    #[test]
    fn extra_identity_tells_images_apart() {
        let echo = read(
            "registry/example-air-gapped",
            "ghcr.io/example/air-gapped",
            "example.org/echo",
            "1.2.0",
        );
        for (architecture, digest) in [
            (
                "amd64",
                "389e76aa60e9319daa2c09e4d1cf6e939b6e8c73b54e856d3c15c4045c480f89",
            ),
            (
                "arm64",
                "1ae7308a19510c0aa88766d5099c48f0bb136594b0d11072483e985e97fafb25",
            ),
        ] {
            assert_eq!(
                located(&echo, &[("architecture", architecture)]),
                format!("ghcr.io/example/air-gapped/echo:1.0.0-{architecture}@sha256:{digest}")
            );
        }
    }

    #[test]
    fn every_access_that_names_an_image_locates_it() {
        let digest = format!("sha256:{IMAGE}");
        let blob = json!({"type": "ociBlob/v1", "ref": "r.io/a", "mediaType": "x/y",
                          "digest": digest, "size": 3});
        let cases = [
            (
                json!({"type": "OCIImage/v1", "imageReference": "r.io/a:1"}),
                "r.io/a:1".to_owned(),
            ),
            (
                json!({"type": "ociRegistry", "imageReference": "nginx"}),
                "nginx".to_owned(),
            ),
            (
                json!({"type": "relativeOciReference", "reference": "a/b:1"}),
                "ghcr.io/a/b:1".to_owned(),
            ),
            (blob.clone(), format!("r.io/a@{digest}")),
            (
                json!({"type": "localBlob", "localReference": digest, "mediaType": "x/y",
                       "globalAccess": blob}),
                format!("r.io/a@{digest}"),
            ),
        ];
        for (access, expected) in cases {
            assert_eq!(located_by(access).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn b53_access_without_an_image_is_refused_by_its_type() {
        let digest = format!("sha256:{IMAGE}");
        let mut nested = json!({"type": "ociArtifact", "imageReference": "r.io/a:1"});
        for _ in 0..10 {
            nested = json!({"type": "localBlob", "localReference": digest, "mediaType": "x/y",
                            "globalAccess": nested});
        }
        for (access, kind) in [
            (json!({"type": "none"}), "none"),
            (json!({"type": "carrierPigeon/v7"}), "carrierPigeon/v7"),
            (
                json!({"type": "ociArtifact/v9", "imageReference": "r.io/a"}),
                "ociArtifact/v9",
            ),
            (json!({"type": "wget", "url": "https://r.io/a"}), "wget"),
            (json!({"type": "ociArtifact"}), "ociArtifact"),
            (nested, "localBlob"),
        ] {
            let error = located_by(access).unwrap_err().to_string();
            assert!(error.contains(&format!("{kind:?}")), "{error}");
        }
    }

    #[test]
    fn b78_malformed_image_reference_is_an_error() {
        for reference in [
            "",
            "r.io/A:1",
            "r.io/a:",
            "https://r.io/a:1",
            "r.io/a@sha256:00",
        ] {
            let access = json!({"type": "ociArtifact", "imageReference": reference});
            assert!(located_by(access).is_err(), "{reference:?} was accepted");
        }
    }

    #[test]
    fn image_stored_as_an_archive_has_no_location() {
        let component = read(
            "ctf/podinfo-copied",
            "registry.example.org",
            PODINFO,
            "6.3.5",
        );
        let error = location(&component, &component.descriptor.resources[2]).unwrap_err();
        assert!(error.to_string().contains("+tar+gzip"), "{error}");
    }
}
