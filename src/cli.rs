//! The command line: arguments in, checked once, settings out.

mod crds;
mod flags;
mod network;
mod run;
mod scrub;
mod transfer;
mod verify;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::chain::chain;
use crate::store;

/// What the program was asked to do.
#[derive(Debug)]
pub struct Invocation {
    arguments: Arguments,
    ignored: Vec<&'static str>,
}

/// Delivers Open Component Model components from a private registry to Flux.
#[derive(Debug, Parser)]
#[command(name = "ocm-controller", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controllers and the registry that Flux pulls from.
    Run(Box<run::RunArguments>),
    /// Verify the signatures of a component version, and the digests of all it consists of.
    Verify(Box<verify::VerifyArguments>),
    /// Move component versions, and what they deliver, between registries and archives.
    Transfer(Box<transfer::TransferArguments>),
    /// Read the whole content store again and say what is damaged.
    Scrub(scrub::ScrubArguments),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
}

/// What keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard output is closed or full.
    #[error("failed to write to standard output")]
    WriteOutput {
        /// The cause.
        source: io::Error,
    },

    /// A definition cannot be written as YAML.
    #[error("failed to write {name:?} as YAML")]
    WriteYaml {
        /// The definition.
        name: String,
        /// The cause.
        source: serde_yaml::Error,
    },

    /// The arguments contradict each other or lack something.
    #[error("{problem}")]
    WrongUse {
        /// What does not fit, and what to do.
        problem: String,
    },

    /// The component version was not verified.
    #[error("failed to verify")]
    Verify {
        /// The cause.
        source: Box<verify::Error>,
    },

    /// A transfer was not done.
    #[error(transparent)]
    Transfer {
        /// The cause.
        source: Box<transfer::Error>,
    },

    /// The content store could not be read.
    #[error("failed to scrub the content store in --data-dir {path:?}")]
    Scrub {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: store::Error,
    },

    /// The operator could not start, or had to stop.
    #[error("failed to run the operator")]
    Run {
        /// The cause.
        source: Box<run::Error>,
    },
}

impl Error {
    /// Standard output failed.
    pub fn write_output(source: io::Error) -> Self {
        Self::WriteOutput { source }
    }
}

/// Reads the arguments, program name first, as [`execute`] takes them; ends the program where they
/// cannot be used. Those that only the Go ocm-controller knows are set aside.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Invocation {
    let (arguments, ignored) = flags::sort(arguments);
    Invocation {
        arguments: Arguments::parse_from(arguments),
        ignored,
    }
}

/// Runs the command that was asked for; standard output is `output`.
pub async fn execute(invocation: Invocation, output: &mut impl Write) -> Result<ExitCode, Error> {
    match invocation.arguments.command {
        Command::Run(arguments) => {
            let run = Box::pin(run::run(*arguments, &invocation.ignored)).await;
            run.map_err(|source| Error::Run {
                source: Box::new(source),
            })?;
        }
        Command::Verify(arguments) => verify::verify(&arguments, output).await?,
        Command::Transfer(arguments) => {
            let transferred = transfer::run(*arguments, output).await;
            transferred.map_err(|source| Error::Transfer {
                source: Box::new(source),
            })?;
        }
        Command::Scrub(arguments) => return scrub::scrub(&arguments, output),
        Command::Crds => crds::print(output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error why the program ends, and gives its exit code.
pub fn report(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "ocm-controller: {}", chain(error));
    match error.downcast_ref() {
        Some(Error::WrongUse { .. }) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
