//! The program with the rights and the arguments that the chart gives it, beside others of its
//! kind.

use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

use crate::scene::{PROGRAM, Scene, arguments_for};
use crate::support::cluster::Cluster;
use crate::support::cluster::audit::AuditEvent;
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::{in_repository, tools};

/// A release of the chart in a namespace of its own: its rights, and its program, which is told
/// what the chart tells it to watch.
pub struct Release {
    pub controller: Controller,
    pub user: String,
}

impl Release {
    /// Installs it, and returns when its program is ready.
    pub async fn start(scene: &Scene, name: &str, values: &[String]) -> Self {
        let namespace = scene.cluster.namespace(name).await;
        let mut arguments = arguments_for(&[("ghcr.io", &scene.private)]);
        arguments.push(format!("--runtime-namespace={namespace}"));
        let told = give_rights(&scene.cluster, &namespace, values).await;
        arguments.extend(told.into_iter().filter(|text| text.starts_with("--watch-")));
        let token = scene
            .cluster
            .service_account_token(&namespace, "ocm-controller");
        let options = ControllerOptions {
            token: token.await,
            arguments,
            ..ControllerOptions::default()
        };
        Self {
            controller: Controller::start(&scene.cluster, PROGRAM, options).await,
            user: format!("system:serviceaccount:{namespace}:ocm-controller"),
        }
    }

    /// What it asked of the API server.
    pub fn asked(&self, scene: &Scene) -> Vec<AuditEvent> {
        let log = scene.cluster.audit_log().into_iter();
        log.filter(|event| event.user == self.user).collect()
    }
}

/// Gives the rights that the chart does with these values; returns the arguments that it gives.
pub async fn give_rights(cluster: &Cluster, namespace: &str, values: &[String]) -> Vec<String> {
    let mut arguments = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&helm_template(namespace, values)) {
        let object = Value::deserialize(document).expect("valid YAML");
        match object["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
                cluster.apply(&object.to_string()).await;
            }
            "Deployment" => {
                let args = &object["spec"]["template"]["spec"]["containers"][0]["args"];
                let args = args.as_array().expect("it has arguments").iter();
                arguments = args
                    .map(|argument| argument.as_str().expect("a text").to_owned())
                    .collect();
            }
            _ => {}
        }
    }
    arguments
}

fn helm_template(namespace: &str, values: &[String]) -> String {
    let output = Command::new(tools::program("helm"))
        .args(["template", "ocm-controller"])
        .arg(in_repository("charts/ocm-controller"))
        .arg(format!("--namespace={namespace}"))
        .args(values)
        .output()
        .expect("helm can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("helm prints UTF-8")
}
