//! How many writes a tenant takes: what is above is refused with 429, and counts all the same.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::entra::{ClientId, TenantId, WriteLimit, WriteLimits};

/// The writes of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Quota {
    tenants: HashMap<TenantId, VecDeque<DateTime<Utc>>>,
    applications: HashMap<(TenantId, ClientId), VecDeque<DateTime<Utc>>>,
}

impl Quota {
    /// Counts a write; the time to wait where it is one too many.
    pub(super) fn write(
        &mut self,
        limits: WriteLimits,
        tenant: TenantId,
        caller: ClientId,
        now: DateTime<Utc>,
    ) -> Option<Duration> {
        let applications = self.applications.entry((tenant, caller)).or_default();
        let tenants = self.tenants.entry(tenant).or_default();
        let waits = [
            count(applications, limits.application, now),
            count(tenants, limits.tenant, now),
        ];
        waits.into_iter().flatten().max()
    }
}

fn count(
    writes: &mut VecDeque<DateTime<Utc>>,
    limit: WriteLimit,
    now: DateTime<Utc>,
) -> Option<Duration> {
    let window = TimeDelta::from_std(limit.window).unwrap_or(TimeDelta::MAX);
    while writes.front().is_some_and(|at| *at + window <= now) {
        writes.pop_front();
    }
    writes.push_back(now);
    let above = writes.len().checked_sub(limit.writes as usize + 1)?;
    let room_at = *writes.get(above)? + window;
    (room_at - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn b3_one_write_too_many_waits_until_the_first_is_out_of_the_window() {
        let limit = WriteLimit {
            writes: 2,
            window: Duration::from_secs(10),
        };
        let limits = WriteLimits {
            application: limit,
            tenant: WriteLimit { writes: 3, ..limit },
        };
        let mut quota = Quota::default();
        let tenant = TenantId(Uuid::from_u128(1));
        let mut write = |caller, second| {
            let caller = ClientId(Uuid::from_u128(caller));
            let now = DateTime::UNIX_EPOCH + Duration::from_secs(second);
            let wait = quota.write(limits, tenant, caller, now);
            wait.map(|wait| wait.as_secs())
        };
        assert_eq!(write(1, 0), None);
        assert_eq!(write(1, 4), None);
        assert_eq!(write(1, 5), Some(5), "the first of three leaves at 10");
        assert_eq!(write(2, 6), Some(4), "four in the tenant");
        assert_eq!(write(2, 16), None);
    }
}
