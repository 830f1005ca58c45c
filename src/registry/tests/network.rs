//! Names, addresses, redirects, TLS, and HTTP that is none.

use std::collections::BTreeMap;

use super::server::{
    Reply, Server, Then, TlsIdentity, digest_of, plain_manifest, repository, settings, tag, told,
    transport,
};
use crate::registry::{
    Class, Client, Credential, Credentials, Download, Endpoint, Error, Scheme, Settings, Transport,
};

fn resolving(name: &str, server: &Server) -> Settings {
    Settings {
        overrides: vec![format!("{name}:443={}", server.address).parse().unwrap()],
        ..settings()
    }
}

async fn pull_as(name: &str, settings: Settings) -> Result<(), Error> {
    let endpoint = Endpoint::https(name).unwrap();
    let client = Client::new(transport(settings), endpoint, Credential::anonymous());
    client.manifest(&repository(), &tag("1")).await.map(|_| ())
}

#[tokio::test]
async fn registry_on_loopback_answers_as_ghcr_io() {
    let identity = TlsIdentity::of("ghcr.io");
    let server = Server::start_tls(&identity, |_, _| Reply::manifest(&plain_manifest())).await;
    let mut settings = resolving("ghcr.io", &server);
    settings.extra_roots = Some(identity.authority_pem.clone().into_bytes());
    pull_as("ghcr.io", settings.clone()).await.unwrap();
    assert_eq!(server.seen()[0].headers["host"], "ghcr.io");

    settings.allow_loopback = false;
    let error = pull_as("ghcr.io", settings).await.unwrap_err();
    assert_eq!(error.class(), Class::RefusedByPolicy);
    assert!(
        told(&error).contains("--allow-loopback"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn f12_certificate_authority_of_a_secret_is_trusted_for_its_host_alone() {
    let identity = TlsIdentity::of("reg.example");
    let server = Server::start_tls(&identity, |_, _| Reply::manifest(&plain_manifest())).await;
    let transport = transport(resolving("reg.example", &server));
    let endpoint = Endpoint::https("reg.example").unwrap();
    let with_authority = |pem: &str| {
        let data = BTreeMap::from([("ca.crt".to_owned(), pem.as_bytes().to_vec())]);
        let mut credentials = Credentials::default();
        credentials
            .add_properties("registry-ca", &data, &"reg.example".parse().unwrap())
            .unwrap();
        let place = crate::registry::RegistryRepository::new(endpoint.clone(), repository());
        Client::new(
            transport.clone(),
            endpoint.clone(),
            credentials.find(&place),
        )
    };
    let outdated = TlsIdentity::of("reg.example");
    let client = with_authority(&outdated.authority_pem);
    let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
    assert!(
        told(&error).contains("failed to establish TLS"),
        "{}",
        told(&error)
    );
    let client = with_authority(&identity.authority_pem);
    client.manifest(&repository(), &tag("1")).await.unwrap();
    let stranger = Client::new(transport.clone(), endpoint.clone(), Credential::anonymous());
    stranger
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn b46_bad_certificates_are_refused_with_the_reason() {
    let expired = TlsIdentity::changed("reg.example", |leaf| {
        leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let no_authority = TlsIdentity::through_non_authority("reg.example");
    let trusted = |identity: &TlsIdentity| Some(identity.authority_pem.clone().into_bytes());
    for (identity, roots, reason) in [
        (&expired, trusted(&expired), "xpired"),
        (&TlsIdentity::of("other.example"), None, "UnknownIssuer"),
        (&no_authority, trusted(&no_authority), "EndEntityUsedAsCa"),
    ] {
        let server = Server::start_tls(identity, |_, _| Reply::manifest("")).await;
        let mut settings = resolving("reg.example", &server);
        settings.extra_roots = roots;
        let error = pull_as("reg.example", settings).await.unwrap_err();
        assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
        assert!(told(&error).contains(reason), "{}", told(&error));
        assert!(server.seen().is_empty());
    }
    for (issued, asked) in [
        ("other.example", "reg.example"),
        ("*.example", "a.reg.example"),
    ] {
        let identity = TlsIdentity::of(issued);
        let server = Server::start_tls(&identity, |_, _| Reply::manifest("")).await;
        let mut settings = resolving(asked, &server);
        settings.extra_roots = trusted(&identity);
        let error = pull_as(asked, settings).await.unwrap_err();
        assert!(
            told(&error).contains("not valid for name"),
            "{}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn tls_never_falls_back_to_plain_http() {
    let server = Server::start(|_, _| Reply::manifest(&plain_manifest())).await;
    let error = pull_as("reg.example", resolving("reg.example", &server))
        .await
        .unwrap_err();
    assert!(told(&error).contains("reg.example"), "{}", told(&error));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn b40_b39_addresses_of_no_registry_are_not_dialled() {
    let denied = "127.0.0.9".parse().unwrap();
    for address in [
        "169.254.169.254",
        "0.0.0.0",
        "[::]",
        "[fe80::1]",
        "224.0.0.1",
        "127.0.0.9",
    ] {
        let endpoint = Endpoint::new(Scheme::Http, address).unwrap();
        let settings = Settings {
            denied_addresses: vec![denied],
            ..settings()
        };
        let client = Client::new(transport(settings), endpoint, Credential::anonymous());
        let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
        assert_eq!(
            error.class(),
            Class::RefusedByPolicy,
            "{address}: {}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn f11_name_that_points_to_loopback_is_refused_when_dialled() {
    let endpoint = Endpoint::new(Scheme::Http, "localhost:9").unwrap();
    let settings = Settings {
        allow_loopback: false,
        ..settings()
    };
    let client = Client::new(transport(settings), endpoint, Credential::anonymous());
    let error = client.manifest(&repository(), &tag("1")).await.unwrap_err();
    assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
}

#[tokio::test]
async fn b38_redirects_stay_within_the_policy() {
    let lure = Server::start(|_, _| Reply::new(200, "x")).await;
    for status in [301, 302, 303, 307, 308] {
        for target in [
            lure.url(),
            "http://169.254.169.254/".to_owned(),
            "http://0.0.0.0/".to_owned(),
            "file:///etc/passwd".to_owned(),
            format!("http://u:p@{}/", lure.address),
            "gopher://x".to_owned(),
        ] {
            let server = Server::start(move |_, _| Reply::redirect(status, &target)).await;
            let error = server
                .client()
                .blob(&repository(), &digest_of("x"), None)
                .await
                .unwrap_err();
            assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
        }
    }
    assert!(lure.seen().is_empty());

    let server = Server::start(|_, _| Reply::redirect(302, "/again")).await;
    let error = server
        .client()
        .blob(&repository(), &digest_of("x"), None)
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("more than 5 redirects"),
        "{}",
        told(&error)
    );
    assert_eq!(server.seen().len(), 6);

    let server = Server::start(|_, _| Reply::new(302, "")).await;
    let error = server
        .client()
        .blob(&repository(), &digest_of("x"), None)
        .await
        .unwrap_err();
    assert!(
        told(&error).contains("without a usable Location"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn b38_tls_is_not_left_by_a_redirect() {
    let identity = TlsIdentity::of("reg.example");
    let lure = Server::start(|_, _| Reply::manifest(&plain_manifest())).await;
    let target = format!("http://reg.example:{}/", lure.address.port());
    let server = Server::start_tls(&identity, move |_, _| Reply::redirect(302, &target)).await;
    let mut settings = resolving("reg.example", &server);
    settings
        .overrides
        .push(format!("reg.example={}", lure.address).parse().unwrap());
    settings.extra_roots = Some(identity.authority_pem.clone().into_bytes());
    let error = pull_as("reg.example", settings).await.unwrap_err();
    assert!(
        told(&error).contains("from TLS to plain HTTP"),
        "{}",
        told(&error)
    );
    assert!(lure.seen().is_empty());
}

#[tokio::test]
async fn b38_identity_does_not_follow_a_redirect_to_another_host() {
    let storage = Server::start(|_, _| Reply::new(200, "x")).await;
    let registry = Server::start(|seen, _| match (seen.authorization(), seen.path.as_str()) {
        (None, _) => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        (_, path) if path.starts_with("/v2/") => Reply::redirect(307, "/elsewhere"),
        _ => Reply::redirect(307, "http://storage.example/blob?signature=abc"),
    })
    .await;
    let settings = Settings {
        overrides: vec![
            format!("storage.example={}", storage.address)
                .parse()
                .unwrap(),
        ],
        ..settings()
    };
    let bot = Credential::password("bot", "s3cret-canary");
    let client = Client::new(transport(settings), registry.endpoint(), bot);
    let blob = client
        .blob_bytes(&repository(), &digest_of("x"), Some(1), 1)
        .await
        .unwrap();
    assert_eq!(blob, "x");
    assert!(
        registry.seen()[2].authorization().is_some(),
        "the same host keeps it"
    );
    assert_eq!(storage.seen().len(), 1);
    assert_eq!(storage.seen()[0].authorization(), None);
}

#[tokio::test]
async fn b43_http_that_is_none_is_an_error_within_limits() {
    let head = "HTTP/1.1 200 x\r\n";
    let many = "X-Header: y\r\n".repeat(10_000);
    for (name, answer) in [
        (
            "header line of 1 MiB",
            format!("{head}X: {}\r\n\r\n", "y".repeat(1 << 20)),
        ),
        ("10,000 headers", format!("{head}{many}\r\n")),
        (
            "obs-fold",
            format!("{head}X: y\r\n z\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("HTTP/0.9", "{\"schemaVersion\":2}".to_owned()),
        ("status 099", "HTTP/1.1 099 x\r\n\r\n".to_owned()),
        ("nothing", String::new()),
    ] {
        let answer = Reply::raw(answer);
        let server = Server::start(move |_, _| answer.clone()).await;
        let error = server
            .client()
            .manifest(&repository(), &tag("1"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::Transient, "{name}: {}", told(&error));
    }
    let flood = Reply::raw("HTTP/1.1 100 x\r\n\r\n".repeat(1_000)).then(Then::Hang);
    let server = Server::start(move |_, _| flood.clone()).await;
    server
        .client()
        .manifest(&repository(), &tag("1"))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn b43_two_lengths_never_give_wrong_content() {
    let manifest = plain_manifest();
    let answer = Reply::raw(format!(
        "HTTP/1.1 200 x\r\nContent-Type: {}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{manifest}\r\n0\r\n\r\n",
        crate::registry::media_type::OCI_MANIFEST,
        manifest.len()
    ));
    let server = Server::start(move |_, _| answer.clone()).await;
    if let Ok(pulled) = server.client().manifest(&repository(), &tag("1")).await {
        assert_eq!(pulled.bytes, plain_manifest());
    }
}

#[tokio::test]
async fn artifact_of_a_url_is_checked_like_a_blob() {
    let server = Server::start(|_, _| Reply::new(200, "artifact")).await;
    let transport: Transport = transport(settings());
    let get = |url: &str| Download::get(url.parse().unwrap());
    let url = format!("{}/a.tar.gz", server.url());
    let all = [digest_of("artifact"), digest_of("other")];
    let right = transport.download(get(&url), &all[..1]).await.unwrap();
    assert_eq!(right.collect(100).await.unwrap(), "artifact");
    let wrong = transport.download(get(&url), &all).await.unwrap();
    let error = wrong.collect(100).await.unwrap_err();
    assert!(told(&error).contains("/a.tar.gz"), "{}", told(&error));
    for url in ["file:///etc/passwd", "http://u:p@127.0.0.1/"] {
        let refused = transport.download(get(url), &[digest_of("x")]).await;
        let error = refused.unwrap_err();
        assert_eq!(error.class(), Class::RefusedByPolicy);
    }
}
