use super::*;

fn parsed(text: &str) -> Path {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn paths_read_and_are_given_back() {
    let table = [
        ("a", "a"),
        (".a.b", "a.b"),
        ("a[0].b", "a[0].b"),
        ("a.[0].b", "a[0].b"),
        ("[2]", "[2]"),
        ("a[-1]", "a[-1]"),
        ("a[]", "a[]"),
        ("a[*].b", "a[].b"),
        ("a.\"k.v\".c", "a.\"k.v\".c"),
        ("a[\"k.v\"].c", "a.\"k.v\".c"),
        ("a[\"x\"]", "a.x"),
        ("a.\"app-*\"", "a.\"app-*\""),
        ("a.app-*.b?", "a.app-*.b?"),
        ("schlüssel.日本", "schlüssel.日本"),
        ("app.kubernetes/io", "app.kubernetes/io"),
        (
            "(list[] | select(.name == \"x\")).image",
            "list[] | select(.name == \"x\") | .image",
        ),
        (
            "list[]|select(.a[0].\"b c\"!=3)|.image",
            "list[] | select(.a[0].\"b c\" != 3) | .image",
        ),
        ("list[] | select(. == true)", "list[] | select(. == true)"),
        ("((a) | (b)).c", "a.b.c"),
        (
            "select(di == 1) | .spec",
            "select(document_index == 1) | .spec",
        ),
        (
            "select(document_index == 0) | a[] | select(.x == null)",
            "select(document_index == 0) | .a[] | select(.x == null)",
        ),
        ("select.x", "\"select\".x"),
    ];
    for (text, canonical) in table {
        let path = parsed(text);
        assert_eq!(path.to_string(), canonical, "{text}");
        assert_eq!(parsed(canonical), path, "{text}");
    }
}

#[test]
fn the_selected_document_is_told() {
    assert_eq!(parsed("select(di == 3) | .a").document(), Some(3));
    assert_eq!(parsed("a").document(), None);
}

#[test]
fn b72_paths_beyond_the_grammar_are_refused_with_the_position() {
    let table = [
        ("", 1, "missing"),
        (".", 2, "missing"),
        ("a.", 3, "missing"),
        ("a..b", 3, "\"..\""),
        ("$..x", 3, "\"..\""),
        ("a[99999999999].b", 3, "beyond"),
        ("a[99999999999999999999999999]", 3, "beyond"),
        ("a[10001]", 3, "beyond"),
        ("a[-10001]", 3, "beyond"),
        ("a[x]", 3, "index"),
        ("a[1", 4, "\"]\""),
        ("a[\"x]", 3, "not closed"),
        ("a b", 3, "expected"),
        ("a = 1", 3, "expected"),
        ("a)", 2, "closes nothing"),
        ("(a", 3, "\")\""),
        ("a | select(.b)", 14, "=="),
        ("a | select(.b == x)", 18, "expected a text"),
        ("a | select(.b[] == 1)", 16, "keys and indexes"),
        ("a | select(di == 1) | b", 14, "at the start"),
        ("select(di == -1) | b", 16, "counted from 0"),
        ("select(.a == 1)", 16, "missing"),
        ("é..b", 3, "\"..\""),
    ];
    for (text, position, problem) in table {
        let error = text.parse::<Path>().unwrap_err();
        assert!(error.to_string().contains(problem), "{text}: {error}");
        assert_eq!(error.position, position, "{text}: {error}");
    }
}

#[test]
fn b72_long_and_deep_paths_are_refused() {
    assert!("a".repeat(4096).parse::<Path>().is_ok());
    let error = "a".repeat(10 * 1024).parse::<Path>().unwrap_err();
    assert!(error.path.len() < 300, "the message repeats the whole path");
    assert!(vec!["a"; 128].join(".").parse::<Path>().is_ok());
    assert!(vec!["a"; 129].join(".").parse::<Path>().is_err());
    let nested = format!("{}a{}", "(".repeat(2000), ")".repeat(2000));
    assert!(nested.parse::<Path>().is_err());
    assert!("a[10000]".parse::<Path>().is_ok());
}

#[test]
fn globs_match_as_in_a_shell() {
    let table = [
        ("a*", "a", true),
        ("a*", "abc", true),
        ("a*c", "abcbc", true),
        ("a*c", "abcb", false),
        ("?", "é", true),
        ("?", "", false),
        ("*", "", true),
        ("a?c*", "abcd", true),
        ("a?c", "ac", false),
    ];
    for (glob, text, fits) in table {
        assert_eq!(Glob(glob.into()).matches(text), fits, "{glob} {text}");
    }
    let hostile = Glob("*a".repeat(1000));
    assert!(!hostile.matches(&"a".repeat(900)));
}
