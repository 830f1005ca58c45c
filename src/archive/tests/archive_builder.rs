//! Builds archives byte by byte, also those that no proper tool would write.
//!
//! It shares nothing with the code under test, so that a mistake there does not hide itself.

pub(super) type Block = [u8; 512];

pub(super) struct ArchiveBuilder {
    bytes: Vec<u8>,
}

impl ArchiveBuilder {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(super) fn file(self, name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        self.entry(name, b'0', content)
    }

    pub(super) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(name, b'5', b"")
    }

    pub(super) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.patched(name, kind, b"", |header| {
            header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub(super) fn entry(self, name: impl AsRef<[u8]>, kind: u8, content: &[u8]) -> Self {
        self.patched(name, kind, content, |_| {})
    }

    /// An entry whose header is changed before its checksum is made.
    pub(super) fn patched(
        self,
        name: impl AsRef<[u8]>,
        kind: u8,
        content: &[u8],
        patch: impl FnOnce(&mut Block),
    ) -> Self {
        let name = name.as_ref();
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0001750\0");
        header[116..124].copy_from_slice(b"0001750\0");
        let size = format!("{:011o}\0", content.len());
        header[124..136].copy_from_slice(size.as_bytes());
        header[136..148].copy_from_slice(b"14371573000\0");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[265..270].copy_from_slice(b"mandy");
        patch(&mut header);
        write_checksum(&mut header);
        self.raw(&header).raw(content).pad()
    }

    /// An extended header with well-formed records.
    pub(super) fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let content: String = records
            .iter()
            .map(|(key, value)| pax_record(key, value))
            .collect();
        self.entry("PaxHeaders/1", kind, content.as_bytes())
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).bytes
    }

    pub(super) fn without_end(self) -> Vec<u8> {
        self.bytes
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}

pub(super) fn write_checksum(header: &mut Block) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(super) fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let fits = |length: &usize| *length == rest.len() + length.to_string().len();
    let length = (rest.len()..rest.len() + 20).find(fits).unwrap();
    format!("{length}{rest}")
}
