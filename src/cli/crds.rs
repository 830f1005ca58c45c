//! `ocm-controller crds`: the CustomResourceDefinitions as YAML documents.

use std::io::Write;

use kube::ResourceExt as _;

use super::Error;
use crate::api;

/// Prints all definitions, in the order of the data's flow.
pub(super) fn print(output: &mut impl Write) -> Result<(), Error> {
    for crd in api::crds() {
        let text = serde_yaml::to_string(&crd).map_err(|source| Error::WriteYaml {
            name: crd.name_any(),
            source,
        })?;
        write!(output, "---\n{text}").map_err(|source| Error::WriteOutput { source })?;
    }
    Ok(())
}
