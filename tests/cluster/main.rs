//! Tests on a real control plane with Flux and registries: `make tools`, then
//! `cargo test --test cluster -- --ignored`.

#[path = "../support/mod.rs"]
mod support;

mod guide;
mod harness;
mod scene;
mod verify;
