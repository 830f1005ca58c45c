//! Tests on a real control plane with Flux and registries: `make tools`, then
//! `cargo test --test cluster -- --ignored`.

#![allow(
    unreachable_pub,
    reason = "a test binary exports nothing; `pub` says what modules share"
)]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod apiserver;
mod budget;
mod certified;
mod component;
mod configuration;
mod conformance;
mod credentials;
mod endpoint;
mod failures;
mod garbage;
mod guide;
mod harness;
mod install;
mod installed;
mod large;
mod leader;
mod lifecycle;
mod outside;
mod pushing;
mod references;
mod release;
mod restarts;
mod rights;
mod scene;
mod secrets;
mod sharing;
mod site;
mod takeover;
mod tenancy;
mod transfer;
mod verify;
mod verify_command;
mod versions;
