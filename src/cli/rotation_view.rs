//! A rotation as `rotate`, `deliver` and `rollback` print it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::exit::ErrorBody;
use crate::clock::seconds;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Failure, Journal, Rotation, RotationId, State};
use crate::rotation::standing::open_failures;

/// The fields of `rotate` with `-o json`; none is renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RotationView {
    /// Whose.
    pub(super) connection: ConnectionName,
    /// Null where there is no rotation.
    pub(super) rotation_id: Option<RotationId>,
    /// As it stands at the end; `idle` without one.
    pub(super) state: &'static str,
    /// The secret that is replaced.
    pub(super) old_key_id: Option<KeyId>,
    /// The secret that replaces it, once there is one.
    pub(super) new_key_id: Option<KeyId>,
    /// Null: not decided yet, or just before the next rotation.
    #[serde(serialize_with = "seconds::option::serialize")]
    pub(super) revoke_at: Option<DateTime<Utc>>,
    /// What is in its way.
    pub(super) error: Option<ErrorBody>,
}

/// How `rotation` stands, or how its connection does without one.
pub(super) fn rotation_view(journal: &Journal, rotation: Option<&Rotation>) -> RotationView {
    let state = rotation.map(|rotation| &rotation.state);
    let current = journal.current().map(|secret| secret.key_id);
    let replaced = state.and_then(|state| match state.effective() {
        State::Abandoned => current,
        state if state.is_unpromoted() => current,
        state => state.old_key(),
    });
    RotationView {
        connection: journal.name().clone(),
        rotation_id: rotation.map(|rotation| rotation.id),
        state: state.map_or("idle", State::name),
        old_key_id: replaced,
        new_key_id: state.and_then(State::new_key),
        revoke_at: state.and_then(|state| match state.effective() {
            State::Overlapping { revoke_at, .. } => *revoke_at,
            _ => None,
        }),
        error: failure(journal, rotation).map(error),
    }
}

/// Why it was given up, or else the newest failure that is not over: there is one wherever the exit
/// code says so.
fn failure<'a>(journal: &'a Journal, rotation: Option<&'a Rotation>) -> Option<&'a Failure> {
    let given_up = rotation
        .filter(|rotation| {
            let state = rotation.state.effective();
            matches!(state, State::Abandoning { .. } | State::Abandoned)
        })
        .and_then(|rotation| rotation.retry.last.as_ref());
    given_up.or_else(|| open_failures(journal).max_by_key(|failure| failure.at))
}

/// A failure as scripts get it: the remedy is part of the message.
pub(super) fn error(failure: &Failure) -> ErrorBody {
    let message = match &failure.remedy {
        Some(remedy) => format!("{}; {remedy}", failure.message),
        None => failure.message.clone(),
    };
    ErrorBody {
        code: failure.code.clone(),
        message,
    }
}
