//! Time as a parameter: the only file that reads the host's clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// A future that a [`Clock`] hands out.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Where the time comes from, so that tests can move it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall-clock time in UTC.
    fn now(&self) -> DateTime<Utc>;

    /// Waits until `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Sleep<'_>;
}

/// The host's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the host's clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that sleeps for real"
    )]
    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is moved; whoever sleeps on it moves it.
///
/// With it a rotation that waits out a week is tried in milliseconds, over real HTTP.
#[derive(Debug)]
pub struct VirtualClock {
    now: Mutex<DateTime<Utc>>,
}

impl VirtualClock {
    /// A clock that stands at `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self {
            now: Mutex::new(start),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        *self.lock() += duration;
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, to: DateTime<Utc>) {
        *self.lock() = to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DateTime<Utc>> {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.lock()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        let until = self.now() + duration;
        Box::pin(async move {
            // Others get their turn first, as they would while this one sleeps.
            tokio::task::yield_now().await;
            let mut now = self.lock();
            *now = (*now).max(until);
        })
    }
}

/// `at` without its fraction of a second: due times and everything shown are whole seconds.
pub fn whole_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::seconds(1)).unwrap_or(at)
}

/// An instant as everything shows it: RFC 3339, UTC, whole seconds.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// For serde: RFC 3339 in UTC, whole seconds.
pub mod seconds {
    use chrono::{DateTime, Utc};
    use serde::Serializer;

    /// An instant.
    pub fn serialize<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::instant(*at))
    }

    /// An instant that may be missing.
    pub mod option {
        use chrono::{DateTime, Utc};
        use serde::Serializer;

        /// `null` where it is missing.
        pub fn serialize<S: Serializer>(
            at: &Option<DateTime<Utc>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, serializer),
                None => serializer.serialize_none(),
            }
        }
    }
}

/// A length of time as users write it: `30s`, `20m`, `7d`, `1h 30m`; `0s` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// `n` seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// `n` minutes.
    pub const fn minutes(n: u64) -> Self {
        Self::seconds(n * 60)
    }

    /// `n` hours.
    pub const fn hours(n: u64) -> Self {
        Self::minutes(n * 60)
    }

    /// `n` days of 24 hours.
    pub const fn days(n: u64) -> Self {
        Self::hours(n * 24)
    }
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a duration; write a number and a unit, such as 30s, 20m, 12h or 7d")]
pub struct SpanError {
    text: String,
}

/// Longer lengths are typing mistakes, and would overflow the calendar.
const LONGEST: Span = Span::days(100 * 366);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= LONGEST.0 => Ok(Self(duration)),
            _ => Err(SpanError {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |seconds: u64, unit: &str, f: &mut fmt::Formatter<'_>| {
            write!(f, "{}{unit}", self.0.as_secs() / seconds)
        };
        // Days stay days: humantime would turn 31 of them into a month of 30.44.
        match self.0.as_secs() {
            n if self.0.subsec_nanos() > 0 || n == 0 => {
                write!(f, "{}", humantime::format_duration(self.0))
            }
            n if n % 86_400 == 0 => whole(86_400, "d", f),
            n if n % 3_600 == 0 => whole(3_600, "h", f),
            n if n % 60 == 0 => whole(60, "m", f),
            _ => whole(1, "s", f),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_what_it_writes() {
        for text in ["0s", "30s", "20m", "12h", "7d", "31d", "400ms", "90m"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
        assert_eq!(Span::days(31).to_string(), "31d");
        assert!("soon".parse::<Span>().is_err());
        assert!("99999999 years".parse::<Span>().is_err());
    }

    #[tokio::test]
    async fn whoever_sleeps_moves_a_virtual_clock() {
        let clock = VirtualClock::new(DateTime::UNIX_EPOCH);
        clock.sleep(Duration::from_secs(90)).await;
        assert_eq!(clock.now().timestamp(), 90);
    }
}
