//! OCM's own configuration file: consumers with their credentials.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Result;
use super::credentials::{Credentials, Place, from_properties, parse_server};
use super::endpoint::Scheme;
use super::scope::{Purpose, Scope};

/// Configurations in configurations, at most.
const DEEPEST: usize = 8;

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    configurations: Vec<Value>,
    #[serde(default)]
    consumers: Vec<Consumer>,
    #[serde(default)]
    repositories: Vec<Repository>,
}

#[derive(Deserialize)]
struct Consumer {
    identity: Option<Identity>,
    #[serde(default)]
    identities: Vec<Identity>,
    #[serde(default)]
    credentials: Vec<Properties>,
}

#[derive(Deserialize, Clone)]
struct Identity {
    #[serde(rename = "type")]
    kind: Option<String>,
    hostname: Option<String>,
    port: Option<Value>,
    scheme: Option<String>,
    #[serde(alias = "path", alias = "pathPrefix")]
    pathprefix: Option<String>,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    properties: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Repository {
    repository: RepositorySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepositorySpec {
    docker_config: Option<Value>,
}

/// Adds the consumers that content is fetched from: registries, chart repositories, web servers,
/// among those of `yaml` to `credentials`.
pub(super) fn read(place: &Place<'_>, yaml: &[u8], credentials: &mut Credentials) -> Result<()> {
    let config: Value = serde_yaml::from_slice(yaml)
        .map_err(|_| place.wrong("is not an OCM configuration: expected a YAML mapping"))?;
    read_config(place, config, credentials, DEEPEST)
}

fn read_config(
    place: &Place<'_>,
    config: Value,
    credentials: &mut Credentials,
    depth: usize,
) -> Result<()> {
    let config: Config = serde_json::from_value(config).map_err(|_| {
        place.wrong("is not an OCM configuration: expected \"type\" and \"consumers\"")
    })?;
    match config.kind.split('/').next().unwrap_or_default() {
        "credentials.config.ocm.software" => {}
        "generic.config.ocm.software" => {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(place.wrong(format!("nests configurations deeper than {DEEPEST}")));
            };
            for nested in config.configurations {
                read_config(place, nested, credentials, depth)?;
            }
            return Ok(());
        }
        // Other configurations of OCM have nothing to say about credentials.
        _ => return Ok(()),
    }
    for consumer in config.consumers {
        read_consumer(place, &consumer, credentials)?;
    }
    for Repository { repository } in config.repositories {
        // A file named there would be one of this program's, not of the Secret's owner.
        if let Some(inline) = repository.docker_config {
            credentials.add_docker_config(
                place.secret,
                place.key,
                inline.to_string().as_bytes(),
            )?;
        }
    }
    Ok(())
}

fn read_consumer(
    place: &Place<'_>,
    consumer: &Consumer,
    credentials: &mut Credentials,
) -> Result<()> {
    for identity in consumer.identity.iter().chain(&consumer.identities) {
        let kind = identity.kind.as_deref().unwrap_or_default();
        let kind = kind.split('/').next().unwrap_or_default();
        let purpose = match kind {
            "OCIRegistry" => Purpose::Registry,
            "HelmChartRepository" => Purpose::ChartRepository,
            "wget" => Purpose::Web,
            // Consumers of places that nothing is fetched from.
            _ => continue,
        };
        let scope = scope_of(identity).ok_or_else(|| {
            place.wrong(format!("has a consumer {kind} without a usable hostname"))
        })?;
        let scope = Scope { purpose, ..scope };
        for entry in &consumer.credentials {
            let credential = from_properties(place, |name| {
                let value = entry.properties.get(name)?;
                Some(
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                )
            })
            .map_err(|source| match source {
                super::Error::ReadCredentials { problem, .. } => place.wrong(format!(
                    "has a consumer for host {:?} that {problem}",
                    scope.host
                )),
                other => other,
            })?;
            if let Some(credential) = credential {
                credentials.push(scope.clone(), credential);
            }
        }
    }
    Ok(())
}

fn scope_of(identity: &Identity) -> Option<Scope> {
    let mut scope = parse_server(identity.hostname.as_deref()?).ok()?;
    if let Some(port) = &identity.port {
        let text = port
            .as_str()
            .map_or_else(|| port.to_string(), str::to_owned);
        scope.port = Some(text.parse().ok()?);
    }
    scope.scheme = match identity.scheme.as_deref() {
        None | Some("") => None,
        Some("http") => Some(Scheme::Http),
        Some("https" | "oci") => Some(Scheme::Https),
        Some(_) => return None,
    };
    if let Some(prefix) = &identity.pathprefix {
        scope.path = Some(prefix.trim_matches('/').to_owned()).filter(|path| !path.is_empty());
    }
    Some(scope)
}
