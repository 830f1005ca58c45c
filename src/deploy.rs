//! Hand-over to Flux: from a snapshot and a template to the objects that pull and apply it.

mod restrict;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::{ApiResource, Duration};
use serde_json::{Map, Value, json};

use crate::api::{FluxDeployer, flux};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::snapshot::ContentKind;

pub use restrict::{Refusal, TemplatePolicy};

/// How often Flux looks at what it was given, where nobody says.
const DEFAULT_INTERVAL: &str = "10m0s";

/// What is wrong with a FluxDeployer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Both templates are set.
    #[error(
        "can't define both kustomization template and helm release template: remove \
         spec.kustomizationTemplate or spec.helmReleaseTemplate"
    )]
    BothTemplates,

    /// The template names a chart of its own.
    #[error(
        "spec.helmReleaseTemplate has a field \"chart\": remove it, the chart is the snapshot that \
         sourceRef names"
    )]
    ChartInTemplate,

    /// Flux would fail on each object that it applies.
    #[error(
        "the name of this object has {length} characters: use one of {MAX_NAME} at most, as Flux \
         writes it into a label of all that it applies"
    )]
    LongName {
        /// Of the name.
        length: usize,
    },
}

/// The longest value of a label.
const MAX_NAME: usize = 63;

/// A snapshot as Flux pulls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pullable {
    /// The registry that serves it: `HOST:PORT`.
    pub registry: String,
    /// The repository there.
    pub repository: RepositoryName,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The tag, for the reader; the digest wins.
    pub tag: Option<Tag>,
    /// Whether the registry speaks plain HTTP.
    pub plain_http: bool,
    /// The Secret that says whom to trust, where that is not the system's choice.
    pub ca_secret: Option<String>,
    /// The Secret with the password, where one is needed.
    pub pull_secret: Option<String>,
}

/// One object to write.
#[derive(Debug, Clone)]
pub struct FluxObject {
    /// Its kind.
    pub kind: ApiResource,
    /// The object, without owner.
    pub object: DynamicObject,
}

/// The objects that hand `snapshot` to Flux as `deployer` asks: an OCIRepository, and what reads
/// it. Without a template there are none.
pub fn flux_objects(
    deployer: &FluxDeployer,
    snapshot: &Pullable,
) -> Result<Vec<FluxObject>, Error> {
    let spec = &deployer.spec;
    let length = deployer.name_any().len();
    let is_used = spec.kustomization_template.is_some() || spec.helm_release_template.is_some();
    if is_used && length > MAX_NAME {
        return Err(Error::LongName { length });
    }
    let (kind, reader) = match (&spec.kustomization_template, &spec.helm_release_template) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => return Err(Error::BothTemplates),
        (Some(template), None) => (flux::kustomization(), kustomization(deployer, template)),
        (None, Some(template)) => (flux::helm_release(), helm_release(deployer, template)?),
    };
    let is_chart = spec.helm_release_template.is_some();
    let repository = oci_repository(deployer, snapshot, is_chart);
    Ok(vec![
        object(flux::oci_repository(), deployer, &repository),
        object(kind, deployer, &Value::Object(reader)),
    ])
}

fn oci_repository(deployer: &FluxDeployer, snapshot: &Pullable, is_chart: bool) -> Value {
    let mut reference = json!({"digest": snapshot.manifest});
    if let Some(tag) = &snapshot.tag {
        reference["tag"] = json!(tag);
    }
    let mut spec = json!({
        "interval": interval(deployer),
        "url": format!("oci://{}/{}", snapshot.registry, snapshot.repository),
        "ref": reference,
    });
    if snapshot.plain_http {
        spec["insecure"] = json!(true);
    }
    if let Some(name) = &snapshot.ca_secret {
        spec["certSecretRef"] = json!({"name": name});
    }
    if let Some(name) = &snapshot.pull_secret {
        spec["secretRef"] = json!({"name": name});
    }
    if is_chart {
        spec["layerSelector"] =
            json!({"mediaType": ContentKind::HelmChart.layer_media_type(), "operation": "copy"});
    }
    spec
}

fn kustomization(deployer: &FluxDeployer, template: &Map<String, Value>) -> Map<String, Value> {
    let mut spec = template.clone();
    spec.entry("interval")
        .or_insert_with(|| json!(interval(deployer)));
    spec.entry("prune").or_insert(json!(false));
    spec.insert("sourceRef".to_owned(), source_reference(deployer));
    spec
}

fn helm_release(
    deployer: &FluxDeployer,
    template: &Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if template.contains_key("chart") {
        return Err(Error::ChartInTemplate);
    }
    let mut spec = template.clone();
    spec.entry("interval")
        .or_insert_with(|| json!(interval(deployer)));
    spec.insert("chartRef".to_owned(), source_reference(deployer));
    Ok(spec)
}

fn source_reference(deployer: &FluxDeployer) -> Value {
    json!({
        "kind": flux::oci_repository().kind,
        "name": deployer.name_any(),
        "namespace": deployer.namespace(),
    })
}

/// The deployer's interval, else its template's, else ten minutes.
fn interval(deployer: &FluxDeployer) -> String {
    let spec = &deployer.spec;
    let template = spec
        .kustomization_template
        .as_ref()
        .or(spec.helm_release_template.as_ref());
    let own = spec.interval.as_ref().map(duration_text);
    own.or_else(|| template?.get("interval")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| DEFAULT_INTERVAL.to_owned())
}

fn duration_text(duration: &Duration) -> String {
    serde_json::to_value(duration)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| DEFAULT_INTERVAL.to_owned())
}

fn object(kind: ApiResource, deployer: &FluxDeployer, spec: &Value) -> FluxObject {
    let mut object = DynamicObject::new(&deployer.name_any(), &kind).data(json!({"spec": spec}));
    object.metadata.namespace = deployer.namespace();
    FluxObject { kind, object }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployer(spec: &Value) -> FluxDeployer {
        serde_json::from_value(json!({
            "apiVersion": "delivery.ocm.software/v1alpha1",
            "kind": "FluxDeployer",
            "metadata": {"name": "podinfo", "namespace": "ocm-system"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn snapshot() -> Pullable {
        Pullable {
            registry: "registry.ocm-system:5000".to_owned(),
            repository: "ocm-system/podinfo-abc".parse().unwrap(),
            manifest: Digest::of("manifest"),
            tag: Some("6.3.5".parse().unwrap()),
            plain_http: false,
            ca_secret: Some("whom-to-trust".to_owned()),
            pull_secret: Some("password".to_owned()),
        }
    }

    fn source() -> Value {
        json!({"kind": "Localization", "name": "podinfo-deployment"})
    }

    #[test]
    fn template_of_the_guide_becomes_a_kustomization_that_reads_the_snapshot() {
        let deployer = deployer(&json!({"sourceRef": source(), "kustomizationTemplate": {
            "interval": "1m0s", "path": "./", "prune": true, "targetNamespace": "default"}}));
        let objects = flux_objects(&deployer, &snapshot()).unwrap();
        let kinds: Vec<_> = objects
            .iter()
            .map(|found| found.kind.kind.as_str())
            .collect();
        assert_eq!(kinds, ["OCIRepository", "Kustomization"]);
        let repository = &objects[0].object.data["spec"];
        assert_eq!(repository["interval"], "1m0s");
        assert_eq!(
            repository["url"],
            "oci://registry.ocm-system:5000/ocm-system/podinfo-abc"
        );
        assert_eq!(repository["ref"]["digest"], json!(Digest::of("manifest")));
        assert_eq!(repository["ref"]["tag"], "6.3.5");
        assert_eq!(
            repository["certSecretRef"],
            json!({"name": "whom-to-trust"})
        );
        assert_eq!(repository["secretRef"], json!({"name": "password"}));
        assert!(repository.get("insecure").is_none());
        let expected = json!({
            "interval": "1m0s", "path": "./", "prune": true, "targetNamespace": "default",
            "sourceRef": {"kind": "OCIRepository", "name": "podinfo", "namespace": "ocm-system"},
        });
        assert_eq!(objects[1].object.data["spec"], expected);
    }

    #[test]
    fn registry_without_tls_and_password_is_named_as_such() {
        let deployer = deployer(&json!({"sourceRef": source(), "kustomizationTemplate": {}}));
        let snapshot = Pullable {
            plain_http: true,
            ca_secret: None,
            pull_secret: None,
            ..snapshot()
        };
        let objects = flux_objects(&deployer, &snapshot).unwrap();
        let repository = &objects[0].object.data["spec"];
        assert_eq!(repository["insecure"], true);
        assert!(repository.get("certSecretRef").is_none() && repository.get("secretRef").is_none());
    }

    #[test]
    fn b61_source_of_the_template_is_always_ours() {
        let deployer = deployer(&json!({"sourceRef": source(), "kustomizationTemplate": {
            "sourceRef": {"kind": "GitRepository", "name": "theirs", "namespace": "other"}}}));
        let objects = flux_objects(&deployer, &snapshot()).unwrap();
        let reader = &objects[1].object.data["spec"];
        assert_eq!(reader["sourceRef"]["kind"], "OCIRepository");
        assert_eq!(reader["sourceRef"]["namespace"], "ocm-system");
        assert_eq!(
            (&reader["interval"], &reader["prune"]),
            (&json!("10m0s"), &json!(false))
        );
    }

    #[test]
    fn chart_is_copied_as_it_is_and_read_by_reference() {
        let deployer = deployer(&json!({"sourceRef": source(), "interval": "5m",
            "helmReleaseTemplate": {"releaseName": "echo"}}));
        let objects = flux_objects(&deployer, &snapshot()).unwrap();
        let selector = &objects[0].object.data["spec"]["layerSelector"];
        assert_eq!(selector["operation"], "copy");
        let release = &objects[1].object.data["spec"];
        assert_eq!(release["chartRef"]["name"], "podinfo");
        assert_eq!(
            release["interval"],
            objects[0].object.data["spec"]["interval"]
        );
    }

    #[test]
    fn b67_name_that_fits_no_label_is_refused() {
        let mut deployer = deployer(&json!({
            "sourceRef": {"kind": "Localization", "name": "podinfo"},
            "kustomizationTemplate": {"path": "./"},
        }));
        deployer.metadata.name = Some("n".repeat(63));
        assert_eq!(flux_objects(&deployer, &snapshot()).unwrap().len(), 2);
        deployer.metadata.name = Some("n".repeat(64));
        let error = flux_objects(&deployer, &snapshot()).unwrap_err();
        assert!(error.to_string().contains("has 64 characters"), "{error}");
    }

    #[test]
    fn b63_both_templates_are_refused() {
        let deployer = deployer(
            &json!({"sourceRef": source(), "kustomizationTemplate": {}, "helmReleaseTemplate": {}}),
        );
        assert!(matches!(
            flux_objects(&deployer, &snapshot()),
            Err(Error::BothTemplates)
        ));
    }

    #[test]
    fn chart_in_the_template_is_refused() {
        let deployer =
            deployer(&json!({"sourceRef": source(), "helmReleaseTemplate": {"chart": {}}}));
        assert!(matches!(
            flux_objects(&deployer, &snapshot()),
            Err(Error::ChartInTemplate)
        ));
    }

    #[test]
    fn without_a_template_nothing_is_written() {
        assert!(
            flux_objects(&deployer(&json!({"sourceRef": source()})), &snapshot())
                .unwrap()
                .is_empty()
        );
    }
}
