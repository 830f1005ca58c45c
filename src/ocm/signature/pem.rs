//! PEM texts (RFC 7468), and the headers in them that OCM's signatures have (RFC 1421).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How many blocks a text may have. A certificate chain has a handful.
const MAX_BLOCKS: usize = 16;

/// One block of a PEM text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What stands behind `BEGIN`.
    pub(super) label: String,
    /// Lines `KEY: VALUE` in front of the content.
    pub(super) headers: Vec<(String, String)>,
    /// The content.
    pub(super) der: Vec<u8>,
}

/// The blocks of a PEM text in order. Text around them is passed over, as all readers do.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut lines = text.lines().map(str::trim);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, "-----BEGIN ") else {
            continue;
        };
        if blocks.len() == MAX_BLOCKS {
            return Err(format!("it has more than {MAX_BLOCKS} PEM blocks"));
        }
        blocks.push(block(label, &mut lines)?);
    }
    Ok(blocks)
}

fn block<'a>(label: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Block, String> {
    let mut headers = Vec::new();
    let mut content = String::new();
    for line in lines {
        if let Some(end) = boundary(line, "-----END ") {
            if end != label {
                return Err(format!(
                    "a PEM block begins as {label:?} and ends as {end:?}"
                ));
            }
            let der = STANDARD
                .decode(&content)
                .map_err(|source| format!("its PEM block {label:?} is no base64: {source}"))?;
            return Ok(Block {
                label: label.to_owned(),
                headers,
                der,
            });
        }
        match line.split_once(':') {
            Some((key, value)) if content.is_empty() => {
                headers.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => content.push_str(line),
        }
    }
    Err(format!("its PEM block {label:?} has no end"))
}

fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}
