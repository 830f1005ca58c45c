//! Labels of a component as labels of an object in the cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Descriptor;

impl Descriptor {
    /// The component's labels that can be labels of a Kubernetes object, by name.
    ///
    /// Texts, numbers and booleans are taken over as text. What the API server would refuse is
    /// left out, so that one odd label does not keep the object from being written.
    pub fn object_labels(&self) -> BTreeMap<String, String> {
        self.labels
            .iter()
            .filter_map(|label| {
                let value = match &label.value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => return None,
                };
                let fits = name_fits(&label.name) && (value.is_empty() || word_fits(&value));
                fits.then(|| (label.name.clone(), value))
            })
            .collect()
    }
}

/// `[PREFIX/]NAME`, the prefix being a DNS subdomain.
fn name_fits(name: &str) -> bool {
    let Some((prefix, name)) = name.split_once('/') else {
        return word_fits(name);
    };
    let label_fits = |label: &str| {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| word(byte) || byte == b'-')
    };
    prefix.len() <= 253 && prefix.split('.').all(label_fits) && word_fits(name)
}

/// 1 to 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn word_fits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends_fit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && ends_fit(bytes.first())
        && ends_fit(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b50_labels_that_kubernetes_refuses_are_left_out() {
        let long = "x".repeat(64);
        let document = json!({
            "meta": {"schemaVersion": "v2"},
            "component": {
                "name": "example.org/shop", "version": "1.4.0", "provider": "example.org",
                "labels": [
                    {"name": "example.org/tier", "value": "backend"},
                    {"name": "weight", "value": 1.32},
                    {"name": "count", "value": 3},
                    {"name": "public", "value": true},
                    {"name": "empty", "value": ""},
                    {"name": "nothing", "value": null},
                    {"name": "list", "value": ["a"]},
                    {"name": "map", "value": {"a": 1}},
                    {"name": "spaced", "value": "two words"},
                    {"name": "long", "value": long},
                    {"name": long, "value": "x"},
                    {"name": "a/b/c", "value": "x"},
                    {"name": "Upper.org/x", "value": "x"},
                    {"name": "-dash", "value": "x"},
                    {"name": "", "value": "x"},
                ],
            },
        });
        let descriptor = Descriptor::parse(document.to_string().as_bytes()).unwrap();
        let labels = descriptor.object_labels();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            labels,
            [
                ("count", "3"),
                ("empty", ""),
                ("example.org/tier", "backend"),
                ("public", "true"),
                ("weight", "1.32"),
            ]
        );
    }
}
