//! Tag lists, page by page.

use std::collections::HashSet;

use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::answer::unwanted;
use super::client::Client;
use super::counters::RequestKind;
use super::failure::Failure;
use super::origin::same_origin;
use crate::oci::{RepositoryName, Tag};

/// The tags of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagList {
    /// The tags in the registry's order, each once.
    pub tags: Vec<Tag>,
    /// How many entries were left out because they are no tags.
    pub skipped: usize,
}

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<Value>>,
}

pub(super) async fn list(client: &Client, repository: &RepositoryName) -> Result<TagList, Failure> {
    let settings = client.transport().settings();
    let home = client.endpoint().url();
    let first = home
        .join(&format!("/v2/{repository}/tags/list?n=1000"))
        .map_err(|_| Failure::invalid("the repository makes no URL"))?;
    let mut next = Some(first);
    let mut visited = HashSet::new();
    let mut seen = HashSet::new();
    let mut list = TagList::default();
    while let Some(url) = next {
        if !visited.insert(url.clone()) {
            return Err(Failure::invalid(
                "a page of the tag list links back to an earlier one",
            ));
        }
        if visited.len() > settings.limits.tag_pages {
            return Err(too_large(settings.limits.tag_pages, "pages"));
        }
        let response = client
            .request_url(
                RequestKind::Tags,
                Method::GET,
                repository,
                url,
                HeaderMap::new(),
            )
            .await?;
        if response.status != StatusCode::OK {
            return Err(unwanted(response).await);
        }
        next = next_page(&response.headers, &response.url, &home)?;
        let limit = settings.limits.tag_page;
        let deadline = settings.timeouts.small_body;
        let body = response.body.collect("tag list", limit, deadline).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|source| Failure::invalid(format!("malformed tag list: {source}")))?;
        for entry in page.tags.unwrap_or_default() {
            match entry.as_str().and_then(|text| text.parse::<Tag>().ok()) {
                Some(tag) if seen.insert(tag.clone()) => list.tags.push(tag),
                Some(_) => {}
                None => list.skipped += 1,
            }
            if list.tags.len() + list.skipped > settings.limits.tags {
                return Err(too_large(settings.limits.tags, "tags"));
            }
        }
    }
    Ok(list)
}

fn too_large(limit: usize, unit: &str) -> Failure {
    Failure::TooLarge {
        what: "tag list",
        limit: format!("{limit} {unit}"),
    }
}

/// The target of `Link: <…>; rel="next"` (RFC 8288), if it is on the registry itself: our
/// identity goes along with the request.
fn next_page(headers: &HeaderMap, current: &Url, home: &Url) -> Result<Option<Url>, Failure> {
    for value in headers.get_all(header::LINK) {
        let Ok(text) = value.to_str() else { continue };
        let Some((target, parameters)) = text
            .trim()
            .strip_prefix('<')
            .and_then(|text| text.split_once('>'))
        else {
            continue;
        };
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim().replace('"', "");
            parameter.eq_ignore_ascii_case("rel=next")
        });
        if !is_next {
            continue;
        }
        let url = current
            .join(target)
            .map_err(|_| Failure::invalid("the tag list links to something that is no URL"))?;
        if !same_origin(&url, home) || !url.username().is_empty() || url.password().is_some() {
            let shown: String = target.chars().take(200).collect();
            return Err(Failure::refused(
                shown,
                "the tag list links to another host",
            ));
        }
        return Ok(Some(url));
    }
    Ok(None)
}
