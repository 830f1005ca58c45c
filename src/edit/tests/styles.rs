//! Every style with every value: what is written reads back.

use super::*;

/// Texts that some reader would take for something else, or that need quotes.
pub(super) const AWKWARD: [&str; 74] = [
    "",
    "no",
    "No",
    "NO",
    "y",
    "Y",
    "on",
    "off",
    "yes",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "1.20",
    "1",
    "-1",
    "+1",
    "0o7",
    "07",
    "0x1F",
    "0b11",
    "1_000",
    "1e3",
    "1.5E-3",
    ".5",
    ".inf",
    "-.INF",
    ".NaN",
    "12:30",
    "1:20:30",
    "2001-12-14",
    "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43",
    "1.2.3",
    "=",
    "<<",
    "a: b",
    "a:",
    "a #b",
    "#a",
    "*a",
    "&a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "- a",
    "-",
    "--- a",
    "---",
    "...",
    "? a",
    "[a]",
    "{a: b}",
    "{{ .Values.x }}",
    "a, b",
    "it's",
    "say \"x\"",
    "back\\slash",
    " lead",
    "trail ",
    "\ttab",
    "line\nbreak",
    "end\n",
    "ends\n\n",
    "\n",
    "a\n\n b\n",
    "a\r\nb",
    "bell\u{7}\u{7f}\u{85}",
    "\u{2028}\u{feff}x",
    "日本 😀",
];

#[test]
fn b75_a_written_string_reads_back_as_itself_in_every_style() {
    let places = [
        "a: old # c\nb: 1\n",
        "a: 'old' # c\nb: 1\n",
        "a: \"old\" # c\nb: 1\n",
        "a: | # c\n    old\n\nb: 1\n",
        "a: |+\n  old\n\nb: 1\n",
        "a: >-\n  old\n  more\nb: 1\n",
        "a: >\n  old",
        "a:\nb: 1\n",
        "a: [x]\nb: 1\n",
        "{a: old, b: 1}\n",
        "{a: 'old', b: 1}\n",
        "{\"a\": \"old\", \"b\": 1}\n",
        "a: old\r\nb: 1\r\n",
    ];
    for place in places {
        for wanted in AWKWARD {
            let written = set(place, "a", wanted);
            assert_eq!(read(&written)["a"], wanted, "{place:?} {written:?}");
            if place.contains("b: 1") {
                assert_eq!(read(&written)["b"], 1, "{written:?}");
            }
            assert_eq!(
                written.contains("# c"),
                place.contains("# c"),
                "{written:?}"
            );
        }
    }
}

#[test]
fn b75_strings_nested_and_as_keys_read_back() {
    let entries: serde_json::Map<_, _> = AWKWARD
        .iter()
        .map(|text| ((*text).to_owned(), json!([text])))
        .collect();
    let wanted = Json::Object(entries);
    for place in ["a: old\n", "a: {x: y}\n", "[{a: 1}]\n", "{\"a\": 1}"] {
        let path = if place.starts_with('[') { "[0].a" } else { "a" };
        let written = set(place, path, wanted.clone());
        let found = read(&written);
        let found = if place.starts_with('[') {
            &found[0]["a"]
        } else {
            &found["a"]
        };
        assert_eq!(*found, wanted, "{written}");
    }
}

#[test]
fn words_of_yaml_1_1_are_quoted() {
    // The independent reader of the other tests knows YAML 1.2 only.
    for text in [
        "no",
        "On",
        "y",
        "012",
        "1_000",
        "12:30",
        "2001-12-14",
        "0b1",
        "1.20",
        "=",
    ] {
        assert_eq!(set("a: x\n", "a", text), format!("a: \"{text}\"\n"));
    }
    for text in [
        "6.3.5",
        "v1.2",
        "ghcr.io/a/b:1.2@sha256:00",
        "nope",
        "a b",
        "1.0.0-rc.1",
    ] {
        assert_eq!(set("a: x\n", "a", text), format!("a: {text}\n"));
    }
}

#[test]
fn the_style_of_the_old_value_is_kept() {
    let table = [
        ("a: 'x'\n", "it's", "a: 'it''s'\n"),
        ("a: 'x'\n", "1", "a: '1'\n"),
        ("a: \"x\"\n", "y", "a: \"y\"\n"),
        ("a: |\n   x\nb:\n", "y\n\nz\n", "a: |\n   y\n\n   z\nb:\n"),
        (
            "a: >- # c\n  x\n\nb:\n",
            "y\nz",
            "a: |- # c\n  y\n  z\n\nb:\n",
        ),
        ("a: |2-\n   x\n", "y", "a: |-\n   y\n"),
        ("a: 'x'\n", "l\nm", "a: \"l\\nm\"\n"),
    ];
    for (text, value, expected) in table {
        assert_eq!(set(text, "a", value), expected, "{text:?}");
    }
}

#[test]
fn values_that_are_no_strings_keep_their_type() {
    for place in ["a: 'x'\n", "a: x\n", "a:\n", "{a: x}\n", "{\"a\": \"x\"}"] {
        for value in [
            json!(null),
            json!(true),
            json!(3),
            json!(-0.5),
            json!(1e100),
            json!(u64::MAX),
            json!([]),
            json!({}),
        ] {
            let written = set(place, "a", value.clone());
            assert_eq!(read(&written)["a"], value, "{written}");
        }
    }
    // YAML 1.1 has no number without a dot and a sign.
    assert_eq!(set("a: x\n", "a", 1e100), "a: 1.0e+100\n");
}
