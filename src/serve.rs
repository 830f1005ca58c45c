//! The program's HTTP servers: the pull side of the OCI distribution API, health and metrics.
//!
//! [`distribution`] is what Flux pulls from, [`admin`] what Kubernetes and Prometheus ask, and
//! [`listen`] puts either behind a socket with bounds on everything a client can hold open.

pub mod admin;
pub mod distribution;

mod error;
mod listen;
mod pace;
mod range;
mod standby;

pub use listen::{Acceptor, Limits, Plain, listen};
pub use standby::while_serving;
