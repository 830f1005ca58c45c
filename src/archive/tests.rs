//! Tests of the whole module: hostile archives, canonical output, streams.

mod archive_builder;
mod canonical;
mod differential;
mod hostile_content;
mod hostile_headers;
mod hostile_paths;
mod looking;

use std::io::{Read as _, Write as _};

use super::{Entry, EntryKind, Error, Limits, Reader, Result};
use archive_builder::ArchiveBuilder;

/// What an archive lists: directories end with `/`.
fn list(archive: &[u8]) -> Result<Vec<String>> {
    list_within(archive, &Limits::default())
}

fn list_within(archive: &[u8], limits: &Limits) -> Result<Vec<String>> {
    let mut reader = Reader::open(archive, limits)?;
    let mut names = Vec::new();
    while let Some(Entry { path, kind }) = reader.next_entry()? {
        names.push(match kind {
            EntryKind::Directory => format!("{path}/"),
            EntryKind::File { .. } => path.to_string(),
        });
    }
    Ok(names)
}

/// The files of an archive with their contents.
fn contents(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut reader = Reader::open(archive, &Limits::default()).unwrap();
    let mut files = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.kind != EntryKind::Directory {
            let content = reader.read_file(&entry.path).unwrap();
            files.push((entry.path.to_string(), content));
        }
    }
    files
}

/// Asserts that the archive is refused, by a message that has `part` in it.
#[track_caller]
fn assert_refused(archive: &[u8], part: &str) {
    assert_refused_within(archive, &Limits::default(), part);
}

#[track_caller]
fn assert_refused_within(archive: &[u8], limits: &Limits, part: &str) {
    match list_within(archive, limits) {
        Ok(names) => panic!("accepted with {names:?}, expected an error with {part:?}"),
        Err(error) => {
            let text = message(&error);
            assert!(text.contains(part), "{text:?} does not say {part:?}");
        }
    }
}

/// The error and all its causes.
fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(content: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(content);
    decoder.read_to_end(&mut unpacked).unwrap();
    unpacked
}

fn zstd_compress(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// A small archive that is as it should be.
fn harmless() -> Vec<u8> {
    ArchiveBuilder::new()
        .directory("manifests/")
        .file("manifests/deploy.yaml", b"kind: Deployment\n")
        .file("readme.txt", b"read me\n")
        .end()
}
