//! The `ConfigData` document: the rules that a component brings along for its own delivery.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::values::kind;
use super::{Error, Result, document};
use crate::ocm::Identity;

/// Most rules of each kind in one document.
const MAX_RULES: usize = 10_000;

/// What a `ConfigData` document says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigData {
    /// Rules that point images at where the component's copies are stored.
    pub localization: Vec<LocalizationRule>,
    /// Rules that write the site's settings; absent where the document has no such part.
    pub configuration: Option<Configuration>,
}

/// One item of `localization`.
#[derive(Debug, Clone, PartialEq)]
pub enum LocalizationRule {
    /// Writes parts of the location of a resource.
    Image(ImageRule),
    /// Computes a value from the component by a CUE program. Kept, so that a Configuration can
    /// still use the document.
    Mapping {
        /// Which rule it is.
        rule: RuleName,
        /// The file it is for.
        file: RulePath,
    },
}

/// Writes parts of the location of a resource into a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRule {
    /// Which rule it is.
    pub rule: RuleName,
    /// The file to change.
    pub file: RulePath,
    /// The resource whose location is written.
    pub resource: RuleResource,
    /// Where in the file each part goes.
    pub targets: Targets,
}

/// The resource that an [`ImageRule`] means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleResource {
    /// Its name.
    pub name: String,
    /// What tells it from other resources of that name.
    pub extra_identity: Identity,
    /// The component that has it, from the one that the rules come from; empty for that one.
    pub reference_path: Vec<Identity>,
}

impl fmt::Display for RuleResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.extra_identity.clone().with("name", &self.name);
        write!(formatter, "{{{identity}}}")?;
        for (index, step) in self.reference_path.iter().enumerate() {
            let joint = if index == 0 { " below reference" } else { "," };
            write!(formatter, "{joint} {{{step}}}")?;
        }
        Ok(())
    }
}

/// The paths, in the file of an [`ImageRule`], of what it writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Takes the host of the registry.
    pub registry: Option<String>,
    /// Takes the repository without the host.
    pub repository: Option<String>,
    /// Takes host and repository.
    pub fully_qualified_repository: Option<String>,
    /// Takes the whole reference.
    pub image: Option<String>,
    /// Takes the tag, with the digest where both are known.
    pub tag: Option<String>,
}

/// The `configuration` part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// Values for what the site does not set; a map or null.
    pub defaults: Value,
    /// A JSON Schema for the merged values.
    pub schema: Option<Value>,
    /// What is written where.
    pub rules: Vec<ConfigurationRule>,
}

/// Writes a value into a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationRule {
    /// Which rule it is.
    pub rule: RuleName,
    /// The file to change.
    pub file: RulePath,
    /// Where in the file the value goes.
    pub path: String,
    /// The value; texts in it may hold expressions.
    pub value: Value,
}

/// Which rule of the document something is about, for people: `localization[0] "image"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleName {
    list: &'static str,
    index: usize,
    name: Option<String>,
}

impl RuleName {
    /// The rule at `index` of the list called `list` in the document.
    pub fn new(list: &'static str, index: usize, name: Option<String>) -> Self {
        Self { list, index, name }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{}]", self.list, self.index)?;
        match &self.name {
            Some(name) => write!(formatter, " {name:?}"),
            None => Ok(()),
        }
    }
}

/// The file of a rule: a path inside the archive, without `.`, `..` and empty parts.
///
/// Leading `./` and `/` are the archive's root, as in the original.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RulePath(String);

impl RulePath {
    /// Parses a path as a rule has it; nothing where it names no file inside the archive.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return None,
                part if part.contains('\\') || part.chars().any(char::is_control) => return None,
                part => parts.push(part),
            }
        }
        (!parts.is_empty() && !text.ends_with('/')).then(|| Self(parts.join("/")))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RulePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Display for RulePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ConfigData {
    /// Reads a document, YAML or JSON.
    ///
    /// Fields that are not known are left alone, `apiVersion` and `kind` included: documents in
    /// use differ. An empty document has no rules.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let document = document::parse(text).map_err(|problem| Error::Unmarshal { problem })?;
        match document {
            Value::Null => return Ok(Self::default()),
            Value::Object(_) => {}
            other => {
                let problem = format!("expected a map, got {}", kind(&other));
                return Err(Error::Unmarshal { problem });
            }
        }
        let document: Document =
            serde_json::from_value(document).map_err(|source| Error::Unmarshal {
                problem: source.to_string(),
            })?;
        document.checked()
    }
}

/// The document as it is written.
#[derive(Deserialize)]
struct Document {
    localization: Option<Vec<RawLocalization>>,
    configuration: Option<RawConfiguration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLocalization {
    name: Option<String>,
    file: Option<String>,
    resource: Option<RawResource>,
    registry: Option<String>,
    repository: Option<String>,
    fully_qualified_repository: Option<String>,
    image: Option<String>,
    tag: Option<String>,
    mapping: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResource {
    name: String,
    extra_identity: Option<Identity>,
    reference_path: Option<Vec<Identity>>,
}

#[derive(Deserialize)]
struct RawConfiguration {
    #[serde(default)]
    defaults: Value,
    schema: Option<Value>,
    rules: Option<Vec<RawConfigurationRule>>,
}

#[derive(Deserialize)]
struct RawConfigurationRule {
    name: Option<String>,
    #[serde(default)]
    value: Value,
    file: Option<String>,
    path: Option<String>,
}

impl Document {
    fn checked(self) -> Result<ConfigData> {
        let localization = self.localization.unwrap_or_default();
        check_count("localization", localization.len())?;
        let localization = localization
            .into_iter()
            .enumerate()
            .map(|(index, raw)| raw.checked(index))
            .collect::<Result<_>>()?;
        let configuration = self
            .configuration
            .map(RawConfiguration::checked)
            .transpose()?;
        Ok(ConfigData {
            localization,
            configuration,
        })
    }
}

impl RawLocalization {
    fn checked(self, index: usize) -> Result<LocalizationRule> {
        let rule = RuleName::new("localization", index, self.name);
        let file = rule_path(&rule, self.file)?;
        if self.mapping.is_some() {
            return Ok(LocalizationRule::Mapping { rule, file });
        }
        let Some(resource) = self.resource else {
            return Err(incomplete(rule, "resource"));
        };
        let targets = Targets {
            registry: self.registry,
            repository: self.repository,
            fully_qualified_repository: self.fully_qualified_repository,
            image: self.image,
            tag: self.tag,
        };
        Ok(LocalizationRule::Image(ImageRule {
            rule,
            file,
            resource: RuleResource {
                name: resource.name,
                extra_identity: resource.extra_identity.unwrap_or_default(),
                reference_path: resource.reference_path.unwrap_or_default(),
            },
            targets,
        }))
    }
}

impl RawConfiguration {
    fn checked(self) -> Result<Configuration> {
        if !matches!(self.defaults, Value::Null | Value::Object(_)) {
            let problem = format!(
                "configuration.defaults: expected a map, got {}",
                kind(&self.defaults)
            );
            return Err(Error::Unmarshal { problem });
        }
        let rules = self.rules.unwrap_or_default();
        check_count("configuration.rules", rules.len())?;
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(index, raw)| raw.checked(index))
            .collect::<Result<_>>()?;
        let schema = self.schema.filter(|schema| !schema.is_null());
        Ok(Configuration {
            defaults: self.defaults,
            schema,
            rules,
        })
    }
}

impl RawConfigurationRule {
    fn checked(self, index: usize) -> Result<ConfigurationRule> {
        let rule = RuleName::new("configuration.rules", index, self.name);
        let file = rule_path(&rule, self.file)?;
        let Some(path) = self.path else {
            return Err(incomplete(rule, "path"));
        };
        Ok(ConfigurationRule {
            rule,
            file,
            path,
            value: self.value,
        })
    }
}

fn rule_path(rule: &RuleName, file: Option<String>) -> Result<RulePath> {
    let Some(file) = file else {
        return Err(incomplete(rule.clone(), "file"));
    };
    RulePath::parse(&file).ok_or_else(|| Error::ParseRulePath {
        rule: rule.clone(),
        file,
    })
}

fn incomplete(rule: RuleName, field: &'static str) -> Error {
    Error::IncompleteRule { rule, field }
}

fn check_count(list: &'static str, count: usize) -> Result<()> {
    if count > MAX_RULES {
        return Err(Error::TooManyRules {
            list,
            count,
            limit: MAX_RULES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
