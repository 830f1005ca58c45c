//! Web servers and chart repositories, scripted in-process on loopback.

use serde_json::{Value, json};

use super::*;
use crate::chain::chain;
use crate::ocm::RawAccess;
use crate::registry::Settings;
use crate::registry::tests::server::{Reply, Seen, Server, Then, TlsIdentity, settings, transport};

const CHART: &str = "the packed chart";

/// As a site that names loopback as a host that content may be on.
fn trusting() -> Settings {
    Settings {
        trusted_hosts: vec!["127.0.0.1".to_owned()],
        ..settings()
    }
}

fn remote(access: Value) -> Result<Remote> {
    let access: RawAccess = serde_json::from_value(access).unwrap();
    Ok(Remote::of(&access.typed().unwrap())?.expect("content outside of registries"))
}

fn wget(url: &str) -> Value {
    json!({"type": "wget/v1", "url": url})
}

fn helm(repository: &str, chart: &str) -> Value {
    json!({"type": "helm/v1", "helmRepository": repository, "helmChart": chart})
}

async fn fetch_as(
    settings: Settings,
    credentials: &Credentials,
    access: Value,
    expected: &[Digest],
) -> Result<(String, String)> {
    let transport = transport(settings);
    let asker = Asker {
        transport: &transport,
        credentials,
        home: None,
    };
    let Fetched {
        media_type,
        content,
    } = remote(access)?.fetch(&asker, expected).await?;
    let content = content.collect("it", 1 << 20).await;
    let content = content.map_err(|source| Error::Fetch { source })?;
    Ok((media_type, String::from_utf8(content.to_vec()).unwrap()))
}

async fn fetch(access: Value, expected: &[Digest]) -> Result<(String, String)> {
    fetch_as(trusting(), &Credentials::default(), access, expected).await
}

/// Why it is not fetched, with all causes.
async fn refused(access: Value, expected: &[Digest]) -> String {
    chain(&fetch(access, expected).await.unwrap_err())
}

fn credentials(consumer: &Value) -> Credentials {
    let config = json!({"type": "credentials.config.ocm.software/v1", "consumers": [consumer]});
    let mut credentials = Credentials::default();
    credentials
        .add_ocm_config(
            "charts",
            ".ocmcredentialconfig",
            config.to_string().as_bytes(),
        )
        .unwrap();
    credentials
}

/// A consumer of the host of `server`, by user and password.
fn consumer(kind: &str, server: &Server) -> Value {
    json!({
        "identity": {"type": kind, "scheme": "http", "hostname": "127.0.0.1",
                     "port": server.address.port().to_string()},
        "credentials": [{"type": "Credentials",
                         "properties": {"username": "bot", "password": "secret"}}],
    })
}

/// A chart repository below `/charts`.
async fn repository(url: &str, digest: &str) -> Server {
    let index = format!(
        "apiVersion: v1\nentries:\n  podinfo:\n  - version: 6.3.5\n    digest: '{digest}'\n    \
         urls: ['{url}']\n"
    );
    Server::start(move |seen, _| match seen.path.as_str() {
        "/charts/index.yaml" => Reply::new(200, &index),
        "/charts/podinfo-6.3.5.tgz" | "/elsewhere/podinfo.tgz" => Reply::new(200, CHART),
        _ => Reply::new(404, "no such file"),
    })
    .await
}

fn paths(server: &Server) -> Vec<String> {
    server.seen().into_iter().map(|seen| seen.path).collect()
}

#[tokio::test]
async fn chart_is_found_by_relative_and_by_absolute_urls() {
    for (url, path) in [
        ("podinfo-6.3.5.tgz", "/charts/podinfo-6.3.5.tgz"),
        ("/elsewhere/podinfo.tgz", "/elsewhere/podinfo.tgz"),
        ("../elsewhere/podinfo.tgz", "/elsewhere/podinfo.tgz"),
    ] {
        let server = repository(url, "").await;
        for slash in ["", "/"] {
            let place = format!("{}/charts{slash}", server.url());
            let (media_type, content) = fetch(helm(&place, "podinfo:6.3.5"), &[]).await.unwrap();
            assert_eq!(content, CHART);
            assert_eq!(
                media_type,
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
            );
        }
        assert_eq!(paths(&server)[1], path);
    }
    let other = repository("podinfo-6.3.5.tgz", "").await;
    let absolute = format!("{}/charts/podinfo-6.3.5.tgz", other.url());
    let server = repository(&absolute, "").await;
    let mut access = helm(&format!("{}/charts", server.url()), "podinfo");
    access["version"] = json!("6.3.5");
    assert_eq!(fetch(access, &[]).await.unwrap().1, CHART);
    assert_eq!(paths(&other), ["/charts/podinfo-6.3.5.tgz"]);
}

#[tokio::test]
async fn query_of_a_chart_repository_goes_with_its_charts() {
    let index = "entries: {podinfo: [{version: 6.3.5, urls: [podinfo-6.3.5.tgz]}]}";
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/charts/index.yaml?key=geheim" => Reply::new(200, index),
        "/charts/podinfo-6.3.5.tgz?key=geheim" => Reply::new(200, CHART),
        _ => Reply::new(404, ""),
    })
    .await;
    let place = format!("{}/charts?key=geheim", server.url());
    assert_eq!(
        fetch(helm(&place, "podinfo:6.3.5"), &[]).await.unwrap().1,
        CHART
    );
    let told = refused(helm(&place, "podinfo:6.3.6"), &[]).await;
    assert!(
        told.contains("it has 6.3.5") && !told.contains("geheim"),
        "{told}"
    );
}

#[tokio::test]
async fn chart_has_the_digest_that_its_index_and_its_component_say() {
    let right = Digest::of(CHART);
    let server = repository("podinfo-6.3.5.tgz", right.hex()).await;
    let access = helm(&format!("{}/charts", server.url()), "podinfo:6.3.5");
    let expected = std::slice::from_ref(&right);
    assert_eq!(fetch(access.clone(), expected).await.unwrap().1, CHART);

    let before = server.seen().len();
    let told = refused(access, &[Digest::of("other")]).await;
    assert!(told.contains("lists the chart with digest"), "{told}");
    assert_eq!(
        server.seen().len(),
        before + 1,
        "only the index was asked for"
    );

    let wrong = repository("podinfo-6.3.5.tgz", Digest::of("other").hex()).await;
    let access = helm(&format!("{}/charts", wrong.url()), "podinfo:6.3.5");
    let told = refused(access, &[]).await;
    assert!(told.contains("content has digest"), "{told}");
}

#[tokio::test]
async fn chart_is_one_version_and_said_so_otherwise() {
    let place = "https://charts.example.org";
    for (chart, version, problem) in [
        ("podinfo", None, "names no version"),
        ("podinfo:6.3.5", Some("6.3.6"), "another version"),
        ("podinfo:", None, "expected NAME"),
        (":6.3.5", None, "expected NAME"),
        ("a:b:c", None, "expected NAME"),
    ] {
        let mut access = helm(place, chart);
        if let Some(version) = version {
            access["version"] = json!(version);
        }
        let told = remote(access).unwrap_err().to_string();
        assert!(told.contains(problem), "{chart}: {told}");
    }
    for place in [
        "ftp://x.org",
        "file:///etc",
        "charts",
        "https://u:geheim@x.org/c",
    ] {
        let told = remote(helm(place, "podinfo:1")).unwrap_err().to_string();
        assert!(
            told.contains("helmRepository") && !told.contains("geheim"),
            "{told}"
        );
    }
}

#[test]
fn chart_in_a_registry_is_an_image_whose_tag_has_no_plus() {
    let access: RawAccess = serde_json::from_value(helm(
        "oci://r.example.org:5000/charts/",
        "podinfo:6.3.5+build.1",
    ))
    .unwrap();
    let access = access.typed().unwrap();
    assert!(Remote::of(&access).unwrap().is_none());
    let Access::Helm(helm) = access else {
        panic!("{access:?}")
    };
    let Chart::Registry(image) = Chart::of(&helm).unwrap() else {
        panic!("a chart in a registry")
    };
    assert_eq!(
        image.to_string(),
        "r.example.org:5000/charts/podinfo:6.3.5_build.1"
    );
}

#[tokio::test]
async fn index_that_leads_to_a_registry_says_what_to_write() {
    let server = repository("oci://r.example.org/charts/podinfo:6.3.5", "").await;
    let access = helm(&format!("{}/charts", server.url()), "podinfo:6.3.5");
    let told = refused(access, &[]).await;
    assert!(told.contains("name that as helmRepository"), "{told}");
}

#[tokio::test]
async fn index_is_bounded() {
    let head = "HTTP/1.1 200 x\r\nContent-Type: text/yaml\r\n\r\nentries:\n";
    let server = Server::start(move |_, _| Reply::raw(head).then(Then::Flood(1 << 20))).await;
    let told = refused(helm(&server.url(), "podinfo:1"), &[]).await;
    assert!(told.contains("larger than 33554432 bytes"), "{told}");
}

/// CVE-2021-32690: the password of a chart repository went along to whatever host the index names.
#[tokio::test]
async fn cve_2021_32690_password_of_a_chart_repository_goes_to_no_other_host() {
    let other = repository("podinfo-6.3.5.tgz", "").await;
    let absolute = format!("{}/charts/podinfo-6.3.5.tgz", other.url());
    let server = repository(&absolute, "").await;
    let known = credentials(&consumer("HelmChartRepository", &server));
    let access = helm(&format!("{}/charts", server.url()), "podinfo:6.3.5");
    fetch_as(trusting(), &known, access, &[]).await.unwrap();
    let sent = |server: &Server| {
        let seen = server.seen();
        let sent = seen.iter().filter_map(Seen::authorization);
        sent.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sent(&server), ["Basic Ym90OnNlY3JldA=="]);
    assert_eq!(other.seen().len(), 1);
    assert!(sent(&other).is_empty());
}

#[tokio::test]
async fn credential_is_for_its_purpose_and_plain_http_only_where_it_says_so() {
    let server = Server::start(|_, _| Reply::new(200, "x")).await;
    let url = format!("{}/a/file", server.url());
    let mut quiet = consumer("wget", &server);
    quiet["identity"].as_object_mut().unwrap().remove("scheme");
    let mut below = consumer("wget", &server);
    below["identity"]["pathprefix"] = json!("b");
    for (consumer, is_sent) in [
        (consumer("wget/v1", &server), true),
        (consumer("HelmChartRepository", &server), false),
        (consumer("OCIRegistry", &server), false),
        (quiet, false),
        (below, false),
    ] {
        let known = credentials(&consumer);
        fetch_as(trusting(), &known, wget(&url), &[]).await.unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!(seen.authorization().is_some(), is_sent, "{consumer}");
    }
    let token = json!({
        "identity": {"type": "wget", "scheme": "http", "hostname": "127.0.0.1"},
        "credentials": [{"properties": {"identityToken": "abc"}}],
    });
    fetch_as(trusting(), &credentials(&token), wget(&url), &[])
        .await
        .unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.authorization(), Some("Bearer abc"));
}

#[tokio::test]
async fn refused_request_names_the_host_without_a_credential() {
    let server = Server::start(|_, _| Reply::new(401, "")).await;
    let told = refused(wget(&server.url()), &[]).await;
    let host = server.address.to_string();
    assert!(
        told.contains(&format!("no credential for host {host:?}")),
        "{told}"
    );
}

#[tokio::test]
async fn request_is_what_the_access_says() {
    let server = Server::start(|_, _| {
        Reply::new(200, "answer").header("Content-Type", "Text/Plain; charset=utf-8")
    })
    .await;
    let url = format!("{}/search?q=1", server.url());
    let access = json!({"type": "wget", "URL": url, "verb": "POST", "body": "cXVlc3Rpb24=",
        "header": {"X-Key": ["one", "two"], "Content-Type": ["text/plain"]}});
    let (media_type, content) = fetch(access, &[]).await.unwrap();
    assert_eq!(
        (media_type.as_str(), content.as_str()),
        ("text/plain", "answer")
    );
    let seen = server.seen().pop().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/search?q=1")
    );
    assert_eq!(seen.body, "question");
    assert_eq!(seen.headers["x-key"], "two");
    assert_eq!(seen.headers["accept-encoding"], "identity");

    let mut access = wget(&url);
    access["mediaType"] = json!("application/x-tgz");
    let (media_type, _) = fetch(access, &[Digest::of("answer")]).await.unwrap();
    assert_eq!(media_type, "application/x-tgz");
    let told = refused(wget(&url), &[Digest::of("other")]).await;
    assert!(told.contains("content has digest"), "{told}");
}

#[test]
fn request_that_could_do_more_than_ask_is_refused_with_the_reason() {
    let with = |key: &str, value: Value| {
        let mut access = wget("https://x.example.org/a");
        access[key] = value;
        remote(access).unwrap_err().to_string()
    };
    for verb in ["PUT", "DELETE", "PURGE", "CONNECT", "HEAD", "get", "GET /x"] {
        let told = with("verb", json!(verb));
        assert!(told.contains("GET or POST"), "{told}");
    }
    for name in [
        "Host",
        "host",
        "Transfer-Encoding",
        "Content-Length",
        "Connection",
        "Range",
    ] {
        let told = with("header", json!({name: ["x"]}));
        assert!(told.contains("has no say"), "{told}");
    }
    for (name, value) in [("a b", "x"), ("", "x"), ("x", "a\r\nHost: b")] {
        let told = with("header", json!({name: [value]}));
        assert!(told.contains("header field"), "{told}");
    }
    let many: Vec<_> = (0..100).map(|count| count.to_string()).collect();
    assert!(with("header", json!({"x": many})).contains("more than 64"));
    assert!(with("body", json!("YQ==")).contains("a GET has none"));
    let mut access = wget("https://x.example.org/a");
    access["verb"] = json!("POST");
    access["body"] = json!("not base64!");
    assert!(remote(access).unwrap_err().to_string().contains("base64"));
    for url in [
        "ftp://x.org/a",
        "file:///etc/passwd",
        "a/b",
        "https://bot:geheim@x.org/",
    ] {
        let told = remote(wget(url)).unwrap_err().to_string();
        assert!(told.contains("URL") && !told.contains("geheim"), "{told}");
    }
}

#[tokio::test]
async fn b38_header_fields_of_an_access_do_not_follow_a_redirect_to_another_host() {
    let other = Server::start(|_, _| Reply::new(200, "there")).await;
    let location = format!("{}/there", other.url());
    let server = Server::start(move |_, _| Reply::redirect(302, &location)).await;
    let mut access = wget(&server.url());
    access["header"] = json!({"X-Api-Key": ["geheim"]});
    assert_eq!(fetch(access.clone(), &[]).await.unwrap().1, "there");
    assert_eq!(server.seen()[0].headers["x-api-key"], "geheim");
    assert!(!other.seen()[0].headers.contains_key("x-api-key"));

    for key in ["noRedirect", "noredirect"] {
        let mut access = access.clone();
        access[key] = json!(true);
        let told = refused(access, &[]).await;
        assert!(told.contains("wants no redirects"), "{told}");
    }
    assert_eq!(other.seen().len(), 1);
}

/// Whoever can write a component must not have this program read what only it can reach.
#[tokio::test]
async fn b39_url_in_a_component_leads_to_no_private_address() {
    let server = Server::start(|_, _| Reply::new(200, "secret of the cluster")).await;
    let nobody = Credentials::default();
    let place = helm(&server.url(), "podinfo:1");
    for access in [wget(&server.url()), place] {
        // Loopback may be dialled, where the user names it.
        let error = fetch_as(settings(), &nobody, access, &[])
            .await
            .unwrap_err();
        let told = chain(&error);
        assert!(told.contains("name it as a trusted host"), "{told}");
        let failed = crate::registry::error_in(&error).unwrap();
        assert_eq!(failed.class(), crate::registry::Class::RefusedByPolicy);
    }
    assert!(server.seen().is_empty());

    // The registry that the component came from is one that the user has named.
    let transport = transport(settings());
    let home = server.endpoint();
    let asker = Asker {
        transport: &transport,
        credentials: &nobody,
        home: Some(&home),
    };
    let remote = remote(wget(&server.url())).unwrap();
    assert!(remote.fetch(&asker, &[]).await.is_ok());
}

#[tokio::test]
async fn b45_web_page_is_content_only_where_the_access_says_so() {
    let page = Reply::new(200, "<html>log in</html>").header("Content-Type", "text/html");
    let server = Server::start(move |_, _| page.clone()).await;
    for access in [wget(&server.url()), helm(&server.url(), "podinfo:1")] {
        let told = refused(access, &[]).await;
        assert!(told.contains("a web page"), "{told}");
    }
    let mut access = wget(&server.url());
    access["mediaType"] = json!("text/html");
    assert_eq!(fetch(access, &[]).await.unwrap().0, "text/html");
}

#[tokio::test]
async fn broken_answer_is_taken_up_only_where_a_digest_tells_that_it_is_the_same() {
    let server = Server::start(|seen, _| {
        if seen.headers.contains_key("range") {
            return Reply::new(206, &CHART[4..]).header("Content-Range", "bytes 4-15/16");
        }
        Reply::new(200, CHART).cut(4, Then::Close)
    })
    .await;
    let url = server.url();
    let (_, content) = fetch(wget(&url), &[Digest::of(CHART)]).await.unwrap();
    assert_eq!(content, CHART);
    let before = server.seen().len();
    refused(wget(&url), &[]).await;
    assert_eq!(server.seen().len(), before + 1);
    let mut post = wget(&url);
    post["verb"] = json!("POST");
    refused(post, &[Digest::of(CHART)]).await;
    assert_eq!(server.seen().len(), before + 2);
}

#[tokio::test]
async fn certificates_of_an_access_are_trusted_where_no_password_is_sent() {
    let identity = TlsIdentity::of("charts.example.org");
    let index = "entries: {podinfo: [{version: 6.3.5, urls: [podinfo.tgz]}]}";
    let server = Server::start_tls(&identity, move |seen, _| {
        Reply::new(
            200,
            if seen.path == "/index.yaml" {
                index
            } else {
                CHART
            },
        )
    })
    .await;
    let settings = Settings {
        overrides: vec![
            format!("charts.example.org={}", server.address)
                .parse()
                .unwrap(),
        ],
        ..settings()
    };
    let mut access = helm("https://charts.example.org", "podinfo:6.3.5");
    let nobody = Credentials::default();
    let untrusted = fetch_as(settings.clone(), &nobody, access.clone(), &[]).await;
    assert!(chain(&untrusted.unwrap_err()).contains("failed to establish TLS"));
    access["caCert"] = json!(identity.authority_pem);
    let fetched = fetch_as(settings.clone(), &nobody, access.clone(), &[]).await;
    assert_eq!(fetched.unwrap().1, CHART);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.authorization().is_none())
    );

    let mut known = json!({
        "identity": {"type": "HelmChartRepository", "hostname": "charts.example.org"},
        "credentials": [{"properties": {"username": "bot", "password": "secret"}}],
    });
    let untrusted = fetch_as(settings.clone(), &credentials(&known), access.clone(), &[]).await;
    assert!(chain(&untrusted.unwrap_err()).contains("failed to establish TLS"));
    known["credentials"][0]["properties"]["certificateAuthority"] = json!(identity.authority_pem);
    let fetched = fetch_as(settings, &credentials(&known), access.clone(), &[]).await;
    assert_eq!(fetched.unwrap().1, CHART);
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.authorization(), Some("Basic Ym90OnNlY3JldA=="));

    access["caCert"] = json!("no certificate");
    let told = remote(access).unwrap_err();
    assert!(chain(&told).contains("caCert"), "{told}");
}
