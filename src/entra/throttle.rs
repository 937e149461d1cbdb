//! How long a tenant has to wait after a 429: no more and no less than it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::id::TenantId;
use crate::clock::Clock;

/// Waits up to this long are slept out by the call itself; longer ones are the caller's to plan.
const PATIENCE: Duration = Duration::from_secs(5);

/// No server means more than this; what says so is broken, or the clock has jumped.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Until when each tenant has to wait, for all that this process does.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Arc<dyn Clock>,
    until: Mutex<HashMap<TenantId, DateTime<Utc>>>,
}

impl Throttle {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            until: Mutex::default(),
        }
    }

    /// The server said that `tenant` has to wait; what it said before may reach further.
    pub(super) fn told(&self, tenant: TenantId, wait: Duration) {
        let until = self.clock.now() + wait.min(LONGEST);
        let mut tenants = self.tenants();
        let entry = tenants.entry(tenant).or_insert(until);
        *entry = (*entry).max(until);
    }

    /// Returns when `tenant` may be called, or at once with the time that is left.
    pub(super) async fn pass(&self, tenant: TenantId) -> Result<(), Duration> {
        // Again after each sleep: another call may have been told to wait meanwhile.
        while let Some(left) = self.left(tenant) {
            if left > PATIENCE {
                return Err(left);
            }
            self.clock.sleep(left).await;
        }
        Ok(())
    }

    fn left(&self, tenant: TenantId) -> Option<Duration> {
        let mut tenants = self.tenants();
        let left = (*tenants.get(&tenant)? - self.clock.now()).to_std();
        match left {
            Ok(left) if !left.is_zero() && left <= LONGEST => Some(left),
            _ => {
                tenants.remove(&tenant);
                None
            }
        }
    }

    fn tenants(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, DateTime<Utc>>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a `Retry-After` header means: seconds, or an HTTP date, which counts from the answer's own
/// `Date`, so that this host's clock plays no part. `None`: it can't be read.
pub(super) fn retry_after(header: &str, answered_at: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for the type fails here.
        let seconds = header.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let until = super::date::http(header)?;
    let wait = (until - answered_at).to_std().unwrap_or_default();
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn b3_retry_after_is_read_in_both_forms_and_bounded() {
        let date = at(1_445_412_420);
        for (header, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Wed, 21 Oct 2099 07:00:00 GMT", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let wait = retry_after(header, date).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{header}");
        }
    }

    #[tokio::test]
    async fn b3_the_later_of_two_waits_counts_and_then_it_is_over() {
        let clock = Arc::new(VirtualClock::new(at(0)));
        let throttle = Throttle::new(clock.clone());
        let tenant = TenantId(uuid::Uuid::from_u128(1));
        throttle.told(tenant, Duration::from_secs(30));
        throttle.told(tenant, Duration::from_secs(10));
        assert_eq!(throttle.pass(tenant).await, Err(Duration::from_secs(30)));
        clock.advance(Duration::from_secs(26));
        assert_eq!(throttle.pass(tenant).await, Ok(()));
        assert_eq!(clock.now(), at(30));
        assert!(throttle.tenants().is_empty());
    }

    #[tokio::test]
    async fn f11_a_clock_set_back_makes_nobody_wait_for_days() {
        let clock = Arc::new(VirtualClock::new(at(1_000_000)));
        let throttle = Throttle::new(clock.clone());
        let tenant = TenantId(uuid::Uuid::from_u128(1));
        throttle.told(tenant, Duration::from_secs(30));
        clock.set(at(0));
        assert_eq!(throttle.pass(tenant).await, Ok(()));
    }
}
