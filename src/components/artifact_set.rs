//! Artifact sets: one OCI artifact with all its blobs in an archive, as OCM stores it in a blob.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use serde::Deserialize;

use crate::archive::{EntryKind, Limits, Reader};
use crate::oci::{Digest, Hasher, json};

/// What the index is called, in sets by the OCI specification and in older ones.
const INDEXES: [&str; 2] = ["index.json", "artifact-descriptor.json"];

/// The annotations that name the artifact among the manifests of a set.
const MAIN: [&str; 2] = ["software.ocm/main", "cloud.gardener.ocm/main"];

/// The largest index, in bytes.
const MAX_INDEX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Manifest>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    digest: Digest,
}

/// The digest of the artifact in a set. Everything that the set holds is hashed on the way.
pub(super) fn main_digest(source: impl Read) -> io::Result<Digest> {
    let limits = Limits::default();
    let mut reader = Reader::open(source, &limits).map_err(io::Error::other)?;
    let (mut index, mut present) = (None, BTreeSet::new());
    while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
        let path = entry.path.as_str();
        if entry.kind == EntryKind::Directory {
            continue;
        }
        if INDEXES.contains(&path) {
            let mut text = Vec::new();
            reader.body().take(MAX_INDEX).read_to_end(&mut text)?;
            index = Some(text);
        } else if let Some(name) = path.strip_prefix("blobs/") {
            let digest: Digest = name
                .replacen(['.', '/'], ":", 1)
                .parse()
                .map_err(io::Error::other)?;
            let mut hasher = Hasher::new(digest.algorithm());
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match reader.body().read(&mut buffer)? {
                    0 => break,
                    count => hasher.update(&buffer[..count]),
                }
            }
            let found = hasher.finish();
            if found != digest {
                return Err(wrong(&format!("its blob {digest} has digest {found}")));
            }
            present.insert(digest);
        }
    }
    let index = index.ok_or_else(|| wrong("it has no index.json"))?;
    let index: Index = json::from_slice(&index).map_err(io::Error::other)?;
    let named = MAIN.iter().find_map(|name| index.annotations.get(*name));
    let main = match (named, index.manifests.as_slice()) {
        (Some(named), _) => named.parse().map_err(io::Error::other)?,
        (None, [only]) => only.digest.clone(),
        (None, several) => {
            let count = several.len();
            return Err(wrong(&format!(
                "its index has {count} artifacts, and names none"
            )));
        }
    };
    if present.contains(&main) {
        Ok(main)
    } else {
        Err(wrong(&format!("it does not hold the artifact {main}")))
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::other(format!("the blob is no artifact set: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// The chart of the product, as the reference tool stored it.
    fn fixture() -> Vec<u8> {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/ctf/product-signed"
        );
        let name = "sha256.d676b03fc11db86974861568c4b5c7595d5ca543309c946928cd162f0305022f";
        std::fs::read(format!("{folder}/blobs/{name}")).unwrap()
    }

    #[test]
    fn artifact_of_a_set_is_what_the_reference_tool_recorded() {
        assert_eq!(
            main_digest(fixture().as_slice()).unwrap().to_string(),
            "sha256:797258665969f884a4e2021b07a8988103bde42c36b3b96002f20ec4d5ac5595"
        );
    }

    #[test]
    fn both_layouts_are_read() {
        let digest = Digest::of(b"{}");
        let index = format!("{{\"manifests\": [{{\"digest\": \"{digest}\"}}]}}");
        for (file, blob) in [
            ("index.json", format!("blobs/sha256/{}", digest.hex())),
            (
                "artifact-descriptor.json",
                format!("blobs/sha256.{}", digest.hex()),
            ),
        ] {
            let set = set(&[(file, index.as_bytes()), (&blob, b"{}")]);
            assert_eq!(main_digest(set.as_slice()).unwrap(), digest);
        }
    }

    #[test]
    fn set_that_does_not_hold_what_it_names_is_refused() {
        let digest = Digest::of(b"{}");
        let index = format!("{{\"manifests\": [{{\"digest\": \"{digest}\"}}]}}");
        let index = index.as_bytes();
        let two = format!(
            "{{\"manifests\": [{{\"digest\": \"{digest}\"}}, {{\"digest\": \"{digest}\"}}]}}"
        );
        let blob = format!("blobs/sha256.{}", digest.hex());
        for (files, problem) in [
            (vec![("index.json", index)], "does not hold"),
            (vec![(&*blob, &b"{}"[..])], "no index.json"),
            (vec![("index.json", index), (&blob, b"{ }")], "has digest"),
            (
                vec![("index.json", two.as_bytes()), (&blob, b"{}")],
                "2 artifacts",
            ),
            (
                vec![("index.json", b"{\"manifests\": [], \"manifests\": []}")],
                "twice",
            ),
            (vec![("blobs/sha256.00", b"{}")], "digest"),
        ] {
            let error = main_digest(set(&files).as_slice()).unwrap_err();
            assert!(crate::chain::chain(&error).contains(problem), "{error}");
        }
    }
}
