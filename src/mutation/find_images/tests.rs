use super::*;
use crate::edit::Edit;

const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn known(images: &[(&str, &str, Option<&str>)]) -> KnownImages {
    KnownImages::new(
        images
            .iter()
            .map(|(location, version, original)| KnownImage {
                resource: format!("resource-{location}"),
                version: (*version).to_owned(),
                location: location.parse().unwrap(),
                original: original.map(str::to_owned),
            }),
    )
}

fn found(text: &str, kind: FileKind, known: &KnownImages) -> FoundImages {
    let file = RulePath::parse("dir/file.yaml").unwrap();
    find_images(
        &file,
        text.as_bytes(),
        kind,
        known,
        &edit::Limits::default(),
    )
    .unwrap()
}

/// The file after the substitutions that were found.
fn rewritten(text: &str, kind: FileKind, known: &KnownImages) -> String {
    let edits: Vec<Edit> = found(text, kind, known)
        .substitutions
        .into_iter()
        .map(|one| Edit {
            path: one.path.parse().unwrap(),
            value: one.value,
            missing: one.missing,
        })
        .collect();
    String::from_utf8(edit::apply(text.as_bytes(), &edits, &edit::Limits::default()).unwrap())
        .unwrap()
}

#[test]
fn image_is_recognised_by_the_traces_a_transfer_leaves() {
    let pinned = format!("r.io/mirror/team/app:1@{DIGEST}");
    let by_digest = format!("r.io/component-descriptors/c@{DIGEST}");
    let pinned_source = format!("ghcr.io/team/app@{DIGEST}");
    let other_name = format!("ghcr.io/other/thing@{DIGEST}");
    for (location, version, original, written, covered) in [
        (
            "r.io/air/stefanprodan/podinfo:6.3.5",
            "6.3.5",
            None,
            "ghcr.io/stefanprodan/podinfo:6.3.5",
            true,
        ),
        (
            "r.io/air/stefanprodan/podinfo:6.3.5",
            "6.3.5",
            None,
            "r.io/air/stefanprodan/podinfo:6.3.5",
            true,
        ),
        (
            "r.io/air/stefanprodan/podinfo:6.3.5",
            "6.3.5",
            None,
            "ghcr.io/stefanprodan/podinfo:6.3.6",
            false,
        ),
        (
            "r.io/air/stefanprodan/podinfo:6.3.5",
            "6.3.5",
            None,
            "ghcr.io/prodan/podinfo:6.3.5",
            false,
        ),
        (
            "r.io/air/stefanprodan/podinfo:6.3.5",
            "6.3.5",
            None,
            "ghcr.io/stefanprodan/podinfo",
            false,
        ),
        ("r.io/air/library/nginx:1", "x", None, "nginx:1", true),
        (
            "r.io/air/library/nginx:1",
            "x",
            None,
            "docker.io/nginx:1",
            true,
        ),
        ("r.io/air/team/nginx:1", "x", None, "nginx:1", false),
        ("r.io/air/library/nginx", "x", None, "nginx", true),
        ("r.io/air/app:1", "x", None, "q.io/app:1", true),
        (
            &by_digest,
            "1.0",
            Some("team/app:1.0"),
            "ghcr.io/team/app:1.0",
            true,
        ),
        (
            &by_digest,
            "1.0",
            Some("ghcr.io/team/app:1.0"),
            "ghcr.io/team/app:1.0",
            true,
        ),
        (
            &by_digest,
            "1.0",
            Some("quay.io/team/app:1.0"),
            "ghcr.io/team/app:1.0",
            false,
        ),
        (
            &by_digest,
            "1.0",
            Some("team/app:1.0"),
            "ghcr.io/team/app:1.1",
            false,
        ),
        (&pinned, "1", None, &pinned_source, true),
        (&pinned, "1", None, &other_name, false),
        (&pinned, "1", None, "ghcr.io/team/app:1", true),
    ] {
        let known = known(&[(location, version, original)]);
        let located = known.locate(&written.parse().unwrap());
        assert_eq!(
            located.is_ok(),
            covered,
            "{written} against {location}: {located:?}"
        );
        if let Ok(located) = located {
            assert_eq!(located.to_string(), location);
        }
    }
}

#[test]
fn image_that_may_be_two_resources_is_none_of_them() {
    let known = known(&[
        ("r.io/a/team/app:1", "1", None),
        ("r.io/b/team/app:1", "1", None),
    ]);
    let reason = known
        .locate(&"ghcr.io/team/app:1".parse().unwrap())
        .unwrap_err();
    assert!(
        reason.contains("r.io/a/team/app") && reason.contains("r.io/b/team/app"),
        "{reason}"
    );
    let better = known.locate(&"r.io/b/team/app:1".parse().unwrap()).unwrap();
    assert_eq!(better.to_string(), "r.io/b/team/app:1");
}

const MANIFESTS: &str = r#"# all kinds
apiVersion: v1
kind: Pod
spec:
  initContainers: [{name: i, image: "ghcr.io/t/a:1"}]
  containers:
  - name: c
    image: ghcr.io/t/a:1 # main
  ephemeralContainers:
  - image: ghcr.io/t/a:1
  volumes:
  - {name: v, image: {reference: 'ghcr.io/t/a:1'}}
  - {name: w, emptyDir: {}}
---
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: "ghcr.io/t/a:1"}]}}}}}
---
kind: List
items:
- kind: ConfigMap
  data: {image: "ghcr.io/t/a:1"}
- kind: PodTemplate
  template: {spec: {containers: [{image: "ghcr.io/t/a:1"}]}}
- kind: StatefulSet
  spec: {template: {spec: {containers: [{image: "ghcr.io/t/a:1"}, {image: ghcr.io/t/b:1}]}}}
"#;

#[test]
fn images_of_all_workloads_are_replaced_and_nothing_else_changes() {
    let known = known(&[("r.io/air/t/a:1", "1", None)]);
    let expected = MANIFESTS
        .replace("ghcr.io/t/a:1", "r.io/air/t/a:1")
        .replace(
            "data: {image: \"r.io/air/t/a:1\"}",
            "data: {image: \"ghcr.io/t/a:1\"}",
        );
    assert_eq!(rewritten(MANIFESTS, FileKind::Manifests, &known), expected);
    let again = found(&expected, FileKind::Manifests, &known);
    assert_eq!((again.substitutions.len(), again.covered), (0, 7));
}

#[test]
fn image_of_no_resource_is_reported_with_its_place() {
    let found = found(
        MANIFESTS,
        FileKind::Manifests,
        &known(&[("r.io/air/t/a:1", "1", None)]),
    );
    let [uncovered] = found.uncovered.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (uncovered.image.as_str(), uncovered.line),
        ("ghcr.io/t/b:1", 25)
    );
    assert!(
        uncovered
            .path
            .ends_with("items[2].spec.template.spec.containers[1].image")
    );
}

#[test]
fn what_cannot_be_read_as_an_image_is_reported() {
    let text = "kind: Pod\nx: &i ghcr.io/t/a:1\nspec: {containers: [{image: *i}, {image: 'no image!'}, {image: [a]}]}\n";
    let found = found(
        text,
        FileKind::Manifests,
        &known(&[("r.io/air/t/a:1", "1", None)]),
    );
    assert_eq!(found.uncovered.len(), 3);
    assert!(found.substitutions.is_empty());
}

const VALUES: &str = "replicas: 1
image:
  registry: docker.io # the host
  repository: library/echo
  tag: \"1.0\"
sidecarImage: ghcr.io/t/a:1
plain: {image: default}
list:
- image: {repository: ghcr.io/t/a, tag: 1}
noTag: {image: {repository: docker.io/library/echo}}
git: {repository: https://example.org/x}
other: {repository: ghcr.io/t/none, tag: '2'}
";

#[test]
fn both_forms_of_chart_values_are_replaced() {
    let known = known(&[
        ("r.io/air/t/a:1", "1", None),
        ("r.io:5000/air/library/echo:1.0", "1.0", None),
    ]);
    let text = rewritten(VALUES, FileKind::ChartValues, &known);
    let values: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(
        values["image"],
        serde_json::json!({"registry": "r.io:5000", "repository": "air/library/echo", "tag": "1.0"})
    );
    assert_eq!(values["sidecarImage"], "r.io/air/t/a:1");
    assert_eq!(
        values["list"][0]["image"],
        serde_json::json!({"repository": "r.io/air/t/a", "tag": "1"})
    );
    assert_eq!(
        values["noTag"]["image"],
        serde_json::json!({"repository": "r.io:5000/air/library/echo", "tag": "1.0"})
    );
    assert!(
        text.contains("# the host") && text.contains("git: {repository: https://example.org/x}")
    );
    let found = found(VALUES, FileKind::ChartValues, &known);
    assert_eq!(found.uncovered.len(), 1);
    assert_eq!(found.uncovered[0].image, "ghcr.io/t/none:2");
}

#[test]
fn digest_goes_where_the_values_have_a_place_for_it() {
    let pinned = format!("r.io/air/t/a:1@{DIGEST}");
    let alone = format!("r.io/c@{DIGEST}");
    let with_place = "image: {repository: ghcr.io/t/a, tag: '1', digest: ''}\n";
    let without_place = "image: {repository: ghcr.io/t/a, tag: '1'}\n";
    let read = |text: &str, known: &KnownImages| -> serde_json::Value {
        serde_yaml::from_str(&rewritten(text, FileKind::ChartValues, known)).unwrap()
    };
    let both = known(&[(&pinned, "1", None)]);
    assert_eq!(
        read(with_place, &both)["image"],
        serde_json::json!({"repository": "r.io/air/t/a", "tag": "1", "digest": DIGEST})
    );
    assert_eq!(
        read(without_place, &both)["image"]["tag"],
        format!("1@{DIGEST}")
    );
    let only_digest = known(&[(&alone, "1", Some("t/a:1"))]);
    let image = &read(with_place, &only_digest)["image"];
    assert_eq!(
        (&image["repository"], &image["digest"]),
        (&"r.io/c".into(), &DIGEST.into())
    );
    let found = found(without_place, FileKind::ChartValues, &only_digest);
    assert!(
        found.uncovered[0].reason.contains("only a digest"),
        "{found:?}"
    );
}

#[test]
fn files_are_chosen_by_their_names() {
    for (path, is_chart, expected) in [
        ("a/b.yaml", false, Some(FileKind::Manifests)),
        ("b.yml", false, Some(FileKind::Manifests)),
        ("b.json", false, Some(FileKind::Manifests)),
        ("README.md", false, None),
        ("yaml", false, None),
        ("values.yaml", true, Some(FileKind::ChartValues)),
        ("charts/sub/values.yaml", true, Some(FileKind::ChartValues)),
        ("templates/values.yaml", true, None),
        ("templates/deployment.yaml", true, None),
    ] {
        assert_eq!(FileKind::of(path, is_chart), expected, "{path}");
    }
}

#[test]
fn archive_is_localized_as_a_whole() {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("notes.txt", "image: ghcr.io/t/a:1"),
        ("a/pods.yaml", MANIFESTS),
        ("template.yaml", "kind: Pod\n{{ if }}\n"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    let source = builder.into_inner().unwrap();
    let known = known(&[("r.io/air/t/a:1", "1", None)]);
    let mut sink = Vec::new();
    let done = localize_images(
        &*source,
        &known,
        &crate::mutation::Settings::default(),
        &mut sink,
    )
    .unwrap();
    assert_eq!(
        (done.covered, done.uncovered.len(), done.archive.entries),
        (7, 1, 3)
    );
    assert_eq!(done.uncovered[0].file.as_str(), "a/pods.yaml");
    assert_eq!(done.unreadable.len(), 1);
    assert_eq!(done.unreadable[0].0.as_str(), "template.yaml");
    let mut again = Vec::new();
    localize_images(
        &*sink,
        &known,
        &crate::mutation::Settings::default(),
        &mut again,
    )
    .unwrap();
    assert_eq!(sink, again, "a second run changes nothing");
}

#[test]
fn original_name_of_a_local_blob_is_taken_from_its_access() {
    let descriptor = crate::ocm::Descriptor::parse(
        b"meta: {schemaVersion: v2}
component:
  {name: example.org/c, version: 1.0.0, provider: p, repositoryContexts: [], sources: [], componentReferences: [], resources: [
    {name: app, version: 1.0.0, type: ociImage, relation: local, access: {type: localBlob, localReference: 'sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03', mediaType: application/vnd.oci.image.manifest.v1+json, referenceName: 'team/app:1.0'}}]}
",
    )
    .unwrap();
    let location: ImageReference = format!("r.io/c@{DIGEST}").parse().unwrap();
    let image = KnownImage::new(&descriptor.resources[0], location.clone());
    assert_eq!(
        (image.original.as_deref(), image.version.as_str()),
        (Some("team/app:1.0"), "1.0.0")
    );
    let known = KnownImages::new([image]);
    assert_eq!(
        known.locate(&"ghcr.io/team/app:1.0".parse().unwrap()),
        Ok(&location)
    );
}
