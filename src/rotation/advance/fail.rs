//! How the trouble of a step is journalled: where it belongs, with the time of the next try.

use super::Pass;
use super::write::{rotation, waits_for};
use crate::entra::KeyId;
use crate::journal::{
    AttemptName, Delivery, Event, Failure, Journal, Retry, Rotation, RotationId, State, Watch,
};
use crate::rotation::observe::Moment;
use crate::rotation::plan::{Step, is_urgent};
use crate::rotation::trouble::{AdvanceFault, Trouble};
use crate::store::Change;

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
        self.tell_failure(&rotation.retry, trouble);
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
        self.tell_failure(&delivery.retry, trouble);
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
        self.tell_failure(&removal.retry, trouble);
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
        self.tell_failure(&retry, trouble);
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

    fn tell_failure(&self, retry: &Retry, trouble: &Trouble) {
        if let Some(failure) = &retry.last {
            tracing::warn!(
                code = %failure.code,
                client_request_id = trouble.client_request_id(),
                retry_at = ?retry.not_before,
                "{}", failure.message
            );
            self.tell(&Moment::Failed {
                failure,
                retry_at: retry.not_before,
            });
        }
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
