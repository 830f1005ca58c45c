//! Every manifest that people are shown is accepted by the CRDs' schemas, and all its fields are
//! known to them.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::files::{all_documents, below, blocks, documents, text};

const API_VERSION: &str = "delivery.ocm.software/v1alpha1";

#[test]
fn examples_and_samples_are_valid() {
    let schemas = schemas();
    let mut seen = 0;
    for folder in ["examples", "config/samples"] {
        for (file, yaml) in below(folder, ".yaml") {
            seen += check(&schemas, &file, &documents(&yaml));
        }
    }
    assert!(seen > 0);
}

#[test]
fn manifests_in_documents_are_valid() {
    let schemas = schemas();
    for (file, document) in all_documents() {
        for yaml in blocks(&document, "yaml") {
            check(&schemas, &file, &documents(yaml));
        }
    }
}

#[test]
fn kinds_has_a_manifest_of_every_kind() {
    let document = text("docs/kinds.md");
    let shown: BTreeSet<String> = blocks(&document, "yaml")
        .flat_map(documents)
        .filter(|object| object["apiVersion"] == API_VERSION)
        .filter_map(|object| object["kind"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(shown, schemas().into_keys().collect());
}

#[test]
fn every_kind_that_people_write_has_a_sample() {
    let kinds: BTreeSet<String> = below("config/samples", ".yaml")
        .iter()
        .flat_map(|(_, yaml)| documents(yaml))
        .map(|object| object["kind"].as_str().unwrap().to_owned())
        .collect();
    let made_by_the_controller = ["ComponentDescriptor", "Snapshot"];
    let written: BTreeSet<String> = schemas()
        .into_keys()
        .filter(|kind| !made_by_the_controller.contains(&kind.as_str()))
        .collect();
    assert_eq!(kinds, written);
}

#[test]
fn manifests_that_are_wrong_are_refused() {
    let schemas = schemas();
    let sample = documents(&text("config/samples/localization.yaml")).remove(0);
    let localization = &schemas["Localization"];
    assert!(localization.is_valid(&sample));
    for (pointer, wrong) in [
        ("/spec/interval", json!(5)),
        ("/spec/sourceRef", json!({"kind": "Resource"})),
        (
            "/spec/sourceRef",
            json!({"kind": "Resource", "name": "x", "nmae": "x"}),
        ),
        ("/spec", json!({})),
    ] {
        let mut object = sample.clone();
        *object.pointer_mut(pointer).unwrap() = wrong.clone();
        assert!(!localization.is_valid(&object), "{pointer} = {wrong}");
    }
}

/// Each of these is tested for that it leads into no other namespace; what else there is names
/// something in the object's own.
#[test]
fn b59_fields_that_can_name_a_namespace_are_those_that_are_tested() {
    fn collect(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if name == "namespace" {
                found.push(path.clone());
            }
            collect(&path, property, found);
        }
        for below in ["items", "additionalProperties"] {
            if schema[below].is_object() {
                collect(path, &schema[below], found);
            }
        }
    }
    let mut found = Vec::new();
    for crd in documents(&text("crds/delivery.ocm.software.yaml")) {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        collect(&format!("{kind} spec"), schema, &mut found);
    }
    let mutation = [
        "configRef.namespace",
        // Refused as a whole.
        "patchStrategicMerge.source.sourceRef.namespace",
        "sourceRef.namespace",
        "valuesFrom.fluxSource.sourceRef.namespace",
        "valuesFrom.sourceRef.namespace",
    ];
    let of = |kind: &str, fields: &[&str]| -> Vec<String> {
        let named = fields.iter().map(|field| format!("{kind} spec.{field}"));
        named.collect()
    };
    let mut expected = [
        of("Localization", &mutation),
        of("Configuration", &mutation),
        of("Resource", &["sourceRef.namespace"]),
        of("FluxDeployer", &["sourceRef.namespace"]),
    ]
    .concat();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// Checks the objects of our kinds among these and counts them.
fn check(schemas: &BTreeMap<String, Validator>, file: &str, objects: &[Value]) -> usize {
    let ours: Vec<&Value> = objects
        .iter()
        .filter(|object| object["apiVersion"] == API_VERSION)
        .collect();
    for object in &ours {
        let kind = object["kind"].as_str().expect("a kind");
        let schema = schemas
            .get(kind)
            .unwrap_or_else(|| panic!("{file}: there is no kind {kind}"));
        let errors: Vec<String> = schema
            .iter_errors(object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{file}, {kind}: {errors:#?}");
    }
    ours.len()
}

/// The schema of each kind, as the API server reads it.
fn schemas() -> BTreeMap<String, Validator> {
    let crds = documents(&text("crds/delivery.ocm.software.yaml"));
    crds.into_iter()
        .map(|crd| {
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            to_json_schema(&mut schema);
            // The API server checks these itself.
            for field in ["apiVersion", "kind", "metadata"] {
                schema["properties"][field] = json!({});
            }
            let validator = jsonschema::validator_for(&schema)
                .unwrap_or_else(|error| panic!("schema of {kind}: {error}"));
            (kind, validator)
        })
        .collect()
}

/// Rewrites what a CRD's schema says in its own way, and refuses fields that it does not name
/// (the API server would drop them with a warning).
fn to_json_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if fields.get("nullable") == Some(&json!(true))
        && let Some(kind) = fields.get("type").cloned()
    {
        fields.insert("type".to_owned(), json!([kind, "null"]));
    }
    let is_open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true))
        || fields.contains_key("additionalProperties");
    if fields.contains_key("properties") && !is_open {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(to_json_schema);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = fields.get_mut(nested) {
            to_json_schema(nested);
        }
    }
}
