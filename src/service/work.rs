//! Everything that is due, with bounded concurrency: who has their turn calls
//! [`Engine::advance`], as every other way of using Keywheel does.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use super::holdoff::Holdoffs;
use super::queue::{Limits, Queue};
use crate::rotation::AdvanceFault;
use crate::rotation::advance::{Engine, Order, Stop};
use crate::store::{Due, Share, StoreFault};

/// So many are read at once. It is more than the places there are, so that none stays free, and a
/// month of arrears of a million connections is not held in memory.
const BATCH: usize = 4096;

/// The passes under way, and those that wait for their turn.
#[derive(Debug)]
pub struct Work {
    queue: Queue,
    holdoffs: Holdoffs,
    passes: JoinSet<Result<Stop, AdvanceFault>>,
    whose: HashMap<Id, Due>,
}

impl Work {
    /// Nothing is under way yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            queue: Queue::new(limits),
            holdoffs: Holdoffs::default(),
            passes: JoinSet::new(),
            whose: HashMap::new(),
        }
    }

    /// Reads what is due, and begins as much of it as there is room for.
    ///
    /// # Errors
    ///
    /// Where the store can't be read; what is under way goes on.
    pub async fn look(&mut self, engine: &Arc<Engine>) -> Result<(), StoreFault> {
        let now = engine.clock.now();
        if self.queue.waiting() < BATCH / 2 {
            // Those that are known already stand among what is read.
            let known = self.queue.under_way() + self.queue.waiting() + self.holdoffs.count();
            let share = Share {
                altogether: BATCH + known,
                // Those that it has in hand stand among them.
                of_one_tenant: self.queue.most_of_one_tenant() + self.holdoffs.count(),
            };
            for due in engine.store.due(now, share).await? {
                if !self.holdoffs.holds(&due.name, now) {
                    self.queue.push(due);
                }
            }
        }
        self.begin(engine);
        Ok(())
    }

    /// Begins what there is room for.
    pub fn begin(&mut self, engine: &Arc<Engine>) {
        while let Some(due) = self.queue.next() {
            let (engine, name) = (Arc::clone(engine), due.name.clone());
            let pass = self
                .passes
                .spawn(async move { engine.advance(&name, Order::DUE).await });
            self.whose.insert(pass.id(), due);
        }
    }

    /// Waits for the end of a pass and takes note of it; waits for ever where none is under way.
    pub async fn one_done(&mut self, engine: &Arc<Engine>) -> Ended {
        match self.passes.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, outcome))) => self.ended(engine, id, Ok(outcome)),
            Some(Err(error)) => self.ended(engine, error.id(), Err(error)),
        }
    }

    /// How many passes are under way.
    pub fn under_way(&self) -> usize {
        self.queue.under_way()
    }

    /// How many connections wait for their turn.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Nothing more is begun.
    pub fn wind_down(&mut self) {
        self.queue.clear_waiting();
    }

    /// Ends what is still under way where it stands: the journal says how to go on (D2).
    pub fn abort(&mut self) {
        self.passes.abort_all();
    }

    fn ended(
        &mut self,
        engine: &Engine,
        id: Id,
        outcome: Result<Result<Stop, AdvanceFault>, JoinError>,
    ) -> Ended {
        let Some(due) = self.whose.remove(&id) else {
            return Ended::Well;
        };
        self.queue.done(&due);
        let now = engine.clock.now();
        let name = due.name;
        match outcome {
            Ok(Ok(Stop::Busy)) => {
                tracing::debug!(connection = %name, "another process works on it");
                self.holdoffs.busy(name, now);
                Ended::Busy
            }
            Ok(Ok(Stop::At(_) | Stop::NotBegun(_))) => {
                self.holdoffs.well(&name);
                Ended::Well
            }
            Ok(Err(AdvanceFault::Interrupted)) => Ended::Well,
            Ok(Err(fault)) => {
                let wait = self.holdoffs.failed(name.clone(), now);
                tracing::error!(connection = %name, wait_s = wait.as_secs(), "{fault}");
                Ended::Failed
            }
            Err(error) => {
                let wait = self.holdoffs.failed(name.clone(), now);
                tracing::error!(
                    connection = %name,
                    wait_s = wait.as_secs(),
                    "its pass ended unexpectedly; the journal is whole: {error}"
                );
                Ended::Panicked
            }
        }
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it should: what failed in it is in the journal.
    Well,
    /// Another process works on the connection.
    Busy,
    /// It could not be journalled.
    Failed,
    /// A fault of Keywheel's own (G8).
    Panicked,
}

/// Every way, with the word that it has in metrics.
pub const ENDS: [(Ended, &str); 4] = [
    (Ended::Well, "well"),
    (Ended::Busy, "busy"),
    (Ended::Failed, "failed"),
    (Ended::Panicked, "panicked"),
];
