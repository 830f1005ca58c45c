//! F14: registries behind a proxy of the site.

use super::server::{
    Reply, Server, Then, TlsIdentity, digest_of, plain_manifest, repository, settings, tag, told,
    transport,
};
use crate::registry::{Class, Client, Credential, Endpoint, Error, Proxies, Scheme, Settings};

/// A host that is dialled by the proxy alone (RFC 5737). It is no name, so nobody is asked for it.
const HOST: &str = "203.0.113.7";
const PASSWORD: &str = "s3cret-canary";

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    let find = |name: &str| {
        let mut found = variables.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| (*value).to_owned())
    };
    Proxies::from_variables(find).unwrap()
}

/// Both schemes by way of the proxy at `url`.
fn by(url: &str) -> Settings {
    let mut settings = settings();
    // Before the wait for an answer ends.
    settings.timeouts.connect /= 2;
    settings.proxies = proxies(&[("HTTP_PROXY", url), ("HTTPS_PROXY", url)]);
    settings
}

async fn pull(host: &str, scheme: Scheme, settings: Settings) -> Result<(), Error> {
    let endpoint = Endpoint::new(scheme, host).unwrap();
    let credential = Credential::password("bot", PASSWORD);
    let client = Client::new(transport(settings), endpoint, credential);
    client.manifest(&repository(), &tag("1")).await.map(|_| ())
}

/// A registry over TLS that wants a password, and a proxy that leads to it.
async fn site(identity: &TlsIdentity) -> (Server, Server) {
    let registry = Server::start_tls(identity, |seen, _| match seen.authorization() {
        Some(_) => Reply::manifest(&plain_manifest()),
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    let address = registry.address;
    let proxy = Server::start(move |_, _| Reply::tunnel(address)).await;
    (registry, proxy)
}

#[tokio::test]
async fn registry_is_reached_by_a_tunnel_in_which_the_proxy_reads_nothing() {
    let identity = TlsIdentity::of(HOST);
    let (registry, proxy) = site(&identity).await;
    let mut settings = by(&format!("http://me:p%40ss@{}", proxy.address));
    settings.extra_roots = Some(identity.authority_pem.clone().into_bytes());
    pull(HOST, Scheme::Https, settings).await.unwrap();

    let asked = proxy.seen();
    assert_eq!(asked.len(), 1, "one connection for both requests");
    assert_eq!(
        (&*asked[0].method, &*asked[0].path),
        ("CONNECT", "203.0.113.7:443")
    );
    assert_eq!(asked[0].headers["host"], "203.0.113.7:443");
    assert_eq!(
        asked[0].headers["proxy-authorization"],
        "Basic bWU6cEBzcw=="
    );
    assert_eq!(asked[0].authorization(), None);
    let pulls = registry.seen();
    assert_eq!(pulls.len(), 2);
    for pull in pulls {
        assert_eq!(pull.headers["host"], HOST);
        assert!(pull.path.starts_with("/v2/"));
        assert!(!pull.headers.contains_key("proxy-authorization"));
    }
}

#[tokio::test]
async fn certificate_behind_a_proxy_is_that_of_the_registry() {
    let identity = TlsIdentity::of("203.0.113.8");
    let (registry, proxy) = site(&identity).await;
    let mut settings = by(&proxy.url());
    settings.extra_roots = Some(identity.authority_pem.clone().into_bytes());
    let error = pull(HOST, Scheme::Https, settings).await.unwrap_err();
    assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
    assert!(registry.seen().is_empty());
}

#[tokio::test]
async fn plain_http_is_asked_of_the_proxy() {
    let proxy = Server::start(|_, _| Reply::manifest(&plain_manifest())).await;
    let url = format!("http://me:pass@{}", proxy.address);
    pull("203.0.113.7:5000", Scheme::Http, by(&url))
        .await
        .unwrap();
    let asked = &proxy.seen()[0];
    assert_eq!(
        asked.path,
        "http://203.0.113.7:5000/v2/team/app/manifests/1"
    );
    assert_eq!(asked.headers["host"], "203.0.113.7:5000");
    assert_eq!(asked.headers["proxy-authorization"], "Basic bWU6cGFzcw==");
}

#[tokio::test]
async fn proxy_may_speak_tls_itself() {
    let (of_proxy, of_registry) = (TlsIdentity::of("127.0.0.1"), TlsIdentity::of(HOST));
    let registry = Server::start_tls(&of_registry, |_, _| Reply::manifest(&plain_manifest())).await;
    let address = registry.address;
    let proxy = Server::start_tls(&of_proxy, move |seen, _| match seen.method.as_str() {
        "CONNECT" => Reply::tunnel(address),
        _ => Reply::manifest(&plain_manifest()),
    })
    .await;
    let url = format!("https://{}", proxy.address);
    let both = of_proxy.authority_pem.clone() + &of_registry.authority_pem;
    let trusting = Settings {
        extra_roots: Some(both.into_bytes()),
        ..by(&url)
    };
    for scheme in [Scheme::Https, Scheme::Http] {
        pull(HOST, scheme, trusting.clone()).await.unwrap();
    }
    assert_eq!(proxy.seen().len(), 2);
    let error = pull(HOST, Scheme::Https, by(&url)).await.unwrap_err();
    assert!(
        told(&error).contains("TLS with the proxy"),
        "{}",
        told(&error)
    );
    assert_eq!(proxy.seen().len(), 2);
}

#[tokio::test]
async fn f14_proxy_that_is_down_or_refuses_is_named_with_the_reason() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://me:{PASSWORD}@{closed}");
    for scheme in [Scheme::Https, Scheme::Http] {
        let error = pull(HOST, scheme, by(&url)).await.unwrap_err();
        assert_eq!(error.class(), Class::Transient, "{}", told(&error));
        let expected = format!("failed to reach the proxy http://{closed}");
        assert!(told(&error).contains(&expected), "{}", told(&error));
        assert!(!told(&error).contains(PASSWORD), "{}", told(&error));
    }

    let (https, http) = (&[Scheme::Https][..], &[Scheme::Https, Scheme::Http][..]);
    let flood = || Reply::raw("HTTP/1.1 200 x\r\nA: ").then(Then::Flood(1 << 12));
    let cases: [(Reply, &[Scheme], Class, &str); 7] = [
        (
            Reply::new(407, ""),
            http,
            Class::RefusedByPolicy,
            "user and password in the URL",
        ),
        (
            Reply::new(403, ""),
            https,
            Class::RefusedByPolicy,
            "403 Forbidden to CONNECT; allow",
        ),
        (
            Reply::new(302, ""),
            https,
            Class::RefusedByPolicy,
            "302 Found to CONNECT",
        ),
        (
            Reply::new(502, ""),
            https,
            Class::Transient,
            "502 Bad Gateway to CONNECT",
        ),
        (
            Reply::raw("no HTTP\r\n\r\n"),
            https,
            Class::Transient,
            "the proxy broke off",
        ),
        (flood(), https, Class::Transient, "the proxy broke off"),
        (
            Reply::raw("").then(Then::Hang),
            https,
            Class::Transient,
            "failed to reach the proxy",
        ),
    ];
    for (reply, schemes, class, expected) in cases {
        for scheme in schemes {
            let reply = reply.clone();
            let proxy = Server::start(move |_, _| reply.clone()).await;
            let error = pull(HOST, *scheme, by(&proxy.url())).await.unwrap_err();
            assert_eq!(error.class(), class, "{expected}: {}", told(&error));
            assert!(told(&error).contains(expected), "{}", told(&error));
            for asked in proxy.seen() {
                assert_eq!(asked.authorization(), None);
            }
        }
    }
}

#[tokio::test]
async fn overrides_and_this_machine_are_reached_without_a_proxy() {
    let proxy = Server::start(|_, _| Reply::new(418, "")).await;
    let registry = Server::start(|_, _| Reply::manifest(&plain_manifest())).await;
    let overridden = Settings {
        overrides: vec![format!("{HOST}={}", registry.address).parse().unwrap()],
        ..by(&proxy.url())
    };
    pull(HOST, Scheme::Http, overridden).await.unwrap();
    let own = registry.address.to_string();
    pull(&own, Scheme::Http, by(&proxy.url())).await.unwrap();
    assert!(proxy.seen().is_empty());
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn b39_b38_addresses_are_checked_in_front_of_a_proxy_as_well() {
    let proxy = Server::start(|seen, _| {
        assert!(seen.path.contains(HOST), "{seen:?}");
        Reply::redirect(302, "http://10.1.2.3/blob")
    })
    .await;
    let settings = Settings {
        denied_addresses: vec!["10.96.0.1".parse().unwrap()],
        ..by(&proxy.url())
    };
    for host in ["169.254.169.254", "0.0.0.0", "10.96.0.1:443", "[fe80::1]"] {
        for scheme in [Scheme::Http, Scheme::Https] {
            let error = pull(host, scheme, settings.clone()).await.unwrap_err();
            assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
        }
    }
    assert!(proxy.seen().is_empty());

    let endpoint = Endpoint::new(Scheme::Http, HOST).unwrap();
    let client = Client::new(transport(settings), endpoint, Credential::anonymous());
    let blob = client.blob(&repository(), &digest_of("x"), None).await;
    let error = blob.unwrap_err();
    assert_eq!(error.class(), Class::RefusedByPolicy, "{}", told(&error));
    assert!(
        told(&error).contains("another host points to"),
        "{}",
        told(&error)
    );
    assert_eq!(proxy.seen().len(), 1);
}
