//! Registries that break, throttle, stall and come back.

use std::io::Read as _;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;

use super::server::{
    Reply, Server, Then, digest_of, plain_manifest, repository, settings, tag, told, transport,
};
use crate::registry::{Class, Client, Credential, RequestKind, Settings};

const CONTENT: &str = "0123456789abcdef";

fn client_with(server: &Server, settings: Settings) -> Client {
    Client::new(
        transport(settings),
        server.endpoint(),
        Credential::anonymous(),
    )
}

fn range_start(seen: &super::server::Seen) -> Option<usize> {
    let range = seen.headers.get("range")?;
    Some(
        range["bytes=".len()..]
            .trim_end_matches('-')
            .parse()
            .unwrap(),
    )
}

#[tokio::test]
async fn f02_broken_blob_is_taken_up_where_it_broke() {
    for at in [0, 1, 8, 15] {
        let server = Server::start(move |seen, _| match range_start(seen) {
            None if at > 0 => Reply::new(200, CONTENT).cut(at, Then::Close),
            None => Reply::new(200, CONTENT),
            Some(start) => Reply::new(206, &CONTENT[start..])
                .header("Content-Range", &format!("bytes {start}-15/16")),
        })
        .await;
        let size = Some(16);
        let client = server.client();
        let blob = client
            .blob_bytes(&repository(), &digest_of(CONTENT), size, 16)
            .await
            .unwrap();
        assert_eq!(blob, CONTENT);
        let ranges: Vec<_> = server.seen().iter().filter_map(range_start).collect();
        assert_eq!(ranges, if at == 0 { vec![] } else { vec![at] });
    }
}

#[tokio::test]
async fn b44_answers_to_a_range_that_do_not_fit_start_over() {
    let ranged = |start: usize| {
        Reply::new(206, &CONTENT[start..]).header("Content-Range", &format!("bytes {start}-15/16"))
    };
    let answers: [fn() -> Reply; 3] = [
        || Reply::new(200, CONTENT),
        || Reply::new(206, &CONTENT[2..]).header("Content-Range", "bytes 2-15/16"),
        || Reply::new(416, ""),
    ];
    for answer in answers {
        let server = Server::start(move |seen, before| match before {
            0 => Reply::new(200, CONTENT).cut(7, Then::Close),
            _ if seen.headers.contains_key("range") => answer(),
            _ => Reply::new(200, CONTENT),
        })
        .await;
        let stream = server
            .client()
            .blob(&repository(), &digest_of(CONTENT), Some(16))
            .await;
        let pieces: Vec<_> = stream.unwrap().into_stream().try_collect().await.unwrap();
        assert_eq!(pieces.concat(), CONTENT.as_bytes());
    }
    let server = Server::start(move |_, _| ranged(0)).await;
    let error = server
        .client()
        .blob(&repository(), &digest_of(CONTENT), None)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
}

#[tokio::test]
async fn b44_other_content_behind_the_break_is_a_wrong_digest() {
    let server = Server::start(|seen, _| match range_start(seen) {
        None => Reply::new(200, CONTENT).cut(8, Then::Close),
        Some(start) => Reply::new(206, &"################"[start..])
            .header("Content-Range", &format!("bytes {start}-15/16")),
    })
    .await;
    let client = server.client();
    let error = client
        .blob_bytes(&repository(), &digest_of(CONTENT), Some(16), 16)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent, "{}", told(&error));
}

#[tokio::test]
async fn f02_blob_that_makes_no_progress_fails_after_three_tries() {
    let server = Server::start(|_, _| Reply::new(200, CONTENT).cut(0, Then::Close)).await;
    let client = server.client();
    let error = client
        .blob_bytes(&repository(), &digest_of(CONTENT), Some(16), 16)
        .await
        .unwrap_err();
    assert_eq!((error.class(), server.seen().len()), (Class::Transient, 3));
}

#[tokio::test]
async fn f03_silent_registry_is_left_after_the_read_time_out() {
    let server = Server::start(|_, before| match before {
        0 => Reply::new(200, CONTENT).cut(4, Then::Hang),
        _ => Reply::new(206, &CONTENT[4..]).header("Content-Range", "bytes 4-15/16"),
    })
    .await;
    let client = server.client();
    let blob = client
        .blob_bytes(&repository(), &digest_of(CONTENT), Some(16), 16)
        .await
        .unwrap();
    assert_eq!(blob, CONTENT);

    let mute = Server::start(|_, _| Reply::raw("").then(Then::Hang)).await;
    let error = mute
        .client()
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert!(told(&error).contains("timed out"), "{}", told(&error));
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn blob_is_read_from_blocking_code() {
    let server = Server::start(|_, _| Reply::new(200, CONTENT)).await;
    let client = server.client();
    for (content, fits) in [(CONTENT, true), ("another", false)] {
        let blob = client
            .blob(&repository(), &digest_of(content), None)
            .await
            .unwrap();
        let mut reader = blob.into_reader(&tokio::runtime::Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        match read.await.unwrap() {
            Ok(text) => assert!(fits && text == CONTENT),
            Err(error) => {
                let cause = error
                    .get_ref()
                    .unwrap()
                    .downcast_ref::<crate::registry::Error>();
                assert_eq!(cause.unwrap().class(), Class::InvalidContent);
                assert!(!fits);
            }
        }
    }
}

#[tokio::test]
async fn f04_long_retry_after_is_told_and_closes_the_gate_of_that_host() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_mins(5));
    for (text, least, most) in [("7", 6, 7), (&*date, 290, 300), ("1000000000", 899, 900)] {
        let wait = text.to_owned();
        let server =
            Server::start(move |_, _| Reply::new(429, "").header("Retry-After", &wait)).await;
        let client = server.client();
        for _ in 0..3 {
            let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
            assert_eq!(error.class(), Class::Transient);
            let left = error.retry_after().unwrap().as_secs();
            assert!((least..=most).contains(&left), "{text}: {left}");
        }
        assert_eq!(
            server.seen().len(),
            1,
            "no other request to that host meanwhile"
        );
    }
}

#[tokio::test]
async fn f04_short_retry_after_is_waited_for_in_place() {
    let server = Server::start(|_, before| match before {
        0 => Reply::new(503, "").header("Retry-After", "1"),
        _ => Reply::manifest(&plain_manifest()),
    })
    .await;
    let started = Instant::now();
    let transport = transport(Settings {
        timeouts: crate::registry::Timeouts {
            queue: Duration::from_secs(3),
            ..settings().timeouts
        },
        ..settings()
    });
    let client = Client::new(
        transport.clone(),
        server.endpoint(),
        Credential::anonymous(),
    );
    client.manifest(&repository(), &tag("1")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(990));
    let counts = transport.counters().snapshot();
    let count = counts[&(server.address.to_string(), RequestKind::Manifest)];
    assert_eq!((count.requests, count.failures), (2, 1));
    assert_eq!((count.throttles, count.throttled_millis), (1, 1_000));
    assert_eq!(count.bytes, plain_manifest().len() as u64);
}

#[tokio::test]
async fn f04_throttling_without_or_with_a_senseless_wait_is_retried_and_no_answer() {
    for wait in [None, Some("-5"), Some("soon")] {
        let server = Server::start(move |_, _| match wait {
            Some(wait) => Reply::new(429, "").header("Retry-After", wait),
            None => Reply::new(429, ""),
        })
        .await;
        let error = server
            .client()
            .manifest(&repository(), &tag("1"))
            .await
            .unwrap_err();
        assert_eq!((error.class(), server.seen().len()), (Class::Transient, 3));
        assert!(!error.is_not_found());
    }
}

#[tokio::test]
async fn f05_server_errors_are_retried_three_times() {
    for status in [500, 502, 503, 504] {
        let server = Server::start(move |_, before| match before {
            0 | 1 => Reply::new(status, "down"),
            _ => Reply::manifest(&plain_manifest()),
        })
        .await;
        server
            .client()
            .manifest(&repository(), &tag("1"))
            .await
            .unwrap();
        assert_eq!(server.seen().len(), 3);

        let down = Server::start(move |_, _| Reply::new(status, "down\nfor \u{1b}[0m now")).await;
        let error = down.client().list_tags(&repository()).await.unwrap_err();
        assert_eq!((error.class(), down.seen().len()), (Class::Transient, 3));
        assert!(
            told(&error).contains("down\\nfor \\u{1b}[0m now"),
            "{}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn client_errors_are_not_retried() {
    for (status, class) in [
        (404, Class::NotFound),
        (403, Class::Forbidden),
        (418, Class::InvalidContent),
    ] {
        let server = Server::start(move |_, _| Reply::new(status, "no")).await;
        let error = server
            .client()
            .manifest(&repository(), &tag("1"))
            .await
            .unwrap_err();
        assert_eq!((error.class(), server.seen().len()), (class, 1));
    }
}

#[tokio::test]
async fn f01_refused_connection_is_transient_and_names_the_host() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let endpoint =
        crate::registry::Endpoint::new(crate::registry::Scheme::Http, &address.to_string());
    let client = Client::new(
        transport(settings()),
        endpoint.unwrap(),
        Credential::anonymous(),
    );
    let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    assert!(
        told(&error).contains(&format!("failed to connect to \"{address}\"")),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn f08_trickling_registry_is_left() {
    // The head promises more than comes: one byte each 20 ms, well under the read time-out.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let head = b"HTTP/1.1 200 x\r\nContent-Length: 1000000\r\n\r\n";
                let _ = stream.write_all(head).await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    let mut settings = settings();
    settings.limits.tries = 1;
    let endpoint =
        crate::registry::Endpoint::new(crate::registry::Scheme::Http, &address.to_string());
    let client = Client::new(
        transport(settings),
        endpoint.unwrap(),
        Credential::anonymous(),
    );
    let size = Some(1_000_000);
    let blob = client
        .blob_bytes(&repository(), &digest_of("x"), size, 1_000_000)
        .await;
    let error = blob.unwrap_err();
    assert!(
        told(&error).contains("less than 1024 bytes per second"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn f08_small_bodies_have_a_deadline() {
    let mut settings = settings();
    settings.timeouts.read = Duration::from_mins(1);
    settings.timeouts.small_body = Duration::from_millis(200);
    let server = Server::start(|_, _| Reply::manifest(&plain_manifest()).cut(10, Then::Hang)).await;
    let client = client_with(&server, settings);
    let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(
        told(&error).contains("finish its answer"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn f46_requests_to_one_host_queue_at_its_gate() {
    let mut settings = settings();
    settings.limits.concurrency = 1;
    settings.timeouts.queue = Duration::from_millis(100);
    let server = Server::start(|_, _| Reply::new(200, CONTENT)).await;
    let client = client_with(&server, settings);
    let held = client
        .blob(&repository(), &digest_of(CONTENT), Some(16))
        .await
        .unwrap();
    let error = client
        .blob(&repository(), &digest_of(CONTENT), None)
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("finish earlier requests"),
        "{}",
        told(&error)
    );
    assert_eq!(server.seen().len(), 1);
    drop(held);
    client
        .blob(&repository(), &digest_of(CONTENT), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn commit_341d8be9_error_answer_is_read_to_a_limit() {
    for status in [400, 403, 404, 500] {
        let head = format!("HTTP/1.1 {status} x\r\n\r\n");
        let server = Server::start(move |_, _| Reply::raw(&head).then(Then::Flood(1 << 16))).await;
        let pulled = server.client().manifest(&repository(), &tag("1")).await;
        let message = told(&pulled.unwrap_err());
        assert!(message.contains(&status.to_string()), "{message}");
        assert!(message.len() < 1_000, "{} bytes", message.len());
    }
}
