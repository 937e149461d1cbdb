//! What has happened since the service began, counted and logged as rotations tell it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::connection::ConnectionName;
use crate::rotation::observe::{Moment, Observer};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Rotations that were intended.
    Intended,
    /// New secrets that became current.
    Promoted,
    /// New secrets that were given up.
    Abandoned,
    /// Destinations that took a secret.
    Delivered,
    /// Secrets that were removed.
    Removed,
    /// Secrets whose value was lost.
    Orphaned,
    /// Steps that failed.
    Failed,
}

/// Everything that is counted, with the word that it has in metrics.
pub const COUNTED: [(Counted, &str); 7] = [
    (Counted::Intended, "intended"),
    (Counted::Promoted, "promoted"),
    (Counted::Abandoned, "abandoned"),
    (Counted::Delivered, "delivered"),
    (Counted::Removed, "removed"),
    (Counted::Orphaned, "orphaned"),
    (Counted::Failed, "failed"),
];

/// The counts of one process.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; COUNTED.len()],
}

impl Tally {
    /// How often it has happened.
    pub fn count(&self, what: Counted) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    fn add(&self, what: Counted) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Observer for Tally {
    fn observe(&self, _connection: &ConnectionName, moment: &Moment<'_>) {
        match moment {
            Moment::Intended { rotation, attempt } => {
                self.add(Counted::Intended);
                tracing::info!(%rotation, %attempt, "a rotation begins");
            }
            Moment::Minted { key_id } => tracing::info!(%key_id, "a new secret is sealed"),
            Moment::Promoted { key_id } => {
                self.add(Counted::Promoted);
                tracing::info!(%key_id, "the new secret is current");
            }
            Moment::Delivered { destination } => {
                self.add(Counted::Delivered);
                tracing::info!(destination, "delivered");
            }
            Moment::Overlapping { revoke_at } => {
                tracing::info!(revoke_at = ?revoke_at, "every required destination has it");
            }
            Moment::Orphaned { key_id } => {
                self.add(Counted::Orphaned);
                tracing::warn!(%key_id, "a secret whose value was lost is removed");
            }
            Moment::Abandoned { key_id } => {
                self.add(Counted::Abandoned);
                tracing::warn!(%key_id, "the new secret is given up; the current one stays");
            }
            Moment::Gone { key_id } => {
                self.add(Counted::Removed);
                tracing::info!(%key_id, "a secret is gone");
            }
            // What failed is logged where it is journalled.
            Moment::Failed { .. } => self.add(Counted::Failed),
            Moment::Proved { .. }
            | Moment::NotYet
            | Moment::NothingMade
            | Moment::Removing { .. }
            | Moment::Waiting { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_own_place() {
        for (place, (what, _)) in COUNTED.iter().enumerate() {
            assert_eq!(*what as usize, place);
        }
    }
}
