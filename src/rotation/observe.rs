//! What a rotation tells while it goes on: for the progress display and the guided run.

use chrono::{DateTime, Utc};

use super::plan::WaitFor;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{AttemptName, Failure, RotationId};

/// Something that has just happened in a rotation.
#[derive(Debug, Clone)]
pub enum Moment<'a> {
    /// A rotation was journalled, before any call.
    Intended {
        /// Which.
        rotation: RotationId,
        /// The display name that its secret will have.
        attempt: AttemptName,
    },
    /// A new secret is sealed and committed.
    Minted {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// The new secret signed in.
    Proved {
        /// So often in a row.
        in_a_row: u32,
        /// Out of so many.
        needed: u32,
    },
    /// The new secret was refused: not everywhere known yet.
    NotYet,
    /// The new secret is current.
    Promoted {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// A destination took it.
    Delivered {
        /// Which.
        destination: &'a str,
    },
    /// Every required destination has it.
    Overlapping {
        /// When the old one goes; `None`: just before the next rotation.
        revoke_at: Option<DateTime<Utc>>,
    },
    /// The name of a lost answer was found: its secret is nobody's, and goes.
    Orphaned {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// The name of a lost answer is reliably absent.
    NothingMade,
    /// The pending secret will never be used.
    Abandoned {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// A secret is being removed.
    Removing {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// A secret is gone.
    Gone {
        /// Its Key ID.
        key_id: KeyId,
    },
    /// Something failed, and is tried again.
    Failed {
        /// What.
        failure: &'a Failure,
        /// When it is tried again.
        retry_at: Option<DateTime<Utc>>,
    },
    /// Nothing to do until then.
    Waiting {
        /// When.
        until: DateTime<Utc>,
        /// What for.
        what: WaitFor,
    },
}

/// Who is told.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Called as it happens; must not block.
    fn observe(&self, connection: &ConnectionName, moment: &Moment<'_>);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn observe(&self, _connection: &ConnectionName, _moment: &Moment<'_>) {}
}
