//! What is refused, and what the reader is told.

use super::*;

#[test]
fn b73_a_path_that_is_not_there_names_the_nearest_one() {
    let text = "spec:\n  template:\n    name: x\n    image: y\n";
    let error = refused(text, "spec.template.containers[0].image", Missing::Refuse);
    assert_eq!(
        error.to_string(),
        "nothing is there; \"spec.template\" on line 3 is a map with name, image"
    );
    let error = refused("a: [1, 2]\n", "a[2]", Missing::Refuse);
    assert_eq!(
        error.to_string(),
        "nothing is there; \"a\" on line 1 is a list of 2 elements"
    );
    let error = refused("x: 1\n---\na:\n  b: {}\n", "a.b.c", Missing::Refuse);
    assert_eq!(
        error.to_string(),
        "nothing is there; \"a.b\" on line 4 is an empty map"
    );
    let error = refused("a: []\n", "a[].b", Missing::Create);
    assert!(matches!(error, Refusal::NoMatch { .. }), "{error}");
    let error = refused("a: 1\n", "select(di == 1) | a", Missing::Create);
    assert_eq!(
        error,
        Refusal::NoDocument {
            wanted: 1,
            count: 1
        }
    );
    let error = refused("# nothing\n", "a", Missing::Create);
    assert_eq!(
        error,
        Refusal::NoDocument {
            wanted: 0,
            count: 0
        }
    );
}

#[test]
fn b73_a_path_through_a_scalar_or_of_the_wrong_kind_is_refused() {
    let table = [
        (
            "a: text\n",
            "a.b",
            "\"b\" does not fit: \"a\" on line 1 is the scalar \"text\"",
        ),
        (
            "a: text\n",
            "a[0]",
            "\"[0]\" does not fit: \"a\" on line 1 is the scalar \"text\"",
        ),
        (
            "a: [x]\n",
            "a.b",
            "\"b\" does not fit: \"a\" on line 1 is a list of 1 element",
        ),
        (
            "a: {b: 1}\n",
            "a[0]",
            "\"[0]\" does not fit: \"a\" on line 1 is a map with b",
        ),
    ];
    for (text, path, message) in table {
        for missing in [Missing::Refuse, Missing::Create] {
            assert_eq!(refused(text, path, missing).to_string(), message);
        }
    }
    for missing in [Missing::Refuse, Missing::Create] {
        let error = refused("a: [x]\n", "a[-2]", missing);
        assert!(matches!(error, Refusal::NoMatch { .. }), "{error}");
    }
}

#[test]
fn what_is_shared_by_an_anchor_is_refused() {
    let text = "base: &base\n  image: x\n  list: &l [1]\none: *base\ntwo:\n  <<: *base\n  n: *l\n";
    let table = [
        (
            "base.image",
            "the anchor \"base\" on line 2 is used on line 4, which would change too",
        ),
        (
            "base",
            "the anchor \"base\" on line 2 is used on line 4, which would change too",
        ),
        (
            "one.image",
            "the path goes through the alias \"*base\" on line 4; name the value itself",
        ),
        (
            "two.image",
            "\"image\" may come through the merge key \"<<\" on line 6; name the value itself",
        ),
        (
            "two.list[0]",
            "\"list\" may come through the merge key \"<<\" on line 6; name the value itself",
        ),
    ];
    for (path, message) in table {
        assert_eq!(
            refused(text, path, Missing::Refuse).to_string(),
            message,
            "{path}"
        );
    }
    let error = refused(text, "two.list[0]", Missing::Create);
    assert!(matches!(error, Refusal::ThroughMerge { .. }), "{error}");
    let nested = "a:\n  b: &x 1\nc: *x\n";
    let error = refused(nested, "a", Missing::Refuse);
    assert!(matches!(error, Refusal::Shared { .. }), "{error}");
    // Both ends go away together.
    assert_eq!(set("a: [&x 1, *x]\nb: 1\n", "a", 2), "a: 2\nb: 1\n");
}

#[test]
fn the_edit_that_failed_is_told() {
    let edits = [
        edit("a", json!(1), Missing::Refuse),
        edit("b.c", json!(1), Missing::Refuse),
    ];
    let error = applied("a: 0\n", &edits).unwrap_err();
    assert_eq!(error.edit(), Some(1));
    assert_eq!(error.to_string(), "failed to change \"b.c\"");
}
