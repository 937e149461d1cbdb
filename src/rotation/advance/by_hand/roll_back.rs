//! `rollback`: the previous secret is current again, while it lives.

use std::time::Duration;

use super::super::promote::nothing_follows;
use super::super::{Engine, Order, Pass, Stop};
use super::proof::Proof;
use super::refused;
use crate::connection::{ConnectionName, Overlap};
use crate::entra::KeyId;
use crate::journal::{Journal, Retry, Role, Rotation, RotationId, Secret, State, Trigger};
use crate::rotation::trouble::AdvanceFault;
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
        let back = pass.way_back(&journal, patience).await?;
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

/// The previous secret that is to be current again, and the rotation that was to remove it.
pub(super) struct WayBack {
    pub(super) rotation: Rotation,
    pub(super) current: Secret,
    pub(super) previous: Secret,
}

impl Pass<'_> {
    /// The newest of those before the current one that still lives and signs in.
    pub(super) async fn way_back(
        &self,
        journal: &Journal,
        patience: Duration,
    ) -> Result<Option<WayBack>, AdvanceFault> {
        let Some(current) = journal.current() else {
            return Ok(None);
        };
        let mut refusal = None;
        for previous in left(journal) {
            match self.proof(journal, previous, patience).await? {
                Proof::Works => {
                    return Ok(Some(WayBack {
                        rotation: self.retiring(journal, current.key_id, previous.key_id),
                        current: current.clone(),
                        previous: previous.clone(),
                    }));
                }
                Proof::Unsure(trouble) => return Err(self.not_proved(previous, &trouble)),
                Proof::Refused(trouble) => {
                    refusal.get_or_insert(trouble);
                }
            }
        }
        match refusal {
            None => Ok(None),
            Some(trouble) => Err(refused(
                "rollback-refused",
                format!("the previous secret does not sign in: {trouble}"),
            )),
        }
    }

    /// The rotation that was to remove a previous secret; one of its own where none was.
    fn retiring(&self, journal: &Journal, current: KeyId, previous: KeyId) -> Rotation {
        let mut rotations = journal.rotations.iter();
        let retiring = rotations.find(|rotation| rotation.state.old_key() == Some(previous));
        retiring.cloned().unwrap_or_else(|| Rotation {
            id: RotationId(self.ulid()),
            trigger: Trigger::Manual,
            started_at: crate::clock::whole_seconds(self.now()),
            overlap: Overlap::NextRotation,
            state: State::Promoted {
                new: previous,
                old: current,
            },
            retry: Retry::default(),
        })
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
        changes.extend(nothing_follows(journal));
        changes.extend([
            self.due_with(journal, &terms, &previous),
            Change::Secret(Secret {
                role: Role::Previous,
                ..current
            }),
            Change::Secret(Secret {
                role: Role::Current,
                generation,
                refused: None,
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

/// Previous secrets that nobody has begun to remove, the newest first.
fn left(journal: &Journal) -> Vec<&Secret> {
    let goes = |secret: &Secret| journal.removals.iter().any(|it| it.key_id == secret.key_id);
    let mut left: Vec<&Secret> = journal
        .secrets
        .iter()
        .filter(|secret| secret.role == Role::Previous && !goes(secret))
        .collect();
    left.sort_by_key(|secret| std::cmp::Reverse(secret.generation));
    left
}
