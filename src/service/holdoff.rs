//! Connections that are let alone for a while (pure): what ended without a word in the journal
//! would otherwise be begun again every second.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::connection::ConnectionName;

/// Another process works on it: it will not take long, or a person watches it.
const BUSY: Duration = Duration::from_secs(10);

/// After the first failure that could not be journalled; doubled by each one that follows.
const FIRST: Duration = Duration::from_secs(60);

/// The longest: what only a restart mends is still noticed.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Who is let alone, and until when. It is kept in memory alone: after a restart all is tried.
#[derive(Debug, Default)]
pub struct Holdoffs {
    by_name: HashMap<ConnectionName, Holdoff>,
}

#[derive(Debug, Clone, Copy)]
struct Holdoff {
    until: DateTime<Utc>,
    failures: u32,
}

impl Holdoffs {
    /// Another process holds its lock.
    pub fn busy(&mut self, name: ConnectionName, now: DateTime<Utc>) {
        let failures = self.by_name.get(&name).map_or(0, |it| it.failures);
        let until = now + BUSY;
        self.by_name.insert(name, Holdoff { until, failures });
    }

    /// Its pass ended without a word in the journal. Returns for how long it is let alone.
    pub fn failed(&mut self, name: ConnectionName, now: DateTime<Utc>) -> Duration {
        let failures = self.by_name.get(&name).map_or(0, |it| it.failures) + 1;
        let doubled = 2_u32.saturating_pow(failures.min(16) - 1);
        let wait = FIRST.saturating_mul(doubled).min(LONGEST);
        let until = now + wait;
        self.by_name.insert(name, Holdoff { until, failures });
        wait
    }

    /// Its pass ended as it should.
    pub fn well(&mut self, name: &ConnectionName) {
        self.by_name.remove(name);
    }

    /// Whether it is let alone at `now`. A clock that was set back holds nobody for longer than
    /// the longest time.
    pub fn holds(&self, name: &ConnectionName, now: DateTime<Utc>) -> bool {
        self.by_name
            .get(name)
            .is_some_and(|it| now < it.until && it.until <= now + LONGEST)
    }

    /// How many are let alone, or have been a moment ago.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_what_fails_again_and_again_is_let_alone_for_longer() {
        let mut holdoffs = Holdoffs::default();
        let name: ConnectionName = "app".parse().unwrap();
        let mut now = DateTime::UNIX_EPOCH;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = holdoffs.failed(name.clone(), now);
            assert_eq!(wait, Duration::from_secs(60 * minutes));
            assert!(holdoffs.holds(&name, now));
            now += wait;
            assert!(!holdoffs.holds(&name, now));
        }
        holdoffs.well(&name);
        assert_eq!(holdoffs.failed(name, now), FIRST);
    }

    #[test]
    fn f11_a_clock_set_back_holds_nobody() {
        let mut holdoffs = Holdoffs::default();
        let name: ConnectionName = "app".parse().unwrap();
        let now = DateTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        holdoffs.busy(name.clone(), now);
        assert!(holdoffs.holds(&name, now));
        assert!(!holdoffs.holds(&name, DateTime::UNIX_EPOCH));
    }
}
