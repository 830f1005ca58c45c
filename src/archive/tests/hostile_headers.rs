//! Headers that are malformed, or that two readers could read in two ways.

use super::archive_builder::pax_record;
use super::*;

fn with_size_field(field: &[u8]) -> Vec<u8> {
    let archive = ArchiveBuilder::new().patched("x", b'0', b"", |header| {
        header[124..136].fill(0);
        header[124..124 + field.len()].copy_from_slice(field);
    });
    archive.end()
}

fn with_pax(content: &[u8]) -> Vec<u8> {
    ArchiveBuilder::new()
        .entry("PaxHeaders/1", b'x', content)
        .file("x", b"")
        .end()
}

#[test]
fn b09_modes_do_not_matter_to_what_is_read() {
    for mode in [
        &b"0006777\0"[..],
        b"0000000\0",
        b"0000666\0",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let archive = ArchiveBuilder::new().patched("x", b'0', b"content", |header| {
            header[100..108].copy_from_slice(mode);
        });
        assert_eq!(
            contents(&archive.end()),
            [("x".to_owned(), b"content".to_vec())]
        );
    }
}

#[test]
fn b11_sizes_that_differ_are_refused_in_both_directions() {
    for (stated, content) in [
        ("0", &b"12345"[..]),
        ("3", b"12345"),
        ("9", b"12345"),
        ("512", b""),
    ] {
        let archive = ArchiveBuilder::new()
            .pax(b'x', &[("size", stated)])
            .file("x", content);
        assert_refused(&archive.end(), "different sizes");
    }
    let same = ArchiveBuilder::new()
        .pax(b'x', &[("size", "5")])
        .file("x", b"12345");
    assert_eq!(list(&same.end()).unwrap(), ["x"]);
}

#[test]
fn b11_size_beyond_eleven_octal_digits_is_said_by_pax_alone() {
    let size = (8_u64 << 30).to_string();
    let archive = ArchiveBuilder::new()
        .pax(b'x', &[("size", &size)])
        .file("x", b"");
    let archive = archive.without_end();
    let mut reader = Reader::open(&*archive, &Limits::default()).unwrap();
    let entry = reader.next_entry().unwrap().unwrap();
    assert!(matches!(entry.kind, EntryKind::File { size, .. } if size == 8 << 30));
}

#[test]
fn b12_long_pax_header_is_refused_before_it_is_read() {
    let archive = ArchiveBuilder::new().patched("PaxHeaders/1", b'x', b"", |header| {
        header[124..136].copy_from_slice(b"10000000000\0");
    });
    assert_refused(&archive.end(), "1048576 bytes in an extended header");
}

#[test]
fn b12_pax_records_have_a_limit() {
    let records = |count| pax_record("comment", "x").repeat(count);
    assert!(list(&with_pax(records(1_000).as_bytes())).is_ok());
    assert_refused(&with_pax(records(1_001).as_bytes()), "1000 records");
    assert_refused(&with_pax(records(10_000).as_bytes()), "1000 records");
}

#[test]
fn b12_long_name_ends_with_its_only_nul() {
    let with_name = |name: &[u8]| {
        let archive = ArchiveBuilder::new().entry("././@LongLink", b'L', name);
        archive.file("short", b"").end()
    };
    let name = "n".repeat(150);
    assert_eq!(
        list(&with_name(format!("{name}\0").as_bytes())).unwrap(),
        [&*name]
    );
    assert_refused(&with_name(name.as_bytes()), "NUL");
    assert_refused(&with_name(b"a\0b\0"), "NUL");
    assert_refused(&with_name(b"\0"), "empty");
}

#[test]
fn b12_two_long_names_are_refused() {
    let long = || ArchiveBuilder::new().entry("././@LongLink", b'L', b"one\0");
    let twice = long().entry("././@LongLink", b'L', b"two\0").file("x", b"");
    assert_refused(&twice.end(), "two headers of one kind");
    let mixed = long().pax(b'x', &[("path", "two")]).file("x", b"");
    assert_refused(&mixed.end(), "two long names");
    let pax = ArchiveBuilder::new()
        .pax(b'x', &[("path", "one")])
        .pax(b'x', &[("path", "two")])
        .file("x", b"");
    assert_refused(&pax.end(), "two headers of one kind");
    let records = [pax_record("path", "one"), pax_record("path", "two")].concat();
    assert_refused(&with_pax(records.as_bytes()), "a record comes twice");
}

#[test]
fn b12_global_header_may_comment_but_not_change_entries() {
    let global = |key, value| {
        ArchiveBuilder::new()
            .pax(b'g', &[(key, value)])
            .file("x", b"")
            .end()
    };
    assert_eq!(list(&global("comment", "0123abc")).unwrap(), ["x"]);
    for (key, value) in [("path", "y"), ("linkpath", "y"), ("size", "0")] {
        assert_refused(&global(key, value), "a global header changes");
    }
}

#[test]
fn b13_sparse_files_are_refused() {
    assert_refused(&ArchiveBuilder::new().entry("x", b'S', b"").end(), "sparse");
    for key in ["GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.name"] {
        assert_refused(&with_pax(pax_record(key, "1").as_bytes()), "sparse");
    }
}

#[test]
fn b14_truncation_is_refused_wherever_it_is() {
    let archive = ArchiveBuilder::new().file("x", &[b'c'; 700]).without_end();
    for (length, place) in [
        (512, "content"),
        (513, "content"),
        (1_211, "content"),
        (1_213, "padding"),
        (1_535, "padding"),
    ] {
        assert_refused(&archive[..length], &format!("within the {place}"));
    }
    assert_refused(&archive[..511], "got unknown binary content");
    let second = ArchiveBuilder::new()
        .file("x", b"")
        .file("y", b"")
        .without_end();
    assert_refused(&second[..700], "within a header");
}

#[test]
fn b14_archive_that_ends_right_behind_its_last_content_is_read() {
    // As in the image layers of published components, whose writer was never closed.
    let archive = ArchiveBuilder::new().file("README", b"podinfo-6.3.5\n");
    let archive = &archive.without_end()[..526];
    let expected = ("README".to_owned(), b"podinfo-6.3.5\n".to_vec());
    assert_eq!(contents(archive), [expected]);
    let extension = ArchiveBuilder::new()
        .pax(b'x', &[("path", "x")])
        .without_end();
    assert_refused(&extension[..521], "without an entry");
}

#[test]
fn b14_end_may_be_missing_but_nothing_may_follow_it() {
    let archive = || ArchiveBuilder::new().file("x", b"content");
    for zeros in [0, 512, 1024, 10_240] {
        let archive = archive().raw(&vec![0; zeros]).without_end();
        assert_eq!(list(&archive).unwrap(), ["x"]);
    }
    let garbage = archive().raw(&[0; 1024]).raw(b"garbage").without_end();
    assert_refused(&garbage, "follows it");
    let hidden = archive().raw(&[0; 512]).file("y", b"").end();
    assert_refused(&hidden, "follows it");
}

#[test]
fn b15_wrong_checksum_is_refused_as_such() {
    let mut archive = harmless();
    archive[0] ^= 1;
    assert_refused(&archive, "checksum");
    let mut second = ArchiveBuilder::new().file("x", b"").file("y", b"").end();
    second[512] ^= 1;
    assert_refused(&second, "checksum");
}

#[test]
fn b15_sizes_out_of_range_are_refused_without_an_allocation() {
    for field in [&b"-1"[..], b"12x", b"0x10", b"1 1"] {
        assert_refused(&with_size_field(field), "no number in range");
    }
    let negative = [0xff; 12];
    assert_refused(&with_size_field(&negative), "no number in range");
    let two_to_the_63 = [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_refused(&with_size_field(&two_to_the_63), "no number in range");
    let beyond_64_bits = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_refused(&with_size_field(&beyond_64_bits), "no number in range");
    assert_refused(
        &with_size_field(b"777777777777"),
        "bytes after decompression",
    );
}

#[test]
fn size_in_the_binary_form_of_gnu_tar_is_read() {
    let archive = ArchiveBuilder::new().patched("x", b'0', b"12345", |header| {
        header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
    });
    assert_eq!(
        contents(&archive.end()),
        [("x".to_owned(), b"12345".to_vec())]
    );
}

#[test]
fn prefix_is_read_from_posix_headers_only() {
    let with_prefix = |magic: &'static [u8]| {
        let archive = ArchiveBuilder::new().patched("name", b'0', b"", move |header| {
            header[257..265].copy_from_slice(magic);
            header[345..351].copy_from_slice(b"prefix");
        });
        archive.end()
    };
    assert_eq!(list(&with_prefix(b"ustar\x0000")).unwrap(), ["prefix/name"]);
    assert_eq!(list(&with_prefix(b"ustar  \0")).unwrap(), ["name"]);
    assert_eq!(list(&with_prefix(b"\0\0\0\0\0\0\0\0")).unwrap(), ["name"]);
}

#[test]
fn directory_or_link_with_a_size_is_refused() {
    for kind in [b'5', b'2'] {
        let archive = ArchiveBuilder::new().entry("x", kind, b"content").end();
        assert_refused(&archive, "has a size");
    }
}

#[test]
fn extended_header_without_an_entry_is_refused() {
    let archive = ArchiveBuilder::new()
        .file("x", b"")
        .pax(b'x', &[("path", "y")]);
    assert_refused(&archive.end(), "without an entry");
}

#[test]
fn archives_of_mac_os_are_read() {
    let xattr = [&b"43 LIBARCHIVE.xattr.com.apple.provenance=\xff\n"[..]].concat();
    assert_eq!(xattr.len(), 43);
    let archive = ArchiveBuilder::new()
        .file("._chart", b"\x00\x05\x16\x07")
        .entry("PaxHeader/chart", b'x', &xattr)
        .directory("chart/")
        .pax(b'x', &[("mtime", "1700000000.5"), ("SCHILY.fflags", "x")])
        .file("chart/Chart.yaml", b"name: chart\n");
    let names = list(&archive.end()).unwrap();
    assert_eq!(names, ["._chart", "chart/", "chart/Chart.yaml"]);
}

#[test]
fn rustsec_2026_0068_cve_2026_33055_pax_size_beside_a_ustar_size_is_not_ignored() {
    let archive = ArchiveBuilder::new()
        .pax(b'x', &[("size", "1024")])
        .file("x", &[b'c'; 512]);
    assert_refused(&archive.end(), "different sizes");
}

#[test]
fn rustsec_2025_0110_rustsec_2025_0111_cve_2025_62518_archive_hidden_behind_a_pax_size_is_never_listed()
 {
    let hidden = ArchiveBuilder::new().file("hidden", b"").without_end();
    let size = hidden.len().to_string();
    let archive = ArchiveBuilder::new()
        .pax(b'x', &[("size", &size)])
        .file("x", b"")
        .raw(&hidden);
    assert_refused(&archive.end(), "different sizes");
}

#[test]
fn rustsec_2026_0066_rustsec_2026_0112_rustsec_2026_0145_cve_2026_32766_malformed_pax_is_never_skipped()
 {
    let malformed: [&[u8]; 14] = [
        b"path=x\n",
        b"9 path=x\n\n",
        b"11 path=x\n",
        b"8 path=x\n",
        b"011 path=x\n",
        b"+11 path=x\n",
        b"11  path=x\n",
        b"0 \n",
        b"99999999999999999999 path=x\n",
        b"8 pathx\n",
        b"5 =x\n",
        b"9 path=xy",
        b"8 path=\n",
        b"\0\0\0\0",
    ];
    for content in malformed {
        assert_refused(&with_pax(content), "PAX header");
    }
    for size in [
        "-1",
        "1.0",
        "",
        "0x1",
        " 1",
        "99999999999999999999",
        "9223372036854775808",
    ] {
        assert_refused(&with_pax(pax_record("size", size).as_bytes()), "PAX header");
    }
}

#[test]
fn cve_2025_58183_sparse_map_is_not_read() {
    let archive = ArchiveBuilder::new().patched("x", b'S', b"", |header| {
        header[257..265].copy_from_slice(b"ustar  \0");
        // "Extended": more of the map follows, in blocks without an end.
        header[482] = 1;
    });
    let endless = (0..100).fold(archive, |archive, _| archive.raw(&[1; 512]));
    assert_refused(&endless.end(), "a sparse file");
}

#[test]
fn checksum_of_signed_bytes_is_accepted() {
    let mut archive = ArchiveBuilder::new().file("gr\u{fc}n", b"").end();
    let stated = std::str::from_utf8(&archive[148..154]).unwrap();
    // Each of the two bytes of the umlaut counts 256 less where bytes have a sign.
    let signed = u32::from_str_radix(stated, 8).unwrap() - 2 * 256;
    archive[148..154].copy_from_slice(format!("{signed:06o}").as_bytes());
    assert_eq!(list(&archive).unwrap(), ["gr\u{fc}n"]);
}
