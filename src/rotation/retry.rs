//! The retry ladder: how long to wait after a failure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::journal::{Failure, Retry};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn minutes(n: u64) -> Duration {
    seconds(n * 60)
}

const fn hours(n: u64) -> Duration {
    minutes(n * 60)
}

/// Waits after the first, second, … failure in a row; the last one repeats.
///
/// Front-loaded, because most failures are over in seconds (a replica that lags, a dropped line);
/// then minutes, for a throttled tenant or a restarted server; then hours, for an outage. There is
/// no last try: a secret that nobody rotates expires.
const LADDER: [Duration; 13] = [
    seconds(2),
    seconds(5),
    seconds(15),
    seconds(30),
    minutes(1),
    minutes(2),
    minutes(5),
    minutes(15),
    minutes(30),
    hours(1),
    hours(2),
    hours(4),
    hours(6),
];

/// The longest wait while the current secret is in its last days: the ladder yields (P8).
const URGENT: Duration = minutes(15);

/// A person must act; what they did is noticed within a day,
const BLOCKED: Duration = hours(24);

/// or within an hour when the secret is in its last days.
const BLOCKED_URGENT: Duration = hours(1);

/// The code of failures whose wait the server has dictated: nothing shortens it.
pub const THROTTLED: &str = "throttled";

impl Retry {
    /// The ladder after one more failure.
    ///
    /// `told` is the server's own `Retry-After`; `urgent`: the current secret is near its end.
    #[must_use]
    pub fn after(&self, failure: Failure, told: Option<Duration>, urgent: bool) -> Self {
        let failures = self.failures.saturating_add(1);
        let wait = match told {
            Some(told) => told,
            None if failure.permanent && urgent => BLOCKED_URGENT,
            None if failure.permanent => BLOCKED,
            None => {
                let rung = usize::try_from(failures - 1).unwrap_or(usize::MAX);
                let wait = LADDER[rung.min(LADDER.len() - 1)];
                if urgent { wait.min(URGENT) } else { wait }
            }
        };
        Self {
            failures,
            not_before: Some(failure.at + wait),
            last: Some(failure),
        }
    }

    /// The ladder after a person asked for another try: from the start, but for what a server
    /// dictated.
    #[must_use]
    pub fn cleared(&self) -> Self {
        match &self.last {
            Some(failure) if failure.code == THROTTLED => self.clone(),
            last => Self {
                failures: 0,
                not_before: None,
                last: last.clone(),
            },
        }
    }

    /// Whether the next try has to wait.
    pub fn holds_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // No wait is longer: what lies further ahead was written by a clock that was wrong.
        self.not_before
            .filter(|at| *at > now && *at <= now + BLOCKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(permanent: bool) -> Failure {
        Failure {
            at: DateTime::UNIX_EPOCH,
            code: "x".into(),
            message: "x".into(),
            remedy: None,
            permanent,
        }
    }

    fn waits(permanent: bool, urgent: bool) -> Vec<i64> {
        let mut retry = Retry::default();
        (0..20)
            .map(|_| {
                retry = retry.after(failure(permanent), None, urgent);
                retry.not_before.unwrap().timestamp()
            })
            .collect()
    }

    #[test]
    fn f14_the_ladder_goes_from_seconds_to_hours_and_never_ends() {
        let waits = waits(false, false);
        assert_eq!(waits[0], 2);
        assert_eq!(*waits.last().unwrap(), 6 * 3600);
        assert!(waits.is_sorted());
    }

    #[test]
    fn p8_the_ladder_yields_near_the_end_of_a_secret() {
        assert_eq!(*waits(false, true).last().unwrap(), 15 * 60);
        assert_eq!(waits(true, true)[0], 3600);
        assert_eq!(waits(true, false)[0], 86400);
    }

    #[test]
    fn b3_what_a_server_told_is_waited_for_exactly_and_not_cleared() {
        let mut throttled = failure(false);
        throttled.code = THROTTLED.into();
        let retry = Retry::default().after(throttled, Some(seconds(77)), true);
        assert_eq!(retry.not_before.unwrap().timestamp(), 77);
        assert_eq!(retry.cleared(), retry);
    }
}
