//! Gzip on several threads, with bytes that depend on the content alone.
//!
//! The content is cut into blocks of one size, which are compressed at the same time: each by
//! itself, with the end of the one before as its dictionary, so that little is lost. The blocks
//! are joined into one member (RFC 1952), as any reader takes it. Where a block begins depends on
//! its position and on nothing else, so neither the number of threads nor their order shows.
//!
//! A block that does not become smaller is stored as it is: a program or an image in an archive
//! is often compressed already.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// What is compressed in one piece. Smaller ones lose size, larger ones hold more in memory.
pub(super) const BLOCK: usize = 256 << 10;

/// How far back a compressed piece may refer (RFC 1951).
const WINDOW: usize = 32 << 10;

/// The most that a stored block of deflate can hold.
const LONGEST_STORED: usize = 65_535;

/// Places of a block, and bytes of them all, that are tried before the whole block is compressed.
const SAMPLES: usize = 4;
const SAMPLED: usize = 16 << 10;

/// Threads for one stream: more would starve other streams, and hold more in memory.
const MOST_THREADS: usize = 4;

/// Blocks that each thread has waiting, beside the one that it works on.
const WAITING: usize = 1;

/// No name, no time; "fastest", as the level is; operating system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Compresses what is written to it.
pub(super) struct Gzip<W: Write> {
    sink: W,
    level: u32,
    threads: usize,
    workers: Vec<Worker>,
    /// What comes next, up to a block.
    block: Vec<u8>,
    /// The end of the block before.
    dictionary: Vec<u8>,
    /// Of the blocks that are being compressed, in their order, the workers that have them.
    pending: VecDeque<usize>,
    next: usize,
    spare: Vec<Job>,
    crc: Crc,
    has_begun: bool,
}

/// A block with all that it takes to compress it; its buffers are used again and again.
#[derive(Default)]
struct Job {
    content: Vec<u8>,
    dictionary: Vec<u8>,
    is_last: bool,
    compressed: Vec<u8>,
    crc: Crc,
}

struct Worker {
    jobs: SyncSender<Job>,
    done: Receiver<io::Result<Job>>,
}

impl<W: Write> Gzip<W> {
    /// Compresses at `level` to `sink`, with as many threads as there are processors.
    pub(super) fn new(sink: W, level: u32) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(sink, level, processors.min(MOST_THREADS))
    }

    /// With that many threads; with one, the caller's own is that thread.
    pub(super) fn with_threads(sink: W, level: u32, threads: usize) -> Self {
        Self {
            sink,
            level,
            threads,
            workers: Vec::new(),
            block: Vec::new(),
            dictionary: Vec::new(),
            pending: VecDeque::new(),
            next: 0,
            spare: Vec::new(),
            crc: Crc::new(),
            has_begun: false,
        }
    }

    /// Ends the member.
    pub(super) fn finish(mut self) -> io::Result<W> {
        // Most archives are one block: that is not worth a thread.
        if self.workers.is_empty() {
            let job = self.job(true);
            let job = Engine::new(self.level).run(job)?;
            self.put(job)?;
        } else {
            self.hand_over(true)?;
            while !self.pending.is_empty() {
                self.collect()?;
            }
        }
        self.sink.write_all(&self.crc.sum().to_le_bytes())?;
        self.sink.write_all(&self.crc.amount().to_le_bytes())?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Makes a job of the block, and remembers its end for the next one.
    fn job(&mut self, is_last: bool) -> Job {
        let mut job = self.spare.pop().unwrap_or_default();
        job.is_last = is_last;
        std::mem::swap(&mut job.content, &mut self.block);
        std::mem::swap(&mut job.dictionary, &mut self.dictionary);
        self.block.clear();
        self.dictionary.clear();
        let tail = job.content.len().saturating_sub(WINDOW);
        self.dictionary.extend_from_slice(&job.content[tail..]);
        job
    }

    /// Gives the block to the worker whose turn it is. The oldest one is waited for first where all
    /// have enough to do.
    fn hand_over(&mut self, is_last: bool) -> io::Result<()> {
        if self.workers.is_empty() {
            self.workers = (0..self.threads)
                .map(|_| Worker::start(self.level))
                .collect::<io::Result<_>>()?;
        }
        if self.pending.len() >= self.threads * (WAITING + 1) {
            self.collect()?;
        }
        let job = self.job(is_last);
        let turn = self.next;
        self.workers[turn]
            .jobs
            .send(job)
            .map_err(|_| broken_off())?;
        self.pending.push_back(turn);
        self.next = (turn + 1) % self.workers.len();
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn collect(&mut self) -> io::Result<()> {
        let Some(turn) = self.pending.pop_front() else {
            return Ok(());
        };
        let job = self.workers[turn].done.recv().map_err(|_| broken_off())??;
        self.put(job)
    }

    fn put(&mut self, job: Job) -> io::Result<()> {
        if !self.has_begun {
            self.has_begun = true;
            self.sink.write_all(&HEADER)?;
        }
        self.sink.write_all(&job.compressed)?;
        self.crc.combine(&job.crc);
        self.spare.push(job);
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            if self.threads > 1 {
                self.hand_over(false)?;
            } else {
                let job = self.job(false);
                let job = Engine::new(self.level).run(job)?;
                self.put(job)?;
            }
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: what is flushed early would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Worker {
    fn start(level: u32) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING);
        // Never full: no more blocks are under way than fit.
        let (finished, done) = sync_channel(WAITING + 1);
        thread::Builder::new()
            .name("compress".to_owned())
            .spawn(move || {
                let mut engine = Engine::new(level);
                // Ends when the stream does, or is given up.
                while let Ok(job) = waiting.recv() {
                    if finished.send(engine.run(job)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { jobs, done })
    }
}

fn broken_off() -> io::Error {
    io::Error::other("a thread that compresses was broken off")
}

/// Compresses one block after the other, each on its own.
struct Engine {
    deflate: Compress,
    sample: Vec<u8>,
    probe: Vec<u8>,
}

impl Engine {
    fn new(level: u32) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level), false),
            sample: Vec::new(),
            probe: Vec::new(),
        }
    }

    fn run(&mut self, mut job: Job) -> io::Result<Job> {
        job.compressed.clear();
        job.crc.reset();
        job.crc.update(&job.content);
        if self.is_noise(&job.content)? {
            store(&mut job);
            return Ok(job);
        }
        self.deflate.reset();
        if !job.dictionary.is_empty() {
            self.deflate
                .set_dictionary(&job.dictionary)
                .map_err(io::Error::other)?;
        }
        let flush = if job.is_last {
            FlushCompress::Finish
        } else {
            FlushCompress::Sync
        };
        self.deflate(&job.content, &mut job.compressed, flush)?;
        if !job.content.is_empty() && job.compressed.len() > job.content.len() {
            store(&mut job);
        }
        Ok(job)
    }

    /// Compresses in one call. There is always room for all of the output: zlib-rs 0.6 panics at
    /// level 1 where noise meets an output that is nearly full.
    fn deflate(
        &mut self,
        content: &[u8],
        output: &mut Vec<u8>,
        flush: FlushCompress,
    ) -> io::Result<()> {
        // Level 1 writes nine bits for a byte at worst.
        output.reserve(content.len() + content.len() / 7 + 1_024);
        self.deflate
            .compress_vec(content, output, flush)
            .map_err(io::Error::other)?;
        if self.deflate.total_in() == content.len() as u64 && output.len() < output.capacity() {
            return Ok(());
        }
        Err(io::Error::other(
            "the compressed block is longer than can be",
        ))
    }

    /// Whether samples of a full block say that it does not get smaller: to find that out with all
    /// of it takes twenty times as long as to store it.
    fn is_noise(&mut self, content: &[u8]) -> io::Result<bool> {
        if content.len() < BLOCK {
            return Ok(false);
        }
        self.sample.clear();
        for piece in content.chunks(BLOCK / SAMPLES) {
            self.sample.extend_from_slice(&piece[..SAMPLED / SAMPLES]);
        }
        self.probe.clear();
        self.deflate.reset();
        let (sample, mut probe) = (
            std::mem::take(&mut self.sample),
            std::mem::take(&mut self.probe),
        );
        self.deflate(&sample, &mut probe, FlushCompress::Finish)?;
        let is_noise = probe.len() > sample.len() / 64 * 63;
        (self.sample, self.probe) = (sample, probe);
        Ok(is_noise)
    }
}

/// Writes the block as it is (RFC 1951, section 3.2.4).
fn store(job: &mut Job) {
    job.compressed.clear();
    let pieces = job.content.chunks(LONGEST_STORED);
    let last = pieces.len() - 1;
    for (number, piece) in pieces.enumerate() {
        let is_final = job.is_last && number == last;
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        job.compressed.push(u8::from(is_final));
        job.compressed.extend_from_slice(&length.to_le_bytes());
        job.compressed.extend_from_slice(&(!length).to_le_bytes());
        job.compressed.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests;
