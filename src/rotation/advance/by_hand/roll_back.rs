//! `rollback`: the previous secret is current again, while it lives.

use std::time::Duration;

use super::super::{Engine, Order, Pass, Stop};
use super::refused;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Journal, Retry, Role, Rotation, Secret, State};
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::Change;

impl Engine {
    /// Makes the previous secret current again while it lives, and delivers it.
    pub async fn rollback(
        &self,
        name: &ConnectionName,
        patience: Duration,
    ) -> Result<Stop, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Stop::Busy);
        };
        let journal = pass.journal().await?;
        if let Some(pending) = journal.unpromoted() {
            let state = pending.state.name();
            return Err(refused(
                "rotation-under-way",
                format!("a rotation of {name} stands at {state}; let it end first"),
            ));
        }
        let back = pass.way_back(&journal).await?;
        let Some(back) = back else {
            return Err(refused(
                "nothing-to-roll-back-to",
                format!("{name} has no previous secret that still lives"),
            ));
        };
        let mut event = pass.event("rolled-back");
        event.rotation_id = Some(back.rotation.id);
        event.key_id = Some(back.previous.key_id);
        let mut changes = pass.turn_back(&journal, back)?;
        changes.push(Change::Record(event));
        pass.commit(changes).await?;
        pass.run(Order::resume(patience)).await
    }
}

/// The newest rotation, and the secret that it replaced.
pub(super) struct WayBack {
    pub(super) rotation: Rotation,
    pub(super) current: Secret,
    pub(super) previous: Secret,
}

impl Pass<'_> {
    /// The secret before the current one, if it still lives and signs in.
    pub(super) async fn way_back(
        &self,
        journal: &Journal,
    ) -> Result<Option<WayBack>, AdvanceFault> {
        let Some(current) = journal.current() else {
            return Ok(None);
        };
        let newest = journal.rotations.iter().rev().find(|rotation| {
            !matches!(rotation.state.effective(), State::Revoking { .. })
                && rotation.state.new_key() == Some(current.key_id)
        });
        let previous = newest
            .and_then(|rotation| rotation.state.old_key())
            .and_then(|key_id| journal.secret(key_id))
            .filter(|secret| secret.role == Role::Previous);
        let (Some(rotation), Some(previous)) = (newest, previous) else {
            return Ok(None);
        };
        match self.signs_in(journal, previous.key_id).await {
            Ok(()) => Ok(Some(WayBack {
                rotation: rotation.clone(),
                current: current.clone(),
                previous: previous.clone(),
            })),
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) => Err(refused(
                "rollback-refused",
                format!("the previous secret does not sign in: {trouble}"),
            )),
        }
    }

    pub(super) async fn signs_in(&self, journal: &Journal, key_id: KeyId) -> Result<(), Halt> {
        let terms = self.engine.terms(journal)?;
        let value = self.stored(journal, key_id).await?;
        self.prove_once(journal, &terms, &value).await
    }

    /// The rotation, turned round: its old secret is the current one again, and the other one goes
    /// after an overlap of its own.
    pub(super) fn turn_back(
        &self,
        journal: &Journal,
        WayBack {
            rotation,
            current,
            previous,
        }: WayBack,
    ) -> Result<Vec<Change>, AdvanceFault> {
        let terms = self.engine.terms(journal)?;
        let generation = current.generation + 1;
        let (old, new) = (current.key_id, previous.key_id);
        let mut changes = self.want_everywhere(journal, generation);
        changes.extend([
            self.due_with(journal, &terms, &previous),
            Change::Secret(Secret {
                role: Role::Previous,
                ..current
            }),
            Change::Secret(Secret {
                role: Role::Current,
                generation,
                ..previous
            }),
            Change::Rotation(Rotation {
                overlap: terms.policy.overlap,
                state: State::Promoted { new, old },
                retry: Retry::default(),
                ..rotation
            }),
        ]);
        Ok(changes)
    }
}
