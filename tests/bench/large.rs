//! Six gibibytes through sixty-four mebibytes: a whole chain on a real API server, the controller in
//! a group of processes that may have no more memory than that.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::large::{Bound, crds, install, localize};
use crate::support::made::{Made, MadeRegistry};
use crate::support::usage;
use crate::{PROGRAM, say};

const LIMIT: u64 = 64 << 20;

/// Bytes of the small resource and of the large one.
const SIZES: [u64; 2] = [6 << 20, 6 << 30];

const TIMEOUT: Duration = Duration::from_hours(1);

/// Localizes both, one after the other.
pub(crate) async fn measure() -> io::Result<Value> {
    let cluster = Cluster::start(Options {
        flux: Flux::None,
        crds: crds(),
        ..Options::default()
    })
    .await;
    install(&cluster).await;
    let bound = Bound::new(LIMIT).inspect_err(|error| {
        say(&format!(
            "no bound of memory, so only the peak is told: {error}"
        ));
    });
    let program = bound
        .as_ref()
        .map_or(PROGRAM.to_owned(), |bound| bound.starter(PROGRAM));
    let options = ControllerOptions {
        token: cluster
            .service_account_token("ocm-system", "ocm-controller")
            .await,
        ..ControllerOptions::default()
    };
    let mut controller = Controller::start(&cluster, &program, options).await;
    let mut rows = Vec::new();
    let mut peaks = Vec::new();
    for size in SIZES {
        let made = tokio::task::spawn_blocking(move || Made::noise(size, size))
            .await
            .map_err(io::Error::other)??;
        let packed = made.size();
        let registry = MadeRegistry::start(made).await;
        let begun = Instant::now();
        localize(&cluster, &registry.url(), TIMEOUT).await;
        let seconds = begun.elapsed().as_secs_f64();
        let peak = usage::peak_memory(controller.process().id());
        let processor = usage::processor_time(controller.process().id()).as_secs_f64();
        say(&format!(
            "{size:>12} bytes: ready after {seconds:.1} s, peak {:.1} MiB",
            peak as f64 / f64::from(1 << 20)
        ));
        peaks.push(peak);
        rows.push(
            json!({"bytes": size, "packed_bytes": packed, "seconds": seconds,
            "peak_resident_bytes": peak, "processor_seconds_so_far": processor, "ended": "Ready"}),
        );
    }
    let slope = peaks[1].saturating_sub(peaks[0]);
    let group = bound.as_ref().ok().map(|bound| {
        let (refused, most) = bound.usage();
        json!({"limit_bytes": LIMIT, "most_bytes": most, "times_reclaimed": refused})
    });
    controller.stop().await;
    say(&format!("slope {slope} bytes"));
    Ok(json!({"rows": rows, "slope_bytes": slope, "memory_group": group}))
}
