//! The archives: kinds of oddity, each in some forms that a number decides.

use fastrand::Rng;

use super::super::archive_builder::{Block, write_checksum};
use super::*;

/// How many archives there are of a kind.
const FORMS: usize = 5;

/// How many there are with a byte of their first header changed.
const CHANGED: usize = 105;

/// What makes an archive of a kind.
type Make = fn(&mut Rng, usize) -> Vec<u8>;

const KINDS: [(&str, Make); 40] = [
    ("ustar", |random, _| some(random).end()),
    ("ustar-prefix", |random, _| {
        let prefix = word(random, 20);
        some(random)
            .patched(word(random, 30), b'0', &bytes(random), |header| {
                header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
            })
            .end()
    }),
    ("ustar-full-name", |random, _| {
        let content = bytes(random);
        some(random).file(word(random, 100), &content).end()
    }),
    ("gnu-magic", |random, _| {
        // Where POSIX has the prefix, GNU has times.
        some(random)
            .patched(word(random, 30), b'0', &bytes(random), |header| {
                header[257..265].copy_from_slice(b"ustar  \0");
                header[345..357].copy_from_slice(b"14371573000\0");
            })
            .end()
    }),
    ("v7", |random, _| {
        let file = word(random, 30);
        let plain = |header: &mut Block| header[257..].fill(0);
        some(random)
            .patched(format!("{file}-folder/"), 0, b"", plain)
            .patched(file, 0, &bytes(random), plain)
            .end()
    }),
    ("v7-prefix", |random, _| {
        // No prefix without the magic.
        some(random)
            .patched(word(random, 30), b'0', &bytes(random), |header| {
                header[257..265].fill(0);
                header[345..349].copy_from_slice(b"evil");
            })
            .end()
    }),
    ("star", |random, _| {
        some(random)
            .patched(word(random, 30), b'0', &bytes(random), |header| {
                header[345..350].copy_from_slice(b"front");
                header[508..512].copy_from_slice(b"tar\0");
            })
            .end()
    }),
    ("gnu-long-name", |random, _| {
        let name = word(random, 180);
        let content = bytes(random);
        some(random)
            .entry("././@LongLink", b'L', format!("{name}\0").as_bytes())
            .file(&name[..100], &content)
            .end()
    }),
    ("gnu-long-name-open", |random, _| {
        let name = word(random, 150);
        some(random)
            .entry("././@LongLink", b'L', name.as_bytes())
            .file("short", b"")
            .end()
    }),
    ("gnu-long-link", |random, _| {
        let target = format!("{}\0", word(random, 150));
        some(random)
            .entry("././@LongLink", b'K', target.as_bytes())
            .symlink("link", "short")
            .end()
    }),
    ("two-long-names", |random, _| {
        let [one, other] = [150, 160].map(|length| word(random, length));
        some(random)
            .entry("././@LongLink", b'L', format!("{one}\0").as_bytes())
            .pax(b'x', &[("path", &other)])
            .file("short", b"")
            .end()
    }),
    ("pax-path", |random, _| {
        let name = format!("{}/{}", word(random, 120), word(random, 120));
        let content = bytes(random);
        some(random)
            .pax(b'x', &[("path", &name)])
            .file("short", &content)
            .end()
    }),
    ("pax-size", |random, _| {
        let content = bytes(random);
        let size = content.len().to_string();
        some(random)
            .pax(b'x', &[("size", &size)])
            .file("sized", &content)
            .end()
    }),
    ("pax-size-beside-another", |random, _| {
        // CVE-2026-33055: one takes the size of the one header, one that of the other.
        let content = bytes(random);
        let size = content.len() + 512 * random.usize(1..4);
        let hidden = ArchiveBuilder::new().file("hidden", b"").without_end();
        some(random)
            .pax(b'x', &[("size", &size.to_string())])
            .file("sized", &content)
            .raw(&hidden.repeat(3))
            .end()
    }),
    ("pax-size-beside-zero", |random, _| {
        // CVE-2025-62518.
        let hidden = ArchiveBuilder::new().file("hidden", b"").without_end();
        let hidden = hidden.repeat(random.usize(1..4));
        some(random)
            .pax(b'x', &[("size", &hidden.len().to_string())])
            .file("sized", b"")
            .raw(&hidden)
            .end()
    }),
    ("pax-size-smaller", |random, _| {
        let content = vec![b'c'; random.usize(600..1500)];
        some(random)
            .pax(b'x', &[("size", &random.usize(0..500).to_string())])
            .file("sized", &content)
            .end()
    }),
    ("pax-other-records", |random, _| {
        let (content, comment) = (bytes(random), word(random, 40));
        some(random)
            .pax(
                b'x',
                &[
                    ("mtime", "1700000000.25"),
                    ("SCHILY.xattr.user.x", &comment),
                    ("comment", &comment),
                    ("uname", &comment),
                ],
            )
            .file("described", &content)
            .end()
    }),
    ("pax-global-comment", |random, _| {
        let comment = word(random, 40);
        let content = bytes(random);
        ArchiveBuilder::new()
            .pax(b'g', &[("comment", &comment)])
            .file("x", &content)
            .end()
    }),
    ("pax-global-path", |random, _| {
        let name = word(random, 20);
        some(random)
            .pax(b'g', &[("path", &name)])
            .file("x", b"")
            .end()
    }),
    ("pax-empty-path", |random, _| {
        let content = bytes(random);
        some(random)
            .pax(b'x', &[("path", "")])
            .file("named", &content)
            .end()
    }),
    ("pax-twice", |random, _| {
        let [one, other] = [20, 30].map(|length| word(random, length));
        some(random)
            .pax(b'x', &[("path", &one)])
            .pax(b'x', &[("path", &other)])
            .file("short", b"")
            .end()
    }),
    ("pax-malformed", |random, form| {
        let malformed: [&[u8]; 5] = [
            b"path=x\n",
            b"9 path=x\n\n",
            b"011 path=x\n",
            b"99999999999999999999 path=x\n",
            b"9 path=xy",
        ];
        let content = malformed[form];
        some(random)
            .entry("PaxHeaders/1", b'x', content)
            .file("short", b"")
            .end()
    }),
    ("pax-sparse", |random, form| {
        let versions: [&[(&str, &str)]; 3] = [
            &[("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "0")],
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,0")],
            &[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "other"),
                ("GNU.sparse.realsize", "9"),
            ],
        ];
        let records = versions[form % 3];
        some(random)
            .pax(b'x', records)
            .file("sparse", &[b'0'; 512])
            .end()
    }),
    ("gnu-sparse", |random, _| {
        let size = format!("{:011o}\0", random.usize(0..5000));
        some(random)
            .patched("sparse", b'S', b"", |header| {
                header[257..265].copy_from_slice(b"ustar  \0");
                header[483..495].copy_from_slice(size.as_bytes());
            })
            .end()
    }),
    ("binary-size", |random, _| {
        let content = bytes(random);
        let size = (content.len() as u64).to_be_bytes();
        some(random)
            .patched("binary", b'0', &content, |header| {
                header[124..136].fill(0);
                header[124] = 0x80;
                header[128..136].copy_from_slice(&size);
            })
            .end()
    }),
    ("spaced-size", |random, form| {
        let content = bytes(random);
        let size = format!("{:o}", content.len());
        let field = [
            format!("{size:>11} "),
            format!("{size:<12}"),
            format!("{size:>12}"),
        ];
        let field = &field[form % 3];
        some(random)
            .patched("spaced", b'0', &content, |header| {
                header[124..136].copy_from_slice(field.as_bytes());
            })
            .end()
    }),
    ("wrong-size", |random, form| {
        let fields: [&[u8; 12]; 5] = [
            b"-0000000001\0",
            b"0000000008x\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00",
            b"77777777777\0",
        ];
        let field = fields[form];
        some(random)
            .patched("wrong", b'0', b"", |header| {
                header[124..136].copy_from_slice(field);
            })
            .end()
    }),
    ("signed-checksum", |random, _| {
        let mut archive = ArchiveBuilder::new()
            .file("gr\u{fc}n", &bytes(random))
            .end();
        let stated = std::str::from_utf8(&archive[148..154]).unwrap();
        let signed = u32::from_str_radix(stated, 8).unwrap() - 2 * 256;
        archive[148..154].copy_from_slice(format!("{signed:06o}").as_bytes());
        archive
    }),
    ("truncated", |random, _| {
        let archive = some(random).file("last", &[b'c'; 700]).without_end();
        archive[..random.usize(1..archive.len())].to_vec()
    }),
    ("other-end", |random, form| {
        let zeros = [0, 512, 1024, 1536, 10_240][form];
        some(random).raw(&vec![0; zeros]).without_end()
    }),
    ("hidden-behind-the-end", |random, form| {
        let zeros = [512, 1024, 2048][form % 3];
        some(random).raw(&vec![0; zeros]).file("hidden", b"").end()
    }),
    ("symbolic-links", |random, form| {
        let target = ["target", "../outside", "/etc/passwd", "a/../../b", "."][form];
        some(random).symlink("link", target).file("x", b"").end()
    }),
    ("below-a-link", |random, _| {
        let target = word(random, 10);
        some(random)
            .symlink("link", &target)
            .file("link/file", b"")
            .end()
    }),
    ("hard-link", |random, _| {
        let target = word(random, 10);
        some(random).link(b'1', "hard", &target).end()
    }),
    ("same-path-twice", |random, form| {
        let archive = some(random);
        match form % 3 {
            0 => archive.file("x", b"1").file("./x", b"2"),
            1 => archive.file("x", b"1").directory("x/"),
            _ => archive.directory("x/").directory("x").file("x/y", b""),
        }
        .end()
    }),
    ("other-type", |random, form| {
        let kind = b"367MZ"[form];
        some(random).entry("special", kind, b"").end()
    }),
    ("other-path", |random, form| {
        let names: [&[u8]; 5] = [b"../x", b"/x", b"a\\..\\x", b"\xff\xfe", b"a\nb"];
        some(random).file(names[form], b"").end()
    }),
    ("odd-but-plain-path", |random, form| {
        let names: [&[u8]; 5] = [b"./x", b"a//b", b"a/./b", b"a..b", b"././..a"];
        let content = bytes(random);
        some(random).file(names[form], &content).end()
    }),
    ("directory-with-a-size", |random, _| {
        let content = vec![b'c'; random.usize(1..1500)];
        some(random).entry("folder/", b'5', &content).end()
    }),
    ("changed-byte", |random, form| {
        let mut archive = some(random).file("last", &bytes(random)).end();
        // In what decides about names and bounds: name, size, type, link, magic, prefix.
        let at = [0..100, 124..136, 156..265, 345..500][form % 4].clone();
        let header: &mut Block = archive.first_chunk_mut().unwrap();
        header[random.usize(at)] = random.u8(..);
        write_checksum(header);
        archive
    }),
];

/// All archives by their names.
pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut archives = Vec::new();
    for (kind, make) in KINDS {
        let forms = if kind == "changed-byte" {
            CHANGED
        } else {
            FORMS
        };
        for form in 0..forms {
            let name = format!("{kind}-{form}");
            // The seed does not change when a kind is added.
            let seed = Digest::of(&name);
            let seed = u64::from_str_radix(&seed.hex()[..16], 16).unwrap();
            archives.push((name, make(&mut Rng::with_seed(seed), form)));
        }
    }
    archives
}

/// Some files and folders that are as they should be.
fn some(random: &mut Rng) -> ArchiveBuilder {
    let mut archive = ArchiveBuilder::new();
    for number in 0..random.usize(1..4) {
        let folder = format!("{}{number}", word(random, 8));
        archive = archive.directory(format!("{folder}/"));
        for number in 0..random.usize(0..3) {
            let name = format!("{folder}/{}{number}", word(random, 8));
            archive = archive.file(name, &bytes(random));
        }
    }
    archive
}

fn bytes(random: &mut Rng) -> Vec<u8> {
    let length = random.usize(0..1300);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

fn word(random: &mut Rng, length: usize) -> String {
    std::iter::repeat_with(|| random.lowercase())
        .take(length)
        .collect()
}
