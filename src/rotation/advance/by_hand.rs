//! What a person asks for beside a rotation: revoke, deliver, roll back.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Engine, Order, Pass, Stop};
use crate::clock::Span;
use crate::connection::{ConnectionName, Overlap};
use crate::entra::KeyId;
use crate::journal::{
    Delivery, Journal, Origin, Removal, Retry, Role, Rotation, Secret, State, Trigger, Watch,
};
use crate::rotation::forecast;
use crate::rotation::plan::{Ask, Terms};
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

/// What `order` would change at `now`; calls nobody and writes nothing (P9).
pub fn forecast_order(
    journal: &Journal,
    terms: &Terms,
    now: DateTime<Utc>,
    order: Order,
) -> Vec<forecast::Change> {
    let mut prepared = journal.clone();
    for change in asked(order, journal, now) {
        match change {
            Change::Rotation(it) => replace(&mut prepared.rotations, it, |it| it.id),
            Change::Removal(it) => replace(&mut prepared.removals, it, |it| it.key_id),
            Change::Watch(it) => replace(&mut prepared.watches, it, |it| it.attempt),
            Change::Delivery(it) => {
                replace(&mut prepared.deliveries, it, |it| it.destination.clone());
            }
            _ => {}
        }
    }
    forecast::forecast(&prepared, terms, now, order.ask)
}

impl Engine {
    /// What [`Engine::advance`] would change by this order; calls nobody and writes nothing (P9).
    pub fn forecast(
        &self,
        journal: &Journal,
        order: Order,
    ) -> Result<Vec<forecast::Change>, AdvanceFault> {
        let terms = self.terms(journal)?;
        Ok(forecast_order(journal, &terms, self.clock.now(), order))
    }

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
            } => pass.revocation(&journal, key_id, accept_outage).await?,
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
struct WayBack {
    rotation: Rotation,
    current: Secret,
    previous: Secret,
}

impl Pass<'_> {
    /// What an order asks to be written before the first plan.
    pub(super) async fn prepare(&self, order: Order) -> Result<(), AdvanceFault> {
        let journal = self.journal().await?;
        if journal.paused && matches!(order.ask, Ask::Rotate(_)) {
            return Err(AdvanceFault::Refused {
                code: "paused",
                message: format!("{} is paused; resume it first", self.name),
                person: true,
            });
        }
        let mut changes = asked(order, &journal, self.now());
        if matches!(order.ask, Ask::Rotate(_)) {
            changes.push(Change::Record(self.event("rotation-asked")));
        }
        if changes.is_empty() {
            Ok(())
        } else {
            Ok(self.commit(changes).await?)
        }
    }

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

    async fn revocation(
        &self,
        journal: &Journal,
        key_id: KeyId,
        accept_outage: bool,
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
        match secret.role {
            // It is on its way; only its backoff is cleared.
            Role::Doomed => Ok(Vec::new()),
            Role::Current if accept_outage => self.give_up_current(journal).await,
            Role::Previous if accept_outage => {
                self.keeps_a_usable_one(journal).await?;
                Ok(self.doom(journal, secret))
            }
            Role::Pending if accept_outage => Ok(self.doom(journal, secret)),
            Role::Previous => self.retirement(journal, key_id),
            Role::Pending => Err(refused(
                "still-pending",
                format!("{key_id} is being proved; --accept-outage removes it all the same"),
            )),
            Role::Current => Err(refused(
                "current-secret",
                format!(
                    "{key_id} is the secret that consumers of {name} use; --accept-outage makes \
                     the previous one current again and removes it"
                ),
            )),
        }
    }

    /// The current secret signs in: a previous one may go without being the last (P3).
    async fn keeps_a_usable_one(&self, journal: &Journal) -> Result<(), AdvanceFault> {
        let works = match journal.current() {
            Some(current) => self.signs_in(journal, current.key_id).await,
            None => Err(refused("last-usable", "there is no current secret").into()),
        };
        match works {
            Ok(()) => Ok(()),
            Err(Halt::Fatal(fault)) => Err(fault),
            Err(Halt::Trouble(trouble)) => Err(refused(
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
    async fn give_up_current(&self, journal: &Journal) -> Result<Vec<Change>, AdvanceFault> {
        let Some(WayBack {
            rotation,
            current,
            previous,
        }) = self.way_back(journal).await?
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

    /// The secret before the current one, if it still lives and signs in.
    async fn way_back(&self, journal: &Journal) -> Result<Option<WayBack>, AdvanceFault> {
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

    async fn signs_in(&self, journal: &Journal, key_id: KeyId) -> Result<(), Halt> {
        let terms = self.engine.terms(journal)?;
        let value = self.stored(journal, key_id).await?;
        self.prove_once(journal, &terms, &value).await
    }

    /// The rotation, turned round: its old secret is the current one again, and the other one goes
    /// after an overlap of its own.
    fn turn_back(
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

fn replace<T, K: PartialEq>(all: &mut [T], new: T, key: impl Fn(&T) -> K) {
    if let Some(old) = all.iter_mut().find(|old| key(old) == key(&new)) {
        *old = new;
    }
}

/// What `order` changes in a journal before anything is planned.
fn asked(order: Order, journal: &Journal, now: DateTime<Utc>) -> Vec<Change> {
    let now = crate::clock::whole_seconds(now);
    let mut changes = Vec::new();
    for rotation in &journal.rotations {
        let mut prepared = rotation.clone();
        if order.clear_backoff {
            prepared.retry = prepared.retry.cleared();
        }
        if let Ask::Rotate(Some(overlap)) = order.ask
            && rotation.state.effective().is_unpromoted()
        {
            prepared.overlap = overlap;
        }
        if order.revoke_now {
            prepared = hurried(prepared, now);
        }
        if prepared != *rotation {
            changes.push(Change::Rotation(prepared));
        }
    }
    if order.clear_backoff {
        changes.extend(cleared_deliveries(journal));
        changes.extend(cleared_removals(journal));
        changes.extend(cleared_watches(journal));
    }
    changes
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

pub(super) fn cleared_watches(journal: &Journal) -> impl Iterator<Item = Change> {
    journal
        .watches
        .iter()
        .filter(|w| w.retry.not_before.is_some())
        .map(|watch| {
            Change::Watch(Watch {
                retry: watch.retry.cleared(),
                ..watch.clone()
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
