use super::*;

const LIFE: Duration = Duration::from_hours(90 * 24);

const HOST: &str = "registry.example.org";

fn settings() -> EndpointSettings {
    EndpointSettings {
        namespace: "ocm-system".to_owned(),
        certificate_secret: "kept-here".to_owned(),
        address: format!("{HOST}:5000"),
        life: LIFE,
    }
}

fn advance(found: Option<Secret>, trusted: &str, now: SystemTime) -> (Loaded, Step) {
    advance_certificate(found, trusted, &settings(), now).unwrap()
}

fn made(now: SystemTime) -> Secret {
    written(advance(None, "", now).1)
}

fn written(step: Step) -> Secret {
    match step {
        Step::Write(secret) => *secret,
        Step::Keep { .. } => panic!("nothing was written"),
    }
}

fn certificates_in(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn certificate_is_made_once_and_kept_for_two_thirds_of_its_life() {
    let now = SystemTime::now();
    let (first, step) = advance(None, "", now);
    let secret = written(step);
    assert_eq!(secret.name_any(), "kept-here");
    assert!(first.certificate.is_for(HOST));
    assert_eq!(certificates_in(&first.authorities), 1);

    let (same, step) = advance(Some(secret.clone()), "", now + LIFE / 2);
    assert_eq!(same.digest, first.digest);
    let Step::Keep { until } = step else {
        panic!("it is still good");
    };
    assert!(until <= now + LIFE / 3 * 2);

    let (second, step) = advance(Some(secret), "", now + LIFE / 3 * 2);
    assert_ne!(second.digest, first.digest);
    written(step);
}

#[test]
fn f13_new_certificate_comes_with_the_authority_of_the_old_one() {
    let now = SystemTime::now();
    let (first, step) = advance(None, "", now);
    let (second, _) = advance(Some(written(step)), "", now + LIFE);
    assert!(second.authorities.contains(first.authorities.trim()));
    assert_eq!(certificates_in(&second.authorities), 2);
    // The one before that is not dragged along for ever.
    let (third, _) = advance(None, &second.authorities, now + LIFE);
    assert_eq!(certificates_in(&third.authorities), 2);
    assert!(!third.authorities.contains(first.authorities.trim()));
}

#[test]
fn certificate_for_another_host_or_damaged_is_made_anew_in_place() {
    let now = SystemTime::now();
    let mut other = settings();
    other.address = "elsewhere.example.org:5000".to_owned();
    let (_, step) = advance_certificate(None, "", &other, now).unwrap();
    let mut for_another = written(step);
    for_another.metadata.resource_version = Some("7".to_owned());
    let mut damaged = made(now);
    damaged.metadata.resource_version = Some("7".to_owned());
    damaged.data.as_mut().unwrap().remove(KEY);
    for found in [for_another, damaged] {
        let (loaded, step) = advance(Some(found), "", now);
        assert!(loaded.certificate.is_for(HOST));
        assert_eq!(written(step).resource_version().as_deref(), Some("7"));
    }
}

#[test]
fn certificate_of_somebody_else_is_used_and_never_written() {
    let now = SystemTime::now();
    let mut theirs = made(now);
    theirs.metadata.labels = None;
    let (_, step) = advance(Some(theirs.clone()), "", now + LIFE * 2);
    assert!(matches!(step, Step::Keep { .. }));

    theirs.data.as_mut().unwrap().remove(AUTHORITIES);
    let error = advance_certificate(Some(theirs), "", &settings(), now).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Secret \"kept-here\" has no \"ca.crt\": add it, or delete the Secret, and one is made"
    );
}

/// All who pull know.
fn told(_: &str) -> bool {
    true
}

#[test]
fn f13_new_certificate_waits_until_all_have_its_authority_or_the_old_one_has_expired() {
    let (now, clock) = (SystemTime::now(), Instant::now());
    for (begun, has_expired) in [(now - LIFE / 2, false), (now - LIFE * 2, true)] {
        let (first, step) = advance(None, "", begun);
        let (second, _) = advance(Some(written(step)), "", begun + LIFE);
        let mut tls = Tls::default();
        tls.see(first.clone(), HOST, clock);
        tls.take_turn(clock, told);
        tls.see(second.clone(), HOST, clock);
        let late = clock + LEAD * 10;
        let turns = tls.take_turn(late, |authorities| {
            assert_eq!(authorities, second.authorities);
            false
        });
        assert_eq!(turns, has_expired);
        if !has_expired {
            assert_eq!(tls.next_turn(late), Some(LOOK), "it is looked again");
            assert!(tls.take_turn(late, told));
        }
        assert_eq!(tls.shown().unwrap().digest, second.digest);
    }
}

#[test]
fn all_of_several_authorities_have_to_be_there() {
    let now = SystemTime::now();
    let (first, step) = advance(None, "", now);
    let (second, _) = advance(Some(written(step)), "", now + LIFE);
    assert!(has_all(&second.authorities, &first.authorities));
    assert!(has_all(&second.authorities, &second.authorities));
    assert!(!has_all(&first.authorities, &second.authorities));
}

#[test]
fn f13_authority_spreads_before_the_new_certificate_is_shown() {
    let (now, clock) = (SystemTime::now(), Instant::now());
    let (first, step) = advance(None, "", now);
    let (second, _) = advance(Some(written(step)), "", now + LIFE);
    let mut tls = Tls::default();
    tls.see(first.clone(), HOST, clock);
    assert!(tls.take_turn(clock, told));
    assert!(!tls.take_turn(clock, told), "the server knows it already");

    tls.see(second.clone(), HOST, clock);
    tls.see(second.clone(), HOST, clock + LEAD / 2);
    assert!(!tls.take_turn(clock + LEAD / 2, told));
    assert_eq!(tls.shown().unwrap().digest, first.digest);
    assert_eq!(certificates_in(&tls.authorities()), 2);
    assert_eq!(tls.next_turn(clock), Some(LEAD));

    assert!(tls.take_turn(clock + LEAD, told));
    assert_eq!(tls.shown().unwrap().digest, second.digest);
    assert_eq!(tls.next_turn(clock), None);
    assert!(tls.authorities().contains(first.authorities.trim()));
}

#[test]
fn useless_certificate_is_replaced_at_once() {
    let now = SystemTime::now();
    let clock = Instant::now();
    let mut tls = Tls::default();
    let (old, _) = advance(None, "", now - LIFE * 2);
    tls.see(old, HOST, clock);
    tls.take_turn(clock, told);
    let (new, _) = advance(None, "", now);
    tls.see(new.clone(), HOST, clock);
    assert!(tls.take_turn(clock, told));
    assert_eq!(tls.shown().unwrap().digest, new.digest);
}
