//! A connection's policy and the pure schedule, brought together.

use chrono::{DateTime, Days, NaiveDate, Utc};

use crate::connection::{ConnectionName, Policy};
use crate::schedule::{self, Life, Rule};

/// When one connection rotates.
#[derive(Debug, Clone)]
pub struct Timetable {
    rule: Rule,
    key: String,
}

impl Timetable {
    /// The timetable of the connection `name`.
    pub fn new(name: &ConnectionName, policy: &Policy) -> Self {
        Self {
            rule: policy.rule(),
            key: name.to_string(),
        }
    }

    /// The date of `at` in the connection's zone.
    pub fn date(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.rule.timezone).date_naive()
    }

    /// The next due time, guard, window and spread applied.
    pub fn due_at(
        &self,
        anchor: NaiveDate,
        now: DateTime<Utc>,
        starts_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    ) -> DateTime<Utc> {
        let next = schedule::next_due(&self.rule, anchor, now);
        schedule::due_at(&self.rule, next, life(starts_at, expires_at), &self.key)
    }

    /// The latest that [`Timetable::due_at`] ever says for a secret; `None`: it never expires.
    pub fn latest_due(
        &self,
        starts_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        life(starts_at, expires_at).map(|life| schedule::latest_due(&self.rule, life))
    }

    /// When a rotation that a person wants at `at` may start.
    pub fn opening_for(
        &self,
        at: DateTime<Utc>,
        starts_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    ) -> DateTime<Utc> {
        schedule::opening_for(&self.rule, at, life(starts_at, expires_at), &self.key)
    }

    /// When a rotation that is due at `due_at` may start, seen from `now`.
    pub fn start_at(
        &self,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
        starts_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    ) -> DateTime<Utc> {
        schedule::start_at(
            &self.rule,
            due_at,
            life(starts_at, expires_at),
            &self.key,
            now,
        )
    }

    /// The next `count` due times: the journal's own one first.
    pub fn upcoming(
        &self,
        anchor: NaiveDate,
        due_at: DateTime<Utc>,
        count: usize,
    ) -> Vec<DateTime<Utc>> {
        let later = schedule::upcoming(&self.rule, self.anchor_of(anchor, due_at), due_at)
            .map(|next| schedule::due_at(&self.rule, next, None, &self.key));
        std::iter::once(due_at).chain(later).take(count).collect()
    }

    /// The date that the interval is counted from after the rotation that was due at `at`: the
    /// last date of the progression, so that neither lateness nor window nor spread moves the
    /// next one; or the date of `at` itself, where the guard before expiry came first.
    pub fn anchor_of(&self, anchor: NaiveDate, at: DateTime<Utc>) -> NaiveDate {
        let interval = i64::from(self.rule.interval_days.max(1));
        let date = self.date(at);
        let periods = (date - anchor).num_days() / interval;
        if periods < 1 {
            return date;
        }
        let passed = u64::try_from(periods * interval).unwrap_or(0);
        anchor.checked_add_days(Days::new(passed)).unwrap_or(date)
    }

    /// The anchor whose first due date is the one of `at`.
    pub fn anchor_before(&self, at: DateTime<Utc>) -> NaiveDate {
        let date = self.date(at);
        let interval = Days::new(u64::from(self.rule.interval_days.max(1)));
        date.checked_sub_days(interval).unwrap_or(date)
    }
}

fn life(starts_at: Option<DateTime<Utc>>, expires_at: Option<DateTime<Utc>>) -> Option<Life> {
    expires_at.map(|expires_at| Life {
        starts_at,
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Span;
    use crate::connection::{OnLimit, Overlap};
    use crate::schedule::Weekdays;

    fn timetable(interval_days: u32) -> Timetable {
        let policy = Policy {
            cloud: "public".into(),
            identity: "self".into(),
            interval_days,
            rotate_at: chrono::NaiveTime::from_hms_opt(10, 0, 0).unwrap(),
            timezone: chrono_tz::Europe::Berlin,
            lifetime_days: 67,
            overlap: Overlap::NextRotation,
            renew_before: Span::days(14),
            jitter: Span::default(),
            only: Weekdays::default(),
            hours: None,
            blackouts: Vec::new(),
            on_limit: OnLimit::Block,
        };
        Timetable::new(&"app".parse().unwrap(), &policy)
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn f6_a_late_rotation_does_not_move_the_next_one() {
        let timetable = timetable(30);
        let due = timetable.due_at(date("2026-01-10"), at("2026-01-10T12:00:00Z"), None, None);
        assert_eq!(due, at("2026-02-09T09:00:00Z"));
        let anchor = timetable.anchor_of(date("2026-01-10"), due);
        assert_eq!(anchor, date("2026-02-09"));
        // It ran five days late: the next one is where it was.
        let next = timetable.due_at(anchor, at("2026-02-14T00:00:00Z"), None, None);
        assert_eq!(next, at("2026-03-11T09:00:00Z"));
    }

    #[test]
    fn f8_after_ninety_days_off_there_is_one_catch_up() {
        let timetable = timetable(30);
        let anchor = timetable.anchor_of(date("2026-01-10"), at("2026-02-09T09:00:00Z"));
        let next = timetable.due_at(anchor, at("2026-05-20T00:00:00Z"), None, None);
        assert_eq!(
            next,
            at("2026-06-09T08:00:00Z"),
            "120 days after the date that was due"
        );
    }

    #[test]
    fn p8_a_rotation_by_the_guard_counts_anew_from_its_own_date() {
        let timetable = timetable(30);
        let early = at("2026-01-20T09:00:00Z");
        assert_eq!(
            timetable.anchor_of(date("2026-01-10"), early),
            date("2026-01-20")
        );
    }
}
