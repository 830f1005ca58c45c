//! Which objects this process reconciles.

use std::collections::BTreeSet;

use clap::Args;

use crate::controller::{LabelSelector, Selection};
use crate::snapshot::Namespace;

/// Arguments about what is watched.
#[derive(Debug, Args)]
pub(super) struct SelectionArguments {
    /// The namespaces whose objects are watched, separated by commas; all where it is not given.
    #[arg(
        long = "watch-namespaces",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    namespaces: Vec<Namespace>,

    /// The objects that are reconciled, by their labels, such as sharding.fluxcd.io/key=shard-1.
    #[arg(long = "watch-label-selector", value_name = "SELECTOR")]
    labels: Option<LabelSelector>,

    /// The namespaces whose Secrets are watched (their metadata), separated by commas: there a
    /// changed one is used at once, elsewhere at the next run.
    #[arg(
        long = "watch-secrets",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    secrets: Vec<Namespace>,
}

impl SelectionArguments {
    pub(super) fn selection(&self) -> Selection {
        Selection {
            namespaces: each_once(&self.namespaces),
            labels: self.labels.clone(),
            secrets: each_once(&self.secrets),
        }
    }
}

fn each_once(namespaces: &[Namespace]) -> Vec<Namespace> {
    let names: BTreeSet<&Namespace> = namespaces.iter().collect();
    names.into_iter().cloned().collect()
}
