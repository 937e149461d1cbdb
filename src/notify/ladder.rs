//! What is told of what stands, and when again (pure).
//!
//! One message for each cause, at its first failure (I7), whatever number of failures follow; then
//! reminders, further and further apart; and one message when it is over.
//!
//! The engine tries again within seconds, so that in a bad night the same thing fails, succeeds and
//! fails many times. The first failure is told at once all the same: whether it is over in a minute
//! nobody knows then. But that it is over is believed, and told, only after [`CALM`]; what comes
//! back before that is the same trouble, and told no second time. So a night of hiccups costs two
//! messages, not hundreds.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::concern::{Concern, Kind};

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

/// Longer than all rungs of the retry ladder below a minute together, and than what follows them.
pub const CALM: Duration = Duration::from_secs(5 * 60);

/// Waits before the first, second, … reminder. The first is for whoever saw the message and was
/// called away, the second for the next shift, the third for the next day.
const REMINDERS: [Duration; 3] = [hours(1), hours(6), hours(24)];

/// Then each day, as long as somebody has to act.
const DAILY: Duration = hours(24);

/// What is tried again by itself grows overdue before it does harm: until then a word now and then
/// is enough.
const WEEKLY: Duration = hours(7 * 24);

/// What has been told and is not known to be over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Which kind of trouble.
    pub kind: Kind,
    /// Why: a stable code.
    pub cause: String,
    /// When it was first told.
    pub since: DateTime<Utc>,
    /// How often it was told again.
    pub reminders: u32,
    /// When it is told again, if it still stands.
    pub remind_at: DateTime<Utc>,
    /// Since when it no longer stands.
    pub over_since: Option<DateTime<Utc>>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saying {
    /// For the first time.
    First(Concern),
    /// Again: the gravest of what stands, and the rest of it.
    Reminder {
        /// The gravest.
        concern: Concern,
        /// When it was first told.
        since: DateTime<Utc>,
        /// How often it has been told again, with this.
        count: u32,
        /// What else stands.
        others: Vec<Concern>,
    },
    /// All of these are over.
    Recovery(Vec<Alert>),
}

/// What is told, and what is kept in mind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// What to tell now.
    pub sayings: Vec<Saying>,
    /// The alerts that are open from now on.
    pub alerts: Vec<Alert>,
    /// When to look again though nothing happens.
    pub look_at: Option<DateTime<Utc>>,
}

/// What to tell of a connection with these open `alerts` whose `concerns` stand at `now`.
pub fn tell(mut alerts: Vec<Alert>, concerns: &[Concern], now: DateTime<Utc>) -> Told {
    let mut sayings = Vec::new();
    for concern in concerns {
        if !alerts.iter().any(|alert| alert.is_about(concern)) {
            alerts.push(Alert::new(concern, now));
            sayings.push(Saying::First(concern.clone()));
        }
    }
    note_what_is_over(&mut alerts, concerns, now);
    let reminder = remind(&mut alerts, concerns, now);
    if sayings.is_empty() {
        sayings.extend(reminder);
    }
    let calm = |alert: &Alert| alert.over_since.is_some_and(|since| since + CALM <= now);
    let (over, alerts): (Vec<_>, Vec<_>) = alerts.into_iter().partition(calm);
    if !over.is_empty() {
        sayings.push(Saying::Recovery(over));
    }
    let look_at = alerts
        .iter()
        .filter_map(|alert| match alert.over_since {
            Some(since) => Some(since + CALM),
            None if alert.stands(concerns) => Some(alert.remind_at),
            None => None,
        })
        .min();
    Told {
        sayings,
        alerts,
        look_at,
    }
}

impl Alert {
    fn new(concern: &Concern, now: DateTime<Utc>) -> Self {
        Self {
            kind: concern.kind,
            cause: concern.cause.clone(),
            since: now,
            reminders: 0,
            remind_at: now + REMINDERS[0],
            over_since: None,
        }
    }

    fn is_about(&self, concern: &Concern) -> bool {
        (self.kind, &self.cause) == (concern.kind, &concern.cause)
    }

    fn stands(&self, concerns: &[Concern]) -> bool {
        concerns.iter().any(|concern| self.is_about(concern))
    }

    fn reminded(&mut self, now: DateTime<Utc>) {
        self.reminders = self.reminders.saturating_add(1);
        let rung = usize::try_from(self.reminders).unwrap_or(usize::MAX);
        let lasting = match self.kind {
            Kind::Failing => WEEKLY,
            Kind::Blocked | Kind::Overdue | Kind::Expiring => DAILY,
        };
        self.remind_at = now + REMINDERS.get(rung).copied().unwrap_or(lasting);
    }
}

/// A step that fails of something else now is no recovery: all that comes of steps is over when
/// none of it stands.
fn note_what_is_over(alerts: &mut [Alert], concerns: &[Concern], now: DateTime<Utc>) {
    let steps_fail = concerns.iter().any(|concern| concern.kind.is_of_a_step());
    for alert in alerts {
        let goes_on = alert.stands(concerns) || (alert.kind.is_of_a_step() && steps_fail);
        alert.over_since = if goes_on {
            None
        } else {
            // A clock that was set back does not make it last.
            Some(alert.over_since.map_or(now, |since| since.min(now)))
        };
    }
}

/// One reminder for all that stands, when one of them is due.
fn remind(alerts: &mut [Alert], concerns: &[Concern], now: DateTime<Utc>) -> Option<Saying> {
    let is_due = |alert: &Alert| {
        let wrong_clock = alert.remind_at > now + WEEKLY;
        alert.stands(concerns) && (alert.remind_at <= now || wrong_clock)
    };
    if !alerts.iter().any(is_due) {
        return None;
    }
    for alert in alerts.iter_mut().filter(|alert| alert.stands(concerns)) {
        alert.reminded(now);
    }
    // They come the gravest first.
    let (concern, others) = concerns.split_first()?;
    let alert = alerts.iter().find(|alert| alert.is_about(concern))?;
    Some(Saying::Reminder {
        concern: concern.clone(),
        since: alert.since,
        count: alert.reminders,
        others: others.to_vec(),
    })
}

#[cfg(test)]
mod tests;
