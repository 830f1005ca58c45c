//! Images in the values of a chart, which say them in two customary forms:
//!
//! ```yaml
//! image: registry/repository:tag      # a text under a key that ends in "image"
//! image:                              # a map with "repository"
//!   registry: docker.io               # optional; without it the repository has the host
//!   repository: library/echo
//!   tag: "1.0"                        # optional; without it the chart's appVersion
//!   digest: ""                        # optional
//! ```

use super::{Place, Search, entry};
use crate::edit::{Kind, Missing, Value};
use crate::mutation::localize::tag;
use crate::oci::ImageReference;

/// Looks for images in `value` and all maps and lists below it; their depth was bounded when the
/// file was read.
pub(super) fn search(value: Value<'_>, place: &Place, search: &mut Search<'_>) {
    for (index, item) in value.items().enumerate() {
        self::search(item, &place.index(index), search);
    }
    for (key, value) in value.entries() {
        let place = place.key(key);
        let names_image = key.to_ascii_lowercase().ends_with("image");
        match value.kind() {
            Kind::Scalar if names_image && value.text().is_some_and(looks_like_image) => {
                search.reference(value, &place);
            }
            Kind::Mapping => match Parts::of(value, names_image) {
                Some(parts) => parts.search(&place, search),
                None => self::search(value, &place, search),
            },
            Kind::Sequence => self::search(value, &place, search),
            Kind::Scalar | Kind::Alias => {}
        }
    }
}

/// A text that is a reference with more than a bare word, such as `image: default`.
fn looks_like_image(text: &str) -> bool {
    text.contains(['/', ':', '@']) && text.parse::<ImageReference>().is_ok()
}

/// A map that says an image.
struct Parts<'f> {
    map: Value<'f>,
    registry: Option<&'f str>,
    repository: &'f str,
    tag: Option<&'f str>,
    digest: Option<&'f str>,
}

impl<'f> Parts<'f> {
    /// A map with a `repository` is an image if its own key or its other keys say so: charts and
    /// sources of Git have repositories too.
    fn of(map: Value<'f>, names_image: bool) -> Option<Self> {
        let text = |key: &str| entry(map, key).and_then(|value| value.text());
        let repository = text("repository").filter(|repository| !repository.is_empty())?;
        let (registry, tag, digest) = (text("registry"), text("tag"), text("digest"));
        let is_image = names_image || registry.is_some() || tag.is_some() || digest.is_some();
        (is_image && !repository.contains("://")).then_some(Self {
            map,
            registry,
            repository,
            tag,
            digest,
        })
    }

    fn written(&self) -> String {
        let mut text = String::new();
        if let Some(registry) = self.registry.filter(|registry| !registry.is_empty()) {
            text.extend([registry, "/"]);
        }
        text.push_str(self.repository);
        if let Some(tag) = self.tag.filter(|tag| !tag.is_empty()) {
            text.extend([":", tag]);
        }
        if let Some(digest) = self.digest.filter(|digest| !digest.is_empty()) {
            text.extend(["@", digest]);
        }
        text
    }

    fn search(&self, place: &Place, search: &mut Search<'_>) {
        let text = self.written();
        let located = text
            .parse::<ImageReference>()
            .map_err(|problem| problem.to_string())
            .and_then(|written| match (written.tag(), written.digest()) {
                // The chart fills in its appVersion, which is not known here.
                (None, None) => search.known.locate_any_tag(&written),
                _ => search.known.locate(&written),
            })
            .and_then(|location| Ok((self.tag_of(location)?, location.clone())));
        match located {
            Ok((tag, location)) => {
                search.found.covered += 1;
                if location.to_string() != text {
                    self.write(place, &location, tag, search);
                }
            }
            Err(reason) => search.uncovered(self.map, place, text, reason),
        }
    }

    /// What goes into `tag`; nothing where the map has a place for the digest and needs no tag.
    fn tag_of(&self, location: &ImageReference) -> Result<Option<String>, String> {
        if self.digest.is_some() {
            return Ok(location.tag().map(ToString::to_string));
        }
        tag(location).map(Some).ok_or_else(|| {
            format!("its copy {location} has only a digest, which this map has no place for")
        })
    }

    fn write(
        &self,
        place: &Place,
        location: &ImageReference,
        tag: Option<String>,
        search: &mut Search<'_>,
    ) {
        let has_registry = self.registry.is_some();
        let repository = if has_registry {
            let host = location.host().to_owned();
            search.write(&place.key("registry"), host, Missing::Refuse);
            location.repository().to_string()
        } else {
            location.name()
        };
        search.write(&place.key("repository"), repository, Missing::Refuse);
        if let Some(tag) = tag {
            search.write(&place.key("tag"), tag, Missing::Create);
        }
        if let (Some(_), Some(digest)) = (self.digest, location.digest()) {
            search.write(&place.key("digest"), digest.to_string(), Missing::Refuse);
        }
    }
}
