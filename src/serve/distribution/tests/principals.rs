//! Who may do what: every method on every path, by everybody, decided by what comes of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::serve::access::Access;
use crate::serve::pull::{KEY_LENGTH, PullKey, PullKeys, Salt};

/// User and password of a client, if it sends any.
type Login<'a> = Option<(&'a str, &'a str)>;

async fn answer(
    fixture: &Fixture,
    method: &str,
    path: &str,
    login: Login<'_>,
) -> (StatusCode, String) {
    let login = login.map(|(user, password)| {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}")
    });
    let headers: Vec<(&str, &str)> = login
        .iter()
        .map(|login| ("authorization", login.as_str()))
        .collect();
    let response = fixture.ask(method, path, &headers).await;
    (response.status(), body(response).await)
}

#[tokio::test]
async fn cve_2024_39897_cve_2026_31801_cve_2026_35172_cve_2026_41888_ghsa_c9p4_xwr9_rfhx_only_the_own_namespace_is_read()
 {
    let mut fixture = Fixture::new();
    let ours = fixture.publish("ours/app", "1.0", b"ours alone");
    let theirs = fixture.publish("theirs/app", "1.0", b"theirs alone");
    // Both have published this one.
    let shared = fixture.publish("ours/shared", "1.0", b"of both");
    fixture.publish("theirs/shared", "1.0", b"of both");
    let keys = PullKeys {
        current: PullKey::from_bytes(&[1; KEY_LENGTH]).unwrap(),
        previous: None,
    };
    let salt = Salt::random().unwrap();
    let password = |namespace: &str| keys.password(&namespace.parse().unwrap(), salt);
    let (our_password, their_password) = (password("ours"), password("theirs"));
    let access = Access::default();
    access.take(keys);
    fixture.router = router(fixture.store.clone(), Arc::new(access));

    let own = [
        "/v2/ours/app/manifests/1.0".to_owned(),
        format!("/v2/ours/app/manifests/{}", ours.manifest),
        format!("/v2/ours/app/blobs/{}", ours.layer),
        format!("/v2/ours/shared/blobs/{}", shared.layer),
        format!("/v2/ours/app/referrers/{}", ours.manifest),
        "/v2/ours/app/tags/list".to_owned(),
        "/v2/ours/app/tags/list?n=1&last=0".to_owned(),
    ];
    let foreign = [
        "/v2/theirs/app/manifests/1.0".to_owned(),
        format!("/v2/theirs/app/manifests/{}", theirs.manifest),
        format!("/v2/theirs/app/blobs/{}", theirs.layer),
        // What both have is read by one's own repository and by no other.
        format!("/v2/theirs/shared/blobs/{}", shared.layer),
        format!("/v2/theirs/app/referrers/{}", theirs.manifest),
        "/v2/theirs/app/tags/list".to_owned(),
        "/v2/theirs/absent/tags/list".to_owned(),
        "/v2/nobody/app/manifests/1.0".to_owned(),
    ];
    // The content of others, by a repository of one's own.
    let through_own = [
        format!("/v2/ours/app/manifests/{}", theirs.manifest),
        format!("/v2/ours/app/blobs/{}", theirs.layer),
        format!("/v2/ours/app/blobs/{}", shared.layer),
        format!(
            "/v2/ours/app/blobs/uploads/?mount={}&from=theirs/app",
            theirs.layer
        ),
        "/v2/_catalog".to_owned(),
        "/v2/_catalog?n=1000000000000000000".to_owned(),
    ];
    let us: Login<'_> = Some(("ours", &our_password));
    let strangers: [Login<'_>; 6] = [
        None,
        Some(("ours", &their_password)),
        Some(("theirs", &our_password)),
        Some(("ours", "")),
        Some(("", &our_password)),
        Some(("ours/app", &our_password)),
    ];
    let methods = [
        "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "COPY",
    ];
    let mut given = 0;
    for path in own.iter().chain(&foreign).chain(&through_own) {
        for method in methods {
            for login in std::iter::once(us).chain(strangers) {
                let (status, text) = answer(&fixture, method, path, login).await;
                let may = login == us && own.contains(path) && matches!(method, "GET" | "HEAD");
                assert_eq!(
                    status.is_success(),
                    may,
                    "{method} {path} {login:?}: {text}"
                );
                given += usize::from(status.is_success());
                if !may {
                    let leaks = ["theirs alone", "of both", "ours alone"];
                    assert!(!leaks.iter().any(|leak| text.contains(leak)), "{text}");
                }
            }
        }
    }
    assert_eq!(given, own.len() * 2);
    // What belongs to others is answered as what does not exist.
    let absent = Digest::of("absent");
    for (found, missing) in [
        (&foreign[2], format!("/v2/theirs/app/blobs/{absent}")),
        (&through_own[1], format!("/v2/ours/app/blobs/{absent}")),
        (&foreign[5], "/v2/theirs/absent/tags/list".to_owned()),
    ] {
        let found = answer(&fixture, "GET", found, us).await;
        assert_eq!(found, answer(&fixture, "GET", &missing, us).await);
    }
    // Nobody has changed anything.
    for path in &own {
        assert!(answer(&fixture, "GET", path, us).await.0.is_success());
    }
}
