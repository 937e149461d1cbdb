//! What an order asks to be written before anything is planned: ladders from their start, overlaps
//! that end now.

use chrono::{DateTime, Utc};

use super::{Engine, Order, Pass};
use crate::clock::Span;
use crate::connection::Overlap;
use crate::journal::{Delivery, Journal, Removal, Rotation, State, Trigger, Watch};
use crate::rotation::forecast;
use crate::rotation::plan::{Ask, Terms};
use crate::rotation::trouble::AdvanceFault;
use crate::store::Change;

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
        // Not due after all, but asked for.
        if matches!(order.ask, Ask::Rotate(_))
            && rotation.state.effective().may_be_promoted()
            && rotation.trigger.is_due_after(now)
        {
            prepared.trigger = Trigger::Manual;
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
