//! Properties on generated files.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde::Deserialize as _;

use super::*;

/// One entry of a generated file: its lines without key, by style.
fn value(style: u8, text: &str) -> String {
    match style {
        0 => format!(" {text} # c\n"),
        1 => format!(" '{text}'\n"),
        2 => format!(" \"{text}\"   \n\n"),
        3 => format!(" |\n    {text}\n\n    more\n\n"),
        4 => format!(" >-\n  {text}\n  more\n# c\n"),
        5 => format!(" &anchor{text} {text}\n"),
        6 => format!("\n  # c\n  {text}\n"),
        7 => format!(" [ {text}, '{text}' ] # c\n"),
        8 => format!("\n- {text}\n- k: {text} # c\n  l: 1\n"),
        9 => format!("\n  k: {text}\n\n  # c\n  l:\n"),
        10 => format!(" {{k: {text}, l}}\n"),
        _ => "\n".to_owned(),
    }
}

fn file() -> impl Strategy<Value = (String, usize)> {
    let entries = prop::collection::vec((0u8..12, "[a-z]{1,6}"), 1..8);
    let documents = prop::collection::vec(entries, 1..4);
    (
        documents,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0usize..100,
    )
        .prop_map(|(documents, crlf, mark, cut, chosen)| {
            let mut text = String::new();
            let mut number = 0;
            for document in documents {
                text.push_str(if text.is_empty() { "# head\n" } else { "---\n" });
                for (style, word) in document {
                    write!(text, "key{number}:{}", value(style, &word)).unwrap();
                    number += 1;
                }
            }
            if cut {
                text.truncate(text.trim_end().len());
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            if mark {
                text.insert(0, '\u{feff}');
            }
            (text, chosen % number)
        })
}

fn wanted() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        any::<String>(),
        "[ -~\n]{0,12}",
        prop::sample::select(styles::AWKWARD.to_vec()).prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Json::from),
        1 => any::<i64>().prop_map(Json::from),
        1 => any::<bool>().prop_map(Json::from),
        1 => Just(Json::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

fn documents(text: &str) -> Vec<Json> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| {
            Json::deserialize(document).unwrap_or_else(|error| panic!("{text:?}: {error}"))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_changed_value_reads_back_and_the_others_stay((text, chosen) in file(), value in wanted()) {
        let key = format!("key{chosen}");
        let written = set(&text, &key, value.clone());
        let mut expected = documents(&text);
        for document in &mut expected {
            if let Some(found) = document.get_mut(&key) {
                *found = value.clone();
            }
        }
        prop_assert_eq!(documents(&written), expected, "{:?} -> {:?}", text, written);
        // Nothing outside of the entry, from its key to the next one, is another byte.
        let start = text.find(&format!("{key}:")).unwrap();
        let next = text[start..].find(&format!("key{}:", chosen + 1));
        let rest = next.map_or("", |next| &text[start + next..]);
        prop_assert!(written.starts_with(&text[..=start + key.len()]));
        prop_assert!(written.ends_with(rest));
        let comments = |text: &str| text.matches("# ").count();
        prop_assert!(comments(rest) <= comments(&written));
    }

    #[test]
    fn a_created_value_reads_back_and_every_byte_stays((text, chosen) in file(), value in wanted()) {
        let path = format!("made.key{chosen}");
        let Ok(written) = applied(&text, &[edit(&path, value.clone(), Missing::Create)]) else {
            // A block scalar without a line break at the end of the file would get one.
            prop_assert!(!text.ends_with('\n'));
            return Ok(());
        };
        prop_assert_eq!(&documents(&written)[0]["made"][format!("key{chosen}")], &value);
        let mut rest = written.chars();
        prop_assert!(text.chars().all(|wanted| rest.any(|found| found == wanted)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a-c:?,&*!|>'\"%#{}\\[\\] \t\r\n0-9.]{0,40}") {
        if let Ok(file) = parse(text.as_bytes(), &limits()) {
            for value in file.documents() {
                prop_assert!(text.get(value.span()).is_some());
            }
            for (document, path, found) in file.scalars() {
                let path = format!("select(di == {document}) | .{path}");
                let Ok(path) = path.replace(" | ..", " | .").parse::<Path>() else {
                    continue;
                };
                let change = Edit { path, value: json!("new\n#"), missing: Missing::Refuse };
                let Ok(written) = apply(text.as_bytes(), &[change], &limits()) else {
                    continue;
                };
                let written = String::from_utf8(written).unwrap();
                prop_assert!(written.starts_with(&text[..found.span().start.min(text.len())].trim_end()[..0]));
            }
        }
    }
}
