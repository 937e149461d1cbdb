//! When a secret goes: at the end of its overlap, or because it is to be removed.

use chrono::{DateTime, Utc};

use super::{Ask, Next, Step, View, WaitFor, is_urgent};
use crate::entra::KeyId;
use crate::journal::{Origin, Removal, Role, Rotation, Secret};

/// A removal that has failed so often in a row is not about to succeed.
const KEEPS_FAILING: u32 = 3;

impl View<'_> {
    pub(super) fn overlap(
        &self,
        rotation: &Rotation,
        revoke_at: Option<DateTime<Utc>>,
        ask: Ask,
    ) -> Next {
        let old = rotation
            .state
            .old_key()
            .and_then(|key_id| self.journal.secret(key_id));
        if !old.is_some_and(|old| self.is_replaced(old)) {
            return Next::Rest;
        }
        let current = self.journal.current().map(|secret| secret.key_id);
        let superseded = rotation.state.new_key() != current;
        let step = Step::Revoke(rotation.id);
        match revoke_at {
            Some(at) if at > self.now => Next::Wait {
                until: at,
                what: WaitFor::Overlap,
            },
            Some(_) => self.mutation(&rotation.retry, step),
            // Just before the next add, once; where that fails, it is tried again beside it.
            None if rotation.retry.failures == 0 && self.begins_now(ask) => {
                self.mutation(&rotation.retry, step)
            }
            None if superseded || rotation.retry.failures > 0 => {
                self.mutation(&rotation.retry, step)
            }
            None => Next::Rest,
        }
    }

    /// What of P2 and P3 can be told from the journal: whether nobody needs this secret any more.
    fn is_replaced(&self, old: &Secret) -> bool {
        let Some(current) = self.journal.current() else {
            return false;
        };
        old.role == Role::Previous
            && old.origin != Origin::Unchecked
            && current.generation > old.generation
            && self.all_hold(current.key_id)
    }

    pub(super) fn remove(&self, removal: &Removal) -> Next {
        let Some(secret) = self.journal.secret(removal.key_id) else {
            return Next::Rest;
        };
        if self.journal.paused || secret.origin == Origin::Unchecked {
            return Next::Rest;
        }
        if removal.called_at.is_none() {
            // P2 holds for every call, not for the first alone: destinations may have been
            // declared since.
            let may_go = secret.role == Role::Doomed || self.is_replaced(secret);
            return match may_go {
                true => self.mutation(&removal.retry, Step::Remove(removal.key_id)),
                false => Next::Rest,
            };
        }
        match self.next_read(&removal.absence) {
            Some(until) => Next::Wait {
                until,
                what: WaitFor::Absence,
            },
            None => self.after_retry(&removal.retry, Step::Confirm(removal.key_id)),
        }
    }

    /// Whether another attempt waits until this Key ID is gone. A removal that keeps failing goes
    /// on beside it once the current secret is in its last days (P8).
    pub(super) fn holds_up(&self, key_id: KeyId) -> bool {
        let mut removals = self.journal.removals.iter();
        let removal = removals.find(|removal| removal.key_id == key_id);
        removal.is_some_and(|removal| {
            removal.retry.failures < KEEPS_FAILING || !is_urgent(self.journal, self.now)
        })
    }
}
