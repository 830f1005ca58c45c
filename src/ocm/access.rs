//! Access specifications: where the content of a resource is.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::error::{Error, Result};

mod kinds;

use kinds::{FileBlob, ImageField, LegacyBlob, ReferenceField};
pub use kinds::{Git, GitHub, Helm, LocalBlob, Maven, Npm, OciBlob, Ocm, S3, Wget};

/// An access specification as it was written: a JSON object with a `type`.
///
/// It is read by [`RawAccess::typed`] only where it is used, so that a type this program does not
/// know, or a field that is missing, spoils that one resource and not the whole component.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RawAccess(Map<String, Value>);

impl<'de> Deserialize<'de> for RawAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Map::deserialize(deserializer)?;
        match object.get("type").and_then(Value::as_str) {
            Some(kind) if !kind.is_empty() => Ok(Self(object)),
            _ => Err(D::Error::custom("an access has no type")),
        }
    }
}

impl RawAccess {
    /// The type as written, such as `ociArtifact/v1`.
    pub fn kind(&self) -> &str {
        self.0
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A specification that was made here; it has to hold a `type`.
    pub(super) fn of(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// The whole specification.
    pub fn object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether the resource has no content at all.
    pub fn is_none(&self) -> bool {
        matches!(self.kind().split('/').next(), Some("none" | "None"))
    }

    /// Reads the specification by its type. A type that is not known is [`Access::Other`]; an
    /// error is a known type that lacks what it needs.
    pub fn typed(&self) -> Result<Access> {
        // Other versions of a type may mean other fields, so they are not known.
        let known = match self.kind().split_once('/') {
            None => self.kind(),
            Some((name, "v1") | (name @ ("s3" | "S3"), "v2")) => name,
            Some(_) => "",
        };
        Ok(match known {
            "localBlob" | "LocalBlob" => Access::LocalBlob(self.read()?),
            "localOciBlob" | "LocalOciBlob" => Access::LocalBlob(self.read::<LegacyBlob>()?.into()),
            "localFilesystemBlob" | "LocalFilesystemBlob" => {
                Access::LocalBlob(self.read::<FileBlob>()?.into())
            }
            "ociArtifact" | "OCIArtifact" | "ociArtefact" | "ociRegistry" | "OCIRegistry"
            | "ociImage" | "OCIImage" => Access::OciArtifact {
                image_reference: self.read::<ImageField>()?.image_reference,
            },
            "relativeOciReference" | "RelativeOciReference" => Access::RelativeOciReference {
                reference: self.read::<ReferenceField>()?.reference,
            },
            "ociBlob" | "OCIBlob" | "ociImageLayer" | "OCIImageLayer" => {
                Access::OciBlob(self.read()?)
            }
            "helm" | "Helm" => Access::Helm(self.read()?),
            "wget" | "Wget" => Access::Wget(self.read()?),
            "gitHub" | "github" | "GitHub" => Access::GitHub(self.read()?),
            "git" | "Git" => Access::Git(self.read()?),
            "s3" | "S3" => Access::S3(self.read()?),
            "npm" | "NPM" => Access::Npm(self.read()?),
            "maven" | "Maven" => Access::Maven(self.read()?),
            "ocm" => Access::Ocm(self.read()?),
            "none" | "None" => Access::None,
            _ => Access::Other(self.kind().to_owned()),
        })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.0.clone())).map_err(|source| Error::ParseAccess {
            kind: self.kind().to_owned(),
            source,
        })
    }
}

/// Where the content of a resource is, by access type. Aliases and `/v1` are folded.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// Stored with the component version; also the older `localOciBlob` and
    /// `localFilesystemBlob`.
    LocalBlob(LocalBlob),
    /// An image or another artifact in an OCI registry.
    OciArtifact {
        /// The reference as written.
        image_reference: String,
    },
    /// An artifact in the registry that the component was read from.
    RelativeOciReference {
        /// The reference without a host.
        reference: String,
    },
    /// A blob in an OCI registry.
    OciBlob(OciBlob),
    /// A chart in a chart repository.
    Helm(Helm),
    /// The answer to an HTTP request.
    Wget(Wget),
    /// A commit on GitHub, as an archive.
    GitHub(GitHub),
    /// A commit of a Git repository.
    Git(Git),
    /// An object in an S3 bucket.
    S3(S3),
    /// A package of an npm registry.
    Npm(Npm),
    /// Files of a Maven repository.
    Maven(Maven),
    /// A resource of another component version.
    Ocm(Ocm),
    /// No content.
    None,
    /// A type that is not known, as written.
    Other(String),
}
