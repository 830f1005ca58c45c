//! Logs: one line an event, as JSON for machines or as text for people.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One text a line.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a filter such as `info` or `ocm_controller=debug,warn`.
    #[error("{filter:?} is not a filter of log lines")]
    ParseFilter {
        /// The filter as given.
        filter: String,
        /// What does not fit.
        source: tracing_subscriber::filter::ParseError,
    },

    /// Something else has set up logging already.
    #[error("logging is set up already")]
    AlreadySet {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Writes log lines that `filter` lets through to standard error.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Error> {
    let lines = subscriber(format, filter, std::io::stderr)?;
    tracing::subscriber::set_global_default(lines).map_err(|source| Error::AlreadySet {
        source: Box::new(source),
    })
}

/// What writes to `writer` the log lines that `filter` lets through.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|source| Error::ParseFilter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Json => Box::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of a component, a message and an error that hold `text`.
    fn written(format: LogFormat, text: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = subscriber(format, "info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(lines, || {
            let span = info_span!("reconcile", name = %text, kind = text);
            span.in_scope(|| {
                info!(component = %text, error = text, debug = ?text, "found {text}");
            });
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn rustsec_2025_0055_control_characters_of_others_do_not_reach_the_terminal() {
        let hostile = "a\u{1b}]0;title\u{7}\u{1b}[2J\u{8}\u{c}\u{7f}\u{9b}31m\r\nfaked line";
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = written(format, hostile);
            let (line, end) = line.split_at(line.len() - 1);
            assert_eq!(end, "\n");
            let control = line.chars().find(|found| found.is_control());
            assert_eq!(control, None, "{format:?}: {line:?}");
            assert!(line.contains("faked line"), "{line}");
        }
    }
}
