//! Pieces of `OpenAPI` schema that more than one kind uses.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object whose fields are somebody else's to define.
pub(super) fn preserved_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Any JSON value.
pub(super) fn preserved_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A list of objects whose fields are the Open Component Model's to define.
pub(super) fn preserved_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// A duration as Go writes it: `90s`, `5m`, `1h30m`. Never negative.
pub(super) fn interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        "maxLength": 20,
        "x-kubernetes-validations": [{
            "rule": "duration(self) <= duration('8784h')",
            "message": "an interval is a year at most"
        }]
    })
}

/// The address of an OCM repository: a host, with or without scheme, port and path, and nothing
/// that hides another host or a credential.
pub(super) fn repository_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 2048,
        "pattern": r"^((https?|oci)://)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?(/[^?#@\s]*)?$"
    })
}
