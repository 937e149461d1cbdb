//! Any journal, any time: no step that is planned breaks a promise.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::connection::Overlap;
use keywheel::entra::KeyId;
use keywheel::journal::{
    Absence, AttemptName, ConnectionId, Delivery, Failure, InstanceId, Journal, Origin, Outcome,
    Removal, Retry, Role, Rotation, RotationId, Secret, State, Trigger, Watch,
};
use keywheel::rotation::plan::{Ask, Next, Step, Terms, plan};
use proptest::option;
use proptest::prelude::*;
use ulid::Ulid;

use crate::{DAY, declared, key, start, terms};

/// Times around the start: seconds, hours, months.
fn any_time() -> impl Strategy<Value = DateTime<Utc>> + Clone {
    prop_oneof![
        -100_i64..100,
        -100_000_i64..100_000,
        -10_000_000_i64..10_000_000
    ]
    .prop_map(|seconds| start() + TimeDelta::seconds(seconds))
}

fn any_key() -> impl Strategy<Value = KeyId> {
    (1_u128..6).prop_map(key)
}

fn any_attempt() -> impl Strategy<Value = AttemptName> {
    (0_u128..4).prop_map(|n| AttemptName {
        instance: InstanceId(Ulid(1)),
        attempt: Ulid(n),
    })
}

fn any_retry() -> impl Strategy<Value = Retry> {
    (0_u32..4, option::of(any_time()), any::<bool>()).prop_map(
        |(failures, not_before, permanent)| Retry {
            failures,
            not_before,
            last: (failures > 0).then(|| Failure {
                at: start(),
                code: "x".into(),
                message: "x".into(),
                remedy: None,
                permanent,
            }),
        },
    )
}

fn any_absence() -> impl Strategy<Value = Absence> {
    (0_u32..5, option::of(any_time()), option::of(any_time()))
        .prop_map(|(reads, since, last)| Absence { reads, since, last })
}

prop_compose! {
    fn any_secret()(
        key_id in any_key(),
        role in prop::sample::select(vec![Role::Pending, Role::Current, Role::Previous, Role::Doomed]),
        origin in prop::sample::select(vec![Origin::Unchecked, Origin::Adopted, Origin::Minted]),
        generation in 0_u32..5,
        starts_at in option::of(any_time()),
        expires_at in option::of(any_time()),
    ) -> Secret {
        Secret {
            key_id, role, origin, generation, hint: "abc".into(), starts_at, expires_at,
            attempt: None,
            refused: None,
        }
    }
}

fn any_state() -> impl Strategy<Value = State> {
    let outcome = prop_oneof![
        any_absence().prop_map(|absence| Outcome::Unknown { absence }),
        Just(Outcome::NotMade),
        any_key().prop_map(|key_id| Outcome::Orphaned { key_id }),
    ];
    let pair = || (any_key(), any_key());
    let plain = prop_oneof![
        (any_attempt(), outcome)
            .prop_map(|(attempt, outcome)| State::Intended { attempt, outcome }),
        (any_key(), any_time()).prop_map(|(new, minted_at)| State::Minted { new, minted_at }),
        any_key().prop_map(|new| State::Verified { new }),
        pair().prop_map(|(new, old)| State::Promoted { new, old }),
        pair().prop_map(|(new, old)| State::Delivering { new, old }),
        (pair(), option::of(any_time())).prop_map(|((new, old), revoke_at)| State::Overlapping {
            new,
            old,
            revoke_at
        }),
        pair().prop_map(|(new, old)| State::Revoking { new, old }),
        any_key().prop_map(|new| State::Abandoning { new }),
        Just(State::Abandoned),
    ];
    (plain, any::<bool>()).prop_map(|(state, blocked)| match blocked {
        false => state,
        true => State::Blocked {
            since: start(),
            interrupted: Box::new(state),
        },
    })
}

fn any_overlap() -> impl Strategy<Value = Overlap> {
    prop_oneof![
        Just(Overlap::NextRotation),
        Just("0s".parse().unwrap()),
        Just("7d".parse().unwrap())
    ]
}

prop_compose! {
    fn any_rotation()(
        id in any::<u128>(),
        state in any_state(),
        overlap in any_overlap(),
        retry in any_retry(),
    ) -> Rotation {
        Rotation {
            id: RotationId(Ulid(id)), trigger: Trigger::Manual, started_at: start(), overlap,
            state, retry,
        }
    }
}

prop_compose! {
    fn any_delivery()(
        destination in prop::sample::select(vec!["a", "b", "c"]),
        wants in 0_u32..5,
        holds in 0_u32..5,
        retry in any_retry(),
    ) -> Delivery {
        Delivery { destination: destination.into(), wants, holds, taken_at: None, retry }
    }
}

prop_compose! {
    fn any_removal()(
        key_id in any_key(),
        called_at in option::of(any_time()),
        absence in any_absence(),
        retry in any_retry(),
    ) -> Removal {
        Removal { key_id, asked_at: start(), called_at, acknowledged: false, absence, retry }
    }
}

prop_compose! {
    fn any_journal()(
        paused in prop::bool::weighted(0.2),
        removed_at in option::weighted(0.05, any_time()),
        due_at in any_time(),
        mutated_at in option::of(any_time()),
        mut secrets in prop::collection::vec(any_secret(), 0..6),
        mut rotations in prop::collection::vec(any_rotation(), 0..4),
        mut deliveries in prop::collection::vec(any_delivery(), 0..4),
        mut removals in prop::collection::vec(any_removal(), 0..3),
        watches in prop::collection::vec((any_attempt(), any_time(), any_retry()), 0..2),
        pull in any::<bool>(),
    ) -> Journal {
        // What the store's keys and indexes make certain.
        secrets.sort_by_key(|secret| secret.key_id);
        secrets.dedup_by_key(|secret| secret.key_id);
        deliveries.sort_by(|a, b| a.destination.cmp(&b.destination));
        deliveries.dedup_by(|a, b| a.destination == b.destination);
        removals.sort_by_key(|removal| removal.key_id);
        removals.dedup_by_key(|removal| removal.key_id);
        let mut seen = false;
        rotations.retain(|rotation| {
            let unpromoted = rotation.state.effective().may_be_promoted();
            !(unpromoted && std::mem::replace(&mut seen, true))
        });
        let mut declared = declared();
        declared.pull = pull;
        Journal {
            id: ConnectionId(1), declared, object_id: None, paused, removed_at,
            anchor: (due_at - DAY * 30).date_naive(), due_at, next_action_at: None,
            planned_at: None, mutated_at,
            secrets, rotations, deliveries, removals,
            watches: watches
                .into_iter()
                .map(|(attempt, next_look, retry)| Watch {
                    attempt, since: start(), next_look, retry,
                })
                .collect(),
        }
    }
}

fn any_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Due),
        Just(Ask::Resume),
        option::of(any_overlap()).prop_map(Ask::Rotate),
    ]
}

struct Case<'a> {
    journal: &'a Journal,
    terms: &'a Terms,
    now: DateTime<Utc>,
}

impl Case<'_> {
    fn rotation(&self, id: RotationId) -> &Rotation {
        self.journal
            .rotations
            .iter()
            .find(|it| it.id == id)
            .unwrap()
    }

    fn holds(&self, generation: u32) -> bool {
        let held = |it: &Delivery| it.destination == "a" && it.holds >= generation;
        self.journal.deliveries.iter().any(held)
    }

    fn may_change(&self, retry: &Retry) -> bool {
        let spacing = Duration::from_secs(10);
        let spaced = self
            .journal
            .mutated_at
            .is_none_or(|at| at + spacing <= self.now || at > self.now);
        spaced && !self.journal.paused && self.may_try(retry)
    }

    fn may_try(&self, retry: &Retry) -> bool {
        // What lies more than a day ahead was written by a clock that was wrong (F11).
        let day = Duration::from_secs(86_400);
        retry
            .not_before
            .is_none_or(|at| at <= self.now || at > self.now + day)
    }

    /// Whether what the journal shows allows this step.
    fn allows(&self, step: &Step) -> bool {
        let Self { journal, now, .. } = self;
        let current = journal.current();
        match step {
            Step::Begin { .. } => {
                self.is_free() && current.is_some() && self.may_change(&Retry::default())
            }
            Step::Attempt(id) => {
                let rotation = self.rotation(*id);
                let known = match rotation.state.effective() {
                    State::Intended {
                        outcome: Outcome::NotMade,
                        ..
                    } => true,
                    State::Intended {
                        outcome: Outcome::Orphaned { key_id },
                        ..
                    } => !self.holds_up(*key_id),
                    _ => false,
                };
                known && self.may_change(&rotation.retry)
            }
            Step::Revoke(id) => self.may_revoke(self.rotation(*id)),
            Step::Remove(key_id) => {
                let removal = journal.removals.iter().find(|it| it.key_id == *key_id);
                let secret = journal.secret(*key_id).unwrap();
                let ours = secret.origin != Origin::Unchecked;
                let goes = secret.role == Role::Doomed || self.is_replaced(secret);
                ours && goes
                    && removal
                        .is_some_and(|it| it.called_at.is_none() && self.may_change(&it.retry))
            }
            Step::Abandon(id) => {
                let State::Minted { new, minted_at } = self.rotation(*id).state.effective() else {
                    return false;
                };
                let spare = |it: &Secret| it.expires_at.is_none_or(|at| at > *now + DAY);
                let starts_at = journal.secret(*new).and_then(|it| it.starts_at);
                let past: Vec<_> = [Some(*minted_at), starts_at]
                    .into_iter()
                    .flatten()
                    .filter(|at| at <= now)
                    .collect();
                let old = !past.is_empty() && past.iter().all(|at| *at + DAY <= *now);
                let refused = self.rotation(*id).retry.failures >= 3;
                old && refused && current.is_some_and(spare) && !journal.paused
            }
            // Where it is gone already, the current one must be held.
            Step::Enter(_, State::Overlapping { new, .. }) => {
                let held = journal.secret(*new).or(current);
                held.is_some_and(|it| self.holds(it.generation))
            }
            Step::Deliver(name) => {
                let delivery = journal.deliveries.iter().find(|it| it.destination == *name);
                let lacks =
                    |it: &Secret| delivery.is_none_or(|d| d.holds < it.generation.max(d.wants));
                current.is_some_and(lacks) && delivery.is_none_or(|it| self.may_try(&it.retry))
            }
            Step::Look(id) | Step::Prove(id) => {
                !journal.paused && self.may_try(&self.rotation(*id).retry)
            }
            Step::Promote(id) => !journal.paused && self.may_try(&self.rotation(*id).retry),
            Step::Confirm(_) => !journal.paused,
            Step::Watch(attempt) => journal.watches.iter().any(|it| {
                // Further ahead was written by a clock that was wrong.
                let come = it.next_look <= *now || it.next_look > *now + DAY;
                it.attempt == *attempt && come && self.may_try(&it.retry)
            }),
            Step::Enter(..) => true,
        }
    }

    /// P4, P5: nothing stands before `promoted`, but what can't be removed near the end (P8).
    fn is_free(&self) -> bool {
        let mut rotations = self.journal.rotations.iter();
        !rotations.any(|it| match it.state.effective() {
            State::Abandoning { new } => self.holds_up(*new),
            state => state.is_unpromoted(),
        })
    }

    fn holds_up(&self, key_id: KeyId) -> bool {
        let current = self.journal.current().and_then(|it| it.expires_at);
        let urgent = current.is_some_and(|at| at <= self.now + DAY * 3);
        let going = |it: &Removal| it.key_id == key_id && !(urgent && it.retry.failures >= 3);
        self.journal.removals.iter().any(going)
    }

    fn may_revoke(&self, rotation: &Rotation) -> bool {
        let State::Overlapping { old, revoke_at, .. } = rotation.state.effective() else {
            return false;
        };
        let (Some(old), Some(current)) = (self.journal.secret(*old), self.journal.current()) else {
            return false;
        };
        let over = match revoke_at {
            Some(at) => *at <= self.now,
            // A rotation begins, it was tried when one began, or it has been overtaken by one.
            None => {
                self.is_free()
                    || rotation.retry.failures > 0
                    || rotation.state.new_key() != Some(current.key_id)
            }
        };
        over && self.is_replaced(old) && self.may_change(&rotation.retry)
    }

    /// P2, P3: it is ours, and a newer one is current and held where it is required.
    fn is_replaced(&self, old: &Secret) -> bool {
        let newer = |it: &Secret| it.generation > old.generation && self.holds(it.generation);
        let ours = old.role == Role::Previous && old.origin != Origin::Unchecked;
        ours && self.journal.current().is_some_and(newer)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn p1_to_p5_no_step_breaks_a_promise_whatever_the_journal(
        journal in any_journal(),
        overlap in any_overlap(),
        ask in any_ask(),
        now in any_time(),
    ) {
        let terms = terms(overlap);
        let case = Case { journal: &journal, terms: &terms, now };
        match plan(&journal, case.terms, now, ask) {
            Next::Do(step) => {
                prop_assert!(journal.removed_at.is_none(), "a removed connection rests");
                prop_assert!(case.allows(&step), "{step:?}");
            }
            Next::Wait { until, .. } => prop_assert!(until > now, "{until}"),
            Next::NoDestination => prop_assert!(!journal.paused),
            Next::Rest => {}
        }
    }
}
