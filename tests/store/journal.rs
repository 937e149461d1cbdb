//! What is written is what is read, all of it or none.

use chrono::NaiveDate;
use keywheel::entra::ObjectId;
use keywheel::journal::{Absence, Delivery, Outcome, Removal, Retry, Role, State, Watch};
use keywheel::store::Share;
use keywheel::store::{Attempt, Change, HistoryFilter, Store, StoreFault};
use uuid::Uuid;

use crate::fixture::{
    Bench, adoption, application, at, attempt, declared, event, key, rotation, secret,
};

fn intended(n: u128) -> State {
    State::Intended {
        attempt: attempt(n),
        outcome: Outcome::NotMade,
    }
}

#[tokio::test]
async fn an_adopted_connection_is_read_back_whole() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let bench = bench.reopened();
    let journal = bench.journal("crm").await;
    let adopted = adoption("crm", 1);
    assert_eq!(journal.id, id);
    assert_eq!(journal.declared, adopted.declared);
    assert_eq!(journal.secrets, [adopted.secret]);
    assert_eq!(journal.due_at, adopted.due_at);
    assert_eq!(journal.anchor, adopted.anchor);
    assert_eq!(journal.next_action_at, adopted.next_action_at);
    let value = bench.keys.value(&bench.store, id, key(1)).await.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&value.unwrap()), "v");
    assert_eq!(bench.store.instances().await.unwrap().len(), 1);
}

#[tokio::test]
async fn each_field_of_a_connection_is_changed_alone() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let mut expected = bench.journal("crm").await;
    let object_id = ObjectId(Uuid::from_u128(9));
    let anchor = NaiveDate::from_ymd_opt(2027, 1, 1).unwrap();
    let renamed = declared("crm-2", 1);
    let changes = vec![
        Change::Declare(renamed.clone()),
        Change::Found(object_id),
        Change::Pause(true),
        Change::Schedule {
            anchor,
            due_at: at(50),
        },
        Change::NextAction {
            at: None,
            planned_at: at(60),
        },
        Change::Mutated(at(51)),
    ];
    let lease = bench.lease(id, 1).await;
    bench.store.commit(&lease, changes).await.unwrap();
    expected.declared = renamed;
    expected.object_id = Some(object_id);
    expected.paused = true;
    expected.anchor = anchor;
    expected.due_at = at(50);
    expected.next_action_at = None;
    expected.planned_at = Some(at(60));
    expected.mutated_at = Some(at(51));
    assert_eq!(bench.journal("crm-2").await, expected);
    assert_eq!(
        bench.store.journal(&"crm".parse().unwrap()).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn records_go_when_they_are_done() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let before = bench.journal("crm").await;
    let lease = bench.lease(id, 1).await;
    let delivery = Delivery {
        destination: "app".into(),
        wants: 1,
        holds: 1,
        taken_at: None,
        retry: Retry::default(),
    };
    let removal = Removal {
        key_id: key(5),
        asked_at: at(0),
        called_at: None,
        acknowledged: true,
        absence: Absence::default(),
        retry: Retry::default(),
    };
    let watch = Watch::new(attempt(1), at(0), at(9));
    let put = vec![
        Change::Secret(secret(2, Role::Pending)),
        Change::Rotation(rotation(1, intended(1))),
        Change::Delivery(delivery),
        Change::Removal(removal),
        Change::Watch(watch),
    ];
    bench.store.commit(&lease, put).await.unwrap();
    assert_ne!(bench.journal("crm").await, before);
    let take = vec![
        Change::Gone(key(2)),
        Change::Rotation(rotation(1, State::Abandoned)),
        Change::ForgetDelivery("app".into()),
        Change::RemovalDone(key(5)),
        Change::WatchDone(attempt(1)),
    ];
    bench.store.commit(&lease, take).await.unwrap();
    assert_eq!(bench.journal("crm").await, before);
}

#[tokio::test]
async fn a_commit_is_written_whole_or_not_at_all() {
    let bench = Bench::new();
    bench.adopt("taken", 2, "v").await;
    let id = bench.adopt("crm", 1, "v").await;
    let before = bench.journal("crm").await;
    let lease = bench.lease(id, 1).await;
    let changes = vec![
        Change::Pause(true),
        bench.keep(id, secret(3, Role::Pending), "new"),
        Change::Rotation(rotation(1, intended(1))),
        Change::Declare(declared("taken", 1)),
    ];
    let fault = bench.store.commit(&lease, changes).await.unwrap_err();
    assert!(
        matches!(fault, StoreFault::Taken { ref name, .. } if name == "taken"),
        "{fault}"
    );
    assert_eq!(bench.journal("crm").await, before);
    assert_eq!(bench.store.attempt(attempt(1)).await.unwrap(), None);
}

#[tokio::test]
async fn c7_an_application_and_a_name_are_kept_once() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    for (name, n) in [("crm", 2), ("other", 1)] {
        let fault = bench.try_adopt(adoption(name, n), "v").await.unwrap_err();
        assert!(
            matches!(fault, StoreFault::Taken { ref name, .. } if name == "crm"),
            "{fault}"
        );
    }
    let lease = bench.lease(id, 1).await;
    let remove = |at| bench.store.commit(&lease, vec![Change::Remove(at)]);
    remove(Some(at(0))).await.unwrap();
    let second = bench.adopt("crm", 1, "w").await;
    assert_ne!(second, id);
    assert_eq!(bench.journal("crm").await.id, second);
    assert_eq!(bench.store.journals().await.unwrap().len(), 2);
    let fault = remove(None).await.unwrap_err();
    assert!(matches!(fault, StoreFault::Taken { .. }), "{fault}");
}

#[tokio::test]
async fn tenant_client_and_cloud_of_a_connection_stay() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    let mut elsewhere = declared("crm", 1);
    elsewhere.cloud = Some("china".into());
    for other in [declared("crm", 2), elsewhere] {
        let fault = bench.store.commit(&lease, vec![Change::Declare(other)]);
        let fault = fault.await.unwrap_err();
        assert!(matches!(fault, StoreFault::Immutable { .. }), "{fault}");
    }
    let mut spelled_out = declared("crm", 1);
    spelled_out.cloud = Some("public".into());
    let same = vec![Change::Declare(spelled_out)];
    bench.store.commit(&lease, same).await.unwrap();
}

#[tokio::test]
async fn p4_one_rotation_at_most_stands_before_promoted() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    let blocked = State::Blocked {
        since: at(0),
        interrupted: Box::new(intended(1)),
    };
    let commit = |rotation| bench.store.commit(&lease, vec![Change::Rotation(rotation)]);
    commit(rotation(1, blocked)).await.unwrap();
    let fault = commit(rotation(2, intended(2))).await.unwrap_err();
    assert!(matches!(fault, StoreFault::Refused { .. }), "{fault}");
    let old = State::Promoted {
        new: key(2),
        old: key(1),
    };
    commit(rotation(1, old)).await.unwrap();
    commit(rotation(2, intended(2))).await.unwrap();
    assert_eq!(bench.journal("crm").await.rotations.len(), 2);
}

#[tokio::test]
async fn k2_attempts_outlive_rotation_and_connection() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    let orphaned = State::Intended {
        attempt: attempt(1),
        outcome: Outcome::Orphaned { key_id: key(8) },
    };
    let minted = State::Minted {
        new: key(9),
        minted_at: at(0),
    };
    for state in [orphaned, intended(2), minted, State::Abandoned] {
        let change = vec![Change::Rotation(rotation(1, state))];
        bench.store.commit(&lease, change).await.unwrap();
    }
    let remove = vec![Change::Remove(Some(at(0)))];
    bench.store.commit(&lease, remove).await.unwrap();
    bench.store.purge_removed(at(1)).await.unwrap();
    for (n, made) in [(1, key(8)), (2, key(9))] {
        let known = Attempt {
            name: attempt(n),
            connection: id,
            rotation: rotation(1, State::Abandoned).id,
            application: (declared("crm", 1).tenant_id, declared("crm", 1).client_id),
            key_id: Some(made),
            handed_out: false,
        };
        let found = bench.store.attempt(attempt(n)).await.unwrap();
        assert_eq!(found, Some(known));
    }
    assert_eq!(bench.store.attempt(attempt(3)).await.unwrap(), None);
}

#[tokio::test]
async fn f8_what_expires_first_is_due_first() {
    let bench = Bench::new();
    for (name, n, expiry) in [
        ("late", 1, Some(9)),
        ("never", 2, None),
        ("soon", 3, Some(5)),
    ] {
        let mut adoption = adoption(name, n);
        adoption.secret.expires_at = expiry.map(at);
        bench.try_adopt(adoption, "v").await.unwrap();
    }
    let id = bench.adopt("removed", 4, "v").await;
    let lease = bench.lease(id, 4).await;
    let remove = vec![Change::Remove(Some(at(0)))];
    bench.store.commit(&lease, remove).await.unwrap();
    let due = async |now| {
        let names = bench.store.due(at(now), Share::ALL).await.unwrap();
        names
            .iter()
            .map(|due| due.name.to_string())
            .collect::<Vec<_>>()
    };
    assert!(due(3_599).await.is_empty());
    assert_eq!(due(3_600).await, ["soon", "late", "never"]);
}

#[tokio::test]
async fn p8_f11_what_was_planned_by_a_clock_that_is_ahead_is_due() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    let lease = bench.lease(id, 1).await;
    for next in [None, Some(at(9_000))] {
        let planned = Change::NextAction {
            at: next,
            planned_at: at(1_000),
        };
        bench.store.commit(&lease, vec![planned]).await.unwrap();
        let due = async |now| bench.store.due(at(now), Share::ALL).await.unwrap().len();
        assert_eq!(due(699).await, 1, "more than five minutes");
        assert_eq!(due(700).await, 0);
        assert_eq!(due(1_000).await, 0);
    }
    let removed = vec![Change::Remove(Some(at(0)))];
    bench.store.commit(&lease, removed).await.unwrap();
    assert_eq!(bench.store.due(at(0), Share::ALL).await.unwrap(), []);
}

#[tokio::test]
async fn history_follows_a_connection_through_its_names() {
    let bench = Bench::new();
    let id = bench.adopt("crm", 1, "v").await;
    bench.adopt("erp", 2, "v").await;
    let lease = bench.lease(id, 1).await;
    let rename = vec![
        Change::Declare(declared("sales", 1)),
        Change::Record(event("edited", Some("sales"))),
    ];
    bench.store.commit(&lease, rename).await.unwrap();
    let refused = event("refused", Some("nobody"));
    for event in [event("secret-read", Some("sales")), refused.clone()] {
        bench.store.record(event).await.unwrap();
    }
    let of = async |name: &str| {
        let filter = HistoryFilter {
            connection: Some(name.parse().unwrap()),
            ..HistoryFilter::default()
        };
        bench.store.history(filter).await.unwrap()
    };
    let actions = of("sales").await;
    let actions: Vec<_> = actions.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["adopted", "edited", "secret-read"]);
    assert_eq!(of("nobody").await, [refused]);
    let all = bench.store.history(HistoryFilter::default()).await.unwrap();
    assert_eq!(all.len(), 5);
    let none = HistoryFilter {
        until: Some(at(0)),
        ..HistoryFilter::default()
    };
    assert!(bench.store.history(none).await.unwrap().is_empty());
}

#[tokio::test]
async fn p5_two_applications_are_locked_apart() {
    let bench = Bench::new();
    let one = bench.adopt("crm", 1, "v").await;
    let two = bench.adopt("erp", 2, "v").await;
    let lease = bench.lease(one, 1).await;
    let second = bench.store.try_lock(one, application(1)).await.unwrap();
    assert!(second.is_none());
    bench.lease(two, 2).await;
    drop(lease);
    bench.lease(one, 1).await;
}
