//! Reading everything again: what is damaged, and what is named and not there.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::oci::Digest;

use super::blob::matches;
use super::files::OperatingSystem;
use super::pointer::TagRecord;
use super::{Result, Store};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind of thing it is about.
    pub kind: FindingKind,
    /// Its name: a digest, a path below the root, or `namespace/snapshot:tag`.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
    /// Whether it was set right.
    pub repaired: bool,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingKind {
    /// Content that is not what its name says, or cannot be read.
    Blob,
    /// A derivation or grant that cannot be read.
    Record,
    /// A tag that cannot be read, or leads to content that is not there.
    Tag,
}

/// What a scrub has read, and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scrubbed {
    /// How many blobs there are.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many tags, derivations and grants there are.
    pub records: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Reads everything in the store in `root`, which nobody may have open. With `repair`, damaged
/// content is quarantined, and records that are damaged or lead nowhere are removed: the controller
/// makes them again.
pub fn scrub(root: &Path, repair: bool) -> Result<Scrubbed> {
    let store = Store::open_as_it_is(Arc::new(OperatingSystem), root)?;
    store.scrub(repair)
}

impl Store {
    fn scrub(&self, repair: bool) -> Result<Scrubbed> {
        let mut scrubbed = Scrubbed::default();
        for digest in self.blobs()? {
            self.scrub_blob(&digest, repair, &mut scrubbed)?;
        }
        self.scrub_records(repair, &mut scrubbed)?;
        Ok(scrubbed)
    }

    fn scrub_blob(&self, digest: &Digest, repair: bool, scrubbed: &mut Scrubbed) -> Result<()> {
        let Some((mut handle, stamp)) = self.open_unchecked(digest)? else {
            return Ok(());
        };
        scrubbed.blobs += 1;
        scrubbed.bytes += stamp.size;
        let problem = match matches(handle.as_mut(), digest) {
            Ok(true) => return Ok(()),
            Ok(false) => "its content has another digest".to_owned(),
            Err(source) => format!("it cannot be read: {source}"),
        };
        if repair {
            self.quarantine(digest, stamp, &problem)?;
        }
        scrubbed.findings.push(Finding {
            kind: FindingKind::Blob,
            name: digest.to_string(),
            problem,
            repaired: repair,
        });
        Ok(())
    }

    fn scrub_records(&self, repair: bool, scrubbed: &mut Scrubbed) -> Result<()> {
        let survey = self.survey()?;
        for pointer in &survey.pointers {
            scrubbed.records += 1;
            if pointer.is_damaged {
                let finding = Finding {
                    kind: FindingKind::Record,
                    name: self.relative(&pointer.path),
                    problem: "its content does not match its digest".to_owned(),
                    repaired: repair && self.remove_record(&pointer.path)?,
                };
                scrubbed.findings.push(finding);
            }
        }
        for (repository, tags) in &survey.repositories {
            for (tag, record) in tags {
                scrubbed.records += 1;
                let manifest = record.as_ref().map(|TagRecord { manifest, .. }| manifest);
                let named = manifest.and_then(|manifest| survey.named.get(manifest));
                let mut wanted = manifest.into_iter().chain(named.into_iter().flatten());
                // With the damaged ones out of the way, the survey shows what is sound.
                let missing = wanted.find(|digest| {
                    !survey.blobs.contains_key(*digest) || is_damaged(&scrubbed.findings, digest)
                });
                let problem = match (record, missing) {
                    (None, _) => "its record does not match its digest".to_owned(),
                    (_, Some(missing)) => format!("content {missing} is damaged or not there"),
                    (Some(_), None) => continue,
                };
                let path = self.tag_path(repository, tag);
                let finding = Finding {
                    kind: FindingKind::Tag,
                    name: format!("{repository}:{tag}"),
                    problem,
                    repaired: repair && self.remove_record(&path)?,
                };
                scrubbed.findings.push(finding);
            }
        }
        Ok(())
    }

    fn relative(&self, path: &Path) -> String {
        let root = self.disk().path("");
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

fn is_damaged(findings: &[Finding], digest: &Digest) -> bool {
    let name = digest.to_string();
    findings
        .iter()
        .any(|finding| finding.kind == FindingKind::Blob && finding.name == name)
}
