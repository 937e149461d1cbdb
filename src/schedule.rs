//! When the next rotation is due (pure).
//!
//! A due time comes about in this order, and each step only ever sees the one before it:
//!
//! 1. [`next_due`]: the interval, counted in days of the connection's zone, at `rotate_at`;
//! 2. the guard: `renew_before` the secret expires, if that is earlier;
//! 3. the [`Window`]: moved later, to `rotate_at` in the next opening, or to the opening's start
//!    where `rotate_at` does not lie in it;
//! 4. jitter: a stable spread from there on, within the opening.
//!
//! Steps 3 and 4 never lead into the last three days of the secret's life: where no opening comes
//! before that, the window yields and the time stays where step 2 left it.

mod local;
pub mod time_of_day;
mod window;

#[cfg(test)]
mod tests;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::clock::{Span, whole_seconds};

pub use local::resolve;
pub use window::{Blackout, Hours, Weekdays, Window};

/// The end of a secret's life, in which windows, blackouts and backoff yield (P8).
pub const LAST_DAYS: Span = Span::days(3);

/// Two scheduled rotations of one application are at least this far apart.
pub const LEAST_APART: Span = Span::hours(1);

/// What decides when a connection rotates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Days between two rotations; 0 counts as 1.
    pub interval_days: u32,
    /// The local time of day.
    pub rotate_at: NaiveTime,
    /// The zone of `rotate_at` and of the window.
    pub timezone: Tz,
    /// The guard before expiry, before it is cut to a third of the secret's life.
    pub renew_before: Span,
    /// The stable spread.
    pub jitter: Span,
    /// When a scheduled rotation may start.
    pub window: Window,
}

/// From when to when a secret signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// `None` where Entra does not say.
    pub starts_at: Option<DateTime<Utc>>,
    /// The server's own date.
    pub expires_at: DateTime<Utc>,
}

impl Life {
    /// When the guard demands a rotation: `renew_before` the end, at most a third of the life.
    fn guard(self, renew_before: Span) -> DateTime<Utc> {
        let third = self.starts_at.map_or(TimeDelta::MAX, |starts_at| {
            (self.expires_at - starts_at) / 3
        });
        earlier(self.expires_at, delta(renew_before).min(third))
    }

    fn last_days(self) -> DateTime<Utc> {
        earlier(self.expires_at, delta(LAST_DAYS))
    }
}

/// The first `anchor` + k × interval, k ≥ 1, that lies after `now`, in whole seconds.
///
/// `anchor` is the date, in the rule's zone, of the rotation that was due, or of the manual one:
/// a rotation that came late moves nothing, and however long Keywheel was off, what was due is
/// caught up once.
pub fn next_due(rule: &Rule, anchor: NaiveDate, now: DateTime<Utc>) -> DateTime<Utc> {
    // The calendar of chrono ends after 260,000 years.
    upcoming(rule, anchor, now)
        .next()
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// All due times after `now` by the interval alone, the next one first.
pub fn upcoming(
    rule: &Rule,
    anchor: NaiveDate,
    now: DateTime<Utc>,
) -> impl Iterator<Item = DateTime<Utc>> + use<> {
    let (rotate_at, timezone) = (rule.rotate_at, rule.timezone);
    let interval = u64::from(rule.interval_days.max(1));
    let days_since = (now.date_naive() - anchor).num_days();
    let passed = u64::try_from(days_since).unwrap_or(0) / interval;
    let mut last = now;
    // One step back, because "today" in the zone may be yesterday in UTC.
    (passed.saturating_sub(1).max(1)..)
        .map_while(move |k| anchor.checked_add_days(Days::new(k.checked_mul(interval)?)))
        .map(move |date| resolve(date, rotate_at, timezone))
        // Two dates are one instant where a zone skips a day.
        .filter(move |due| {
            let later = *due > last;
            last = last.max(*due);
            later
        })
}

/// When a rotation that the schedule wants at `next_due` is to start: the guard, the window and the
/// jitter applied, as the module says. `key` is what the jitter is spread by, such as the
/// connection's name; one key always gets the same spread.
pub fn due_at(
    rule: &Rule,
    next_due: DateTime<Utc>,
    life: Option<Life>,
    key: &str,
) -> DateTime<Utc> {
    let wanted = life.map_or(next_due, |life| life.guard(rule.renew_before).min(next_due));
    placed(rule, wanted, life, key)
}

/// When a rotation that is due at `due_at` may start, seen from `now`: then, or at once where that
/// is past and the window is open or the secret near its end, or else at the next opening.
///
/// It matters where Keywheel was off at `due_at` and comes back while the window is closed. Keep
/// what it says until then: asked again in the opening, it says "now", without the jitter.
pub fn start_at(
    rule: &Rule,
    due_at: DateTime<Utc>,
    life: Option<Life>,
    key: &str,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let urgent = life.is_some_and(|life| urgent(now, life.expires_at));
    if now <= due_at {
        due_at
    } else if urgent || rule.window.allows(now, rule.timezone) {
        whole_seconds(now)
    } else {
        placed(rule, now, life, key)
    }
}

/// The latest that [`due_at`] ever says for a secret of this life.
pub fn latest_due(rule: &Rule, life: Life) -> DateTime<Utc> {
    life.guard(rule.renew_before).max(life.last_days())
}

/// When a rotation that somebody wants at `at` may start: then, or where the window is closed at the
/// next opening.
pub fn opening_for(rule: &Rule, at: DateTime<Utc>, life: Option<Life>, key: &str) -> DateTime<Utc> {
    if rule.window.allows(at, rule.timezone) {
        whole_seconds(at)
    } else {
        placed(rule, at, life, key)
    }
}

/// Whether a secret is in its last three days, in which windows, blackouts and backoff yield.
pub fn urgent(now: DateTime<Utc>, expires_at: DateTime<Utc>) -> bool {
    now >= earlier(expires_at, delta(LAST_DAYS))
}

/// The overlap where none is given: the smaller of seven days and half the interval.
pub fn default_overlap(interval_days: u32) -> Span {
    Span::days(7).min(Span::hours(12 * u64::from(interval_days)))
}

/// The lifetime where none is given: the smaller of 2 × interval + 7 and interval + 90 days.
pub fn default_lifetime_days(interval_days: u32) -> u32 {
    let doubled = interval_days.saturating_mul(2).saturating_add(7);
    doubled.min(interval_days.saturating_add(90))
}

/// The shortest life of a new secret that an interval and an overlap leave room for: with it, the
/// overlap ends just before the secret's last days begin.
pub fn least_lifetime_days(interval_days: u32, overlap: Span) -> u32 {
    let tail = (overlap.0 + LAST_DAYS.0).as_secs().div_ceil(86_400);
    interval_days.saturating_add(u32::try_from(tail).unwrap_or(u32::MAX))
}

/// Whether a secret lives long enough for its interval and overlap (F10).
pub fn fits(interval_days: u32, lifetime_days: u32, overlap: Span) -> bool {
    lifetime_days >= least_lifetime_days(interval_days, overlap)
}

/// `wanted` moved into the window and spread, never past the last days.
fn placed(rule: &Rule, wanted: DateTime<Utc>, life: Option<Life>, key: &str) -> DateTime<Utc> {
    let line = life.map_or(DateTime::<Utc>::MAX_UTC, Life::last_days);
    if wanted >= line {
        return whole_seconds(wanted);
    }
    let opening = rule
        .window
        .opening(wanted, rule.timezone)
        .filter(|opens| *opens < line)
        .map(|opens| {
            if opens == wanted {
                opens
            } else {
                at_time_of_day(rule, opens, line)
            }
        });
    let from = opening.unwrap_or(wanted);
    let latest = later(from, delta(rule.jitter)).min(line);
    let until = match opening {
        Some(_) => rule.window.closing(from, latest, rule.timezone),
        None => latest,
    };
    let at = later(from, part(until - from, key));
    let left_the_window = opening.is_some() && !rule.window.allows(at, rule.timezone);
    whole_seconds(if left_the_window { from } else { at })
}

/// `rotate_at` on the day of an opening, where that lies in the same opening and before `line`:
/// people who chose 10:00 are not there at midnight.
fn at_time_of_day(rule: &Rule, opens: DateTime<Utc>, line: DateTime<Utc>) -> DateTime<Utc> {
    let date = opens.with_timezone(&rule.timezone).date_naive();
    let at = resolve(date, rule.rotate_at, rule.timezone);
    let in_the_same_opening = at > opens
        && rule.window.allows(at, rule.timezone)
        && rule.window.closing(opens, at, rule.timezone) == at;
    if in_the_same_opening && at < line {
        at
    } else {
        opens
    }
}

/// A stable part of `length`, from none to just below all of it, in whole seconds.
fn part(length: TimeDelta, key: &str) -> TimeDelta {
    let seconds = u128::from(length.num_seconds().max(0).unsigned_abs());
    let share = (u128::from(stable_hash(key)) * seconds) >> 64;
    TimeDelta::seconds(i64::try_from(share).unwrap_or(0))
}

/// FNV-1a, finished by SplitMix64: the standard library's hash may change with its version, and
/// FNV alone leaves names that differ in the last letter close together.
fn stable_hash(key: &str) -> u64 {
    let fnv = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn delta(span: Span) -> TimeDelta {
    TimeDelta::from_std(span.0).unwrap_or(TimeDelta::MAX)
}

fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn earlier(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_sub_signed(by)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}
