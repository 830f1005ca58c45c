//! Pushing to the reference registry, with TLS and a password.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use ocm_controller::oci::{Digest, RepositoryName};
use ocm_controller::registry::{
    BlobPush, BlobSource, Client, Credential, Deleted, Endpoint, Limits, Reference, RegistryBlob,
    Settings, Transport, WholeBlob, media_type,
};
use tokio::sync::Notify;

use crate::support::registry::{Registry, RegistryOptions};

/// Two and a half pieces.
const SIZE: usize = 5 << 19;

/// Comes to a halt in its midst when it is read for the first time.
#[derive(Default)]
struct Halting {
    reached: Arc<Notify>,
    go_on: Arc<Notify>,
    opened: AtomicBool,
}

impl BlobSource for Halting {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        let halts = !self.opened.swap(true, Ordering::Relaxed);
        let (reached, go_on) = (Arc::clone(&self.reached), Arc::clone(&self.go_on));
        let mut rest = content();
        let start = rest.split_to(SIZE / 2);
        let rest = futures::stream::once(async move {
            if halts {
                reached.notify_one();
                go_on.notified().await;
            }
            Ok(rest)
        });
        Box::pin(async { Ok(futures::stream::iter([Ok(start)]).chain(rest).boxed()) })
    }
}

async fn private_registry() -> Registry {
    Registry::start(RegistryOptions {
        tls: vec!["registry.example".to_owned()],
        password: Some(("writer".to_owned(), "s3cret".to_owned())),
    })
    .await
}

fn client(registry: &Registry) -> Client {
    let limits = Limits {
        piece: 1 << 20,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        allow_loopback: true,
        extra_roots: Some(registry.ca_pem().as_bytes().to_vec()),
        ..Settings::default()
    };
    let endpoint = Endpoint::https(&registry.address().to_string()).expect("an address");
    let credential = Credential::password("writer", "s3cret");
    Client::new(
        Transport::new(settings).expect("good settings"),
        endpoint,
        credential,
    )
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

fn content() -> Bytes {
    (0..SIZE)
        .map(|at| u8::try_from(at * at % 251).expect("it is small"))
        .collect()
}

fn image(layer: &Digest) -> Bytes {
    let (config, oci) = (Digest::of("{}"), media_type::OCI_MANIFEST);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": oci,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/octet-stream", "digest": layer, "size": SIZE}],
    });
    serde_json::to_vec(&manifest).expect("JSON").into()
}

/// Pushes an image as a whole; gives its digest.
async fn push<S: BlobSource>(client: &Client, to: &RepositoryName, layer: &S) -> Digest {
    let digest = Digest::of(content());
    let size = Some(SIZE as u64);
    client
        .push_blob(to, &digest, size, layer)
        .await
        .expect("the registry takes it");
    let config = WholeBlob(Bytes::from_static(b"{}"));
    let config_digest = Digest::of("{}");
    client
        .push_blob(to, &config_digest, Some(2), &config)
        .await
        .expect("the registry takes it");
    let tag = Reference::Tag("1.0".parse().expect("a tag"));
    client
        .push_manifest(to, &tag, media_type::OCI_MANIFEST, image(&digest))
        .await
        .expect("the registry takes it")
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn image_is_pushed_mounted_and_deleted() {
    let registry = private_registry().await;
    let client = client(&registry);
    let (one, other) = (name("team/one"), name("team/other"));
    let layer = Digest::of(content());
    let manifest = push(&client, &one, &WholeBlob(content())).await;
    let pulled = client.blob_bytes(&one, &layer, None, SIZE).await.unwrap();
    assert_eq!(pulled, content());

    assert!(client.mount_blob(&other, &layer, &one).await.unwrap());
    let source = WholeBlob(content());
    let pushed = client.push_blob(&other, &layer, None, &source).await;
    assert_eq!(pushed.unwrap(), BlobPush::Present);
    assert!(
        !client
            .mount_blob(&other, &Digest::of("none"), &one)
            .await
            .unwrap()
    );

    let reference = Reference::Digest(manifest.clone());
    assert!(client.resolve(&one, &reference).await.is_ok());
    let deleted = client.delete_manifest(&one, &manifest).await.unwrap();
    assert_eq!(deleted, Deleted::Gone);
    let gone = client.resolve(&one, &reference).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn two_programs_may_push_the_same_image_from_another_registry() {
    let (source, target) = (private_registry().await, private_registry().await);
    let place = name("team/app");
    push(&client(&source), &place, &WholeBlob(content())).await;
    let blob = RegistryBlob {
        client: client(&source),
        repository: place.clone(),
        digest: Digest::of(content()),
        size: Some(SIZE as u64),
    };
    // Clients of their own: neither knows of the other.
    let (one, other) = (client(&target), client(&target));
    let (first, second) = tokio::join!(push(&one, &place, &blob), push(&other, &place, &blob));
    assert_eq!(first, second);
    let pulled = one.blob_bytes(&place, &blob.digest, None, SIZE).await;
    assert_eq!(pulled.unwrap(), content());
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn f15_registry_that_is_killed_in_the_midst_gets_the_rest_or_all_of_it_again() {
    let mut target = private_registry().await;
    let client = client(&target);
    let source = Halting::default();
    let (place, digest) = (name("team/app"), Digest::of(content()));
    let pushing = client.push_blob(&place, &digest, Some(SIZE as u64), &source);
    let restarting = async {
        source.reached.notified().await;
        target.start_again().await;
        source.go_on.notify_one();
    };
    let (pushed, ()) = tokio::join!(pushing, restarting);
    assert_eq!(pushed.unwrap(), BlobPush::Sent);
    let pulled = client.blob_bytes(&place, &digest, None, SIZE).await;
    assert_eq!(pulled.unwrap(), content());
}
