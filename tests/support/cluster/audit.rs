//! The API server's audit log: who asked for what.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Logs the metadata of every request, once, when it has been answered.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
";

/// A request that was answered. Watches appear when they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who asked, as `system:serviceaccount:NAMESPACE:NAME` or `admin`.
    pub user: String,
    /// The Kubernetes verb: get, list, watch, create, update, patch, delete.
    pub verb: String,
    /// The path and the query.
    pub uri: String,
    /// The program that asked.
    pub user_agent: String,
    /// The API group, empty for the core group and for requests that are about no object.
    pub group: String,
    /// The plural, as `configmaps`; empty for requests that are about no object.
    pub resource: String,
    /// As `status`; empty for the object itself.
    pub subresource: String,
    /// Empty where the request is about no namespace.
    pub namespace: String,
    /// Empty where the request is about no single object.
    pub name: String,
    /// The HTTP status.
    pub code: u16,
    /// `ResponseComplete`, or `Panic`.
    pub stage: String,
}

impl AuditEvent {
    /// Whether the request would change the cluster.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Reads the log; there is none where the cluster was started without `audit`.
pub fn read(log: &Path) -> Vec<AuditEvent> {
    let text = fs::read_to_string(log)
        .unwrap_or_else(|error| panic!("{}: {error}; is `audit` on?", log.display()));
    // The last line may be only half written yet.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(parse).collect()
}

fn parse(line: &str) -> AuditEvent {
    let raw: Raw = serde_json::from_str(line).expect("an audit event");
    let object = raw.object_ref;
    AuditEvent {
        user: raw.user.username,
        verb: raw.verb,
        uri: raw.request_uri,
        user_agent: raw.user_agent,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        code: raw.response_status.code,
        stage: raw.stage,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}
