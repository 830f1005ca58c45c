//! Configuration values: from the object itself, a ConfigMap, a Secret, a source of Flux, or the
//! content of a resource.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Api, Client};
use serde_json::{Map, Value};

use super::error::{Error, Halt};
use super::gather::{layer_of, resource, resource_ref};
use crate::api::{FluxSource, MutationSpec, ObjectReference, Reason, ValuesFrom, flux};
use crate::controller::context::Context;
use crate::controller::lookup::{Role, Source, Unavailable};
use crate::controller::outcome::Waiting;
use crate::mutation::{self, RulePath, ValuesSource, parse_values, values_at};
use crate::oci::Digest;
use crate::pipeline;
use crate::registry::{self, Download};

/// Why values cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum ValuesError {
    #[error("{message}: create it")]
    Missing { message: String },

    #[error("failed to get {kind} {namespace}/{name}")]
    Get {
        kind: &'static str,
        namespace: String,
        name: String,
        source: Box<kube::Error>,
    },

    #[error("{kind} {namespace}/{name} has no key {key:?}; it has {found}")]
    MissingKey {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
        found: String,
    },

    #[error("the values in {place} cannot be used")]
    Parse {
        place: String,
        source: mutation::Error,
    },

    #[error("source kind {kind} not supported: use GitRepository, OCIRepository or Bucket")]
    UnsupportedKind { kind: String },

    #[error("the artifact of {place} has no usable {field}")]
    ParseArtifact { place: String, field: &'static str },

    #[error("failed to fetch the artifact of {place}")]
    FetchArtifact {
        place: String,
        source: registry::Error,
    },

    #[error("failed to read the artifact of {place}")]
    ReadArtifact {
        place: String,
        source: pipeline::Error,
    },

    #[error("{place} has no file {path:?}")]
    MissingFile { place: String, path: String },
}

const VALUES_FROM: &str = "spec.valuesFrom.sourceRef";

/// Configuration values, and whether they may be shown.
pub(super) struct Values {
    pub(super) value: Value,
    pub(super) is_secret: bool,
}

/// The values that the object is configured with, if it names any.
pub(super) async fn values(
    context: &Context,
    spec: &MutationSpec,
    own: &str,
) -> Result<Option<Values>, Halt> {
    let inline = spec.values.as_ref().filter(|values| !values.is_null());
    let nothing = ValuesFrom::default();
    let from = spec.values_from.as_ref().unwrap_or(&nothing);
    let chosen = ValuesSource::chosen(|source| match source {
        ValuesSource::Inline => inline.is_some(),
        ValuesSource::FluxSource => from.flux_source.is_some(),
        ValuesSource::ConfigMapSource => from.config_map_source.is_some(),
        ValuesSource::SecretSource => from.secret_source.is_some(),
        ValuesSource::SourceRef => from.source_ref.is_some(),
    });
    let Some(chosen) = chosen else {
        return match spec.values_from {
            None => Ok(None),
            Some(_) => Err(unusable("spec.valuesFrom", mutation::Error::NoValues)),
        };
    };
    let values = match (chosen, from) {
        (
            ValuesSource::FluxSource,
            ValuesFrom {
                flux_source: Some(source),
                ..
            },
        ) => flux_values(context, source, own).await?,
        (
            ValuesSource::ConfigMapSource,
            ValuesFrom {
                config_map_source: Some(source),
                ..
            },
        ) => {
            let data = config_map(&context.client, &source.source_ref.name, own).await?;
            let place = Keyed {
                kind: "ConfigMap",
                is_watched: true,
                own,
                name: &source.source_ref.name,
            };
            place.values(
                data,
                &source.key,
                source.sub_path.as_deref(),
                source.optional,
            )?
        }
        (
            ValuesSource::SecretSource,
            ValuesFrom {
                secret_source: Some(source),
                ..
            },
        ) => {
            let data = secret(&context.client, &source.source_ref.name, own).await?;
            let place = Keyed {
                kind: "Secret",
                is_watched: false,
                own,
                name: &source.source_ref.name,
            };
            place.values(
                data,
                &source.key,
                source.sub_path.as_deref(),
                source.optional,
            )?
        }
        (
            ValuesSource::SourceRef,
            ValuesFrom {
                source_ref: Some(source),
                ..
            },
        ) => referenced_values(context, source, own).await?,
        _ => {
            return Ok(inline.cloned().map(|value| Values {
                value,
                is_secret: false,
            }));
        }
    };
    Ok(Some(Values {
        value: Value::Object(values),
        is_secret: chosen == ValuesSource::SecretSource,
    }))
}

type Data = BTreeMap<String, Vec<u8>>;

async fn config_map(client: &Client, name: &str, own: &str) -> Result<Option<Data>, Halt> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), own);
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| get_failed("ConfigMap", own, name, source))?;
    Ok(found.map(|found| {
        let text = found.data.unwrap_or_default().into_iter();
        let binary = found.binary_data.unwrap_or_default().into_iter();
        text.map(|(key, value)| (key, value.into_bytes()))
            .chain(binary.map(|(key, value)| (key, value.0)))
            .collect()
    }))
}

async fn secret(client: &Client, name: &str, own: &str) -> Result<Option<Data>, Halt> {
    let api: Api<Secret> = Api::namespaced(client.clone(), own);
    let found = api
        .get_opt(name)
        .await
        .map_err(|source| get_failed("Secret", own, name, source))?;
    Ok(found.map(|found| {
        found
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect()
    }))
}

/// An object whose data has a document of values under a key.
struct Keyed<'a> {
    kind: &'static str,
    is_watched: bool,
    own: &'a str,
    name: &'a str,
}

impl Keyed<'_> {
    /// The values under `key`; none of an object that is absent and may be.
    fn values(
        &self,
        data: Option<Data>,
        key: &str,
        sub_path: Option<&str>,
        optional: Option<bool>,
    ) -> Result<Map<String, Value>, Halt> {
        let Self {
            kind,
            is_watched,
            own,
            name,
        } = self;
        let Some(data) = data else {
            if optional.unwrap_or_default() {
                return Ok(Map::new());
            }
            let message = format!("{kind} {own}/{name}, named by spec.valuesFrom, does not exist");
            // ConfigMaps are watched; Secrets are not, and have to be asked for again.
            return Err(if *is_watched {
                Halt::Waiting(Waiting::new(Reason::ValuesNotReady, message))
            } else {
                failed(ValuesError::Missing { message })
            });
        };
        let Some(text) = data.get(key) else {
            let found = data
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            let (namespace, name, key) = ((*own).to_owned(), (*name).to_owned(), key.to_owned());
            return Err(failed(ValuesError::MissingKey {
                kind,
                namespace,
                name,
                key,
                found,
            }));
        };
        parsed(&format!("{kind} {own}/{name}, key {key:?}"), text, sub_path)
    }
}

/// The values that the content of a resource or snapshot is.
async fn referenced_values(
    context: &Context,
    reference: &ObjectReference,
    own: &str,
) -> Result<Map<String, Value>, Halt> {
    let place = format!("{} {:?}", reference.kind, reference.name);
    let text = match context.find(reference, own, Role::Source)? {
        Source::Component(component) => {
            let wanted = resource_ref(reference, VALUES_FROM)?;
            let (origin, resource) = resource(context, &component, wanted, VALUES_FROM).await?;
            context
                .pipeline
                .resource_text(&origin.place, &origin.component, &resource)
                .await
        }
        Source::Snapshot(snapshot) => {
            let layer = layer_of(context, &snapshot).await?;
            context.pipeline.only_file(&layer.digest).await
        }
    };
    let text = text.map_err(|source| {
        failed(ValuesError::ReadArtifact {
            place: place.clone(),
            source,
        })
    })?;
    parsed(&place, &text, None)
}

/// The values in a file of a source of Flux, whose artifact is fetched and checked by its digest.
async fn flux_values(
    context: &Context,
    source: &FluxSource,
    own: &str,
) -> Result<Map<String, Value>, Halt> {
    let reference = &source.source_ref;
    let namespace = reference
        .namespace
        .as_deref()
        .filter(|found| !found.is_empty())
        .unwrap_or(own);
    let place = format!("{} {namespace}/{}", reference.kind, reference.name);
    if namespace != own && context.settings.no_cross_namespace_refs {
        let message = format!(
            "spec.valuesFrom.fluxSource names {place}, which lies in another namespace than {own:?}: \
             such references are refused unless the controller runs with \
             --no-cross-namespace-refs=false"
        );
        return Err(Unavailable::Denied(message).into());
    }
    let (cache, kind) = flux_cache(context, &reference.kind)?;
    let object = ObjectRef::new_with(&reference.name, kind).within(namespace);
    let found = cache.get(&object);
    let artifact = found.as_ref().and_then(|found| artifact_of(found).cloned());
    let Some(artifact) = artifact else {
        let problem = if found.is_some() {
            "has no artifact yet"
        } else {
            "does not exist"
        };
        let message = format!("{place}, named by spec.valuesFrom.fluxSource, {problem}");
        return Err(Halt::Waiting(Waiting::new(Reason::ValuesNotReady, message)));
    };
    let text = fetch(context, own, &place, &artifact, &source.path).await?;
    parsed(
        &format!("{place}, file {:?}", source.path),
        &text,
        source.sub_path.as_deref(),
    )
}

async fn fetch(
    context: &Context,
    own: &str,
    place: &str,
    artifact: &Value,
    path: &str,
) -> Result<Vec<u8>, Halt> {
    let wrong = |field| {
        failed(ValuesError::ParseArtifact {
            place: place.to_owned(),
            field,
        })
    };
    let text = |field: &'static str| {
        artifact
            .get(field)
            .and_then(Value::as_str)
            .ok_or_else(|| wrong(field))
    };
    let url = text("url")?.parse().map_err(|_| wrong("url"))?;
    let digest: Digest = text("digest")?.parse().map_err(|_| wrong("digest"))?;
    let path = RulePath::parse(path).ok_or_else(|| wrong("path"))?;
    let namespace = own
        .parse()
        .map_err(|source| Halt::from(Error::ParseNamespace { source }))?;
    let read = |source| {
        let place = place.to_owned();
        failed(ValuesError::ReadArtifact { place, source })
    };
    let pipeline = &context.pipeline;
    let known = pipeline
        .known_file(&namespace, &digest, path.as_str())
        .await
        .map_err(read)?;
    if let Some(known) = known {
        return Ok(known);
    }
    let wanted = std::slice::from_ref(&digest);
    let fetched = context.transport.download(Download::get(url), wanted).await;
    let fetched = fetched.map_err(|source| {
        let place = place.to_owned();
        failed(ValuesError::FetchArtifact { place, source })
    })?;
    let found = pipeline
        .file_of(&namespace, fetched, &digest, path.as_str())
        .await
        .map_err(read)?;
    found.ok_or_else(|| {
        let (place, path) = (place.to_owned(), path.as_str().to_owned());
        failed(ValuesError::MissingFile { place, path })
    })
}

fn flux_cache<'a>(
    context: &'a Context,
    kind: &str,
) -> Result<(&'a Cache<DynamicObject>, ApiResource), Halt> {
    match kind {
        "GitRepository" => Ok((&context.caches.git_repositories, flux::git_repository())),
        "OCIRepository" => Ok((&context.caches.oci_repositories, flux::oci_repository())),
        "Bucket" => Ok((&context.caches.buckets, flux::bucket())),
        kind => Err(failed(ValuesError::UnsupportedKind {
            kind: kind.to_owned(),
        })),
    }
}

/// What a source of Flux has fetched last.
pub(in crate::controller) fn artifact_of(source: &DynamicObject) -> Option<&Value> {
    source
        .data
        .get("status")?
        .get("artifact")
        .filter(|artifact| !artifact.is_null())
}

fn parsed(place: &str, text: &[u8], sub_path: Option<&str>) -> Result<Map<String, Value>, Halt> {
    let values = parse_values(text).map_err(|source| unusable(place, source))?;
    let at = values_at(&values, sub_path.unwrap_or_default());
    at.cloned().map_err(|source| unusable(place, source))
}

fn unusable(place: &str, source: mutation::Error) -> Halt {
    failed(ValuesError::Parse {
        place: place.to_owned(),
        source,
    })
}

fn get_failed(kind: &'static str, own: &str, name: &str, source: kube::Error) -> Halt {
    let (namespace, name) = (own.to_owned(), name.to_owned());
    failed(ValuesError::Get {
        kind,
        namespace,
        name,
        source: Box::new(source),
    })
}

fn failed(source: ValuesError) -> Halt {
    Error::Values { source }.into()
}
