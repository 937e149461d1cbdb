//! The checks that `--no-check` postponed, and a secret given anew by hand.

use secrecy::SecretString;

use super::{Engine, Pass};
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Journal, Origin, Retry, Role, Rotation, RotationId, Secret, State, Trigger};
use crate::rotation::adopt::{AdoptFault, Adopted, current_of};
use crate::rotation::plan::Terms;
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::Change;

impl Pass<'_> {
    /// The postponed checks of an adoption; `None`: they have passed before.
    pub(super) async fn complete_adoption(
        &self,
        journal: &Journal,
        terms: &Terms,
    ) -> Result<Option<Journal>, Halt> {
        let Some(current) = journal.current().filter(|s| s.origin == Origin::Unchecked) else {
            return Ok(None);
        };
        let key_id = current.key_id;
        let value = self.stored(journal, key_id).await?;
        let findings = self
            .engine
            .examine(&journal.declared, &terms.policy, &value, Some(key_id))
            .await?;
        let checked = current_of(&findings.password, &value, Origin::Adopted);
        let mut event = self.event("adopted");
        event.key_id = Some(key_id);
        self.commit(vec![
            Change::Found(findings.object_id),
            Change::Secret(Secret {
                generation: current.generation,
                ..checked
            }),
            Change::Record(event),
        ])
        .await?;
        Ok(Some(self.journal().await?))
    }

    /// What is written when a person gives another secret: it follows the current one as one of a
    /// rotation would, so that destinations get it and the old one goes after the overlap.
    fn follow(&self, journal: &Journal, terms: &Terms, given: Secret) -> Vec<Change> {
        let generation = journal
            .secrets
            .iter()
            .map(|secret| secret.generation)
            .max()
            .unwrap_or(0);
        let new = Secret {
            generation: generation + 1,
            ..given
        };
        let mut changes = Vec::new();
        if let Some(current) = journal.current() {
            let old = Secret {
                role: Role::Previous,
                ..current.clone()
            };
            changes.push(Change::Rotation(Rotation {
                id: RotationId(self.ulid()),
                trigger: Trigger::Manual,
                started_at: crate::clock::whole_seconds(self.now()),
                overlap: terms.policy.overlap,
                state: State::Promoted {
                    new: new.key_id,
                    old: old.key_id,
                },
                retry: Retry::default(),
            }));
            changes.push(Change::Secret(old));
        }
        changes.extend(self.want_everywhere(journal, new.generation));
        changes
    }
}

impl Engine {
    /// Adopts another secret for a connection that there is, with all checks. `None`: another
    /// process is rotating it.
    pub async fn readopt(
        &self,
        name: &ConnectionName,
        value: SecretString,
        key_id: Option<KeyId>,
    ) -> Result<Option<Adopted>, AdoptFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.journal().await?;
        let terms = self.terms(&journal)?;
        if let Some(pending) = journal.unpromoted() {
            return Err(AdvanceFault::Refused {
                code: "rotation-under-way",
                message: format!(
                    "a rotation of {name} stands at {}; let it end first",
                    pending.state.name()
                ),
                person: true,
            }
            .into());
        }
        let findings = self
            .examine(&journal.declared, &terms.policy, &value, key_id)
            .await?;
        let given = current_of(&findings.password, &value, Origin::Adopted);
        let key_id = given.key_id;
        let sealed = self.keys.seal(journal.id, key_id, &value);
        let same = journal
            .current()
            .is_some_and(|current| current.key_id == key_id);
        let (kept, mut changes) = if same {
            let generation = journal.current().map_or(1, |current| current.generation);
            (
                Secret {
                    generation,
                    ..given
                },
                Vec::new(),
            )
        } else {
            let known = journal.secrets.iter().map(|secret| secret.generation).max();
            let kept = Secret {
                generation: known.unwrap_or(0) + 1,
                ..given.clone()
            };
            (kept, pass.follow(&journal, &terms, given))
        };
        let mut event = pass.event("readopted");
        event.key_id = Some(key_id);
        changes.extend([
            Change::Keep(kept, sealed),
            Change::Found(findings.object_id),
            Change::NextAction(Some(self.clock.now())),
            Change::Record(event),
        ]);
        pass.commit(changes).await?;
        let ours = |listed: &KeyId| journal.secret(*listed).is_some() || *listed == key_id;
        Ok(Some(Adopted {
            key_id,
            worked_out: findings.worked_out,
            due_at: journal.due_at,
            foreign: findings
                .listed
                .into_iter()
                .filter(|listed| !ours(listed))
                .collect(),
            notes: findings.notes,
        }))
    }
}
