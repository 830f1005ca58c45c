//! `ocm-controller transfer`: component versions from one place to another.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::network::{self, CredentialArguments, NetworkArguments};
use crate::registry::{self, Credentials, Pool};
use crate::repository::{
    Archive, ComponentReference, Location, RegistryArtifacts, SharedArtifacts, Target,
};
use crate::transfer::{
    self, Destination, ImageNames, Moved, Options, Outcome, Progress, Silent, Source, Transfer,
};

/// How often a terminal is told how far a transfer is.
const REDRAW: Duration = Duration::from_millis(100);

/// Arguments of `transfer`.
#[derive(Debug, Args)]
pub(super) struct TransferArguments {
    /// What to move: a component version, or all versions of a component, in a registry or archive.
    #[arg(value_name = "SOURCE//COMPONENT[:VERSION]")]
    source: ComponentReference,

    /// Where to: a registry, or an archive (`./folder`, `file.tgz`, `ctf::PATH`).
    #[arg(value_name = "TARGET")]
    target: Location,

    /// Move the resources as well, and say in the component where they are now.
    #[arg(long, short = 'V')]
    copy_resources: bool,

    /// Move the components that are referred to as well.
    #[arg(long, short)]
    recursive: bool,

    /// Replace versions and images that the target has with other content.
    #[arg(long, short = 'f')]
    overwrite: bool,

    /// How copied images are named in the component.
    #[arg(long, value_enum, default_value_t = Names::AsWritten)]
    image_names: Names,

    /// How the moved versions are listed.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    credentials: CredentialArguments,

    #[command(flatten)]
    network: NetworkArguments,
}

/// How copied images are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Names {
    /// As the source names them: by tag, digest or both.
    AsWritten,
    /// By tag and digest.
    Pinned,
}

impl From<Names> for ImageNames {
    fn from(names: Names) -> Self {
        match names {
            Names::AsWritten => Self::AsWritten,
            Names::Pinned => Self::Pinned,
        }
    }
}

/// How results are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each version.
    Text,
    /// A JSON list.
    Json,
    /// A YAML list.
    Yaml,
    /// `COMPONENT:VERSION`, one a line.
    Name,
}

/// What keeps a transfer from being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Network(network::Error),

    #[error("{place:?} cannot be used")]
    Open {
        place: String,
        source: registry::Error,
    },

    #[error("failed to transfer {what}")]
    Transfer {
        what: String,
        source: Box<transfer::Error>,
    },

    #[error("stopped by a signal; what was moved is whole, and the same command goes on with it")]
    Stopped,

    #[error("failed to listen for signals")]
    Signals { source: io::Error },

    #[error("failed to write to standard output")]
    WriteOutput { source: io::Error },

    #[error("failed to write the list as YAML")]
    WriteYaml { source: serde_yaml::Error },
}

/// Moves what was asked for, and lists it on `output`.
pub(super) async fn run(
    arguments: TransferArguments,
    output: &mut impl Write,
) -> Result<(), Error> {
    let transport = arguments.network.transport().map_err(Error::Network)?;
    let credentials = Arc::new(
        arguments
            .credentials
            .credentials()
            .map_err(Error::Network)?,
    );
    let pool = Pool::new(transport);
    let ComponentReference {
        location,
        component,
        version,
    } = &arguments.source;
    let artifacts = open(location, &pool, &credentials).await?;
    let target = create(&arguments.target, &pool, &credentials).await?;
    let progress: Arc<dyn Progress> = if io::stderr().is_terminal() {
        Arc::new(Line::default())
    } else {
        Arc::new(Silent)
    };
    let transfer = Transfer {
        source: Source {
            artifacts,
            place: location.repository(),
        },
        destination: Destination {
            target,
            place: arguments.target.repository(),
        },
        pool,
        credentials,
        options: Options {
            copy_resources: arguments.copy_resources,
            recursive: arguments.recursive,
            overwrite: arguments.overwrite,
            image_names: arguments.image_names.into(),
        },
        progress: Arc::clone(&progress),
    };
    let shutdown = CancellationToken::new();
    let stop =
        super::run::stop_on_signal(shutdown.clone()).map_err(|source| Error::Signals { source })?;
    tokio::spawn(stop);
    let moved = tokio::select! {
        moved = transfer.run(component, version.as_ref()) => moved,
        () = shutdown.cancelled() => return Err(Error::Stopped),
    };
    progress.end();
    let moved = moved.map_err(|source| Error::Transfer {
        what: arguments.source.to_string(),
        source: Box::new(source),
    })?;
    list(&moved, arguments.output, output)
}

/// A place to read from.
pub(super) async fn open(
    location: &Location,
    pool: &Pool,
    credentials: &Arc<Credentials>,
) -> Result<SharedArtifacts, Error> {
    let failed = |source| Error::Open {
        place: location.to_string(),
        source,
    };
    match location {
        Location::Registry(_) => {
            let registry = registry_at(location, pool, credentials).map_err(failed)?;
            Ok(Arc::new(registry))
        }
        Location::Archive { path, .. } => {
            let path = path.clone();
            let opened = blocking(move || Archive::open(&path)).await;
            Ok(Arc::new(opened.map_err(failed)?))
        }
    }
}

async fn create(
    location: &Location,
    pool: &Pool,
    credentials: &Arc<Credentials>,
) -> Result<Arc<dyn Target>, Error> {
    let failed = |source| Error::Open {
        place: location.to_string(),
        source,
    };
    match location {
        Location::Registry(_) => {
            let registry = registry_at(location, pool, credentials).map_err(failed)?;
            Ok(Arc::new(registry))
        }
        Location::Archive { path, form } => {
            let (path, form) = (path.clone(), *form);
            let created = blocking(move || Archive::create(&path, form)).await;
            Ok(Arc::new(created.map_err(failed)?))
        }
    }
}

fn registry_at(
    location: &Location,
    pool: &Pool,
    credentials: &Arc<Credentials>,
) -> registry::Result<RegistryArtifacts> {
    RegistryArtifacts::at(
        pool.clone(),
        &location.repository(),
        Arc::clone(credentials),
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn list(moved: &[Moved], format: Format, output: &mut impl Write) -> Result<(), Error> {
    let text = match format {
        Format::Text => moved.iter().map(line).collect(),
        Format::Name => moved.iter().fold(String::new(), |names, moved| {
            names + &format!("{}:{}\n", moved.component, moved.version)
        }),
        Format::Json => {
            let text = serde_json::to_string_pretty(moved).map_err(io::Error::other);
            text.map_err(|source| Error::WriteOutput { source })? + "\n"
        }
        Format::Yaml => {
            serde_yaml::to_string(moved).map_err(|source| Error::WriteYaml { source })?
        }
    };
    let written = output.write_all(text.as_bytes());
    written.map_err(|source| Error::WriteOutput { source })
}

fn line(moved: &Moved) -> String {
    let Moved {
        component,
        version,
        outcome,
        counts,
        ..
    } = moved;
    match outcome {
        Outcome::Unchanged => format!("{component}:{version} is there already\n"),
        Outcome::Transferred => format!(
            "{component}:{version} transferred: {} blobs sent ({} bytes), {} mounted, {} there \
             already\n",
            counts.blobs_sent, counts.bytes_sent, counts.blobs_mounted, counts.blobs_present
        ),
    }
}

/// One line on a terminal that is written over and over.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    what: String,
    bytes: u64,
    drawn: Option<Instant>,
}

impl Line {
    fn draw(&self, change: impl FnOnce(&mut State), always: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if !always && state.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        state.drawn = Some(Instant::now());
        let megabytes = state.bytes / 1_000_000;
        // Nobody is to blame for a terminal that went away.
        let _ = write!(io::stderr(), "\r\x1b[K{} ({megabytes} MB sent)", state.what);
    }
}

impl Progress for Line {
    fn begin(&self, what: &str) {
        self.draw(|state| what.clone_into(&mut state.what), true);
    }

    fn sent(&self, bytes: u64) {
        self.draw(|state| state.bytes += bytes, false);
    }

    fn end(&self) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
