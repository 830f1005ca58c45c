//! What is found by a look at content, and what a look leaves of it.

use std::io::Read as _;

use super::*;
use crate::archive::{Compression, Content, Kind, check, copy_checked, find_file, inspect};

#[test]
fn content_is_told_apart_and_stays_whole() {
    let archive = harmless();
    let cases = [
        (archive.clone(), Compression::None, Content::Tar),
        (gzip(&archive), Compression::Gzip, Content::Tar),
        (zstd_compress(&archive), Compression::Zstd, Content::Tar),
        (b"a: 1\n".to_vec(), Compression::None, Content::Text),
        (gzip(b"a: 1\n"), Compression::Gzip, Content::Text),
        (vec![], Compression::None, Content::Empty),
        (gzip(b""), Compression::Gzip, Content::Empty),
        (vec![0xff; 600], Compression::None, Content::Other),
        (b"a: 1\0".to_vec(), Compression::None, Content::Other),
        (vec![0x1f, 0x8b, 8], Compression::Gzip, Content::Other),
        (
            b"PK\x03\x04".to_vec(),
            Compression::Zip,
            Content::Packed(Compression::Zip),
        ),
        (
            gzip(&gzip(&archive)),
            Compression::Gzip,
            Content::Packed(Compression::Gzip),
        ),
    ];
    for (bytes, compression, content) in cases {
        let mut inspected = inspect(&*bytes, &Limits::default()).unwrap();
        let expected = Kind {
            compression,
            content,
        };
        assert_eq!(inspected.kind, expected);
        let mut whole = Vec::new();
        inspected.source.read_to_end(&mut whole).unwrap();
        assert_eq!(whole, bytes);
    }
}

#[test]
fn content_longer_than_the_look_stays_whole() {
    let archive = ArchiveBuilder::new()
        .file("x", &vec![b'c'; 600 << 10])
        .end();
    let mut inspected = inspect(&*archive, &Limits::default()).unwrap();
    assert_eq!(inspected.kind.content, Content::Tar);
    let mut whole = Vec::new();
    inspected.source.read_to_end(&mut whole).unwrap();
    assert!(whole == archive);
}

#[test]
fn character_at_the_end_of_the_look_may_be_cut() {
    let text = format!("{}\u{fc}", "x".repeat(511));
    assert_eq!(Content::detect(&text.as_bytes()[..512]), Content::Text);
    assert_eq!(Content::detect(b"cut \xc3"), Content::Other);
}

#[test]
fn checked_copy_is_the_source_to_its_last_byte() {
    let archive = ArchiveBuilder::new()
        .file("x", &vec![b'c'; 70_000])
        .raw(&[0; 9_000]);
    let archive = archive.end();
    for bytes in [archive.clone(), gzip(&archive), zstd_compress(&archive)] {
        let mut copy = Vec::new();
        let summary = copy_checked(&*bytes, &mut copy, &Limits::default(), |_| {}).unwrap();
        assert!(copy == bytes);
        assert_eq!(summary.entries, 1);
        assert_eq!(summary.unpacked_bytes, archive.len() as u64);
        assert_eq!(summary, check(&*bytes, &Limits::default()).unwrap());
    }
}

#[test]
fn failing_sink_of_a_checked_copy_is_named() {
    let mut no_room = [0; 100];
    let error = copy_checked(
        &*gzip(&harmless()),
        &mut no_room[..],
        &Limits::default(),
        |_| {},
    );
    assert!(matches!(error, Err(Error::Write { .. })), "{error:?}");
}

#[test]
fn first_wanted_file_is_found_within_the_limit() {
    let archive = gzip(&harmless());
    let find = |name: &'static str, limits: &Limits| {
        find_file(&*archive, limits, |path| path.file_name() == name)
    };
    let limits = Limits::default();
    let found = find("deploy.yaml", &limits).unwrap().unwrap();
    assert_eq!(found.path.as_str(), "manifests/deploy.yaml");
    assert_eq!(found.content, b"kind: Deployment\n");
    assert_eq!(find("manifests", &limits).unwrap(), None);
    let exactly = Limits {
        file_bytes: 17,
        ..Limits::default()
    };
    assert!(find("deploy.yaml", &exactly).is_ok());
    let one_less = Limits {
        file_bytes: 16,
        ..Limits::default()
    };
    let error = find("deploy.yaml", &one_less).unwrap_err();
    assert!(
        error.to_string().contains("\"manifests/deploy.yaml\""),
        "{error}"
    );
}
