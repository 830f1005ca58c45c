//! Component versions as they are written on a command line: `REPOSITORY//COMPONENT[:VERSION]`.

use std::str::FromStr;

use crate::ocm::{ComponentName, OcmRepository, Version};

/// A component in a repository, and which of its versions.
#[derive(Debug, Clone)]
pub(super) struct ComponentRef {
    /// Where it is.
    pub(super) repository: OcmRepository,
    /// The component.
    pub(super) name: ComponentName,
    /// The version; the newest one where absent.
    pub(super) version: Option<Version>,
}

impl FromStr for ComponentRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The `//` of a scheme is none that parts.
        let start = text.find("://").map_or(0, |at| at + 3);
        let (repository, component) = text[start..]
            .split_once("//")
            .map(|(host, component)| (&text[..start + host.len()], component))
            .ok_or("expected REPOSITORY//COMPONENT[:VERSION], such as ghcr.io/team//example.org/shop:1.0.0")?;
        let (name, version) = match component.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (component, None),
        };
        let version = version.map(str::parse).transpose();
        Ok(Self {
            repository: repository.parse().map_err(|error| said(&error))?,
            name: name.parse().map_err(|error| said(&error))?,
            version: version.map_err(|error| said(&error))?,
        })
    }
}

fn said(error: &crate::ocm::Error) -> String {
    crate::chain::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_apart_at_the_double_slash_that_belongs_to_no_scheme() {
        for (text, repository, version) in [
            ("ghcr.io//example.org/shop", "ghcr.io", None),
            (
                "ghcr.io/a/b//example.org/shop:1.0.0",
                "ghcr.io/a/b",
                Some("1.0.0"),
            ),
            (
                "http://127.0.0.1:5000//example.org/shop:v1.0.0+build.7",
                "http://127.0.0.1:5000",
                Some("v1.0.0+build.7"),
            ),
        ] {
            let found: ComponentRef = text.parse().unwrap();
            assert_eq!(found.repository.to_string(), repository);
            assert_eq!(found.name.as_str(), "example.org/shop");
            assert_eq!(found.version.as_ref().map(Version::as_str), version);
        }
    }

    #[test]
    fn text_that_names_no_component_version_is_refused() {
        for text in [
            "",
            "ghcr.io/example.org/shop",
            "https://ghcr.io/example.org/shop",
            "//example.org/shop",
            "ghcr.io//",
            "ghcr.io//shop",
            "ghcr.io//example.org/shop:latest",
            "ftp://ghcr.io//example.org/shop",
        ] {
            assert!(text.parse::<ComponentRef>().is_err(), "{text:?}");
        }
    }
}
