//! Judges a content store by its files alone, and uses nothing of the store's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

/// Files by their path below the store's root.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The digests of blobs whose bytes are right.
    pub(crate) sound: BTreeSet<String>,
    /// The digests of blobs whose bytes are wrong.
    pub(crate) torn: BTreeSet<String>,
    /// Of each tag, as `namespace/name:tag`, the manifest that it names.
    pub(crate) tags: BTreeMap<String, String>,
    /// Tags whose record does not fit its own digest.
    pub(crate) torn_tags: BTreeSet<String>,
}

/// Reads the files of a store.
pub(crate) fn judge(tree: &Tree) -> Findings {
    let mut findings = Findings::default();
    for (path, content) in tree {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        match parts[..] {
            ["blobs", "sha256", _, hex] => {
                let digest = format!("sha256:{hex}");
                if sha256(content) == digest {
                    findings.sound.insert(digest);
                } else {
                    findings.torn.insert(digest);
                }
            }
            ["refs", "tags", namespace, name, tag] => {
                let tag = format!("{namespace}/{name}:{tag}");
                match manifest_of(content) {
                    Some(manifest) => {
                        findings.tags.insert(tag, manifest);
                    }
                    None => {
                        findings.torn_tags.insert(tag);
                    }
                }
            }
            _ => {}
        }
    }
    findings
}

impl Findings {
    /// Everything that must be there for a tag to be pulled: what its manifest names.
    pub(crate) fn missing_for(&self, tree: &Tree, manifest: &str) -> Vec<String> {
        let mut wanted = vec![manifest.to_owned()];
        let hex = manifest.trim_start_matches("sha256:");
        let path = PathBuf::from(format!("blobs/sha256/{}/{hex}", &hex[..2]));
        let content = tree.get(&path).map_or(&[][..], Vec::as_slice);
        let document: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
        let named = document["layers"].as_array().into_iter().flatten();
        for descriptor in named.chain([&document["config"]]) {
            wanted.extend(descriptor["digest"].as_str().map(str::to_owned));
        }
        wanted.retain(|digest| !self.sound.contains(digest));
        wanted
    }
}

/// The manifest in a tag's record: the digest of the JSON, a line break, the JSON.
fn manifest_of(record: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(record).ok()?;
    let (digest, json) = text.split_once('\n')?;
    if sha256(json.as_bytes()) != digest {
        return None;
    }
    let record: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(record["manifest"].as_str()?.to_owned())
}

fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}
