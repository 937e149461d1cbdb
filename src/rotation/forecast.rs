//! What a run would change, for `--dry-run` (pure): every change, and nothing else (P9).

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::plan::{Ask, Next, Step, Terms, YOUNG, gives_up, lacks_current, plan};
use crate::connection::{DestinationSpec, Overlap};
use crate::entra::KeyId;
use crate::journal::{AttemptName, Journal, Outcome, Retry, Role, Rotation, State, Trigger, Watch};

/// One change that the real run would make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Change {
    /// A secret is added to the application.
    AddPassword {
        /// When it would expire.
        expires_at: DateTime<Utc>,
    },
    /// An attempt whose answer was lost is looked for, and removed where it is found.
    Reconcile {
        /// Its display name.
        display_name: String,
    },
    /// The new secret becomes current in the store.
    Promote {
        /// The one that becomes previous.
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_key_id: Option<KeyId>,
    },
    /// A destination gets the current secret, and its reload command runs.
    Deliver {
        /// Which.
        destination: String,
    },
    /// A secret of ours is removed from the application.
    Revoke {
        /// Which.
        key_id: KeyId,
        /// When; `None`: just before the next rotation.
        at: Option<DateTime<Utc>>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddPassword { expires_at } => {
                write!(
                    f,
                    "add a secret that expires on {}",
                    expires_at.date_naive()
                )
            }
            Self::Reconcile { display_name } => {
                write!(
                    f,
                    "look for {display_name}, and remove it where it is found"
                )
            }
            Self::Promote { .. } => write!(f, "make it current, once it is proved"),
            Self::Deliver { destination } => write!(f, "deliver it to {destination}"),
            Self::Revoke {
                key_id,
                at: Some(at),
            } => {
                write!(f, "remove Key ID {key_id} from {} on", at.format("%FT%TZ"))
            }
            Self::Revoke { key_id, at: None } => {
                write!(f, "remove Key ID {key_id} just before the next rotation")
            }
        }
    }
}

/// The changes that a run at `now` would make, in their order; empty: none.
pub fn forecast(journal: &Journal, terms: &Terms, now: DateTime<Utc>, ask: Ask) -> Vec<Change> {
    let mut changes = Vec::new();
    if journal.removed_at.is_some() {
        return changes;
    }
    let rotates = rotates(journal, terms, now, ask);
    let lost = lost_name(journal);
    changes.extend(lost.map(|name| Change::Reconcile {
        display_name: name.to_string(),
    }));
    // What is under way is carried on first, and beside what begins.
    changes.extend(pending_deliveries(journal, now, ask));
    changes.extend(ended_overlaps(journal, now, rotates));
    changes.extend(overlaps_to_come(journal, now, ask, rotates));
    if rotates {
        changes.extend(rotation(journal, terms, now, ask));
    }
    changes.extend(given_up(journal, terms, now));
    changes.extend(removals(journal, now, ask));
    let calls = changes.iter().any(|change| calls_at(change, now));
    changes.extend(
        watched_names(journal, now, ask, calls)
            .filter(move |it| Some(*it) != lost)
            .map(|name| Change::Reconcile {
                display_name: name.to_string(),
            }),
    );
    changes
}

/// Whether the run reads the application for this change.
fn calls_at(change: &Change, now: DateTime<Utc>) -> bool {
    match change {
        Change::AddPassword { .. } | Change::Reconcile { .. } => true,
        Change::Revoke { at, .. } => at.is_some_and(|at| at <= now),
        Change::Promote { .. } | Change::Deliver { .. } => false,
    }
}

/// Names that may still show up: those whose look is due, and all of them where the application
/// is read anyway.
fn watched_names(
    journal: &Journal,
    now: DateTime<Utc>,
    ask: Ask,
    calls: bool,
) -> impl Iterator<Item = AttemptName> {
    let confirms = journal
        .removals
        .iter()
        .any(|removal| !waits(&removal.retry, now, ask));
    let reads = calls || confirms || journal.watches.iter().any(|it| is_due(it, now, ask));
    let looks = reads && !journal.paused;
    journal
        .watches
        .iter()
        .filter(move |_| looks)
        .map(|watch| watch.attempt)
}

fn is_due(watch: &Watch, now: DateTime<Utc>, ask: Ask) -> bool {
    watch.next_look <= now && !waits(&watch.retry, now, ask)
}

/// Whether a run that was asked for `ask` waits for this backoff. What is asked for by hand does
/// not, or sits through it.
fn waits(retry: &Retry, now: DateTime<Utc>, ask: Ask) -> bool {
    ask == Ask::Due && retry.holds_at(now).is_some()
}

/// Whether the run starts a rotation, or carries one on that has not been promoted.
fn rotates(journal: &Journal, terms: &Terms, now: DateTime<Utc>, ask: Ask) -> bool {
    if journal.paused {
        return false;
    }
    if let Some(rotation) = journal.unpromoted()
        && rotation.state.effective().may_be_promoted()
    {
        return !waits(&rotation.retry, now, ask) && given_up(journal, terms, now).is_none();
    }
    let abandons = |rotation: &&Rotation| match rotation.state.effective() {
        // Whoever asks by hand sits through its end; what is due waits for the next pass.
        State::Abandoning { .. } => !matches!(ask, Ask::Rotate(_)),
        state => *state == State::Abandoned,
    };
    // Asked without what else is under way, so that only a beginning answers.
    let alone = Journal {
        secrets: journal.current().cloned().into_iter().collect(),
        rotations: journal.rotations.iter().filter(abandons).cloned().collect(),
        deliveries: Vec::new(),
        watches: Vec::new(),
        mutated_at: None,
        ..journal.clone()
    };
    matches!(plan(&alone, terms, now, ask), Next::Do(Step::Begin { .. }))
}

/// The pending secret that is abandoned because it has been refused for too long.
fn given_up(journal: &Journal, terms: &Terms, now: DateTime<Utc>) -> Option<Change> {
    let rotation = journal.unpromoted().filter(|_| !journal.paused)?;
    let State::Minted { new, .. } = rotation.state.effective() else {
        return None;
    };
    gives_up(journal, rotation, terms, now).then_some(Change::Revoke {
        key_id: *new,
        at: Some(now),
    })
}

fn lost_name(journal: &Journal) -> Option<AttemptName> {
    if journal.paused {
        return None;
    }
    match journal.unpromoted()?.state.effective() {
        State::Intended {
            attempt,
            outcome: Outcome::Unknown { .. },
        } => Some(*attempt),
        _ => None,
    }
}

fn rotation(journal: &Journal, terms: &Terms, now: DateTime<Utc>, ask: Ask) -> Vec<Change> {
    let mut changes = Vec::new();
    let pending = journal
        .secrets
        .iter()
        .any(|secret| secret.role == Role::Pending);
    if !pending {
        let life = std::time::Duration::from_secs(u64::from(terms.policy.lifetime_days) * 86_400);
        let expires_at = crate::clock::whole_seconds(now + life);
        changes.push(Change::AddPassword { expires_at });
    }
    let current = journal.current().map(|secret| secret.key_id);
    changes.push(Change::Promote {
        previous_key_id: current,
    });
    changes.extend(
        journal
            .declared
            .destinations
            .iter()
            .map(|spec| Change::Deliver {
                destination: spec.name().to_owned(),
            }),
    );
    let under_way = journal.unpromoted();
    let under_way = under_way.filter(|it| it.state.effective().may_be_promoted());
    let overlap = match (ask, under_way, journal.abandoned()) {
        (Ask::Rotate(Some(overlap)), _, _) => overlap,
        (_, Some(rotation), _) => rotation.overlap,
        (Ask::Due | Ask::DueNow, None, Some(abandoned)) if abandoned.trigger == Trigger::Manual => {
            abandoned.overlap
        }
        _ => terms.policy.overlap,
    };
    let at = end_of(overlap, now);
    changes.extend(current.map(|key_id| Change::Revoke { key_id, at }));
    changes
}

fn ended_overlaps(
    journal: &Journal,
    now: DateTime<Utc>,
    rotates: bool,
) -> impl Iterator<Item = Change> {
    let held = journal.paused;
    journal
        .rotations
        .iter()
        .filter_map(move |rotation| match rotation.state.effective() {
            _ if held => None,
            State::Overlapping {
                old,
                revoke_at: Some(at),
                ..
            } if *at <= now => Some(Change::Revoke {
                key_id: *old,
                at: Some(*at),
            }),
            State::Overlapping {
                old,
                revoke_at: None,
                ..
            } if rotates => Some(Change::Revoke {
                key_id: *old,
                at: Some(now),
            }),
            _ => None,
        })
}

fn pending_deliveries(
    journal: &Journal,
    now: DateTime<Utc>,
    ask: Ask,
) -> impl Iterator<Item = Change> {
    let is_pending =
        move |name: &&str| lacks_current(journal, name) && !is_held(journal, name, now, ask);
    let destinations = journal.declared.destinations.iter();
    destinations
        .map(DestinationSpec::name)
        .filter(is_pending)
        .map(|name| Change::Deliver {
            destination: name.to_owned(),
        })
}

fn is_held(journal: &Journal, destination: &str, now: DateTime<Utc>, ask: Ask) -> bool {
    let delivery = journal.delivery(destination);
    delivery.is_some_and(|delivery| waits(&delivery.retry, now, ask))
}

/// What follows once the deliveries that are outstanding are done.
fn overlaps_to_come(journal: &Journal, now: DateTime<Utc>, ask: Ask, rotates: bool) -> Vec<Change> {
    let mut required = journal
        .declared
        .destinations
        .iter()
        .filter(|it| it.required());
    let stuck = required
        .any(|it| lacks_current(journal, it.name()) && is_held(journal, it.name(), now, ask));
    // With a newer secret every delivery begins anew.
    if journal.paused || (stuck && !rotates) {
        return Vec::new();
    }
    let settling =
        journal
            .rotations
            .iter()
            .filter_map(|rotation| match rotation.state.effective() {
                State::Promoted { old, .. } | State::Delivering { old, .. } => {
                    Some(Change::Revoke {
                        key_id: *old,
                        at: end_of(rotation.overlap, now).or(rotates.then_some(now)),
                    })
                }
                _ => None,
            });
    settling.collect()
}

/// Key IDs that are to go, but for those that have gone and are only looked for.
fn removals(journal: &Journal, now: DateTime<Utc>, ask: Ask) -> Vec<Change> {
    if journal.paused {
        return Vec::new();
    }
    let called = |at: Option<DateTime<Utc>>| at.is_some_and(|at| now < at + YOUNG);
    let to_call = journal
        .removals
        .iter()
        .filter(|removal| !called(removal.called_at) && !waits(&removal.retry, now, ask));
    to_call
        .map(|removal| Change::Revoke {
            key_id: removal.key_id,
            at: Some(now),
        })
        .collect()
}

fn end_of(overlap: Overlap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match overlap {
        Overlap::For(span) => Some(crate::clock::whole_seconds(now + span.0)),
        Overlap::NextRotation => None,
    }
}
