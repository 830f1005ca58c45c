//! The pull keys in their Secret: when they are made, and when they are changed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{PULL_KEY_SECRET, Step};
use crate::controller::FIELD_MANAGER;
use crate::serve::pull::{NoRandomness, PullKey, PullKeys};

/// When the current key was made.
const MADE_AT: &str = "delivery.ocm.software/made-at";

/// The label that says whose object it is.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// The keys to use, given the Secret that was `found` and the keys that were `known` before. They
/// are changed when they are older than `turn`, and made anew where the Secret is gone or
/// damaged; the ones known before stay good then.
pub(super) fn advance_keys(
    found: Option<Secret>,
    known: Option<&PullKeys>,
    turn: Duration,
    now: SystemTime,
) -> Result<(PullKeys, Step), NoRandomness> {
    let stored = found.as_ref().and_then(read);
    let until = found.as_ref().and_then(made_at).map(|made| made + turn);
    if let (Some(keys), Some(until)) = (&stored, until)
        && now < until
    {
        return Ok((keys.clone(), Step::Keep { until }));
    }
    let previous = stored.as_ref().or(known).map(|keys| keys.current.clone());
    let keys = PullKeys {
        current: PullKey::random()?,
        previous,
    };
    let secret = write(found.unwrap_or_default(), &keys, now);
    Ok((keys, Step::Write(Box::new(secret))))
}

fn read(secret: &Secret) -> Option<PullKeys> {
    let data = secret.data.as_ref()?;
    let key = |name: &str| {
        data.get(name)
            .and_then(|bytes| PullKey::from_bytes(&bytes.0))
    };
    Some(PullKeys {
        current: key(CURRENT)?,
        previous: key(PREVIOUS),
    })
}

/// A time that lies ahead is no time at which something was made.
fn made_at(secret: &Secret) -> Option<SystemTime> {
    let made: Timestamp = secret.annotations().get(MADE_AT)?.parse().ok()?;
    Some(made.into())
}

fn write(mut secret: Secret, keys: &PullKeys, now: SystemTime) -> Secret {
    secret.metadata.name = Some(PULL_KEY_SECRET.to_owned());
    let labels = secret.labels_mut();
    labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    let made_at = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let annotations = secret.annotations_mut();
    annotations.insert(MADE_AT.to_owned(), made_at.to_string());
    let bytes = |key: &PullKey| ByteString(key.reveal().to_vec());
    let mut data = BTreeMap::from([(CURRENT.to_owned(), bytes(&keys.current))]);
    if let Some(previous) = &keys.previous {
        data.insert(PREVIOUS.to_owned(), bytes(previous));
    }
    secret.data = Some(data);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_hours(24);

    fn written(step: Step) -> Secret {
        match step {
            Step::Write(secret) => *secret,
            Step::Keep { .. } => panic!("nothing was written"),
        }
    }

    #[test]
    fn key_is_made_once_and_changed_when_it_is_old() {
        let now = SystemTime::now();
        let (first, step) = advance_keys(None, None, TURN, now).unwrap();
        assert_eq!(first.previous, None);
        let secret = written(step);

        let (same, step) = advance_keys(Some(secret.clone()), None, TURN, now + TURN / 2).unwrap();
        assert_eq!(same, first);
        assert!(matches!(step, Step::Keep { .. }));

        let late = now + TURN + Duration::from_secs(1);
        let (second, step) = advance_keys(Some(secret), None, TURN, late).unwrap();
        assert_eq!(second.previous.as_ref(), Some(&first.current));
        let (read, _) = advance_keys(Some(written(step)), None, TURN, late).unwrap();
        assert_eq!(read, second);
    }

    #[test]
    fn deleted_or_damaged_key_is_made_anew_and_the_known_one_stays_good() {
        let now = SystemTime::now();
        let (first, step) = advance_keys(None, None, TURN, now).unwrap();
        let mut damaged = written(step);
        damaged.data = Some(BTreeMap::from([(
            CURRENT.to_owned(),
            ByteString(b"short".to_vec()),
        )]));
        for found in [None, Some(damaged)] {
            let (second, step) = advance_keys(found, Some(&first), TURN, now).unwrap();
            assert_eq!(second.previous.as_ref(), Some(&first.current));
            written(step);
        }
    }

    #[test]
    fn key_replaces_what_was_read_and_nothing_newer() {
        let mut found = Secret::default();
        found.metadata.resource_version = Some("7".to_owned());
        let (_, step) = advance_keys(Some(found), None, TURN, SystemTime::now()).unwrap();
        assert_eq!(written(step).resource_version().as_deref(), Some("7"));
    }
}
