//! The pipeline beside `curl | gunzip | gzip -1` on the same bytes, in turns.
//!
//! Ours does more: it checks the digest, reads the archive entry by entry, changes a file, hashes
//! the result and makes both what it pulled and what it made durable.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use ocm_controller::archive::Limits;
use ocm_controller::components::{Components, Place};
use ocm_controller::edit::Missing;
use ocm_controller::mutation::{RuleName, RulePath, Substitution};
use ocm_controller::ocm::{Accepted, Resource};
use ocm_controller::pipeline::Pipeline;
use ocm_controller::registry::{Credentials, Pool, Settings, Transport};
use ocm_controller::store::Store;
use serde_json::{Value, json};

use crate::say;
use crate::support::made::{COMPONENT, IMAGE, Made, MadeRegistry, Noise, archive};
use crate::support::scratch;

/// Bytes of a resource.
const SIZE: u64 = 512 << 20;

/// Runs of each, of which the median counts.
const RUNS: usize = 5;

/// Measures one resource of words and programs, and one of noise.
pub(crate) async fn measure() -> io::Result<Value> {
    let mut rows = Vec::new();
    say("content      MiB  ours MiB/s  curl|gunzip|gzip -1 MiB/s  ratio");
    for (name, is_noise) in [("mixed", false), ("noise", true)] {
        let made = tokio::task::spawn_blocking(move || packed(is_noise))
            .await
            .map_err(io::Error::other)??;
        let registry = MadeRegistry::start(made).await;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let our = pipeline(&registry.url()).await?;
            let their = pipe(registry.blob_url().to_owned()).await?;
            ours.push(our);
            theirs.push(their);
            ratios.push(their / our);
        }
        let rate = |seconds: &[f64]| (SIZE >> 20) as f64 / median(seconds);
        let (our, their, ratio) = (rate(&ours), rate(&theirs), median(&ratios));
        say(&format!(
            "{name:<10} {:>5} {our:>11.0} {their:>26.0} {ratio:>6.2}",
            SIZE >> 20
        ));
        rows.push(
            json!({"content": name, "bytes": SIZE, "seconds": ours, "pipe_seconds": theirs,
            "mebibytes_a_second": our, "pipe_mebibytes_a_second": their, "ratio": ratio}),
        );
    }
    Ok(json!({"rows": rows}))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A tar and gzip in a file, packed by gzip itself: noise, or noise with words between.
fn packed(is_noise: bool) -> io::Result<Made> {
    let path = scratch::folder("packed").join("archive.tgz");
    let mut gzip = Command::new("gzip")
        .arg("-6")
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&path)?)
        .spawn()?;
    let mut input = gzip.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    if is_noise {
        io::copy(&mut archive(SIZE, Noise::new(1)), &mut input)?;
    } else {
        io::copy(&mut archive(SIZE, Words::new()), &mut input)?;
    }
    drop(input);
    gzip.wait()?;
    Made::new(Arc::new(move || {
        Box::new(std::fs::File::open(&path).expect("the file that was just written"))
    }))
}

/// Text that compresses as manifests do, with noise in every fourth part.
struct Words {
    noise: Noise,
    random: fastrand::Rng,
    made: Vec<u8>,
    taken: usize,
    part: usize,
}

impl Words {
    fn new() -> Self {
        Self {
            noise: Noise::new(2),
            random: fastrand::Rng::with_seed(3),
            made: Vec::new(),
            taken: 0,
            part: 0,
        }
    }

    fn make(&mut self) -> io::Result<()> {
        const PART: usize = 64 << 10;
        self.part += 1;
        self.taken = 0;
        self.made.clear();
        if self.part.is_multiple_of(4) {
            self.made.resize(PART, 0);
            return io::Read::read_exact(&mut self.noise, &mut self.made);
        }
        while self.made.len() < PART {
            let (key, value) = (self.random.u16(..2_000), self.random.u32(..));
            writeln!(
                self.made,
                "  - name: field-{key}\n    value: {value:x} # kept as it is"
            )?;
        }
        Ok(())
    }
}

impl io::Read for Words {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.made.len() {
            self.make()?;
        }
        let count = buffer.len().min(self.made.len() - self.taken);
        buffer[..count].copy_from_slice(&self.made[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}

/// Pulls, checks, stores, rewrites and stores again, into an empty store; the seconds.
async fn pipeline(url: &str) -> io::Result<f64> {
    let folder = scratch::folder("store");
    let store = Store::open(&folder).map_err(io::Error::other)?;
    let settings = Settings {
        allow_loopback: true,
        ..Settings::default()
    };
    let transport = Transport::new(settings).map_err(io::Error::other)?;
    let components = Components::new(Pool::new(transport), store.clone());
    let pipeline = Pipeline::new(components.clone(), store, Limits::default());
    let place = Place {
        repository: url.parse().map_err(io::Error::other)?,
        credentials: Arc::new(Credentials::default()),
        namespace: "bench".parse().map_err(io::Error::other)?,
        holder: "bench".to_owned(),
        archive: None,
    };
    let name = COMPONENT.parse().map_err(io::Error::other)?;
    let version = "1.0.0".parse().map_err(io::Error::other)?;
    let digest = components
        .resolve(&place, &name, &version)
        .await
        .map_err(io::Error::other)?;
    let component = components
        .read(&place, &name, &version, &digest)
        .await
        .map_err(io::Error::other)?;
    let component = Accepted::NotAsked(component);
    let is_wanted = |resource: &&Resource| resource.name == "deployment";
    let resource = component.descriptor.resources.iter().find(is_wanted);
    let resource = resource.ok_or(io::ErrorKind::NotFound)?;
    let begun = Instant::now();
    let layer = pipeline
        .resource(&place, &component, resource)
        .await
        .map_err(io::Error::other)?;
    let image = Substitution {
        rule: RuleName::new("localization", 0, None),
        file: RulePath::parse("deployment.yaml").ok_or(io::ErrorKind::InvalidInput)?,
        path: "spec.template.spec.containers[0].image".to_owned(),
        value: json!(IMAGE),
        missing: Missing::Refuse,
    };
    pipeline
        .substitute(&place.namespace, &layer, vec![image])
        .await
        .map_err(io::Error::other)?;
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_dir_all(folder)?;
    Ok(seconds)
}

/// The same bytes through the usual programs, into a file; the seconds.
async fn pipe(url: String) -> io::Result<f64> {
    let file = scratch::folder("pipe").join("result.tgz");
    let line = format!("curl -sS '{url}' | gunzip | gzip -1 > {}", file.display());
    let begun = Instant::now();
    let status = tokio::process::Command::new("sh")
        .args(["-c", &line])
        .status()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    std::fs::remove_file(file)?;
    if !status.success() {
        return Err(io::Error::other(format!("{line}: {status}")));
    }
    Ok(seconds)
}
