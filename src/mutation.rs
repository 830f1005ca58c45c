//! Localization and configuration: what a component's rules write into its files.
//!
//! ```text
//! ConfigData -> localize (where are the images?)      \
//!            -> configure (what does the site want?)  -> substitutions -> substitute -> archive
//! ```
//!
//! Rules, values and archives come from outside. Nothing here reads a file, asks the network or
//! runs without end: documents have a budget ([`ConfigData::parse`]), expressions are a closed
//! language with a bound on steps, depth and size ([`configure`]), and archives are streams in
//! which only the files that rules name are held ([`substitute`]).

mod config_data;
mod configure;
mod document;
mod error;
mod evaluate;
mod expression;
mod find_images;
mod localize;
mod schema;
mod substitute;
mod values;

pub use config_data::{
    ConfigData, Configuration, ConfigurationRule, ImageRule, LocalizationRule, RuleName, RulePath,
    RuleResource, Targets,
};
pub use configure::{Configured, SchemaPolicy, configure};
pub use error::{Error, Result, Unresolved};
pub use find_images::{
    FileKind, FoundImages, KnownImage, KnownImages, LocalizedImages, UncoveredImage, find_images,
    localize_images,
};
pub use localize::{BoxedError, Images, LoadedImages, LookupError, localize, reference_paths};
pub use schema::{Violation, violations};
pub use substitute::{Root, Settings, Written, substitute};
pub use values::{ValuesSource, merge, parse_values, values_at};

use serde_json::Value;

use crate::edit::Missing;

/// One value to write into one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Substitution {
    /// The rule that wants it.
    pub rule: RuleName,
    /// The file.
    pub file: RulePath,
    /// Where in the file, in the language of [`crate::edit::Path`].
    pub path: String,
    /// The value.
    pub value: Value,
    /// What to do where the file has no such place.
    pub missing: Missing,
}

/// The two kinds of objects that change files; they take the same spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutationKind {
    /// A Localization.
    Localization,
    /// A Configuration.
    Configuration,
}

/// Which part of a [`ConfigData`] an object applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The rules of `localization`.
    Localize,
    /// The rules of `configuration`.
    Configure,
    /// The rules of `localization`, though the object is a Configuration: there are no others.
    /// Its owner should be told.
    LocalizeInstead,
}

impl Mode {
    /// The part that an object of `kind` applies.
    ///
    /// A Localization with values configures, as in the original. A Configuration configures, with
    /// values or without, unless all that the document has is a `localization` part.
    pub fn of(kind: MutationKind, has_values: bool, data: &ConfigData) -> Self {
        match kind {
            MutationKind::Localization if has_values => Self::Configure,
            MutationKind::Localization => Self::Localize,
            MutationKind::Configuration
                if data.configuration.is_none() && !data.localization.is_empty() =>
            {
                Self::LocalizeInstead
            }
            MutationKind::Configuration => Self::Configure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_values_and_document_decide_what_is_applied() {
        let both = "localization: [{file: f, resource: {name: r}}]\nconfiguration: {}\n";
        let localization = "localization: [{file: f, resource: {name: r}}]\n";
        for (kind, has_values, text, expected) in [
            (MutationKind::Localization, false, both, Mode::Localize),
            (MutationKind::Localization, true, both, Mode::Configure),
            (MutationKind::Configuration, false, both, Mode::Configure),
            (MutationKind::Configuration, true, both, Mode::Configure),
            (
                MutationKind::Configuration,
                false,
                localization,
                Mode::LocalizeInstead,
            ),
            (MutationKind::Configuration, false, "", Mode::Configure),
        ] {
            let data = ConfigData::parse(text.as_bytes()).unwrap();
            assert_eq!(
                Mode::of(kind, has_values, &data),
                expected,
                "{kind:?} {has_values} {text:?}"
            );
        }
    }
}
