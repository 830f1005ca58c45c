//! Delivers Open Component Model components to Flux.
//!
//! The data flows one way, and the modules are listed in that order:
//!
//! ```text
//! component version -> descriptor -> resource -> localization / configuration -> snapshot -> Flux objects
//! ```

pub mod api;
pub mod archive;
pub mod chain;
pub mod cli;
pub mod components;
pub mod controller;
pub mod deploy;
pub mod edit;
pub mod metrics;
pub mod mutation;
pub mod oci;
pub mod ocm;
pub mod pipeline;
pub mod publish;
pub mod registry;
pub mod serve;
pub mod snapshot;
pub mod store;
pub mod telemetry;
