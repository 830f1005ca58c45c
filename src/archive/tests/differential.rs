//! 300 archives, most of them odd, compared with how Go's `archive/tar` reads them: Flux, Helm and
//! the original are written in Go, and who reads other files out of an archive than they do deploys
//! something else than what was looked at.
//!
//! What Go makes of them is committed; `tests/fixtures/tar/list.go` says how that is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::oci::Digest;

mod corpus;

/// What Go makes of each archive: name, digest of its bytes, digest of its list or `refused`.
const GO: &str = "tests/fixtures/tar/go.tsv";

/// Where Go reads an archive that is refused here: the kind of archive, and what the refusal says.
/// `docs/security/inputs.md` says of each that it is refused (B01 to B20). All others are read as
/// the same files, or refused by both.
const STRICTER: &[(&str, &str)] = &[
    ("below-a-link", "it lies below a symbolic link"),
    ("changed-byte", "an entry that is no file has a size"),
    ("changed-byte", "the path is not UTF-8"),
    ("gnu-long-name-open", "does not end with its only NUL"),
    ("gnu-sparse", "a sparse file"),
    ("hard-link", "a hard link"),
    (
        "hidden-behind-the-end",
        "something other than zeros follows it",
    ),
    ("other-path", "has a component"),
    ("other-path", "the path is absolute"),
    ("other-path", "the path has a backslash"),
    ("other-path", "the path has a control character"),
    ("other-path", "the path is not UTF-8"),
    ("other-type", "a FIFO"),
    ("other-type", "a device"),
    ("other-type", "of an unknown type"),
    ("pax-empty-path", "a path is empty"),
    ("pax-global-path", "a global header changes paths or sizes"),
    ("pax-malformed", "a record is malformed"),
    ("pax-size-beside-another", "different sizes"),
    ("pax-size-beside-zero", "different sizes"),
    ("pax-sparse", "sparse files are not accepted"),
    ("pax-twice", "two headers of one kind"),
    ("same-path-twice", "an earlier entry has the same path"),
    ("star", "the header is star's"),
    ("symbolic-links", "it leaves the archive"),
    ("symbolic-links", "the target is absolute"),
    ("symbolic-links", "the target is not a plain relative path"),
    ("truncated", "within the padding"),
    ("two-long-names", "two long names"),
];

/// As Go's list: files and directories in their order.
fn listing(archive: &[u8]) -> Result<String> {
    let mut reader = Reader::open(archive, &Limits::default())?;
    let mut listing = String::new();
    while let Some(Entry { path, kind }) = reader.next_entry()? {
        match kind {
            EntryKind::Directory => writeln!(listing, "directory {path}").unwrap(),
            EntryKind::File { size, .. } => {
                let content = reader.read_file(&path)?;
                let digest = Digest::of(content);
                writeln!(listing, "file {path} {size} {}", digest.hex()).unwrap();
            }
        }
    }
    Ok(listing)
}

fn short(content: impl AsRef<[u8]>) -> String {
    Digest::of(content).hex()[..16].to_owned()
}

/// The kind of an archive, without its number.
fn kind(name: &str) -> &str {
    name.rsplit_once('-').unwrap().0
}

#[test]
fn rustsec_2026_0068_cve_2026_33055_archives_are_read_as_go_reads_them_or_refused() {
    let corpus = corpus::all();
    assert_eq!(corpus.len(), 300);
    if let Some(folder) = std::env::var_os("WRITE_ARCHIVES") {
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).unwrap();
        for (name, archive) in &corpus {
            std::fs::write(folder.join(name), archive).unwrap();
        }
    }
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join(GO);
    let table = std::fs::read_to_string(table).unwrap();
    let go: BTreeMap<&str, (&str, &str)> = table
        .lines()
        .map(|line| {
            let mut cells = line.split('\t');
            let mut next = || cells.next().unwrap();
            (next(), (next(), next()))
        })
        .collect();
    let (mut equal, mut stricter) = (0, BTreeSet::new());
    let mut problems = BTreeSet::new();
    for (name, archive) in &corpus {
        let Some((digest, verdict)) = go.get(name.as_str()) else {
            problems.insert(format!("{name} is not in go.tsv"));
            continue;
        };
        if short(archive) != **digest {
            problems.insert(format!("{name} is another one than in go.tsv"));
            continue;
        }
        match listing(archive) {
            Ok(listing) if short(&listing) == **verdict => equal += 1,
            Ok(listing) => _ = problems.insert(format!("{name} is {verdict}, not:\n{listing}")),
            Err(_) if *verdict == "refused" => equal += 1,
            Err(error) => {
                let said = message(&error);
                let known = STRICTER
                    .iter()
                    .find(|(of, part)| *of == kind(name) && said.contains(part));
                match known {
                    Some(known) => _ = stricter.insert(*known),
                    None => _ = problems.insert(format!("(\"{}\", \"{said}\"),", kind(name))),
                }
            }
        }
    }
    let problems = Vec::from_iter(problems);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(stricter, STRICTER.iter().copied().collect());
    assert!(equal > 150, "{equal}");
}
