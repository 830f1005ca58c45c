//! Component descriptors: what a component version consists of.
//!
//! Two schemas are read, `v2` and `ocm.software/v3alpha1`, into one type. It keeps everything that
//! signatures cover, access specifications and label values as the JSON they were.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::access::RawAccess;
use super::document;
use super::error::{Error, Result, component_version};
use super::{ComponentName, Identity, Version};
use crate::oci::Digest;

mod check;
mod v2;
mod v3alpha1;

/// How large a descriptor may be, in bytes.
pub const MAX_DESCRIPTOR: usize = 4 * 1024 * 1024;

/// What a descriptor is called in messages.
const DOCUMENT: &str = "the component descriptor";

/// A component version: its resources, sources and references to other component versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// The schema it was written in.
    pub schema: Schema,
    /// The component.
    pub name: ComponentName,
    /// Its version.
    pub version: Version,
    /// Who provides it.
    pub provider: Provider,
    /// The component's own labels.
    pub labels: Vec<Label>,
    /// When it was made, as written (RFC 3339).
    pub creation_time: Option<String>,
    /// Where it was stored so far, the current place last; as written.
    pub repository_contexts: Vec<Value>,
    /// What is delivered.
    pub resources: Vec<Resource>,
    /// What it was built from.
    pub sources: Vec<Source>,
    /// The component versions that belong to it.
    pub references: Vec<Reference>,
    /// Signatures over the normalised descriptor.
    pub signatures: Vec<Signature>,
    /// Expected digests of everything below the references, where it was signed that way.
    pub nested_digests: Vec<NestedDigest>,
}

/// The schema that a descriptor is written in. Signatures are made over one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// `meta.schemaVersion: v2`.
    V2,
    /// `apiVersion: ocm.software/v3alpha1`.
    V3Alpha1,
}

/// Who provides a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// The provider's name.
    pub name: String,
    /// Labels of the provider.
    pub labels: Vec<Label>,
    /// Whether it was written as an object. In schema v2 it mostly is a plain text, and the oldest
    /// normalisation tells the two apart.
    pub structured: bool,
}

/// A named value attached to a component or an element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The label's name.
    pub name: String,
    /// Any JSON.
    pub value: Value,
    /// The version of the value's format.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub version: String,
    /// Whether signatures cover it.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "or_default"
    )]
    pub signing: bool,
    /// How it is merged when a component version is transferred; as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
}

/// Whether a resource was made with its component or is only named by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Made by the component's provider, with the component.
    Local,
    /// Made elsewhere.
    External,
}

/// Something that a component delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The resource's name.
    pub name: String,
    /// Its version: any text by the schema, mostly a version.
    pub version: String,
    /// What kind of thing it is, such as `ociImage` or `helmChart`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// What tells it from other resources of its name.
    #[serde(
        default,
        skip_serializing_if = "Identity::is_empty",
        deserialize_with = "or_default"
    )]
    pub extra_identity: Identity,
    /// Its labels.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub labels: Vec<Label>,
    /// The sources it was built from.
    #[serde(
        default,
        alias = "srcRef",
        rename = "srcRefs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub source_refs: Vec<SourceRef>,
    /// The digest of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSpec>,
    /// Where the content is.
    pub access: RawAccess,
}

/// Which source a resource was built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// Attributes of the source.
    #[serde(
        default,
        skip_serializing_if = "Identity::is_empty",
        deserialize_with = "or_default"
    )]
    pub identity_selector: Identity,
    /// Labels of this relation.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub labels: Vec<Label>,
}

/// Something that a component was built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The source's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What kind of thing it is, such as `git`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What tells it from other sources of its name.
    #[serde(
        default,
        skip_serializing_if = "Identity::is_empty",
        deserialize_with = "or_default"
    )]
    pub extra_identity: Identity,
    /// Its labels.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub labels: Vec<Label>,
    /// Where it is.
    pub access: RawAccess,
}

/// A component version that belongs to another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// The name of the reference.
    pub name: String,
    /// The component it leads to.
    pub component_name: ComponentName,
    /// The version of that component.
    pub version: Version,
    /// What tells it from other references of its name.
    #[serde(
        default,
        skip_serializing_if = "Identity::is_empty",
        deserialize_with = "or_default"
    )]
    pub extra_identity: Identity,
    /// Its labels.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub labels: Vec<Label>,
    /// The digest of the component version's normalised descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSpec>,
}

/// The digest of a resource or component version, and by which rules it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestSpec {
    /// `SHA-256`, `SHA-512`, their older spellings, or `NO-DIGEST`.
    pub hash_algorithm: String,
    /// What was hashed, such as `genericBlobDigest/v1`.
    pub normalisation_algorithm: String,
    /// Lower-case hexadecimal digits.
    pub value: String,
}

impl DigestSpec {
    /// The digest as OCI writes it; `None` where the content is excluded from signatures or the
    /// algorithm is not known.
    pub fn digest(&self) -> Option<Digest> {
        let algorithm = match self.hash_algorithm.as_str() {
            "SHA-256" | "sha256" => "sha256",
            "SHA-512" | "sha512" => "sha512",
            _ => return None,
        };
        format!("{algorithm}:{}", self.value).parse().ok()
    }
}

/// A signature over a descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The signature's name.
    pub name: String,
    /// The digest that was signed.
    pub digest: DigestSpec,
    /// The signature itself.
    pub signature: SignatureValue,
    /// A timestamp by a third party.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// The bytes of a signature and how they are to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureValue {
    /// Such as `RSASSA-PSS`.
    pub algorithm: String,
    /// The signature, encoded as the media type says.
    pub value: String,
    /// How `value` is encoded.
    pub media_type: String,
    /// The distinguished name of the signer's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// When a signature was made, said by a third party.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timestamp {
    /// The time-stamp token.
    pub value: String,
    /// The time in it, for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// The expected digests of one component version below the references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NestedDigest {
    /// The component.
    pub name: ComponentName,
    /// Its version.
    pub version: Version,
    /// The digest of its normalised descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSpec>,
    /// The digests of its resources.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_default"
    )]
    pub resource_digests: Vec<NestedResourceDigest>,
}

/// The expected digest of one resource of a nested component version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NestedResourceDigest {
    /// The resource's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What tells it from other resources of its name.
    #[serde(
        default,
        skip_serializing_if = "Identity::is_empty",
        deserialize_with = "or_default"
    )]
    pub extra_identity: Identity,
    /// The digest of its content.
    pub digest: DigestSpec,
}

impl Descriptor {
    /// Reads a descriptor of either schema, written as YAML or JSON.
    ///
    /// At most [`MAX_DESCRIPTOR`] bytes. Unknown fields are ignored. Refused are keys that occur
    /// twice, elements of the same identity, and names that the schemas do not allow.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_DESCRIPTOR {
            return Err(refused(format!("it is larger than {MAX_DESCRIPTOR} bytes")));
        }
        let value = document::parse_yaml(bytes, DOCUMENT)?;
        let descriptor = match Schema::of(&value)? {
            Schema::V2 => document::typed::<v2::Document>(value, DOCUMENT)?.try_into()?,
            Schema::V3Alpha1 => document::typed::<v3alpha1::Document>(value, DOCUMENT)?.into(),
        };
        check::elements(&descriptor)?;
        Ok(descriptor)
    }

    /// Checks that this is the descriptor of the component version that was asked for.
    pub fn expect(&self, name: &ComponentName, version: &Version) -> Result<()> {
        if self.name == *name && self.version == *version {
            return Ok(());
        }
        Err(Error::WrongComponent {
            asked: component_version(name, version),
            found: component_version(&self.name, &self.version),
        })
    }

    /// `resources`, `sources` and `references` in schema v3alpha1, as the spec of a
    /// `ComponentDescriptor` object has them. Empty lists are left out.
    pub fn to_v3alpha1_spec(&self) -> Value {
        let mut spec = Map::new();
        let lists = [
            ("resources", to_list(&self.resources)),
            ("sources", to_list(&self.sources)),
            ("references", to_list(&self.references)),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                spec.insert(key.to_owned(), Value::Array(list));
            }
        }
        Value::Object(spec)
    }
}

fn to_list<T: Serialize>(elements: &[T]) -> Vec<Value> {
    elements
        .iter()
        .map(|element| {
            serde_json::to_value(element).expect("elements hold text keys and JSON values only")
        })
        .collect()
}

impl Schema {
    fn of(document: &Value) -> Result<Self> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let v2 = text(document.pointer("/meta/schemaVersion"));
        let v3 = text(document.get("apiVersion"));
        match (v2.as_deref(), v3.as_deref()) {
            (Some("v2"), None) => Ok(Self::V2),
            (None, Some("ocm.software/v3alpha1")) => Ok(Self::V3Alpha1),
            (None, None) => Err(refused(
                "it has neither meta.schemaVersion nor apiVersion".to_owned(),
            )),
            (Some(_), Some(_)) => Err(refused(
                "it has both meta.schemaVersion and apiVersion".to_owned(),
            )),
            (Some(other), None) | (None, Some(other)) => Err(refused(format!(
                "its schema is {other:?}; known are \"v2\" and \"ocm.software/v3alpha1\""
            ))),
        }
    }
}

fn refused(problem: String) -> Error {
    Error::RefuseDocument {
        what: DOCUMENT,
        problem,
    }
}

/// Takes `null` for an absent field, which Go writes for empty lists and maps.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
