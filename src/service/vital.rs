//! How the service itself is, for health checks and metrics: written by its loop, read by others.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::work::Ended;

/// A loop that has not looked for what is due for this long is not well: it does so each second.
const LATE: Duration = Duration::from_secs(60);

/// Numbers that outlive a reload of the settings.
#[derive(Debug, Default)]
pub struct Vital {
    looked_at: AtomicI64,
    store_fails: AtomicBool,
    next_action_at: AtomicI64,
    connections: AtomicU64,
    under_way: AtomicU64,
    waiting: AtomicU64,
    passes: [AtomicU64; 4],
}

/// Why the service is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It has not got so far, or its loop hangs.
    #[error("nothing was looked for in the last minute")]
    NotLooking,
    /// It can't read its store.
    #[error("the store can't be read; the log says why")]
    Store,
    /// It has nothing to do.
    #[error("there are no connections; adopt one with `keywheel connection add`")]
    NoConnections,
}

impl Vital {
    /// What is due was looked for; `read`: and the store could be read.
    pub fn looked(&self, at: DateTime<Utc>, read: bool) {
        self.looked_at
            .store(at.timestamp_millis(), Ordering::Relaxed);
        self.store_fails.store(!read, Ordering::Relaxed);
    }

    /// What is to be done first is due then.
    pub fn next_action(&self, at: Option<DateTime<Utc>>) {
        let at = at.map_or(i64::MAX, |at| at.timestamp_millis());
        self.next_action_at.store(at, Ordering::Relaxed);
    }

    /// For how long what is due first has been due.
    pub fn lateness(&self, now: DateTime<Utc>) -> Duration {
        let due_at = self.next_action_at.load(Ordering::Relaxed);
        let late = now.timestamp_millis().saturating_sub(due_at);
        // Nothing was looked for yet.
        let known = due_at > 0;
        Duration::from_millis(u64::try_from(late).unwrap_or(0) * u64::from(known))
    }

    /// So many connections are kept.
    pub fn connections(&self, count: usize) {
        self.connections.store(count as u64, Ordering::Relaxed);
    }

    /// So many passes are under way, so many wait for their turn.
    pub fn queued(&self, under_way: usize, waiting: usize) {
        self.under_way.store(under_way as u64, Ordering::Relaxed);
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// A pass has ended.
    pub fn ended(&self, how: Ended) {
        self.passes[how as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many passes have ended like this.
    pub fn passes(&self, how: Ended) -> u64 {
        self.passes[how as usize].load(Ordering::Relaxed)
    }

    /// How many connections are kept, by the last count.
    pub fn connection_count(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many passes are under way.
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many connections wait for their turn.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// When what is due was last looked for.
    pub fn looked_at(&self) -> Option<DateTime<Utc>> {
        match self.looked_at.load(Ordering::Relaxed) {
            0 => None,
            at => DateTime::from_timestamp_millis(at),
        }
    }

    /// Whether it does what it is there for.
    ///
    /// # Errors
    ///
    /// What keeps it from that.
    pub fn ready(&self, now: DateTime<Utc>) -> Result<(), NotReady> {
        // A clock that was set back is no reason to be called late.
        let late = self.looked_at().is_none_or(|at| at + LATE < now);
        if late {
            Err(NotReady::NotLooking)
        } else if self.store_fails.load(Ordering::Relaxed) {
            Err(NotReady::Store)
        } else if self.connection_count() == 0 {
            Err(NotReady::NoConnections)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_ready_is_who_looks_reads_and_has_something_to_do() {
        let vital = Vital::default();
        let now = DateTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(vital.ready(now), Err(NotReady::NotLooking));
        vital.looked(now, true);
        assert_eq!(vital.ready(now), Err(NotReady::NoConnections));
        vital.connections(1);
        assert_eq!(vital.ready(now + LATE), Ok(()));
        assert_eq!(vital.ready(now + LATE * 2), Err(NotReady::NotLooking));
        vital.looked(now, false);
        assert_eq!(vital.ready(now), Err(NotReady::Store));
    }
}
