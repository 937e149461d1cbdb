//! What a person asks for beside a rotation: revoke, deliver, roll back.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Engine, Order, Pass, Stop};
use crate::clock::Span;
use crate::connection::{ConnectionName, Overlap};
use crate::entra::KeyId;
use crate::journal::{Delivery, Journal, Removal, Retry, Role, Rotation, Secret, State};
use crate::rotation::plan::Ask;
use crate::rotation::trouble::{AdvanceFault, Halt};
use crate::store::Change;

fn refused(code: &'static str, message: impl Into<String>) -> AdvanceFault {
    AdvanceFault::Refused {
        code,
        message: message.into(),
        person: false,
    }
}

/// What [`Engine::revoke`] is to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every previous secret of ours.
    Previous,
    /// This one.
    Key {
        /// Which.
        key_id: KeyId,
        /// The consumers may be cut off by it.
        accept_outage: bool,
    },
}

impl Engine {
    /// Removes secrets of ours at once. P2's last look still comes before each previous one;
    /// `accept_outage` removes without it.
    pub async fn revoke(
        &self,
        name: &ConnectionName,
        which: Which,
        patience: Duration,
    ) -> Result<Stop, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Stop::Busy);
        };
        let journal = pass.journal().await?;
        let changes = match which {
            Which::Previous => pass.end_overlaps(&journal),
            Which::Key {
                key_id,
                accept_outage,
            } => pass.revocation(&journal, key_id, accept_outage)?,
        };
        if !changes.is_empty() {
            let mut event = pass.event("revoke-asked");
            if let Which::Key { key_id, .. } = which {
                event.key_id = Some(key_id);
            }
            pass.commit([changes, vec![Change::Record(event)]].concat())
                .await?;
        }
        pass.run(Order {
            clear_backoff: true,
            ..Order::resume(patience)
        })
        .await
    }

    /// Hands the current secret out again, to one destination or to all.
    pub async fn deliver(
        &self,
        name: &ConnectionName,
        to: Option<&str>,
        patience: Duration,
    ) -> Result<Stop, AdvanceFault> {
        let Some(pass) = self.begin_pass(name).await? else {
            return Ok(Stop::Busy);
        };
        let journal = pass.journal().await?;
        let Some(current) = journal.current() else {
            return Err(refused(
                "no-current-secret",
                format!("{name} has no current secret"),
            ));
        };
        let wanted: Vec<Change> = pass
            .want_everywhere(&journal, current.generation)
            .into_iter()
            .filter_map(|change| match change {
                Change::Delivery(delivery) if to.is_none_or(|to| to == delivery.destination) => {
                    Some(Change::Delivery(Delivery {
                        holds: 0,
                        ..delivery
                    }))
                }
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Err(match to {
                Some(to) => refused(
                    "no-such-destination",
                    format!("{name} has no destination {to}"),
                ),
                None => refused("no-destination", format!("{name} has no destination")),
            });
        }
        let event = pass.event("deliver-asked");
        pass.commit([wanted, vec![Change::Record(event)]].concat())
            .await?;
        pass.run(Order::resume(patience)).await
    }

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
        let changes = match pass.turn_back(&journal).await {
            Ok(changes) => changes,
            Err(Halt::Fatal(fault)) => return Err(fault),
            Err(Halt::Trouble(trouble)) => {
                return Err(refused("rollback-refused", trouble.to_string()));
            }
        };
        pass.commit(changes).await?;
        pass.run(Order::resume(patience)).await
    }
}

impl Pass<'_> {
    /// What an order asks to be written before the first plan.
    pub(super) async fn prepare(&self, order: Order) -> Result<(), AdvanceFault> {
        let journal = self.journal().await?;
        let now = crate::clock::whole_seconds(self.now());
        let mut changes = Vec::new();
        for rotation in &journal.rotations {
            let mut prepared = rotation.clone();
            if order.clear_backoff {
                prepared.retry = prepared.retry.cleared();
            }
            if order.revoke_now {
                prepared = hurried(prepared, now);
            }
            if prepared != *rotation {
                changes.push(Change::Rotation(prepared));
            }
        }
        if order.clear_backoff {
            changes.extend(cleared_deliveries(&journal).chain(cleared_removals(&journal)));
        }
        if matches!(order.ask, Ask::Rotate(_)) {
            changes.push(Change::Record(self.event("rotation-asked")));
        }
        if changes.is_empty() {
            Ok(())
        } else {
            Ok(self.commit(changes).await?)
        }
    }

    fn revocation(
        &self,
        journal: &Journal,
        key_id: KeyId,
        accept_outage: bool,
    ) -> Result<Vec<Change>, AdvanceFault> {
        let Some(secret) = journal.secret(key_id) else {
            return Err(refused(
                "not-ours",
                format!(
                    "Key ID {key_id} is not one of {}: nothing was removed",
                    self.name
                ),
            ));
        };
        let retiring = journal
            .rotations
            .iter()
            .find(|r| r.state.old_key() == Some(key_id));
        match (secret.role, retiring) {
            (Role::Doomed, _) => Ok(cleared_removals(journal).collect()),
            (Role::Previous, Some(rotation)) if !accept_outage => {
                let State::Overlapping { new, old, .. } = *rotation.state.effective() else {
                    return Err(refused(
                        "still-needed",
                        format!(
                            "a required destination of {} does not have the new secret yet; \
                             --accept-outage removes {key_id} all the same",
                            self.name
                        ),
                    ));
                };
                let revoke_at = Some(crate::clock::whole_seconds(self.now()));
                let state = State::Overlapping {
                    new,
                    old,
                    revoke_at,
                };
                Ok(vec![Change::Rotation(Rotation {
                    state,
                    ..rotation.clone()
                })])
            }
            _ if accept_outage => Ok(self.doom(journal, secret)),
            (Role::Pending, _) => Err(refused(
                "still-pending",
                format!("{key_id} is being proved; --accept-outage removes it all the same"),
            )),
            _ => Err(refused(
                "current-secret",
                format!(
                    "{key_id} is the secret that consumers of {} use; --accept-outage removes it \
                     all the same",
                    self.name
                ),
            )),
        }
    }

    /// Removes a secret without P2's look; a rotation that it belongs to ends with it.
    fn doom(&self, journal: &Journal, secret: &Secret) -> Vec<Change> {
        let key_id = secret.key_id;
        let mut changes = vec![
            Change::Secret(Secret {
                role: Role::Doomed,
                ..secret.clone()
            }),
            Change::Removal(self.removal(key_id)),
        ];
        for rotation in &journal.rotations {
            let state = match (rotation.state.new_key(), rotation.state.old_key()) {
                (Some(new), Some(old)) if old == key_id => State::Revoking { new, old },
                (Some(new), None) if new == key_id => State::Abandoning { new },
                _ => continue,
            };
            changes.push(Change::Rotation(Rotation {
                state,
                ..rotation.clone()
            }));
        }
        changes
    }

    /// The newest rotation, turned round: its old secret is the current one again.
    async fn turn_back(&self, journal: &Journal) -> Result<Vec<Change>, Halt> {
        let current = journal.current();
        let rotation = journal.rotations.iter().rev().find(|rotation| {
            !matches!(rotation.state.effective(), State::Revoking { .. })
                && rotation.state.old_key().is_some()
                && rotation.state.new_key() == current.map(|secret| secret.key_id)
        });
        let previous = rotation
            .and_then(|r| r.state.old_key())
            .and_then(|key| journal.secret(key));
        let (Some(rotation), Some(previous), Some(current)) = (rotation, previous, current) else {
            return Err(refused(
                "nothing-to-roll-back-to",
                format!("{} has no previous secret that still lives", self.name),
            )
            .into());
        };
        if let Some(pending) = journal.unpromoted() {
            let state = pending.state.name();
            return Err(refused(
                "rotation-under-way",
                format!(
                    "a rotation of {} stands at {state}; let it end first",
                    self.name
                ),
            )
            .into());
        }
        let terms = self.engine.terms(journal)?;
        let value = self.stored(journal, previous.key_id).await?;
        self.prove_once(journal, &terms, &value).await?;
        let generation = current.generation + 1;
        let (old, new) = (current.key_id, previous.key_id);
        let mut event = self.event("rolled-back");
        event.rotation_id = Some(rotation.id);
        event.key_id = Some(new);
        let mut changes = self.want_everywhere(journal, generation);
        changes.extend([
            Change::Secret(Secret {
                role: Role::Previous,
                ..current.clone()
            }),
            Change::Secret(Secret {
                role: Role::Current,
                generation,
                ..previous.clone()
            }),
            Change::Rotation(Rotation {
                state: State::Promoted { new, old },
                retry: Retry::default(),
                ..rotation.clone()
            }),
            Change::Record(event),
        ]);
        Ok(changes)
    }
}

/// Ladders from their start, but for what a server dictated.
pub(super) fn cleared_deliveries(journal: &Journal) -> impl Iterator<Item = Change> {
    journal
        .deliveries
        .iter()
        .filter(|d| d.retry.not_before.is_some())
        .map(|delivery| {
            Change::Delivery(Delivery {
                retry: delivery.retry.cleared(),
                ..delivery.clone()
            })
        })
}

pub(super) fn cleared_removals(journal: &Journal) -> impl Iterator<Item = Change> {
    journal
        .removals
        .iter()
        .filter(|r| r.retry.not_before.is_some())
        .map(|removal| {
            Change::Removal(Removal {
                retry: removal.retry.cleared(),
                ..removal.clone()
            })
        })
}

/// A rotation whose overlap ends now, or will be none.
pub(super) fn hurried(mut rotation: Rotation, now: DateTime<Utc>) -> Rotation {
    match rotation.state.effective() {
        State::Overlapping {
            new,
            old,
            revoke_at,
        } => {
            if revoke_at.is_none_or(|at| at > now) {
                rotation.state = State::Overlapping {
                    new: *new,
                    old: *old,
                    revoke_at: Some(now),
                };
            }
        }
        State::Revoking { .. } => {}
        _ => rotation.overlap = Overlap::For(Span::default()),
    }
    rotation
}
