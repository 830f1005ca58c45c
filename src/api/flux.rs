//! The kinds of Flux that this program writes and reads. They are Flux's to define.

use kube::core::{ApiResource, GroupVersionKind};

/// OCIRepository, which pulls a snapshot.
pub fn oci_repository() -> ApiResource {
    resource(
        "source.toolkit.fluxcd.io",
        "v1",
        "OCIRepository",
        "ocirepositories",
    )
}

/// Kustomization, which applies manifests.
pub fn kustomization() -> ApiResource {
    resource(
        "kustomize.toolkit.fluxcd.io",
        "v1",
        "Kustomization",
        "kustomizations",
    )
}

/// HelmRelease, which installs a chart.
pub fn helm_release() -> ApiResource {
    resource(
        "helm.toolkit.fluxcd.io",
        "v2",
        "HelmRelease",
        "helmreleases",
    )
}

/// GitRepository, a source of values.
pub fn git_repository() -> ApiResource {
    resource(
        "source.toolkit.fluxcd.io",
        "v1",
        "GitRepository",
        "gitrepositories",
    )
}

/// Bucket, a source of values.
pub fn bucket() -> ApiResource {
    resource("source.toolkit.fluxcd.io", "v1", "Bucket", "buckets")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
