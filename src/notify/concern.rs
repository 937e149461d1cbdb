//! What is wrong with a connection at one moment (pure).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::journal::{Failure, Journal};
use crate::settings::NotifyEvent;

/// A rotation that is this late is no longer just about to start: as `status` says it.
pub const OVERDUE: Duration = Duration::from_secs(24 * 3600);

/// A secret that is managed and has no more left than this is worth an alarm,
const EXPIRING: Duration = Duration::from_secs(14 * 86_400);

/// and in its last days in any case.
const LAST_DAYS: Duration = Duration::from_secs(3 * 86_400);

/// What the journal alone does not say.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// All that has failed and is not over; those that are permanent hold the connection up.
    pub failures: Vec<Failure>,
    /// When the last secret that consumers hold expires; `None`: never.
    pub safe_until: Option<DateTime<Utc>>,
    /// When something may go wrong by itself that is no matter of these; `None`: nothing can.
    pub look_at: Option<DateTime<Utc>>,
}

/// Which kind of trouble; the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something failed, and is tried again.
    Failing,
    /// The rotation that was due has not been made.
    Overdue,
    /// A secret comes to its end although it is managed.
    Expiring,
    /// A person must act.
    Blocked,
}

impl Kind {
    /// As channels choose it.
    pub fn event(self) -> NotifyEvent {
        match self {
            Self::Failing => NotifyEvent::Failing,
            Self::Overdue => NotifyEvent::Overdue,
            Self::Expiring => NotifyEvent::Expiring,
            Self::Blocked => NotifyEvent::Blocked,
        }
    }

    /// Whether it comes of a step that did not succeed: those turn into one another, and are over
    /// together.
    pub fn is_of_a_step(self) -> bool {
        matches!(self, Self::Failing | Self::Blocked)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Which kind.
    pub kind: Kind,
    /// Why: a stable code.
    pub cause: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Since when, as far as can be told.
    pub since: DateTime<Utc>,
    /// When consumers are cut off if nothing happens.
    pub ends_at: Option<DateTime<Utc>>,
}

/// All that is wrong at `now`, the gravest first; one for each kind and cause.
pub fn concerns(journal: &Journal, situation: &Situation, now: DateTime<Utc>) -> Vec<Concern> {
    if journal.removed_at.is_some() {
        return Vec::new();
    }
    let ends_at = end(journal, situation);
    let mut concerns: Vec<Concern> = Vec::new();
    let failures = situation.failures.iter();
    let times = [
        overdue(journal, ends_at, now),
        expiring(journal, situation, now),
    ];
    let all = failures.map(|failure| of_failure(journal, failure, ends_at));
    for concern in all.chain(times.into_iter().flatten()) {
        let same = |other: &Concern| (other.kind, &other.cause) == (concern.kind, &concern.cause);
        if !concerns.iter().any(same) {
            concerns.push(concern);
        }
    }
    // What holds it up, and what is tried again, may be the same: a person is told the graver.
    let blocked: Vec<String> = concerns
        .iter()
        .filter(|concern| concern.kind == Kind::Blocked)
        .map(|concern| concern.cause.clone())
        .collect();
    concerns.retain(|it| it.kind != Kind::Failing || !blocked.contains(&it.cause));
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.kind));
    concerns
}

/// When the mere passing of time brings a concern that does not stand at `now`; `None`: never.
pub fn look_at(
    journal: &Journal,
    situation: &Situation,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if journal.removed_at.is_some() {
        return None;
    }
    let alarms = alarms(journal, situation).into_iter().map(|(at, _)| at);
    alarms
        .chain(situation.look_at)
        .chain([journal.due_at + OVERDUE])
        .filter(|at| *at > now)
        .min()
}

fn of_failure(journal: &Journal, failure: &Failure, ends_at: Option<DateTime<Utc>>) -> Concern {
    let name = journal.name();
    let (kind, usual) = if failure.permanent {
        let usual = format!(
            "`keywheel status {name}` says more; once it is mended, `keywheel connection resume \
             {name}` tries it again at once"
        );
        (Kind::Blocked, usual)
    } else {
        let usual =
            format!("nothing yet: it is tried again by itself; `keywheel status {name}` says when");
        (Kind::Failing, usual)
    };
    Concern {
        kind,
        cause: failure.code.clone(),
        message: failure.message.clone(),
        remedy: failure.remedy.clone().unwrap_or(usual),
        since: failure.at,
        ends_at,
    }
}

fn overdue(
    journal: &Journal,
    ends_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Concern> {
    (journal.due_at + OVERDUE <= now).then(|| Concern {
        kind: Kind::Overdue,
        cause: "overdue".into(),
        message: format!(
            "the rotation that was due at {} has not been made",
            instant(journal.due_at)
        ),
        remedy: go_on(journal),
        since: journal.due_at,
        ends_at,
    })
}

fn expiring(journal: &Journal, situation: &Situation, now: DateTime<Utc>) -> Option<Concern> {
    let alarms = alarms(journal, situation).into_iter();
    let (since, end) = alarms.filter(|(at, _)| *at <= now).min_by_key(|it| it.1)?;
    let ended = if end <= now { "expired" } else { "expires" };
    Some(Concern {
        kind: Kind::Expiring,
        cause: "expiring".into(),
        message: format!(
            "a secret that its consumers hold {ended} at {}, although it is managed; without a \
             newer one they are cut off",
            instant(end)
        ),
        remedy: go_on(journal),
        since,
        ends_at: Some(end),
    })
}

fn go_on(journal: &Journal) -> String {
    let name = journal.name();
    if journal.paused {
        format!("it is paused: `keywheel connection resume {name}` lets it go on")
    } else {
        format!(
            "`keywheel status {name}` says what is in the way; `keywheel rotate {name}` rotates \
             it now"
        )
    }
}

/// When consumers are cut off if nothing happens.
fn end(journal: &Journal, situation: &Situation) -> Option<DateTime<Utc>> {
    let current = journal.current().and_then(|secret| secret.expires_at);
    current.into_iter().chain(situation.safe_until).min()
}

/// When it is time for an alarm about the current secret, and about what consumers hold where that
/// is an older one; each with its end.
fn alarms(journal: &Journal, situation: &Situation) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let Some(current) = journal.current() else {
        return Vec::new();
    };
    let life = current.expires_at.zip(current.starts_at);
    let life = life.and_then(|(end, start)| (end - start).to_std().ok());
    let life = life.unwrap_or(EXPIRING * 4);
    let mut alarms = Vec::new();
    if let Some(end) = current.expires_at {
        // One that is to be rotated only then, as windows and a short life may have it, is given
        // the chance; but not up to its last days.
        let last = end - LAST_DAYS.min(life / 6);
        alarms.push((
            (end - EXPIRING).max((journal.due_at + OVERDUE).min(last)),
            end,
        ));
    }
    if let Some(end) = situation.safe_until {
        let at = end - (EXPIRING - OVERDUE).min(life / 4);
        if current.expires_at != Some(end) {
            alarms.push((at, end));
        }
    }
    alarms
}

/// As every message shows an instant.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
