//! How a pass reads and writes the journal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Pass;
use crate::connection::Overlap;
use crate::entra::KeyId;
use crate::journal::{Event, Journal, Outcome, Retry, Rotation, RotationId, State};
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Ask, Next, Terms, plan};
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::{Change, StoreFault};

impl Pass<'_> {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.engine.clock.now()
    }

    /// Every line that is logged from here on carries the rotation's ID.
    pub(super) fn name_rotation(&self, id: RotationId) {
        if !self.named.swap(true, Ordering::Relaxed) {
            tracing::Span::current().record("rotation_id", id.to_string());
        }
    }

    pub(super) fn tell(&self, moment: &Moment<'_>) {
        if let Moment::Intended { rotation, .. } = moment {
            self.name_rotation(*rotation);
        }
        self.engine.observer.observe(&self.name, moment);
    }

    pub(super) async fn journal(&self) -> Result<Journal, AdvanceFault> {
        let journal = self.engine.journal(&self.name).await?;
        if journal.id == self.lease.connection {
            return Ok(journal);
        }
        // The lock is on the application of a connection that had this name a moment ago (P5).
        Err(AdvanceFault::Refused {
            code: "changed-meanwhile",
            message: format!("{} is another connection now; ask again", self.name),
            person: false,
        })
    }

    /// Writes all of `changes` or none.
    ///
    /// The first of a pass also says that there is something to do now: a pass that dies is taken
    /// up again at once, not when something was due before it.
    pub(super) async fn commit(&self, mut changes: Vec<Change>) -> Result<(), StoreFault> {
        if !self.begun.swap(true, Ordering::Relaxed) {
            // Before the others: a time among them is the one that counts.
            changes.insert(0, self.something_to_do());
        }
        self.engine.store.commit(&self.lease, changes).await
    }

    /// A line of `history`.
    pub(super) fn event(&self, action: &str) -> Event {
        Event {
            at: crate::clock::whole_seconds(self.now()),
            actor: self.engine.actor.clone(),
            action: action.to_owned(),
            connection: Some(self.name.clone()),
            rotation_id: None,
            key_id: None,
            result: "ok".to_owned(),
            client_request_id: None,
        }
    }

    /// When `advance` is to be called next, as the journal stands.
    pub(super) async fn write_next_action(
        &self,
        journal: &Journal,
        terms: &Terms,
    ) -> Result<(), AdvanceFault> {
        let now = self.now();
        let at = next_action_at(journal, terms, now);
        // What a clock that was ahead has planned says now that this one has looked at it.
        let ahead = journal
            .planned_at
            .is_some_and(|planned_at| planned_at > now);
        if at != journal.next_action_at || ahead {
            self.commit(vec![self.next_action(at)]).await?;
        }
        Ok(())
    }

    /// When `advance` is to be called next, by this clock.
    pub(super) fn next_action(&self, at: Option<DateTime<Utc>>) -> Change {
        Change::NextAction {
            at,
            planned_at: self.now(),
        }
    }

    /// `advance` is to be called at once, should this pass end here.
    pub(super) fn something_to_do(&self) -> Change {
        self.next_action(Some(self.now()))
    }

    /// The journal alone moves on.
    pub(super) async fn enter(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
        mut state: State,
    ) -> Result<(), Halt> {
        if let (State::Overlapping { new, revoke_at, .. }, Overlap::For(span)) =
            (&mut state, rotation.overlap)
        {
            // The plan knows this clock alone: a slow one would cut the overlap short, and a fast
            // one stretch it (P2).
            let current = journal.current().map_or(*new, |secret| secret.key_id);
            let from = self.true_time(journal, terms, current).await?;
            *revoke_at = Some(crate::clock::whole_seconds(from + span.0));
        }
        let mut event = self.event(state.name());
        event.rotation_id = Some(rotation.id);
        event.key_id = state.new_key();
        if state == State::Abandoned {
            event.result = "not-due".to_owned();
        }
        if let State::Overlapping { revoke_at, .. } = &state {
            self.tell(&Moment::Overlapping {
                revoke_at: *revoke_at,
            });
        }
        rotation.state = state;
        rotation.retry = Retry::default();
        Ok(self
            .commit(vec![Change::Rotation(rotation), Change::Record(event)])
            .await?)
    }
}

/// When `advance` has something to do by itself.
pub fn next_action_at(
    journal: &Journal,
    terms: &Terms,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match plan(journal, terms, now, Ask::Due) {
        Next::Do(_) => Some(now),
        Next::Wait { until, .. } => Some(not_before(until)),
        // It is looked at daily, so that it is said daily; what is under way waits for nothing.
        Next::NoDestination => {
            let daily = now + Duration::from_secs(86_400);
            match plan(journal, terms, now, Ask::Resume) {
                Next::Wait { until, .. } => Some(not_before(until).min(daily)),
                _ => Some(daily),
            }
        }
        Next::Rest => None,
    }
}

/// The first whole second that is not before `at`: whoever comes then does not come too early.
fn not_before(at: DateTime<Utc>) -> DateTime<Utc> {
    let whole = crate::clock::whole_seconds(at);
    if whole < at {
        whole + Duration::from_secs(1)
    } else {
        whole
    }
}

/// The open rotation of this ID.
pub(super) fn rotation(journal: &Journal, id: RotationId) -> Result<&Rotation, Halt> {
    journal
        .rotations
        .iter()
        .find(|rotation| rotation.id == id)
        .ok_or_else(|| {
            AdvanceFault::Refused {
                code: "no-such-rotation",
                message: format!("rotation {id} of {} is not under way", journal.name()),
                person: false,
            }
            .into()
        })
}

/// Whether a rotation can only go on once this Key ID is gone.
pub(super) fn waits_for(rotation: &Rotation, key_id: KeyId) -> bool {
    match rotation.state.effective() {
        State::Revoking { old, .. } => *old == key_id,
        State::Abandoning { new } => *new == key_id,
        State::Intended {
            outcome: Outcome::Orphaned { key_id: orphan },
            ..
        } => *orphan == key_id,
        _ => false,
    }
}
