use proptest::prelude::*;
use serde_json::json;

use super::*;

fn whole(text: &str) -> Expression {
    match parse_text(text) {
        Ok(Text::Whole(expression)) => expression,
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[test]
fn literals_keep_their_type() {
    for (text, expected) in [
        ("(( \"a )) \\\" b\" ))", json!("a )) \" b")),
        ("(( 42 ))", json!(42)),
        ("((-1))", json!(-1)),
        ("(( 1.5 ))", json!(1.5)),
        ("(( 1_000 ))", json!(1000)),
        ("(( true ))", json!(true)),
        ("(( nil ))", Value::Null),
        ("(( ~ ))", Value::Null),
    ] {
        assert_eq!(whole(text), Expression::Literal(expected), "{text}");
    }
}

#[test]
fn references_come_apart() {
    let key = |key: &str| Segment::Key(key.to_owned());
    for (text, absolute, segments) in [
        ("(( a ))", false, vec![key("a")]),
        (
            "(( a.b-c.d_1 ))",
            false,
            vec![key("a"), key("b-c"), key("d_1")],
        ),
        ("(( a.[0] ))", false, vec![key("a"), Segment::Index(0)]),
        (
            "(( a[-1].b ))",
            false,
            vec![key("a"), Segment::Index(-1), key("b")],
        ),
        ("(( .a[\"x.y\"] ))", true, vec![key("a"), key("x.y")]),
        ("(( a.\"x.y\" ))", false, vec![key("a"), key("x.y")]),
        ("(( 1a ))", false, vec![key("1a")]),
    ] {
        let Expression::Reference(reference) = whole(text) else {
            panic!("{text}")
        };
        assert_eq!(
            (reference.absolute, reference.segments),
            (absolute, segments),
            "{text}"
        );
    }
}

#[test]
fn joining_binds_closer_than_the_default() {
    let Expression::Either(choices) = whole("(( a \"-\" b || (\"x\") || 1 ))") else {
        panic!()
    };
    assert_eq!(choices.len(), 3);
    assert!(matches!(&choices[0], Expression::Joined(pieces) if pieces.len() == 3));
}

#[test]
fn text_without_expression_stays_as_it_is() {
    for text in ["", "plain", "(a)", "((", "a (( b", "f(x) )) y"] {
        assert_eq!(parse_text(text).unwrap(), Text::Plain(text.to_owned()));
    }
    let escaped = parse_text("a ((! b )) c ((!! d ))").unwrap();
    assert_eq!(escaped, Text::Plain("a (( b )) c ((! d ))".to_owned()));
}

#[test]
fn expression_inside_a_text_is_interpolated() {
    let Text::Mixed(parts) = parse_text("http://(( host )):80").unwrap() else {
        panic!()
    };
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[2], Part::Plain(":80".to_owned()));
    assert!(matches!(parse_text(" (( host ))").unwrap(), Text::Mixed(_)));
}

#[test]
fn b77_functions_and_operators_are_refused_by_name() {
    for text in [
        "(( read(\"/etc/passwd\") ))",
        "(( exec(\"id\") ))",
        "(( env(\"HOME\") ))",
        "(( pipe(\"x\", \"sh\") ))",
        "(( a + 1 ))",
        "(( a ? b : c ))",
        "(( |x|->x ))",
        "(( sum[a|b|c] ))",
        "(( << a ))",
        "(( ))",
        "(( a. ))",
        "(( a[x] ))",
    ] {
        let problem = parse_text(text).unwrap_err();
        assert!(problem.contains("((!"), "{problem}");
    }
    let nested = format!("(( {}1{} ))", "(".repeat(5_000), ")".repeat(5_000));
    assert!(
        parse_text(&nested)
            .unwrap_err()
            .contains("nested parentheses")
    );
}

proptest! {
    #[test]
    fn any_text_is_taken_apart_without_panic(text in r#"[a-c01.\-"\[\]()!|~ \\é]{0,40}"#) {
        let _ = parse_text(&text);
        let _ = parse_text(&format!("(({text}))"));
    }
}
