//! The record of a connection: its secrets, its rotations and their states, its deliveries and
//! clean-ups. What the store keeps, and all that `plan` decides by. It holds no secret value.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::connection::{ConnectionName, Declared, Overlap};
use crate::entra::{KeyId, ObjectId};

/// One store: made by `init`, kept in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceId(pub Ulid);

/// One rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RotationId(pub Ulid);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RotationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one `addPassword` call, and the display name of the secret that it makes:
/// `keywheel/<instance>/<attempt>`. By it a secret is found whose answer was lost (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptName {
    /// Who made it.
    pub instance: InstanceId,
    /// Which call it was.
    pub attempt: Ulid,
}

/// A display name that Keywheel did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a display name of Keywheel's")]
pub struct NotOurs;

impl FromStr for AttemptName {
    type Err = NotOurs;
    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut parts = text.split('/');
        let (Some("keywheel"), Some(instance), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotOurs);
        };
        let ulid = |text: &str| Ulid::from_string(text).map_err(|_| NotOurs);
        Ok(Self {
            instance: InstanceId(ulid(instance)?),
            attempt: ulid(attempt)?,
        })
    }
}

impl fmt::Display for AttemptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keywheel/{}/{}", self.instance, self.attempt)
    }
}

impl TryFrom<String> for AttemptName {
    type Error = NotOurs;
    fn try_from(text: String) -> Result<Self, NotOurs> {
        text.parse()
    }
}

impl From<AttemptName> for String {
    fn from(name: AttemptName) -> Self {
        name.to_string()
    }
}

/// A connection's row number in the store: never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectionId(pub i64);

/// All that the store knows of one connection, but for the values of its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    /// The row.
    pub id: ConnectionId,
    /// What the user declared.
    pub declared: Declared,
    /// Known once the application has been found.
    pub object_id: Option<ObjectId>,
    /// Holds rotations and revocations.
    pub paused: bool,
    /// When it was removed; its sealed values are kept for 30 days after that.
    pub removed_at: Option<DateTime<Utc>>,
    /// The date, in the connection's zone, that the interval is counted from.
    pub anchor: NaiveDate,
    /// When the next rotation is due by the schedule: whole seconds.
    pub due_at: DateTime<Utc>,
    /// When `advance` has something to do next; `None`: never by itself.
    pub next_action_at: Option<DateTime<Utc>>,
    /// When an `add` or `remove` last went to this application.
    pub mutated_at: Option<DateTime<Utc>>,
    /// Every secret that is or was ours and is not known to be gone.
    pub secrets: Vec<Secret>,
    /// Rotations that have not ended, oldest first.
    pub rotations: Vec<Rotation>,
    /// One for each destination.
    pub deliveries: Vec<Delivery>,
    /// Key IDs that are to go.
    pub removals: Vec<Removal>,
    /// Names whose outcome was unknown, while they are looked for.
    pub watches: Vec<Watch>,
}

impl Journal {
    /// The connection's name.
    pub fn name(&self) -> &ConnectionName {
        &self.declared.name
    }

    /// The secret that consumers are to use.
    pub fn current(&self) -> Option<&Secret> {
        self.secrets
            .iter()
            .find(|secret| secret.role == Role::Current)
    }

    /// The secret of this Key ID.
    pub fn secret(&self, key_id: KeyId) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.key_id == key_id)
    }

    /// How the destination of this name stands; `None`: nothing was ever handed to it.
    pub fn delivery(&self, destination: &str) -> Option<&Delivery> {
        self.deliveries
            .iter()
            .find(|delivery| delivery.destination == destination)
    }

    /// The rotation that stands before `promoted`, a blocked one included; of several the one that
    /// is not being abandoned.
    pub fn unpromoted(&self) -> Option<&Rotation> {
        let first = |wanted: fn(&State) -> bool| {
            let mut rotations = self.rotations.iter();
            rotations.find(|rotation| wanted(rotation.state.effective()))
        };
        first(State::may_be_promoted).or_else(|| first(State::is_unpromoted))
    }

    /// The rotation that was abandoned last, where another is to follow it.
    pub fn abandoned(&self) -> Option<&Rotation> {
        let mut rotations = self.rotations.iter().rev();
        rotations.find(|rotation| rotation.state == State::Abandoned)
    }
}

/// One password credential of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Entra's ID for it.
    pub key_id: KeyId,
    /// What it is to the consumers.
    pub role: Role,
    /// How it came to us.
    pub origin: Origin,
    /// Counts promotions within a connection: the higher, the newer; 0 until promoted.
    pub generation: u32,
    /// Its first three characters, as Graph shows them.
    pub hint: String,
    /// The server's own date.
    pub starts_at: Option<DateTime<Utc>>,
    /// The server's own date; `None`: it never expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// The attempt that made it; `None`: it was adopted.
    pub attempt: Option<AttemptName>,
}

/// What a secret is to the consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Made, not yet promoted.
    Pending,
    /// The one to use.
    Current,
    /// Those before it that still work.
    Previous,
    /// To be removed: abandoned, or its value was lost.
    Doomed,
}

/// How a secret came to us. Only [`Origin::Adopted`] and [`Origin::Minted`] may be removed (P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Given by a person, its checks postponed by `--no-check`: not ours yet.
    Unchecked,
    /// Given by a person and checked.
    Adopted,
    /// Made by a rotation of ours.
    Minted,
}

/// Why a rotation was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// It was due, at this time.
    Due(DateTime<Utc>),
    /// Somebody asked.
    Manual,
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
    /// The first of them.
    pub since: Option<DateTime<Utc>>,
    /// The last of them.
    pub last: Option<DateTime<Utc>>,
}

impl Absence {
    /// One more read that did not list it.
    #[must_use]
    pub fn read_absent(self, now: DateTime<Utc>) -> Self {
        Self {
            reads: self.reads.saturating_add(1),
            since: self.since.or(Some(now)),
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

/// Where the retry ladder stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retry {
    /// Failures in a row.
    pub failures: u32,
    /// Not before this time; `None`: at once.
    pub not_before: Option<DateTime<Utc>>,
    /// The last failure.
    pub last: Option<Failure>,
}

/// What went wrong, in words that are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: DateTime<Utc>,
    /// Stable, for scripts.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Whether only a person can mend it.
    pub permanent: bool,
}

/// How one destination stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The destination's name.
    pub destination: String,
    /// The generation that it is to have; 0: none was promoted since it was declared.
    pub wants: u32,
    /// The generation that it holds; 0: unknown, or one from before it was declared.
    pub holds: u32,
    /// When it took that.
    pub taken_at: Option<DateTime<Utc>>,
    /// Its own backoff.
    pub retry: Retry,
}

/// A Key ID that is to go, kept until it is reliably absent (P7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Which.
    pub key_id: KeyId,
    /// Since when.
    pub asked_at: DateTime<Utc>,
    /// When `removePassword` was last answered; `None`: it is to be called.
    pub called_at: Option<DateTime<Utc>>,
    /// Whether Graph has said 204 to any call.
    pub acknowledged: bool,
    /// Absent reads since the last call.
    pub absence: Absence,
    /// Its own backoff.
    pub retry: Retry,
}

/// A name of unknown outcome, looked for during seven days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The name.
    pub attempt: AttemptName,
    /// When it was given.
    pub since: DateTime<Utc>,
    /// When it is looked for next.
    pub next_look: DateTime<Utc>,
    /// Its own backoff.
    #[serde(default)]
    pub retry: Retry,
}

impl Watch {
    /// A name to look for from `first_look` on.
    pub fn new(attempt: AttemptName, since: DateTime<Utc>, first_look: DateTime<Utc>) -> Self {
        Self {
            attempt,
            since,
            next_look: first_look,
            retry: Retry::default(),
        }
    }
}

/// Who asked, as far as the host can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The effective user's name or number.
    pub user: String,
    /// Who called sudo.
    pub sudo_user: Option<String>,
    /// The host's name.
    pub host: String,
}

/// One line of `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What, in kebab-case: `adopted`, `minted`, `revoked`, `secret-read`, …
    pub action: String,
    /// To which connection; `None`: to the whole store.
    pub connection: Option<ConnectionName>,
    /// In which rotation.
    pub rotation_id: Option<RotationId>,
    /// To which secret.
    pub key_id: Option<KeyId>,
    /// `ok`, an error's code, or the display name that was given up.
    pub result: String,
    /// Of the call that did it.
    pub client_request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_name_is_read_back_and_nothing_else_is() {
        let name = AttemptName {
            instance: InstanceId(Ulid(7)),
            attempt: Ulid(9),
        };
        assert_eq!(name.to_string().parse::<AttemptName>().unwrap(), name);
        for foreign in ["", "keywheel", "keywheel/x/y", "rotator 2026-11"] {
            assert!(foreign.parse::<AttemptName>().is_err(), "{foreign}");
        }
        assert!(format!("{name}/more").parse::<AttemptName>().is_err());
    }
}
