//! Delivers Open Component Model components to Flux.
//!
//! The data flows one way:
//!
//! ```text
//! component version -> descriptor -> resource -> localization / configuration -> snapshot -> Flux objects
//! ```
//!
//! `oci`, `ocm`, `edit`, `archive`, `mutation`, `snapshot` and `deploy` are the core: values and
//! bytes in, values and bytes out. `registry`, `repository`, `remote`, `transfer`, `store`, `serve`,
//! `components`, `publish` and `pipeline` do input and output and know nothing of Kubernetes.
//! `controller` is the shell: it reads the cluster, calls the others, and writes the cluster. `cli`
//! starts it.

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
pub mod remote;
pub mod repository;
pub mod serve;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod transfer;
