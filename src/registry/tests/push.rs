//! Pushing blobs and manifests to registries that do their part.

use std::sync::Arc;

use super::push_registry::{Content, start, steps};
use super::server::{
    Reply, Server, digest_of, plain_manifest, repository, settings, tag, told, transport,
};
use crate::registry::{
    BlobPush, Class, Client, Credential, Deleted, Limits, RegistryBlob, RequestKind, Settings,
    WholeBlob, media_type,
};

/// More than two pieces of [`client`].
pub(super) const CONTENT: &str = "0123456789abcdefghij";

/// A client that sends pieces of eight bytes.
pub(super) fn client(server: &Server) -> Client {
    let limits = Limits {
        piece: 8,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..settings()
    };
    Client::new(
        transport(settings),
        server.endpoint(),
        Credential::anonymous(),
    )
}

pub(super) async fn push(client: &Client) -> crate::registry::Result<BlobPush> {
    let source = WholeBlob(CONTENT.into());
    let size = Some(CONTENT.len() as u64);
    client
        .push_blob(&repository(), &digest_of(CONTENT), size, &source)
        .await
}

pub(super) fn has(content: &Content) -> bool {
    let content = content.lock().unwrap();
    let blob = content.blobs.get(&digest_of(CONTENT).to_string());
    blob.is_some_and(|blob| blob == CONTENT)
}

#[tokio::test]
async fn large_blob_goes_in_pieces_and_a_small_one_at_once() {
    let (server, content) = start(|_, _, _| None).await;
    assert_eq!(push(&client(&server)).await.unwrap(), BlobPush::Sent);
    assert!(has(&content));
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "PATCH uploads",
        "PATCH uploads",
        "PATCH uploads",
        "PUT uploads",
        "HEAD blobs",
    ];
    assert_eq!(steps(&server), expected);
    for blob in ["small", "just 8 b", ""] {
        let (server, content) = start(|_, _, _| None).await;
        let source = WholeBlob(blob.into());
        let pushed = client(&server)
            .push_blob(&repository(), &digest_of(blob), None, &source)
            .await;
        assert_eq!(pushed.unwrap(), BlobPush::Sent);
        assert_eq!(content.lock().unwrap().blobs.len(), 1, "{blob:?}");
        let expected = ["HEAD blobs", "POST uploads", "PUT uploads", "HEAD blobs"];
        assert_eq!(steps(&server), expected, "{blob:?}");
    }
}

#[tokio::test]
async fn blob_that_is_there_is_not_sent() {
    let (server, _) = start(|_, _, _| None).await;
    let client = client(&server);
    let (first, second) = tokio::join!(push(&client), push(&client));
    let mut pushed = [first.unwrap(), second.unwrap()];
    pushed.sort_by_key(|pushed| *pushed == BlobPush::Sent);
    assert_eq!(pushed, [BlobPush::Present, BlobPush::Sent]);
    assert_eq!(push(&client).await.unwrap(), BlobPush::Present);
    let counts = client.transport().counters().snapshot();
    let sent = counts[&(server.address.to_string(), RequestKind::Upload)].sent;
    assert_eq!(sent, CONTENT.len() as u64);
    assert!(
        client
            .has_blob(&repository(), &digest_of(CONTENT))
            .await
            .unwrap()
    );
    assert!(
        !client
            .has_blob(&repository(), &digest_of("other"))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn content_that_is_not_its_digest_never_becomes_a_blob() {
    let (server, content) = start(|_, _, _| None).await;
    for wrong in [
        "0123456789abcdefghi#",
        "0123456789",
        "0123456789abcdefghijk",
        "#",
    ] {
        let source = WholeBlob(wrong.into());
        let pushed = client(&server)
            .push_blob(&repository(), &digest_of(CONTENT), Some(20), &source)
            .await;
        assert_eq!(pushed.unwrap_err().class(), Class::InvalidContent);
    }
    assert!(content.lock().unwrap().blobs.is_empty());
    assert!(!steps(&server).contains(&"PUT uploads".to_owned()));
}

#[tokio::test]
async fn piece_is_as_long_as_the_registry_wants() {
    for (least, patches) in [("16", 2), ("8", 3)] {
        let (server, content) = start(move |state, seen, _| {
            let is_begin = seen.method == "POST";
            is_begin.then(|| state.answer(seen).header("OCI-Chunk-Min-Length", least))
        })
        .await;
        push(&client(&server)).await.unwrap();
        assert!(has(&content));
        let sent = steps(&server);
        assert_eq!(
            sent.iter().filter(|step| *step == "PATCH uploads").count(),
            patches
        );
    }
    let (server, _) = start(|state, seen, _| {
        let is_begin = seen.method == "POST";
        is_begin.then(|| {
            state
                .answer(seen)
                .header("OCI-Chunk-Min-Length", "99999999999")
        })
    })
    .await;
    let error = push(&client(&server)).await.unwrap_err();
    assert!(
        told(&error).contains("pieces of 99999999999 bytes"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn blob_flows_from_registry_to_registry() {
    let (source, _) = start(|state, _, _| {
        let digest = digest_of(CONTENT).to_string();
        state.blobs.insert(digest, CONTENT.to_owned());
        None
    })
    .await;
    let (target, content) = start(|_, _, _| None).await;
    let blob = RegistryBlob {
        client: source.client(),
        repository: repository(),
        digest: digest_of(CONTENT),
        size: Some(20),
    };
    let pushed = client(&target)
        .push_blob(&repository(), &blob.digest, blob.size, &blob)
        .await;
    assert_eq!(pushed.unwrap(), BlobPush::Sent);
    assert!(has(&content));
    let missing = RegistryBlob {
        digest: digest_of("missing"),
        ..blob
    };
    let error = client(&target)
        .push_blob(&repository(), &missing.digest, None, &missing)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert!(
        told(&error).contains("failed to pull blob"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn mounted_blob_is_not_sent_and_a_refusal_is_no_error() {
    let from = "other/app".parse().unwrap();
    let (server, _) = start(|state, seen, _| {
        let mounts =
            seen.path.contains("mount=sha256%3A") && seen.path.contains("from=other%2Fapp");
        mounts.then(|| {
            let digest = digest_of(CONTENT).to_string();
            state.blobs.insert(digest, CONTENT.to_owned());
            Reply::new(201, "")
        })
    })
    .await;
    let digest = digest_of(CONTENT);
    let mounted = client(&server)
        .mount_blob(&repository(), &digest, &from)
        .await;
    assert!(mounted.unwrap());
    assert_eq!(push(&client(&server)).await.unwrap(), BlobPush::Present);
    for status in [202, 401, 403, 404, 405] {
        let (server, _) = start(move |state, seen, _| {
            let mounts = seen.path.contains("mount=") && status != 202;
            mounts.then(|| state.progress(status))
        })
        .await;
        let mounted = client(&server)
            .mount_blob(&repository(), &digest, &from)
            .await;
        assert!(!mounted.unwrap(), "{status}");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_what_is_done_with_them() {
    let address: Arc<std::sync::OnceLock<String>> = Arc::default();
    let own = Arc::clone(&address);
    let (server, _) = start(move |_, seen, _| {
        if seen.path.starts_with("/token") {
            return Some(Reply::new(200, r#"{"token":"t"}"#));
        }
        let realm = format!("{}/token", own.get().unwrap());
        (seen.authorization() != Some("Bearer t")).then(|| Reply::bearer(&realm))
    })
    .await;
    address.set(server.url()).unwrap();
    let client = client(&server);
    push(&client).await.unwrap();
    let from = "other/app".parse().unwrap();
    let digest = digest_of("unknown");
    let _ = client.mount_blob(&repository(), &digest, &from).await;
    let deleted = client.delete_manifest(&repository(), &digest).await;
    assert_eq!(deleted.unwrap(), Deleted::Gone);
    let scopes: Vec<_> = server
        .seen()
        .iter()
        .filter_map(|seen| {
            seen.path
                .strip_prefix("/token?service=reg&")
                .map(str::to_owned)
        })
        .collect();
    let expected = [
        "scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
        "scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Aother%2Fapp%3Apull",
        "scope=repository%3Ateam%2Fapp%3Adelete",
    ];
    assert_eq!(scopes, expected);
}

#[tokio::test]
async fn manifest_is_put_once_and_asked_for_by_its_digest() {
    let (server, content) = start(|_, _, _| None).await;
    let client = client(&server);
    let manifest = plain_manifest();
    for _ in 0..2 {
        let pushed = client
            .push_manifest(
                &repository(),
                &tag("1.0"),
                media_type::OCI_MANIFEST,
                manifest.clone().into(),
            )
            .await;
        assert_eq!(pushed.unwrap(), digest_of(&manifest));
    }
    let expected = [
        "HEAD manifests",
        "PUT manifests",
        "HEAD manifests",
        "HEAD manifests",
    ];
    assert_eq!(steps(&server), expected);
    assert_eq!(content.lock().unwrap().manifests["1.0"], manifest);
    let wrong = digest_of("other").into();
    let pushed = client
        .push_manifest(
            &repository(),
            &wrong,
            media_type::OCI_MANIFEST,
            manifest.into(),
        )
        .await;
    assert_eq!(pushed.unwrap_err().class(), Class::InvalidContent);
}

#[tokio::test]
async fn registry_that_does_not_delete_is_no_error() {
    for (status, expected) in [
        (202, Deleted::Gone),
        (404, Deleted::Gone),
        (400, Deleted::Unsupported),
        (403, Deleted::Unsupported),
        (405, Deleted::Unsupported),
    ] {
        let (server, _) = start(move |_, _, _| Some(Reply::new(status, ""))).await;
        let deleted = client(&server)
            .delete_manifest(&repository(), &digest_of("x"))
            .await;
        assert_eq!(deleted.unwrap(), expected, "{status}");
    }
}
