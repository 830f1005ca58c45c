//! Content that is damaged, compressed to explode, or no archive at all.

use std::io::{self, Read};

use super::*;
use crate::archive::{Compression, check, decompress, find_file};

/// What `decompress` makes of it, or the message of its error.
fn unpacked(content: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    decompress(content, &Limits::default())
        .and_then(|mut source| source.read_to_end(&mut unpacked).map_err(Error::from_read))
        .map_err(|error| message(&error))?;
    Ok(unpacked)
}

/// Gives `piece` again and again, and counts how often.
struct Endless<'a> {
    piece: &'a [u8],
    position: usize,
    given: &'a mut u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.piece[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position = (self.position + count) % self.piece.len();
        *self.given += count as u64;
        Ok(count)
    }
}

#[test]
fn b16_gzip_bomb_is_refused() {
    let bomb = gzip(&vec![0; 32 << 20]);
    assert_refused(
        &bomb,
        "1000 bytes after decompression for one byte before it",
    );
}

#[test]
fn b16_small_archive_may_compress_well() {
    let archive = ArchiveBuilder::new().file("zeros", &vec![0; 9 << 20]).end();
    assert_eq!(list(&gzip(&archive)).unwrap(), ["zeros"]);
}

#[test]
fn b16_members_count_toward_one_limit() {
    // An archive whose end never ends: blocks of zeros, in members that are harmless each.
    let member = gzip(&vec![0; 100 << 10]);
    let limits = Limits {
        ratio: u64::MAX,
        unpacked_bytes: 4 << 20,
        ..Limits::default()
    };
    let mut given = 0;
    let endless = Endless {
        piece: &member,
        position: 0,
        given: &mut given,
    };
    let error = check(endless, &limits).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("4194304 bytes after decompression"),
        "{error}"
    );
    assert!(given < 256 << 10, "{given} bytes were read");
}

#[test]
fn b16_members_are_read_as_one_content() {
    let archive = harmless();
    let members = [gzip(&archive[..700]), gzip(&archive[700..])].concat();
    assert_eq!(unpacked(&members).unwrap(), archive);
    let many: Vec<u8> = archive.chunks(2).flat_map(gzip).collect();
    assert_eq!(unpacked(&many).unwrap(), archive);
}

#[test]
fn b16_nested_gzip_is_not_unwrapped_twice() {
    let nested = gzip(&gzip(&harmless()));
    assert_eq!(unpacked(&nested).unwrap(), gzip(&harmless()));
    assert_refused(&nested, "got gzip content");
}

#[test]
fn b16_limit_is_inclusive_and_holds_without_compression() {
    let archive = harmless();
    let exactly = Limits {
        unpacked_bytes: archive.len() as u64,
        ..Limits::default()
    };
    let one_less = Limits {
        unpacked_bytes: archive.len() as u64 - 1,
        ..Limits::default()
    };
    assert!(list_within(&archive, &exactly).is_ok());
    assert_refused_within(&archive, &one_less, "bytes after decompression");
}

#[test]
fn b17_damaged_gzip_is_refused() {
    let archive = gzip(&harmless());
    let end = archive.len();
    for position in [end - 8, end - 4, end / 2] {
        let mut damaged = archive.clone();
        damaged[position] ^= 1;
        assert!(
            list(&damaged).is_err(),
            "byte {position} of {end} is changed"
        );
    }
    for length in [5, 15, end / 2, end - 8, end - 1] {
        assert_refused(&archive[..length], "failed to decompress gzip content");
    }
}

#[test]
fn b17_trailing_bytes_are_refused() {
    for trailer in [&b"garbage that is no member"[..], &[0; 32]] {
        let archive = [&gzip(&harmless()), trailer].concat();
        assert_refused(&archive, "failed to decompress gzip content");
    }
}

#[test]
fn b17_endless_name_in_a_gzip_header_is_refused_early() {
    let mut given = 0;
    let header: &[u8] = &[0x1f, 0x8b, 8, 0b1000, 0, 0, 0, 0, 0, 255];
    let name = Endless {
        piece: b"name",
        position: 0,
        given: &mut given,
    };
    let error = check(header.chain(name), &Limits::default()).unwrap_err();
    assert!(message(&error).contains("gzip"), "{error}");
    assert!(given < 256 << 10, "{given} bytes were read");
}

#[test]
fn b18_zstd_is_read() {
    let archive = harmless();
    assert_eq!(unpacked(&zstd_compress(&archive)).unwrap(), archive);
    let frames = [
        zstd_compress(&archive[..700]),
        zstd_compress(&archive[700..]),
    ]
    .concat();
    assert_eq!(unpacked(&frames).unwrap(), archive);
    let cut = zstd_compress(&archive);
    assert_refused(&cut[..cut.len() - 1], "failed to decompress zstd content");
    let bomb = zstd_compress(&vec![0; 32 << 20]);
    assert_refused(
        &bomb,
        "1000 bytes after decompression for one byte before it",
    );
}

#[test]
fn b18_zstd_window_is_bounded() {
    // RFC 8878, section 3.1.1: magic, no single segment, window descriptor, an empty last block.
    // A window of 2^(10 + exponent) bytes.
    let frame = |exponent: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 1, 0, 0];
    assert_eq!(unpacked(&frame(13)).unwrap(), b"");
    for exponent in [14, 21, 31] {
        let error = unpacked(&frame(exponent)).unwrap_err();
        assert!(error.contains("zstd"), "{error}");
    }
}

#[test]
fn b18_other_compressions_are_refused_by_name() {
    let magics: [(&[u8], &str); 4] = [
        (b"BZh91AY&SY", "bzip2"),
        (b"BZh9\x17\x72\x45\x38\x50\x90", "bzip2"),
        (b"\xfd7zXZ\0\0\0\0\0", "xz"),
        (b"PK\x03\x04\0\0\0\0\0\0", "zip"),
    ];
    for (magic, name) in magics {
        assert_refused(magic, &format!("unsupported compression {name}"));
    }
    assert_eq!(Compression::detect(b"BZhang wrote this"), Compression::None);
}

#[test]
fn b20_plain_text_is_named_as_such() {
    let expected = "expected tarred directory content for configuration/localization resources, \
                    got plain text";
    let short = "kind: Deployment\n";
    let long = "name: gr\u{fc}n\n".repeat(100);
    for text in [short, &long] {
        assert_refused(text.as_bytes(), expected);
        assert_refused(&gzip(text.as_bytes()), expected);
    }
}

#[test]
fn b20_empty_content_is_named_as_such() {
    for empty in [&b""[..], &gzip(b""), &zstd_compress(b"")] {
        assert_refused(empty, "cannot be empty");
    }
    assert_eq!(list(&[0; 1024]).unwrap(), [""; 0]);
}

#[test]
fn b20_archive_within_an_archive_is_a_file_and_zip_is_refused() {
    let outer = ArchiveBuilder::new().file("inner.tar", &harmless()).end();
    assert_eq!(list(&outer).unwrap(), ["inner.tar"]);
    assert_refused(&gzip(b"PK\x03\x04 and so on"), "got zip content");
    assert_refused(&[0x80; 600], "got unknown binary content");
}

#[test]
fn cve_2025_32386_bomb_in_a_file_that_nobody_asked_for_is_refused() {
    let archive = ArchiveBuilder::new()
        .file("padding", &vec![0; 32 << 20])
        .file("Chart.yaml", b"name: chart\n");
    let error = find_file(&*gzip(&archive.end()), &Limits::default(), |path| {
        path.as_str() == "Chart.yaml"
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("for one byte before it")
    );
}

#[test]
fn rustsec_2025_0168_cve_2025_29787_zip_is_not_read() {
    assert_refused(b"PK\x03\x04\x14\0\0\0\0\0", "unsupported compression zip");
    assert_refused(b"PK\x05\x06\0\0\0\0\0\0", "unsupported compression zip");
}

#[test]
fn failing_source_is_told_from_damaged_content() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "reset by the registry",
            ))
        }
    }
    for archive in [harmless(), gzip(&harmless()), zstd_compress(&harmless())] {
        let error = check(archive[..20].chain(Failing), &Limits::default()).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error:?}");
        assert!(message(&error).contains("reset by the registry"));
    }
}
