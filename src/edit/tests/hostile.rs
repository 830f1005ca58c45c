//! Inputs made to do harm.

use std::fmt::Write as _;

use super::*;

fn fails(text: &str) -> Error {
    parse(text.as_bytes(), &limits()).map(|_| ()).unwrap_err()
}

#[test]
fn b69_cve_2019_11253_alias_bombs_and_cycles_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "m0: &m0 {x: 1}\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
        let aliases = vec![format!("*m{}", level - 1); 9].join(", ");
        writeln!(merges, "m{level}: &m{level} {{<<: [{aliases}]}}").unwrap();
    }
    for text in [bomb, merges] {
        assert!(matches!(fails(&text), Error::TooLarge { .. }));
    }
    assert!(matches!(
        fails("a: &a [*a]\n"),
        Error::Parse { line: 1, .. }
    ));
    assert!(matches!(
        fails("a: *missing\n"),
        Error::Parse { line: 1, .. }
    ));
    let mut anchors = String::new();
    for number in 0..1_000_000 {
        writeln!(anchors, "- &a{number} x").unwrap();
    }
    assert!(matches!(fails(&anchors), Error::TooLarge { .. }));
}

#[test]
fn cve_2019_11253_file_that_an_edit_makes_a_bomb_is_not_written() {
    let (items, aliases) = (vec!["x"; 480].join(", "), vec!["*a"; 500].join(", "));
    let text = format!("a: &a [{items}]\nb: [{aliases}]\nc: x\n");
    let long = |length: usize| [edit("c", json!(vec![1; length]), Missing::Refuse)];
    assert!(applied(&text, &long(1_000)).is_ok());
    let error = applied(&text, &long(20_000)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn b70_depth_size_and_documents_are_bounded() {
    assert!(fails(&"[".repeat(10_000)).to_string().contains("line 1"));
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(64).as_bytes(), &limits()).is_ok());
    fails(&nested(65));
    fails(&"- ".repeat(10_000));
    let mixed = "- [".repeat(40) + "x" + &"]".repeat(40);
    fails(&mixed);
    assert!(matches!(
        fails(&"x".repeat((16 << 20) + 1)),
        Error::TooLarge { .. }
    ));
    assert!(matches!(
        fails(&"--- x\n".repeat(1_000_000)),
        Error::TooLarge { .. }
    ));
    let mut deep = json!(1);
    for _ in 0..65 {
        deep = json!([deep]);
    }
    let edits = [edit("a", deep, Missing::Refuse)];
    assert_eq!(applied("a: 1\n", &edits).unwrap_err().edit(), Some(0));
}

#[test]
fn b71_duplicate_keys_are_refused() {
    let error = fails("a:\n  b: 1\n  'b': 2\n");
    assert_eq!(error.to_string(), "found key \"b\" a second time on line 3");
    assert!(matches!(
        fails("{\"a\": 1, \"a\": 2}"),
        Error::DuplicateKey { .. }
    ));
    assert!(parse(b"a: {b: 1}\nc: {b: 2}\n", &limits()).is_ok());
}

#[test]
fn b71_odd_scalars_and_tags_stay_as_they_are() {
    let text = "%YAML 1.1\n---\na: no\nb: 0o7\nc: 1_000\nd: .inf\ne: 2001-12-14\n\
                f: !!python/object:x {g: 1}\nh: !custom [1]\ni:\tx\n? j\n: k\n? [l, m]\n: n\nz: old\n";
    assert_eq!(set(text, "z", "new"), text.replace("old", "new"));
    assert_eq!(set(text, "f.g", 2), text.replace("g: 1", "g: 2"));
    assert_eq!(set(text, "j", "l"), text.replace(": k", ": l"));
}

#[test]
fn b72_padding_cannot_fill_the_memory() {
    assert!(create("a: []\n", "a[10000]", 1).ends_with(", 1]\n"));
    let edits: Vec<Edit> = (0..10_000)
        .map(|number| edit(&format!("a.k{number}[10000]"), json!(1), Missing::Create))
        .collect();
    let error = applied("a:\n", &edits).unwrap_err();
    let Error::Change { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, Refusal::TooMuch { .. }), "{source}");
}

#[test]
fn b74_files_that_are_not_yaml_are_told() {
    let table = [
        ("a: 1\nb: {{ .Values.b }}\n", 2),
        ("{{- if .Values.a }}\na: 1\n{{- end }}\n", 1),
        ("# {{ }}\na: 1\n{{ include \"x\" . }}\n", 3),
        ("a:\n  {{- toYaml .Values.a | nindent 2 }}\n", 2),
    ];
    for (text, line) in table {
        let error = fails(text);
        assert_eq!(error, Error::HelmTemplate { line }, "{text:?}");
    }
    assert!(parse(b"a: '{{ .x }}'\nb: x{{y}}\n", &limits()).is_ok());
    let error = parse(b"a: 1\nb: \xff\n", &limits()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to read line 2 as YAML: not UTF-8"
    );
    assert!(matches!(fails("\u{7f}ELF\0\u{1}"), Error::Parse { .. }));
    assert!(matches!(
        fails("a: 1\nb: \"x\n"),
        Error::Parse { line: 2, .. }
    ));
}

#[test]
fn b74_line_ends_and_marks_stay() {
    let text = "\u{feff}a: x\r\nb: |\r\n  t\r\nc:\r\n- y # c\r\n---\r\nd: z";
    assert_eq!(set(text, "a", "w"), text.replace("a: x", "a: w"));
    assert_eq!(
        set(text, "b", "1\n2\n"),
        text.replace("  t\r\n", "  1\r\n  2\r\n")
    );
    assert_eq!(set(text, "d", "w"), text.replace("d: z", "d: w"));
    assert_eq!(
        set(text, "c[0]", json!({"k": 1, "l": 2})),
        text.replace("- y # c", "- k: 1\r\n  l: 2 # c")
    );
}

#[test]
fn b79_many_edits_of_one_file_take_one_pass() {
    let mut text = "list:\n".to_owned();
    for number in 0..10_000 {
        writeln!(text, "- name: n{number}\n  image: old").unwrap();
    }
    let mut edits = Vec::new();
    for number in 0..10_000 {
        edits.push(edit(
            &format!("list[{number}].image"),
            json!("new"),
            Missing::Refuse,
        ));
        edits.push(edit(
            &format!("made.k{number}.l"),
            json!(number),
            Missing::Create,
        ));
    }
    let limits = Limits {
        // What one pass over the edits needs: quadratic work would not fit.
        visits: 4 * 2 * 10_000,
        ..limits()
    };
    let written = apply(text.as_bytes(), &edits, &limits).unwrap();
    let written = String::from_utf8(written).unwrap();
    assert_eq!(written.matches("image: new").count(), 10_000);
    assert!(
        written.ends_with("  k9999:\n    l: 9999\n"),
        "{}",
        &written[written.len() - 60..]
    );
}

#[test]
fn looking_through_large_lists_again_and_again_is_bounded() {
    let text = format!("[{}]", vec!["{a: 1}"; 50_000].join(", "));
    let edits = vec![edit("[] | select(.a == 2) | .b", json!(1), Missing::Refuse); 1000];
    assert!(apply(text.as_bytes(), &edits, &limits()).is_err());
}
