//! Who is told how far a transfer is.

/// Told of each piece of content that is on its way.
pub trait Progress: Send + Sync {
    /// Something is moved now: a component version, an image.
    fn begin(&self, what: &str);

    /// So many more bytes were sent.
    fn sent(&self, bytes: u64);

    /// All is done.
    fn end(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str) {}
    fn sent(&self, _: u64) {}
    fn end(&self) {}
}
