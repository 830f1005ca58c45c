//! Hostile and broken registries, scripted in-process on loopback.

mod content;
mod faults;
mod identity;
mod network;
mod secrets;
mod server;
