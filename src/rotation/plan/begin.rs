//! When the next rotation begins, and what for.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Ask, Next, Step, View, WaitFor};
use crate::clock::whole_seconds;
use crate::journal::{Origin, Retry, State, Trigger};
use crate::rotation::timetable::Timetable;

impl View<'_> {
    pub(super) fn begins_now(&self, ask: Ask) -> bool {
        matches!(self.begin_at(ask), Some(at) if at <= self.now)
    }

    /// When the next rotation is to begin; `None`: not by itself.
    fn begin_at(&self, ask: Ask) -> Option<DateTime<Utc>> {
        if self.is_busy() || self.journal.paused || self.journal.current().is_none() {
            return None;
        }
        match ask {
            Ask::Rotate(_) => Some(self.now),
            Ask::Due => Some(self.start_at().max(self.an_hour_after_the_last())),
            Ask::DueNow => Some(self.wanted_at().max(self.an_hour_after_the_last())),
            Ask::Resume => None,
        }
    }

    /// At most one rotation stands before `promoted`, and one that is being abandoned comes first.
    fn is_busy(&self) -> bool {
        let mut rotations = self.journal.rotations.iter();
        rotations.any(|rotation| match rotation.state.effective() {
            State::Abandoning { new } => self.holds_up(*new),
            state => state.may_be_promoted(),
        })
    }

    /// When it is due: by the schedule, or because the one before was abandoned.
    fn wanted_at(&self) -> DateTime<Utc> {
        let due_at = self.due_at();
        let Some(abandoned) = self.journal.abandoned() else {
            return due_at;
        };
        let backoff = abandoned.retry.holds_at(self.now);
        match abandoned.trigger {
            // What was asked for by hand is wanted since then, whatever clock it was asked by.
            Trigger::Manual => backoff.unwrap_or(abandoned.started_at.min(due_at).min(self.now)),
            Trigger::Due(_) => backoff.map_or(due_at, |until| until.max(due_at)),
        }
    }

    /// By the schedule; the last days of the current secret win, whatever clock worked that out
    /// (P8).
    fn due_at(&self) -> DateTime<Utc> {
        let (starts_at, expires_at) = self.life();
        let due_at = self.journal.due_at;
        let latest = self.timetable().latest_due(starts_at, expires_at);
        latest.map_or(due_at, |latest| latest.min(due_at))
    }

    /// What is overdue waits for an open window, unless the secret is in its last days.
    fn start_at(&self) -> DateTime<Utc> {
        let (starts_at, expires_at) = self.life();
        self.timetable()
            .start_at(self.wanted_at(), self.now, starts_at, expires_at)
    }

    fn timetable(&self) -> Timetable {
        Timetable::new(self.journal.name(), &self.terms.policy)
    }

    fn life(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let current = self.journal.current();
        current
            .map(|secret| (secret.starts_at, secret.expires_at))
            .unwrap_or_default()
    }

    /// Two scheduled rotations of one application are at least an hour apart.
    fn an_hour_after_the_last(&self) -> DateTime<Utc> {
        self.journal
            .current()
            .filter(|secret| secret.origin == Origin::Minted)
            .and_then(|secret| secret.starts_at)
            // A date that the server got wrong holds nothing back (B9).
            .filter(|at| *at <= self.now)
            .map_or(DateTime::UNIX_EPOCH, |at| at + Duration::from_secs(3600))
    }

    pub(super) fn begin(&self, ask: Ask) -> Next {
        let Some(at) = self.begin_at(ask) else {
            return Next::Rest;
        };
        let declared = &self.journal.declared;
        let (trigger, overlap) = match (ask, self.journal.abandoned()) {
            (Ask::Rotate(overlap), _) => (Trigger::Manual, overlap),
            (_, Some(abandoned)) if abandoned.trigger == Trigger::Manual => {
                (Trigger::Manual, Some(abandoned.overlap))
            }
            _ => {
                // One that its last days bring forward is due now.
                let due_at = self.journal.due_at.min(whole_seconds(self.now));
                (Trigger::Due(due_at), None)
            }
        };
        if trigger != Trigger::Manual && declared.destinations.is_empty() && !declared.pull {
            return if at <= self.now {
                Next::NoDestination
            } else {
                wait_due(at)
            };
        }
        let overlap = overlap.unwrap_or(self.terms.policy.overlap);
        if at > self.now {
            return wait_due(at);
        }
        self.mutation(&Retry::default(), Step::Begin { trigger, overlap })
    }
}

fn wait_due(until: DateTime<Utc>) -> Next {
    Next::Wait {
        until,
        what: WaitFor::Due,
    }
}
