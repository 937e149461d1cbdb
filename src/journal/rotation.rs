//! One rotation: its states, and what each one holds.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{AttemptName, Retry, RotationId};
use crate::connection::Overlap;
use crate::entra::KeyId;

/// Why a rotation was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// It was due, at this time.
    Due(DateTime<Utc>),
    /// Somebody asked.
    Manual,
}

impl Trigger {
    /// Whether the schedule wants it only after `now`.
    pub fn is_due_after(self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Due(at) if at > now)
    }
}

/// One pass from *intended* to *completed*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// Its ID.
    pub id: RotationId,
    /// Why.
    pub trigger: Trigger,
    /// When it was intended.
    pub started_at: DateTime<Utc>,
    /// What its overlap will be.
    pub overlap: Overlap,
    /// Where it stands.
    pub state: State,
    /// When the step that is next may be tried again.
    pub retry: Retry,
}

impl Rotation {
    /// Whether nothing comes after it. An abandoned one stays until one that follows it is
    /// promoted: `retry` says when that begins, and why.
    pub fn is_over(&self) -> bool {
        match self.state {
            State::Completed { .. } => true,
            State::Abandoned => self.retry.last.is_none(),
            _ => false,
        }
    }
}

/// The states of a rotation, and what each one holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum State {
    /// A name is committed. While `outcome` is unknown, no other call may be made.
    Intended {
        /// The last attempt.
        attempt: AttemptName,
        /// What became of it.
        outcome: Outcome,
    },
    /// The new secret is sealed and committed; it is being proved.
    Minted {
        /// The new secret.
        new: KeyId,
        /// When it was committed: `give_up` counts from here.
        minted_at: DateTime<Utc>,
    },
    /// N fresh tokens in a row were issued for it.
    Verified {
        /// The new secret.
        new: KeyId,
    },
    /// It is current; no destination has been tried.
    Promoted {
        /// The new secret.
        new: KeyId,
        /// The one that it replaced.
        old: KeyId,
    },
    /// A required destination has not taken it yet.
    Delivering {
        /// The new secret.
        new: KeyId,
        /// The one that it replaced.
        old: KeyId,
    },
    /// Every required destination holds it.
    Overlapping {
        /// The new secret.
        new: KeyId,
        /// The one that it replaced.
        old: KeyId,
        /// `None`: just before the next rotation adds its secret.
        revoke_at: Option<DateTime<Utc>>,
    },
    /// The last look agreed: the old secret is being removed.
    Revoking {
        /// The new secret.
        new: KeyId,
        /// The one that goes.
        old: KeyId,
    },
    /// Only the current secret of ours is left.
    Completed {
        /// The new secret.
        new: KeyId,
        /// The one that it replaced, and that is gone.
        old: KeyId,
    },
    /// The pending secret will never be used, and is being removed.
    Abandoning {
        /// The one that goes.
        new: KeyId,
    },
    /// It is gone; the old secret was never touched.
    Abandoned,
    /// A person must act.
    Blocked {
        /// Why: the same code, message and remedy as `retry.last`.
        since: DateTime<Utc>,
        /// The state that was interrupted.
        interrupted: Box<State>,
    },
}

/// What became of an `addPassword` call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Outcome {
    /// It may have been sent, and may have taken effect: the name is looked for.
    Unknown {
        /// The absent reads so far.
        absence: Absence,
    },
    /// It was never sent, was refused, or is reliably absent: another may be made.
    NotMade,
    /// It took effect and its value is lost; its Key ID is among the removals.
    Orphaned {
        /// The secret that nobody holds.
        key_id: KeyId,
    },
}

/// Reads in a row that did not list what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Absence {
    /// How many.
    pub reads: u32,
    /// The first of them; later, by as much as an interval between two of them was too long to
    /// count whole.
    pub since: Option<DateTime<Utc>>,
    /// The last of them.
    pub last: Option<DateTime<Utc>>,
}

impl Absence {
    /// One more read that did not list it. The time since the one before counts as `longest` at
    /// most: a clock that is set forward between two reads makes no window of them.
    #[must_use]
    pub fn read_absent(self, now: DateTime<Utc>, longest: Duration) -> Self {
        let first = Self {
            reads: 1,
            since: Some(now),
            last: Some(now),
        };
        let (Some(since), Some(last)) = (self.since, self.last) else {
            return first;
        };
        // What lies in the future was read by a clock that was wrong: the count begins anew.
        if since > last || last > now {
            return first;
        }
        let longest = TimeDelta::from_std(longest).unwrap_or(TimeDelta::MAX);
        let uncounted = (now - last - longest).max(TimeDelta::zero());
        Self {
            reads: self.reads.saturating_add(1),
            since: Some(since + uncounted),
            last: Some(now),
        }
    }

    /// A read that did list it: what came before proves nothing.
    #[must_use]
    pub fn read_present(now: DateTime<Utc>) -> Self {
        Self {
            reads: 0,
            since: None,
            last: Some(now),
        }
    }
}

impl State {
    /// The state, or the one that `blocked` interrupted.
    pub fn effective(&self) -> &State {
        match self {
            Self::Blocked { interrupted, .. } => interrupted.effective(),
            state => state,
        }
    }

    /// Whether the rotation has not reached `promoted`, and still may. At most one of a connection
    /// stands there.
    pub fn may_be_promoted(&self) -> bool {
        matches!(
            self,
            Self::Intended { .. } | Self::Minted { .. } | Self::Verified { .. }
        )
    }

    /// Whether the rotation is under way and has not reached `promoted`.
    pub fn is_unpromoted(&self) -> bool {
        self.may_be_promoted() || matches!(self, Self::Abandoning { .. })
    }

    /// The name as documents and scripts spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Intended { .. } => "intended",
            Self::Minted { .. } => "minted",
            Self::Verified { .. } => "verified",
            Self::Promoted { .. } => "promoted",
            Self::Delivering { .. } => "delivering",
            Self::Overlapping { .. } => "overlapping",
            Self::Revoking { .. } => "revoking",
            Self::Completed { .. } => "completed",
            Self::Abandoning { .. } => "abandoning",
            Self::Abandoned => "abandoned",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// The new secret, once there is one.
    pub fn new_key(&self) -> Option<KeyId> {
        match self.effective() {
            Self::Minted { new, .. }
            | Self::Verified { new }
            | Self::Promoted { new, .. }
            | Self::Delivering { new, .. }
            | Self::Overlapping { new, .. }
            | Self::Revoking { new, .. }
            | Self::Completed { new, .. }
            | Self::Abandoning { new } => Some(*new),
            _ => None,
        }
    }

    /// The secret that was replaced, from `promoted` on.
    pub fn old_key(&self) -> Option<KeyId> {
        match self.effective() {
            Self::Promoted { old, .. }
            | Self::Delivering { old, .. }
            | Self::Overlapping { old, .. }
            | Self::Revoking { old, .. }
            | Self::Completed { old, .. } => Some(*old),
            _ => None,
        }
    }
}
