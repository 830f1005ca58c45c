//! How places are written on a command line, as the `ocm` command line writes them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Form;
use crate::ocm::{self, ComponentName, OcmRepository, Version};

/// A place: a registry, or an archive on disk.
///
/// `[https://|http://|oci://]HOST[:PORT][/PATH]` or `OCIRegistry::…` is a registry.
/// `ctf::PATH`, `ctf+directory::PATH`, `ctf+tar::PATH`, `ctf+tgz::PATH` and
/// `ca::PATH` are archives; so is a path that cannot be taken for a host: one that starts with `.`
/// or `/`, ends with `.tar`, `.tgz` or `.tar.gz`, or whose first segment has neither dot nor colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// An OCM repository in an OCI registry.
    Registry(OcmRepository),
    /// An archive.
    Archive {
        /// Where it is.
        path: PathBuf,
        /// The form that was asked for, where one was; else its name tells.
        form: Option<Form>,
    },
}

/// A component version in a place: `LOCATION//COMPONENT[:VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentReference {
    /// The place.
    pub location: Location,
    /// The component.
    pub component: ComponentName,
    /// The version; all of them where none was written.
    pub version: Option<Version>,
}

/// Why a text names no place or no component.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The type in front of `::` is not known.
    #[error(
        "{text:?} starts with repository type {kind:?}; known are OCIRegistry, oci, ctf, \
         ctf+directory, ctf+tar, ctf+tgz, ca, ca+directory, ca+tar and ca+tgz"
    )]
    UnknownType {
        /// The text as given.
        text: String,
        /// The type.
        kind: String,
    },

    /// Nothing is left for a path.
    #[error("{text:?} names no path")]
    NoPath {
        /// The text as given.
        text: String,
    },

    /// There is no component in it.
    #[error("{text:?} names no component: expected REPOSITORY//COMPONENT[:VERSION]")]
    NoComponent {
        /// The text as given.
        text: String,
    },

    /// A part of it is malformed.
    #[error("{text:?} cannot be used")]
    Malformed {
        /// The text as given.
        text: String,
        /// What does not fit.
        source: ocm::Error,
    },
}

impl Location {
    /// What versions that are read from here name as their repository.
    pub fn repository(&self) -> OcmRepository {
        match self {
            Self::Registry(repository) => repository.clone(),
            Self::Archive { path, .. } => OcmRepository::archive(path.display().to_string()),
        }
    }
}

impl FromStr for Location {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let registry = |rest: &str| {
            let url = rest.strip_prefix("oci://").unwrap_or(rest);
            url.parse()
                .map(Self::Registry)
                .map_err(|source| ParseError::Malformed {
                    text: rest.to_owned(),
                    source,
                })
        };
        let archive = |path: &str, form| {
            if path.is_empty() {
                return Err(ParseError::NoPath {
                    text: text.to_owned(),
                });
            }
            Ok(Self::Archive {
                path: PathBuf::from(path),
                form,
            })
        };
        match split_type(text) {
            Some(("OCIRegistry" | "oci", rest)) => registry(rest),
            Some(("ctf" | "ca" | "CommonTransportFormat" | "ComponentArchive", rest)) => {
                archive(rest, None)
            }
            Some(("ctf+directory" | "ca+directory" | "directory", rest)) => {
                archive(rest, Some(Form::Folder))
            }
            Some(("ctf+tar" | "ca+tar" | "tar", rest)) => archive(rest, Some(Form::Tar)),
            Some(("ctf+tgz" | "ca+tgz" | "tgz", rest)) => archive(rest, Some(Form::TarGzip)),
            Some((kind, _)) => Err(ParseError::UnknownType {
                text: text.to_owned(),
                kind: kind.to_owned(),
            }),
            None if is_path(text) => archive(text, None),
            None => registry(text),
        }
    }
}

/// The type in front of `::`, if there is one. An address in brackets has colons of its own.
fn split_type(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once("::")?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+';
    (!kind.is_empty() && kind.bytes().all(fits)).then_some((kind, rest))
}

/// Whether a text without a type is a path. This asks no file system, so that the same text means
/// the same everywhere.
fn is_path(text: &str) -> bool {
    if text.contains("://") {
        return false;
    }
    let first = text.split('/').next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) || first == "localhost";
    text.starts_with(['.', '/']) || Form::by_suffix(Path::new(text)).is_some() || !is_host
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(repository) => fmt::Display::fmt(repository, formatter),
            Self::Archive { path, .. } => fmt::Display::fmt(&path.display(), formatter),
        }
    }
}

impl FromStr for ComponentReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let malformed = |source| ParseError::Malformed {
            text: text.to_owned(),
            source,
        };
        let none = || ParseError::NoComponent {
            text: text.to_owned(),
        };
        // The slashes of a scheme are not those in front of a component.
        let behind_scheme = text.find("://").map_or(0, |at| at + 3);
        let at = text[behind_scheme..].rfind("//").ok_or_else(none)? + behind_scheme;
        let (place, named) = (&text[..at], &text[at + 2..]);
        let (component, version) = match named.split_once(':') {
            Some((component, version)) => (component, Some(version)),
            None => (named, None),
        };
        if component.is_empty() {
            return Err(none());
        }
        Ok(Self {
            location: place.parse()?,
            component: component.parse().map_err(malformed)?,
            version: version.map(str::parse).transpose().map_err(malformed)?,
        })
    }
}

impl fmt::Display for ComponentReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}//{}", self.location, self.component)?;
        match &self.version {
            Some(version) => write!(formatter, ":{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(path: &str, form: Option<Form>) -> Location {
        let path = PathBuf::from(path);
        Location::Archive { path, form }
    }

    #[test]
    fn text_is_a_path_or_a_registry_whatever_the_disk_holds() {
        for (text, expected) in [
            ("./ctf", archive("./ctf", None)),
            ("/srv/ctf", archive("/srv/ctf", None)),
            ("../a", archive("../a", None)),
            ("ctf", archive("ctf", None)),
            ("out/ctf", archive("out/ctf", None)),
            ("podinfo.tgz", archive("podinfo.tgz", None)),
            ("a.b/podinfo.tar.gz", archive("a.b/podinfo.tar.gz", None)),
            ("ctf::ghcr.io/x", archive("ghcr.io/x", None)),
            ("ctf+directory::x", archive("x", Some(Form::Folder))),
            ("ctf+tar::x", archive("x", Some(Form::Tar))),
            ("ctf+tgz::x", archive("x", Some(Form::TarGzip))),
            ("ca::x", archive("x", None)),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        for (text, url) in [
            ("ghcr.io/phoban01", "ghcr.io/phoban01"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("localhost/x", "localhost/x"),
            ("http://registry/x", "http://registry/x"),
            ("oci://ghcr.io/x", "ghcr.io/x"),
            ("OCIRegistry::ghcr.io/x", "ghcr.io/x"),
            ("https://[::1]:5000/x", "https://[::1]:5000/x"),
        ] {
            let expected = Location::Registry(url.parse().unwrap());
            assert_eq!(text.parse::<Location>().unwrap(), expected, "{text}");
        }
        for text in ["ctf::", "zip::x", "file:///etc/x", "https://u:p@ghcr.io/x"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    #[test]
    fn component_is_behind_the_last_double_slash() {
        for (text, place, version) in [
            (
                "ghcr.io/phoban01//phoban.io/podinfo",
                "ghcr.io/phoban01",
                None,
            ),
            (
                "http://localhost:1//phoban.io/podinfo:v1.2.3+a",
                "http://localhost:1",
                Some("v1.2.3+a"),
            ),
            ("./a.tgz//phoban.io/podinfo:6.3.5", "./a.tgz", Some("6.3.5")),
        ] {
            let parsed: ComponentReference = text.parse().unwrap();
            assert_eq!(parsed.location, place.parse().unwrap());
            assert_eq!(parsed.component.as_str(), "phoban.io/podinfo");
            assert_eq!(parsed.version.as_ref().map(Version::as_str), version);
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "ghcr.io/phoban01",
            "https://ghcr.io/phoban01",
            "ghcr.io//",
            "ghcr.io//podinfo",
            "ghcr.io//phoban.io/podinfo:",
            "ghcr.io//phoban.io/podinfo:latest",
        ] {
            assert!(text.parse::<ComponentReference>().is_err(), "{text}");
        }
    }
}
