//! An error as one line for people.

use std::error::Error;
use std::fmt::Write as _;

/// An error with its causes, joined by colons.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cause) = told(error);
    while let Some(error) = cause {
        let (part, next) = told(error);
        if !text.ends_with(&part) {
            let _ = write!(text, ": {part}");
        }
        cause = next;
    }
    text
}

/// What one error says, and its cause. The API server's answers are said in its own words, which
/// its client's error repeats with all fields of the answer.
fn told<'a>(error: &'a (dyn Error + 'static)) -> (String, Option<&'a (dyn Error + 'static)>) {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match error.downcast_ref::<kube::Error>().or(boxed) {
        Some(kube::Error::Api(status)) => (format!("{} ({})", status.message, status.code), None),
        _ => (error.to_string(), error.source()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to pull")]
    struct Outer {
        source: std::fmt::Error,
    }

    #[test]
    fn causes_follow_the_error_that_they_explain() {
        let error = Outer {
            source: std::fmt::Error,
        };
        assert_eq!(
            chain(&error),
            format!("failed to pull: {}", std::fmt::Error)
        );
    }

    #[test]
    fn answer_of_the_api_server_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed to get Secret \"x\"")]
        struct Get {
            source: Box<kube::Error>,
        }
        let status =
            kube::core::Status::failure("secrets is forbidden", "Forbidden").with_code(403);
        let source = Box::new(kube::Error::Api(Box::new(status)));
        let expected = "failed to get Secret \"x\": secrets is forbidden (403)";
        assert_eq!(chain(&Get { source }), expected);
    }
}
