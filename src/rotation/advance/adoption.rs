//! The checks that `--no-check` postponed, and a secret given anew by hand.

use secrecy::SecretString;

use super::promote::nothing_follows;
use super::{Engine, Pass};
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{
    Delivery, Journal, Origin, Retry, Role, Rotation, RotationId, Secret, State, Trigger,
};
use crate::rotation::adopt::{
    AdoptFault, Adopted, Given, current_of, secret_expired, taken_over_event,
};
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
            .examine(
                &journal.declared,
                &terms.policy,
                Given {
                    secret: &value,
                    key_id: Some(key_id),
                    known: &journal.secrets,
                    take_over: false,
                },
            )
            .await?;
        let checked = Secret {
            generation: current.generation,
            ..current_of(&findings.password, &value, Origin::Adopted)
        };
        let mut event = self.event("adopted");
        event.key_id = Some(key_id);
        self.commit(vec![
            Change::Found(findings.object_id),
            // Only now its end is known.
            self.due_with(journal, terms, &checked),
            Change::Secret(checked),
            Change::Record(event),
        ])
        .await?;
        Ok(Some(self.journal().await?))
    }

    /// What is written beside another secret that a person gives: it follows the current one as
    /// one of a rotation would, so that destinations get it and the old one goes after the overlap.
    fn follow(&self, journal: &Journal, terms: &Terms, new: &Secret) -> Vec<Change> {
        let mut changes = self.want_everywhere(journal, new.generation);
        changes.extend(nothing_follows(journal));
        changes.push(self.due_with(journal, terms, new));
        let Some(current) = journal.current() else {
            return changes;
        };
        // Its checks were postponed, so it is not ours to remove.
        if current.origin == Origin::Unchecked {
            changes.push(Change::Gone(current.key_id));
            return changes;
        }
        // A rotation that was about to remove the very secret that is given is turned round.
        let retiring = journal
            .rotations
            .iter()
            .find(|rotation| rotation.state.old_key() == Some(new.key_id));
        let (id, started_at) = retiring.map_or_else(
            || {
                (
                    RotationId(self.ulid()),
                    crate::clock::whole_seconds(self.now()),
                )
            },
            |rotation| (rotation.id, rotation.started_at),
        );
        changes.extend([
            Change::Secret(Secret {
                role: Role::Previous,
                ..current.clone()
            }),
            Change::Rotation(Rotation {
                id,
                trigger: Trigger::Manual,
                started_at,
                overlap: terms.policy.overlap,
                state: State::Promoted {
                    new: new.key_id,
                    old: current.key_id,
                },
                retry: Retry::default(),
            }),
        ]);
        changes
    }

    /// Those that hold the current secret are to get it again: its value was corrected.
    fn hand_out_anew(&self, journal: &Journal) -> Vec<Change> {
        let generation = journal.current().map_or(0, |current| current.generation);
        let holders = journal.deliveries.iter().filter(|d| d.holds >= generation);
        let anew = holders.map(|delivery| {
            Change::Delivery(Delivery {
                holds: 0,
                ..delivery.clone()
            })
        });
        anew.collect()
    }
}

/// What is under way is tried again at once: with the secret that is given it may go on.
fn unpromoted_anew(journal: &Journal) -> Option<Change> {
    let waiting = journal
        .unpromoted()
        .filter(|it| it.state.effective().may_be_promoted() && it.retry != Retry::default())?;
    Some(Change::Rotation(Rotation {
        retry: waiting.retry.cleared(),
        ..waiting.clone()
    }))
}

impl Engine {
    /// Adopts another secret for a connection that there is, with all checks; `take_over` as in
    /// [`Candidate`](crate::rotation::adopt::Candidate). `None`: another process is rotating it.
    pub async fn readopt(
        &self,
        name: &ConnectionName,
        value: SecretString,
        key_id: Option<KeyId>,
        take_over: bool,
    ) -> Result<Option<Adopted>, AdoptFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(None);
        };
        let journal = pass.journal().await?;
        let terms = self.terms(&journal)?;
        // One that has made nothing may wait for the very secret that is given.
        let proving = |it: &&Rotation| {
            let state = it.state.effective();
            matches!(state, State::Minted { .. } | State::Verified { .. })
        };
        if let Some(pending) = journal.unpromoted().filter(proving) {
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
            .examine(
                &journal.declared,
                &terms.policy,
                Given {
                    secret: &value,
                    key_id,
                    known: &journal.secrets,
                    take_over,
                },
            )
            .await?;
        let given = current_of(&findings.password, &value, Origin::Adopted);
        let key_id = given.key_id;
        if journal.removals.iter().any(|r| r.key_id == key_id) {
            return Err(AdvanceFault::Refused {
                code: "being-removed",
                message: format!("Key ID {key_id} is being removed; give another secret"),
                person: true,
            }
            .into());
        }
        let current = journal.current();
        let same = current.is_some_and(|current| current.key_id == key_id);
        if !same && given.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(Halt::from(secret_expired(name)).into());
        }
        let newest = journal.secrets.iter().map(|secret| secret.generation).max();
        let known = journal.secret(key_id);
        let kept = Secret {
            generation: match current {
                Some(current) if same => current.generation,
                _ => newest.unwrap_or(0) + 1,
            },
            origin: match known.map(|secret| secret.origin) {
                Some(Origin::Minted) => Origin::Minted,
                _ => Origin::Adopted,
            },
            attempt: known.and_then(|secret| secret.attempt),
            ..given
        };
        let sealed = self.keys.seal(journal.id, key_id, &value);
        let mut changes = if same {
            let mut changes = pass.hand_out_anew(&journal);
            changes.push(pass.due_with(&journal, &terms, &kept));
            changes
        } else {
            pass.follow(&journal, &terms, &kept)
        };
        let mut event = pass.event("readopted");
        event.key_id = Some(key_id);
        let taken_over = findings.taken_over;
        changes.extend(taken_over.map(|name| Change::Record(taken_over_event(&event, name))));
        changes.extend(unpromoted_anew(&journal));
        changes.extend([
            Change::Keep(kept, sealed),
            Change::Found(findings.object_id),
            pass.something_to_do(),
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
