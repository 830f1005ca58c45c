//! The values of the chart: each is documented, and wrong ones are refused.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::files::{documents, path, text};
use crate::tools;

const VALUES: &str = "charts/ocm-controller/values.yaml";
const README: &str = "charts/ocm-controller/README.md";
const HEAD: &str = "| value | default | meaning |\n|---|---|---|\n";

/// `make generate` sets `WRITE_VALUES` and so writes the table anew.
#[test]
fn table_of_values_is_that_of_the_comments() {
    let readme = text(README);
    let (before, rest) = readme.split_once(HEAD).expect("it has the table");
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    let rows: Vec<String> = values()
        .iter()
        .map(|value| {
            let default = serde_json::to_string(&value.default).unwrap();
            format!("| `{}` | `{default}` | {} |", value.path, value.meaning)
        })
        .collect();
    let wanted = format!("{before}{HEAD}{}\n\n{after}", rows.join("\n"));
    if std::env::var_os("WRITE_VALUES").is_some() {
        std::fs::write(path(README), wanted).unwrap();
    } else {
        assert!(
            wanted == readme,
            "{README} is not up to date: run `make generate`"
        );
    }
}

#[test]
fn values_that_the_upgrade_names_are_there() {
    let upgrade = text("docs/upgrade.md");
    let table = upgrade
        .split("## Values of the chart\n")
        .nth(1)
        .expect("a heading");
    let table = table.split("\n## ").next().unwrap();
    let known: BTreeSet<String> = values().into_iter().map(|value| value.path).collect();
    let mut seen = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let ours = row.split('|').nth(2).expect("two columns");
        for value in ours.split('`').skip(1).step_by(2) {
            assert!(known.contains(value), "there is no value {value}: {row}");
            seen += 1;
        }
    }
    assert!(seen > 15);
}

#[test]
fn schema_knows_each_value_and_no_other() {
    let schema: Value =
        serde_json::from_str(&text("charts/ocm-controller/values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    collect_known(&schema, "", &mut known);
    for value in values() {
        let inside = |known: &String| known.starts_with(&format!("{}.", value.path));
        assert!(
            known.remove(&value.path) || known.iter().any(inside),
            "the schema has no {}",
            value.path
        );
        known.retain(|known| !inside(known));
    }
    assert_eq!(known, BTreeSet::new(), "the schema's alone");
}

#[test]
fn defaults_fit_the_schema_and_wrong_values_do_not() {
    let schema: Value =
        serde_json::from_str(&text("charts/ocm-controller/values.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let defaults = documents(&text(VALUES)).remove(0);
    assert!(schema.is_valid(&defaults));
    for (pointer, wrong) in wrong_values() {
        let mut values = defaults.clone();
        *values.pointer_mut(pointer).expect(pointer) = wrong.clone();
        assert!(!schema.is_valid(&values), "{pointer} = {wrong}");
    }
    let mut values = defaults;
    // As in the values of the Go controller's chart.
    values["manager"] = json!({"replicaCount": 1});
    assert!(!schema.is_valid(&values));
}

#[test]
#[ignore = "needs the tools of `make tools`"]
fn helm_refuses_wrong_values() {
    for (pointer, wrong) in wrong_values() {
        let value = format!("--set-json={}={wrong}", pointer[1..].replace('/', "."));
        let output = Command::new(tools::program("helm"))
            .args(["template", "ocm-controller"])
            .arg(path("charts/ocm-controller"))
            .arg(&value)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{value}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(pointer), "{value}: {error}");
    }
}

fn wrong_values() -> Vec<(&'static str, Value)> {
    vec![
        ("/replicas", json!(-1)),
        ("/kubeAPI/burst", json!(0)),
        ("/image/pullPolicy", json!("Sometimes")),
        ("/image/digest", json!("sha256:short")),
        ("/image/tag", json!("not a tag")),
        ("/global/imageRegistry", json!("https://mirror.example.org")),
        ("/registryAddress", json!("without-a-port")),
        ("/watchNamespaces", json!("team-a")),
        ("/watchNamespaces", json!(["Team_A"])),
        ("/watchSecrets", json!(["*"])),
        ("/certificate/secretName", json!("")),
        ("/certificate/lifetime", json!("a year")),
        ("/data/storeSizeLimit", json!("10Gi")),
        ("/data/gcInterval", json!("often")),
        ("/log/format", json!("xml")),
        ("/args", json!("--log-level=debug")),
        ("/args", json!(["log-level=debug"])),
        ("/data/sizeLimit", json!("ten")),
        ("/data/scrubInterval", json!("daily")),
        ("/imagePullSecrets", json!(["registry-credentials"])),
        ("/podAnnotations", json!({"number": 1})),
        ("/resources", json!({"cpu": 1})),
        ("/monitoring/interval", json!("often")),
    ]
}

/// A value that a person can set.
struct ChartValue {
    /// Joined by dots.
    path: String,
    default: Value,
    meaning: String,
}

/// The values of the chart, in their order. A value is what a comment stands above and no further
/// comment below; what stands above others is only a heading.
fn values() -> Vec<ChartValue> {
    let yaml = text(VALUES);
    let defaults = documents(&yaml).remove(0);
    let mut values: Vec<ChartValue> = Vec::new();
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if let Some(said) = line.strip_prefix("# ") {
            comment.push(said);
            continue;
        }
        let said = std::mem::take(&mut comment).join(" ");
        let Some((key, _)) = line.split_once(':').filter(|_| !line.starts_with('-')) else {
            continue;
        };
        above.retain(|(of, _)| *of < indent);
        above.push((indent, key));
        let keys: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        let default = defaults.pointer(&format!("/{}", keys.join("/")));
        // Inside of a list.
        let Some(default) = default else { continue };
        let path = keys.join(".");
        if said.is_empty() {
            let is_documented = default.is_object()
                || values
                    .iter()
                    .any(|value| path.starts_with(&format!("{}.", value.path)));
            assert!(is_documented, "{VALUES}: {path} has no comment");
            continue;
        }
        values.retain(|value| !path.starts_with(&format!("{}.", value.path)));
        values.push(ChartValue {
            path,
            default: default.clone(),
            meaning: said,
        });
    }
    values
}

/// The paths of all properties that have none themselves.
fn collect_known(schema: &Value, at: &str, known: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        known.insert(at.to_owned());
        return;
    };
    if !at.is_empty() && at != "global" {
        assert_eq!(schema["additionalProperties"], false, "{at}");
    }
    for (name, schema) in properties {
        let at = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        collect_known(schema, &at, known);
    }
}
