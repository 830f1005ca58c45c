//! What `docs/` says of the program is so, where a test can tell.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ocm_controller::api::Reason;
use ocm_controller::metrics::{Metrics, Notified, Sources};
use ocm_controller::mutation::ConfigData;
use ocm_controller::registry::{Download, Settings, Transport};
use ocm_controller::store::{Live, Store};

use crate::command_line::starts_with;
use crate::files::{all_documents, below, blocks, path, text};

#[test]
fn index_names_every_document() {
    let index = text("docs/README.md");
    let linked: BTreeSet<&str> = links(&index).collect();
    for (file, _) in below("docs", ".md") {
        let name = file.strip_prefix("docs/").expect("it lies there");
        assert!(
            name == "README.md" || linked.contains(name),
            "docs/README.md does not link to {name}"
        );
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    for (file, document) in all_documents() {
        let folder = path(&file);
        let folder = folder.parent().expect("a file lies in a folder");
        for link in links(&document).filter(|link| !link.contains("://")) {
            let (name, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if name.is_empty() {
                path(&file)
            } else {
                folder.join(name)
            };
            assert!(target.exists(), "{file}: {link:?} leads nowhere");
            if !heading.is_empty() {
                let target = std::fs::read_to_string(&target).expect("a text");
                assert!(
                    headings(&target).any(|found| anchor(found) == heading),
                    "{file}: {link:?} leads to no heading"
                );
            }
        }
    }
}

#[test]
fn every_reason_has_an_entry_and_every_entry_is_a_reason() {
    let document = text("docs/troubleshooting.md");
    let entries: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let documented: BTreeSet<&str> = entries.iter().copied().collect();
    assert_eq!(documented.len(), entries.len(), "an entry is there twice");
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented, reasons);
}

/// Each row begins with name, type and labels; what the program serves says the first two itself.
#[test]
fn every_metric_has_a_row_and_every_row_is_a_metric() {
    let (_folder, metrics) = metrics(Transport::new(Settings::default()).unwrap());
    // One that never counted anything is not shown.
    metrics.reconciled("resource", Reason::Succeeded, Duration::ZERO);
    count_the_rest(&metrics);
    let served = metrics.render();
    let served: BTreeSet<(String, String)> = served
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect();
    let documented: BTreeSet<(String, String)> = metric_rows()
        .into_iter()
        .map(|row| (row.name, row.kind))
        .collect();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn labels_of_metrics_are_those_of_their_rows() {
    let settings = Settings {
        allow_loopback: true,
        ..Settings::default()
    };
    let transport = Transport::new(settings).unwrap();
    let (_folder, metrics) = metrics(transport.clone());
    metrics.reconciled("resource", Reason::Succeeded, Duration::ZERO);
    count_the_rest(&metrics);
    // A request that fails is counted too. Port 0 is nobody's.
    let values = Download::get("http://127.0.0.1:0/values.tar.gz".parse().unwrap());
    assert!(transport.download(values, &[]).await.is_err());
    let served = metrics.render();
    for MetricRow { name, labels, .. } in metric_rows() {
        let stem = name.trim_end_matches("_total");
        if labels.is_empty() {
            let labelled = |line: &str| line.starts_with(stem) && line.contains('{');
            let mut lines = served.lines();
            assert!(
                lines.all(|line| !labelled(line) || line.contains("{le=")),
                "{name}"
            );
            continue;
        }
        let samples: Vec<&str> = served
            .lines()
            .filter(|line| line.starts_with(stem) && line.contains('{'))
            .collect();
        assert!(!samples.is_empty(), "{name} is not in:\n{served}");
        for sample in samples {
            let inside = sample.split(['{', '}']).nth(1).expect("labels");
            let found: Vec<&str> = inside
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0))
                .filter(|label| *label != "le")
                .collect();
            assert_eq!(found.join(", "), labels, "{sample}");
        }
    }
}

/// Counts what no reconcile counts.
fn count_the_rest(metrics: &Metrics) {
    drop(metrics.begun("resource"));
    metrics.set_failing_watches([("Resource".to_owned(), Duration::ZERO)]);
    metrics.notified(Notified::Sent);
    metrics.queue("resource").set(1);
    metrics.asked("get", Some(200));
    metrics.set_certificate_expiry("registry.example.org", SystemTime::now());
}

/// Metrics with a store whose every number is known.
fn metrics(transport: Transport) -> (tempfile::TempDir, Metrics) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let collection = store.collect().unwrap();
    collection.plan(&Live::default(), Some(1)).unwrap();
    let metrics = Metrics::new(Sources {
        transport,
        store,
        refusals: Arc::default(),
        undeleted: Arc::default(),
    });
    (folder, metrics)
}

/// A row of `docs/metrics.md`.
pub(crate) struct MetricRow {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Joined by commas.
    labels: String,
}

pub(crate) fn metric_rows() -> Vec<MetricRow> {
    let mut rows = Vec::new();
    for line in text("docs/metrics.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, labels, _, ""] = cells[..]
            && let Some(name) = name.strip_prefix('`')
        {
            rows.push(MetricRow {
                name: name.trim_end_matches('`').to_owned(),
                kind: kind.to_owned(),
                labels: labels.replace('`', ""),
            });
        }
    }
    rows
}

#[test]
fn rules_in_documents_can_be_read() {
    let mut seen = 0;
    for (file, document) in all_documents() {
        for yaml in blocks(&document, "yaml").filter(|yaml| yaml.contains("kind: ConfigData")) {
            let read = ConfigData::parse(yaml.as_bytes());
            assert!(read.is_ok(), "{file}: {}", read.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn flags_that_the_upgrade_calls_ignored_are_accepted() {
    let document = text("docs/upgrade.md");
    let flags: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("- `--")?.split('`').next())
        .map(|flag| format!("--{flag}=x"))
        .collect();
    assert!(!flags.is_empty());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    starts_with(&flags);
}

/// Where the links of a document lead.
fn links(document: &str) -> impl Iterator<Item = &str> {
    document
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
}

fn headings(document: &str) -> impl Iterator<Item = &str> {
    document
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
}

/// How a heading is linked to on the common forges.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}
