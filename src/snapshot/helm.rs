//! The config blob of a chart: its metadata, as `helm push` writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, Result, encode};

/// The fields of `Chart.yaml` in the order in which Helm writes them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    home: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keywords: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    maintainers: Vec<Maintainer>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    icon: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    condition: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tags: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    app_version: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deprecated: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kube_version: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Maintainer {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    email: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    url: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Dependency {
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(default)]
    repository: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    condition: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    enabled: bool,
    #[serde(
        default,
        rename = "import-values",
        skip_serializing_if = "Vec::is_empty"
    )]
    import_values: Vec<serde_json::Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    alias: String,
}

/// Turns the text of a `Chart.yaml` into the config blob of the chart's image.
pub fn chart_config(chart_yaml: &str) -> Result<Vec<u8>> {
    let metadata: Metadata =
        serde_yaml::from_str(chart_yaml).map_err(|source| Error::ParseChart { source })?;
    for (field, value) in [("name", &metadata.name), ("version", &metadata.version)] {
        if value.is_empty() {
            return Err(Error::IncompleteChart { field });
        }
    }
    Ok(escape(&encode(&metadata)).into_bytes())
}

/// Go's encoder, which Helm uses, writes these characters as escapes. They occur in strings only.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_out_in_helms_order_and_escapes() {
        let chart = "type: application\nversion: 6.3.5\nname: podinfo\napiVersion: v2\n\
                     appVersion: \"6.3\"\nkubeVersion: '>=1.23.0-0'\nhome: https://a.example/?b&c\n\
                     annotations: {z: \"1\", a: \"2\"}\nunknown: kept out\n\
                     maintainers: [{email: me@example.org, name: me}]\n\
                     dependencies: [{name: redis, version: 1.x, repository: ''}]\n";
        let config = String::from_utf8(chart_config(chart).unwrap()).unwrap();
        let expected = concat!(
            r#"{"name":"podinfo","home":"https://a.example/?b\u0026c","version":"6.3.5","#,
            r#""maintainers":[{"name":"me","email":"me@example.org"}],"apiVersion":"v2","#,
            r#""appVersion":"6.3","annotations":{"a":"2","z":"1"},"kubeVersion":"\u003e=1.23.0-0","#,
            r#""dependencies":[{"name":"redis","version":"1.x","repository":""}],"#,
            r#""type":"application"}"#,
        );
        assert_eq!(config, expected);
    }

    #[test]
    fn chart_without_a_version_is_refused() {
        let error = chart_config("name: podinfo\n").unwrap_err();
        assert!(matches!(error, Error::IncompleteChart { field: "version" }));
        assert!(matches!(
            chart_config("- no\n- map\n").unwrap_err(),
            Error::ParseChart { .. }
        ));
    }
}
