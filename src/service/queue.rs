//! Whose turn is next (pure): what expires first goes first, and no tenant takes all places.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::connection::ConnectionName;
use crate::entra::TenantId;
use crate::store::Due;

/// So many of one tenant wait at most: a tenant that answers nothing does not fill the queue.
const MOST_WAITING: usize = 512;

/// How many passes may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Altogether.
    pub passes: usize,
    /// For connections of one tenant, so that one that answers slowly leaves room for the others.
    pub passes_per_tenant: usize,
}

/// Connections that wait for their turn, and those that have it.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    waiting: HashMap<TenantId, VecDeque<Due>>,
    known: HashSet<ConnectionName>,
    under_way: HashMap<TenantId, usize>,
    passes: usize,
}

impl Queue {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: HashMap::new(),
            known: HashSet::new(),
            under_way: HashMap::new(),
            passes: 0,
        }
    }

    /// `due` waits for its turn, behind those of its tenant that came before. One that waits or has
    /// its turn already is not taken twice, and a tenant for which many wait comes another time.
    pub fn push(&mut self, due: Due) {
        let waiting = self.waiting.entry(due.tenant_id).or_default();
        if waiting.len() < MOST_WAITING && self.known.insert(due.name.clone()) {
            waiting.push_back(due);
        }
    }

    /// No more of one tenant wait or have their turn.
    pub fn most_of_one_tenant(&self) -> usize {
        self.limits.passes_per_tenant + MOST_WAITING
    }

    /// The next one, which has its turn from now on; `None`: nobody waits, or no place is free.
    pub fn next(&mut self) -> Option<Due> {
        if self.passes >= self.limits.passes {
            return None;
        }
        let tenant = self
            .waiting
            .iter()
            .filter(|(tenant, _)| self.has_room(**tenant))
            .filter_map(|(tenant, waiting)| Some((*tenant, waiting.front()?)))
            .min_by_key(|(tenant, due)| {
                // Of two that expire together, the one whose tenant has less under way.
                let expires_at = (due.expires_at.is_none(), due.expires_at);
                (expires_at, self.under_way.get(tenant).copied())
            })
            .map(|(tenant, _)| tenant)?;
        let waiting = self.waiting.get_mut(&tenant)?;
        let due = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&tenant);
        }
        *self.under_way.entry(tenant).or_default() += 1;
        self.passes += 1;
        Some(due)
    }

    /// `due`'s turn is over; it may be pushed again.
    pub fn done(&mut self, due: &Due) {
        self.known.remove(&due.name);
        self.passes = self.passes.saturating_sub(1);
        if let Some(count) = self.under_way.get_mut(&due.tenant_id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.under_way.remove(&due.tenant_id);
            }
        }
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.known.len().saturating_sub(self.passes)
    }

    /// How many have their turn.
    pub fn under_way(&self) -> usize {
        self.passes
    }

    /// Nobody waits any more; those that have their turn keep it.
    pub fn clear_waiting(&mut self) {
        for due in self.waiting.drain().flat_map(|(_, waiting)| waiting) {
            self.known.remove(&due.name);
        }
    }

    fn has_room(&self, tenant: TenantId) -> bool {
        let under_way = self.under_way.get(&tenant).copied().unwrap_or(0);
        under_way < self.limits.passes_per_tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    fn due(name: &str, tenant: u128, expires_at: Option<i64>) -> Due {
        Due {
            name: name.parse().unwrap(),
            tenant_id: TenantId(Uuid::from_u128(tenant)),
            expires_at: expires_at.map(at),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn queue(passes: usize, passes_per_tenant: usize) -> Queue {
        Queue::new(Limits {
            passes,
            passes_per_tenant,
        })
    }

    fn turns(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.next())
            .map(|due| due.name.to_string())
            .collect()
    }

    #[test]
    fn f8_those_that_expire_first_go_first_whosever_they_are() {
        let mut queue = queue(10, 10);
        queue.push(due("b", 1, Some(20)));
        queue.push(due("d", 1, None));
        queue.push(due("a", 2, Some(10)));
        queue.push(due("c", 2, Some(30)));
        assert_eq!(turns(&mut queue), ["a", "b", "c", "d"]);
    }

    #[test]
    fn f12_one_tenant_never_takes_all_places() {
        let mut queue = queue(4, 3);
        for n in 0..10 {
            queue.push(due(&format!("slow-{n}"), 1, Some(n)));
        }
        queue.push(due("other", 2, Some(100)));
        assert_eq!(turns(&mut queue), ["slow-0", "slow-1", "slow-2", "other"]);
        assert_eq!((queue.under_way(), queue.waiting()), (4, 7));
        // A place that becomes free in a full tenant goes to that tenant; no other waits.
        queue.done(&due("slow-0", 1, Some(0)));
        assert_eq!(turns(&mut queue), ["slow-3"]);
    }

    #[test]
    fn f9_nobody_has_two_turns_at_once() {
        let mut queue = queue(4, 4);
        queue.push(due("a", 1, None));
        queue.push(due("a", 1, None));
        assert_eq!(turns(&mut queue), ["a"]);
        queue.push(due("a", 1, None));
        assert_eq!(turns(&mut queue), [""; 0]);
        queue.done(&due("a", 1, None));
        queue.push(due("a", 1, None));
        assert_eq!(turns(&mut queue), ["a"]);
    }

    #[test]
    fn what_waits_can_be_let_go() {
        let mut queue = queue(1, 1);
        queue.push(due("a", 1, None));
        queue.push(due("b", 1, None));
        assert_eq!(turns(&mut queue), ["a"]);
        queue.clear_waiting();
        assert_eq!((queue.under_way(), queue.waiting()), (1, 0));
        queue.push(due("b", 1, None));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn f8_one_tenant_s_arrears_do_not_fill_the_queue() {
        let mut queue = queue(4, 3);
        for n in 0..2_000 {
            queue.push(due(&format!("slow-{n}"), 1, Some(n)));
        }
        assert_eq!(queue.waiting(), MOST_WAITING);
        assert_eq!(queue.most_of_one_tenant(), MOST_WAITING + 3);
        queue.push(due("other", 2, Some(5_000)));
        assert_eq!(turns(&mut queue), ["slow-0", "slow-1", "slow-2", "other"]);
    }
}
