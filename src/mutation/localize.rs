//! Localization: rules that point each image at the place where this component's copy is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::config_data::{ImageRule, LocalizationRule, RuleResource};
use super::{Error, Result, Substitution};
use crate::edit::Missing;
use crate::oci::ImageReference;
use crate::ocm::{Descriptor, Identity, Resource, ResourceSelector};

/// An error of whoever looks something up for this module.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Why a resource has no image reference.
#[derive(Debug)]
pub enum LookupError {
    /// The component or the resource is not there, or not unique.
    Find(BoxedError),
    /// The resource is there, its access leads to no image.
    Locate(BoxedError),
}

/// Where the images of a component and of those below its references are.
pub trait Images {
    /// The reference by which the image of `resource` is pulled. Its reference path starts at the
    /// component that the rules come from.
    fn image(&self, resource: &RuleResource) -> Result<ImageReference, LookupError>;
}

/// The images of component versions that were loaded before.
#[derive(Debug)]
pub struct LoadedImages<'a, C, F> {
    /// Each by its reference path as the rules write it ([`reference_paths`]).
    pub components: &'a BTreeMap<Vec<Identity>, C>,
    /// Gives the reference of a resource: [`crate::ocm::location`], or the pinned form of it.
    pub reference: F,
}

impl<C, F> Images for LoadedImages<'_, C, F>
where
    C: AsRef<Descriptor>,
    F: Fn(&C, &Resource) -> Result<ImageReference, BoxedError>,
{
    fn image(&self, resource: &RuleResource) -> Result<ImageReference, LookupError> {
        let component = self
            .components
            .get(&resource.reference_path)
            .ok_or_else(|| {
                LookupError::Find("the component at this reference path is not loaded".into())
            })?;
        let selector = ResourceSelector {
            name: resource.name.clone(),
            extra_identity: resource.extra_identity.clone(),
            version: None,
        };
        let found = component
            .as_ref()
            .find_resource(&selector)
            .map_err(|source| LookupError::Find(source.into()))?;
        (self.reference)(component, found.resource).map_err(LookupError::Locate)
    }
}

/// The reference paths that `rules` look at, so that their descriptors can be loaded before.
pub fn reference_paths(rules: &[LocalizationRule]) -> BTreeSet<Vec<Identity>> {
    rules
        .iter()
        .filter_map(|rule| match rule {
            LocalizationRule::Image(rule) => Some(rule.resource.reference_path.clone()),
            LocalizationRule::Mapping { .. } => None,
        })
        .collect()
}

/// Turns rules into substitutions by asking where each resource's image is now.
///
/// The order of the rules is kept: a later rule may overwrite what an earlier one wrote. Each
/// resource is asked for once.
pub fn localize(
    rules: &[LocalizationRule],
    images: &impl Images,
    missing: Missing,
) -> Result<Vec<Substitution>> {
    let mut known = HashMap::new();
    let mut substitutions = Vec::new();
    for rule in rules {
        let rule = match rule {
            LocalizationRule::Image(rule) => rule,
            LocalizationRule::Mapping { rule, file } => {
                return Err(Error::RefuseMapping {
                    rule: rule.clone(),
                    file: file.clone(),
                });
            }
        };
        let image = match known.get(&rule.resource) {
            Some(image) => image,
            None => known
                .entry(rule.resource.clone())
                .or_insert(locate(rule, images)?),
        };
        for (path, value) in targets(rule, image)? {
            substitutions.push(Substitution {
                rule: rule.rule.clone(),
                file: rule.file.clone(),
                path: path.clone(),
                value: Value::String(value),
                missing,
            });
        }
    }
    Ok(substitutions)
}

fn locate(rule: &ImageRule, images: &impl Images) -> Result<ImageReference> {
    let resource = &rule.resource;
    images.image(resource).map_err(|error| match error {
        LookupError::Find(source) => Error::FindResource {
            rule: rule.rule.clone(),
            resource: Box::new(resource.clone()),
            source,
        },
        LookupError::Locate(source) => Error::LocateImage {
            rule: rule.rule.clone(),
            resource: Box::new(resource.clone()),
            source,
        },
    })
}

/// What goes where, in the order in which the original applies it.
fn targets<'a>(rule: &'a ImageRule, image: &ImageReference) -> Result<Vec<(&'a String, String)>> {
    let targets = &rule.targets;
    let mut written = Vec::new();
    if let Some(path) = &targets.registry {
        written.push((path, image.host().to_owned()));
    }
    if let Some(path) = &targets.repository {
        written.push((path, image.repository().to_string()));
    }
    if let Some(path) = &targets.fully_qualified_repository {
        written.push((path, image.name()));
    }
    if let Some(path) = &targets.image {
        written.push((path, image.to_string()));
    }
    if let Some(path) = &targets.tag {
        let tag = tag(image).ok_or_else(|| Error::WriteTag {
            rule: rule.rule.clone(),
            image: Box::new(image.clone()),
        })?;
        written.push((path, tag));
    }
    Ok(written)
}

/// What stands behind `repository:` in a reference; nothing where only a digest is known, which
/// no tag can say.
pub(super) fn tag(image: &ImageReference) -> Option<String> {
    match (image.tag(), image.digest()) {
        (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
        (Some(tag), None) => Some(tag.to_string()),
        (None, Some(_)) => None,
        // What every client takes such a reference to mean.
        (None, None) => Some("latest".to_owned()),
    }
}

#[cfg(test)]
mod tests;
