//! I3: what is forecast is what happens, and forecasting calls nobody.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::journal::AttemptName;
use keywheel::rotation::advance::Order;
use keywheel::rotation::forecast::Change;
use keywheel::rotation::standing::{Health, standing};
use keywheel::sandbox::{Action, Fault, Kind, Registered};
use keywheel::store::{Change as Write, Store};

use crate::world::World;

const SOON: Duration = Duration::from_secs(300);

/// What a run changed in the world, in the forecast's words.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    added: usize,
    removed: Vec<KeyId>,
    delivered: usize,
}

/// Forecasts, then runs for real, and compares.
async fn forecast_holds(world: &World, app: &Registered, order: Order, case: &str) -> Vec<Change> {
    let before = world.journal("app").await;
    let keys = world.keys(app);
    let calls = world.sandbox.calls().len();
    let changes = world.engine.forecast(&before, order).unwrap();
    assert_eq!(
        world.sandbox.calls().len(),
        calls,
        "P9, {case}: nothing is called"
    );
    assert_eq!(
        world.journal("app").await,
        before,
        "P9, {case}: nothing is written"
    );

    let adds = world.count(Kind::AddPassword, app);
    let events = world.events().await.len();
    world.advance("app", order).await;
    let happened = world.events().await.split_off(events);
    let removed: Vec<KeyId> = keys
        .into_iter()
        .filter(|key| !world.keys(app).contains(key))
        .collect();
    let real = Changed {
        added: world.count(Kind::AddPassword, app) - adds,
        removed,
        delivered: happened
            .iter()
            .filter(|event| event.action == "delivered")
            .count(),
    };
    let until = world.clock.now();
    let named = Changed {
        added: changes
            .iter()
            .filter(|it| matches!(it, Change::AddPassword { .. }))
            .count(),
        removed: changes
            .iter()
            .filter_map(|it| match it {
                Change::Revoke {
                    key_id,
                    at: Some(at),
                } if *at <= until => Some(*key_id),
                _ => None,
            })
            .collect(),
        delivered: changes
            .iter()
            .filter(|it| matches!(it, Change::Deliver { .. }))
            .count(),
    };
    assert_eq!(named, real, "P9, {case}: {changes:?}");
    changes
}

fn by_hand(overlap: Option<&str>) -> Order {
    let overlap = overlap.map(|it| it.parse().unwrap());
    Order::rotate(overlap, false, SOON)
}

fn due() -> Order {
    Order {
        patience: SOON,
        ..Order::DUE
    }
}

#[tokio::test]
async fn i3_p9_a_forecast_names_every_change_and_calls_nobody() {
    for overlap in [None, Some("0s"), Some("next-rotation")] {
        let world = World::new().await;
        let app = world.adopted().await;
        let none = forecast_holds(&world, &app, due(), "nothing is due").await;
        assert_eq!(none, []);
        forecast_holds(&world, &app, by_hand(overlap), "the first").await;
        world.clock.advance(SOON);
        forecast_holds(&world, &app, by_hand(overlap), "the second").await;
        world.clock.advance(Duration::from_secs(8 * 86_400));
        forecast_holds(&world, &app, due(), "the end of the overlaps").await;
        world.clock.advance(Duration::from_secs(25 * 86_400));
        forecast_holds(&world, &app, due(), "the third, by itself").await;
    }
}

#[tokio::test]
async fn i3_p9_a_delivery_that_is_outstanding_and_the_revocation_after_it_are_named() {
    let world = World::new().await;
    let app = world.adopted().await;
    // In the way of the file once the rotation is past its checks.
    let file = world.file("app");
    let blocker = file.clone();
    world.sandbox.on_call(move |_, call| {
        let blocker = blocker.clone();
        async move {
            if call.kind == Kind::AddPassword {
                let _ = std::fs::create_dir(&blocker);
            }
        }
    });
    world
        .advance(
            "app",
            Order::rotate(Some("0s".parse().unwrap()), false, Duration::ZERO),
        )
        .await;
    assert_eq!(world.state("app").await, "delivering");
    world.sandbox.on_call(|_, _| async {});
    std::fs::remove_dir(&file).unwrap();
    // A folder in the place of a file is a person's to mend, and tried daily.
    world.clock.advance(Duration::from_secs(24 * 3_600));
    let changes = forecast_holds(&world, &app, due(), "delivering").await;
    assert_eq!(changes.len(), 2);
}

#[tokio::test]
async fn i3_p9_a_lost_name_is_named_and_a_removal_that_is_outstanding() {
    let world = World::new().await;
    let app = world.adopted().await;
    world
        .sandbox
        .inject(Fault::on(Kind::AddPassword, Action::HangUp));
    world.rotate_once("app").await;
    world.clock.advance(SOON);
    let changes = forecast_holds(&world, &app, Order::resume(SOON), "a lost name").await;
    assert!(
        matches!(changes[0], Change::Reconcile { .. }),
        "{changes:?}"
    );

    world
        .sandbox
        .inject(Fault::on(Kind::RemovePassword, Action::HangUp).times(3));
    world.clock.advance(SOON);
    world
        .advance(
            "app",
            Order::rotate(Some("0s".parse().unwrap()), false, Duration::ZERO),
        )
        .await;
    world.clock.advance(Duration::from_secs(20));
    world.advance("app", Order::DUE).await;
    world.clock.advance(Duration::from_secs(3_600));
    forecast_holds(&world, &app, due(), "a removal").await;
}

#[tokio::test]
async fn i3_p9_what_is_held_is_not_named() {
    for write in [
        Write::Pause(true),
        Write::Remove(Some(crate::world::start())),
    ] {
        let world = World::new().await;
        let app = world.adopted().await;
        world
            .sandbox
            .inject(Fault::on(Kind::RemovePassword, Action::HangUp).always());
        world
            .advance(
                "app",
                Order::rotate(Some("0s".parse().unwrap()), false, SOON),
            )
            .await;
        assert_eq!(world.journal("app").await.removals.len(), 1);
        let journal = world.journal("app").await;
        let application = (journal.declared.tenant_id, journal.declared.client_id);
        let lease = world
            .store
            .try_lock(journal.id, application)
            .await
            .unwrap()
            .unwrap();
        world.store.commit(&lease, vec![write]).await.unwrap();
        drop(lease);
        world.sandbox.clear_faults();
        world.clock.advance(Duration::from_secs(40 * 86_400));
        let changes = forecast_holds(&world, &app, due(), "held").await;
        assert_eq!(changes, []);
    }
}

#[tokio::test]
async fn i3_p9_open_overlaps_that_revoke_now_ends_are_named() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(SOON);
    let order = Order::rotate(None, true, SOON);
    let changes = forecast_holds(&world, &app, order, "--revoke-now").await;
    let revoked = changes
        .iter()
        .filter(|it| matches!(it, Change::Revoke { .. }));
    assert_eq!(revoked.count(), 2);
}

/// An attempt whose answer was lost, and that is followed by one that worked: its name is looked
/// for during seven days.
async fn watched() -> (World, Registered, AttemptName) {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp);
    world.sandbox.inject(lost);
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    let attempt = world.journal("app").await.watches[0].attempt;
    (world, app, attempt)
}

fn names(changes: &[Change], attempt: AttemptName) -> usize {
    let display_name = attempt.to_string();
    let named = Change::Reconcile { display_name };
    changes.iter().filter(|it| **it == named).count()
}

#[tokio::test]
async fn i3_p9_a_name_whose_look_is_due_is_named() {
    let (world, app, attempt) = watched().await;
    let at_once = forecast_holds(&world, &app, due(), "not due yet").await;
    assert_eq!(at_once, []);
    // It would be removed by the next pass that reads the application, whatever that is for.
    let journal = world.journal("app").await;
    let rotates = world.engine.forecast(&journal, by_hand(None)).unwrap();
    assert_eq!(names(&rotates, attempt), 1, "{rotates:?}");

    world.clock.advance(Duration::from_secs(600));
    let reads = world.count(Kind::GetApplication, &app);
    let changes = forecast_holds(&world, &app, due(), "the look is due").await;
    assert!(world.count(Kind::GetApplication, &app) > reads);
    assert_eq!(names(&changes, attempt), 1, "{changes:?}");
}

#[tokio::test]
async fn p4_p7_a_look_that_fails_is_journalled_told_and_retried() {
    let (world, app, attempt) = watched().await;
    world.clock.advance(Duration::from_secs(600));
    let dead = Fault::on(Kind::GetApplication, Action::HangUp).always();
    world.sandbox.inject(dead);
    let failed_at = world.clock.now();
    world.advance("app", Order::DUE).await;
    let journal = world.journal("app").await;
    assert_eq!(journal.watches[0].attempt, attempt);
    assert_eq!(journal.watches[0].retry.failures, 1);
    assert!(journal.next_action_at.unwrap() <= failed_at + Duration::from_secs(10));
    let event = world.events().await.pop().unwrap();
    assert_eq!(
        (&*event.action, &*event.result),
        ("look-failed", "interrupted")
    );
    let terms = world.engine.terms(&journal).unwrap();
    let standing = standing(&journal, &terms, world.clock.now());
    assert_eq!(standing.health, Health::Retrying);
    assert_eq!(standing.last_error.unwrap().code, "interrupted");
    // What waits for its next try is not forecast.
    let changes = world.engine.forecast(&journal, due()).unwrap();
    assert_eq!(changes, []);

    world.sandbox.clear_faults();
    world.clock.advance(Duration::from_secs(60));
    world.advance("app", Order::DUE).await;
    assert_eq!(world.journal("app").await.watches[0].retry.failures, 0);
    world.serve("app", 6, async |_| {}).await;
    assert!(
        world.count(Kind::GetApplication, &app) < 40,
        "no tight loop"
    );
}
