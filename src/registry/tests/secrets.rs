//! Secrets as users write them, and what is found in them.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::server::TlsIdentity;
use crate::registry::credentials::Identity;
use crate::registry::{Credential, Credentials, Error, RepositoryUrl};

const CANARY: &str = "s3cret-canary";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn docker(json: &str) -> Result<Credentials, Error> {
    let mut credentials = Credentials::default();
    credentials.add_docker_config("pull-secret", ".dockerconfigjson", json.as_bytes())?;
    Ok(credentials)
}

fn ocm(yaml: &str) -> Result<Credentials, Error> {
    let mut credentials = Credentials::default();
    credentials.add_ocm_config("ocm-secret", ".ocmcredentialconfig", yaml.as_bytes())?;
    Ok(credentials)
}

fn plain(pairs: &[(&str, &str)]) -> Result<Credentials, Error> {
    let data: BTreeMap<String, Vec<u8>> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect();
    let url: RepositoryUrl = "reg.example:5000".parse().unwrap();
    let mut credentials = Credentials::default();
    credentials.add_properties("plain-secret", &data, &url)?;
    Ok(credentials)
}

/// `user:password` of what is found for `url`, `token:…`, or nothing.
fn found(credentials: &Credentials, url: &str) -> String {
    let url: RepositoryUrl = url.parse().unwrap();
    match credentials.find(&url.join("x").unwrap()).identity() {
        Identity::Anonymous => String::new(),
        Identity::Password { username, password } => format!("{username}:{}", password.reveal()),
        Identity::Token(token) => format!("token:{}", token.reveal()),
    }
}

#[test]
fn docker_config_is_read_in_all_its_forms() {
    let auth = base64("bot:with:colon");
    let json = format!(
        r#"{{"auths":{{
            "ghcr.io":{{"auth":"{auth}"}},
            "reg.example:5000":{{"username":"u","password":"p","email":"x@y"}},
            "https://quay.example/v2/":{{"auth":"{auth}"}},
            "https://index.docker.io/v1/":{{"auth":"{}"}},
            "acr.example":{{"identitytoken":"refresh"}},
            "az.example":{{"auth":"{}","identitytoken":"as-password"}},
            "ghcr.io/team":{{"username":"team","password":"p"}},
            "https://ghcr.io/team/deep/":{{"username":"deep","password":"p"}},
            "left.example":{{}}
        }},"credsStore":"desktop"}}"#,
        base64("hub:pw").trim_end_matches('='),
        base64("00000000:"),
    );
    let credentials = docker(&json).unwrap();
    for (url, expected) in [
        ("ghcr.io/a", "bot:with:colon"),
        ("ghcr.io/team", "team:p"),
        ("ghcr.io/team/a", "team:p"),
        ("ghcr.io/teams/a", "bot:with:colon"),
        ("ghcr.io/team/deep/er", "deep:p"),
        ("az.example/a", "00000000:as-password"),
        ("reg.example:5000/a", "u:p"),
        ("reg.example/a", ""),
        ("quay.example", "bot:with:colon"),
        ("docker.io/a", "hub:pw"),
        ("registry-1.docker.io/a", "hub:pw"),
        ("acr.example/a", "token:refresh"),
        ("left.example/a", ""),
        ("notghcr.io/a", ""),
        ("ghcr.io.evil.org/a", ""),
        ("sub.ghcr.io/a", ""),
    ] {
        assert_eq!(found(&credentials, url), expected, "{url}");
    }
    assert!(docker(r#"{"auths":{}}"#).unwrap().is_empty());
    assert!(docker("{}").unwrap().is_empty());
}

#[test]
fn b47_malformed_secrets_are_named_and_not_shown() {
    let no_colon = format!(
        r#"{{"auths":{{"ghcr.io":{{"auth":"{}"}}}}}}"#,
        base64(CANARY)
    );
    let binary = r#"{"auths":{"ghcr.io":{"auth":"/////w=="}}}"#;
    let not_base64 = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"!{CANARY}!"}}}}}}"#);
    let wrong_type = format!(r#"{{"auths":"{CANARY}"}}"#);
    let bad_key = format!(r#"{{"auths":{{"u:{CANARY}@ghcr.io":{{"auth":"eDp5"}}}}}}"#);
    let helpers = r#"{"credHelpers":{"ghcr.io":"gh"}}"#;
    let lonely = format!(r#"{{"auths":{{"ghcr.io":{{"password":"{CANARY}"}}}}}}"#);
    let large = format!(r#"{{"auths":{{}},"x":"{}"}}"#, "x".repeat(1 << 20));
    for json in [
        "",
        CANARY,
        "[]",
        &no_colon,
        binary,
        &not_base64,
        &wrong_type,
        &bad_key,
        helpers,
        &lonely,
        &large,
    ] {
        let start: String = json.chars().take(60).collect();
        let error = docker(json).expect_err(&start).to_string();
        assert!(
            error.contains("Secret \"pull-secret\", key \".dockerconfigjson\""),
            "{error}"
        );
        assert!(!error.contains(CANARY), "{error}");
    }
}

#[test]
fn more_specific_credential_wins() {
    let credentials = ocm(r"
type: credentials.config.ocm.software/v1
consumers:
- identity: {type: OCIRegistry, hostname: reg.example}
  credentials: [{type: Credentials, properties: {username: host, password: p}}]
- identity: {type: OCIRegistry, hostname: reg.example, pathprefix: team}
  credentials: [{type: Credentials, properties: {username: team, password: p}}]
- identity: {type: OCIRegistry, hostname: reg.example, pathprefix: team/deep}
  credentials: [{type: Credentials, properties: {username: deep, password: p}}]
- identity: {type: OCIRegistry, hostname: reg.example, port: '5000'}
  credentials: [{type: Credentials, properties: {username: port, password: p}}]
- identity: {type: OCIRegistry, hostname: 'split.example:8443', scheme: https}
  credentials: [{type: Credentials, properties: {identityToken: t}}]
- identity: {type: Github, hostname: reg.example}
  credentials: [{type: Credentials, properties: {token: other}}]
")
    .unwrap();
    for (url, expected) in [
        ("reg.example/other", "host:p"),
        ("reg.example/team", "team:p"),
        ("reg.example/teams", "host:p"),
        ("reg.example/team/deep/er", "deep:p"),
        ("reg.example:5000/team", "port:p"),
        ("split.example:8443/a", "token:t"),
        ("split.example/a", ""),
        ("http://split.example:8443/a", ""),
    ] {
        assert_eq!(found(&credentials, url), expected, "{url}");
    }
}

#[test]
fn first_of_equal_credentials_wins() {
    let mut credentials = Credentials::default();
    let url: RepositoryUrl = "reg.example".parse().unwrap();
    credentials.add(url.endpoint(), Credential::password("first", "p"));
    credentials.add(url.endpoint(), Credential::password("second", "p"));
    assert_eq!(found(&credentials, "reg.example/a"), "first:p");
}

#[test]
fn generic_ocm_configuration_is_searched_for_credentials() {
    let credentials = ocm(r"
type: generic.config.ocm.software/v1
configurations:
- type: keys.config.ocm.software
- type: credentials.config.ocm.software
  consumers:
  - identities: [{type: OCIRegistry/v1, hostname: a.example}]
    credentials: [{properties: {username: u, password: 123}}]
  repositories:
  - repository: {type: DockerConfig/v1, dockerConfigFile: /etc/passwd}
  - repository:
      type: DockerConfig/v1
      dockerConfig: {auths: {b.example: {username: v, password: w}}}
")
    .unwrap();
    assert_eq!(found(&credentials, "a.example/x"), "u:123");
    assert_eq!(found(&credentials, "b.example/x"), "v:w");
}

#[test]
fn b47_malformed_ocm_configuration_is_named_and_not_shown() {
    let nested = "{type: generic.config.ocm.software, configurations: [".repeat(20);
    let nested = format!("{nested}{}", "]}".repeat(20));
    let no_host = format!(
        "type: credentials.config.ocm.software\nconsumers: [{{identity: {{type: OCIRegistry}}, \
         credentials: [{{properties: {{username: u, password: {CANARY}}}}}]}}]"
    );
    let lonely = format!(
        "type: credentials.config.ocm.software\nconsumers: [{{identity: {{type: OCIRegistry, \
         hostname: h.example}}, credentials: [{{properties: {{password: {CANARY}}}}}]}}]"
    );
    for yaml in ["", CANARY, "type: [", &nested, &no_host, &lonely] {
        let error = ocm(yaml).expect_err(yaml).to_string();
        assert!(
            error.contains("Secret \"ocm-secret\", key \".ocmcredentialconfig\""),
            "{error}"
        );
        assert!(!error.contains(CANARY), "{error}");
    }
}

#[test]
fn plain_keys_are_for_host_and_port_of_the_repository() {
    let credentials = plain(&[("username", "u"), ("password", "p\n")]).unwrap();
    assert_eq!(found(&credentials, "reg.example:5000/a"), "u:p");
    assert_eq!(found(&credentials, "reg.example/a"), "");
    let token = plain(&[("identityToken", "t")]).unwrap();
    assert_eq!(found(&token, "reg.example:5000/a"), "token:t");
    let both = plain(&[("identityToken", "t"), ("username", "u")]).unwrap();
    assert_eq!(found(&both, "reg.example:5000/a"), "u:t");
    for pairs in [
        &[("username", "u")][..],
        &[("password", CANARY)],
        &[("other", CANARY)],
        &[("ca.crt", CANARY)],
        &[(
            "certificateAuthority",
            "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----",
        )],
        &[],
    ] {
        let error = plain(pairs).unwrap_err().to_string();
        assert!(error.contains("Secret \"plain-secret\""), "{error}");
        assert!(!error.contains(CANARY), "{error}");
    }
}

#[test]
fn plain_keys_for_two_repositories_of_one_host_are_each_for_its_path() {
    let mut credentials = Credentials::default();
    for (path, user) in [("team/source", "source"), ("team/target", "target")] {
        let data = BTreeMap::from([
            ("username".to_owned(), user.as_bytes().to_vec()),
            ("password".to_owned(), b"p".to_vec()),
        ]);
        let url = format!("reg.example/{path}").parse().unwrap();
        credentials.add_properties("plain", &data, &url).unwrap();
    }
    for (url, expected) in [
        ("reg.example/team/source", "source:p"),
        ("reg.example/team/target", "target:p"),
        // Images of a component may lie anywhere in its registry.
        ("reg.example/images", "source:p"),
        ("reg.example:8443/team/source", ""),
    ] {
        assert_eq!(found(&credentials, url), expected, "{url}");
    }
}

#[test]
fn certificates_may_come_from_another_secret_than_the_password() {
    let authority = TlsIdentity::of("reg.example").authority_pem;
    let mut credentials = plain(&[("ca.crt", &authority)]).unwrap();
    let json = r#"{"auths":{"reg.example:5000":{"username":"u","password":"p"}}}"#;
    credentials
        .add_docker_config("pull", ".dockerconfigjson", json.as_bytes())
        .unwrap();
    let url: RepositoryUrl = "reg.example:5000/team".parse().unwrap();
    let credential = credentials.find(&url.join("x").unwrap());
    assert!(credential.roots().is_some() && !credential.is_anonymous());
    assert_eq!(format!("{credential:?}"), "Credential(password)");
}
