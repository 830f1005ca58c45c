//! Blocks of tar: headers are parsed strictly and written in one form (POSIX.1-2017, pax, "ustar
//! Interchange Format"; the GNU tar manual, "Basic Tar Format").

use std::ops::Range;

use super::error::shown;
use super::{Error, Result};

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;

/// The largest size that eleven octal digits can say.
pub(super) const LARGEST_OCTAL_SIZE: u64 = 0o777_7777_7777;

/// One block.
pub(super) type Block = [u8; BLOCK];

/// The block that ends an archive where it comes twice.
pub(super) const ZERO_BLOCK: Block = [0; BLOCK];

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const OWNER: Range<usize> = 108..116;
const GROUP: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MODIFIED: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const TRAILER: Range<usize> = 508..512;

/// What a header says, as it says it: names are not checked yet.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) executable: bool,
    pub(super) link_name: Vec<u8>,
}

impl Header {
    /// Parses a block whose checksum is known to be right.
    pub(super) fn parse(block: &Block) -> Result<Self> {
        let mut name = until_nul(&block[NAME]).to_vec();
        let wrong = |problem| Error::ParseHeader {
            entry: shown(until_nul(&block[NAME])),
            problem,
        };
        // GNU tar and what came before POSIX keep other things where POSIX has the prefix.
        if block[MAGIC] == *b"ustar\0" {
            if block[TRAILER] == *b"tar\0" {
                return Err(wrong(
                    "the header is star's, which keeps times in the prefix",
                ));
            }
            let prefix = until_nul(&block[PREFIX]);
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        let size = number(&block[SIZE]).ok_or_else(|| wrong("the size is no number in range"))?;
        let mode = number(&block[MODE]).ok_or_else(|| wrong("the mode is no number in range"))?;
        Ok(Self {
            name,
            kind: block[TYPE],
            size,
            executable: mode & 0o111 != 0,
            link_name: until_nul(&block[LINK_NAME]).to_vec(),
        })
    }
}

/// Whether the checksum of a header is right: the sum of its bytes, its own field taken as
/// spaces. Some old implementations added them as signed bytes.
pub(super) fn has_checksum(block: &Block) -> bool {
    let Some(stated) = octal(&block[CHECKSUM]) else {
        return false;
    };
    let mut blanked = *block;
    blanked[CHECKSUM].fill(b' ');
    let signed: i64 = blanked
        .iter()
        .map(|byte| i64::from(byte.cast_signed()))
        .sum();
    stated == sum(&blanked) || i64::try_from(stated) == Ok(signed)
}

/// Whether a block says of itself that it is a header.
pub(super) fn has_magic(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
}

/// The header of an entry in the one form that is written: no owner, no time, no names of users.
///
/// `name` has at most 100 bytes.
pub(super) fn canonical(name: &[u8], kind: u8, size: u64, mode: u32) -> Block {
    let mut block = ZERO_BLOCK;
    block[..name.len()].copy_from_slice(name);
    write_octal(&mut block[MODE], u64::from(mode));
    write_octal(&mut block[OWNER], 0);
    write_octal(&mut block[GROUP], 0);
    // A size that does not fit is in the PAX header, where every reader prefers it.
    let size = if size > LARGEST_OCTAL_SIZE { 0 } else { size };
    write_octal(&mut block[SIZE], size);
    write_octal(&mut block[MODIFIED], 0);
    block[TYPE] = kind;
    block[MAGIC].copy_from_slice(b"ustar\0");
    block[VERSION].copy_from_slice(b"00");
    write_octal(&mut block[DEVICE_MAJOR], 0);
    write_octal(&mut block[DEVICE_MINOR], 0);
    block[CHECKSUM].fill(b' ');
    let checksum = format!("{:06o}\0 ", sum(&block));
    block[CHECKSUM].copy_from_slice(checksum.as_bytes());
    block
}

/// The bytes that fill up the last block of a content of `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    let used = usize::try_from(size % BLOCK as u64).expect("less than a block");
    (BLOCK - used) % BLOCK
}

fn sum(block: &Block) -> u64 {
    block.iter().copied().map(u64::from).sum()
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// A number in octal, or in the binary form of GNU tar where the first bit is set. `None` for
/// anything else, and for numbers that are negative or beyond 63 bits.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    match first {
        0x80 => rest
            .iter()
            .try_fold(0_u64, |value, byte| {
                Some(value.checked_mul(256)? + u64::from(*byte))
            })
            .filter(|value| i64::try_from(*value).is_ok()),
        0x81..=0xff => None,
        _ => octal(field),
    }
}

/// Octal digits between spaces, ended by a NUL or the field. An empty field is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => Some(value.checked_mul(8)? + u64::from(digit - b'0')),
        _ => None,
    })
}

fn write_octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    field[..digits.len()].copy_from_slice(digits.as_bytes());
}
