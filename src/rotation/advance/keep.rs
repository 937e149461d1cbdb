//! P1: a secret that Graph has returned is sealed and committed before anything else.

use std::time::Duration;

use super::Pass;
use crate::entra::{Answer, Minted, ObjectId};
use crate::journal::{AttemptName, Event, Journal, Origin, Retry, Role, Rotation, Secret, State};
use crate::rotation::observe::Moment;
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::{Change, StoreFault};

/// So often it is tried again to commit a new secret before it is given up (P1): counted, because
/// the clock may be set while it goes on.
const KEEP_RETRIES: u32 = 90;

/// Between two such tries.
const KEEP_SPACING: Duration = Duration::from_secs(1);

/// A secret that was made.
pub(super) struct Made {
    pub(super) object_id: ObjectId,
    pub(super) answer: Answer<Minted>,
}

impl Pass<'_> {
    /// P1: sealed and committed before anything else is done with it.
    pub(super) async fn keep(
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
            refused: None,
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
}
