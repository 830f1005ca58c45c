//! Finding resources and references by their identity.

use std::collections::BTreeSet;

use super::{Descriptor, Error, Identity, Reference, Resource, Result};

/// Which resource of a component is meant, as a `resourceRef` says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceSelector {
    /// The resource's name.
    pub name: String,
    /// The whole extra identity, or empty.
    pub extra_identity: Identity,
    /// The version to prefer where several resources match.
    pub version: Option<String>,
}

/// A resource that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundResource<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// Whether a version was asked for and the resource has another one. It is used all the same,
    /// as it always was; the user should be told.
    pub other_version: bool,
}

impl Resource {
    /// Its name and extra identity.
    pub fn identity(&self) -> Identity {
        self.extra_identity.clone().with("name", &self.name)
    }
}

impl Reference {
    /// Its name and extra identity.
    pub fn identity(&self) -> Identity {
        self.extra_identity.clone().with("name", &self.name)
    }
}

impl Descriptor {
    /// Finds the resource that `selector` means.
    ///
    /// With an extra identity, the resource's must be equal to it; where resources differ in their
    /// version alone, the extra identity may name that as `version`. Without one, it is the
    /// resource of that name without extra identity, or else the only resource of that name. The
    /// selector's version decides between several.
    pub fn find_resource(&self, selector: &ResourceSelector) -> Result<FoundResource<'_>> {
        let named: Vec<&Resource> = self
            .resources
            .iter()
            .filter(|resource| resource.name == selector.name)
            .collect();
        let mut matching: Vec<&Resource> = named
            .iter()
            .copied()
            .filter(|resource| meant(resource, &selector.extra_identity))
            .collect();
        if matching.is_empty() && selector.extra_identity.is_empty() {
            matching.clone_from(&named);
        }
        let has_version = |resource: &Resource| {
            selector
                .version
                .as_ref()
                .is_none_or(|v| *v == resource.version)
        };
        if matching.len() > 1 && selector.version.is_some() && same_identity(&matching) {
            let exact = matching.iter().copied().filter(|found| has_version(found));
            let exact: Vec<&Resource> = exact.collect();
            if !exact.is_empty() {
                matching = exact;
            }
        }
        let wanted = selector.extra_identity.clone().with("name", &selector.name);
        match matching.as_slice() {
            [resource] => Ok(FoundResource {
                resource,
                other_version: !has_version(resource),
            }),
            [] => Err(Error::Find {
                component: self.name.clone(),
                element: "resource",
                wanted,
                candidates: full_identities(if named.is_empty() {
                    self.resources.iter().collect()
                } else {
                    named
                }),
            }),
            _ => Err(Error::Ambiguous {
                component: self.name.clone(),
                element: "resource",
                wanted,
                candidates: full_identities(matching),
            }),
        }
    }

    /// Finds the reference that one element of a `referencePath` means: equal in name and extra
    /// identity, or, where only the name is given, the only reference of that name.
    pub fn find_reference(&self, identity: &Identity) -> Result<&Reference> {
        let name = identity.get("name");
        let named: Vec<&Reference> = self
            .references
            .iter()
            .filter(|reference| Some(reference.name.as_str()) == name)
            .collect();
        let mut matching: Vec<&Reference> = named
            .iter()
            .copied()
            .filter(|reference| {
                let own = reference.identity();
                own == *identity || own.with("version", reference.version.as_str()) == *identity
            })
            .collect();
        let only_name = identity.iter().count() == 1;
        if matching.is_empty() && only_name {
            matching.clone_from(&named);
        }
        let identities = |references: &[&Reference]| {
            references
                .iter()
                .map(|reference| reference.identity())
                .collect()
        };
        match matching.as_slice() {
            [reference] => Ok(reference),
            [] => Err(Error::Find {
                component: self.name.clone(),
                element: "reference",
                wanted: identity.clone(),
                candidates: identities(&self.references.iter().collect::<Vec<_>>()),
            }),
            _ => Err(Error::Ambiguous {
                component: self.name.clone(),
                element: "reference",
                wanted: identity.clone(),
                candidates: identities(&matching),
            }),
        }
    }
}

fn meant(resource: &Resource, extra_identity: &Identity) -> bool {
    resource.extra_identity == *extra_identity
        || resource
            .extra_identity
            .clone()
            .with("version", &resource.version)
            == *extra_identity
}

/// Whether the resources differ in nothing but their version.
fn same_identity(resources: &[&Resource]) -> bool {
    let identities: BTreeSet<&Identity> = resources
        .iter()
        .map(|resource| &resource.extra_identity)
        .collect();
    identities.len() == 1
}

/// The identities with versions, so that candidates can be told apart in a message.
fn full_identities(resources: Vec<&Resource>) -> Vec<Identity> {
    resources
        .into_iter()
        .map(|resource| resource.identity().with("version", &resource.version))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `single` without and `lonely` with an extra identity, `image` for two architectures and
    /// without, `twin` in two versions, `pair` with extra identities alone.
    fn component() -> Descriptor {
        let resource = |name: &str, version: &str, architecture: Option<&str>| {
            let mut resource = json!({"name": name, "version": version, "type": "x",
                                      "access": {"type": "none"}});
            if let Some(architecture) = architecture {
                resource["extraIdentity"] = json!({"arch": architecture});
            }
            resource
        };
        let document = json!({
            "meta": {"schemaVersion": "v2"},
            "component": {
                "name": "example.org/shop", "version": "3.0.0", "provider": "example.org",
                "resources": [
                    resource("single", "1.0.0", None),
                    resource("lonely", "1.1.0", Some("s390x")),
                    resource("image", "1.2.0", Some("amd64")),
                    resource("image", "1.3.0", Some("arm64")),
                    resource("image", "1.4.0", None),
                    resource("twin", "1.5.0", None),
                    resource("twin", "1.6.0", None),
                    resource("pair", "1.7.0", Some("amd64")),
                    resource("pair", "1.8.0", Some("arm64")),
                ],
                "componentReferences": [
                    {"name": "db", "componentName": "example.org/db", "version": "5.0.0"},
                    {"name": "cache", "componentName": "example.org/cache", "version": "5.1.0",
                     "extraIdentity": {"arch": "arm64"}},
                ],
            },
        });
        Descriptor::parse(document.to_string().as_bytes()).unwrap()
    }

    fn find(name: &str, extra: &[(&str, &str)], version: Option<&str>) -> Result<(String, bool)> {
        let selector = ResourceSelector {
            name: name.to_owned(),
            extra_identity: extra.iter().copied().collect(),
            version: version.map(str::to_owned),
        };
        let component = component();
        let found = component.find_resource(&selector)?;
        Ok((found.resource.version.clone(), found.other_version))
    }

    #[test]
    fn resource_is_found_by_its_whole_identity() {
        for (name, extra, version) in [
            ("single", vec![], "1.0.0"),
            ("lonely", vec![], "1.1.0"),
            ("image", vec![], "1.4.0"),
            ("image", vec![("arch", "amd64")], "1.2.0"),
            ("twin", vec![("version", "1.6.0")], "1.6.0"),
        ] {
            assert_eq!(
                find(name, &extra, None).unwrap(),
                (version.to_owned(), false)
            );
        }
    }

    #[test]
    fn version_decides_between_matches_and_is_reported_where_it_differs() {
        assert_eq!(
            find("twin", &[], Some("1.5.0")).unwrap(),
            ("1.5.0".into(), false)
        );
        assert_eq!(
            find("single", &[], Some("9.9.9")).unwrap(),
            ("1.0.0".into(), true)
        );
        assert_eq!(
            find("single", &[], Some("1.0.0")).unwrap(),
            ("1.0.0".into(), false)
        );
    }

    #[test]
    fn b78_no_or_several_resources_are_an_error_with_the_candidates() {
        for (name, extra, version, candidate) in [
            ("absent", vec![], None, "single"),
            ("image", vec![("arch", "riscv")], None, "amd64"),
            (
                "image",
                vec![("arch", "amd64"), ("os", "linux")],
                None,
                "amd64",
            ),
            ("twin", vec![], None, "1.6.0"),
            ("twin", vec![], Some("9.9.9"), "1.6.0"),
            ("pair", vec![], None, "arm64"),
        ] {
            let error = find(name, &extra, version).unwrap_err().to_string();
            assert!(error.contains(candidate), "{error}");
        }
    }

    #[test]
    fn b78_reference_is_found_by_its_identity() {
        let component = component();
        let found = component.find_reference(&Identity::of_name("db")).unwrap();
        assert_eq!(found.component_name.as_str(), "example.org/db");
        let cache = Identity::of_name("cache");
        assert!(component.find_reference(&cache).is_ok());
        assert!(
            component
                .find_reference(&cache.clone().with("arch", "arm64"))
                .is_ok()
        );
        let error = component
            .find_reference(&cache.with("arch", "amd64"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("arm64"), "{error}");
    }
}
