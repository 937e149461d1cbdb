//! From *intended* to *minted*: the one call that is not idempotent, and what guards it.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use ulid::Ulid;

use super::Pass;
use super::write::rotation;
use crate::connection::{OnLimit, Overlap};
use crate::entra::{Answer, Application, Fault, FaultKind, Minted, ObjectId, Operation, Token};
use crate::journal::{
    Absence, AttemptName, Event, Journal, Origin, Outcome, Retry, Role, Rotation, RotationId,
    Secret, State, Trigger,
};
use crate::rotation::abandoned;
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{AdvanceFault, Halt, Trouble};
use crate::store::{Change, StoreFault};

/// So often it is tried again to commit a new secret before it is given up (P1): counted, because
/// the clock may be set while it goes on.
const KEEP_RETRIES: u32 = 90;

/// Between two such tries.
const KEEP_SPACING: Duration = Duration::from_secs(1);

/// A secret that was made.
struct Made {
    object_id: ObjectId,
    answer: Answer<Minted>,
}

impl Pass<'_> {
    /// Commits a new rotation, and makes its first attempt.
    pub(super) async fn begin(
        &self,
        journal: &Journal,
        terms: &Terms,
        trigger: Trigger,
        overlap: Overlap,
    ) -> Result<(), Halt> {
        let now = self.now();
        let rotation = Rotation {
            id: RotationId(self.ulid()),
            trigger,
            started_at: crate::clock::whole_seconds(now),
            overlap,
            state: State::Intended {
                attempt: self.name_attempt(),
                outcome: Outcome::NotMade,
            },
            retry: Retry::default(),
        };
        self.attempt(journal, terms, rotation).await
    }

    /// Makes another attempt, under a new name.
    pub(super) async fn attempt_again(
        &self,
        journal: &Journal,
        terms: &Terms,
        id: RotationId,
    ) -> Result<(), Halt> {
        self.attempt(journal, terms, rotation(journal, id)?.clone())
            .await
    }

    async fn attempt(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
    ) -> Result<(), Halt> {
        let attempt = self.name_attempt();
        let not_made = State::Intended {
            attempt,
            outcome: Outcome::NotMade,
        };
        // Before a secret exists that has nowhere to go.
        if let Err(Halt::Trouble(trouble)) = self.check_destinations(journal).await {
            return Ok(self
                .commit(self.failed(journal, rotation, not_made, &trouble))
                .await?);
        }
        let outcome = Outcome::Unknown {
            absence: Absence::default(),
        };
        rotation.state = State::Intended { attempt, outcome };
        let mut event = self.event("intended");
        event.rotation_id = Some(rotation.id);
        self.commit(vec![
            Change::Rotation(rotation.clone()),
            Change::Mutated(self.now()),
            Change::Record(event),
        ])
        .await?;
        self.tell(&Moment::Intended {
            rotation: rotation.id,
            attempt,
        });
        match self.add(journal, terms, attempt).await {
            Ok(made) => self.keep(journal, terms, rotation, attempt, made).await,
            Err(Halt::Fatal(fault)) => Err(Halt::Fatal(fault)),
            Err(Halt::Trouble(trouble)) => {
                let changes = self.not_added(journal, terms, rotation, attempt, &trouble);
                Ok(self.commit(changes).await?)
            }
        }
    }

    /// What is journalled when no secret came back.
    fn not_added(
        &self,
        journal: &Journal,
        terms: &Terms,
        rotation: Rotation,
        attempt: AttemptName,
        trouble: &Trouble,
    ) -> Vec<Change> {
        // What failed on the way to the call has certainly made nothing.
        let lost = matches!(trouble, Trouble::Entra(fault)
            if fault.during == Operation::Add && !fault.made_nothing());
        if !lost {
            let state = State::Intended {
                attempt,
                outcome: Outcome::NotMade,
            };
            return match self.make_room(journal, terms, trouble) {
                Some(mut changes) => {
                    changes.extend(self.failed(journal, rotation, state, &making_room()));
                    changes
                }
                None => self.failed(journal, rotation, state, trouble),
            };
        }
        let state = rotation.state.clone();
        let mut changes = self.failed(journal, rotation, state, trouble);
        changes.push(self.watch_from_now(attempt));
        changes
    }

    /// Where the connection says so, a full application gives up a previous secret of ours early.
    /// `None`: there will be no room by our doing.
    fn make_room(
        &self,
        journal: &Journal,
        terms: &Terms,
        trouble: &Trouble,
    ) -> Option<Vec<Change>> {
        let full = matches!(
            trouble,
            Trouble::Entra(Fault {
                kind: FaultKind::TooManyPasswords | FaultKind::SizeExceeded,
                ..
            })
        );
        if !full {
            return None;
        }
        let ended = match terms.policy.on_limit {
            OnLimit::RevokePrevious => self.end_overlaps(journal),
            OnLimit::Block => Vec::new(),
        };
        // What is just being removed makes room too.
        let room = !ended.is_empty() || !journal.removals.is_empty();
        room.then_some(ended)
    }

    /// Everything that is looked at before the call, and the call.
    async fn add(
        &self,
        journal: &Journal,
        terms: &Terms,
        attempt: AttemptName,
    ) -> Result<Made, Halt> {
        let adopted = self.complete_adoption(journal, terms).await?;
        let journal = adopted.as_ref().unwrap_or(journal);
        let token = self.sign_in(journal, terms).await?;
        let answer = self.read(journal, &token).await?;
        self.require_plausible_clock(answer.date)?;
        let application = answer.value;
        self.refuse_other_instances(journal, &application)?;
        let ends_at = crate::clock::whole_seconds(
            self.now() + Duration::from_secs(u64::from(terms.policy.lifetime_days) * 86_400),
        );
        let answer = self
            .add_password(&token, &application, attempt, ends_at)
            .await?;
        Ok(Made {
            object_id: application.object_id,
            answer,
        })
    }

    async fn add_password(
        &self,
        token: &Token,
        application: &Application,
        attempt: AttemptName,
        ends_at: DateTime<Utc>,
    ) -> Result<Answer<Minted>, Halt> {
        let name = attempt.to_string();
        let object_id = application.object_id;
        let added = self
            .engine
            .entra
            .add_password(token, object_id, &name, ends_at)
            .await;
        Ok(self.answered(added)?)
    }

    /// Two stores that rotate one application would revoke each other's secrets (P5).
    fn refuse_other_instances(
        &self,
        journal: &Journal,
        application: &Application,
    ) -> Result<(), Halt> {
        match super::super::adopt::other_instance(
            application,
            &self.engine.instances,
            |key_id| journal.secret(key_id).is_some(),
            self.now(),
        ) {
            None => Ok(()),
            Some(trouble) => Err(trouble.into()),
        }
    }

    /// P1: sealed and committed before anything else is done with it.
    async fn keep(
        &self,
        journal: &Journal,
        terms: &Terms,
        mut rotation: Rotation,
        attempt: AttemptName,
        made: Made,
    ) -> Result<(), Halt> {
        let minted = &made.answer.value;
        let secret = Secret {
            key_id: minted.key_id,
            role: Role::Pending,
            origin: Origin::Minted,
            generation: 0,
            hint: minted.hint.clone(),
            starts_at: minted.starts_at,
            expires_at: minted.ends_at,
            attempt: Some(attempt),
        };
        rotation.state = State::Minted {
            new: minted.key_id,
            minted_at: self.now(),
        };
        rotation.retry = Retry::default();
        let event = Event {
            rotation_id: Some(rotation.id),
            key_id: Some(minted.key_id),
            client_request_id: Some(made.answer.client_request_id.clone()),
            ..self.event("minted")
        };
        let others = vec![
            Change::Rotation(rotation),
            Change::Found(made.object_id),
            Change::Record(event),
        ];
        match self.keep_stubbornly(journal, &secret, minted, others).await {
            Ok(()) => {
                self.tell(&Moment::Minted {
                    key_id: minted.key_id,
                });
                Ok(())
            }
            Err(fault) => Err(self.give_back(journal, terms, &made, fault).await.into()),
        }
    }

    /// The value stays in memory while the disk is full or busy.
    async fn keep_stubbornly(
        &self,
        journal: &Journal,
        secret: &Secret,
        minted: &Minted,
        others: Vec<Change>,
    ) -> Result<(), StoreFault> {
        let mut retries = 0..KEEP_RETRIES;
        loop {
            let sealed = self
                .engine
                .keys
                .seal(journal.id, secret.key_id, &minted.secret);
            let mut changes = vec![Change::Keep(secret.clone(), sealed)];
            changes.extend(others.iter().cloned());
            let fault = match self.commit(changes).await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            if fault == StoreFault::Resealed {
                // Another process changed the master key while the call was under way.
                self.reload_keys().await;
            }
            if retries.next().is_none() {
                return Err(fault);
            }
            tracing::error!(connection = %self.name, %fault, "the new secret is not committed yet");
            self.engine.clock.sleep(KEEP_SPACING).await;
        }
    }

    async fn reload_keys(&self) {
        if let Err(fault) = self.engine.keys.reload(&*self.engine.store).await {
            tracing::error!(%fault, "the changed master key can't be loaded");
        }
    }

    /// The last resort: a secret that can't be kept is removed again, by its Key ID.
    async fn give_back(
        &self,
        journal: &Journal,
        terms: &Terms,
        made: &Made,
        fault: StoreFault,
    ) -> AdvanceFault {
        let key_id = made.answer.value.key_id;
        let removed = match self.sign_in(journal, terms).await {
            Ok(token) => self
                .engine
                .entra
                .remove_password(&token, made.object_id, key_id)
                .await
                .is_ok(),
            Err(_) => false,
        };
        AdvanceFault::NotKept {
            connection: self.name.clone(),
            seconds: (KEEP_SPACING * KEEP_RETRIES).as_secs(),
            fault,
            removed: if removed {
                "removed again"
            } else {
                "not to be removed yet either: the next run finds it by its name and removes it"
            },
        }
    }

    /// Decides that the pending secret will never be used; from here there is no way back.
    pub(super) async fn abandon(&self, journal: &Journal, id: RotationId) -> Result<(), Halt> {
        let mut rotation = rotation(journal, id)?.clone();
        let pending = rotation
            .state
            .new_key()
            .and_then(|key_id| journal.secret(key_id));
        let Some(pending) = pending.filter(|secret| secret.role == Role::Pending) else {
            return Ok(());
        };
        let key_id = pending.key_id;
        let doomed = Secret {
            role: Role::Doomed,
            ..pending.clone()
        };
        rotation.state = State::Abandoning { new: key_id };
        let reason = abandoned::reason(rotation.retry.last.as_ref(), self.now());
        rotation.retry = abandoned::under_way(reason);
        let mut event = self.event("abandoning");
        event.rotation_id = Some(id);
        event.key_id = Some(key_id);
        self.commit(vec![
            Change::Secret(doomed),
            Change::Rotation(rotation),
            Change::Removal(self.removal(key_id)),
            Change::Record(event),
        ])
        .await?;
        self.tell(&Moment::Abandoned { key_id });
        Ok(())
    }

    fn name_attempt(&self) -> AttemptName {
        AttemptName {
            instance: self.engine.instances[0],
            attempt: self.ulid(),
        }
    }

    pub(super) fn ulid(&self) -> Ulid {
        Ulid::from_datetime(self.now().into())
    }
}

/// Said in place of the limit while it is only a question of minutes.
fn making_room() -> Trouble {
    Trouble::passing_rule(
        "making-room",
        "the application holds as many secrets as it may; one of ours is being removed from it",
        "nothing: the next try finds room",
    )
}
