//! Tests on a real control plane with Flux and registries: `make tools`, then
//! `cargo test --test cluster -- --ignored`.

#[path = "../support/mod.rs"]
mod support;

mod configuration;
mod component;
mod failures;
mod guide;
mod harness;
mod lifecycle;
mod scene;
mod site;
