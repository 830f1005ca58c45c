//! How long it is until an object is looked at again, and how that is said.

use std::fmt::Write as _;
use std::time::Duration;

/// The first pause after a failure; each further one is twice as long.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest pause after a failure, unless the object's own interval is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The pause after so many failures in a row.
pub(super) fn backoff(failures: u32, interval: Option<Duration>) -> Duration {
    let longest = LONGEST_RETRY.max(interval.unwrap_or_default().min(Duration::from_mins(5)));
    FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)))
        .min(longest)
}

/// Spreads repeated work by up to a tenth, so that objects made together do not stay together.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause + pause.mul_f64(fastrand::f64() / 10.0)
}

/// A duration as Go prints it: `1m0s`, `1h0m0s`, `1.5s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    let (hours, minutes, seconds) = (total / 3_600, total / 60 % 60, total % 60);
    let fraction = duration.subsec_millis();
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if total >= 60 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if fraction > 0 {
        let _ = write!(text, "{}", format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        let cases = [
            (300_000, "5m0s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
            (1_500, "1.5s"),
            (0, "0s"),
        ];
        for (millis, expected) in cases {
            assert_eq!(go_duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn pauses_grow_up_to_half_a_minute_or_the_interval() {
        assert_eq!(backoff(1, None), Duration::from_secs(1));
        assert_eq!(backoff(3, None), Duration::from_secs(4));
        assert_eq!(backoff(40, None), Duration::from_secs(30));
        assert_eq!(
            backoff(40, Some(Duration::from_mins(1))),
            Duration::from_mins(1)
        );
        assert_eq!(
            backoff(40, Some(Duration::from_hours(24))),
            Duration::from_mins(5)
        );
    }
}
