//! Docker's configuration file: `auths`, as `kubectl create secret docker-registry` writes it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Result;
use super::credentials::{Credentials, Place, from_properties, parse_server};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    auths: Option<BTreeMap<String, Entry>>,
    creds_store: Option<serde::de::IgnoredAny>,
    cred_helpers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Adds the entries of `json` to `credentials`.
pub(super) fn read(place: &Place<'_>, json: &[u8], credentials: &mut Credentials) -> Result<()> {
    // The parser's own words may quote the content, so only the place is told.
    let config: Config = serde_json::from_slice(json).map_err(|source| {
        place.wrong(format!(
            "is not a docker config: expected JSON {{\"auths\": {{HOST: {{\"auth\": …}}}}}} \
             (line {}, column {})",
            source.line(),
            source.column()
        ))
    })?;
    let has_helpers = config.creds_store.is_some() || config.cred_helpers.is_some();
    let auths = config.auths.unwrap_or_default();
    if auths.is_empty() && has_helpers {
        return Err(place.wrong(
            "names credential helpers only, which cannot be run here: put the credential itself \
             under \"auths\"",
        ));
    }
    for (server, entry) in auths {
        let scope = parse_server(&server)
            .map_err(|_| place.wrong("has an entry under \"auths\" whose key is no host"))?;
        let entry_wrong = |problem: &str| {
            place.wrong(format!("has an entry for host {:?} {problem}", scope.host))
        };
        let (mut username, mut password) = (entry.username, entry.password);
        if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
            let decoded = BASE64
                .decode(auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| entry_wrong("whose \"auth\" is not base64 of text"))?;
            // Only the first colon parts the two: passwords may have more.
            let (user, secret) = decoded
                .split_once(':')
                .ok_or_else(|| entry_wrong("whose \"auth\" is not USER:PASSWORD in base64"))?;
            username = Some(user.to_owned());
            password = Some(secret.trim_end_matches('\0').to_owned());
        }
        let token = entry.identitytoken;
        let credential = from_properties(place, |name| match name {
            "username" => username.clone(),
            "password" => password.clone(),
            "identityToken" => token.clone(),
            _ => None,
        })
        .map_err(|_| entry_wrong("without user name or without password"))?;
        // Clients with a helper leave empty entries behind.
        if let Some(credential) = credential {
            credentials.push(scope, credential);
        }
    }
    Ok(())
}
