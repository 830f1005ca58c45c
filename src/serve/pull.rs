//! Pull credentials: each namespace has a password of its own, derived from one key.
//!
//! A password is the HMAC of the namespace's name and of a salt that stands in front of it, so that
//! it can be checked without asking anybody. A namespace that is made again under its name gets
//! another salt. The key before the present one stays good, so that who has just read a password
//! can still use it while keys are changed.

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::snapshot::Namespace;

/// How long a key is, in bytes.
pub const KEY_LENGTH: usize = 32;

/// How long a salt is, in bytes.
const SALT_LENGTH: usize = 16;

/// What the password is for, so that the key can serve no other purpose by accident.
const PURPOSE: &str = "ocm-registry-pull\n";

/// The longest `Authorization` header that is looked at; ours has less than 200 bytes.
const HEADER_LIMIT: usize = 1024;

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("failed to get random numbers from the system")]
pub struct NoRandomness;

/// One key.
#[derive(Clone, PartialEq, Eq)]
pub struct PullKey(Zeroizing<Vec<u8>>);

impl PullKey {
    /// A new key.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new(vec![0; KEY_LENGTH]);
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The key that these bytes are, if they are as many as a key has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_LENGTH).then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// The bytes, for the one place that keeps them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for PullKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PullKey(..)")
    }
}

/// What sets the password of a namespace apart from that of another one that had its name before.
/// It is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; SALT_LENGTH]);

impl Salt {
    /// A new salt.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; SALT_LENGTH];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The salt of a password, whether that is a right one or not.
    pub fn of(password: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(password).ok()?);
        bytes.first_chunk().copied().map(Self)
    }
}

/// The key that passwords are made by, and the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullKeys {
    /// Makes passwords.
    pub current: PullKey,
    /// Its passwords are still taken.
    pub previous: Option<PullKey>,
}

impl PullKeys {
    /// The password with which what is in `namespace` may be pulled; the user is the namespace.
    pub fn password(&self, namespace: &Namespace, salt: Salt) -> Zeroizing<String> {
        let message = message(namespace.as_str(), &salt.0);
        let tag = hmac::sign(&self.current.hmac(), &message);
        let password = Zeroizing::new([salt.0.as_slice(), tag.as_ref()].concat());
        Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&*password))
    }

    /// The namespace that these headers prove to come from, and the salt of its password. Compares
    /// in constant time.
    pub(super) fn namespace_of(&self, headers: &HeaderMap) -> Option<(Namespace, Salt)> {
        let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        if header.len() > HEADER_LIMIT {
            return None;
        }
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = Zeroizing::new(BASE64_STANDARD.decode(token.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        let password = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(password).ok()?);
        let (salt, tag) = password.split_first_chunk()?;
        let message = message(user, salt);
        let is_from = |key: &PullKey| hmac::verify(&key.hmac(), &message, tag).is_ok();
        let is_known = is_from(&self.current) || self.previous.as_ref().is_some_and(is_from);
        let namespace = user.parse().ok().filter(|_| is_known)?;
        Some((namespace, Salt(*salt)))
    }
}

/// The salt has one length, so nothing can be read in two ways.
fn message(namespace: &str, salt: &[u8; SALT_LENGTH]) -> Vec<u8> {
    [PURPOSE.as_bytes(), salt, namespace.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PullKey {
        PullKey::from_bytes(&[byte; KEY_LENGTH]).unwrap()
    }

    fn keys(current: u8, previous: Option<u8>) -> PullKeys {
        PullKeys {
            current: key(current),
            previous: previous.map(key),
        }
    }

    const SALT: Salt = Salt([7; SALT_LENGTH]);

    fn login(keys: &PullKeys, user: &str, password: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        headers.insert(
            header::AUTHORIZATION,
            format!("Basic {pair}").parse().unwrap(),
        );
        let found = keys.namespace_of(&headers);
        found.map(|(namespace, salt)| {
            assert_eq!(salt, SALT);
            namespace.as_str().to_owned()
        })
    }

    #[test]
    fn password_admits_its_own_namespace_alone() {
        let keys = keys(1, None);
        let password = keys.password(&"shop".parse().unwrap(), SALT);
        assert_eq!(Salt::of(&password), Some(SALT));
        assert_eq!(login(&keys, "shop", &password).as_deref(), Some("shop"));
        assert_eq!(login(&keys, "other", &password), None);
        assert_eq!(login(&keys, "shop", &password[1..]), None);
        assert_eq!(login(&keys, "shop", ""), None);
    }

    #[test]
    fn password_of_the_key_before_is_good_until_the_next_change() {
        let shop = "shop".parse().unwrap();
        let old = keys(1, None).password(&shop, SALT);
        assert!(login(&keys(2, Some(1)), "shop", &old).is_some());
        assert!(login(&keys(3, Some(2)), "shop", &old).is_none());
        assert_ne!(keys(2, Some(1)).password(&shop, SALT), old);
    }

    #[test]
    fn b83_headers_that_are_no_login_admit_nobody() {
        let keys = keys(1, None);
        for header in [
            "",
            "Basic",
            "Basic ",
            "Basic %%%",
            "Bearer abc",
            "Basic OjphOg==",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, header.parse().unwrap());
            assert_eq!(keys.namespace_of(&headers), None, "{header:?}");
        }
        assert_eq!(keys.namespace_of(&HeaderMap::new()), None);
        // A user that is no namespace gets nowhere, not even with the password made for it.
        let tag = hmac::sign(&key(1).hmac(), &message("a/b", &SALT.0));
        let password = [SALT.0.as_slice(), tag.as_ref()].concat();
        assert_eq!(
            login(&keys, "a/b", &BASE64_URL_SAFE_NO_PAD.encode(password)),
            None
        );
    }

    #[test]
    fn b83_salt_cannot_be_exchanged() {
        let keys = keys(1, None);
        let password = keys.password(&"shop".parse().unwrap(), SALT);
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&*password).unwrap();
        bytes[0] ^= 1;
        let forged = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(login(&keys, "shop", &forged), None);
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", key(7)), "PullKey(..)");
        assert_ne!(PullKey::random().unwrap(), PullKey::random().unwrap());
    }
}
