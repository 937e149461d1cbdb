//! How many calls were made, and how they ended.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Operation;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was answered, and the answer is no error.
    Done,
    /// The answer is an error.
    Refused,
    /// 429.
    Throttled,
    /// There was no answer, or not a whole one.
    Lost,
}

const OPERATIONS: [(Operation, &str); 5] = [
    (Operation::Token, "token"),
    (Operation::Prove, "prove"),
    (Operation::Read, "read"),
    (Operation::Add, "add-password"),
    (Operation::Remove, "remove-password"),
];

const ENDINGS: [(Ending, &str); 4] = [
    (Ending::Done, "done"),
    (Ending::Refused, "refused"),
    (Ending::Throttled, "throttled"),
    (Ending::Lost, "lost"),
];

/// The counts of one process.
#[derive(Debug, Default)]
pub struct Calls {
    counts: [[AtomicU64; ENDINGS.len()]; OPERATIONS.len()],
}

impl Calls {
    pub(super) fn add(&self, operation: Operation, ending: Ending) {
        self.counts[operation as usize][ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each kind of call and each ending by its word, and how often it was.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        OPERATIONS.into_iter().flat_map(move |(operation, call)| {
            ENDINGS.into_iter().map(move |(ending, result)| {
                let count = &self.counts[operation as usize][ending as usize];
                (call, result, count.load(Ordering::Relaxed))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_own_place() {
        for (place, (operation, _)) in OPERATIONS.iter().enumerate() {
            assert_eq!(*operation as usize, place);
        }
        for (place, (ending, _)) in ENDINGS.iter().enumerate() {
            assert_eq!(*ending as usize, place);
        }
        let calls = Calls::default();
        calls.add(Operation::Remove, Ending::Lost);
        let counted = calls.counts().find(|(.., count)| *count > 0);
        assert_eq!(counted, Some(("remove-password", "lost", 1)));
        assert_eq!(calls.counts().count(), 20);
    }
}
