//! How a pass reads and writes the journal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Pass;
use crate::entra::KeyId;
use crate::journal::{
    AttemptName, Delivery, Event, Failure, Journal, Outcome, Retry, Role, Rotation, RotationId,
    Secret, State, Trigger, Watch,
};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Ask, Next, Step, Terms, is_urgent, plan};
use crate::rotation::trouble::{AdvanceFault, Halt, Trouble};
use crate::store::{Change, StoreFault};

/// What a step is about, and so where its trouble is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Rotation(RotationId),
    Delivery(String),
    Removal(KeyId),
    Watch(AttemptName),
    /// A rotation that is just being made journals its own trouble.
    Nothing,
}

impl Subject {
    pub(super) fn of(step: &Step) -> Self {
        match step {
            Step::Begin { .. } => Self::Nothing,
            Step::Attempt(id)
            | Step::Look(id)
            | Step::Prove(id)
            | Step::Promote(id)
            | Step::Abandon(id)
            | Step::Enter(id, _)
            | Step::Revoke(id) => Self::Rotation(*id),
            Step::Deliver(destination) => Self::Delivery(destination.clone()),
            Step::Remove(key_id) | Step::Confirm(key_id) => Self::Removal(*key_id),
            Step::Watch(attempt) => Self::Watch(*attempt),
        }
    }
}

impl Pass<'_> {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.engine.clock.now()
    }

    pub(super) fn tell(&self, moment: &Moment<'_>) {
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
            changes.insert(0, Change::NextAction(Some(self.now())));
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

    /// Writes the trouble of a step to where it belongs, with the time of the next try.
    pub(super) async fn journal_trouble(
        &self,
        journal: &Journal,
        subject: Subject,
        trouble: &Trouble,
    ) -> Result<(), AdvanceFault> {
        let changes = match subject {
            Subject::Nothing => Vec::new(),
            Subject::Rotation(id) => match rotation(journal, id) {
                Ok(rotation) => {
                    let state = rotation.state.effective().clone();
                    self.failed(journal, rotation.clone(), state, trouble)
                }
                Err(_) => Vec::new(),
            },
            Subject::Delivery(name) => self.failed_delivery(journal, &name, trouble),
            Subject::Removal(key_id) => self.failed_removal(journal, key_id, trouble),
            Subject::Watch(attempt) => self.failed_watch(journal, attempt, trouble),
        };
        Ok(self.commit(changes).await?)
    }

    /// A rotation that stays in `state`, or is blocked in it, after `trouble`.
    pub(super) fn failed(
        &self,
        journal: &Journal,
        mut rotation: Rotation,
        state: State,
        trouble: &Trouble,
    ) -> Vec<Change> {
        let now = self.now();
        let failure = trouble.failure(now, &rotation.retry);
        rotation.state = after_failure(&rotation, state, &failure);
        let mut event = self.failure_event("failed", &failure, trouble);
        event.rotation_id = Some(rotation.id);
        event.key_id = rotation.state.new_key();
        rotation.retry = rotation
            .retry
            .after(failure, trouble.told(), is_urgent(journal, now));
        self.tell_failure(&rotation.retry);
        vec![Change::Rotation(rotation), Change::Record(event)]
    }

    fn failed_delivery(&self, journal: &Journal, name: &str, trouble: &Trouble) -> Vec<Change> {
        // One that was declared just now has no record yet.
        let mut delivery = journal.delivery(name).cloned().unwrap_or_else(|| Delivery {
            destination: name.to_owned(),
            wants: journal.current().map_or(0, |secret| secret.generation),
            holds: 0,
            taken_at: None,
            retry: Retry::default(),
        });
        let failure = trouble.failure(self.now(), &delivery.retry);
        let mut event = self.failure_event("delivery-failed", &failure, trouble);
        event.key_id = journal.current().map(|secret| secret.key_id);
        delivery.retry =
            delivery
                .retry
                .after(failure, trouble.told(), is_urgent(journal, self.now()));
        self.tell_failure(&delivery.retry);
        vec![Change::Delivery(delivery), Change::Record(event)]
    }

    fn failed_removal(&self, journal: &Journal, key_id: KeyId, trouble: &Trouble) -> Vec<Change> {
        let Some(removal) = journal
            .removals
            .iter()
            .find(|removal| removal.key_id == key_id)
        else {
            return Vec::new();
        };
        let mut removal = removal.clone();
        let failure = trouble.failure(self.now(), &removal.retry);
        let mut event = self.failure_event("removal-failed", &failure, trouble);
        event.key_id = Some(key_id);
        let waiting = journal.rotations.iter().find(|r| waits_for(r, key_id));
        let state = waiting.map(|r| after_failure(r, r.state.effective().clone(), &failure));
        removal.retry =
            removal
                .retry
                .after(failure, trouble.told(), is_urgent(journal, self.now()));
        self.tell_failure(&removal.retry);
        let mut changes = Vec::new();
        // The rotation that waits for it says so too; an abandoned one goes on to say why it is
        // abandoned, unless a person must act.
        if let (Some(rotation), Some(state)) = (waiting, state) {
            let retry = match state {
                State::Abandoning { .. } => rotation.retry.clone(),
                _ => removal.retry.clone(),
            };
            changes.push(Change::Rotation(Rotation {
                state,
                retry,
                ..rotation.clone()
            }));
        }
        changes.extend([Change::Removal(removal), Change::Record(event)]);
        changes
    }

    fn failed_watch(
        &self,
        journal: &Journal,
        attempt: AttemptName,
        trouble: &Trouble,
    ) -> Vec<Change> {
        let Some(watch) = journal.watches.iter().find(|it| it.attempt == attempt) else {
            return Vec::new();
        };
        let failure = trouble.failure(self.now(), &watch.retry);
        let event = self.failure_event("look-failed", &failure, trouble);
        let urgent = is_urgent(journal, self.now());
        let retry = watch.retry.after(failure, trouble.told(), urgent);
        self.tell_failure(&retry);
        let watch = Watch {
            retry,
            ..watch.clone()
        };
        vec![Change::Watch(watch), Change::Record(event)]
    }

    fn failure_event(&self, action: &str, failure: &Failure, trouble: &Trouble) -> Event {
        Event {
            result: failure.code.clone(),
            client_request_id: trouble.client_request_id(),
            ..self.event(action)
        }
    }

    fn tell_failure(&self, retry: &Retry) {
        if let Some(failure) = &retry.last {
            tracing::warn!(
                connection = %self.name,
                code = %failure.code,
                retry_at = ?retry.not_before,
                "{}", failure.message
            );
            self.tell(&Moment::Failed {
                failure,
                retry_at: retry.not_before,
            });
        }
    }

    /// When `advance` is to be called next, as the journal stands.
    pub(super) async fn write_next_action(
        &self,
        journal: &Journal,
        terms: &Terms,
    ) -> Result<(), AdvanceFault> {
        let at = next_action_at(journal, terms, self.now());
        if at != journal.next_action_at {
            self.commit(vec![Change::NextAction(at)]).await?;
        }
        Ok(())
    }

    /// The journal alone moves on.
    pub(super) async fn enter(
        &self,
        journal: &Journal,
        id: RotationId,
        state: State,
    ) -> Result<(), Halt> {
        let mut rotation = rotation(journal, id)?.clone();
        let mut event = self.event(state.name());
        event.rotation_id = Some(id);
        event.key_id = state.new_key();
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

    /// Makes the new secret current: one transaction, in which the next due time is set too.
    pub(super) async fn promote(
        &self,
        journal: &Journal,
        terms: &Terms,
        id: RotationId,
    ) -> Result<(), Halt> {
        let mut rotation = rotation(journal, id)?.clone();
        let pending = rotation
            .state
            .new_key()
            .and_then(|key_id| journal.secret(key_id));
        let (Some(pending), Some(current)) = (pending, journal.current()) else {
            return Err(Trouble::rule(
                "no-current-secret",
                "there is no current secret that the new one could follow",
                "give the secret in use with `keywheel connection edit NAME --secret-file FILE`",
            )
            .into());
        };
        let new = Secret {
            role: Role::Current,
            generation: current.generation + 1,
            ..pending.clone()
        };
        let old = Secret {
            role: Role::Previous,
            ..current.clone()
        };
        let (anchor, due_at) = self.next_due(journal, terms, &rotation, &new);
        rotation.state = State::Promoted {
            new: new.key_id,
            old: old.key_id,
        };
        rotation.retry = Retry::default();
        let mut event = self.event("promoted");
        event.rotation_id = Some(id);
        event.key_id = Some(new.key_id);
        let key_id = new.key_id;
        let mut changes = self.want_everywhere(journal, new.generation);
        changes.extend(nothing_follows(journal));
        changes.extend([
            Change::Secret(old),
            Change::Secret(new),
            Change::Rotation(rotation),
            Change::Schedule { anchor, due_at },
            Change::Record(event),
        ]);
        self.commit(changes).await?;
        self.tell(&Moment::Promoted { key_id });
        Ok(())
    }

    /// Every destination is to have this generation, its backoff begun anew.
    pub(super) fn want_everywhere(&self, journal: &Journal, generation: u32) -> Vec<Change> {
        let wanted = journal.declared.destinations.iter().map(|destination| {
            let known = journal.delivery(destination.name());
            Change::Delivery(Delivery {
                destination: destination.name().to_owned(),
                wants: generation,
                holds: known.map_or(0, |delivery| delivery.holds),
                taken_at: known.and_then(|delivery| delivery.taken_at),
                retry: Retry::default(),
            })
        });
        wanted.collect()
    }

    /// The next due time where an older or a foreign-made secret becomes current: what was due
    /// stays due, and its own end may bring that forward (P8).
    pub(super) fn due_with(&self, journal: &Journal, terms: &Terms, secret: &Secret) -> Change {
        let timetable = crate::rotation::timetable::Timetable::new(&self.name, &terms.policy);
        let anchor = journal.anchor;
        let at = timetable.due_at(anchor, self.now(), secret.starts_at, secret.expires_at);
        Change::Schedule {
            anchor,
            due_at: at.min(journal.due_at),
        }
    }

    fn next_due(
        &self,
        journal: &Journal,
        terms: &Terms,
        rotation: &Rotation,
        new: &Secret,
    ) -> (chrono::NaiveDate, DateTime<Utc>) {
        let timetable = crate::rotation::timetable::Timetable::new(&self.name, &terms.policy);
        let anchor = match rotation.trigger {
            Trigger::Manual => timetable.date(rotation.started_at),
            Trigger::Due(at) => timetable.anchor_of(journal.anchor, at),
        };
        (
            anchor,
            timetable.due_at(anchor, self.now(), new.starts_at, new.expires_at),
        )
    }
}

/// Abandoned rotations, once a newer secret is current.
pub(super) fn nothing_follows(journal: &Journal) -> impl Iterator<Item = Change> {
    let abandoned = journal
        .rotations
        .iter()
        .filter(|it| it.state == State::Abandoned);
    abandoned.map(|it| Change::Rotation(abandoned::over(it)))
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

/// Where only a person can mend it: blocked in `state`, since it first was.
fn after_failure(rotation: &Rotation, state: State, failure: &Failure) -> State {
    if !failure.permanent {
        return state;
    }
    let since = match &rotation.state {
        State::Blocked { since, .. } => *since,
        _ => failure.at,
    };
    State::Blocked {
        since,
        interrupted: Box::new(state),
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
