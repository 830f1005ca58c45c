//! A small registry that can be written to, with faults to order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::server::{Reply, Seen, Server, digest_of};
use crate::registry::media_type;

/// What a registry holds, and how far its only upload is.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<String, String>,
    pub(super) manifests: BTreeMap<String, String>,
    pub(super) upload: String,
    pub(super) sessions: usize,
}

/// A handle on the content of a registry.
pub(super) type Content = Arc<Mutex<State>>;

/// An empty registry that answers as the specification says, unless `fault` answers first. It is
/// told how many requests came before, and may change what the registry holds.
pub(super) async fn start(
    fault: impl Fn(&mut State, &Seen, usize) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Content) {
    let content = Content::default();
    let state = Arc::clone(&content);
    let server = Server::start(move |seen, before| {
        let mut state = state.lock().unwrap();
        match fault(&mut state, seen, before) {
            Some(reply) => reply,
            None => state.answer(seen),
        }
    })
    .await;
    (server, content)
}

impl State {
    pub(super) fn answer(&mut self, seen: &Seen) -> Reply {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let name = path.rsplit('/').next().unwrap();
        match seen.method.as_str() {
            "HEAD" | "GET" if path.contains("/uploads/") => self.progress(204),
            "HEAD" | "GET" if path.contains("/blobs/") => match self.blobs.get(name) {
                Some(blob) => Reply::new(200, blob),
                None => Reply::new(404, ""),
            },
            "HEAD" | "GET" => match self.manifests.get(name) {
                Some(manifest) => Reply::new(200, manifest)
                    .header("Content-Type", media_type::OCI_MANIFEST)
                    .header("Docker-Content-Digest", &digest_of(manifest).to_string()),
                None => Reply::new(404, ""),
            },
            "POST" if path.contains("/uploads/") => {
                self.upload.clear();
                self.sessions += 1;
                Reply::new(202, "").header("Location", &self.location())
            }
            "PATCH" => self.patch(seen),
            "PUT" if path.contains("/uploads/") => {
                self.upload.push_str(&seen.body);
                let digest = digest_of(&self.upload).to_string();
                if !query.contains(&digest.replace(':', "%3A")) {
                    return Reply::new(400, "");
                }
                self.blobs.insert(digest, std::mem::take(&mut self.upload));
                Reply::new(201, "")
            }
            "PUT" => {
                let digest = digest_of(&seen.body).to_string();
                self.manifests.insert(digest, seen.body.clone());
                self.manifests.insert(name.to_owned(), seen.body.clone());
                Reply::new(201, "")
            }
            "DELETE" => {
                self.manifests.remove(name);
                Reply::new(202, "")
            }
            _ => Reply::new(405, ""),
        }
    }

    fn patch(&mut self, seen: &Seen) -> Reply {
        let start = seen.headers["content-range"].split('-').next().unwrap();
        if start.parse() != Ok(self.upload.len()) {
            return self.progress(416);
        }
        self.upload.push_str(&seen.body);
        self.progress(202)
    }

    /// An answer of `status` that tells how far the upload is.
    pub(super) fn progress(&self, status: u16) -> Reply {
        let last = self.upload.len().saturating_sub(1);
        Reply::new(status, "")
            .header("Location", &self.location())
            .header("Range", &format!("0-{last}"))
    }

    fn location(&self) -> String {
        let state = self.upload.len();
        format!("/v2/team/app/blobs/uploads/{}?state={state}", self.sessions)
    }
}

/// The methods of the requests, and what they were for.
pub(super) fn steps(server: &Server) -> Vec<String> {
    let what = |path: &str| {
        let kinds = ["uploads", "blobs", "manifests"];
        kinds.into_iter().find(|kind| path.contains(kind))
    };
    let seen = server.seen();
    let step = |seen: &Seen| format!("{} {}", seen.method, what(&seen.path).unwrap_or("other"));
    seen.iter().map(step).collect()
}
