//! One upload session of a registry: pieces in order, taken up where a connection broke.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::Class;
use super::answer::unwanted;
use super::client::{Call, Client};
use super::connector::is_listed;
use super::counters::RequestKind;
use super::failure::Failure;
use super::origin::{authority, check_url, same_origin, without_query};
use super::transport::Response;
use crate::oci::{Digest, RepositoryName};

/// What an upload came to that did not come to its end.
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// Whether the same content may get through in a new session.
    pub(super) again: bool,
}

impl Broken {
    /// No new session changes anything about it.
    pub(super) fn finally(failure: Failure) -> Self {
        let again = false;
        Self { failure, again }
    }

    /// In the midst of a session: it may be the session that is gone.
    fn within(failure: Failure) -> Self {
        let lost = match &failure {
            Failure::NotFound { .. } => true,
            Failure::Status { status, .. } => matches!(
                *status,
                StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE
            ),
            _ => false,
        };
        let again = lost || is_worth_another_try(&failure);
        Self { failure, again }
    }
}

/// Whether the same request may succeed now; a host that asks for a pause gets it.
pub(super) fn is_worth_another_try(failure: &Failure) -> bool {
    failure.class() == Class::Transient && failure.retry_after().is_none()
}

/// An open session.
pub(super) struct Upload<'a> {
    client: &'a Client,
    repository: &'a RepositoryName,
    location: Url,
    /// How many bytes the registry has.
    offset: u64,
    /// The least length of a piece that is not the last one.
    pub(super) least_piece: usize,
}

impl<'a> Upload<'a> {
    /// Asks for a session.
    pub(super) async fn begin(
        client: &'a Client,
        repository: &'a RepositoryName,
    ) -> Result<Self, Failure> {
        let mut call = Call::new(RequestKind::Upload, Method::POST, scope(repository));
        // A session that nobody continues is forgotten by its registry.
        call.repeatable = true;
        let url = client.url_of(repository, "blobs/uploads/")?;
        let response = client.exchange(url, call).await?;
        if response.status != StatusCode::ACCEPTED {
            return Err(unwanted(response).await);
        }
        Self::opened(client, repository, &response)
    }

    /// The session that `response` has opened.
    pub(super) fn opened(
        client: &'a Client,
        repository: &'a RepositoryName,
        response: &Response,
    ) -> Result<Self, Failure> {
        let least = response.headers.get("oci-chunk-min-length");
        let least = least.and_then(|text| text.to_str().ok()?.trim().parse::<u64>().ok());
        let most = client.transport().settings().limits.largest_piece;
        let least_piece = match least {
            None => 0,
            Some(least) => usize::try_from(least)
                .ok()
                .filter(|least| *least <= most)
                .ok_or_else(|| {
                    let what = format!(
                        "the registry wants pieces of {least} bytes, at most {most} are sent"
                    );
                    Failure::invalid(what)
                })?,
        };
        Ok(Self {
            client,
            repository,
            location: location_of(client, response)?.ok_or_else(|| {
                Failure::invalid("the registry opened an upload without Location")
            })?,
            offset: 0,
            least_piece,
        })
    }

    /// Hands over the next piece, however often the connection breaks on the way, as long as
    /// there is progress.
    pub(super) async fn append(&mut self, piece: &Bytes) -> Result<(), Broken> {
        let start = self.offset;
        let end = start + piece.len() as u64;
        let mut tries = 1;
        while self.offset < end {
            let before = self.offset;
            let done = usize::try_from(before - start).unwrap_or(piece.len());
            let Err(failure) = self.patch(piece.slice(done..), end).await else {
                tries = 1;
                continue;
            };
            let limit = self.client.transport().settings().limits.tries;
            let out_of_step = matches!(&failure, Failure::Status { status, .. }
                if *status == StatusCode::RANGE_NOT_SATISFIABLE);
            if tries >= limit || !(out_of_step || is_worth_another_try(&failure)) {
                return Err(Broken::within(failure));
            }
            tokio::time::sleep(self.client.transport().backoff(tries)).await;
            self.look_up(start, end).await.map_err(Broken::within)?;
            tries = if self.offset > before { 1 } else { tries + 1 };
        }
        Ok(())
    }

    async fn patch(&mut self, rest: Bytes, end: u64) -> Result<(), Failure> {
        let mut call = self.call(Method::PATCH);
        let range = format!("{}-{}", self.offset, end - 1);
        call.headers = octets();
        let range = HeaderValue::from_str(&range).expect("digits are header text");
        call.headers.insert(header::CONTENT_RANGE, range);
        call.patience = self.patience(rest.len());
        call.body = rest;
        let response = self.client.exchange(self.location.clone(), call).await?;
        if !matches!(
            response.status,
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT
        ) {
            return Err(unwanted(response).await);
        }
        let before = self.offset;
        self.advance(&response, before, end)?;
        if self.offset == before {
            return Err(Failure::invalid("the registry took nothing of a piece"));
        }
        Ok(())
    }

    /// Asks how much the registry has; it has to be between `start` and `end`.
    async fn look_up(&mut self, start: u64, end: u64) -> Result<(), Failure> {
        let call = self.call(Method::GET);
        let response = self.client.exchange(self.location.clone(), call).await?;
        if !matches!(
            response.status,
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED
        ) {
            return Err(unwanted(response).await);
        }
        if !response.headers.contains_key(header::RANGE) {
            return Err(Failure::invalid(
                "the registry does not say how much of an upload it has",
            ));
        }
        self.advance(&response, start, end)
    }

    /// Takes over what an answer says of the session: its place, and how much is there.
    fn advance(&mut self, response: &Response, start: u64, end: u64) -> Result<(), Failure> {
        if let Some(location) = location_of(self.client, response)? {
            self.location = location;
        }
        let Some(range) = response.headers.get(header::RANGE) else {
            self.offset = end;
            return Ok(());
        };
        let has = range
            .to_str()
            .ok()
            .and_then(length_of_range)
            .ok_or_else(|| Failure::invalid(format!("upload has the Range {range:?}")))?;
        // Some registries say `0-0` of nothing as well as of one byte; nobody sends one byte.
        let has = if has == 1 && end != 1 { 0 } else { has };
        if has < start || has > end {
            return Err(Failure::invalid(format!(
                "the registry has {has} bytes of an upload where between {start} and {end} \
                 were sent"
            )));
        }
        self.offset = has;
        Ok(())
    }

    /// Closes the session with its last bytes, and gives the content its digest.
    pub(super) async fn finish(&mut self, digest: &Digest, last: Bytes) -> Result<(), Broken> {
        let mut tries = 1;
        loop {
            let failure = match self.put(digest, last.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let limit = self.client.transport().settings().limits.tries;
            // With bytes in it, it may have come half way: that is for a new session.
            if !last.is_empty() || tries >= limit || !is_worth_another_try(&failure) {
                return Err(Broken::within(failure));
            }
            tokio::time::sleep(self.client.transport().backoff(tries)).await;
            tries += 1;
            let whole = self.offset;
            self.look_up(whole, whole).await.map_err(|_| Broken {
                failure,
                again: true,
            })?;
        }
    }

    async fn put(&self, digest: &Digest, last: Bytes) -> Result<(), Failure> {
        let mut call = self.call(Method::PUT);
        call.headers = octets();
        call.patience =
            self.patience(last.len()) + self.client.transport().settings().timeouts.commit;
        call.body = last;
        let mut url = self.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let response = self.client.exchange(url, call).await?;
        match response.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(unwanted(response).await),
        }
    }

    /// Tells the registry that nothing more comes. It finds out by itself where it is not told.
    pub(super) async fn cancel(self) {
        let call = self.call(Method::DELETE);
        let _ = self.client.exchange(self.location.clone(), call).await;
    }

    fn call(&self, method: Method) -> Call {
        Call::new(RequestKind::Upload, method, scope(self.repository))
    }

    fn patience(&self, length: usize) -> std::time::Duration {
        let rate = self
            .client
            .transport()
            .settings()
            .limits
            .minimum_upload_rate;
        std::time::Duration::from_secs(length as u64 / rate.max(1))
    }
}

/// What a token has to allow for a push.
pub(super) fn scope(repository: &RepositoryName) -> String {
    format!("repository:{repository}:pull,push")
}

fn octets() -> HeaderMap {
    let octets = HeaderValue::from_static("application/octet-stream");
    HeaderMap::from_iter([(header::CONTENT_TYPE, octets)])
}

/// The length that `0-N` stands for, with or without a unit in front.
fn length_of_range(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let last = text.strip_prefix("0-")?;
    last.parse::<u64>().ok()?.checked_add(1)
}

/// Where an upload goes on, if the answer says so and the policy lets us go there: on the
/// registry itself, or, without our identity, on a host that the operator trusts.
fn location_of(client: &Client, response: &Response) -> Result<Option<Url>, Failure> {
    let Some(location) = response.headers.get(header::LOCATION) else {
        return Ok(None);
    };
    let text = location.to_str().ok();
    let target = text
        .and_then(|text| response.url.join(text).ok())
        .ok_or_else(|| Failure::invalid("the Location of an upload is no URL"))?;
    check_url(&target)?;
    let home = client.endpoint().url();
    if same_origin(&target, &home) {
        return Ok(Some(target));
    }
    let refuse = |reason: String| Err(Failure::refused(without_query(&target), reason));
    if home.scheme() == "https" && target.scheme() != "https" {
        return refuse(format!(
            "{:?} sends an upload on to plain HTTP; tell the registry its own https address",
            authority(&home)
        ));
    }
    let trusted = &client.transport().settings().trusted_hosts;
    if !is_listed(trusted, target.host_str().unwrap_or_default()) {
        return refuse(format!(
            "{:?} sends an upload on to another host; name it as a trusted host if it is right",
            authority(&home)
        ));
    }
    Ok(Some(target))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn range_of_an_upload_is_its_length() {
        for (text, length) in [
            ("0-0", Some(1)),
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("5-99", None),
            ("0-", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
            ("rubbish", None),
        ] {
            assert_eq!(length_of_range(text), length, "{text:?}");
        }
    }
}
