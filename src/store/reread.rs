//! Reading all content again while the store is in use: a little at a time, and never more of it
//! in memory than one piece and the names in one folder.

use std::collections::VecDeque;
use std::io;

use crate::oci::{Digest, Hasher};

use super::blob::PIECE;
use super::files::{Handle, Stamp};
use super::survey::BlobFolder;
use super::{Error, Result, Store};

/// What looking at a blob costs besides its bytes, in bytes, so that many small ones are not read
/// at once.
const OPENING: u64 = 4096;

/// One reading of all content, folder by folder. What comes into a folder that was read already is
/// read by the next one.
#[derive(Debug)]
pub struct Rereading {
    store: Store,
    folders: VecDeque<BlobFolder>,
    names: VecDeque<Digest>,
    open: Option<Open>,
}

/// The blob that is being read.
#[derive(Debug)]
struct Open {
    digest: Digest,
    stamp: Stamp,
    handle: Box<dyn Handle>,
    hasher: Hasher,
}

/// What one step of a [`Rereading`] came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reread {
    /// The bytes of content that were read.
    pub bytes: u64,
    /// What was damaged. It is in quarantine, unless it was replaced meanwhile.
    pub damaged: Vec<Digest>,
    /// Whether all is read.
    pub is_done: bool,
}

impl Store {
    /// Begins to read all content again, with the folder that is `first` of as many as there are,
    /// and the others behind it. A process that never lives to the end of a reading should begin
    /// somewhere else each time.
    pub fn reread(&self, first: usize) -> Result<Rereading> {
        let mut folders = VecDeque::from(self.blob_folders()?);
        if !folders.is_empty() {
            folders.rotate_left(first % folders.len());
        }
        Ok(Rereading {
            store: self.clone(),
            folders,
            names: VecDeque::new(),
            open: None,
        })
    }

    /// What it costs to read all content again, as [`Rereading::step`] counts, without reading any.
    pub fn reread_cost(&self) -> Result<u64> {
        let mut cost = 0;
        for folder in self.blob_folders()? {
            for digest in self.blobs_in(&folder)? {
                let path = self.blob_path(&digest);
                let stamp = self.disk().look(&path);
                if let Some(stamp) = stamp.map_err(Error::access("look at", &path))? {
                    cost += stamp.size + OPENING;
                }
            }
        }
        Ok(cost)
    }
}

impl Rereading {
    /// Reads on, as far as `allowance` bytes go. Damaged content is moved to quarantine.
    ///
    /// It asks the disk, not what the system has in memory of it. It counts as no use of what is
    /// read.
    pub fn step(&mut self, allowance: u64) -> Result<Reread> {
        let mut reread = Reread::default();
        let mut cost = 0;
        let mut piece = vec![0; PIECE];
        while cost < allowance {
            let Some(open) = &mut self.open else {
                cost += OPENING;
                if !self.open_next()? {
                    reread.is_done = true;
                    break;
                }
                continue;
            };
            match open.handle.read(&mut piece) {
                Ok(0) => self.judge(None, &mut reread)?,
                Ok(length) => {
                    open.hasher.update(&piece[..length]);
                    reread.bytes += length as u64;
                    cost += length as u64;
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => self.judge(Some(source), &mut reread)?,
            }
        }
        let counts = &self.store.inner.counts;
        counts.reread(reread.bytes, reread.is_done);
        Ok(reread)
    }

    /// Opens the next blob; says whether there was one.
    fn open_next(&mut self) -> Result<bool> {
        loop {
            let Some(digest) = self.names.pop_front() else {
                let Some(folder) = self.folders.pop_front() else {
                    return Ok(false);
                };
                self.names = self.store.blobs_in(&folder)?.into();
                continue;
            };
            if let Some((handle, stamp)) = self.store.open_unchecked(&digest)? {
                handle.forget_cached();
                self.open = Some(Open {
                    hasher: Hasher::new(digest.algorithm()),
                    digest,
                    stamp,
                    handle,
                });
                return Ok(true);
            }
        }
    }

    /// Decides about the blob that was read to its end, or to where it `failed`.
    fn judge(&mut self, failed: Option<io::Error>, reread: &mut Reread) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        // What was read for this alone is not to keep other things out of memory.
        open.handle.forget_cached();
        let problem = match failed {
            Some(source) => source.to_string(),
            None if open.hasher.finish() == open.digest => return Ok(()),
            None => "content has another digest".to_owned(),
        };
        self.store.quarantine(&open.digest, open.stamp, &problem)?;
        reread.damaged.push(open.digest);
        Ok(())
    }
}
