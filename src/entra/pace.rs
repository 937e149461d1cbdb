//! Changes at the pace that Graph allows: its limits are spent without being run into.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::id::{ClientId, TenantId};
use crate::clock::Clock;

/// So many writes in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimit {
    /// The most writes.
    pub writes: u32,
    /// In any stretch of this length.
    pub window: Duration,
}

/// What Graph allows. (Microsoft Graph service-specific throttling limits, identity and access.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// One calling application in one tenant.
    pub application: WriteLimit,
    /// All that happens in one tenant.
    pub tenant: WriteLimit,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self {
            application: WriteLimit {
                writes: 3_000,
                window: Duration::from_secs(150),
            },
            tenant: WriteLimit {
                writes: 18_000,
                window: Duration::from_secs(300),
            },
        }
    }
}

impl WriteLimit {
    /// What is left unspent: clocks differ, and a write arrives later than it was sent.
    const SPARE: u32 = 50;

    /// How many may go out at once after a rest: one part in this many.
    const BURST: u32 = 50;

    fn burst(self) -> u32 {
        (self.writes / Self::BURST).max(1)
    }

    /// The time between two writes. A full burst and what follows it at this pace stay within the
    /// limit in any window: burst + steady = limit − spare.
    fn interval(self) -> Duration {
        let spare = self.writes.div_ceil(Self::SPARE);
        let steady = self.writes.saturating_sub(spare + self.burst()).max(1);
        self.window / steady
    }
}

/// The pace of each tenant, and of each application that calls in it.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    limits: WriteLimits,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// When the next write would be due if all came at the steady interval (GCRA).
    due: HashMap<Bucket, DateTime<Utc>>,
    /// The last time at which somebody asked.
    asked_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bucket {
    Tenant(TenantId),
    Application(TenantId, ClientId),
}

/// Buckets are looked through for those that are full again when there are this many.
const MANY: usize = 4096;

/// Clocks are corrected by less.
const SET_BACK: TimeDelta = TimeDelta::seconds(2);

impl Pace {
    pub(super) fn new(limits: WriteLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            limits,
            turns: Mutex::default(),
        }
    }

    /// Waits for the turn of one write by `caller` in `tenant`. Turns are given in the order in
    /// which they are asked for.
    pub(super) async fn pass(&self, tenant: TenantId, caller: ClientId) {
        let now = self.clock.now();
        let wait = (self.take(tenant, caller, now) - now).to_std();
        if let Ok(wait) = wait
            && !wait.is_zero()
        {
            tracing::debug!(%tenant, wait_ms = wait.as_millis(), "waits for its turn to write");
            self.clock.sleep(wait).await;
        }
    }

    /// Takes the next turn, and says when it is.
    fn take(&self, tenant: TenantId, caller: ClientId, now: DateTime<Utc>) -> DateTime<Utc> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if now + SET_BACK < turns.asked_at {
            // Everybody would wait for the clock to come round again.
            turns.due.clear();
        }
        turns.asked_at = now;
        let due = &mut turns.due;
        if due.len() >= MANY {
            due.retain(|_, at| *at > now);
        }
        let buckets = [
            (Bucket::Tenant(tenant), self.limits.tenant),
            (Bucket::Application(tenant, caller), self.limits.application),
        ];
        let turn = buckets.iter().fold(now, |turn, (bucket, limit)| {
            let ahead = limit.interval() * (limit.burst() - 1);
            let due_at = due.get(bucket).copied().unwrap_or(now);
            turn.max(due_at - delta(ahead))
        });
        for (bucket, limit) in buckets {
            let due_at = due.entry(bucket).or_insert(turn);
            *due_at = (*due_at).max(turn) + delta(limit.interval());
        }
        turn
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::VirtualClock;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn client(n: u128) -> ClientId {
        ClientId(Uuid::from_u128(n))
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn pace() -> (Arc<VirtualClock>, Pace) {
        let clock = Arc::new(VirtualClock::new(start()));
        (clock.clone(), Pace::new(WriteLimits::default(), clock))
    }

    /// The most that lie in any stretch of this length.
    fn densest(turns: &[DateTime<Utc>], window: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for last in 0..turns.len() {
            while turns[last] - turns[first] >= delta(window) {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    #[test]
    fn f12_an_application_at_its_limit_spends_95_percent_of_it_and_never_more() {
        let (_, pace) = pace();
        let turns: Vec<_> = (0..30_000)
            .map(|_| pace.take(TENANT, client(1), start()))
            .collect();
        assert!(turns.is_sorted());
        assert!(densest(&turns, Duration::from_secs(150)) <= 3_000);
        let seconds = (turns[29_999] - start()).as_seconds_f64();
        let share = 30_000.0 / (seconds * 20.0);
        assert!((0.95..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn f12_a_tenant_of_many_callers_keeps_to_its_own_limit() {
        let (_, pace) = pace();
        let turns: Vec<_> = (0..60_000)
            .map(|n| pace.take(TENANT, client(n % 100), start()))
            .collect();
        assert!(densest(&turns, Duration::from_secs(300)) <= 18_000);
        let seconds = (*turns.iter().max().unwrap() - start()).as_seconds_f64();
        let share = 60_000.0 / (seconds * 60.0);
        assert!((0.95..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn f12_one_tenant_does_not_slow_another() {
        let (_, pace) = pace();
        for _ in 0..10_000 {
            pace.take(TENANT, client(1), start());
        }
        let other = TenantId(Uuid::from_u128(2));
        assert_eq!(pace.take(other, client(1), start()), start());
    }

    #[tokio::test]
    async fn a_few_writes_wait_for_nothing() {
        let (clock, pace) = pace();
        for _ in 0..60 {
            pace.pass(TENANT, client(1)).await;
        }
        assert_eq!(clock.now(), start());
        pace.pass(TENANT, client(1)).await;
        assert!(clock.now() > start());
    }

    #[test]
    fn f11_a_clock_set_back_makes_nobody_wait_for_hours() {
        let (_, pace) = pace();
        pace.take(TENANT, client(1), start());
        let earlier = start() - TimeDelta::hours(5);
        assert_eq!(pace.take(TENANT, client(1), earlier), earlier);
    }
}
