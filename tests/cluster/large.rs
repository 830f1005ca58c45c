//! Memory of the controller does not grow with what it localizes.

use std::time::Duration;

use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::large::{crds, install, localize};
use crate::support::made::{Made, MadeRegistry};
use crate::support::usage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ocm-controller");

/// What a large resource may take more than a small one.
const SLOPE: u64 = 4 << 20;

/// What the controller may have at its peak.
const PEAK: u64 = 64 << 20;

/// Nothing here is optimised, so it takes its time.
const TIMEOUT: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the tools of `make tools`"]
async fn f36_cve_2022_36049_peak_of_memory_is_the_same_for_a_resource_forty_times_as_large() {
    let cluster = Cluster::start(Options {
        flux: Flux::None,
        crds: crds(),
        ..Options::default()
    })
    .await;
    install(&cluster).await;
    let options = ControllerOptions {
        token: cluster
            .service_account_token("ocm-system", "ocm-controller")
            .await,
        ..ControllerOptions::default()
    };
    let mut controller = Controller::start(&cluster, PROGRAM, options).await;
    let mut peaks = Vec::new();
    for mebibytes in [6, 256] {
        let made = Made::noise(mebibytes << 20, mebibytes).unwrap();
        let registry = MadeRegistry::start(made).await;
        localize(&cluster, &registry.url(), TIMEOUT).await;
        peaks.push(usage::peak_memory(controller.process().id()));
    }
    let [small, large] = peaks[..] else {
        panic!("two were measured");
    };
    assert!(large <= small + SLOPE, "{small} bytes, then {large}");
    assert!(large <= PEAK, "{large} bytes");
}
