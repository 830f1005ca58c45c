//! Content that is not what was asked for.

use super::server::{Reply, Server, Then, digest_of, plain_manifest, repository, tag, told};
use crate::oci::Digest;
use crate::registry::{Class, Content, Error, Manifest, Reference, Resolved, Result, media_type};

async fn pull(reply: Reply) -> Result<Manifest> {
    let server = Server::start(move |_, _| reply.clone()).await;
    server.client().manifest(&repository(), &tag("1")).await
}

async fn refused(reply: Reply) -> Error {
    let error = pull(reply).await.unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent, "{}", told(&error));
    error
}

fn blob_server(reply: Reply) -> impl Future<Output = Server> {
    Server::start(move |_, _| reply.clone())
}

#[tokio::test]
async fn manifest_is_pulled_with_the_digest_of_its_bytes() {
    let manifest = pull(Reply::manifest(&plain_manifest())).await.unwrap();
    assert_eq!(manifest.digest, digest_of(plain_manifest()));
    assert_eq!(manifest.bytes, plain_manifest());
    let Content::Image(image) = manifest.content else {
        panic!("an image manifest was taken for an index")
    };
    assert_eq!((image.config.size, image.layers.len()), (2, 0));
}

#[tokio::test]
async fn b23_cve_2021_41190_ghsa_mc8v_mgrf_8f4m_document_with_two_meanings_is_refused() {
    let both = plain_manifest().replace("\"layers\":[]", "\"layers\":[],\"manifests\":[]");
    let error = refused(Reply::manifest(&both)).await;
    assert!(told(&error).contains("both"), "{}", told(&error));

    let other = plain_manifest().replace(media_type::OCI_MANIFEST, media_type::OCI_INDEX);
    refused(Reply::manifest(&other)).await;

    let named = format!("\"mediaType\":\"{}\",", media_type::OCI_MANIFEST);
    let unnamed = plain_manifest().replacen(&named, "", 1);
    pull(Reply::manifest(&unnamed)).await.unwrap();
    let as_index = Reply::new(200, &unnamed).header("Content-Type", media_type::OCI_INDEX);
    refused(as_index).await;

    let parameters = format!("{}; charset=utf-8", media_type::OCI_MANIFEST);
    let reply = Reply::new(200, plain_manifest()).header("Content-Type", &parameters);
    assert_eq!(
        pull(reply).await.unwrap().media_type,
        media_type::OCI_MANIFEST
    );
}

#[tokio::test]
async fn b24_manifest_ends_at_four_mebibytes() {
    let padded = |length: usize| {
        let manifest = plain_manifest();
        let padding = " ".repeat(length - manifest.len());
        manifest + &padding
    };
    pull(Reply::manifest(&padded(4 << 20))).await.unwrap();
    refused(Reply::manifest(&padded((4 << 20) + 1))).await;
    let head = format!(
        "HTTP/1.1 200 x\r\nContent-Type: {}\r\n\r\n",
        media_type::OCI_MANIFEST
    );
    let error = pull(Reply::raw(head).then(Then::Flood(1 << 16)))
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("larger than 4194304 bytes"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn b25_ambiguous_manifest_is_refused() {
    for (from, to) in [
        ("\"layers\":[]", "\"layers\":[],\"layers\":[]"),
        ("\"size\":2", "\"size\":2,\"size\":2"),
        ("\"size\":2", "\"size\":-2"),
        ("\"size\":2", "\"size\":18446744073709551616"),
        ("\"size\":2", "\"size\":1e400"),
        ("\"schemaVersion\":2", "\"schemaVersion\":1"),
        ("sha256:", "sha256:../../"),
        ("\"layers\":[]}", "\"layers\":[]} x"),
    ] {
        let changed = plain_manifest().replacen(from, to, 1);
        assert_ne!(changed, plain_manifest());
        refused(Reply::manifest(&changed)).await;
    }
}

#[tokio::test]
async fn b27_announced_digest_has_to_be_right() {
    let reply = || Reply::manifest(&plain_manifest());
    let right = digest_of(plain_manifest()).to_string();
    let wrong = digest_of("x").to_string();
    pull(reply().header("Docker-Content-Digest", &right))
        .await
        .unwrap();
    refused(reply().header("Docker-Content-Digest", &wrong)).await;
    refused(reply().header("Docker-Content-Digest", "sha256:..")).await;
    let two = reply().header("Docker-Content-Digest", &right);
    refused(two.header("Docker-Content-Digest", &wrong)).await;

    let sha512 = {
        let mut hasher = crate::oci::Hasher::new(crate::oci::Algorithm::Sha512);
        hasher.update(plain_manifest().as_bytes());
        hasher.finish()
    };
    let announced = reply().header("Docker-Content-Digest", &sha512.to_string());
    let server = Server::start(move |_, _| announced.clone()).await;
    let by_digest = |digest: &str| Reference::Digest(digest.parse().unwrap());
    let client = server.client();
    client
        .manifest(&repository(), &by_digest(&right))
        .await
        .unwrap();
    let error = client
        .manifest(&repository(), &by_digest(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
}

#[tokio::test]
async fn b28_f06_f07_blob_is_whole_and_right_or_an_error() {
    let content = b"hello world";
    let digest = digest_of(content);
    let pull = async |reply: Reply, size: Option<u64>| {
        let server = blob_server(reply).await;
        server
            .client()
            .blob_bytes(&repository(), &digest, size, 1 << 20)
            .await
    };
    let reply = |body: &[u8]| Reply::new(200, body);
    let chunked = |body: &str| {
        let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::raw(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
    };
    let unsized_body = |body: &str| Reply::raw(format!("HTTP/1.1 200 x\r\n\r\n{body}"));
    assert_eq!(pull(reply(content), Some(11)).await.unwrap(), &content[..]);
    assert_eq!(pull(reply(content), None).await.unwrap(), &content[..]);
    assert_eq!(
        pull(chunked("hello world"), Some(11)).await.unwrap(),
        &content[..]
    );
    for (name, answer, size) in [
        ("longer", reply(b"hello world!"), Some(11)),
        ("longer, unsized", unsized_body("hello world!"), Some(11)),
        ("longer, chunked", chunked("hello world!"), Some(11)),
        ("shorter", reply(b"hello worl"), Some(11)),
        ("shorter, unsized", unsized_body("hello worl"), Some(11)),
        ("shorter, no size known", unsized_body("hello worl"), None),
        ("cut", reply(content).cut(5, Then::Close), Some(11)),
        ("wrong bytes", reply(b"hello_world"), Some(11)),
        ("content where none is", reply(content), Some(0)),
    ] {
        assert!(pull(answer, size).await.is_err(), "{name}");
    }
    let error = pull(reply(b"hello_world"), Some(11)).await.unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
    let wrong = digest_of("hello_world").to_string();
    assert!(told(&error).contains(&wrong), "{}", told(&error));
}

#[tokio::test]
async fn broken_blob_never_looks_like_its_end() {
    let server = blob_server(Reply::new(200, "wrong")).await;
    let digest = digest_of("right");
    let client = server.client();
    let mut blob = client.blob(&repository(), &digest, Some(5)).await.unwrap();
    blob.chunk().await.unwrap().unwrap();
    blob.chunk().await.unwrap_err();
    blob.chunk().await.unwrap_err();
}

#[tokio::test]
async fn b29_encoded_answers_are_refused() {
    let gzip = |reply: Reply| reply.header("Content-Encoding", "gzip");
    let error = refused(gzip(Reply::manifest(&plain_manifest()))).await;
    assert!(told(&error).contains("Content-Encoding"));
    let server = blob_server(gzip(Reply::new(200, "x"))).await;
    let error = server
        .client()
        .blob(&repository(), &digest_of("x"), None)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
    assert_eq!(server.seen()[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn b30_empty_blob_is_a_blob() {
    let server = blob_server(Reply::new(200, "")).await;
    let digest: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        .parse()
        .unwrap();
    let blob = server
        .client()
        .blob_bytes(&repository(), &digest, Some(0), 0)
        .await
        .unwrap();
    assert!(blob.is_empty());
}

#[tokio::test]
async fn b31_6dad820d_cve_2020_15157_urls_and_data_of_a_layer_are_ignored() {
    let lure = Server::start(|_, _| Reply::new(200, "hello")).await;
    let layer = format!(
        r#"[{{"mediaType":"a/b","digest":"{}","size":5,"urls":["{}"],"data":"d3Jvbmc="}}]"#,
        digest_of("hello"),
        lure.url()
    );
    let manifest = plain_manifest().replace("[]", &layer);
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        path if path.contains("/manifests/") => Reply::manifest(&manifest),
        _ => Reply::new(404, ""),
    })
    .await;
    let client = server.client();
    let manifest = client.manifest(&repository(), &tag("1")).await.unwrap();
    let Content::Image(image) = manifest.content else {
        panic!()
    };
    let layer = &image.layers[0];
    let error = client
        .blob(&repository(), &layer.digest, Some(layer.size))
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    assert!(lure.seen().is_empty());
}

#[tokio::test]
async fn b32_index_is_bounded() {
    let entry = format!(
        r#"{{"mediaType":"a/b","digest":"{}","size":1}}"#,
        digest_of("x")
    );
    let index = |count: usize| {
        let entries = vec![entry.as_str(); count].join(",");
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        Reply::new(200, text).header("Content-Type", media_type::OCI_INDEX)
    };
    let Content::Index(found) = pull(index(1_000)).await.unwrap().content else {
        panic!()
    };
    assert_eq!(found.manifests.len(), 1_000);
    refused(index(1_001)).await;
}

#[tokio::test]
async fn b34_resolved_tag_is_a_claim_that_the_pull_by_digest_checks() {
    let announced = digest_of("another manifest");
    let digest = announced.to_string();
    let server = Server::start(move |seen, _| match seen.method.as_str() {
        "HEAD" => Reply::manifest("").header("Docker-Content-Digest", &digest),
        _ => Reply::manifest(&plain_manifest()),
    })
    .await;
    let client = server.client();
    let resolved = client.resolve(&repository(), &tag("latest")).await.unwrap();
    assert_eq!(resolved.digest, announced);
    let error = client
        .manifest(&repository(), &announced.into())
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
    let held = client
        .manifest(&repository(), &tag("latest"))
        .await
        .unwrap();
    assert_eq!(held.digest, digest_of(plain_manifest()));
}

#[tokio::test]
async fn resolve_falls_back_to_get() {
    for status in [200, 405] {
        let server = Server::start(move |seen, _| match seen.method.as_str() {
            "HEAD" => Reply::new(status, ""),
            _ => Reply::manifest(&plain_manifest()),
        })
        .await;
        let resolved = server
            .client()
            .resolve(&repository(), &tag("1"))
            .await
            .unwrap();
        let expected = Resolved {
            digest: digest_of(plain_manifest()),
            media_type: media_type::OCI_MANIFEST.to_owned(),
        };
        assert_eq!(resolved, expected);
    }
}

#[tokio::test]
async fn b45_login_page_is_no_manifest_and_no_blob() {
    let page = || Reply::new(200, "<html>log in</html>").header("Content-Type", "text/html");
    let error = refused(page()).await;
    assert!(
        told(&error).contains("not a manifest (text/html)"),
        "{}",
        told(&error)
    );
    let server = blob_server(page()).await;
    let client = server.client();
    let error = client
        .blob(&repository(), &digest_of("x"), Some(1))
        .await
        .unwrap_err();
    assert!(told(&error).contains("text/html"), "{}", told(&error));
}

#[tokio::test]
async fn b35_02649eab_30c6307b_tag_list_is_bounded_and_stays_on_its_host() {
    let lure = Server::start(|_, _| Reply::new(200, "{}")).await;
    let page = |body: &str, link: &str| {
        Reply::new(200, body).header("Link", &format!("<{link}>; rel=\"next\""))
    };
    let list = async |script: fn(usize) -> Reply| {
        let server = Server::start(move |_, before| script(before)).await;
        (
            server.client().list_tags(&repository()).await,
            server.seen().len(),
        )
    };
    let (tags, pages) = list(|before| match before {
        0 => Reply::new(200, r#"{"tags":["b","a"]}"#)
            .header("Link", "</v2/team/app/tags/list?n=2&last=a>; rel=\"next\""),
        _ => Reply::new(200, r#"{"tags":["a","c"]}"#),
    })
    .await;
    let names: Vec<String> = tags.unwrap().tags.iter().map(ToString::to_string).collect();
    assert_eq!(
        (names, pages),
        (vec!["b".into(), "a".into(), "c".into()], 2)
    );

    let (tags, _) = list(|_| Reply::new(200, r#"{"name":"x","tags":null}"#)).await;
    assert!(tags.unwrap().tags.is_empty());

    let (looped, pages) =
        list(|_| Reply::new(200, r#"{"tags":["a"]}"#).header("Link", "<?n=1>; rel=\"next\"")).await;
    assert_eq!((looped.is_err(), pages), (true, 2));

    let (endless, pages) =
        list(|before| Reply::new(200, "{}").header("Link", &format!("<?last={before}>; rel=next")))
            .await;
    assert_eq!((endless.is_err(), pages), (true, 1_000));

    for link in [
        lure.url(),
        "javascript:alert(1)".to_owned(),
        "//evil.example/".to_owned(),
    ] {
        let reply = page("{\"tags\":[]}", &link);
        let server = Server::start(move |_, _| reply.clone()).await;
        let error = server.client().list_tags(&repository()).await.unwrap_err();
        assert_eq!(error.class(), Class::RefusedByPolicy, "{link}");
    }
    assert!(lure.seen().is_empty());
}

#[tokio::test]
async fn b35_million_tags_are_refused() {
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("\"t{number}\"")).collect();
        Reply::new(200, format!("{{\"tags\":[{}]}}", names.join(",")))
    };
    let server = Server::start(move |_, before| names([100_000, 100_001][before])).await;
    let client = server.client();
    assert_eq!(
        client.list_tags(&repository()).await.unwrap().tags.len(),
        100_000
    );
    let error = client.list_tags(&repository()).await.unwrap_err();
    assert!(told(&error).contains("100000 tags"), "{}", told(&error));
}

#[tokio::test]
async fn b36_entries_that_are_no_tags_are_counted_and_left_out() {
    let long = "x".repeat(129);
    let body = format!(r#"{{"tags":["1.0","..","{long}","a%00","","a b",7,"ok"]}}"#);
    let server = blob_server(Reply::new(200, body)).await;
    let list = server.client().list_tags(&repository()).await.unwrap();
    assert_eq!((list.tags.len(), list.skipped), (2, 6));
}
