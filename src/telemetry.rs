//! Logs: one line an event, as JSON for machines or as text for people.

use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_new(filter).map_err(|source| Error::ParseFilter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
    done.map_err(|source| Error::AlreadySet { source })
}
