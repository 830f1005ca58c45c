use super::*;
use crate::oci::Digest;

/// Schema v2 with one resource whose content is `hello\n`.
const FRONTEND: &str = r"
meta: {schemaVersion: v2}
component:
  name: example.org/shop/frontend
  version: 1.4.0
  provider: example.org
  componentReferences: []
  repositoryContexts: [{type: OCIRegistry, baseUrl: ghcr.io/example}]
  sources: []
  resources:
  - name: manifests
    version: 1.4.0
    type: plainText
    relation: local
    access: {type: localBlob, localReference: x, mediaType: text/plain}
    digest:
      hashAlgorithm: SHA-256
      normalisationAlgorithm: genericBlobDigest/v1
      value: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
";

fn parse(text: &str) -> Descriptor {
    Descriptor::parse(text.as_bytes()).unwrap()
}

fn normalised(text: &str, by: Normalisation) -> Value {
    serde_json::from_str(&by.apply(&parse(text)).unwrap()).unwrap()
}

#[test]
fn versions_1_and_3_of_a_small_component_are_known_texts() {
    let descriptor = parse(FRONTEND);
    let first = Normalisation::V1.apply(&descriptor).unwrap();
    assert_eq!(
        first,
        r#"[{"component":[{"componentReferences":[]},{"name":"example.org/shop/frontend"},{"provider":"example.org"},{"resources":[[{"digest":[{"hashAlgorithm":"SHA-256"},{"normalisationAlgorithm":"genericBlobDigest/v1"},{"value":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}]},{"extraIdentity":null},{"name":"manifests"},{"relation":"local"},{"type":"plainText"},{"version":"1.4.0"}]]},{"version":"1.4.0"}]},{"meta":[{"schemaVersion":"v2"}]}]"#
    );
    assert_eq!(
        Digest::of(first).hex(),
        "16fa0dae4a58fcc11fb35c7b50bb01eff3a2ba842e7653d25ad549e19866fcd8"
    );
    let third = Normalisation::V3.apply(&descriptor).unwrap();
    assert_eq!(
        third,
        r#"{"component":{"componentReferences":[],"name":"example.org/shop/frontend","provider":{"name":"example.org"},"resources":[{"digest":{"hashAlgorithm":"SHA-256","normalisationAlgorithm":"genericBlobDigest/v1","value":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"},"name":"manifests","relation":"local","type":"plainText","version":"1.4.0"}],"sources":[],"version":"1.4.0"}}"#
    );
    assert_eq!(
        Digest::of(third.as_bytes()).hex(),
        "674e24fe7ad25c75992524dccc3183979f43e6735eaa6a02e439d8b7308a0cfc"
    );
    assert_eq!(Normalisation::V2.apply(&descriptor).unwrap(), third);
    assert_eq!(
        Normalisation::named("jsonNormalisation/v4alpha1"),
        Some(Normalisation::V3)
    );
    assert_eq!(Normalisation::named("jsonNormalisation/v5"), None);
}

const LABELLED: &str = r#"
meta: {schemaVersion: v2}
component:
  name: example.org/shop
  version: 1.0.0
  provider: '{"name":"acme","labels":[{"name":"p","value":1,"signing":true},{"name":"q","value":2}]}'
  creationTime: "2026-11-22T23:55:39.75+02:00"
  labels:
  - {name: kept, value: {b: [1.0], a: "<"}, version: v1, signing: true, merge: {algorithm: x}}
  - {name: dropped, value: 1}
  sources:
  - {name: code, version: "1", type: git, access: {type: git}, labels: [{name: s, value: 1}]}
  componentReferences:
  - name: below
    componentName: example.org/below
    version: 2.0.0
    labels: [{name: r, value: x}]
  resources:
  - name: nothing
    version: "1"
    type: plainText
    extraIdentity: {}
    labels: []
    srcRef: [{identitySelector: {name: code}}]
    access: {type: none}
    digest: {hashAlgorithm: SHA-256, normalisationAlgorithm: genericBlobDigest/v1, value: aa}
"#;

#[test]
fn only_signing_labels_are_covered_except_those_of_references() {
    let component = &normalised(LABELLED, Normalisation::V3)["component"];
    let kept = json!([{"name": "kept", "value": {"a": "<", "b": [1]}, "version": "v1",
                       "signing": true}]);
    assert_eq!(component["labels"], kept);
    assert_eq!(
        component["provider"],
        json!({"name": "acme", "labels": [{"name": "p", "value": 1, "signing": true}]})
    );
    assert_eq!(
        component["sources"],
        json!([{"name": "code", "version": "1", "type": "git"}])
    );
    assert_eq!(
        component["componentReferences"][0]["labels"],
        json!([{"name": "r", "value": "x"}])
    );
    assert_eq!(
        component["resources"],
        json!([{"name": "nothing", "version": "1", "type": "plainText"}])
    );
    assert_eq!(component["creationTime"], "2026-11-22T21:55:39Z");
}

#[test]
fn version_1_of_schema_v2_knows_no_sources_and_explicit_nulls() {
    let text = Normalisation::V1.apply(&parse(LABELLED)).unwrap();
    assert_eq!(
        text,
        r#"[{"component":[{"componentReferences":[[{"componentName":"example.org/below"},{"extraIdentity":null},{"name":"below"},{"version":"2.0.0"}]]},{"creationTime":"2026-11-22T21:55:39Z"},{"labels":[[{"name":"kept"},{"signing":true},{"value":[{"a":"\u003c"},{"b":[1]}]},{"version":"v1"}]]},{"name":"example.org/shop"},{"provider":[{"labels":[[{"name":"p"},{"signing":true},{"value":1}]]},{"name":"acme"}]},{"resources":[[{"extraIdentity":null},{"name":"nothing"},{"type":"plainText"},{"version":"1"}]]},{"version":"1.0.0"}]},{"meta":[{"schemaVersion":"v2"}]}]"#
    );
}

#[test]
fn version_1_of_schema_v3alpha1_keeps_the_providers_labels_and_no_empty_lists() {
    let text = r"
apiVersion: ocm.software/v3alpha1
kind: ComponentVersion
metadata:
  name: example.org/shop
  version: 1.0.0
  provider: {name: acme, labels: [{name: q, value: 2}]}
  labels: [{name: dropped, value: 1}]
repositoryContexts: []
spec:
  references:
  - {name: below, componentName: example.org/below, version: 2.0.0, labels: [{name: r, value: x}]}
";
    assert_eq!(
        Normalisation::V1.apply(&parse(text)).unwrap(),
        r#"[{"apiVersion":"ocm.software/v3alpha1"},{"kind":"ComponentVersion"},{"metadata":[{"name":"example.org/shop"},{"provider":[{"labels":[[{"name":"q"},{"value":2}]]},{"name":"acme"}]},{"version":"1.0.0"}]},{"spec":[{"references":[[{"componentName":"example.org/below"},{"name":"below"},{"version":"2.0.0"}]]}]}]"#
    );
}

#[test]
fn resources_of_one_identity_get_their_version_except_the_last_and_not_in_version_3() {
    let text = r"
meta: {schemaVersion: v2}
component:
  name: example.org/shop
  version: 1.0.0
  provider: acme
  resources:
  - {name: a, version: 1.0.0, type: t, access: {type: none}}
  - {name: a, version: 2.0.0, type: t, access: {type: none}}
  - {name: a, version: 3.0.0, type: t, access: {type: none}}
  - {name: b, version: 1.0.0, type: t, access: {type: none}}
";
    let identities = |by| -> Vec<Value> {
        let value = normalised(text, by);
        let resources = value["component"]["resources"].as_array().unwrap();
        let identity = |found: &Value| found["extraIdentity"].clone();
        resources.iter().map(identity).collect()
    };
    assert_eq!(
        identities(Normalisation::V2),
        [
            json!({"version": "1.0.0"}),
            json!({"version": "2.0.0"}),
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(identities(Normalisation::V3), vec![Value::Null; 4]);
}

#[test]
fn creation_time_that_is_none_is_an_error() {
    let text = FRONTEND.replace("provider:", "creationTime: yesterday\n  provider:");
    assert!(Normalisation::V3.apply(&parse(&text)).is_err());
}
