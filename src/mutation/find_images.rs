//! Localization without rules: finds the images of manifests and charts by itself.
//!
//! Where an image may stand is known for the core kinds of Kubernetes (the containers and image
//! volumes of everything that makes pods) and, by custom, for the `values.yaml` of a chart.
//! Whether an image is one of the component's is decided by [`KnownImages`]; one that is not stays
//! as it is and is reported, because it would be pulled from outside.

mod chart;
mod known;
mod rewrite;
mod workload;

use super::Substitution;
use super::config_data::{RuleName, RulePath};
use crate::edit::{self, Kind, Missing, Value};
use crate::oci::ImageReference;

pub use known::{KnownImage, KnownImages};
pub use rewrite::{LocalizedImages, localize_images};

/// What a file is, which says where images stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Objects of Kubernetes.
    Manifests,
    /// The `values.yaml` of a Helm chart.
    ChartValues,
}

impl FileKind {
    /// What the file at `path` of an archive is; nothing for files without images. In a chart,
    /// `path` is relative to the chart's folder.
    pub fn of(path: &str, is_chart: bool) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if is_chart {
            // Its own values and those of charts inside it; its templates are no YAML yet.
            let of_chart = folder.is_empty()
                || folder
                    .rsplit_once('/')
                    .map_or("", |(parent, _)| parent)
                    .ends_with("charts");
            return (name == "values.yaml" && of_chart).then_some(Self::ChartValues);
        }
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        matches!(extension, Some("yaml" | "yml" | "json")).then_some(Self::Manifests)
    }
}

/// The images of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundImages {
    /// What makes each image of the component come from where its copy is. None for images that
    /// already do.
    pub substitutions: Vec<Substitution>,
    /// Images of the component, those that already come from there included.
    pub covered: usize,
    /// Images that are no resource of the component.
    pub uncovered: Vec<UncoveredImage>,
}

/// An image that no resource of the component covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncoveredImage {
    /// The file.
    pub file: RulePath,
    /// The 1-based line.
    pub line: usize,
    /// Where in the file it stands.
    pub path: String,
    /// The image as written.
    pub image: String,
    /// Why it is not covered.
    pub reason: String,
}

/// Finds the images in `content`, the file at `file`.
pub fn find_images(
    file: &RulePath,
    content: &[u8],
    kind: FileKind,
    known: &KnownImages,
    limits: &edit::Limits,
) -> edit::Result<FoundImages> {
    let parsed = edit::parse(content, limits)?;
    let mut search = Search {
        file,
        known,
        found: FoundImages::default(),
    };
    for (number, document) in parsed.documents().enumerate() {
        let place = Place::document(number);
        match kind {
            FileKind::Manifests => workload::search(document, &place, &mut search),
            FileKind::ChartValues => chart::search(document, &place, &mut search),
        }
    }
    Ok(search.found)
}

/// The path to a value, in the language of [`edit::Path`].
#[derive(Debug, Clone)]
struct Place(String);

impl Place {
    fn document(number: usize) -> Self {
        Self(format!("select(document_index == {number}) | "))
    }

    fn key(&self, key: &str) -> Self {
        let is_bare = key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '-')
            && key != "select";
        let key = if is_bare {
            key.to_owned()
        } else {
            serde_json::Value::from(key).to_string()
        };
        let dot = if self.0.ends_with("| ") { "" } else { "." };
        Self(format!("{}{dot}{key}", self.0))
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// Gathers what is found in one file.
struct Search<'a> {
    file: &'a RulePath,
    known: &'a KnownImages,
    found: FoundImages,
}

impl Search<'_> {
    /// Takes a field that holds a whole reference.
    fn reference(&mut self, value: Value<'_>, place: &Place) {
        let Some(text) = value.text() else {
            let what = match value.kind() {
                Kind::Alias => "it is a YAML alias: write it out",
                Kind::Scalar | Kind::Sequence | Kind::Mapping => "it is not a text",
            };
            self.uncovered(value, place, String::new(), what.to_owned());
            return;
        };
        let located = text
            .parse::<ImageReference>()
            .map_err(|problem| problem.to_string())
            .and_then(|written| self.known.locate(&written));
        match located {
            Ok(location) => {
                self.found.covered += 1;
                let location = location.to_string();
                if location != text {
                    self.write(place, location, Missing::Refuse);
                }
            }
            Err(reason) => self.uncovered(value, place, text.to_owned(), reason),
        }
    }

    fn write(&mut self, place: &Place, text: String, missing: Missing) {
        let index = self.found.substitutions.len();
        self.found.substitutions.push(Substitution {
            rule: RuleName::new("images", index, None),
            file: self.file.clone(),
            path: place.0.clone(),
            value: text.into(),
            missing,
        });
    }

    fn uncovered(&mut self, value: Value<'_>, place: &Place, image: String, reason: String) {
        self.found.uncovered.push(UncoveredImage {
            file: self.file.clone(),
            line: value.line(),
            path: place.0.clone(),
            image,
            reason,
        });
    }
}

/// The value of `key` in a map.
fn entry<'f>(map: Value<'f>, key: &str) -> Option<Value<'f>> {
    map.entries()
        .find(|(found, _)| *found == key)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
