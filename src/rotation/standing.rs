//! How a connection stands, in the words of `status` (pure).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::plan::{Ask, Next, Step, Terms, WaitFor, plan};
use crate::journal::{Failure, Journal, Retry, State};

/// A rotation that is this late is no longer just about to start.
const OVERDUE: Duration = Duration::from_secs(24 * 3600);

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is under way, nothing is wrong.
    Ok,
    /// A rotation is under way and goes well.
    Waiting,
    /// Something failed and is tried again.
    Retrying,
    /// The rotation that was due has not been made.
    Overdue,
    /// A person must act.
    Blocked,
}

impl Health {
    /// As documents and scripts spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Overdue => "overdue",
            Self::Blocked => "blocked",
        }
    }
}

/// What `advance` does next, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextAction {
    /// When.
    pub at: DateTime<Utc>,
    /// What, in kebab-case.
    pub what: &'static str,
}

/// How a connection stands at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// `idle`, or the state of the rotation under way.
    pub state: &'static str,
    /// How it is.
    pub health: Health,
    /// When the last secret that consumers hold expires; `None`: never.
    pub safe_until: Option<DateTime<Utc>>,
    /// What comes next; `None`: nothing by itself.
    pub next_action: Option<NextAction>,
    /// The newest failure that is not over.
    pub last_error: Option<Failure>,
}

/// How the connection of `journal` stands at `now`.
pub fn standing(journal: &Journal, terms: &Terms, now: DateTime<Utc>) -> Standing {
    let next = plan(journal, terms, now, Ask::Due);
    let declared = &journal.declared;
    let homeless =
        declared.destinations.is_empty() && !declared.pull && journal.removed_at.is_none();
    let last_error = if homeless {
        Some(no_destination(now))
    } else {
        open_failures(journal).max_by_key(|f| f.at).cloned()
    };
    Standing {
        state: state(journal),
        health: health(journal, homeless, now),
        safe_until: safe_until(journal),
        next_action: next_action(&next, now),
        last_error,
    }
}

/// What a connection without destinations is told when it is due.
pub fn no_destination(at: DateTime<Utc>) -> Failure {
    Failure {
        at: crate::clock::whole_seconds(at),
        code: "no-destination".into(),
        message: "nothing says where a new secret goes, so none is made by itself".into(),
        remedy: Some(
            "add a destination, or --pull where consumers ask `keywheel secret`, with `keywheel \
             connection edit NAME`; or rotate it by hand"
                .into(),
        ),
        permanent: true,
    }
}

/// Every ladder that stands above its first rung.
pub fn open_retries(journal: &Journal) -> impl Iterator<Item = &Retry> {
    let rotations = journal.rotations.iter().map(|rotation| &rotation.retry);
    let destinations = journal.declared.destinations.iter();
    let deliveries = destinations
        .filter_map(|spec| journal.delivery(spec.name()))
        .filter(|d| d.holds < d.wants)
        .map(|d| &d.retry);
    let removals = journal.removals.iter().map(|removal| &removal.retry);
    let watches = journal.watches.iter().map(|watch| &watch.retry);
    rotations
        .chain(deliveries)
        .chain(removals)
        .chain(watches)
        .filter(|retry| retry.failures > 0)
}

/// Whether only a person can bring something forward.
pub fn is_blocked(journal: &Journal) -> bool {
    let blocked = journal
        .rotations
        .iter()
        .any(|r| matches!(r.state, State::Blocked { .. }));
    blocked || open_failures(journal).any(|failure| failure.permanent)
}

/// What went wrong and is not over.
pub fn open_failures(journal: &Journal) -> impl Iterator<Item = &Failure> {
    let drift = journal.current().and_then(|secret| secret.refused.as_ref());
    open_retries(journal)
        .filter_map(|retry| retry.last.as_ref())
        .chain(drift)
}

fn state(journal: &Journal) -> &'static str {
    let under_way = journal.unpromoted().or_else(|| journal.rotations.last());
    under_way.map_or("idle", |rotation| rotation.state.name())
}

fn health(journal: &Journal, homeless: bool, now: DateTime<Utc>) -> Health {
    if is_blocked(journal) || homeless {
        Health::Blocked
    } else if journal.due_at + OVERDUE < now {
        Health::Overdue
    } else if open_retries(journal).next().is_some() {
        Health::Retrying
    } else if !journal.rotations.is_empty() || !journal.removals.is_empty() {
        Health::Waiting
    } else {
        Health::Ok
    }
}

/// The earliest end of what the required destinations hold; of the current secret without any.
fn safe_until(journal: &Journal) -> Option<DateTime<Utc>> {
    let expiry = |generation: u32| {
        let held = journal
            .secrets
            .iter()
            .find(|s| s.generation == generation && generation > 0);
        // What was there before the first delivery is what was adopted: the oldest that is left.
        held.or_else(|| {
            journal
                .secrets
                .iter()
                .filter(|s| s.generation > 0)
                .min_by_key(|s| s.generation)
        })
        .and_then(|secret| secret.expires_at)
    };
    let required = journal
        .declared
        .destinations
        .iter()
        .filter(|d| d.required());
    let held = required.map(|spec| {
        journal
            .deliveries
            .iter()
            .find(|d| d.destination == spec.name())
            .map_or(0, |d| d.holds)
    });
    let ends: Vec<Option<DateTime<Utc>>> = held.map(expiry).collect();
    if ends.is_empty() {
        return journal.current().and_then(|secret| secret.expires_at);
    }
    ends.into_iter().flatten().min()
}

fn next_action(next: &Next, now: DateTime<Utc>) -> Option<NextAction> {
    let (at, what) = match next {
        Next::Do(step) => (now, step_name(step)),
        Next::Wait { until, what } => (*until, wait_name(*what)),
        Next::NoDestination | Next::Rest => return None,
    };
    Some(NextAction {
        at: crate::clock::whole_seconds(at),
        what,
    })
}

fn wait_name(what: WaitFor) -> &'static str {
    match what {
        WaitFor::Retry => "retry",
        WaitFor::Absence => "confirm-absence",
        WaitFor::Spacing => "change-application",
        WaitFor::Overlap => "revoke",
        WaitFor::Due => "rotate",
        WaitFor::Watch => "look-for-name",
    }
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Begin { .. } | Step::Attempt(_) => "rotate",
        Step::Look(_) | Step::Watch(_) => "look-for-name",
        Step::Prove(_) => "verify",
        Step::Promote(_) => "promote",
        Step::Abandon(_) => "abandon",
        Step::Deliver(_) => "deliver",
        Step::Enter(..) => "journal",
        Step::Revoke(_) | Step::Remove(_) => "revoke",
        Step::Confirm(_) => "confirm-absence",
    }
}
