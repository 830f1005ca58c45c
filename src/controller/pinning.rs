//! Which images are written with their digest, as `--pin-images` says.

use crate::mutation::BoxedError;
use crate::oci::ImageReference;
use crate::ocm::{self, Accepted, Resource};

/// Which images a Localization writes with their digest (`name:tag@sha256:…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PinImages {
    /// Those of components whose signatures are verified: with the digest that was signed, since
    /// the place that the image is pulled from is not signed.
    Verified,
    /// All; an image of which the component records no digest is an error.
    Always,
    /// None: references are written as the component has them.
    Never,
}

impl PinImages {
    /// The reference of the image that `resource` of `component` is.
    pub(super) fn reference(
        self,
        component: &Accepted,
        resource: &Resource,
    ) -> Result<ImageReference, BoxedError> {
        let is_pinned = match self {
            Self::Verified => matches!(component, Accepted::Verified(_)),
            Self::Always => true,
            Self::Never => false,
        };
        let reference = if is_pinned {
            ocm::pinned_location(component, resource)?
        } else {
            ocm::location(component, resource)?
        };
        Ok(reference)
    }
}
