//! Which objects this process reconciles: those of some namespaces, and of those the ones with
//! certain labels.
//!
//! Several of this program can so share a cluster. What an object makes carries the labels that
//! the selector asks about, so it is the same one's that made it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::Resource;
use kube::core::{Expression, Selector};

use crate::oci::Digest;
use crate::snapshot::Namespace;

/// The objects that this process reconciles.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The namespaces, each once; all where there is none.
    pub namespaces: Vec<Namespace>,
    /// What their labels have to be like.
    pub labels: Option<LabelSelector>,
    /// The namespaces whose Secrets are watched, so that a changed one is read at once.
    pub secrets: Vec<Namespace>,
}

impl Selection {
    /// One value for the whole cluster, or one for each namespace.
    pub(super) fn places<T>(&self, make: impl Fn(Option<&str>) -> T) -> Vec<T> {
        if self.namespaces.is_empty() {
            return vec![make(None)];
        }
        let namespaces = self.namespaces.iter();
        namespaces
            .map(|namespace| make(Some(namespace.as_str())))
            .collect()
    }

    /// Whether objects of `namespace` are looked at.
    pub(super) fn covers(&self, namespace: &str) -> bool {
        let mut namespaces = self.namespaces.iter();
        self.namespaces.is_empty() || namespaces.any(|found| found.as_str() == namespace)
    }

    /// The labels of an object that what it makes has to carry as well, if there are any.
    pub(super) fn inherited<K: Resource>(&self, owner: &K) -> Option<BTreeMap<String, String>> {
        let selector = self.labels.as_ref()?;
        let labels = owner.meta().labels.iter().flatten();
        let inherited: BTreeMap<_, _> = labels
            .filter(|(key, _)| selector.asks_about(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        (!inherited.is_empty()).then_some(inherited)
    }

    /// The name of an object that several of this program have one each of.
    pub fn named(&self, name: &str) -> String {
        match &self.labels {
            None => name.to_owned(),
            Some(selector) => format!("{name}-{}", selector.short_digest()),
        }
    }

    /// Says of an object that was not found why it may not be seen from here.
    pub(super) fn hint(&self, namespace: &str) -> String {
        if !self.covers(namespace) {
            return " (--watch-namespaces does not name this namespace)".to_owned();
        }
        self.labels.as_ref().map_or_else(String::new, |selector| {
            format!(" among the objects of --watch-label-selector={selector}")
        })
    }
}

/// A selector as `kubectl --selector` takes it, such as `sharding.fluxcd.io/key=shard-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector {
    text: String,
    parts: Vec<Expression>,
}

impl LabelSelector {
    /// The selector for a request.
    pub(super) fn selector(&self) -> Selector {
        self.parts.iter().cloned().collect()
    }

    /// What tells this selector from others in names of objects; the chart makes it as well.
    fn short_digest(&self) -> String {
        let digest = Digest::of(&self.text);
        digest.hex().chars().take(8).collect()
    }

    fn asks_about(&self, key: &str) -> bool {
        self.parts.iter().any(|part| key_of(part) == key)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Result<Vec<Expression>, String> = requirements(text)
            .map(|part| {
                expression(part.trim())
                    .ok_or_else(|| format!("{part:?} in {text:?} is no requirement of a label"))
            })
            .collect();
        Ok(Self {
            text: text.to_owned(),
            parts: parts?,
        })
    }
}

fn key_of(part: &Expression) -> &str {
    match part {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

/// Splits at commas that are not inside a set.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
}

fn expression(part: &str) -> Option<Expression> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Expression::DoesNotExist(key_from(key)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Expression::NotEqual(key_from(key)?, value_from(value)?));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Expression::Equal(key_from(key)?, value_from(value)?));
    }
    let Some((start, set)) = part.split_once('(') else {
        return Some(Expression::Exists(key_from(part)?));
    };
    let values = set.trim_end().strip_suffix(')')?.split(',');
    let values = values.map(value_from).collect::<Option<_>>()?;
    let (key, operator) = start.trim_end().rsplit_once(char::is_whitespace)?;
    match operator {
        "in" => Some(Expression::In(key_from(key)?, values)),
        "notin" => Some(Expression::NotIn(key_from(key)?, values)),
        _ => None,
    }
}

/// The key of a label: a name, after a DNS subdomain where there is a slash.
fn key_from(text: &str) -> Option<String> {
    let text = text.trim();
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_good = !name.is_empty()
        && is_name(name)
        && prefix.is_none_or(|prefix| !prefix.is_empty() && prefix.len() <= 253 && is_word(prefix));
    is_good.then(|| text.to_owned())
}

fn value_from(text: &str) -> Option<String> {
    let text = text.trim();
    is_name(text).then(|| text.to_owned())
}

/// What a label's value, and the name in its key, may be: 63 letters, digits, `-`, `_` and `.`.
fn is_name(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().copied().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::SelectorExt as _;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn selector_is_read_as_kubectl_reads_it() {
        let cases = [
            (
                "sharding.fluxcd.io/key=shard-1",
                "sharding.fluxcd.io/key=shard-1",
            ),
            ("a==b", "a=b"),
            ("a != b , !c", "a!=b,!c"),
            ("a in (x, y),b notin (z),c", "a in (x,y),b notin (z),c"),
            ("!sharding.fluxcd.io/key", "!sharding.fluxcd.io/key"),
            ("a=", "a="),
        ];
        for (text, wanted) in cases {
            let selector: LabelSelector = text.parse().unwrap();
            assert_eq!(selector.selector().to_string(), wanted);
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_by_name() {
        for text in [
            "", "a=b,", "=b", "a in b", "a in (b", "a of (b)", "a=b c", "-a", "/a=b", "a=b/c",
        ] {
            let error = text.parse::<LabelSelector>().unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn what_is_made_is_selected_where_its_owner_is() {
        let owners = [
            labels(&[("shard", "one"), ("team", "a")]),
            labels(&[("shard", "two")]),
            labels(&[("team", "a")]),
        ];
        for text in [
            "shard=one",
            "!shard",
            "shard notin (two)",
            "shard",
            "shard!=one",
        ] {
            let selector: LabelSelector = text.parse().unwrap();
            let selection = Selection {
                labels: Some(selector.clone()),
                ..Selection::default()
            };
            for labels in &owners {
                let mut owner = ConfigMap::default();
                owner.metadata.labels = Some(labels.clone());
                let made = selection.inherited(&owner).unwrap_or_default();
                assert_eq!(
                    selector.selector().matches(&made),
                    selector.selector().matches(labels),
                    "{text} {labels:?}"
                );
                assert!(
                    !made.contains_key("team"),
                    "what it does not ask about is left out"
                );
            }
        }
    }

    #[test]
    fn namespaces_are_watched_one_by_one_and_others_not_at_all() {
        let all = Selection::default();
        assert_eq!(all.places(|namespace| namespace.map(str::to_owned)), [None]);
        assert!(all.covers("anything"));
        let two = Selection {
            namespaces: vec!["a".parse().unwrap(), "b".parse().unwrap()],
            ..Selection::default()
        };
        let places = two.places(|namespace| namespace.map(str::to_owned));
        assert_eq!(places, [Some("a".to_owned()), Some("b".to_owned())]);
        assert!(two.covers("b") && !two.covers("c"));
        assert!(two.hint("c").contains("--watch-namespaces"));
        assert_eq!(two.hint("b"), "");
    }
}
