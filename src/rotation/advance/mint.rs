//! From *intended* to *minted*: the one call that is not idempotent, and what guards it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::Pass;
use super::keep::Made;
use crate::connection::{OnLimit, Overlap};
use crate::entra::{Answer, Application, Fault, FaultKind, Minted, Operation, Token};
use crate::journal::{
    Absence, AttemptName, Journal, Outcome, Retry, Rotation, RotationId, State, Trigger,
};
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{Halt, Trouble};
use crate::store::Change;

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

    /// Makes an attempt, under a new name.
    pub(super) async fn attempt(
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
