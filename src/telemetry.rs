//! Logs: one line an event, as JSON for machines or as text for people.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

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
        .with_writer(OneLine(writer));
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

/// Writes what is logged at once as one line. What others have named may hold characters that
/// move the cursor of a terminal, or begin a line of their own.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for OneLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(one_line(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The line with its control characters escaped as in JSON, apart from its end.
fn one_line(text: &str) -> Cow<'_, str> {
    let (line, end) = text
        .strip_suffix('\n')
        .map_or((text, ""), |line| (line, "\n"));
    if !line.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in line.chars() {
        if character.is_control() {
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped.push_str(end);
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
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
            let span = info_span!("reconcile", kind = text, object = %text);
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
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["component"], hostile);
                assert_eq!(line["span"]["object"], hostile);
                assert_eq!(line["span"]["name"], "reconcile");
            }
        }
    }
}
