//! What a template may ask of Flux where tenants are kept apart: nothing beyond its namespace and
//! the rights of a ServiceAccount there.

use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use crate::api::FluxDeployer;

/// How far templates may reach.
#[derive(Debug, Clone, Default)]
pub struct TemplatePolicy {
    /// The ServiceAccount of templates that name none.
    pub default_service_account: Option<String>,
    /// Whether a template may ask for nothing beyond its own namespace.
    pub is_restricted: bool,
}

/// A template asks for more than it may.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It reaches another cluster, by a kubeconfig of its own.
    #[error(
        "spec.{template}.kubeConfig is refused, as the controller runs with --restrict-templates: \
         remove it"
    )]
    KubeConfig {
        /// The template's field.
        template: &'static str,
    },

    /// It reaches another namespace.
    #[error(
        "spec.{template}.{field} names the namespace {asked:?}, and only {own:?} is allowed, as the \
         controller runs with --restrict-templates: put the FluxDeployer into that namespace"
    )]
    Namespace {
        /// The template's field.
        template: &'static str,
        /// The field within it.
        field: String,
        /// The namespace that is asked for.
        asked: String,
        /// That of the object.
        own: String,
    },

    /// It would be applied with the rights of Flux itself.
    #[error(
        "spec.{template}.serviceAccountName is missing, and the controller runs with \
         --restrict-templates: name a ServiceAccount of this namespace"
    )]
    NoServiceAccount {
        /// The template's field.
        template: &'static str,
    },
}

impl TemplatePolicy {
    /// The deployer with templates as they may be applied.
    pub fn apply(&self, deployer: &FluxDeployer) -> Result<FluxDeployer, Refusal> {
        let own = deployer.namespace().unwrap_or_default();
        let mut allowed = deployer.clone();
        let spec = &mut allowed.spec;
        for (name, template) in [
            ("kustomizationTemplate", &mut spec.kustomization_template),
            ("helmReleaseTemplate", &mut spec.helm_release_template),
        ] {
            let Some(template) = template else { continue };
            let named = template.get("serviceAccountName").and_then(Value::as_str);
            if named.is_none_or(str::is_empty)
                && let Some(account) = &self.default_service_account
            {
                template.insert("serviceAccountName".to_owned(), json!(account));
            }
            if self.is_restricted {
                check(name, template, &own)?;
            }
        }
        Ok(allowed)
    }
}

fn check(name: &'static str, template: &Map<String, Value>, own: &str) -> Result<(), Refusal> {
    if template.contains_key("kubeConfig") {
        return Err(Refusal::KubeConfig { template: name });
    }
    let account = template.get("serviceAccountName").and_then(Value::as_str);
    if account.is_none_or(str::is_empty) {
        return Err(Refusal::NoServiceAccount { template: name });
    }
    let mut asked: Vec<(String, &Value)> = ["targetNamespace", "storageNamespace"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), template.get(field)?)))
        .collect();
    for list in ["dependsOn", "healthChecks"] {
        let entries = template.get(list).and_then(Value::as_array);
        for (at, entry) in entries.into_iter().flatten().enumerate() {
            if let Some(namespace) = entry.get("namespace") {
                asked.push((format!("{list}[{at}].namespace"), namespace));
            }
        }
    }
    for (field, value) in asked {
        // Of a value that is no text Flux's own schema takes care.
        if let Some(asked) = value
            .as_str()
            .filter(|asked| !asked.is_empty() && *asked != own)
        {
            return Err(Refusal::Namespace {
                template: name,
                field,
                asked: asked.to_owned(),
                own: own.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployer(field: &str, template: &Value) -> FluxDeployer {
        serde_json::from_value(json!({
            "apiVersion": "delivery.ocm.software/v1alpha1",
            "kind": "FluxDeployer",
            "metadata": {"name": "podinfo", "namespace": "tenant"},
            "spec": {"sourceRef": {"kind": "Resource", "name": "podinfo"}, field: template},
        }))
        .unwrap()
    }

    fn refusal(policy: &TemplatePolicy, field: &str, template: &Value) -> Option<String> {
        let refused = policy.apply(&deployer(field, template)).err();
        refused.map(|refusal| refusal.to_string())
    }

    #[test]
    fn b61_cve_2026_23990_restricted_template_stays_in_its_namespace_and_its_rights() {
        let policy = TemplatePolicy {
            default_service_account: None,
            is_restricted: true,
        };
        for (field, template, expected) in [
            (
                "kustomizationTemplate",
                json!({}),
                "serviceAccountName is missing",
            ),
            (
                "helmReleaseTemplate",
                json!({"serviceAccountName": ""}),
                "serviceAccountName is missing",
            ),
            (
                "kustomizationTemplate",
                json!({"serviceAccountName": "apply",
                "kubeConfig": {"secretRef": {"name": "other"}}}),
                "kubeConfig is refused",
            ),
            (
                "kustomizationTemplate",
                json!({"serviceAccountName": "apply",
                "targetNamespace": "kube-system"}),
                "targetNamespace names the namespace \"kube-system\"",
            ),
            (
                "helmReleaseTemplate",
                json!({"serviceAccountName": "apply",
                "storageNamespace": "other"}),
                "storageNamespace names the namespace \"other\"",
            ),
            (
                "kustomizationTemplate",
                json!({"serviceAccountName": "apply",
                "dependsOn": [{"name": "a"}, {"name": "b", "namespace": "other"}]}),
                "dependsOn[1].namespace names the namespace \"other\"",
            ),
        ] {
            let said = refusal(&policy, field, &template).expect(expected);
            assert!(said.contains(expected), "{said}");
            assert!(said.contains(field), "{said}");
            let lenient = TemplatePolicy::default();
            assert_eq!(refusal(&lenient, field, &template), None);
        }
        let own = json!({"serviceAccountName": "apply", "targetNamespace": "tenant",
            "dependsOn": [{"name": "a", "namespace": "tenant"}]});
        assert_eq!(refusal(&policy, "kustomizationTemplate", &own), None);
    }

    #[test]
    fn b61_default_service_account_is_given_to_templates_without_one() {
        let policy = TemplatePolicy {
            default_service_account: Some("tenant-apply".to_owned()),
            is_restricted: true,
        };
        for (template, expected) in [
            (json!({"path": "./"}), "tenant-apply"),
            (json!({"serviceAccountName": ""}), "tenant-apply"),
            (json!({"serviceAccountName": "own"}), "own"),
        ] {
            for field in ["kustomizationTemplate", "helmReleaseTemplate"] {
                let allowed = policy.apply(&deployer(field, &template)).unwrap();
                let spec = serde_json::to_value(&allowed.spec).unwrap();
                assert_eq!(spec[field]["serviceAccountName"], expected, "{template}");
            }
        }
    }
}
