//! Paths and links that try to leave the archive, or to name one thing twice.

use super::*;
use crate::archive::{EntryPath, check};

fn with_file(name: impl AsRef<[u8]>) -> Vec<u8> {
    ArchiveBuilder::new().file(name, b"content").end()
}

#[test]
fn b01_path_that_leaves_the_root_is_refused_by_name() {
    assert_refused(&with_file("../../etc/cron.d/x"), "\"../../etc/cron.d/x\"");
}

#[test]
fn b02_absolute_and_windows_paths_are_refused() {
    for name in ["/etc/passwd", "//x"] {
        assert_refused(&with_file(name), "absolute");
    }
    for name in ["C:\\x", "a\\..\\b"] {
        assert_refused(&with_file(name), "backslash");
    }
    for name in ["C:/x", "./c:x"] {
        assert_refused(&with_file(name), "drive");
    }
}

#[test]
fn b03_only_whole_components_of_dots_are_refused() {
    for name in ["a/../../b", "./../x", "a/..", "..", "a/../b"] {
        assert_refused(&with_file(name), "\"..\"");
    }
    for name in ["a..b", "..a", "a/...", "a/b.."] {
        assert_eq!(list(&with_file(name)).unwrap(), [name]);
    }
}

#[test]
fn leading_dot_and_doubled_separators_are_left_out() {
    let archive = ArchiveBuilder::new()
        .directory("./")
        .directory("./a//")
        .file("./a/./b", b"")
        .end();
    assert_eq!(list(&archive).unwrap(), ["a/", "a/b"]);
}

#[test]
fn root_is_no_file() {
    assert_refused(&with_file("."), "named as the root");
    assert_refused(&with_file(""), "named as the root");
    assert_refused(&with_file("a/"), "named as a directory");
}

#[test]
fn b04_symlink_to_outside_is_refused_and_one_inside_is_dropped_and_counted() {
    let outside = [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../x"),
        ("a/b", "../../x"),
        ("a/b", "./../../x"),
        ("a", "b/../../x"),
        ("a", "C:\\x"),
        ("a", ""),
    ];
    for (name, target) in outside {
        let archive = ArchiveBuilder::new().symlink(name, target).end();
        assert_refused(&archive, "refused symbolic link");
    }
    let archive = ArchiveBuilder::new()
        .file("d/file", b"content")
        .symlink("beside", "d/file")
        .symlink("d/above", "../d//file")
        .symlink("d/root", "./..")
        .end();
    assert_eq!(list(&archive).unwrap(), ["d/file"]);
    assert_eq!(check(&*archive, &Limits::default()).unwrap().links, 3);
}

#[test]
fn b05_nothing_is_written_through_a_link() {
    let through_inside = ArchiveBuilder::new()
        .symlink("d", "e")
        .file("d/x", b"")
        .end();
    assert_refused(&through_inside, "below a symbolic link");
    let through_outside = ArchiveBuilder::new()
        .symlink("d", "/tmp")
        .file("d/x", b"")
        .end();
    assert_refused(&through_outside, "absolute");
    let after_use = ArchiveBuilder::new()
        .file("d/x", b"")
        .symlink("d", "e")
        .end();
    assert_refused(&after_use, "same path");
}

#[test]
fn b06_link_chain_that_resolves_to_outside_is_refused() {
    let archive = ArchiveBuilder::new()
        .symlink("here", ".")
        .symlink("up", "here/..")
        .end();
    assert_refused(&archive, "\"here/..\"");
}

#[test]
fn b07_hard_link_is_refused_wherever_it_points() {
    for target in ["/etc/passwd", "Cargo.toml", "earlier"] {
        let archive = ArchiveBuilder::new()
            .file("earlier", b"")
            .link(b'1', "later", target)
            .end();
        assert_refused(&archive, "a hard link");
    }
}

#[test]
fn b08_devices_and_unknown_types_are_refused() {
    let kinds = [
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a FIFO"),
        (b'7', "unknown type"),
        (b'D', "unknown type"),
        (b'X', "unknown type"),
        (b's', "unknown type"),
        (0xff, "unknown type"),
    ];
    for (kind, expected) in kinds {
        assert_refused(&ArchiveBuilder::new().entry("x", kind, b"").end(), expected);
    }
}

#[test]
fn b10_path_is_used_once() {
    let file = || ArchiveBuilder::new().file("a", b"1");
    assert_refused(&file().file("./a", b"2").end(), "same path");
    assert_refused(&file().directory("a/").end(), "same path");
    assert_refused(&file().file("a/b", b"2").end(), "below a file");
    let implied = ArchiveBuilder::new()
        .file("a/b", b"1")
        .file("a", b"2")
        .end();
    assert_refused(&implied, "same path");
}

#[test]
fn b10_names_that_differ_in_case_stay_different() {
    let archive = ArchiveBuilder::new()
        .file("Readme", b"")
        .file("README", b"")
        .end();
    assert_eq!(list(&archive).unwrap(), ["Readme", "README"]);
}

#[test]
fn directory_that_comes_again_comes_out_once() {
    let archive = ArchiveBuilder::new()
        .file("a/b", b"")
        .directory("a/")
        .directory("a")
        .end();
    assert_eq!(list(&archive).unwrap(), ["a/b", "a/"]);
}

#[test]
fn b19_names_have_limits() {
    let limits = Limits::default();
    let parse = |path: String| EntryPath::parse(path.as_bytes(), &limits);
    assert!(parse("n".repeat(255)).is_ok());
    assert!(parse("n".repeat(256)).is_err());
    assert!(parse(vec!["d"; 64].join("/")).is_ok());
    assert!(parse(vec!["d"; 65].join("/")).is_err());
    let long = |last: usize| {
        format!(
            "{}/{}",
            vec!["n".repeat(255); 15].join("/"),
            "n".repeat(last)
        )
    };
    assert_eq!(long(255).len(), 4095);
    assert!(parse(format!("{}/", long(255))).is_ok());
    assert!(parse(format!("{}//", long(255))).is_err());
}

#[test]
fn b19_names_are_printable_text() {
    for name in [&b"a\nb"[..], b"a\rb", b"a\x7fb", b"a\x1b[2Jb"] {
        assert_refused(&with_file(name), "control character");
    }
    assert_refused(&with_file(b"a\xff"), "not UTF-8");
    let with_nul = ArchiveBuilder::new()
        .entry("PaxHeaders/1", b'x', b"13 path=a\0b\n\n")
        .file("x", b"");
    assert_refused(&with_nul.end(), "PAX header");
}

#[test]
fn b19_entries_have_a_limit_and_implied_directories_count() {
    let limits = Limits {
        entries: 3,
        ..Limits::default()
    };
    let three = || ArchiveBuilder::new().file("a", b"").file("b/c", b"");
    assert!(list_within(&three().end(), &limits).is_ok());
    assert_refused_within(&three().file("d", b"").end(), &limits, "3 entries");
    let same = (0..4).fold(ArchiveBuilder::new(), |archive, _| archive.directory("a"));
    assert_refused_within(&same.end(), &limits, "3 entries");
}

#[test]
fn b19_a_million_empty_files_are_refused_at_the_default_limit() {
    let archive = (0..50_001).fold(ArchiveBuilder::new(), |archive, number| {
        archive.file(format!("{number}"), b"")
    });
    assert_refused(&archive.end(), "50000 entries");
}

#[test]
fn b22_cve_2021_32760_cve_2022_23648_name_of_a_resource_is_no_way_out() {
    for name in [".", "..", "", "../x"] {
        assert!(name.parse::<EntryPath>().is_err(), "{name:?} was accepted");
    }
    assert!("r".repeat(300).parse::<EntryPath>().is_err());
    assert_eq!("%2e%2e".parse::<EntryPath>().unwrap().as_str(), "%2e%2e");
}

#[test]
fn rustsec_2026_0067_cve_2026_33056_directory_in_place_of_a_link_is_refused() {
    let archive = ArchiveBuilder::new()
        .symlink("d", "e")
        .directory("d/")
        .end();
    assert_refused(&archive, "same path");
}

#[test]
fn rustsec_2018_0002_rustsec_2021_0080_links_overwrite_nothing() {
    let hard = ArchiveBuilder::new()
        .link(b'1', "x", "/etc/passwd")
        .file("x", b"")
        .end();
    assert_refused(&hard, "a hard link");
    let symbolic = ArchiveBuilder::new().symlink("x", "y").file("x", b"").end();
    assert_refused(&symbolic, "same path");
}

#[test]
fn cve_2026_50163_ghsa_fxhp_mv3v_67qp_hard_link_relative_to_the_working_directory_is_refused() {
    let archive = ArchiveBuilder::new().link(b'1', "x", "../Cargo.toml").end();
    assert_refused(&archive, "a hard link");
}

#[test]
fn ghsa_8xwf_rjm4_xvhv_ghsa_m37j_52j7_pjw7_chain_of_links_then_write_is_refused() {
    let chain = ArchiveBuilder::new().symlink("a", ".").symlink("b", "a/..");
    assert_refused(&chain.file("b/x", b"").end(), "refused symbolic link \"b\"");
}

#[test]
fn cve_2026_29064_link_to_the_parent_of_the_root_is_refused() {
    let archive = ArchiveBuilder::new().symlink("a", "../../etc").end();
    assert_refused(&archive, "leaves the archive");
}

#[test]
fn cve_2020_27833_link_below_a_link_is_refused() {
    let archive = ArchiveBuilder::new()
        .directory("subdir/")
        .symlink("subdir/parent", "..")
        .symlink("subdir/parent/escapes", "..");
    assert_refused(&archive.end(), "below a symbolic link");
}

#[test]
fn cve_2026_35206_cve_2026_35204_cve_2024_1485_folder_named_by_dots_is_refused() {
    for name in [".", "..", "1.0.0/../x"] {
        assert!(name.parse::<EntryPath>().is_err(), "{name:?} was accepted");
    }
}

#[test]
fn b06_f4396242_cycle_of_links_is_refused() {
    let archive = ArchiveBuilder::new()
        .symlink("m", "c")
        .symlink("c", "m")
        .end();
    assert_refused(&archive, "cycle");
    assert_refused(&ArchiveBuilder::new().symlink("m", "m").end(), "cycle");
}
