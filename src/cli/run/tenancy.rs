//! How far the objects of one namespace may reach.

use clap::{ArgAction, Args};

use crate::deploy::TemplatePolicy;

/// Arguments about what tenants may ask for.
#[derive(Debug, Args)]
pub(super) struct TenancyArguments {
    /// Refuse references into other namespaces.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) no_cross_namespace_refs: bool,

    /// The ServiceAccount by which Flux applies what templates without one ask for.
    #[arg(long, value_name = "NAME")]
    default_service_account: Option<String>,

    /// Refuse templates that reach beyond their namespace, or name no ServiceAccount.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    restrict_templates: bool,
}

impl TenancyArguments {
    pub(super) fn templates(&self) -> TemplatePolicy {
        TemplatePolicy {
            default_service_account: self.default_service_account.clone(),
            is_restricted: self.restrict_templates,
        }
    }
}
