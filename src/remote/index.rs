//! The index of a chart repository: its charts with their versions, as YAML or JSON.
//!
//! It can be large, so one pass over its events picks out the one entry that is wanted.

use granit_parser::{Event, Parser, StrInput};

use crate::oci::Digest;

/// How deep an index may be nested.
const DEEPEST: usize = 64;

/// How many known versions an error lists.
const MOST_KNOWN: usize = 8;

/// An entry of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Where the chart is; may be relative to the repository.
    pub(super) url: String,
    /// The digest of the packed chart.
    pub(super) digest: Option<Digest>,
}

/// The entry of `version` of the chart `name`, letter by letter; else what there is instead. The
/// outer error says why the text is no index.
pub(super) fn find(
    text: &str,
    name: &str,
    version: &str,
) -> Result<Result<Listed, String>, String> {
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    options.set_emit_comments(false);
    if text.trim_start().starts_with('{') {
        options.simple_key_max_lookahead = text.len();
    }
    let mut events = Events {
        parser: Parser::new_from_str_with_options(text, options),
        line: 1,
    };
    loop {
        match events.next()? {
            Event::MappingStart(..) => break,
            Event::StreamStart | Event::DocumentStart(..) => {}
            _ => return Err(events.wrong("expected a mapping with entries")),
        }
    }
    while let Some(key) = events.key()? {
        if key != "entries" {
            events.skip()?;
            continue;
        }
        events.mapping("entries")?;
        while let Some(key) = events.key()? {
            if key == name {
                return events.versions(version);
            }
            events.skip()?;
        }
        return Ok(Err("it has no chart of that name".to_owned()));
    }
    Err("it has no entries".to_owned())
}

struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    line: usize,
}

/// The fields of an entry that count.
#[derive(Default)]
struct Entry {
    version: String,
    digest: String,
    urls: Vec<String>,
}

impl<'t> Events<'t> {
    fn wrong(&self, problem: &str) -> String {
        format!("line {}: {problem}", self.line)
    }

    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line().max(1);
                Err(self.wrong(&error.info()))
            }
            None => Err(self.wrong("it ends too early")),
        }
    }

    /// The next key of a mapping; `None` at its end.
    fn key(&mut self) -> Result<Option<String>, String> {
        match self.next()? {
            Event::Scalar(text, ..) => Ok(Some(text.into_owned())),
            Event::MappingEnd => Ok(None),
            _ => Err(self.wrong("a key is no text")),
        }
    }

    fn mapping(&mut self, what: &str) -> Result<(), String> {
        match self.next()? {
            Event::MappingStart(..) => Ok(()),
            _ => Err(self.wrong(&format!("{what}: expected a mapping"))),
        }
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        match self.next()? {
            Event::Scalar(text, ..) => Ok(text.into_owned()),
            _ => Err(self.wrong(&format!("{what}: expected a text"))),
        }
    }

    /// Passes over one value, whatever it consists of. An alias is not followed.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Reads the versions of one chart as far as the wanted one.
    fn versions(&mut self, wanted: &str) -> Result<Result<Listed, String>, String> {
        if !matches!(self.next()?, Event::SequenceStart(..)) {
            return Err(self.wrong("the chart's versions: expected a list"));
        }
        let (mut known, mut count) = (Vec::new(), 0);
        loop {
            match self.next()? {
                Event::SequenceEnd => break,
                Event::MappingStart(..) => {}
                _ => return Err(self.wrong("a version of the chart: expected a mapping")),
            }
            let entry = self.entry()?;
            if entry.version == wanted {
                return self.listed(entry).map(Ok);
            }
            count += 1;
            if known.len() < MOST_KNOWN {
                known.push(entry.version);
            }
        }
        let more = if count > known.len() { ", …" } else { "" };
        Ok(Err(format!("it has {}{more}", known.join(", "))))
    }

    fn entry(&mut self) -> Result<Entry, String> {
        let mut entry = Entry::default();
        while let Some(key) = self.key()? {
            match key.as_str() {
                "version" => entry.version = self.text("version")?,
                "digest" => entry.digest = self.text("digest")?,
                "urls" => {
                    if !matches!(self.next()?, Event::SequenceStart(..)) {
                        return Err(self.wrong("urls: expected a list"));
                    }
                    loop {
                        match self.next()? {
                            Event::SequenceEnd => break,
                            Event::Scalar(text, ..) => entry.urls.push(text.into_owned()),
                            _ => return Err(self.wrong("urls: expected texts")),
                        }
                    }
                }
                _ => self.skip()?,
            }
        }
        Ok(entry)
    }

    fn listed(&self, entry: Entry) -> Result<Listed, String> {
        let Some(url) = entry.urls.into_iter().find(|url| !url.is_empty()) else {
            return Err(self.wrong("the version has no URL"));
        };
        let digest = match entry.digest.as_str() {
            "" => None,
            text => {
                let text = text.strip_prefix("sha256:").unwrap_or(text);
                let parsed = format!("sha256:{}", text.to_ascii_lowercase()).parse();
                Some(parsed.map_err(|_| self.wrong("the version's digest is none by SHA-256"))?)
            }
        };
        Ok(Listed { url, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "apiVersion: v1
entries:
  other:
  - version: 1.0.0
    urls: [other-1.0.0.tgz]
  podinfo:
  - name: podinfo
    version: 6.3.5
    maintainers: [{name: me, email: me@example.org}]
    dependencies:
    - {name: redis, version: 1.0.0}
    digest: 4c54abbd66a3ce6b48b5a0b8b7a94f4c2a1b0e8ed13a5a35b4d1e3b36a0a7e11
    urls:
    - charts/podinfo-6.3.5.tgz
  - version: 6.3.4
    urls: ['https://elsewhere.example.org/podinfo-6.3.4.tgz']
generated: '2026-01-01T00:00:00Z'
";

    #[test]
    fn version_is_found_letter_by_letter() {
        let found = find(INDEX, "podinfo", "6.3.5").unwrap().unwrap();
        assert_eq!(found.url, "charts/podinfo-6.3.5.tgz");
        assert!(found.digest.unwrap().hex().starts_with("4c54abbd"));
        let other = find(INDEX, "podinfo", "6.3.4").unwrap().unwrap();
        assert_eq!(other.url, "https://elsewhere.example.org/podinfo-6.3.4.tgz");
        assert_eq!(other.digest, None);
        for version in ["6.3", "v6.3.5", "6.3.x", ">=6"] {
            let known = find(INDEX, "podinfo", version).unwrap().unwrap_err();
            assert_eq!(known, "it has 6.3.5, 6.3.4", "{version}");
        }
        let missing = find(INDEX, "pod", "6.3.5").unwrap().unwrap_err();
        assert!(missing.contains("no chart of that name"), "{missing}");
    }

    #[test]
    fn json_is_read_as_well() {
        let text = r#"{"apiVersion":"v1","entries":{"a":[{"version":"1.0.0","urls":["a.tgz"]}]}}"#;
        assert_eq!(find(text, "a", "1.0.0").unwrap().unwrap().url, "a.tgz");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let bomb = format!("entries: {}{}", "[".repeat(1_000), "]".repeat(1_000));
        let aliases = "a: &a [x, x]\nentries: {podinfo: *a}\n";
        for text in [
            "",
            "- entries",
            "<html></html>",
            "apiVersion: v1\n",
            "entries: none\n",
            "entries: {podinfo: {version: 1.0.0}}\n",
            "entries: {podinfo: [{version: 1.0.0}]}\n",
            "entries: {podinfo: [{version: 1.0.0, urls: []}]}\n",
            "entries: {podinfo: [{version: [1.0.0], urls: [a]}]}\n",
            "entries: {podinfo: [{version: 1.0.0, urls: [a], digest: md5}]}\n",
            "entries: {podinfo: [{version: 1.0.0, urls",
            &bomb,
            aliases,
        ] {
            assert!(find(text, "podinfo", "1.0.0").is_err(), "{text:?}");
        }
    }
}
