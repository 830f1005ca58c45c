//! The program's HTTP servers: the pull side of the OCI distribution API, health and metrics.
//!
//! [`distribution`] is what Flux pulls from, [`admin`] what Kubernetes and Prometheus ask, and
//! [`listen`] puts either behind a socket with bounds on everything a client can hold open.
//! [`access`] holds the certificate and the keys by which pulls are let in.

pub mod access;
pub mod admin;
pub mod certificate;
pub mod distribution;
pub mod pull;

mod error;
mod listen;
mod pace;
mod range;
mod standby;

pub use listen::{Acceptor, Limits, Plain, Refusals, listen};
pub use standby::while_serving;
