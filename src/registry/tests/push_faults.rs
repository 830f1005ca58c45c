//! Registries that break, refuse, lie and lead astray while they are pushed to.

use super::push::{CONTENT, client, has, push};
use super::push_registry::{start, steps};
use super::server::{
    Reply, Server, Then, digest_of, plain_manifest, repository, settings, tag, told, transport,
};
use crate::registry::{
    BlobPush, Class, Client, Credential, Error, Limits, Result, Settings, WholeBlob, media_type,
};

#[tokio::test]
async fn f15_broken_upload_goes_on_where_it_broke() {
    // The second piece: of its eight bytes this many arrive before the connection ends.
    for arrived in [0, 3, 8] {
        let (server, content) = start(move |state, seen, _| {
            let breaks = seen.method == "PATCH" && state.upload.len() == 8;
            let again = seen
                .headers
                .get("content-length")
                .is_none_or(|length| length != "8");
            if !breaks || again || state.sessions > 9 {
                return None;
            }
            state.sessions = 10;
            state.upload.push_str(&seen.body[..arrived]);
            Some(Reply::raw("").then(Then::Close))
        })
        .await;
        push(&client(&server)).await.unwrap();
        assert!(has(&content), "{arrived}");
        let seen = server.seen();
        let sent: usize = seen.iter().map(|seen| seen.body.len()).sum();
        assert_eq!(sent, CONTENT.len() + 8 - arrived, "{arrived}");
        let begun = steps(&server)
            .iter()
            .filter(|step| *step == "POST uploads")
            .count();
        assert_eq!(begun, 1, "{arrived}");
    }
}

#[tokio::test]
async fn f15_lost_session_begins_again_from_the_source() {
    for status in [404, 400, 416] {
        let (server, content) = start(move |state, seen, _| {
            let lost = seen.path.contains("/uploads/1") && !state.upload.is_empty();
            lost.then(|| Reply::new(status, ""))
        })
        .await;
        push(&client(&server)).await.unwrap();
        assert!(has(&content), "{status}");
        assert_eq!(content.lock().unwrap().sessions, 2, "{status}");
    }
}

#[tokio::test]
async fn f15_upload_whose_end_was_not_heard_is_found_there() {
    let (server, content) = start(|state, seen, _| {
        if seen.method != "PUT" {
            return None;
        }
        let _ = state.answer(seen);
        Some(Reply::new(502, ""))
    })
    .await;
    push(&client(&server)).await.unwrap();
    assert!(has(&content));
    assert_eq!(content.lock().unwrap().sessions, 1);
}

#[tokio::test]
async fn f15_end_of_an_upload_is_asked_for_again_without_sending_it_again() {
    let (server, content) = start(|state, seen, _| {
        let first = seen.method == "PUT" && state.manifests.is_empty();
        first.then(|| {
            state.manifests.insert("seen".to_owned(), String::new());
            Reply::new(503, "")
        })
    })
    .await;
    push(&client(&server)).await.unwrap();
    assert!(has(&content));
    let sent: usize = server.seen().iter().map(|seen| seen.body.len()).sum();
    assert_eq!(sent, CONTENT.len());
}

#[tokio::test]
async fn f15_refusals_are_told_and_not_repeated() {
    for (status, class) in [
        (413, Class::InvalidContent),
        (403, Class::Forbidden),
        (401, Class::Unauthorized),
    ] {
        for method in ["POST", "PATCH", "PUT"] {
            let (server, content) = start(move |_, seen, _| {
                (seen.method == method).then(|| {
                    Reply::new(
                        status,
                        r#"{"errors":[{"code":"X","message":"quota of team is used up"}]}"#,
                    )
                })
            })
            .await;
            let error = push(&client(&server)).await.unwrap_err();
            assert_eq!(error.class(), class, "{method} {status}");
            assert!(
                told(&error).contains("quota of team is used up"),
                "{}",
                told(&error)
            );
            assert!(content.lock().unwrap().blobs.is_empty());
            let asked = server
                .seen()
                .iter()
                .filter(|seen| seen.method == method)
                .count();
            assert_eq!(asked, 1, "{method} {status}");
        }
    }
}

#[tokio::test]
async fn f15_registry_that_never_recovers_is_left_after_some_tries() {
    let (server, _) =
        start(|_, seen, _| (seen.method == "PATCH").then(|| Reply::new(500, ""))).await;
    let error = push(&client(&server)).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert!(server.seen().len() < 40, "{}", server.seen().len());
    // As often as asked, without end, and never a byte more.
    let (server, _) =
        start(|state, seen, _| (seen.method == "PATCH").then(|| state.progress(202))).await;
    let error = push(&client(&server)).await.unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent, "{}", told(&error));
}

#[tokio::test]
async fn f15_pushed_is_only_what_is_there_afterwards() {
    let (server, _) = start(|_, seen, _| match seen.method.as_str() {
        "PUT" => Some(Reply::new(201, "")),
        _ => None,
    })
    .await;
    let client = client(&server);
    let error = push(&client).await.unwrap_err();
    assert!(
        told(&error).contains("accepted it and does not have it"),
        "{}",
        told(&error)
    );
    let manifest = plain_manifest().into();
    let error = client
        .push_manifest(&repository(), &tag("1"), media_type::OCI_MANIFEST, manifest)
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("accepted it and does not have it"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn f15_failed_put_of_a_manifest_is_repeated() {
    let (server, content) = start(|state, seen, _| {
        let first = seen.method == "PUT" && state.manifests.is_empty();
        first.then(|| {
            let _ = state.answer(seen);
            Reply::new(500, "")
        })
    })
    .await;
    let manifest = plain_manifest();
    client(&server)
        .push_manifest(
            &repository(),
            &tag("1"),
            media_type::OCI_MANIFEST,
            manifest.clone().into(),
        )
        .await
        .unwrap();
    assert_eq!(content.lock().unwrap().manifests["1"], manifest);
}

#[tokio::test]
async fn f15_silent_registry_is_left_in_the_midst_of_an_upload() {
    let (server, _) =
        start(|_, seen, _| (seen.method == "PATCH").then(|| Reply::raw("").then(Then::Hang))).await;
    let limits = Limits {
        piece: 8,
        tries: 1,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..settings()
    };
    let client = Client::new(
        transport(settings),
        server.endpoint(),
        Credential::anonymous(),
    );
    assert_eq!(push(&client).await.unwrap_err().class(), Class::Transient);
}

/// A client with a password, and what `location` of an opened upload makes of it.
async fn sent_on_to(location: &str, trusted: &[String]) -> (Server, Error) {
    let location = location.to_owned();
    let (server, _) = start(move |_, seen, _| {
        if seen.authorization().is_none() {
            return Some(Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""));
        }
        let opened = || Reply::new(202, "").header("Location", &location);
        (seen.method == "POST").then(opened)
    })
    .await;
    let error = push_as_user(&server, trusted).await.unwrap_err();
    (server, error)
}

async fn push_as_user(server: &Server, trusted: &[String]) -> Result<BlobPush> {
    let settings = Settings {
        trusted_hosts: trusted.to_vec(),
        ..settings()
    };
    let credential = Credential::password("writer", "s3cret");
    let client = Client::new(transport(settings), server.endpoint(), credential);
    let source = WholeBlob(CONTENT.into());
    client
        .push_blob(&repository(), &digest_of(CONTENT), None, &source)
        .await
}

#[tokio::test]
async fn b42_location_that_is_rubbish_is_an_error_and_no_panic() {
    for location in [
        "http://",
        "http://[",
        "//",
        "http://user:pw@x.example/",
        "ftp://x/y",
        "\u{fc}",
        "http://:80:80/",
    ] {
        let (_, error) = sent_on_to(location, &[]).await;
        let class = error.class();
        assert!(
            matches!(class, Class::InvalidContent | Class::RefusedByPolicy),
            "{location:?}: {}",
            told(&error)
        );
    }
    let (server, _) =
        start(|_, seen, _| (seen.method == "POST").then(|| Reply::new(202, ""))).await;
    let error = push(&client(&server)).await.unwrap_err();
    assert!(
        told(&error).contains("without Location"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn b42_relative_location_is_below_the_request() {
    let (server, content) = start(|state, seen, _| {
        (seen.method == "POST").then(|| {
            let _ = state.answer(seen);
            Reply::new(202, "").header("Location", "77?x=y%2Fz")
        })
    })
    .await;
    push(&client(&server)).await.unwrap();
    assert!(has(&content));
    let first = server
        .seen()
        .into_iter()
        .find(|seen| seen.method == "PATCH");
    assert_eq!(first.unwrap().path, "/v2/team/app/blobs/uploads/77?x=y%2Fz");
}

#[tokio::test]
async fn b42_e5983f2a_upload_is_not_sent_on_to_another_host() {
    let other = Server::start(|_, _| Reply::new(202, "")).await;
    let (_, error) = sent_on_to(&format!("{}/upload", other.url()), &[]).await;
    assert_eq!(error.class(), Class::RefusedByPolicy);
    assert!(
        told(&error).contains("name it as a trusted host"),
        "{}",
        told(&error)
    );
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn b42_b757a3cd_trusted_host_gets_the_upload_and_no_password() {
    let other = Server::start(|_, _| {
        Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"give me\"")
    })
    .await;
    let trusted = ["127.0.0.1".to_owned()];
    let (_, error) = sent_on_to(&format!("{}/upload", other.url()), &trusted).await;
    assert_eq!(error.class(), Class::Unauthorized, "{}", told(&error));
    let seen = other.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|seen| seen.authorization().is_none()));
}
