//! Names that objects in the cluster get. Those that the Go controller gave are kept.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{ComponentName, Identity, Version};

/// How long the name of an object may be (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

/// How long the name of a snapshot may be: `NAMESPACE/NAME` is a repository, for which clients of
/// registries allow 255 bytes, some of them with the host in front.
const MAX_SNAPSHOT_NAME: usize = 128;

/// How many characters make a snapshot's name differ from its owner's.
const SNAPSHOT_CHARACTERS: usize = 7;

/// The name of the `ComponentDescriptor` object of a component version.
///
/// It is the Go controller's wherever that one is valid: the component's name with dashes for
/// slashes, the version, and a hash of both and of the reference's extra identity. What an object's
/// name may not hold (`+`, upper case) becomes a dash or lower case, and a name that is too long
/// is cut in front of the hash; the hash keeps such names apart.
pub fn descriptor_name(
    component: &ComponentName,
    version: &Version,
    extra_identity: &Identity,
) -> String {
    let hash = descriptor_hash(component, version, extra_identity);
    let front = format!("{component}-{version}").replace('/', "-");
    joined(&front, &hash.to_string(), MAX_NAME)
}

/// The name of the Snapshot of an owner: its name and seven characters made from its UID, so that
/// the same object always finds its snapshot, and a new object of the same name does not.
pub fn snapshot_name(owner: &str, uid: &str) -> String {
    const ALPHABET: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(uid.as_bytes());
    let suffix: String = hash
        .iter()
        .take(SNAPSHOT_CHARACTERS)
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    joined(owner, &suffix, MAX_SNAPSHOT_NAME)
}

/// A reference path as one text, as the identity of a snapshot holds it.
pub fn reference_path(path: &[Identity]) -> String {
    path.iter().fold(String::new(), |mut text, identity| {
        write!(text, "{identity}:").expect("writing to a text does not fail");
        text
    })
}

/// `front-suffix` as the name of an object, of at most `limit` bytes.
fn joined(front: &str, suffix: &str, limit: usize) -> String {
    let room = limit - suffix.len() - 1;
    let mut name = String::with_capacity(limit);
    for character in front
        .chars()
        .map(|character| character.to_ascii_lowercase())
    {
        let fits = character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
        let character = if fits { character } else { '-' };
        // A label must not start or end with a dash, so none may stand beside a dot.
        match (name.chars().last(), character) {
            (None | Some('.'), '-' | '.') => {}
            (Some('-'), '.') => {
                while name.ends_with('-') {
                    name.pop();
                }
                name.push('.');
            }
            _ => name.push(character),
        }
        if name.len() == room {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '.']);
    format!("{name}-{suffix}")
}

/// The hash of a naming scheme: FNV-1 over the fields of a Go structure, as the library
/// hashstructure (format 1) combines them.
fn descriptor_hash(component: &ComponentName, version: &Version, extra_identity: &Identity) -> u64 {
    let text = |text: &str| fnv(text.as_bytes());
    let identity = extra_identity
        .iter()
        .map(|(key, value)| pair(text(key), text(value)))
        .fold(0, std::ops::BitXor::bitxor);
    text("namingScheme")
        ^ pair(text("ComponentName"), text(component.as_str()))
        ^ pair(text("Version"), text(version.as_str()))
        ^ pair(text("Identity"), identity)
}

/// 64-bit FNV-1: multiply, then combine.
fn fnv(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 14_695_981_039_346_656_037;
    const PRIME: u64 = 1_099_511_628_211;
    bytes.iter().fold(OFFSET, |hash, byte| {
        hash.wrapping_mul(PRIME) ^ u64::from(*byte)
    })
}

fn pair(key: u64, value: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    fnv(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(component: &str, version: &str, extra_identity: &Identity) -> String {
        descriptor_name(
            &component.parse().unwrap(),
            &version.parse().unwrap(),
            extra_identity,
        )
    }

    fn is_object_name(name: &str) -> bool {
        name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                    })
            })
    }

    #[test]
    fn descriptor_names_are_those_of_the_go_controller() {
        let none = Identity::default();
        assert_eq!(
            named("ocm.software/demos/podinfo", "v1.0.0", &none),
            "ocm.software-demos-podinfo-v1.0.0-15225012871519309609"
        );
        assert_eq!(
            named("example.org/shop/frontend", "1.4.0", &none),
            "example.org-shop-frontend-1.4.0-12268238061974926192"
        );
        let arm = Identity::from_iter([("arch", "arm64")]);
        assert_eq!(
            named("example.org/shop/frontend", "1.4.0", &arm),
            "example.org-shop-frontend-1.4.0-3640129648756444607"
        );
    }

    #[test]
    fn b51_b67_names_of_objects_are_valid_and_differ() {
        let none = Identity::default();
        let long = format!("example.org/{}", "a".repeat(240));
        let mut names: Vec<String> = [
            ("example.org/x", "1.0.0+build.7"),
            ("example.org/x", "1.0.0-build.7"),
            ("example.org/x", "1.0.0-RC.1"),
            ("example.org/x", "1.0.0-rc.1"),
            ("example.org/x", "1.0.0--.-a-.b-"),
            ("example.org/a_b-.c/d", "1"),
            (&*long, "1.0.0"),
            (&*long, "1.0.1"),
        ]
        .into_iter()
        .map(|(component, version)| named(component, version, &none))
        .collect();
        for name in &names {
            assert!(is_object_name(name), "{name:?} is no name of an object");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn snapshot_name_depends_on_the_owner_alone() {
        let name = snapshot_name("podinfo", "6f1c1b3e-6c0e-4d5c-9a57-0c6d5a3c9d11");
        assert_eq!(name.len(), "podinfo-".len() + 7);
        assert!(name.starts_with("podinfo-"));
        assert!(is_object_name(&name));
        assert_eq!(
            name,
            snapshot_name("podinfo", "6f1c1b3e-6c0e-4d5c-9a57-0c6d5a3c9d11")
        );
        assert_ne!(name, snapshot_name("podinfo", "another"));
        assert!(is_object_name(&snapshot_name(&"x.".repeat(126), "uid")));
        let longest = snapshot_name(&"x".repeat(MAX_NAME), "uid");
        let repository = format!("{}/{longest}", "n".repeat(63));
        assert!(repository.parse::<crate::oci::RepositoryName>().is_ok());
    }

    #[test]
    fn reference_path_is_written_element_by_element() {
        let path = [
            Identity::of_name("db").with("arch", "arm64"),
            Identity::of_name("cache"),
        ];
        assert_eq!(
            reference_path(&path),
            r#""arch"="arm64","name"="db":"name"="cache":"#
        );
    }
}
