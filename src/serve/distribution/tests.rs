//! The distribution API on its router, and once over a socket with a client that others wrote.

use std::collections::BTreeMap;
use std::io::Write as _;

use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::snapshot::{Artifact, ContentKind, SnapshotLayer, image};

use super::*;

mod principals;

const LAYER: &[u8] = b"0123456789";

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
    router: Router,
}

struct Published {
    manifest: Digest,
    layer: Digest,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let router = router(store.clone(), Arc::new(Anyone));
        Self {
            folder,
            store,
            router,
        }
    }

    fn put(&self, content: &[u8]) -> Digest {
        let mut writer = self.store.writer().unwrap();
        writer.write_all(content).unwrap();
        writer.commit().unwrap().digest
    }

    fn publish(&self, repository: &str, tag: &str, content: &[u8]) -> Published {
        let layer = SnapshotLayer {
            media_type: ContentKind::Files.layer_media_type().to_owned(),
            digest: self.put(content),
            size: content.len() as u64,
        };
        let image = image(&layer, Artifact::Files, &BTreeMap::new());
        let (repository, tag) = (repository.parse().unwrap(), tag.parse().unwrap());
        let record = self
            .store
            .publish(&repository, &tag, &image, "uid")
            .unwrap();
        Published {
            manifest: record.manifest,
            layer: layer.digest,
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.ask("GET", path, &[]).await;
        (response.status(), body(response).await)
    }
}

async fn body(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn image_is_pulled_by_tag_and_by_digest() {
    let fixture = Fixture::new();
    let published = fixture.publish("ns/app", "1.0", LAYER);
    let by_tag = fixture.ask("GET", "/v2/ns/app/manifests/1.0", &[]).await;
    assert_eq!(by_tag.status(), StatusCode::OK);
    assert_eq!(by_tag.headers()[header::CONTENT_TYPE], MANIFEST_MEDIA_TYPE);
    assert_eq!(
        by_tag.headers()["docker-content-digest"],
        published.manifest.to_string().as_str()
    );
    let manifest = body(by_tag).await;
    assert_eq!(Digest::of(&manifest), published.manifest);
    let path = format!("/v2/ns/app/manifests/{}", published.manifest);
    assert_eq!(fixture.get(&path).await, (StatusCode::OK, manifest));
    let path = format!("/v2/ns/app/blobs/{}", published.layer);
    let layer = String::from_utf8(LAYER.to_vec()).unwrap();
    assert_eq!(fixture.get(&path).await, (StatusCode::OK, layer));
    let path = format!("/v2/ns/app/blobs/{}", Digest::of("{}"));
    assert_eq!(fixture.get(&path).await.1, "{}");
    assert_eq!(fixture.get("/v2/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let fixture = Fixture::new();
    let published = fixture.publish("ns/app", "1.0", LAYER);
    for path in [
        "/v2/".to_owned(),
        "/v2/ns/app/tags/list".to_owned(),
        "/v2/ns/app/manifests/1.0".to_owned(),
        format!("/v2/ns/app/blobs/{}", published.layer),
        format!("/v2/ns/app/blobs/{}", Digest::of("absent")),
        "/v2/ns/app/manifests/absent".to_owned(),
    ] {
        let get = fixture.ask("GET", &path, &[]).await;
        let head = fixture.ask("HEAD", &path, &[("range", "bytes=1-2")]).await;
        assert_eq!(head.status(), get.status(), "{path}");
        assert_eq!(head.headers(), get.headers(), "{path}");
        assert_eq!(body(head).await, "", "{path}");
    }
}

#[tokio::test]
async fn b83_repository_gives_only_what_its_own_tags_reach() {
    let fixture = Fixture::new();
    let ours = fixture.publish("ours/app", "1.0", b"ours");
    let theirs = fixture.publish("theirs/app", "1.0", b"theirs");
    assert_eq!(
        fixture
            .get(&format!("/v2/ours/app/blobs/{}", ours.layer))
            .await
            .1,
        "ours"
    );
    let absent = fixture
        .get(&format!("/v2/ours/app/blobs/{}", Digest::of("absent")))
        .await;
    let foreign = fixture
        .get(&format!("/v2/ours/app/blobs/{}", theirs.layer))
        .await;
    assert_eq!(foreign.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign, absent);
    let path = format!("/v2/ours/app/manifests/{}", theirs.manifest);
    assert_eq!(fixture.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn b83_who_is_not_allowed_gets_a_challenge() {
    struct Only(&'static str);
    impl Authorizer for Only {
        fn allows(&self, _request: &Parts, repository: Option<&Repository>) -> bool {
            repository.is_some_and(|repository| repository.namespace().as_str() == self.0)
        }
    }
    let mut fixture = Fixture::new();
    fixture.publish("ours/app", "1.0", LAYER);
    fixture.publish("theirs/app", "1.0", LAYER);
    fixture.router = router(fixture.store.clone(), Arc::new(Only("ours")));
    assert_eq!(
        fixture.get("/v2/ours/app/tags/list").await.0,
        StatusCode::OK
    );
    for path in [
        "/v2/",
        "/v2/theirs/app/tags/list",
        "/v2/theirs/none/tags/list",
    ] {
        let response = fixture.ask("GET", path, &[]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}

#[tokio::test]
async fn b81_paths_that_are_no_names_are_refused() {
    let fixture = Fixture::new();
    fixture.publish("ns/app", "1.0", LAYER);
    let long = format!("/v2/{}/manifests/1.0", vec!["a"; 200].join("/"));
    for path in [
        "/",
        "/etc/passwd",
        "/v1/",
        "/v2x/",
        "/v2/_catalog",
        "/v2/../../etc/passwd",
        "/v2/../../manifests/1.0",
        "/v2/ns/..%2f..%2fapp/manifests/1.0",
        "/v2/ns/%2e%2e/manifests/1.0",
        "/v2/ns/%252e/manifests/1.0",
        "/v2/ns//app/manifests/1.0",
        "/v2//ns/app/manifests/1.0",
        "/v2/ns/app%00/manifests/1.0",
        "/v2/NS/app/manifests/1.0",
        "/v2/ns/app/manifests/..",
        "/v2/ns/app/manifests/.INVALID",
        "/v2/ns/app/manifests/",
        "/v2/ns/app/blobs/1.0",
        "/v2/ns/app/blobs/sha256:../../etc/passwd",
        "/v2/ns/app/blobs/sha256:abc",
        "/v2/ns/app/referrers/abc",
        "/v2/ns/app/uploads/1",
        long.as_str(),
    ] {
        let (status, text) = fixture.get(path).await;
        assert!(
            matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST),
            "{path}: {status}"
        );
        let error: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(error["errors"][0]["code"].is_string(), "{path}: {text}");
    }
}

#[tokio::test]
async fn b82_writes_are_refused_everywhere() {
    let fixture = Fixture::new();
    let published = fixture.publish("ns/app", "1.0", LAYER);
    for method in [
        "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
    ] {
        for path in [
            "/v2/",
            "/v2/ns/app/manifests/1.0",
            "/v2/ns/app/blobs/uploads/",
            "/x",
        ] {
            let headers = [("x-http-method-override", "GET")];
            let response = fixture.ask(method, path, &headers).await;
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
        }
    }
    let headers = [("x-http-method-override", "DELETE")];
    let path = format!("/v2/ns/app/blobs/{}", published.layer);
    assert_eq!(
        fixture.ask("GET", &path, &headers).await.status(),
        StatusCode::OK
    );
    assert!(fixture.store.contains(&published.layer).unwrap().is_some());
}

#[tokio::test]
async fn b84_part_of_a_blob_is_answered_as_asked() {
    let fixture = Fixture::new();
    let path = format!(
        "/v2/ns/app/blobs/{}",
        fixture.publish("ns/app", "1", LAYER).layer
    );
    for (range, status, content_range, expected) in [
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=-2", 206, Some("bytes 8-9/10"), "89"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=0-1,3-4", 200, None, "0123456789"),
    ] {
        let response = fixture.ask("GET", &path, &[("range", range)]).await;
        assert_eq!(response.status().as_u16(), status, "{range}");
        let found = response.headers().get(header::CONTENT_RANGE);
        assert_eq!(found.map(|found| found.to_str().unwrap()), content_range);
        assert_eq!(body(response).await, expected, "{range}");
    }
    let stale = [("range", "bytes=2-4"), ("if-range", "\"sha256:other\"")];
    assert_eq!(
        fixture.ask("GET", &path, &stale).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn b88_forged_host_and_odd_headers_change_nothing() {
    let fixture = Fixture::new();
    for tag in ["1", "2", "3"] {
        fixture.publish("ns/app", tag, LAYER);
    }
    let accept = "a/b,".repeat(2_500);
    let headers = [("host", "evil.example"), ("accept", accept.as_str())];
    let path = "/v2/ns/app/tags/list?n=2&ns=evil.example";
    let response = fixture.ask("GET", path, &headers).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::LINK],
        "</v2/ns/app/tags/list?n=2&last=2>; rel=\"next\""
    );
    let path = "/v2/ns/app/manifests/1";
    assert_eq!(
        fixture.ask("GET", path, &headers).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn cve_2023_2253_tags_come_sorted_and_in_pages_however_many_are_asked_for() {
    let fixture = Fixture::new();
    for tag in ["b", "c", "a"] {
        fixture.publish("ns/app", tag, LAYER);
    }
    for (query, tags) in [
        ("", r#"["a","b","c"]"#),
        ("?n=2", r#"["a","b"]"#),
        ("?n=2&last=b", r#"["c"]"#),
        ("?last=aa", r#"["b","c"]"#),
        ("?last=zzz", "[]"),
        ("?n=0", "[]"),
        ("?n=1000000000000000000", r#"["a","b","c"]"#),
        ("?n=99999999999999999999999999", r#"["a","b","c"]"#),
    ] {
        let (status, text) = fixture.get(&format!("/v2/ns/app/tags/list{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        assert_eq!(
            text,
            format!(r#"{{"name":"ns/app","tags":{tags}}}"#),
            "{query}"
        );
    }
    for query in ["?n=-1", "?n=", "?n=x"] {
        let (status, _) = fixture.get(&format!("/v2/ns/app/tags/list{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
    // There is no list of all repositories.
    for path in [
        "/v2/ns/none/tags/list",
        "/v2/_catalog?n=1000000000000000000",
    ] {
        assert_eq!(fixture.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn b33_referrers_are_an_empty_index_without_a_fallback_tag() {
    let fixture = Fixture::new();
    let published = fixture.publish("ns/app", "1", LAYER);
    let path = format!("/v2/ns/app/referrers/{}", published.manifest);
    let response = fixture.ask("GET", &path, &[]).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], INDEX_MEDIA_TYPE);
    let index: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(index["manifests"], json!([]));
    // Clients that know no referrers look for a tag instead, and take 404 for none.
    let fallback = published.manifest.to_string().replace(':', "-");
    let path = format!("/v2/ns/app/manifests/{fallback}");
    assert_eq!(fixture.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn f35_rotten_blob_is_never_sent() {
    let fixture = Fixture::new();
    let published = fixture.publish("ns/app", "1", LAYER);
    let hex = published.layer.hex();
    let file = fixture
        .folder
        .path()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(hex);
    std::fs::write(file, b"01234567890").unwrap();
    let path = format!("/v2/ns/app/blobs/{}", published.layer);
    assert_eq!(fixture.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn b89_running_pull_ends_with_the_old_bytes_and_a_new_one_sees_the_new() {
    let fixture = Fixture::new();
    let old = vec![b'o'; 1 << 20];
    let published = fixture.publish("ns/app", "1", &old);
    let path = format!("/v2/ns/app/blobs/{}", published.layer);
    let mut running = fixture.ask("GET", &path, &[]).await.into_body();
    let first = running.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() <= PIECE);

    let replaced = fixture.publish("ns/app", "1", b"new");
    fixture.store.remove_blob(&published.layer).unwrap();
    let rest = running.collect().await.unwrap().to_bytes();
    assert_eq!([first, rest].concat(), old);
    assert_eq!(fixture.get(&path).await.0, StatusCode::NOT_FOUND);
    let path = format!("/v2/ns/app/blobs/{}", replaced.layer);
    assert_eq!(fixture.get(&path).await.1, "new");
}
