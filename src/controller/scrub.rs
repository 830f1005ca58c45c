//! All content of the store is read again within an interval, a little at a time, to find what has
//! rotted on the disk. What is damaged is set aside, and made again for those who need it.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::context::Context;
use super::garbage::{self, blocking};
use crate::chain::chain;

/// How much is read at once, in bytes.
const STEP: u64 = 1 << 20;

/// There are at least so many steps in an interval, so that what came into a small store is not
/// left out for long.
const LEAST_STEPS: u32 = 24;

/// How often is looked whether others are done.
const LOOK: Duration = Duration::from_secs(1);

/// Reads all content again every `interval`, until `shutdown`. To be begun once all caches are
/// filled.
pub(super) async fn run(context: Arc<Context>, interval: Duration, shutdown: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(failure) = read_all(&context, interval).await {
                warn!(error = chain(&failure), "failed to scrub the content store");
                sleep(interval / LEAST_STEPS).await;
            }
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn read_all(context: &Context, interval: Duration) -> Result<(), garbage::Error> {
    let store = context.pipeline.store().clone();
    let (mut rereading, pace) = blocking(move || {
        let cost = store.reread_cost()?;
        // Where a process is started anew more often than it gets to the end, all is read as well.
        let rereading = store.reread(fastrand::usize(..))?;
        Ok((rereading, Pace { interval, cost }))
    })
    .await?;
    let (mut bytes, mut damaged) = (0, 0);
    loop {
        // Before the first step as well: a start has better things to do.
        sleep(pace.pause()).await;
        let mut waited = Duration::ZERO;
        while pace.yields(waited, !context.work.is_idle()) {
            sleep(LOOK).await;
            waited += LOOK;
        }
        let (back, step) = blocking(move || {
            let step = rereading.step(STEP)?;
            Ok((rereading, step))
        })
        .await?;
        rereading = back;
        bytes += step.bytes;
        damaged += step.damaged.len();
        if !step.damaged.is_empty() {
            wake_snapshots(context);
        }
        if step.is_done {
            info!(bytes, damaged, "scrubbed the content store");
            return Ok(());
        }
    }
}

/// Has every Snapshot look whether its content is there. There are few reasons to.
fn wake_snapshots(context: &Context) {
    for snapshot in context.caches.snapshots.state() {
        let namespace = snapshot.namespace().unwrap_or_default();
        context
            .queues
            .snapshots
            .push(&namespace, &snapshot.name_any());
    }
}

/// How fast is read.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The time for all of it.
    interval: Duration,
    /// All of it, as steps count it.
    cost: u64,
}

impl Pace {
    /// The time between two steps.
    fn pause(&self) -> Duration {
        let nanos = self.interval.as_nanos() * u128::from(STEP) / u128::from(self.cost.max(1));
        let pause = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        pause.min(self.interval / LEAST_STEPS)
    }

    /// Whether a step that has `waited` goes on to do so while there `is_load`: for no longer than
    /// the pause again, so that all is read within twice the interval whatever happens.
    fn yields(&self, waited: Duration, is_load: bool) -> bool {
        is_load && waited < self.pause()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::store::Store;

    const DAY: Duration = Duration::from_hours(24);

    /// Reads all of `store` again at the pace of a day, by a clock that only the pauses move; gives
    /// the time at each step, and how much was read by then.
    fn scrub(store: &Store) -> Vec<(Duration, u64)> {
        let pace = Pace {
            interval: DAY,
            cost: store.reread_cost().unwrap(),
        };
        let mut rereading = store.reread(7).unwrap();
        let (mut clock, mut steps) = (Duration::ZERO, Vec::new());
        loop {
            clock += pace.pause();
            let step = rereading.step(STEP).unwrap();
            assert_eq!(step.damaged, []);
            steps.push((clock, store.statistics().reread_bytes));
            if step.is_done {
                return steps;
            }
        }
    }

    fn put(store: &Store, content: &[u8]) {
        let mut writer = store.writer().unwrap();
        writer.write_all(content).unwrap();
        writer.commit().unwrap();
    }

    #[test]
    fn all_is_read_evenly_within_the_interval_and_nothing_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let sizes = [5 << 20, 20 << 20, 11 << 20, 1, 0];
        for (number, size) in sizes.into_iter().enumerate() {
            put(&store, &vec![u8::try_from(number).unwrap(); size]);
        }
        let total = sizes.iter().sum::<usize>() as u64;
        let steps = scrub(&store);
        assert!(steps[0].0 > DAY / 40, "it begins at once: {:?}", steps[0]);
        let mut before = 0;
        for (_, bytes) in &steps {
            assert!(bytes - before < STEP + (64 << 10), "{before} to {bytes}");
            before = *bytes;
        }
        let (end, bytes) = steps[steps.len() - 1];
        assert_eq!(bytes, total);
        assert_eq!(store.statistics().rereads, 1);
        assert!(end > DAY / 10 * 9 && end < DAY / 10 * 11, "{end:?}");
    }

    #[test]
    fn small_content_is_read_a_few_files_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for number in 0..600 {
            put(&store, format!("content {number}").as_bytes());
        }
        let steps = scrub(&store);
        assert!(steps.len() > 2, "{steps:?}");
        assert_eq!(
            scrub(&Store::open(tempfile::tempdir().unwrap().path()).unwrap()).len(),
            1
        );
    }

    #[test]
    fn load_is_yielded_to_for_no_longer_than_a_pause() {
        let pace = Pace {
            interval: DAY,
            cost: 10 << 30,
        };
        let pause = pace.pause();
        assert_eq!(pause.as_millis(), 8_437);
        assert!(pace.yields(Duration::ZERO, true));
        assert!(!pace.yields(Duration::ZERO, false));
        assert!(!pace.yields(pause, true));
    }
}
