//! What is packed: the order of the source, one form of headers, the same bytes every time.

use std::collections::BTreeSet;
use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::archive::{
    EntryPath, Layout, Rewrite, RewriteError, Rewritten, normalize, pack_single_file, rewrite,
};
use crate::oci::Digest;

/// Appends a line to the files it is made with.
struct Append(&'static [&'static str]);

#[derive(Debug, thiserror::Error)]
#[error("no such key")]
struct NoSuchKey;

impl Rewrite for Append {
    type Error = NoSuchKey;

    fn wants(&mut self, path: &EntryPath) -> bool {
        self.0.contains(&path.as_str())
    }

    fn rewrite(&mut self, path: &EntryPath, mut content: Vec<u8>) -> Result<Vec<u8>, NoSuchKey> {
        if path.file_name() == "refused.yaml" {
            return Err(NoSuchKey);
        }
        content.extend_from_slice(b"appended: true\n");
        Ok(content)
    }
}

fn normalized(archive: &[u8], layout: &Layout) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    normalize(archive, &mut packed, &Limits::default(), layout)?;
    Ok(packed)
}

fn path(text: &str) -> EntryPath {
    text.parse().unwrap()
}

/// Name, mode, and everything else that is to be the same for all entries.
fn headers(packed: &[u8]) -> Vec<(String, u32)> {
    let unpacked = gunzip(packed);
    let mut archive = tar::Archive::new(&*unpacked);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!(header.username().unwrap(), Some(""));
        assert_eq!(header.groupname().unwrap(), Some(""));
        assert!(header.as_ustar().is_some());
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (name, header.mode().unwrap())
    });
    entries.collect()
}

#[test]
fn b09_b21_modes_owners_and_times_are_normalised() {
    let times: [&[u8; 12]; 4] = [
        b"77777777777\0",
        b"-0000000001\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7e\x00\x00\x00",
        b"not a number",
    ];
    let with = |mode: &'static [u8], time: &'static [u8; 12]| {
        let set = move |header: &mut archive_builder::Block| {
            header[100..107].copy_from_slice(mode);
            header[136..148].copy_from_slice(time);
        };
        ArchiveBuilder::new()
            .patched("d/", b'5', b"", set)
            .patched("d/x", b'0', b"content", set)
            .end()
    };
    let plain = normalized(&with(b"0000600", times[0]), &Layout::Keep).unwrap();
    assert_eq!(
        headers(&plain),
        [("d/".into(), 0o755), ("d/x".into(), 0o644)]
    );
    for time in times {
        for mode in [&b"0000000"[..], b"0006666", b"0001622"] {
            assert!(normalized(&with(mode, time), &Layout::Keep).unwrap() == plain);
        }
        let executable = normalized(&with(b"0004711", time), &Layout::Keep).unwrap();
        assert_eq!(headers(&executable)[1], ("d/x".into(), 0o755));
    }
}

#[test]
fn wanted_files_are_rewritten_and_the_others_copied_in_their_order() {
    let archive = ArchiveBuilder::new()
        .file("z.yaml", b"z: 1\n")
        .symlink("latest", "z.yaml")
        .file("./a.yaml", b"a: 1\n")
        .file("m.yaml", b"m: 1\n")
        .end();
    let mut packed = Vec::new();
    let rewritten = rewrite(
        &*gzip(&archive),
        &mut packed,
        &Limits::default(),
        &Layout::Keep,
        &mut Append(&["a.yaml", "absent.yaml"]),
    )
    .unwrap();
    let expected = [
        ("z.yaml", "z: 1\n"),
        ("a.yaml", "a: 1\nappended: true\n"),
        ("m.yaml", "m: 1\n"),
    ];
    let expected = expected.map(|(name, content)| (name.to_owned(), content.into()));
    assert_eq!(contents(&packed), expected);
    let unpacked = gunzip(&packed);
    let expected = Rewritten {
        entries: 3,
        dropped_links: 1,
        rewritten_files: 1,
        unpacked_bytes: unpacked.len() as u64,
    };
    assert_eq!(rewritten, expected);
}

#[test]
fn file_that_the_rewriter_refuses_is_named() {
    let archive = ArchiveBuilder::new().file("d/refused.yaml", b"").end();
    let mut rewriter = Append(&["d/refused.yaml"]);
    let limits = Limits::default();
    let result = rewrite(&*archive, io::sink(), &limits, &Layout::Keep, &mut rewriter);
    let Err(RewriteError::RewriteFile { path, source }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(
        (path.as_str(), source.to_string().as_str()),
        ("d/refused.yaml", "no such key")
    );
}

#[test]
fn only_a_wanted_file_has_to_fit_into_memory() {
    let archive = ArchiveBuilder::new().file("a.yaml", &[b' '; 101]).end();
    let limits = Limits {
        file_bytes: 100,
        ..Limits::default()
    };
    let attempt = |wanted| {
        rewrite(
            &*archive,
            io::sink(),
            &limits,
            &Layout::Keep,
            &mut Append(wanted),
        )
        .map(|rewritten| rewritten.entries)
        .map_err(|error| error.to_string())
    };
    assert_eq!(attempt(&[]), Ok(1));
    assert!(attempt(&["a.yaml"]).unwrap_err().contains("100 bytes"));
}

#[test]
fn everything_moves_below_a_folder() {
    let packed = normalized(&harmless(), &Layout::Below(path("top"))).unwrap();
    let expected = [
        "top/",
        "top/manifests/",
        "top/manifests/deploy.yaml",
        "top/readme.txt",
    ];
    assert_eq!(list(&packed).unwrap(), expected);
}

#[test]
fn chart_is_packed_under_its_name() {
    let chart = ArchiveBuilder::new()
        .file("._wrong", b"")
        .directory("./wrong/")
        .file("./wrong/Chart.yaml", b"name: chart\n")
        .file("./wrong/templates/wrong/x.yaml", b"")
        .end();
    let layout = Layout::RenameTop(path("chart"));
    let packed = normalized(&chart, &layout).unwrap();
    let expected = ["chart/", "chart/Chart.yaml", "chart/templates/wrong/x.yaml"];
    assert_eq!(list(&packed).unwrap(), expected);
    assert!(normalized(&packed, &layout).unwrap() == packed);
}

#[test]
fn chart_with_something_beside_its_folder_is_refused() {
    let layout = Layout::RenameTop(path("chart"));
    let beside = [
        ArchiveBuilder::new().file("a/x", b"").file("b/x", b""),
        ArchiveBuilder::new().file("a/x", b"").directory("b"),
        ArchiveBuilder::new()
            .file("a/x", b"")
            .file("readme.txt", b""),
        ArchiveBuilder::new().file("Chart.yaml", b""),
    ];
    for archive in beside {
        let error = normalized(&archive.end(), &layout).unwrap_err();
        assert!(matches!(error, Error::RenameTop { .. }), "{error:?}");
    }
}

#[test]
fn folder_that_makes_a_path_too_long_is_refused() {
    let deep = ArchiveBuilder::new()
        .file(vec!["d"; 49].join("/"), b"")
        .end();
    let folder = |depth| Layout::Below(path(&vec!["f"; depth].join("/")));
    assert!(normalized(&deep, &folder(15)).is_ok());
    assert!(normalized(&deep, &folder(16)).is_err());
}

#[test]
fn plain_file_is_packed_as_an_archive_would_be() {
    let content = b"kind: Deployment\n";
    let mut packed = Vec::new();
    let limits = Limits {
        file_bytes: content.len() as u64,
        ..Limits::default()
    };
    let name = path("deploy.yaml");
    pack_single_file(&name, &content[..], &mut packed, &limits).unwrap();
    let archive = ArchiveBuilder::new().file("deploy.yaml", content).end();
    assert!(normalized(&archive, &Layout::Keep).unwrap() == packed);
    let too_large = pack_single_file(&name, &b"18 characters here"[..], io::sink(), &limits);
    assert!(
        matches!(too_large, Err(Error::HoldFile { .. })),
        "{too_large:?}"
    );
}

#[test]
fn failing_sink_is_named() {
    let mut no_room = [0; 10];
    let result = normalize(
        &*harmless(),
        &mut no_room[..],
        &Limits::default(),
        &Layout::Keep,
    );
    assert!(matches!(result, Err(Error::Write { .. })), "{result:?}");
}

/// The digest that users see. A change of it rolls out every mutated resource of every user once:
/// it may come with a release that says so, never by an upgrade of a dependency.
#[test]
fn packed_bytes_are_the_same_in_every_build() {
    let mut number = 1_u32;
    let text = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("key-{}: value\n", number >> 16)
    });
    let large: String = text.take(20_000).collect();
    let archive = ArchiveBuilder::new()
        .directory("manifests/")
        .file("manifests/large.yaml", large.as_bytes())
        .pax(
            b'x',
            &[("path", &format!("{}/gr\u{fc}n", "long/".repeat(30)))],
        )
        .file("short", b"content\n")
        .end();
    let packed = normalized(&archive, &Layout::Keep).unwrap();
    assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
    assert_eq!(
        Digest::of(gunzip(&packed)).to_string(),
        "sha256:98dc5bc609663a07352e1565a65ec9975e8fe85a3e64e2d1093f109e84324144"
    );
    assert_eq!(
        Digest::of(&packed).to_string(),
        "sha256:cc585bd40e06acbc23ab93f0fbc562eb3e487fe15ef822e228fb3fdfb7ff9af4"
    );
}

#[test]
fn bytes_do_not_depend_on_how_the_source_arrives() {
    /// Gives one to seven bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 7 + 1;
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }
    let content: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| (number * number).to_le_bytes())
        .collect();
    let archive = ArchiveBuilder::new()
        .file("a", &content)
        .file("b", &content)
        .end();
    let expected = normalized(&archive, &Layout::Keep).unwrap();
    for source in [archive.clone(), gzip(&archive), zstd_compress(&archive)] {
        let mut packed = Vec::new();
        normalize(
            Trickle(&source, 0),
            &mut packed,
            &Limits::default(),
            &Layout::Keep,
        )
        .unwrap();
        assert!(packed == expected);
    }
}

/// A file, or a directory where there is no content.
type Model = (String, Option<Vec<u8>>);

/// Entries that do not conflict, in any order, with names of all lengths and scripts.
fn entries() -> impl Strategy<Value = Vec<Model>> {
    let component = prop_oneof![
        4 => "[a-c]{1,2}",
        1 => "[a-zA-Z0-9._ -]{1,20}x",
        1 => "\\PC{1,40}x".prop_filter("not a plain name", |name| !name.contains(['/', '\\', ':'])),
        1 => "[a-z]{90,110}",
    ];
    let path = prop::collection::vec(component, 1..5).prop_map(|parts| parts.join("/"));
    let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..1_500));
    prop::collection::vec((path, content), 0..12).prop_map(without_conflicts)
}

fn without_conflicts(entries: Vec<Model>) -> Vec<Model> {
    let mut used = BTreeSet::new();
    let mut files: Vec<String> = Vec::new();
    let mut kept = Vec::new();
    for (path, content) in entries {
        let is_below_a_file = files
            .iter()
            .any(|file| path.starts_with(&format!("{file}/")));
        let is_a_parent = used
            .iter()
            .any(|other: &String| other.starts_with(&format!("{path}/")));
        let conflicts = is_below_a_file || (content.is_some() && is_a_parent);
        if conflicts || !used.insert(path.clone()) {
            continue;
        }
        if content.is_some() {
            files.push(path.clone());
        }
        kept.push((path, content));
    }
    kept
}

/// Packs by the tar crate, in the format of GNU tar.
fn pack(entries: &[Model]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        let content = content.as_deref();
        header.set_entry_type(match content {
            Some(_) => tar::EntryType::Regular,
            None => tar::EntryType::Directory,
        });
        let content = content.unwrap_or_default();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, path, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Unpacks by the tar crate.
fn unpack(packed: &[u8]) -> Vec<Model> {
    let unpacked = gunzip(packed);
    let mut archive = tar::Archive::new(&*unpacked);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if entry.header().entry_type().is_dir() {
            return (path.strip_suffix('/').unwrap().to_owned(), None);
        }
        (path, Some(content))
    });
    entries.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn other_implementations_read_what_other_implementations_wrote(entries in entries()) {
        let source = pack(&entries);
        let packed = normalized(&source, &Layout::Keep).unwrap();
        prop_assert_eq!(unpack(&packed), entries);
        headers(&packed);
    }

    #[test]
    fn packing_again_changes_nothing(entries in entries()) {
        let once = normalized(&pack(&entries), &Layout::Keep).unwrap();
        prop_assert!(normalized(&once, &Layout::Keep).unwrap() == once);
    }

    #[test]
    fn damage_never_panics(
        entries in entries(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut source = pack(&entries);
        for (position, byte) in changes {
            let position = position.index(source.len());
            source[position] = byte;
        }
        // Whatever is accepted is in a form that is accepted again, and stays.
        if let Ok(once) = normalized(&source, &Layout::Keep) {
            prop_assert!(normalized(&once, &Layout::Keep).unwrap() == once);
        }
    }
}

/// Set for the process in which the peak of memory is measured, so that no other test adds to it.
#[cfg(target_os = "linux")]
const MEASURED_ALONE: &str = "ARCHIVE_TEST_MEASURES_MEMORY";

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_content() {
    const NAME: &str = "memory_does_not_grow_with_the_content";
    if std::env::var_os(MEASURED_ALONE).is_some() {
        return rewrite_half_a_gibibyte();
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{NAME}"), "--test-threads=1"])
        .env(MEASURED_ALONE, "yes")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[cfg(target_os = "linux")]
fn rewrite_half_a_gibibyte() {
    const SIZE: u64 = 512 << 20;
    const BOUND_KIB: u64 = 32 << 10;
    let header = ArchiveBuilder::new().patched("large", b'0', b"", |header| {
        let size = format!("{SIZE:011o}\0");
        header[124..136].copy_from_slice(size.as_bytes());
    });
    let before = peak_kib();
    let header = header.without_end();
    let source = header.chain(io::repeat(b'c').take(SIZE));
    let result = normalize(source, io::sink(), &Limits::default(), &Layout::Keep).unwrap();
    assert_eq!(result.unpacked_bytes, SIZE + 512 + 1024);
    let grown = peak_kib() - before;
    assert!(grown < BOUND_KIB, "the peak grew by {grown} KiB");
}

#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
