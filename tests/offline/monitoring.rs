//! Alerts and dashboard ask for metrics that there are.

use std::collections::BTreeSet;

use ocm_controller::api::Reason;
use serde_json::Value;

use crate::document::metric_rows;
use crate::files::{documents, text};

const RULES: &str = "charts/ocm-controller/files/rules.yaml";
const DASHBOARD: &str = "charts/ocm-controller/files/dashboard.json";

#[test]
fn expressions_name_metrics_that_are_exported() {
    // The rows are held equal to what the program serves by a test of their own.
    let mut exported = BTreeSet::new();
    for row in metric_rows() {
        if row.kind == "histogram" {
            exported.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", row.name)));
        } else {
            exported.insert(row.name);
        }
    }
    let mut seen = 0;
    for (file, expression) in expressions() {
        let named: Vec<&str> = expression
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("ocm_"))
            .collect();
        assert!(!named.is_empty(), "{file}: {expression}");
        for name in named {
            assert!(exported.contains(name), "{file}: there is no metric {name}");
            seen += 1;
        }
    }
    assert!(seen > 10);
}

#[test]
fn reasons_in_expressions_are_reasons() {
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let mut seen = 0;
    for (file, expression) in expressions() {
        for matcher in expression.split("reason!~\"").skip(1) {
            let (reasons, _) = matcher.split_once('"').expect("a closing quote");
            for reason in reasons.split('|') {
                assert!(
                    known.contains(reason),
                    "{file}: there is no reason {reason}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn panels_and_alerts_are_named_once_and_say_what_they_mean() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let mut names = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|said| !said.is_empty())
        );
        assert!(
            names.insert(panel["title"].to_string()),
            "{}",
            panel["title"]
        );
    }
    for rule in alerts() {
        for told in ["summary", "description"] {
            assert!(rule["annotations"][told].is_string(), "{}", rule["alert"]);
        }
        assert!(names.insert(rule["alert"].to_string()), "{}", rule["alert"]);
    }
}

/// All expressions, each with its file.
fn expressions() -> Vec<(&'static str, String)> {
    let text_of = |value: &Value| value.as_str().expect("an expression").to_owned();
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let of_panels = targets.map(|target| (DASHBOARD, text_of(&target["expr"])));
    let of_alerts = alerts();
    let of_alerts = of_alerts.iter().map(|rule| (RULES, text_of(&rule["expr"])));
    of_panels.chain(of_alerts).collect()
}

fn alerts() -> Vec<Value> {
    let rules = documents(&text(RULES)).remove(0);
    let groups = rules["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}
