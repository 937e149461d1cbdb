//! What must be true once a killed rotation has been run again.

use keywheel::entra::KeyId;
use keywheel::journal::{Delivery, Event, Journal, Role, RotationId, State};
use keywheel::sandbox::Kind;

use crate::world::World;

/// What is told of a promoted rotation, each once and in this order; one that was rolled back
/// overlaps once more.
const WAY: [&str; 4] = ["minted", "verified", "promoted", "overlapping"];

impl World {
    /// The current secret, or current and previous ones in overlap; no orphan; nothing open;
    /// foreign secrets untouched; the consumers hold the current one.
    pub async fn has_converged(&self) {
        let label = &self.label;
        let journal = self.journal().await;
        assert!(journal.removals.is_empty(), "{label}: {journal:#?}");
        let overlaps = overlaps(&journal);
        assert_eq!(
            overlaps,
            journal.rotations.len(),
            "{label}: {:#?}",
            journal.rotations
        );

        let ours: Vec<KeyId> = journal.secrets.iter().map(|secret| secret.key_id).collect();
        assert_eq!(ours.len(), 1 + overlaps, "{label}: {:#?}", journal.secrets);
        let living = |role| matches!(role, Role::Current | Role::Previous);
        assert!(journal.secrets.iter().all(|s| living(s.role)), "{label}");

        let mut listed = self.keys();
        assert!(listed.contains(&self.foreign), "{label}: foreign removed");
        listed.retain(|key_id| *key_id != self.foreign);
        assert!(
            listed.len() == ours.len() && listed.iter().all(|key_id| ours.contains(key_id)),
            "{label}: on the application {listed:?}, in the store {ours:?}"
        );
        self.consumers_hold_the_current_secret().await;
        self.history_is_consistent(&journal).await;
    }

    async fn consumers_hold_the_current_secret(&self) {
        let value = self.current_value().await;
        self.sandbox.settle();
        self.consumers_sign_in();
        for place in self.consumers() {
            let held = std::fs::read_to_string(&place).unwrap();
            assert!(held == value, "{}: {}", self.label, place.display());
        }
    }

    async fn history_is_consistent(&self, journal: &Journal) {
        let label = &self.label;
        let events = self.history().await;
        assert!(events.is_sorted_by_key(|event| event.at), "{label}");
        let mut promoted = rotations(&events, "promoted");
        let promotions = promoted.len();
        promoted.dedup();
        assert_eq!(promoted.len(), promotions, "{label}: promoted twice");
        for rotation in promoted {
            let passed: Vec<&str> = events
                .iter()
                .filter(|event| event.rotation_id == Some(rotation))
                .map(|event| event.action.as_str())
                .filter(|action| WAY.contains(action))
                .collect();
            let (way, rest) = passed.split_at(WAY.len().min(passed.len()));
            assert_eq!(way, WAY, "{label}: {rotation}");
            let back = rotations(&events, "rolled-back").contains(&rotation);
            assert_eq!(rest, &WAY[3..][..usize::from(back)], "{label}: {rotation}");
        }
        // Each generation was made once, and told once.
        let generation = journal.current().unwrap().generation as usize;
        let turned_back = rotations(&events, "rolled-back").len();
        assert_eq!(generation, 1 + promotions + turned_back, "{label}");
        let hold = |delivery: &Delivery| delivery.holds as usize == generation;
        let untouched = promotions == 0;
        assert!(untouched || journal.deliveries.iter().all(hold), "{label}");
        // What was added is in use, or told to be gone.
        let added = self.added();
        let gone = events.iter().filter(|e| e.action == "gone").count();
        assert_eq!(1 + added, journal.secrets.len() + gone, "{label}");
    }

    /// How many secrets Graph has added, answered or not.
    fn added(&self) -> usize {
        let calls = self
            .sandbox
            .calls_of(Kind::AddPassword, self.application.client_id);
        calls.iter().filter(|call| call.status != Some(400)).count()
    }
}

/// Rotations that wait out their overlap.
pub fn overlaps(journal: &Journal) -> usize {
    let waits = |state: &State| matches!(state, State::Overlapping { .. });
    journal.rotations.iter().filter(|r| waits(&r.state)).count()
}

fn rotations(events: &[Event], action: &str) -> Vec<RotationId> {
    let told = events.iter().filter(|event| event.action == action);
    told.filter_map(|event| event.rotation_id).collect()
}
