//! Hostile and broken registries, scripted in-process on loopback.

mod content;
mod faults;
mod identity;
mod mutated;
mod network;
mod proxy;
mod push;
mod push_faults;
mod push_registry;
mod secrets;
pub(crate) mod server;
