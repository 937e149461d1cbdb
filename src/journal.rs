//! The record of a connection: its secrets, its rotations and their states, its deliveries and
//! clean-ups. What the store keeps, and all that `plan` decides by. It holds no secret value.

mod name;
mod rotation;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::connection::{ConnectionName, Declared};
use crate::entra::{KeyId, ObjectId};

pub use name::{AttemptName, ConnectionId, InstanceId, NotOurs, RotationId};
pub use rotation::{Absence, Outcome, Rotation, State, Trigger};

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
    /// When that was written, by the host's clock; `None`: before this was kept.
    pub planned_at: Option<DateTime<Utc>>,
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
    /// Why it no longer signs in, where another one was signed in with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Failure>,
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

/// What reconcile a connection with Entra found, for the next time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Secrets on the application that are not ours, and have been seen.
    pub foreign: Vec<KeyId>,
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
