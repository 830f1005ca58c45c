//! How substitution grows with rules, files and bytes.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ocm_controller::edit::Missing;
use ocm_controller::mutation::{RuleName, RulePath, Settings, Substitution, substitute};
use serde_json::{Value, json};

/// Rules and files of each run: the slope is what matters.
const SIZES: [(u32, u32); 4] = [(1_250, 125), (2_500, 250), (5_000, 500), (10_000, 1_000)];

/// Megabytes that flow around one manifest.
const FILLING: [u32; 3] = [64, 256, 512];

/// Prints a table and gives the same as JSON.
pub(crate) fn measure() -> io::Result<Value> {
    let mut output = io::stdout();
    let mut rows = Vec::new();
    writeln!(
        output,
        "{:>8} {:>6} {:>10} {:>12}",
        "rules", "files", "seconds", "µs a rule"
    )?;
    for (rules, files) in SIZES {
        let took = substitution(rules, files)?;
        let each = took.as_secs_f64() * 1e6 / f64::from(rules);
        writeln!(
            output,
            "{rules:>8} {files:>6} {:>10.3} {each:>12.1}",
            took.as_secs_f64()
        )?;
        rows.push(json!({"rules": rules, "files": files, "seconds": took.as_secs_f64()}));
    }
    writeln!(
        output,
        "\n{:>8} {:>10} {:>12}",
        "MiB", "seconds", "MiB a second"
    )?;
    for size in FILLING {
        let took = flow(size)?;
        let rate = f64::from(size) / took.as_secs_f64();
        writeln!(
            output,
            "{size:>8} {:>10.3} {rate:>12.0}",
            took.as_secs_f64()
        )?;
        rows.push(json!({"mebibytes": size, "seconds": took.as_secs_f64()}));
    }
    Ok(json!({"rows": rows}))
}

/// Changes `rules` values in an archive of `files` manifests.
fn substitution(rules: u32, files: u32) -> io::Result<Duration> {
    let manifest = manifest();
    let mut builder = tar::Builder::new(Vec::new());
    for file in 0..files {
        append(&mut builder, &format!("{file}.yaml"), manifest.as_bytes())?;
    }
    let archive = builder.into_inner()?;
    let substitutions: Vec<Substitution> = (0..rules)
        .map(|rule| one(rule, &format!("{}.yaml", rule % files), rule / files))
        .collect();
    run(archive.as_slice(), &substitutions)
}

/// Changes one value in an archive that is otherwise `mebibytes` of something else.
fn flow(mebibytes: u32) -> io::Result<Duration> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "deploy.yaml", manifest().as_bytes())?;
    let manifest = builder.into_inner()?;
    let entry = &manifest[..manifest.len() - 1_024];
    let size = u64::from(mebibytes) << 20;
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_path("filling.bin")?;
    header.set_cksum();
    let source = entry
        .chain(header.as_bytes().as_slice())
        .chain(Filling(0).take(size));
    run(
        source.chain([0; 1_024].as_slice()),
        &[one(0, "deploy.yaml", 0)],
    )
}

fn run(source: impl Read, substitutions: &[Substitution]) -> io::Result<Duration> {
    let begun = Instant::now();
    substitute(source, substitutions, &Settings::default(), io::sink())
        .map_err(io::Error::other)?;
    Ok(begun.elapsed())
}

fn one(rule: u32, file: &str, field: u32) -> Substitution {
    Substitution {
        rule: RuleName::new("localization", rule as usize, None),
        file: RulePath::parse(file).expect("a path inside the archive"),
        path: format!("spec.fields[{field}].image"),
        value: json!(format!("registry.example.org/app:{rule}")),
        missing: Missing::Refuse,
    }
}

fn manifest() -> String {
    (0..10).fold(
        "kind: Example\nspec:\n  fields:\n".to_owned(),
        |text, field| {
            text + &format!(
                "  - name: field-{field} # kept\n    image: app:{field}\n    ports: [80, 443]\n"
            )
        },
    )
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, content)
}

/// Bytes that compress about as badly as programs do.
struct Filling(u64);

impl Read for Filling {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for (at, byte) in buffer.iter_mut().enumerate() {
            if at % 2 == 0 {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
            }
            *byte = (self.0 >> 56) as u8;
        }
        Ok(buffer.len())
    }
}
