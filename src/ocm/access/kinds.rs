//! The fields of each access type.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::RawAccess;
use crate::oci::Digest;

/// A blob that is stored with the component version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalBlob {
    /// Its digest, or several joined by commas where it was stored in pieces; in a component
    /// archive the name of the file.
    pub local_reference: String,
    /// What the bytes are.
    pub media_type: String,
    /// The name an image should get where it is stored as one.
    #[serde(default)]
    pub reference_name: Option<String>,
    /// Where the same content can be had without the component model.
    #[serde(default)]
    pub global_access: Option<RawAccess>,
}

/// `localOciBlob`, an older form of [`LocalBlob`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LegacyBlob {
    digest: String,
    #[serde(default)]
    media_type: String,
}

impl From<LegacyBlob> for LocalBlob {
    fn from(blob: LegacyBlob) -> Self {
        Self {
            local_reference: blob.digest,
            media_type: blob.media_type,
            reference_name: None,
            global_access: None,
        }
    }
}

/// `localFilesystemBlob`, an older form of [`LocalBlob`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileBlob {
    #[serde(alias = "filename")]
    file_name: String,
    #[serde(default)]
    media_type: String,
}

impl From<FileBlob> for LocalBlob {
    fn from(blob: FileBlob) -> Self {
        Self {
            local_reference: blob.file_name,
            media_type: blob.media_type,
            reference_name: None,
            global_access: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageField {
    pub(super) image_reference: String,
}

#[derive(Deserialize)]
pub(super) struct ReferenceField {
    pub(super) reference: String,
}

/// A blob in an OCI registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciBlob {
    /// Host and repository, as written.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What the bytes are.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many bytes; older writers put -1 where they did not know.
    #[serde(default)]
    pub size: Option<i64>,
}

/// A chart in a chart repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Helm {
    /// The repository's URL, `https://` or `oci://`.
    pub helm_repository: String,
    /// `NAME` or `NAME:VERSION`.
    pub helm_chart: String,
    /// The version, where the chart does not say it.
    #[serde(default)]
    pub version: Option<String>,
    /// Certificates to trust, PEM.
    #[serde(default)]
    pub ca_cert: Option<String>,
    /// Keys that the chart's provenance is checked by.
    #[serde(default)]
    pub keyring: Option<String>,
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wget {
    /// Where to.
    #[serde(rename = "URL", alias = "url")]
    pub url: String,
    /// What the answer is.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Header fields to send.
    #[serde(default)]
    pub header: BTreeMap<String, Vec<String>>,
    /// The method; `GET` where absent.
    #[serde(default)]
    pub verb: Option<String>,
    /// What to send, in base64.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether redirects are errors. The specification writes the field in lower case, the
    /// reference tools do not.
    #[serde(default, alias = "noredirect")]
    pub no_redirect: bool,
}

/// A commit on GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitHub {
    /// Such as `github.com/owner/name`.
    pub repo_url: String,
    /// The host of the API, for GitHub Enterprise.
    #[serde(default)]
    pub api_hostname: Option<String>,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The branch or tag it was on, for the reader.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
}

/// A commit of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Git {
    /// The repository's URL.
    #[serde(alias = "repoUrl")]
    pub repository: String,
    /// The branch or tag.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    /// The commit.
    #[serde(default)]
    pub commit: Option<String>,
}

/// An object in an S3 bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// The region.
    #[serde(default)]
    pub region: Option<String>,
    /// The bucket.
    #[serde(alias = "bucketName")]
    pub bucket: String,
    /// The object's key.
    #[serde(alias = "objectKey")]
    pub key: String,
    /// The version of the object.
    #[serde(default)]
    pub version: Option<String>,
    /// What the bytes are.
    #[serde(default)]
    pub media_type: Option<String>,
}

/// A package of an npm registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Npm {
    /// The registry's URL.
    pub registry: String,
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
}

/// Files of a Maven repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maven {
    /// The repository's URL.
    pub repo_url: String,
    /// The group.
    pub group_id: String,
    /// The artifact.
    pub artifact_id: String,
    /// Its version.
    pub version: String,
    /// Which of the artifact's files.
    #[serde(default)]
    pub classifier: Option<String>,
    /// The file's extension.
    #[serde(default)]
    pub extension: Option<String>,
}

/// A resource of another component version.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ocm {
    /// The repository of that component, as written; the same one where absent.
    #[serde(default)]
    pub ocm_repository: Option<Value>,
    /// The component.
    #[serde(default)]
    pub component: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// Which resource, as written.
    pub resource_ref: Value,
}
