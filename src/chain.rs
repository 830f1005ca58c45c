//! An error as one line for people.

use std::error::Error;
use std::fmt::Write as _;

/// An error with its causes, joined by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            let _ = write!(text, ": {part}");
        }
        cause = error.source();
    }
    text
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
}
