use std::cell::RefCell;

use super::*;
use crate::mutation::ConfigData;
use crate::ocm::ReadComponent;

const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

/// Resources by `path/path/name`, and what was asked for.
#[derive(Default)]
struct Known(Vec<(&'static str, String)>, RefCell<Vec<String>>);

impl Images for Known {
    fn image(&self, resource: &RuleResource) -> Result<ImageReference, LookupError> {
        let own = resource.extra_identity.clone().with("name", &resource.name);
        let parts = resource.reference_path.iter().chain([&own]);
        let values = |part: &Identity| {
            part.iter()
                .map(|(_, value)| value.to_owned())
                .collect::<Vec<_>>()
        };
        let asked = parts
            .map(|part| values(part).join("+"))
            .collect::<Vec<_>>()
            .join("/");
        self.1.borrow_mut().push(asked.clone());
        let (_, reference) = self
            .0
            .iter()
            .find(|(name, _)| *name == asked)
            .ok_or_else(|| LookupError::Find(format!("no resource {asked}").into()))?;
        reference
            .parse()
            .map_err(|error: crate::oci::Error| LookupError::Locate(error.into()))
    }
}

fn rules(text: &str) -> Vec<LocalizationRule> {
    ConfigData::parse(text.as_bytes()).unwrap().localization
}

fn written(rules: &[LocalizationRule], images: &Known) -> Vec<(String, String)> {
    localize(rules, images, Missing::Refuse)
        .unwrap()
        .into_iter()
        .map(|one| (one.path, one.value.as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn image_of_the_guide_is_written_as_the_access_has_it() {
    let reference = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";
    let images = Known(vec![("image", reference.to_owned())], RefCell::default());
    let rules = rules(
        "localization: [{name: image, file: deployment.yaml, image: spec.image, resource: {name: image}}]",
    );
    let all = localize(&rules, &images, Missing::Refuse).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].value, reference);
    assert_eq!(all[0].file.as_str(), "deployment.yaml");
}

#[test]
fn targets_take_their_parts_in_fixed_order() {
    let rules = rules(
        "localization: [{file: f, tag: t, image: i, fullyQualifiedRepository: q, repository: r, registry: h, resource: {name: x}}]",
    );
    let pinned = format!("r.io/a/b:1.2@{DIGEST}");
    let pinned_tag = format!("1.2@{DIGEST}");
    for (reference, values) in [
        (
            "reg.example.org:5000/a/b:1.2",
            [
                "reg.example.org:5000",
                "a/b",
                "reg.example.org:5000/a/b",
                "reg.example.org:5000/a/b:1.2",
                "1.2",
            ],
        ),
        ("nginx", ["docker.io", "nginx", "nginx", "nginx", "latest"]),
        (
            "docker.io/library/nginx:1",
            [
                "docker.io",
                "library/nginx",
                "docker.io/library/nginx",
                "docker.io/library/nginx:1",
                "1",
            ],
        ),
        (
            "[::1]:5000/a:1",
            ["[::1]:5000", "a", "[::1]:5000/a", "[::1]:5000/a:1", "1"],
        ),
        (&pinned, ["r.io", "a/b", "r.io/a/b", &pinned, &pinned_tag]),
    ] {
        let images = Known(vec![("x", reference.to_owned())], RefCell::default());
        let expected: Vec<_> = ["h", "r", "q", "i", "t"]
            .map(str::to_owned)
            .into_iter()
            .zip(values.map(str::to_owned))
            .collect();
        assert_eq!(written(&rules, &images), expected, "{reference}");
    }
}

#[test]
fn digest_alone_fills_image_and_refuses_tag() {
    let images = Known(vec![("x", format!("r.io/a@{DIGEST}"))], RefCell::default());
    let image = rules("localization: [{file: f, image: i, resource: {name: x}}]");
    assert_eq!(
        written(&image, &images),
        [("i".to_owned(), format!("r.io/a@{DIGEST}"))]
    );
    let tag = rules("localization: [{file: f, tag: t, resource: {name: x}}]");
    let message = localize(&tag, &images, Missing::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("localization[0]") && message.contains("\"image\""),
        "{message}"
    );
}

#[test]
fn resource_is_found_with_extra_identity_below_the_reference_path_and_asked_once() {
    let images = Known(
        vec![("backend/arm64+image", "r.io/a:1".to_owned())],
        RefCell::default(),
    );
    let rules = rules("
localization:
- {file: f, image: i, resource: {name: image, extraIdentity: {arch: arm64}, referencePath: [{name: backend}]}}
- {file: g, tag: t, resource: {name: image, extraIdentity: {arch: arm64}, referencePath: [{name: backend}]}}
");
    assert_eq!(written(&rules, &images).len(), 2);
    assert_eq!(*images.1.borrow(), ["backend/arm64+image"]);
    let paths = reference_paths(&rules);
    assert_eq!(
        paths.into_iter().collect::<Vec<_>>(),
        [vec![Identity::of_name("backend")]]
    );
}

#[test]
fn b78_missing_resource_and_malformed_reference_name_rule_and_resource() {
    let rules = rules("localization: [{name: first, file: f, image: i, resource: {name: x}}]");
    let error = localize(&rules, &Known::default(), Missing::Refuse).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("localization[0] \"first\"") && message.contains("\"name\"=\"x\""),
        "{message}"
    );
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("no resource x")
    );
    let images = Known(vec![("x", "https://r.io/a".to_owned())], RefCell::default());
    let message = localize(&rules, &images, Missing::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("failed to parse access reference"),
        "{message}"
    );
}

#[test]
fn mapping_rule_is_refused_by_name() {
    let rules =
        rules("localization: [{name: url, file: repo.yaml, mapping: {path: a, transform: b}}]");
    let message = localize(&rules, &Known::default(), Missing::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("mapping") && message.contains("\"url\"") && message.contains("repo.yaml"),
        "{message}"
    );
}

/// A component version as it is read from `registry.example.org/mirror`.
fn component(name: &str, resources: &str) -> ReadComponent {
    let descriptor = format!(
        "meta: {{schemaVersion: v2}}
component: {{name: {name}, version: 1.0.0, provider: example.org, repositoryContexts: [], sources: [], componentReferences: [], resources: [{resources}]}}
"
    );
    ReadComponent {
        repository: "https://registry.example.org/mirror".parse().unwrap(),
        digest: crate::oci::Digest::of("manifest"),
        layers: Vec::new(),
        manifests: Vec::new(),
        descriptor: crate::ocm::Descriptor::parse(descriptor.as_bytes()).unwrap(),
    }
}

fn image_resource(extra_identity: &str, access: &str) -> String {
    format!(
        "{{name: image, type: ociImage, version: 1.0.0, relation: external, extraIdentity: {extra_identity}, access: {access}}}"
    )
}

#[test]
fn rules_of_a_real_component_take_each_architecture_from_its_own_resource() {
    let access = |tag: &str| {
        format!(
            "{{type: ociArtifact, imageReference: \"registry.example.org/mirror/example/echo:1.0.0-{tag}\"}}"
        )
    };
    let resources = [
        image_resource("{architecture: amd64}", &access("amd64")),
        image_resource("{architecture: arm64}", &access("arm64")),
    ];
    let root = component("example.org/echo", &resources.join(", "));
    let nested_resource =
        image_resource("{}", "{type: ociArtifact, imageReference: r.io/nested:2}");
    let nested = component("example.org/nested", &nested_resource);
    let nested_path = vec![Identity::of_name("nested")];
    let components = BTreeMap::from([(Vec::new(), root), (nested_path, nested)]);
    let rules = rules("
localization:
- {file: values.yaml, registry: image.registry, repository: image.repository, tag: image.tag, resource: {name: image, extraIdentity: {architecture: amd64}}}
- {file: values.yaml, image: imageRef, resource: {name: image, extraIdentity: {architecture: arm64}}}
- {file: values.yaml, image: nestedRef, resource: {name: image, referencePath: [{name: nested}]}}
");
    let images = LoadedImages {
        components: &components,
        reference: |component: &ReadComponent, resource: &Resource| {
            Ok(crate::ocm::location(component, resource)?)
        },
    };
    let all = localize(&rules, &images, Missing::Refuse).unwrap();
    let values: Vec<&str> = all.iter().map(|one| one.value.as_str().unwrap()).collect();
    assert_eq!(
        values,
        [
            "registry.example.org",
            "mirror/example/echo",
            "1.0.0-amd64",
            "registry.example.org/mirror/example/echo:1.0.0-arm64",
            "r.io/nested:2",
        ]
    );
    let pinned = LoadedImages {
        components: &components,
        reference: |component: &ReadComponent, resource: &Resource| {
            Ok(crate::ocm::location(component, resource)?.pinned(DIGEST.parse()?))
        },
    };
    let all = localize(&rules, &pinned, Missing::Refuse).unwrap();
    assert_eq!(all[2].value, format!("1.0.0-amd64@{DIGEST}"));
}

fn failure(resources: &str, rule: &str) -> String {
    let components = BTreeMap::from([(Vec::new(), component("example.org/echo", resources))]);
    let images = LoadedImages {
        components: &components,
        reference: |component: &ReadComponent, resource: &Resource| {
            Ok(crate::ocm::location(component, resource)?)
        },
    };
    let rules = rules(&format!(
        "localization: [{{file: f, image: i, resource: {rule}}}]"
    ));
    let error = localize(&rules, &images, Missing::Refuse).unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        text.extend([": ", &source.to_string()]);
        next = source.source();
    }
    text
}

#[test]
fn b78_resources_that_match_no_or_several_rules_list_the_candidates() {
    let oci = "{type: ociArtifact, imageReference: r.io/a:1}";
    let two = [
        image_resource("{architecture: amd64}", oci),
        image_resource("{architecture: arm64}", oci),
    ]
    .join(", ");
    for rule in [
        "{name: image}",
        "{name: image, extraIdentity: {architecture: s390x}}",
    ] {
        let message = failure(&two, rule);
        for part in [
            "failed to find resource",
            "localization[0]",
            "amd64",
            "arm64",
        ] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
    let message = failure(&two, "{name: image, referencePath: [{name: gone}]}");
    assert!(
        message.contains("gone") && message.contains("not loaded"),
        "{message}"
    );
}

#[test]
fn b78_access_that_is_no_image_is_named() {
    let unknown = failure(
        &image_resource("{}", "{type: somethingNew}"),
        "{name: image}",
    );
    let malformed = failure(
        &image_resource(
            "{}",
            "{type: ociArtifact, imageReference: 'https://r.io/A B'}",
        ),
        "{name: image}",
    );
    for message in [unknown, malformed] {
        assert!(
            message.contains("failed to parse access reference"),
            "{message}"
        );
    }
}
