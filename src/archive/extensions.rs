//! The headers in front of an entry's own that say more about it: PAX and GNU long names.

use super::error::shown;
use super::header::{Header, LARGEST_OCTAL_SIZE};
use super::pax::Extension;
use super::{Error, Limits, Result};

/// What extended headers say about the entry that follows. Each thing is said once.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pax: Option<Extension>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    /// Whether no extended header came.
    pub(super) fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// Takes in an extended header: kind `x`, `g`, `L` or `K`.
    pub(super) fn add(&mut self, header: &Header, content: Vec<u8>, limits: &Limits) -> Result<()> {
        let wrong = |problem| Error::ParseHeader {
            entry: shown(&header.name),
            problem,
        };
        let comes_twice = match header.kind {
            b'L' => {
                let name = long_name(header, content)?;
                self.long_name.replace(name).is_some()
            }
            b'K' => {
                let name = long_name(header, content)?;
                self.long_link.replace(name).is_some()
            }
            // Such as git writes one, with the commit as a comment.
            b'g' => {
                if !Extension::parse(&content, limits)?.is_empty() {
                    return Err(wrong("a global header changes paths or sizes"));
                }
                false
            }
            _ => {
                let extension = Extension::parse(&content, limits)?;
                self.pax.replace(extension).is_some()
            }
        };
        if comes_twice {
            return Err(wrong("two headers of one kind for one entry"));
        }
        let names_twice = self.pax.as_ref().is_some_and(|pax| {
            (pax.path.is_some() && self.long_name.is_some())
                || (pax.link_path.is_some() && self.long_link.is_some())
        });
        if names_twice {
            return Err(wrong("two long names for one entry"));
        }
        Ok(())
    }

    /// Changes the header of the entry by what was said.
    ///
    /// Readers differ in which of two sizes they take, so they have to be equal, except where
    /// only the PAX header can say it.
    pub(super) fn apply(self, header: &mut Header) -> Result<()> {
        let pax = self.pax.unwrap_or_default();
        if let Some(name) = pax.path.or(self.long_name) {
            header.name = name;
        }
        if let Some(name) = pax.link_path.or(self.long_link) {
            header.link_name = name;
        }
        let Some(size) = pax.size else { return Ok(()) };
        let only_here =
            size > LARGEST_OCTAL_SIZE && (header.size == 0 || header.size == LARGEST_OCTAL_SIZE);
        if size != header.size && !only_here {
            return Err(Error::ParseHeader {
                entry: shown(&header.name),
                problem: "the PAX header and the tar header say different sizes",
            });
        }
        header.size = size;
        Ok(())
    }
}

/// The name in a `@LongLink` of GNU tar, which ends with a NUL.
fn long_name(header: &Header, mut content: Vec<u8>) -> Result<Vec<u8>> {
    let end = content.iter().position(|byte| *byte == 0);
    let Some(end) = end.filter(|end| *end > 0 && *end + 1 == content.len()) else {
        return Err(Error::ParseHeader {
            entry: shown(&header.name),
            problem: "a long name is empty or does not end with its only NUL",
        });
    };
    content.truncate(end);
    Ok(content)
}
