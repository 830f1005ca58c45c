use proptest::prelude::*;
use serde_json::json;

use super::*;

fn evaluated(root: &Value, key: &str) -> Result<Value, Failure> {
    Evaluator::new(root).entry(key, None)
}

#[test]
fn expressions_give_what_they_refer_to() {
    let root = json!({
        "name": "shop", "count": 3, "on": true, "none": null, "ratio": 1.5,
        "ui": {"title": "Shop", "sub": {"deep": "(( title ))"}, "name": "(( name ))"},
        "list": ["x", {"y": "z"}], "alias": "(( ui ))",
    });
    let cases = [
        ("(( name ))", json!("shop")),
        ("(( count ))", json!(3)),
        ("(( on ))", json!(true)),
        ("(( none ))", Value::Null),
        ("(( ui.title ))", json!("Shop")),
        ("(( ui.sub.deep ))", json!("Shop")),
        ("(( ui.name ))", json!("shop")),
        ("(( .name ))", json!("shop")),
        ("(( list.[0] ))", json!("x")),
        ("(( list[-1].y ))", json!("z")),
        ("(( alias.sub.deep ))", json!("Shop")),
        ("(( list ))", json!(["x", {"y": "z"}])),
        ("(( list list ))", json!(["x", {"y": "z"}, "x", {"y": "z"}])),
        ("(( name \"-\" count on ratio ))", json!("shop-3true1.5")),
        ("(( nope || ui.nope || list[9] || \"d\" ))", json!("d")),
        ("(( nope || count ))", json!(3)),
        ("(( none || 1 ))", Value::Null),
        ("(( (nope || name) \"!\" ))", json!("shop!")),
        (
            "http://(( name )):80((! x ))",
            json!("http://shop:80(( x ))"),
        ),
        ("plain", json!("plain")),
    ];
    for (text, expected) in cases {
        let mut root = root.clone();
        root["wanted"] = json!(text);
        assert_eq!(evaluated(&root, "wanted").unwrap(), expected, "{text}");
    }
}

#[test]
fn nearest_map_is_asked_first() {
    let root = json!({"a": 1, "m": {"a": 2, "b": {"c": "(( a ))", "d": "(( .a ))"}}});
    assert_eq!(evaluated(&root, "m").unwrap()["b"], json!({"c": 2, "d": 1}));
}

#[test]
fn missing_reference_tells_what_is_known() {
    let root = json!({"color": 1, "w": "(( nope ))", "x": {"k": 1}, "y": "(( x.n ))"});
    let message = evaluated(&root, "w").unwrap_err().to_string();
    assert!(
        message.contains("(( nope ))\t*'nope' not found"),
        "{message}"
    );
    assert!(message.contains("color, w, x, y"), "{message}");
    let message = evaluated(&root, "y").unwrap_err().to_string();
    assert!(
        message.contains("(( x.n ))\t*'x.n' not found") && message.contains('k'),
        "{message}"
    );
}

#[test]
fn b77_circle_is_reported_as_a_path() {
    let root =
        json!({"a": "(( b.c ))", "b": {"c": "x(( d ))"}, "d": "(( a || 1 ))", "e": "(( e ))"});
    let message = evaluated(&root, "a").unwrap_err().to_string();
    assert!(message.ends_with("a -> b.c -> d -> a"), "{message}");
    assert!(
        evaluated(&root, "e")
            .unwrap_err()
            .to_string()
            .ends_with("e -> e")
    );
    let inside = json!({"a": {"x": "(( a ))"}});
    assert!(matches!(
        evaluated(&inside, "a"),
        Err(Failure::Cycle { .. })
    ));
}

#[test]
fn b77_growing_values_meet_a_bound() {
    let mut doubling = json!({"v0": "0123456789"});
    let mut nesting = json!({"v0": {}});
    let mut chain = json!({"v0": 1});
    for n in 1..5_000 {
        let last = format!("v{}", n - 1);
        doubling[format!("v{n}")] = json!(format!("(( {last} {last} ))"));
        nesting[format!("v{n}")] =
            json!({"a": format!("(( {last} ))"), "b": format!("(( {last} ))")});
        chain[format!("v{n}")] = json!(format!("(( {last} ))"));
    }
    assert!(matches!(
        evaluated(&doubling, "v40"),
        Err(Failure::TooLarge(_))
    ));
    assert!(matches!(
        evaluated(&nesting, "v40"),
        Err(Failure::TooLarge(_))
    ));
    assert!(matches!(
        evaluated(&chain, "v4999"),
        Err(Failure::TooLarge(_))
    ));
    assert_eq!(evaluated(&chain, "v60").unwrap(), json!(1));
}

#[test]
fn b77_deep_expressions_in_a_deep_chain_do_not_exhaust_the_stack() {
    let mut root = json!({"v0": "end"});
    for n in 1..150 {
        let mut expression = format!("v{}", n - 1);
        for _ in 0..15 {
            expression = format!("((nope || {expression}) \"x\")");
        }
        root[format!("v{n}")] = json!(format!("(( {expression} ))"));
    }
    assert!(evaluated(&root, "v3").is_ok());
    assert!(matches!(
        evaluated(&root, "v149"),
        Err(Failure::TooLarge(_))
    ));
}

fn values() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b", "c", "a.b", "b[0]", "c.a.b"]);
    let leaf = prop_oneof![
        any::<i8>().prop_map(|number| json!(number)),
        name().prop_map(|name| json!(format!("(( {name} ))"))),
        (name(), name()).prop_map(|(one, two)| json!(format!("(( {one} || {two} \"x\" ))"))),
        (name(), name()).prop_map(|(one, two)| json!(format!("x(( {one} ))(( {two} ))"))),
        (name(), name()).prop_map(|(one, two)| json!(format!("(( {one} {two} ))"))),
    ];
    leaf.prop_recursive(4, 40, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::hash_map(prop::sample::select(vec!["a", "b", "c"]), inner, 0..4)
                .prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn b77_evaluation_ends_and_is_the_same_each_time(a in values(), b in values(), c in values()) {
        let root = json!({"a": a, "b": b, "c": c});
        let first = evaluated(&root, "a");
        prop_assert_eq!(&first, &evaluated(&root, "a"));
        if let Ok(value) = first {
            let text = value.to_string();
            prop_assert!(!text.contains("(("), "left over: {}", text);
        }
    }
}
