use serde_json::{Value as Json, json};

use super::*;

mod hostile;
mod layout;
mod properties;
mod refusals;
mod styles;

fn limits() -> Limits {
    Limits::default()
}

fn edit(path: &str, value: Json, missing: Missing) -> Edit {
    Edit {
        path: path.parse().unwrap_or_else(|error| panic!("{error}")),
        value,
        missing,
    }
}

fn applied(text: &str, edits: &[Edit]) -> Result<String> {
    let once = apply(text.as_bytes(), edits, &limits())?;
    let twice = apply(&once, edits, &limits())?;
    let once = String::from_utf8(once).unwrap();
    assert_eq!(once, String::from_utf8(twice).unwrap(), "twice is not once");
    Ok(once)
}

/// One value where the path has to exist.
fn set(text: &str, path: &str, value: impl Into<Json>) -> String {
    let edits = [edit(path, value.into(), Missing::Refuse)];
    applied(text, &edits).unwrap_or_else(|error| panic!("{path} in {text:?}: {error:?}"))
}

/// One value where the path is created.
fn create(text: &str, path: &str, value: impl Into<Json>) -> String {
    let edits = [edit(path, value.into(), Missing::Create)];
    applied(text, &edits).unwrap_or_else(|error| panic!("{path} in {text:?}: {error:?}"))
}

fn refused(text: &str, path: &str, missing: Missing) -> Refusal {
    let edits = [edit(path, json!("new"), missing)];
    match applied(text, &edits) {
        Err(Error::Change { source, .. }) => source,
        other => panic!("{path} in {text:?}: {other:?}"),
    }
}

/// What an independent reader finds in the first document.
fn read(text: &str) -> Json {
    use serde::Deserialize as _;
    let document = serde_yaml::Deserializer::from_str(text).next().unwrap();
    Json::deserialize(document).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
