//! Decides which image of a file is which resource of the component.

use std::collections::HashMap;

use crate::oci::{ImageReference, Tag};
use crate::ocm::{Access, Resource};

/// An image that the component delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// The resource, for messages.
    pub resource: String,
    /// The version of the resource; an image without a tag goes by it.
    pub version: String,
    /// Where the component's copy is.
    pub location: ImageReference,
    /// The name it had before it was stored with the component (`referenceName` of a `localBlob`).
    pub original: Option<String>,
}

impl KnownImage {
    /// The image of `resource`, whose copy is at `location`.
    pub fn new(resource: &Resource, location: ImageReference) -> Self {
        let original = match resource.access.typed() {
            Ok(Access::LocalBlob(blob)) => blob.reference_name,
            _ => None,
        };
        Self {
            resource: resource.identity().to_string(),
            version: resource.version.clone(),
            location,
            original,
        }
    }
}

/// The images of a component and of those below its references, to be asked for an image of a
/// file.
///
/// The name under which the component was first published is not kept by a transfer, but its
/// traces are. An image of a file is a resource if, the first of these that any resource fits:
///
/// 1. it is the very reference of the copy;
/// 2. it is pinned, the copy has the same digest, and both repositories end in the same segment;
/// 3. it has the repository and tag of the resource's original name;
/// 4. the copy's repository is the image's repository below some prefix (a transfer puts it there,
///    without the host), and the tags are equal.
///
/// Docker Hub's short names stand for what they mean (`nginx` is `library/nginx`), no tag is
/// `latest`. A copy without a tag has the version of its resource as tag. If two resources with
/// different copies fit equally well, the image is none of them.
#[derive(Debug, Clone, Default)]
pub struct KnownImages {
    images: Vec<Known>,
    /// The places in `images` by the last segment of each repository they may be known by, so
    /// that an image is compared with few.
    by_name: HashMap<String, Vec<usize>>,
}

#[derive(Debug, Clone)]
struct Known {
    resource: String,
    location: ImageReference,
    /// Tags that the image may be written with.
    tags: Vec<String>,
    original: Option<ImageReference>,
}

impl KnownImages {
    /// Takes the images of a component.
    pub fn new(images: impl IntoIterator<Item = KnownImage>) -> Self {
        let mut known = Self::default();
        for image in images {
            known.add(image);
        }
        known
    }

    fn add(&mut self, image: KnownImage) {
        let original: Option<ImageReference> = image.original.and_then(|text| text.parse().ok());
        let tags = match image.location.tag() {
            Some(tag) => vec![tag.to_string()],
            None if image.location.digest().is_some() => vec![image.version],
            None => vec!["latest".to_owned()],
        };
        let place = self.images.len();
        let mut names = vec![last_segment(&image.location)];
        names.extend(original.as_ref().map(last_segment));
        names.dedup();
        for name in names {
            self.by_name.entry(name.to_owned()).or_default().push(place);
        }
        self.images.push(Known {
            resource: image.resource,
            location: image.location,
            tags,
            original,
        });
    }

    /// Where the copy of `written` is, or why it is not known.
    pub fn locate(&self, written: &ImageReference) -> Result<&ImageReference, String> {
        self.best(written, |known| known.rank(written))
    }

    /// The same for an image whose tag is filled in elsewhere.
    pub fn locate_any_tag(&self, written: &ImageReference) -> Result<&ImageReference, String> {
        self.best(written, |known| known.rank_of_repository(written))
    }

    fn best(
        &self,
        written: &ImageReference,
        rank: impl Fn(&Known) -> Option<u8>,
    ) -> Result<&ImageReference, String> {
        let candidates = self
            .by_name
            .get(last_segment(written))
            .into_iter()
            .flatten();
        let fitting: Vec<(u8, &Known)> = candidates
            .map(|place| &self.images[*place])
            .filter_map(|known| Some((rank(known)?, known)))
            .collect();
        let Some(best) = fitting.iter().map(|(rank, _)| *rank).min() else {
            return Err("it is no resource of the component".to_owned());
        };
        let mut best = fitting
            .into_iter()
            .filter(|(rank, _)| *rank == best)
            .map(|(_, known)| known);
        let Some(first) = best.next() else {
            return Err("it is no resource of the component".to_owned());
        };
        match best.find(|other| other.location != first.location) {
            None => Ok(&first.location),
            Some(other) => Err(format!(
                "it may be resource {} or {}: write a rule for it",
                first.resource, other.resource
            )),
        }
    }
}

impl Known {
    /// How well the image fits `written`, 1 is best.
    fn rank(&self, written: &ImageReference) -> Option<u8> {
        if *written == self.location || written.to_string() == self.location.to_string() {
            return Some(1);
        }
        if written.digest().is_some() {
            // A digest says which bytes are meant; a name that differs in them is another image.
            return (written.digest() == self.location.digest()).then_some(2);
        }
        let tag = written.tag().map_or("latest", Tag::as_str);
        let original = self.original.as_ref().filter(|original| {
            let original_tag = original.tag().map(Tag::as_str);
            let tag_fits = match original_tag {
                Some(original_tag) => original_tag == tag,
                None => self.tags.iter().any(|known| known == tag),
            };
            tag_fits && same_repository(original, written)
        });
        if original.is_some() {
            return Some(3);
        }
        let tag_fits = self.tags.iter().any(|known| known == tag);
        (tag_fits && is_below_prefix(&self.location, written)).then_some(4)
    }

    fn rank_of_repository(&self, written: &ImageReference) -> Option<u8> {
        if written.name() == self.location.name() {
            return Some(1);
        }
        let original = self.original.as_ref();
        if original.is_some_and(|original| same_repository(original, written)) {
            return Some(3);
        }
        is_below_prefix(&self.location, written).then_some(4)
    }
}

/// The repository with what Docker Hub's short names leave out.
fn full_repository(image: &ImageReference) -> String {
    let repository = image.repository().as_str();
    if is_hub(image) && !repository.contains('/') {
        return format!("library/{repository}");
    }
    repository.to_owned()
}

fn is_hub(image: &ImageReference) -> bool {
    matches!(image.host(), "docker.io" | "index.docker.io")
}

/// Whether both are the same repository. An original name may have been kept without its host,
/// which then looks like Docker Hub.
fn same_repository(original: &ImageReference, written: &ImageReference) -> bool {
    let repositories_fit = full_repository(original) == full_repository(written)
        || (!is_hub(written) && original.repository() == written.repository());
    let original_has_host = original.name() != original.repository().as_str();
    let hosts_fit = original.host() == written.host()
        || (is_hub(original) && is_hub(written))
        || !original_has_host;
    repositories_fit && hosts_fit
}

/// Whether `copy` is in the repository of `written`, below the prefix of another registry.
fn is_below_prefix(copy: &ImageReference, written: &ImageReference) -> bool {
    let repository = full_repository(written);
    let rest = copy.repository().as_str().strip_suffix(repository.as_str());
    rest.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('/'))
}

fn last_segment(image: &ImageReference) -> &str {
    let repository = image.repository().as_str();
    repository
        .rsplit_once('/')
        .map_or(repository, |(_, name)| name)
}
