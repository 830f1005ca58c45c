//! Configuration: the site's values over the component's defaults, written where the rules say.

use serde_json::{Map, Value};

use super::config_data::Configuration;
use super::evaluate::{Evaluator, Failure, RULES_KEY};
use super::schema::{self, Violation};
use super::values::{kind, merge};
use super::{Error, Result, Substitution, Unresolved};
use crate::edit::Missing;

/// What to do where the values violate the component's schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaPolicy {
    /// Go on and tell: components in use violate their own schemas.
    #[default]
    Warn,
    /// Fail.
    Enforce,
}

/// What configuration writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    /// What is written, in the order of the rules.
    pub substitutions: Vec<Substitution>,
    /// Where the values violate the schema.
    pub violations: Vec<Violation>,
}

/// Turns rules into substitutions by evaluating their values over the defaults and `values`.
///
/// Values and defaults may hold expressions that refer to each other. Without rules nothing is
/// written, which is no error.
pub fn configure(
    configuration: &Configuration,
    values: Option<&Value>,
    policy: SchemaPolicy,
) -> Result<Configured> {
    let Value::Object(mut document) = merge(Some(&configuration.defaults), values) else {
        return Err(Error::ParseValues {
            problem: format!(
                "expected a map, got {}",
                kind(values.unwrap_or(&Value::Null))
            ),
        });
    };
    let wanted = configuration
        .rules
        .iter()
        .map(|rule| rule.value.clone())
        .collect();
    document.insert(RULES_KEY.to_owned(), Value::Array(wanted));
    let document = Value::Object(document);
    let mut evaluator = Evaluator::new(&document);

    let violations = match &configuration.schema {
        Some(schema) => check(schema, &document, &mut evaluator),
        None => Vec::new(),
    };
    if policy == SchemaPolicy::Enforce && !violations.is_empty() {
        return Err(Error::ViolateSchema { violations });
    }
    let substitutions = evaluate_rules(configuration, &mut evaluator)?;
    Ok(Configured {
        substitutions,
        violations,
    })
}

fn evaluate_rules(
    configuration: &Configuration,
    evaluator: &mut Evaluator<'_>,
) -> Result<Vec<Substitution>> {
    let mut substitutions = Vec::with_capacity(configuration.rules.len());
    let mut unresolved = Vec::new();
    for (index, rule) in configuration.rules.iter().enumerate() {
        match evaluator.entry(RULES_KEY, Some(index)) {
            Ok(value) => substitutions.push(Substitution {
                rule: rule.rule.clone(),
                file: rule.file.clone(),
                path: rule.path.clone(),
                value,
                // The original creates what is missing, and rules rely on it for new keys.
                missing: Missing::Create,
            }),
            Err(failure @ Failure::NotFound { .. }) => unresolved.push(Unresolved {
                rule: rule.rule.clone(),
                file: rule.file.clone(),
                problem: failure.to_string(),
            }),
            Err(failure) => {
                return Err(Error::Evaluate {
                    rule: rule.rule.clone(),
                    file: rule.file.clone(),
                    problem: failure.to_string(),
                });
            }
        }
    }
    if unresolved.is_empty() {
        Ok(substitutions)
    } else {
        Err(Error::Unresolved { nodes: unresolved })
    }
}

/// Checks the merged values, with their expressions evaluated, against `schema`.
fn check<'a>(schema: &Value, document: &'a Value, evaluator: &mut Evaluator<'a>) -> Vec<Violation> {
    let mut merged = Map::new();
    let mut violations = Vec::new();
    for key in document.as_object().into_iter().flat_map(Map::keys) {
        if key == RULES_KEY {
            continue;
        }
        match evaluator.entry(key, None) {
            Ok(value) => {
                merged.insert(key.clone(), value);
            }
            Err(failure) => violations.push(Violation {
                path: key.clone(),
                message: failure.to_string(),
            }),
        }
    }
    violations.extend(schema::violations(schema, &Value::Object(merged)));
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mutation::ConfigData;

    fn configuration(text: &str) -> Configuration {
        ConfigData::parse(text.as_bytes())
            .unwrap()
            .configuration
            .unwrap()
    }

    fn values_of(text: &str, values: &Value) -> Vec<Value> {
        let configured = configure(&configuration(text), Some(values), SchemaPolicy::Warn).unwrap();
        configured
            .substitutions
            .into_iter()
            .map(|one| one.value)
            .collect()
    }

    const SHOP: &str = "
configuration:
  defaults: {message: hello, color: red, replicas: 2, none: null, ui: {title: Shop}}
  rules:
  - {value: (( message )), file: cm.yaml, path: data.MESSAGE}
  - {value: (( color )), file: cm.yaml, path: data.COLOR}
  - {value: (( replicas )), file: deploy.yaml, path: spec.replicas}
  - {value: (( none )), file: cm.yaml, path: data.NONE}
  - {value: fixed, file: cm.yaml, path: data.MODE}
  - {value: {a: (( ui.title )), b: [1, (( .color ))]}, file: cm.yaml, path: data.ALL}
  - {value: \"http://(( ui.title )):80\", file: cm.yaml, path: data.URL}
";

    #[test]
    fn defaults_apply_without_values_and_values_win_over_them() {
        assert_eq!(
            values_of(SHOP, &Value::Null),
            [
                json!("hello"),
                json!("red"),
                json!(2),
                Value::Null,
                json!("fixed"),
                json!({"a": "Shop", "b": [1, "red"]}),
                json!("http://Shop:80"),
            ]
        );
        let values = json!({"color": "blue", "ui": {"title": "(( message ))"}, "replicas": null});
        let got = values_of(SHOP, &values);
        assert_eq!(got[1..4], [json!("blue"), Value::Null, Value::Null]);
        assert_eq!(got[5], json!({"a": "hello", "b": [1, "blue"]}));
    }

    #[test]
    fn rules_create_missing_keys_and_keep_their_order() {
        let configured = configure(&configuration(SHOP), None, SchemaPolicy::Warn).unwrap();
        let paths: Vec<&str> = configured
            .substitutions
            .iter()
            .map(|one| one.path.as_str())
            .collect();
        assert_eq!(paths[..3], ["data.MESSAGE", "data.COLOR", "spec.replicas"]);
        assert!(
            configured
                .substitutions
                .iter()
                .all(|one| one.missing == Missing::Create)
        );
    }

    #[test]
    fn unresolved_expression_is_told_in_the_words_of_the_original() {
        let text = "configuration: {defaults: {color: red}, rules: [{name: odd, value: (( nope )), file: cm.yaml, path: a}, {value: x, file: f, path: p}]}";
        let message = configure(&configuration(text), None, SchemaPolicy::Warn)
            .unwrap_err()
            .to_string();
        for part in [
            "unresolved nodes:",
            "(( nope ))",
            "*'nope' not found",
            "configuration.rules[0] \"odd\"",
            "cm.yaml",
            "known are color",
        ] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    #[test]
    fn b77_circle_between_values_is_an_error_with_its_path() {
        let text = "configuration: {defaults: {a: (( b )), b: (( a ))}, rules: [{value: (( a )), file: f, path: p}]}";
        let message = configure(&configuration(text), None, SchemaPolicy::Warn)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("a -> b -> a") && message.contains("configuration.rules[0]"),
            "{message}"
        );
    }

    #[test]
    fn no_rules_write_nothing() {
        let none = configuration("configuration: {defaults: {a: (( nope ))}}");
        let configured = configure(&none, Some(&json!({"b": 1})), SchemaPolicy::Enforce).unwrap();
        assert_eq!(
            configured,
            Configured {
                substitutions: vec![],
                violations: vec![]
            }
        );
    }

    #[test]
    fn values_that_are_no_map_are_refused() {
        let message = configure(&configuration(SHOP), Some(&json!([1])), SchemaPolicy::Warn)
            .unwrap_err()
            .to_string();
        assert!(message.contains("a list"), "{message}");
    }

    #[test]
    fn b76_schema_is_told_of_by_default_and_enforced_on_demand() {
        let text = "
configuration:
  defaults: {replicas: 1, name: (( host ))-x, host: h}
  schema:
    type: object
    additionalProperties: false
    properties: {replicas: {type: integer}, host: {type: string}, name: {pattern: '^h-x$'}}
  rules: [{value: (( replicas )), file: f, path: p}]
";
        let configuration = configuration(text);
        let fitting = configure(
            &configuration,
            Some(&json!({"replicas": 3})),
            SchemaPolicy::Enforce,
        )
        .unwrap();
        assert_eq!(fitting.violations, []);
        let wrong = json!({"replicas": "three", "other": 1});
        let told = configure(&configuration, Some(&wrong), SchemaPolicy::Warn).unwrap();
        assert_eq!(told.substitutions[0].value, "three");
        assert_eq!(told.violations.len(), 2);
        assert!(
            told.violations
                .iter()
                .any(|violation| violation.path == "replicas")
        );
        let message = configure(&configuration, Some(&wrong), SchemaPolicy::Enforce)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("replicas: ") && message.contains("other"),
            "{message}"
        );
    }
}
