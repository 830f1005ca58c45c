//! One gzip from several threads.

use std::io::Read as _;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;

fn packed(content: &[u8], threads: usize, piece: usize) -> Vec<u8> {
    let mut gzip = Gzip::with_threads(Vec::new(), 1, threads);
    for piece in content.chunks(piece) {
        gzip.write_all(piece).unwrap();
    }
    gzip.finish().unwrap()
}

/// One member, and nothing behind it.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(packed);
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).unwrap();
    assert!(decoder.into_inner().is_empty());
    content
}

/// Text in its first part, noise in its second.
fn mixed(text: usize, noise: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let words = ["image: ", "name: ", "podinfo\n", "- ", "port: 9898\n"];
    let mut content = Vec::new();
    while content.len() < text {
        content.extend_from_slice(words[random.usize(..words.len())].as_bytes());
    }
    content.truncate(text);
    let begin = content.len();
    content.resize(begin + noise, 0);
    random.fill(&mut content[begin..]);
    content
}

#[test]
fn bytes_depend_on_the_content_alone() {
    for content in [
        mixed(0, 0),
        mixed(10, 0),
        mixed(BLOCK, 0),
        mixed(BLOCK + 1, 0),
        mixed(2 * BLOCK, BLOCK),
        mixed(3 * BLOCK, 3 * BLOCK + 77),
    ] {
        let expected = packed(&content, 1, 4 << 10);
        assert!(unpacked(&expected) == content);
        for (threads, piece) in [(1, usize::MAX), (2, 1_000), (3, BLOCK), (4, 3 * BLOCK)] {
            assert!(packed(&content, threads, piece) == expected, "{threads}");
        }
    }
}

#[test]
fn noise_grows_by_next_to_nothing() {
    let content = mixed(0, 10 * BLOCK);
    let packed = packed(&content, 2, BLOCK);
    assert!(packed.len() < content.len() + content.len() / 1_000);
}

#[test]
fn blocks_cost_little_size() {
    let content = mixed(16 * BLOCK, 0);
    let mut whole = flate2::write::GzEncoder::new(Vec::new(), Compression::new(1));
    whole.write_all(&content).unwrap();
    let whole = whole.finish().unwrap().len();
    let blocks = packed(&content, 2, BLOCK).len();
    assert!(blocks < whole + whole / 50, "{blocks} and {whole}");
}

#[test]
fn sink_that_fails_ends_it() {
    let mut no_room = [0; 10];
    let mut gzip = Gzip::with_threads(&mut no_room[..], 1, 2);
    let content = mixed(10 * BLOCK, 0);
    let failed = gzip
        .write_all(&content)
        .and_then(|()| gzip.finish().map(drop));
    assert!(failed.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_content_comes_back(text in 0..3 * BLOCK, noise in 0..3 * BLOCK, threads in 1..4_usize) {
        let content = mixed(text, noise);
        prop_assert!(unpacked(&packed(&content, threads, 50_000)) == content);
    }
}
