//! The proof that something is what was signed.

use std::ops::Deref;

use crate::oci::Digest;
use crate::ocm::{Accepted, ReadComponent};

/// What was verified: a component version, or one and all that it refers to, root first. It can be
/// read, and not changed.
///
/// There are two ways to one: [`verify`](super::verify), and [`Verified::again`] for what it
/// said yes to before.
#[derive(Debug, Clone)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// For [`verify`](super::verify) alone.
    pub(super) fn new(found: T) -> Self {
        Self(found)
    }
}

impl Verified<ReadComponent> {
    /// A component version that is read again, if its manifest has the digest that was
    /// `recorded` when it verified: then it is that one to the last byte.
    pub fn again(component: ReadComponent, recorded: &Digest) -> Option<Self> {
        (component.digest == *recorded).then_some(Self(component))
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<Verified<T>> for Accepted<T> {
    fn from(verified: Verified<T>) -> Self {
        Self::Verified(verified)
    }
}
