//! Tests of what is shipped: CRDs, manifests, chart, command line, documents. No cluster, and
//! where a test is ignored it needs a program of `make tools`.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests on a cluster, which use all of it"
)]
#[path = "../support/tools.rs"]
mod tools;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests on a cluster, which use all of it"
)]
#[path = "../support/pod.rs"]
mod pod;

mod archives;
mod command_line;
mod dependencies;
mod disk;
mod document;
mod files;
mod image;
mod installation;
mod manifests;
mod monitoring;
mod running;
mod scrub;
mod security;
mod values;
