//! Every type of the journal is read back as it was written.

use chrono::{DateTime, Utc};
use keywheel::journal::{
    Absence, Delivery, Failure, Outcome, Removal, Retry, Role, Rotation, RotationId, Secret, State,
    Trigger, Watch,
};
use keywheel::store::{Change, Store};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use ulid::Ulid;

use crate::fixture::{Bench, attempt, key, rotation, secret};

fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
    (-4_000_000_000..9_000_000_000_i64, 0..1_000_000_000_u32)
        .prop_map(|(s, n)| DateTime::from_timestamp(s, n).unwrap())
}

fn any_absence() -> impl Strategy<Value = Absence> {
    let instant = || prop::option::of(any_instant());
    (any::<u32>(), instant(), instant()).prop_map(|(reads, since, last)| Absence {
        reads,
        since,
        last,
    })
}

fn any_retry() -> impl Strategy<Value = Retry> {
    let failure = (
        any_instant(),
        any::<String>(),
        any::<String>(),
        any::<bool>(),
    )
        .prop_map(|(at, code, message, permanent)| Failure {
            at,
            remedy: permanent.then(|| message.clone()),
            code,
            message,
            permanent,
        });
    (
        any::<u32>(),
        prop::option::of(any_instant()),
        prop::option::of(failure),
    )
        .prop_map(|(failures, not_before, last)| Retry {
            failures,
            not_before,
            last,
        })
}

fn any_open_state() -> impl Strategy<Value = State> {
    let key = || any::<u128>().prop_map(key);
    let outcome = prop_oneof![
        Just(Outcome::NotMade),
        any_absence().prop_map(|absence| Outcome::Unknown { absence }),
        key().prop_map(|key_id| Outcome::Orphaned { key_id }),
    ];
    let leaf = prop_oneof![
        (any::<u128>(), outcome).prop_map(|(n, outcome)| State::Intended {
            attempt: attempt(n),
            outcome
        }),
        (key(), any_instant()).prop_map(|(new, minted_at)| State::Minted { new, minted_at }),
        key().prop_map(|new| State::Verified { new }),
        (key(), key()).prop_map(|(new, old)| State::Promoted { new, old }),
        (key(), key()).prop_map(|(new, old)| State::Delivering { new, old }),
        (key(), key(), prop::option::of(any_instant())).prop_map(|(new, old, revoke_at)| {
            State::Overlapping {
                new,
                old,
                revoke_at,
            }
        }),
        (key(), key()).prop_map(|(new, old)| State::Revoking { new, old }),
        key().prop_map(|new| State::Abandoning { new }),
    ];
    leaf.prop_recursive(2, 3, 1, |inner| {
        (any_instant(), inner).prop_map(|(since, inner)| State::Blocked {
            since,
            interrupted: Box::new(inner),
        })
    })
}

fn any_rotation() -> impl Strategy<Value = Rotation> {
    (
        any_open_state(),
        any_retry(),
        any_instant(),
        0..1_000_000_u32,
    )
        .prop_map(|(state, retry, instant, seconds)| Rotation {
            trigger: Trigger::Due(instant),
            started_at: instant,
            overlap: format!("{seconds}s").parse().unwrap(),
            retry,
            ..rotation(1, state)
        })
}

/// One of each kind of record.
#[derive(Debug, Clone)]
struct Records {
    rotation: Rotation,
    secret: Secret,
    delivery: Delivery,
    removal: Removal,
    watch: Watch,
}

fn any_records() -> impl Strategy<Value = Records> {
    let parts = (any_rotation(), any_retry(), any_absence(), ".{0,20}");
    let numbers = (any_instant(), any_instant(), 1_000..u128::MAX, any::<u32>());
    (parts, numbers).prop_map(
        |((rotation, retry, absence, text), (one, two, n, small))| Records {
            rotation,
            secret: Secret {
                generation: small,
                hint: text.clone(),
                starts_at: Some(one),
                expires_at: Some(two),
                attempt: Some(attempt(n)),
                ..secret(n, Role::Doomed)
            },
            delivery: Delivery {
                destination: text,
                wants: small.saturating_add(1),
                holds: small,
                taken_at: Some(one),
                retry: retry.clone(),
            },
            removal: Removal {
                key_id: key(n),
                asked_at: one,
                called_at: Some(two),
                acknowledged: false,
                absence,
                retry: retry.clone(),
            },
            watch: Watch {
                attempt: attempt(n),
                since: one,
                next_look: two,
                retry,
            },
        },
    )
}

#[tokio::test]
async fn every_record_is_read_back_as_it_was_written() {
    let bench = Bench::new();
    let mut runner = TestRunner::default();
    for n in 1..=128_u128 {
        let records = any_records().new_tree(&mut runner).unwrap().current();
        let rotation = Rotation {
            id: RotationId(Ulid(n)),
            ..records.rotation
        };
        let name = format!("c{n}");
        let id = bench.adopt(&name, n, "v").await;
        let mut expected = bench.journal(&name).await;
        let changes = vec![
            Change::Rotation(rotation.clone()),
            Change::Secret(records.secret.clone()),
            Change::Delivery(records.delivery.clone()),
            Change::Removal(records.removal.clone()),
            Change::Watch(records.watch.clone()),
        ];
        let lease = bench.lease(id, n).await;
        bench.store.commit(&lease, changes).await.unwrap();
        expected.rotations.push(rotation);
        expected.secrets.push(records.secret);
        expected.deliveries.push(records.delivery);
        expected.removals.push(records.removal);
        expected.watches.push(records.watch);
        assert_eq!(bench.journal(&name).await, expected);
    }
}
