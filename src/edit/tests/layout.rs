//! What is written where, and that everything else stays.

use super::*;

const DEPLOYMENT: &str = "\
# The shop.
apiVersion: apps/v1
kind: Deployment   # of the shop
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: app   # the app
        image: \"ghcr.io/shop/app:1.0\"   # pinned
        args: ['--x', \"--y\"]
      - image: nginx:1.2
        name: proxy

      volumes:
";

#[test]
fn only_the_bytes_of_the_value_change() {
    let image = "spec.template.spec.containers[0].image";
    assert_eq!(
        set(DEPLOYMENT, image, "r.io/app@sha256:00"),
        DEPLOYMENT.replace("ghcr.io/shop/app:1.0", "r.io/app@sha256:00")
    );
    let proxy = "(spec.template.spec.containers[] | select(.name == \"proxy\")).image";
    assert_eq!(
        set(DEPLOYMENT, proxy, "r.io/nginx:1.3"),
        DEPLOYMENT.replace("nginx:1.2", "r.io/nginx:1.3")
    );
    assert_eq!(
        set(DEPLOYMENT, "spec.replicas", 3),
        DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    );
    assert_eq!(
        set(DEPLOYMENT, "spec.template.spec.containers[-1].name", "p"),
        DEPLOYMENT.replace("name: proxy", "name: p")
    );
    assert_eq!(
        set(
            DEPLOYMENT,
            "spec.template.spec.containers[0].args[1]",
            "--z"
        ),
        DEPLOYMENT.replace("--y", "--z")
    );
    assert_eq!(
        set(
            DEPLOYMENT,
            "spec.template.spec.volumes",
            json!([{"name": "v", "x": {}}])
        ),
        DEPLOYMENT.replace(
            "      volumes:\n",
            "      volumes:\n        - name: v\n          x: {}\n"
        )
    );
}

#[test]
fn every_value_that_fits_is_changed() {
    let text = "list:\n- image: a\n- image: b\nmap: {x-1: 1, x-2: 2, y: 3}\n";
    assert_eq!(
        set(text, "list[].image", "c"),
        text.replace(": a", ": c").replace(": b", ": c")
    );
    assert_eq!(
        set(text, "map.x-*", 9),
        text.replace(": 1", ": 9").replace(": 2,", ": 9,")
    );
    assert_eq!(
        set(text, "list[] | select(.image != \"a\") | .image", "c"),
        text.replace(": b", ": c")
    );
    let some = "l: [{a: 1}, {b: 2}]\n";
    assert_eq!(set(some, "l[].a", 5), "l: [{a: 5}, {b: 2}]\n");
}

#[test]
fn replacements_of_every_kind_keep_what_is_around() {
    let map = json!({"k": "v", "l": [1, {"m": null}]});
    let table = [
        ("a: old # c\nb: 1\n", json!("new"), "a: new # c\nb: 1\n"),
        ("a:\nb: 1\n", json!("new"), "a: new\nb: 1\n"),
        ("a:   # c\nb: 1\n", json!("new"), "a: new   # c\nb: 1\n"),
        ("a: x\n  y\nb: 1\n", json!("new"), "a: new\nb: 1\n"),
        ("a:\n  x\nb: 1\n", json!("new"), "a:\n  new\nb: 1\n"),
        (
            "a:\n  k: v\n\n# c\nb: 1\n",
            json!("new"),
            "a: new\n\n# c\nb: 1\n",
        ),
        (
            "a: # c\n  k: v\nb: 1\n",
            json!("new"),
            "a: # c\n  new\nb: 1\n",
        ),
        ("a:\n- 1\n- 2\nb: 1\n", json!("new"), "a: new\nb: 1\n"),
        ("a: &x old\nb: 1\n", json!("new"), "a: &x new\nb: 1\n"),
        ("a: !!str 1\nb: 1\n", json!("new"), "a: !!str new\nb: 1\n"),
        ("a: !!int 1\nb: 1\n", json!("new"), "a: new\nb: 1\n"),
        ("a: !!int &x 1\nb: 1\n", json!("new"), "a: &x new\nb: 1\n"),
        ("a: &x !t 1\nb: 1\n", json!("new"), "a: &x new\nb: 1\n"),
        ("a: !t\n  - 1\nb: 1\n", json!(1), "a: 1\nb: 1\n"),
        ("a: [1,\n  2 ]\nb: 1\n", json!(true), "a: true\nb: 1\n"),
        ("x: &n 1\na: *n\n", json!("new"), "x: &n 1\na: new\n"),
        (
            "a: old # c\nb: 1\n",
            map.clone(),
            "a:\n  k: v\n  l:\n    - 1\n    - m: null # c\nb: 1\n",
        ),
        (
            "a: {}\nb: 1\n",
            map.clone(),
            "a:\n  k: v\n  l:\n    - 1\n    - m: null\nb: 1\n",
        ),
        (
            "a: {z: y}\nb: 1\n",
            map.clone(),
            "a: {k: v, l: [1, {m: null}]}\nb: 1\n",
        ),
        (
            "a:\n    z: 1\nb: 1\n",
            map.clone(),
            "a:\n    k: v\n    l:\n      - 1\n      - m: null\nb: 1\n",
        ),
        (
            "a:\n- z\nb: 1\n",
            map.clone(),
            "a:\n  k: v\n  l:\n    - 1\n    - m: null\nb: 1\n",
        ),
        (
            "a:\n- z\nb: 1\n",
            json!(["x", ["w"]]),
            "a:\n- x\n- - w\nb: 1\n",
        ),
        (
            "a: |\n  t\nb: 1\n",
            map,
            "a:\n  k: v\n  l:\n    - 1\n    - m: null\nb: 1\n",
        ),
        (
            "{a: x, b: 1}\n",
            json!({"k": ["n o", "1"]}),
            "{a: {k: [n o, \"1\"]}, b: 1}\n",
        ),
        ("{a, b: 1}\n", json!("new"), "{a: new, b: 1}\n"),
        ("{a: , b: 1}\n", json!("new"), "{a: new , b: 1}\n"),
    ];
    for (text, value, expected) in table {
        let written = set(text, "a", value.clone());
        assert_eq!(written, expected, "{value} in {text:?}");
        let found = read(&written);
        assert_eq!(found["a"], value, "{written}");
    }
}

#[test]
fn elements_are_replaced_in_their_place() {
    let map = json!({"k": 1, "l": 2});
    let table = [
        ("- a\n- b\n", map.clone(), "- a\n- k: 1\n  l: 2\n"),
        (
            "- a\n- x: y\n  z: 1\n",
            map.clone(),
            "- a\n- k: 1\n  l: 2\n",
        ),
        ("- a\n-\n- c\n", map.clone(), "- a\n- k: 1\n  l: 2\n- c\n"),
        ("- a\n-\n- c\n", json!("b"), "- a\n- b\n- c\n"),
        ("- a\n- # c\n  x: y\n", json!("b"), "- a\n- # c\n  b\n"),
        ("- a\n- - x\n  - y\n- c\n", json!("b"), "- a\n- b\n- c\n"),
        ("- a\n- &x b\n", map, "- a\n- &x\n  k: 1\n  l: 2\n"),
    ];
    for (text, value, expected) in table {
        assert_eq!(set(text, "[1]", value), expected, "{text:?}");
    }
}

#[test]
fn missing_keys_are_created() {
    let table = [
        (
            "a:\n  b: 1 # c\nz: 2\n",
            "a.c",
            "a:\n  b: 1 # c\n  c: new\nz: 2\n",
        ),
        (
            "a:\n  b: 1\nz: 2\n",
            "a.c.d",
            "a:\n  b: 1\n  c:\n    d: new\nz: 2\n",
        ),
        ("a:\nz: 2\n", "a.c.d", "a:\n  c:\n    d: new\nz: 2\n"),
        ("a: ~\nz: 2\n", "a[1]", "a:\n  - null\n  - new\nz: 2\n"),
        ("a: {}\n", "a.\"x.y\"", "a: {x.y: new}\n"),
        ("a: {b: 1}\n", "a.c[0]", "a: {b: 1, c: [new]}\n"),
        ("a: []\n", "a[1]", "a: [null, new]\n"),
        ("a:\n- x\n", "a[2]", "a:\n- x\n- null\n- new\n"),
        ("- a: 1", "[0].b", "- a: 1\n  b: new"),
        ("- - 1\n- 2\n", "[0][1]", "- - 1\n  - new\n- 2\n"),
        (
            "a: |\n  t\n\n\nb: |+\n  u\n\n",
            "c",
            "a: |\n  t\n\n\nb: |+\n  u\n\nc: new\n",
        ),
        (
            "a:\n  b: |\n    t\n\nz: 1\n",
            "a.c",
            "a:\n  b: |\n    t\n  c: new\n\nz: 1\n",
        ),
        ("a: {\n  b: 1,\n}\n", "a.c", "a: {\n  b: 1,\n  c: new,\n}\n"),
        (
            "a: 1\r\nb:\r\n  c: 2\r\n",
            "b.d",
            "a: 1\r\nb:\r\n  c: 2\r\n  d: new\r\n",
        ),
        ("\u{feff}a: 1\n", "b", "\u{feff}a: 1\nb: new\n"),
        (
            "d: &d {x: 1}\na:\n  <<: *d\n",
            "a.x",
            "d: &d {x: 1}\na:\n  <<: *d\n  x: new\n",
        ),
    ];
    for (text, path, expected) in table {
        assert_eq!(create(text, path, "new"), expected, "{path} in {text:?}");
    }
}

#[test]
fn json_stays_json() {
    let pretty = "{\n\t\"a\": {\n\t\t\"b\": \"x\",\n\t\t\"e\": {}\n\t},\n\t\"l\": [1,2]\n}";
    assert_eq!(
        set(pretty, "a.b", "é\u{1}/"),
        pretty.replace("\"x\"", "\"é\\u0001/\"")
    );
    assert_eq!(set(pretty, "l[1]", "2"), pretty.replace("1,2", "1,\"2\""));
    assert_eq!(
        create(pretty, "a.c", json!({"d": []})),
        pretty.replace("{}\n", "{},\n\t\t\"c\": {\n\t\t\t\"d\": []\n\t\t}\n")
    );
    assert_eq!(
        create(pretty, "a.e.f", 1),
        pretty.replace("{}", "{\n\t\t\t\"f\": 1\n\t\t}")
    );
    assert_eq!(
        create(r#"{"a":{"b":1}}"#, "a.c", json!([1, "x"])),
        r#"{"a":{"b":1, "c": [1, "x"]}}"#
    );
    let long = format!("{{\"{}\": 1, \"x\": 2}}", "k".repeat(5000));
    assert_eq!(set(&long, "x", 3), long.replace(": 2", ": 3"));
}

#[test]
fn the_first_document_that_has_the_path_is_changed() {
    let text = "# head\n---\n# only a comment\n---\na: 1\n---\nb: 2 # c\n...\n---\nb: 3";
    assert_eq!(set(text, "b", 9), text.replace("b: 2", "b: 9"));
    assert_eq!(
        set(text, "select(di == 2) | .b", 9),
        text.replace("b: 3", "b: 9")
    );
    assert_eq!(create(text, "c", 9), text.replace("a: 1", "a: 1\nc: 9"));
    assert_eq!(
        create(text, "select(document_index == 2) | c", 9),
        format!("{text}\nc: 9")
    );
}

#[test]
fn a_later_edit_sees_what_an_earlier_one_wrote() {
    let change = |path: &str, value: Json| edit(path, value, Missing::Refuse);
    let make = |path: &str, value: Json| edit(path, value, Missing::Create);
    let table = [
        (
            vec![change("a", json!(1)), change("a", json!(2))],
            "a: 2\nl:\n- id: x\n",
        ),
        (
            vec![make("b.c", json!(1)), change("b.c", json!(2))],
            "a: 0\nl:\n- id: x\nb:\n  c: 2\n",
        ),
        (
            vec![change("a", json!({"k": 1})), change("a.k", json!(2))],
            "a:\n  k: 2\nl:\n- id: x\n",
        ),
        (
            vec![make("l[0].m", json!(1)), make("l[1].id", json!("w"))],
            "a: 0\nl:\n- id: x\n  m: 1\n- id: w\n",
        ),
        (
            vec![
                change("l[0].id", json!("w")),
                make("l[] | select(.id == \"w\") | .m", json!(1)),
            ],
            "a: 0\nl:\n- id: w\n  m: 1\n",
        ),
        (
            vec![change("l[0].id", json!("w")), change("l", json!([]))],
            "a: 0\nl: []\n",
        ),
        (
            vec![
                make("a2", json!([])),
                make("a2[0]", json!({})),
                make("a2[0].z", json!("t")),
            ],
            "a: 0\nl:\n- id: x\na2:\n  - z: t\n",
        ),
    ];
    for (edits, expected) in table {
        let written = apply(b"a: 0\nl:\n- id: x\n", &edits, &limits()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}

#[test]
fn a_value_that_is_there_already_changes_nothing() {
    let text = "a: 'x'\nb: \"y\"\nc: {d: [1, \"2\"]} # c\ne: |\n  f\n";
    let edits = [
        edit("a", json!("x"), Missing::Refuse),
        edit("b", json!("y"), Missing::Refuse),
        edit("c", json!({"d": [1, "2"]}), Missing::Refuse),
        edit("e", json!("f\n"), Missing::Create),
    ];
    assert_eq!(applied(text, &edits).unwrap(), text);
}

#[test]
fn a_file_can_be_looked_at() {
    let text = "a: &x\n- image: 'r.io/x'\n- *x1\n".replace("- *x1\n", "") + "b: *x\n---\nc: 1\n";
    let file = parse(text.as_bytes(), &Limits::default()).unwrap();
    assert!(!file.is_json());
    let found: Vec<_> = file
        .scalars()
        .into_iter()
        .map(|(document, path, value)| {
            let source = text[value.span()].to_owned();
            (
                document,
                path.to_string(),
                source,
                value.text().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = [(0, "a[0].image", "'r.io/x'", "r.io/x"), (1, "c", "1", "1")];
    let expected = expected.map(|(d, p, s, t)| (d, p.to_owned(), s.to_owned(), t.to_owned()));
    assert_eq!(found, expected);
    let first = file.documents().next().unwrap();
    let image = first.get(&"b[0].image".parse().unwrap());
    assert_eq!(image[0].text(), Some("r.io/x"));
    assert_eq!((image[0].line(), image[0].kind()), (2, Kind::Scalar));
    assert_eq!(first.kind(), Kind::Mapping);
    assert_eq!(
        first.entries().map(|(key, _)| key).collect::<Vec<_>>(),
        ["a", "b"]
    );
}
