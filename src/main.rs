//! The `ocm-controller` program.
fn main() {}
