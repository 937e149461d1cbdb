//! `revoke`: secrets of ours go at once.

use std::time::Duration;

use super::super::order::hurried;
use super::super::{Engine, Order, Pass, Stop};
use super::proof::Proof;
use super::refused;
use super::roll_back::WayBack;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Journal, Origin, Retry, Role, Rotation, Secret, State, Trigger};
use crate::rotation::trouble::AdvanceFault;
use crate::store::Change;

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
        if journal.paused {
            return Err(refused(
                "paused",
                format!("{name} is paused, and nothing is revoked meanwhile; resume it first"),
            ));
        }
        let changes = match which {
            Which::Previous => pass.revocations(&journal)?,
            Which::Key {
                key_id,
                accept_outage,
            } => {
                let patience = accept_outage.then_some(patience);
                pass.revocation(&journal, key_id, patience).await?
            }
        };
        let mut event = pass.event("revoke-asked");
        if let Which::Key { key_id, .. } = which {
            event.key_id = Some(key_id);
        }
        pass.commit([changes, vec![Change::Record(event)]].concat())
            .await?;
        let order = Order {
            clear_backoff: true,
            ..Order::resume(patience)
        };
        pass.prepare(order).await?;
        pass.run(order).await
    }
}

impl Pass<'_> {
    /// All previous secrets; what consumers still need makes it a refusal, not a silent nothing.
    fn revocations(&self, journal: &Journal) -> Result<Vec<Change>, AdvanceFault> {
        let changes = self.end_overlaps(journal);
        let needed = journal.rotations.iter().find_map(|rotation| {
            let effective = rotation.state.effective();
            matches!(effective, State::Promoted { .. } | State::Delivering { .. })
                .then(|| rotation.state.old_key())
                .flatten()
        });
        match needed {
            Some(key_id) if changes.is_empty() => Err(self.still_needed(key_id)),
            _ => Ok(changes),
        }
    }

    /// `outage`: it may happen, and for so long the secret that is left is proved before.
    async fn revocation(
        &self,
        journal: &Journal,
        key_id: KeyId,
        outage: Option<Duration>,
    ) -> Result<Vec<Change>, AdvanceFault> {
        let name = &self.name;
        let ours = journal
            .secret(key_id)
            .filter(|secret| secret.origin != Origin::Unchecked);
        let Some(secret) = ours else {
            return Err(refused(
                "not-ours",
                format!("Key ID {key_id} is not one of {name}: nothing was removed"),
            ));
        };
        match (secret.role, outage) {
            // It is on its way; only its backoff is cleared.
            (Role::Doomed, _) => Ok(Vec::new()),
            (Role::Current, Some(patience)) => self.give_up_current(journal, patience).await,
            (Role::Previous, Some(patience)) => {
                self.keeps_a_usable_one(journal, patience).await?;
                Ok(self.doom(journal, secret))
            }
            (Role::Pending, Some(_)) => Ok(self.doom(journal, secret)),
            (Role::Previous, None) => self.retirement(journal, key_id),
            (Role::Pending, None) => Err(refused(
                "still-pending",
                format!("{key_id} is being proved; --accept-outage removes it all the same"),
            )),
            (Role::Current, None) => Err(refused(
                "current-secret",
                format!(
                    "{key_id} is the secret that consumers of {name} use; --accept-outage makes \
                     the previous one current again and removes it"
                ),
            )),
        }
    }

    /// The current secret signs in: a previous one may go without being the last (P3).
    async fn keeps_a_usable_one(
        &self,
        journal: &Journal,
        patience: Duration,
    ) -> Result<(), AdvanceFault> {
        let Some(current) = journal.current() else {
            return Err(refused("last-usable", "there is no current secret"));
        };
        match self.proof(journal, current, patience).await? {
            Proof::Works => Ok(()),
            Proof::Unsure(trouble) => Err(self.not_proved(current, &trouble)),
            Proof::Refused(trouble) => Err(refused(
                "last-usable",
                format!("the current secret does not sign in, so this may be the last: {trouble}"),
            )),
        }
    }

    /// The end of a previous secret, P2's last look included.
    fn retirement(&self, journal: &Journal, key_id: KeyId) -> Result<Vec<Change>, AdvanceFault> {
        let retiring = journal
            .rotations
            .iter()
            .find(|rotation| rotation.state.old_key() == Some(key_id));
        let Some(rotation) = retiring else {
            return Ok(vec![Change::Removal(self.removal(key_id))]);
        };
        match rotation.state.effective() {
            State::Overlapping { .. } => {
                let now = crate::clock::whole_seconds(self.now());
                Ok(vec![Change::Rotation(hurried(rotation.clone(), now))])
            }
            State::Revoking { .. } => Ok(Vec::new()),
            _ => Err(self.still_needed(key_id)),
        }
    }

    fn still_needed(&self, key_id: KeyId) -> AdvanceFault {
        refused(
            "still-needed",
            format!(
                "a required destination of {} does not have the new secret yet; `--key-id \
                 {key_id} --accept-outage` removes the old one all the same",
                self.name
            ),
        )
    }

    /// Removes the current secret. The previous one is current again, so that there always is one;
    /// the last one that works is never removed (P3).
    async fn give_up_current(
        &self,
        journal: &Journal,
        patience: Duration,
    ) -> Result<Vec<Change>, AdvanceFault> {
        let Some(WayBack {
            rotation,
            current,
            previous,
        }) = self.way_back(journal, patience).await?
        else {
            return Err(refused(
                "last-usable",
                format!(
                    "it is the last secret of {} that works: make another first, with `keywheel \
                     rotate {} --revoke-now`",
                    self.name, self.name
                ),
            ));
        };
        let (new, old) = (previous.key_id, current.key_id);
        let back = WayBack {
            rotation: rotation.clone(),
            current: current.clone(),
            previous,
        };
        let mut changes = self.turn_back(journal, back)?;
        changes.extend([
            Change::Secret(Secret {
                role: Role::Doomed,
                ..current
            }),
            Change::Rotation(Rotation {
                state: State::Revoking { new, old },
                retry: Retry::default(),
                ..rotation
            }),
            Change::Removal(self.removal(old)),
        ]);
        Ok(changes)
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
            let mut rotation = rotation.clone();
            if matches!(state, State::Abandoning { .. }) {
                // What was asked for by hand is withdrawn by hand: the schedule decides again.
                rotation.trigger = Trigger::Due(journal.due_at);
                rotation.retry = Retry::default();
            }
            changes.push(Change::Rotation(Rotation { state, ..rotation }));
        }
        changes
    }
}
