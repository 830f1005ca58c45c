//! `ocm-controller scrub`: reads the whole content store again.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Error;
use crate::store::{self, Finding, FindingKind, Scrubbed};

/// Arguments of `scrub`.
#[derive(Debug, Args)]
pub(super) struct ScrubArguments {
    /// The content store, which no controller may be using.
    #[arg(long, value_name = "DIR", default_value = "/data")]
    data_dir: PathBuf,

    /// Set damaged content aside, and remove records that are damaged or lead nowhere; the
    /// controller makes them again.
    #[arg(long)]
    repair: bool,

    /// How findings are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line each.
    Text,
    /// One document with all of them.
    Json,
}

/// Prints what is wrong; the exit code is 1 where anything is.
pub(super) fn scrub(
    arguments: &ScrubArguments,
    output: &mut impl Write,
) -> Result<ExitCode, Error> {
    let scrubbed =
        store::scrub(&arguments.data_dir, arguments.repair).map_err(|source| Error::Scrub {
            path: arguments.data_dir.clone(),
            source,
        })?;
    let printed = match arguments.output {
        Format::Text => text(&scrubbed, output),
        Format::Json => serde_json::to_writer_pretty(&mut *output, &scrubbed)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(output)),
    };
    printed.map_err(Error::write_output)?;
    Ok(if scrubbed.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(scrubbed: &Scrubbed, output: &mut impl Write) -> std::io::Result<()> {
    let Scrubbed {
        blobs,
        bytes,
        records,
        findings,
    } = scrubbed;
    for Finding {
        kind,
        name,
        problem,
        repaired,
    } in findings
    {
        let kind = match kind {
            FindingKind::Blob => "blob",
            FindingKind::Record => "record",
            FindingKind::Tag => "tag",
        };
        let repaired = if *repaired { " (repaired)" } else { "" };
        writeln!(output, "{kind} {name}: {problem}{repaired}")?;
    }
    let found = findings.len();
    writeln!(
        output,
        "read {blobs} blobs ({bytes} bytes) and {records} records: {found} findings"
    )
}
