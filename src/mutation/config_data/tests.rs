use serde_json::json;

use super::*;

fn image_rule(data: &ConfigData, index: usize) -> &ImageRule {
    match &data.localization[index] {
        LocalizationRule::Image(rule) => rule,
        LocalizationRule::Mapping { .. } => panic!("rule {index} is a mapping"),
    }
}

#[test]
fn document_of_the_guide_is_read_with_its_unknown_fields() {
    let data = ConfigData::parse(
        br"
apiVersion: something/else
kind: Whatever
metadata: {name: ocm-config}
localization:
- name: image # rule name
  file: deployment.yaml
  image: spec.template.spec.containers[0].image
  resource: {name: image, unknown: 1}
configuration:
  defaults: {color: red}
  rules:
  - {name: color, value: (( color )), file: ./deployment.yaml, path: a.b}
further: [1]
",
    )
    .unwrap();
    let rule = image_rule(&data, 0);
    assert_eq!(rule.rule.to_string(), "localization[0] \"image\"");
    assert_eq!(rule.resource.name, "image");
    assert_eq!(
        rule.targets.image.as_deref(),
        Some("spec.template.spec.containers[0].image")
    );
    let configuration = data.configuration.unwrap();
    assert_eq!(configuration.defaults, json!({"color": "red"}));
    assert_eq!(configuration.rules[0].file.as_str(), "deployment.yaml");
    assert_eq!(
        configuration.rules[0].rule.to_string(),
        "configuration.rules[0] \"color\""
    );
}

#[test]
fn extra_identity_and_reference_path_are_read() {
    let data = ConfigData::parse(
        br"
localization:
- file: values.yaml
  registry: a
  repository: b
  fullyQualifiedRepository: c
  tag: d
  resource:
    name: image
    extraIdentity: {architecture: arm64}
    referencePath: [{name: backend}, {name: db, region: eu}]
",
    )
    .unwrap();
    let rule = image_rule(&data, 0);
    assert_eq!(
        rule.resource.extra_identity.get("architecture"),
        Some("arm64")
    );
    let path = [
        Identity::of_name("backend"),
        Identity::of_name("db").with("region", "eu"),
    ];
    assert_eq!(rule.resource.reference_path, path);
    assert_eq!(
        rule.targets.fully_qualified_repository.as_deref(),
        Some("c")
    );
}

#[test]
fn empty_document_has_no_rules() {
    for text in ["", "# nothing\n", "{}", "localization:\nconfiguration:\n"] {
        assert_eq!(
            ConfigData::parse(text.as_bytes()).unwrap(),
            ConfigData::default(),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_no_document_is_a_named_error() {
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (text, problem) in [
        (b"[]".as_slice(), "a list"),
        (b"just text", "a text"),
        (b"localization: x\n", "expected a sequence"),
        (b"configuration: {rules: {a: 1}}\n", "expected a sequence"),
        (b"configuration: {defaults: [1]}\n", "expected a map"),
        (b"a: [\n", ""),
        (&tar, "tar archive"),
        (b"\xff\xfe", "UTF-8"),
    ] {
        let message = ConfigData::parse(text).unwrap_err().to_string();
        assert!(
            message.starts_with("failed to unmarshal content"),
            "{message}"
        );
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn b73_cve_2022_24877_cve_2022_24878_file_outside_of_the_archive_is_refused_with_its_rule() {
    for file in ["../x", "a/../../x", "a/..", "", "/", ".", "a/", "a\\b"] {
        let text = json!({"localization": [{"file": file, "resource": {"name": "r"}}]}).to_string();
        let message = ConfigData::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            message.contains("localization[0]") && message.contains(&format!("{file:?}")),
            "{message}"
        );
    }
    for file in ["a/b.yaml", "./a/b.yaml", "/a/b.yaml", "a//./b.yaml"] {
        assert_eq!(RulePath::parse(file).unwrap().as_str(), "a/b.yaml");
    }
}

#[test]
fn incomplete_rules_are_named_with_what_they_lack() {
    for (text, expected) in [
        (
            "localization: [{file: a}]",
            "localization[0] has no \"resource\"",
        ),
        (
            "localization: [{resource: {name: a}}]",
            "localization[0] has no \"file\"",
        ),
        (
            "configuration: {rules: [{file: a, value: 1}]}",
            "configuration.rules[0] has no \"path\"",
        ),
    ] {
        let message = ConfigData::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn mapping_rule_is_kept_for_localization_to_refuse() {
    let text = b"localization: [{file: repo.yaml, mapping: {path: spec.url, transform: 'x'}}]";
    let data = ConfigData::parse(text).unwrap();
    assert!(
        matches!(&data.localization[0], LocalizationRule::Mapping { file, .. } if file.as_str() == "repo.yaml")
    );
}

#[test]
fn number_of_rules_is_bounded() {
    let document = |count: usize| {
        let rules = vec![json!({"file": "f", "path": "p", "value": 1}); count];
        json!({"configuration": {"rules": rules}}).to_string()
    };
    assert!(ConfigData::parse(document(MAX_RULES).as_bytes()).is_ok());
    let message = ConfigData::parse(document(MAX_RULES + 1).as_bytes())
        .unwrap_err()
        .to_string();
    assert!(message.contains("10001"), "{message}");
}
