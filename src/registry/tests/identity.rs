//! Credentials and tokens: they go where they belong and nowhere else.

use super::server::{
    Reply, Server, Then, TlsIdentity, digest_of, plain_manifest, repository, settings, tag, told,
    transport,
};
use crate::registry::{Class, Client, Credential, Endpoint, Pool, Settings};

const PASSWORD: &str = "s3cret-canary";

fn bot() -> Credential {
    Credential::password("bot", PASSWORD)
}

/// Settings under which `name` is at `server`, trusting `identity`.
fn resolving(servers: &[(&str, &Server)], identity: &TlsIdentity) -> Settings {
    let overrides = servers
        .iter()
        .map(|(name, server)| format!("{name}={}", server.address).parse().unwrap())
        .collect();
    Settings {
        overrides,
        extra_roots: Some(identity.authority_pem.clone().into_bytes()),
        ..settings()
    }
}

/// A registry that wants a token from its own host.
async fn token_registry() -> Server {
    Server::start(|seen, before| {
        if seen.path.starts_with("/token") {
            return Reply::new(200, format!("{{\"token\":\"t{before}\"}}"));
        }
        match seen.authorization() {
            Some(text) if text.starts_with("Bearer t") => Reply::manifest(&plain_manifest()),
            _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
        }
    })
    .await
}

#[tokio::test]
async fn password_is_exchanged_once_and_the_token_used_again() {
    let server = token_registry().await;
    let client = server.client_as(bot());
    for _ in 0..3 {
        client.manifest(&repository(), &tag("1")).await.unwrap();
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 5, "401, token, three pulls");
    assert_eq!(
        seen[1].path,
        "/token?service=reg&scope=repository%3Ateam%2Fapp%3Apull"
    );
    assert!(seen[1].authorization().unwrap().starts_with("Basic "));
    assert_eq!(seen[0].authorization(), None, "nothing is sent unasked");
    assert!(
        seen[2..]
            .iter()
            .all(|seen| seen.authorization() == Some("Bearer t1"))
    );
}

#[tokio::test]
async fn identity_token_is_posted_and_never_in_a_url() {
    let server = token_registry().await;
    let client = server.client_as(Credential::identity_token(PASSWORD));
    client.manifest(&repository(), &tag("1")).await.unwrap();
    let exchange = &server.seen()[1];
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str()),
        ("POST", "/token")
    );
    assert!(exchange.body.contains(&format!("refresh_token={PASSWORD}")));
    assert!(exchange.body.contains("grant_type=refresh_token"));
}

#[tokio::test]
async fn exchange_of_an_identity_token_is_tried_again_where_the_server_fails() {
    let server = Server::start(|seen, before| {
        if seen.path.starts_with("/token") {
            return match before {
                1 => Reply::new(503, ""),
                _ => Reply::new(200, r#"{"token":"t"}"#),
            };
        }
        match seen.authorization() {
            Some("Bearer t") => Reply::manifest(&plain_manifest()),
            _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
        }
    })
    .await;
    let client = server.client_as(Credential::identity_token(PASSWORD));
    client.manifest(&repository(), &tag("1")).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 4, "401, 503, token, pull");
    assert_eq!(seen[1].body, seen[2].body);
}

#[tokio::test]
async fn basic_challenge_is_answered_and_refusal_names_the_host() {
    let server = Server::start(|seen, _| match seen.authorization() {
        Some("Basic Ym90OnMzY3JldC1jYW5hcnk=") => Reply::manifest(&plain_manifest()),
        _ => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    server
        .client_as(bot())
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap();

    let error = server
        .client()
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Unauthorized);
    let expected = format!(
        "failed to pull \"{0}/team/app:1\": 401 Unauthorized; no credential for host \"{0}\"",
        server.address
    );
    assert_eq!(told(&error), expected);

    let before = server.seen().len();
    let wrong = server.client_as(Credential::password("bot", "wrong"));
    let error = wrong.manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(told(&error).contains("(user \"bot\")"), "{}", told(&error));
    assert_eq!(
        server.seen().len() - before,
        2,
        "a refused password is not sent again"
    );
}

#[tokio::test]
async fn b37_a2f47d42_5cfc2a4b_bf87c3bf_realm_leads_nowhere_else() {
    let identity = TlsIdentity::of("ghcr.io");
    let lure = Server::start(|_, _| Reply::new(200, r#"{"token":"x"}"#)).await;
    let port = lure.address.port();
    let realms = [
        format!("http://ghcr.io:{port}/"),
        "file:///etc/passwd".to_owned(),
        format!("https://127.0.0.1:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        format!("https://[::]:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://169.254.169.254/latest".to_owned(),
        "https://2852039166/latest".to_owned(),
        "https://10.96.0.1/".to_owned(),
        format!("https://a@127.0.0.1:{port}/"),
        "https://ghcr.io@127.0.0.1/".to_owned(),
        "https://gh\u{441}r.io/".to_owned(),
        "//evil".to_owned(),
        "data:text/plain,x".to_owned(),
    ];
    for realm in &realms {
        let challenge = realm.clone();
        let registry = Server::start_tls(&identity, move |_, _| Reply::bearer(&challenge)).await;
        for credential in [bot(), Credential::anonymous()] {
            let transport = transport(resolving(&[("ghcr.io", &registry)], &identity));
            let client = Client::new(transport, Endpoint::https("ghcr.io").unwrap(), credential);
            let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
            let refusals = [Class::RefusedByPolicy, Class::Unauthorized];
            assert!(
                refusals.contains(&error.class()),
                "{realm}: {}",
                told(&error)
            );
            assert!(!told(&error).contains(PASSWORD));
        }
        assert!(
            registry
                .seen()
                .iter()
                .all(|seen| seen.authorization().is_none()),
            "{realm}"
        );
    }
    assert!(lure.seen().is_empty(), "{:?}", lure.seen());
}

#[tokio::test]
async fn cve_2025_24976_credential_is_not_for_a_realm_of_another_domain() {
    let identity = TlsIdentity::of("ghcr.io");
    let other = TlsIdentity::of("auth.evil.example");
    let registry = Server::start_tls(&identity, |_, _| {
        Reply::bearer("https://auth.evil.example/token")
    })
    .await;
    let evil = Server::start_tls(&other, |_, _| Reply::new(200, r#"{"token":"x"}"#)).await;
    let mut settings = resolving(
        &[("ghcr.io", &registry), ("auth.evil.example", &evil)],
        &identity,
    );
    let both = identity.authority_pem.clone() + &other.authority_pem;
    settings.extra_roots = Some(both.into_bytes());
    let client = |settings: &Settings| {
        let transport = transport(settings.clone());
        Client::new(transport, Endpoint::https("ghcr.io").unwrap(), bot())
    };
    let error = client(&settings)
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::RefusedByPolicy);
    assert!(evil.seen().is_empty());

    settings.trusted_hosts = vec!["auth.evil.example".to_owned()];
    client(&settings)
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert!(
        evil.seen()[0]
            .authorization()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn a70d75a6_token_server_redirects_nowhere_inward() {
    let lure = Server::start(|_, _| Reply::new(200, r#"{"token":"x"}"#)).await;
    for target in [
        lure.url(),
        "http://169.254.169.254/".to_owned(),
        "file:///x".to_owned(),
    ] {
        let server = Server::start(move |seen, _| match seen.path.as_str() {
            path if path.starts_with("/token") => Reply::redirect(302, &target),
            _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
        })
        .await;
        let client = server.client_as(bot());
        let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
        assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
    }
    assert!(lure.seen().is_empty());
}

#[tokio::test]
async fn commit_97a8a17e_redirect_host_that_asks_for_a_token_gets_none() {
    let identity = TlsIdentity::of("cdn.example");
    let cdn = Server::start_tls(&identity, |seen, _| {
        Reply::bearer(&format!("https://{}/token", seen.headers["host"]))
    })
    .await;
    let registry = Server::start(|seen, _| match seen.path.as_str() {
        path if path.starts_with("/token") => Reply::new(200, r#"{"token":"mine"}"#),
        _ if seen.authorization().is_none() => {
            Reply::bearer(&format!("http://{}/token", seen.headers["host"]))
        }
        _ => Reply::redirect(307, "https://cdn.example/blob"),
    })
    .await;
    let transport = transport(resolving(&[("cdn.example", &cdn)], &identity));
    let client = Client::new(transport, registry.endpoint(), bot());
    // The second time the token is at hand before anything is asked for.
    for _ in 0..2 {
        let blob = client.blob(&repository(), &digest_of("x"), None).await;
        let error = blob.unwrap_err();
        assert_eq!(error.class(), Class::Unauthorized, "{}", told(&error));
    }
    assert_eq!(cdn.seen().len(), 2);
    assert!(cdn.seen().iter().all(|seen| seen.authorization().is_none()));
    let exchanges = registry
        .seen()
        .iter()
        .filter(|seen| seen.path.starts_with("/token"))
        .count();
    assert_eq!(exchanges, 1);
}

#[tokio::test]
async fn f09_expired_token_is_refreshed_once() {
    // Each token is good for one request: the blob comes in three broken parts.
    let content = "0123456789";
    let server = Server::start(move |seen, before| {
        if seen.path.starts_with("/token") {
            return Reply::new(
                200,
                format!("{{\"token\":\"t{before}\",\"expires_in\":3600}}"),
            );
        }
        let fresh = format!("Bearer t{}", before.wrapping_sub(1));
        if seen.authorization() != Some(fresh.as_str()) {
            return Reply::bearer(&format!("http://{}/token", seen.headers["host"]));
        }
        let start = match seen.headers.get("range") {
            Some(range) => range["bytes=".len()..]
                .trim_end_matches('-')
                .parse()
                .unwrap(),
            None => 0,
        };
        let rest = &content[start..];
        let status = if start == 0 { 200 } else { 206 };
        let range = format!("bytes {start}-9/10");
        let reply = Reply::new(status, rest).header("Content-Range", &range);
        reply.cut(
            rest.len().min(4),
            if rest.len() > 4 {
                Then::Close
            } else {
                Then::Keep
            },
        )
    })
    .await;
    let client = server.client_as(bot());
    let blob = client
        .blob_bytes(&repository(), &digest_of(content), Some(10), 10)
        .await
        .unwrap();
    assert_eq!(blob, content);
    assert_eq!(server.seen().len(), 9, "refused, token, part; three times");
}

#[tokio::test]
async fn f09_no_loop_if_the_new_token_fails_too() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        path if path.starts_with("/token") => Reply::new(200, r#"{"token":"useless"}"#),
        _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
    })
    .await;
    let error = server
        .client_as(bot())
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Unauthorized);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn b41_341d8be9_token_answer_is_bounded() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        path if path.starts_with("/token") => {
            Reply::raw("HTTP/1.1 200 x\r\n\r\n{\"token\":\"").then(Then::Flood(1 << 16))
        }
        _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
    })
    .await;
    let error = server
        .client()
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("token answer is larger than 65536 bytes"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn b41_newline_in_a_token_is_an_error_and_no_panic() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        path if path.starts_with("/token") => Reply::new(200, r#"{"token":"a\r\nX-Evil: 1"}"#),
        _ => Reply::bearer(&format!("http://{}/token", seen.headers["host"])),
    })
    .await;
    let error = server
        .client()
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::InvalidContent);
}

#[tokio::test]
async fn pool_keeps_users_of_one_registry_apart() {
    let server = token_registry().await;
    let pool = Pool::new(transport(settings()));
    let place: crate::registry::RepositoryUrl = server.url().parse().unwrap();
    let place = place.join("team/app").unwrap();
    let mut credentials = crate::registry::Credentials::default();
    credentials.add(&server.endpoint(), bot());
    for _ in 0..2 {
        let client = pool.client(&place, &credentials);
        client.manifest(place.name(), &tag("1")).await.unwrap();
    }
    let shared = server.seen().len();
    assert_eq!(shared, 4, "401, token, two pulls");
    let stranger = pool.client(&place, &crate::registry::Credentials::default());
    stranger.manifest(place.name(), &tag("1")).await.unwrap();
    let exchange = &server.seen()[shared + 1];
    assert!(exchange.path.starts_with("/token") && exchange.authorization().is_none());
}
