//! What later steps may use.

use std::ops::Deref;

use super::signature::Verified;
use super::{Descriptor, ReadComponent};

/// A component version that may be used, and on which terms.
///
/// Whoever takes content or an image out of a component version asks for one of these. So it is
/// known there, and cannot be forgotten on the way, whether access specifications, which nobody
/// signs, are to be believed.
#[derive(Debug, Clone)]
pub enum Accepted<T = ReadComponent> {
    /// Signatures were asked for and hold: of this only that is used which they cover, and it is
    /// held to the digest that was signed.
    Verified(Verified<T>),
    /// Signatures were not asked for.
    NotAsked(T),
}

impl<T> Deref for Accepted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Verified(verified) => verified,
            Self::NotAsked(found) => found,
        }
    }
}

impl AsRef<Descriptor> for Accepted {
    fn as_ref(&self) -> &Descriptor {
        &self.descriptor
    }
}
