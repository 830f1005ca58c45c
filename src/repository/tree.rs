//! All that an artifact consists of, found from its manifest down.

use std::collections::HashSet;

use crate::oci::Digest;
use crate::registry::{Content, Descriptor, Manifest};

/// How many manifests an artifact may consist of.
pub const MOST_MANIFESTS: usize = 1_000;

/// How many bytes they may have together: they are held in memory.
const MOST_HELD: usize = 16 << 20;

/// How deep indexes may be nested.
const DEEPEST: usize = 4;

/// The manifests of an artifact.
#[derive(Debug, Clone)]
pub struct ArtifactTree {
    /// Each once, and after those that it names: its own manifest is the last one.
    pub manifests: Vec<Manifest>,
}

/// Why not all of an artifact was found.
#[derive(Debug)]
pub enum TreeError<E> {
    /// It consists of too many manifests, too large ones, or indexes nested too deep.
    TooLarge,
    /// A manifest could not be had.
    Fetch(E),
}

impl ArtifactTree {
    /// Finds all that `top` leads to; `fetch` reads a manifest.
    pub async fn collect<E, F>(
        top: Manifest,
        fetch: impl Fn(Digest) -> F,
    ) -> Result<Self, TreeError<E>>
    where
        F: Future<Output = Result<Manifest, E>>,
    {
        let mut held = top.bytes.len();
        let mut seen = HashSet::from([top.digest.clone()]);
        let mut open = vec![(top, 0)];
        let mut manifests = Vec::new();
        while let Some((manifest, next)) = open.last_mut() {
            let child = match &manifest.content {
                Content::Index(index) => index.manifests.get(*next),
                Content::Image(_) => None,
            };
            let Some(child) = child.map(|child| child.digest.clone()) else {
                manifests.extend(open.pop().map(|(manifest, _)| manifest));
                continue;
            };
            *next += 1;
            if !seen.insert(child.clone()) {
                continue;
            }
            if seen.len() > MOST_MANIFESTS || open.len() > DEEPEST {
                return Err(TreeError::TooLarge);
            }
            let found = fetch(child).await.map_err(TreeError::Fetch)?;
            held += found.bytes.len();
            if held > MOST_HELD {
                return Err(TreeError::TooLarge);
            }
            open.push((found, 0));
        }
        Ok(Self { manifests })
    }

    /// The blobs of all manifests, each once. Layers that no registry stores (Windows base layers)
    /// are left out.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let images = self
            .manifests
            .iter()
            .filter_map(|found| match &found.content {
                Content::Image(image) => Some(image),
                Content::Index(_) => None,
            });
        images
            .flat_map(|image| std::iter::once(&image.config).chain(&image.layers))
            .filter(|blob| !is_foreign(blob) && seen.insert(&blob.digest))
            .collect()
    }
}

fn is_foreign(layer: &Descriptor) -> bool {
    layer.media_type.contains("nondistributable") || layer.media_type.contains(".foreign.")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::registry::media_type::{OCI_INDEX, OCI_MANIFEST};

    fn manifest(document: &Value) -> Manifest {
        let bytes = Bytes::from(document.to_string());
        Manifest::stored(Digest::of(&bytes), None, bytes).unwrap()
    }

    fn entry(media_type: &str, digest: &Digest) -> Value {
        json!({"mediaType": media_type, "digest": digest, "size": 3})
    }

    fn image(layers: &[&str]) -> Manifest {
        let layer = |text: &&str| entry("application/x-layer", &Digest::of(text));
        let mut layers: Vec<_> = layers.iter().map(layer).collect();
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        layers.push(entry(foreign, &Digest::of("elsewhere")));
        manifest(
            &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers,
                         "config": entry("application/x-config", &Digest::of("{}"))}),
        )
    }

    fn index(manifests: &[&Manifest]) -> Manifest {
        let of = |found: &&Manifest| entry(&found.media_type, &found.digest);
        let manifests: Vec<_> = manifests.iter().map(of).collect();
        manifest(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))
    }

    async fn collect(
        top: Manifest,
        others: Vec<Manifest>,
    ) -> (Result<ArtifactTree, TreeError<Digest>>, usize) {
        let known: HashMap<_, _> = others
            .into_iter()
            .map(|found| (found.digest.clone(), found))
            .collect();
        let fetched = Cell::new(0);
        let tree = ArtifactTree::collect(top, async |digest| {
            fetched.set(fetched.get() + 1);
            known.get(&digest).cloned().ok_or(digest)
        });
        (tree.await, fetched.get())
    }

    #[tokio::test]
    async fn each_manifest_and_blob_is_there_once_and_what_names_it_comes_later() {
        let (one, two) = (image(&["a", "b"]), image(&["b", "c"]));
        let inner = index(&[&two]);
        let top = index(&[&one, &two, &inner, &one]);
        let (tree, fetched) =
            collect(top.clone(), vec![one.clone(), two.clone(), inner.clone()]).await;
        let tree = tree.unwrap();
        let order: Vec<_> = tree.manifests.iter().map(|found| &found.digest).collect();
        assert_eq!(
            order,
            [&one.digest, &two.digest, &inner.digest, &top.digest]
        );
        assert_eq!(fetched, 3);
        let blobs: Vec<_> = tree
            .blobs()
            .iter()
            .map(|blob| blob.digest.clone())
            .collect();
        assert_eq!(blobs, ["{}", "a", "b", "c"].map(Digest::of));
    }

    #[tokio::test]
    async fn b32_nesting_has_an_end_and_what_is_missing_is_named() {
        let leaf = image(&["a"]);
        let mut all = vec![leaf.clone()];
        let mut top = leaf.clone();
        for depth in 1..=DEEPEST + 1 {
            top = index(&[&top]);
            let (tree, _) = collect(top.clone(), all.clone()).await;
            assert_eq!(tree.is_ok(), depth <= DEEPEST, "{depth}");
            all.push(top.clone());
        }
        let (missing, _) = collect(index(&[&leaf]), Vec::new()).await;
        assert!(matches!(missing, Err(TreeError::Fetch(digest)) if digest == leaf.digest));
    }

    #[tokio::test]
    async fn b32_artifact_of_too_many_manifests_is_left_early() {
        let entries: Vec<_> = (0..900)
            .map(|count| image(&[&format!("layer {count}")]))
            .collect();
        let (first, second) = entries.split_at(450);
        let halves = [first, second].map(|half| index(&half.iter().collect::<Vec<_>>()));
        let more: Vec<_> = (0..200)
            .map(|count| image(&[&format!("m{count}")]))
            .collect();
        let third = index(&more.iter().collect::<Vec<_>>());
        let top = index(&[&halves[0], &halves[1], &third]);
        let others = [entries, more, halves.to_vec(), vec![third]].concat();
        let (tree, fetched) = collect(top, others).await;
        assert!(matches!(tree, Err(TreeError::TooLarge)));
        assert_eq!(fetched, MOST_MANIFESTS - 1);
    }
}
