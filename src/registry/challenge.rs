//! `WWW-Authenticate` (RFC 9110, 11.6.1): what a host wants to see.

use http::{HeaderMap, header};

/// More than any registry sends.
const MOST_CHALLENGES: usize = 16;

/// The way a host wants its visitors to identify themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A password with each request.
    Basic,
    /// A token from a token server (distribution specification, token authentication).
    Bearer {
        /// The token server's URL, as given.
        realm: String,
        /// What the token server calls the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge to answer among those of an answer: a token where one can be had.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for (scheme, parameters) in split(text) {
                let find = |name: &str| {
                    parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                if scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = find("realm")
                {
                    let service = find("service");
                    return Some(Self::Bearer { realm, service });
                }
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

type Parameters = Vec<(String, String)>;

/// Takes a header value apart into schemes and their parameters. What does not fit the grammar
/// ends the reading: the challenges before it count.
fn split(text: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (name, behind) = token(rest);
        if name.is_empty() || challenges.len() > MOST_CHALLENGES {
            return challenges;
        }
        let value = behind.trim_start_matches([' ', '\t']).strip_prefix('=');
        match (value, challenges.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let Some((value, behind)) = parameter_value(value) else {
                    return challenges;
                };
                parameters.push((name.to_owned(), value));
                rest = behind;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push((name.to_owned(), Vec::new()));
                rest = behind;
            }
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn parameter_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod unit_tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(header::WWW_AUTHENTICATE, value);
        }
        Challenge::from_headers(&headers)
    }

    #[test]
    fn bearer_is_taken_before_basic_wherever_it_stands() {
        let wanted = Some(Challenge::Bearer {
            realm: "https://a.example/t?x=1,2".to_owned(),
            service: Some("r\"q".to_owned()),
        });
        let text = r#"bearer realm="https://a.example/t?x=1,2" , service="r\"q",scope="x y""#;
        assert_eq!(read(&[text]), wanted);
        assert_eq!(read(&["Basic realm=\"x\"", text]), wanted);
        assert_eq!(read(&[&format!("Basic realm=x, {text}")]), wanted);
        assert_eq!(read(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn malformed_challenges_are_no_challenge() {
        for text in [
            "",
            "Bearer",
            "Bearer realm=\"open",
            "=x",
            "Negotiate abc==",
            ",,,,",
        ] {
            assert_eq!(read(&[text]), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_value_is_read_without_a_panic(text in "[ -~]{0,200}") {
            read(&[&text]);
        }
    }
}
