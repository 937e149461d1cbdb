//! What follows a rotation that was abandoned.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::connection::Overlap;
use keywheel::journal::{Journal, Role, Trigger};
use keywheel::rotation::advance::{Order, Which};
use keywheel::rotation::forecast::Change;
use keywheel::rotation::standing::{Health, open_retries, standing};
use keywheel::sandbox::{Action, Fault, Kind, Lag, Registered, Replication};

use crate::world::World;

const DAY: Duration = Duration::from_secs(86_400);

/// A world where new secrets do not sign in until [`mend`].
async fn broken(more: &str) -> (World, Registered) {
    let replication = Replication {
        count: 1,
        tokens: Lag::Fixed(1_000 * DAY),
        ..Replication::default()
    };
    let world = World::with(|options| options.replication = replication, more).await;
    let app = world.adopted().await;
    (world, app)
}

fn mend(world: &World) {
    world.sandbox.set_replication(Replication::default());
    world.sandbox.clear_faults();
}

/// A pass as the service makes it, until `state` or the end of so many days.
async fn serve_until(world: &World, state: &str, days: i64) {
    let end = world.clock.now() + TimeDelta::days(days);
    while world.state("app").await != state {
        let at = world.journal("app").await.next_action_at.unwrap();
        assert!(at <= end, "it never came to {state}");
        world.clock.set(at.max(world.clock.now()));
        world.advance("app", Order::DUE).await;
    }
}

fn health(world: &World, journal: &Journal) -> Health {
    let terms = world.engine.terms(journal).unwrap();
    standing(journal, &terms, world.clock.now()).health
}

/// A rotation by hand whose new secret does not sign in.
async fn unproved() -> (World, Registered) {
    let (world, app) = broken("").await;
    let order = Order::rotate(Some(Overlap::NextRotation), false, Duration::ZERO);
    world.advance("app", order).await;
    assert_eq!(world.state("app").await, "minted");
    (world, app)
}

#[tokio::test]
async fn a3_p8_what_was_asked_for_by_hand_is_intended_again_after_a_backoff() {
    let (world, app) = unproved().await;
    let due_at = world.journal("app").await.due_at;
    serve_until_given_up(&world, &app).await;
    let journal = world.journal("app").await;
    assert!(
        due_at > world.clock.now() + 7 * DAY,
        "by the schedule it is not due"
    );
    let next = journal.next_action_at.unwrap();
    let waits = next - world.clock.now();
    assert!(
        waits > TimeDelta::zero() && waits < TimeDelta::minutes(1),
        "{waits}"
    );
    // It is said, and the exit code is 3.
    assert_eq!(health(&world, &journal), Health::Retrying);
    assert!(open_retries(&journal).next().is_some());
    let last = world.rotation("app").await.retry.last.unwrap();
    assert_eq!(last.code, "AADSTS7000215");
    assert!(last.message.contains("given up"), "{}", last.message);

    let waiting = world.engine.forecast(&journal, Order::DUE).unwrap();
    assert_eq!(waiting, []);
    world.clock.set(next);
    let changes = world.engine.forecast(&journal, Order::DUE).unwrap();
    assert!(
        matches!(changes[0], Change::AddPassword { .. }),
        "{changes:?}"
    );
    assert!(matches!(
        changes.last(),
        Some(Change::Revoke { at: None, .. })
    ));
    world.due("app").await;
    let rotation = world.rotation("app").await;
    assert_eq!(rotation.state.name(), "overlapping");
    assert_eq!(
        (rotation.trigger, rotation.overlap),
        (Trigger::Manual, Overlap::NextRotation)
    );
    assert_eq!(world.count(Kind::AddPassword, &app), 2);
    let journal = world.journal("app").await;
    assert_eq!(health(&world, &journal), Health::Waiting);
    assert!(journal.abandoned().is_none());
}

/// As the service does it; the faults end when the rotation is given up.
async fn serve_until_given_up(world: &World, app: &Registered) {
    serve_until(world, "abandoning", 3).await;
    let journal = world.journal("app").await;
    assert_eq!(health(world, &journal), Health::Retrying, "exit code 3");
    mend(world);
    serve_until(world, "abandoned", 1).await;
    assert_eq!(world.keys(app).len(), 1);
}

#[tokio::test]
async fn f14_abandoned_again_and_again_it_becomes_rare() {
    let quick = "give_up = \"10s\"\ntimeout = \"10s\"";
    let (world, app) = broken(quick).await;
    let adds = |world: &World| world.count(Kind::AddPassword, &app);
    world.rotate_once("app").await;
    let passes = world.serve("app", 1, async |_| {}).await;
    let first_day = adds(&world);
    assert!(
        (5..25).contains(&first_day),
        "{first_day} in {passes} passes"
    );
    world.serve("app", 2, async |_| {}).await;
    assert!(adds(&world) - first_day < 20);
    assert!(world.keys(&app).len() <= 2, "P4");
}

#[tokio::test]
async fn what_is_given_up_by_hand_is_not_made_again_before_it_is_due() {
    let (world, app) = unproved().await;
    let journal = world.journal("app").await;
    let pending = journal.secrets.iter().find(|it| it.role == Role::Pending);
    let which = Which::Key {
        key_id: pending.unwrap().key_id,
        accept_outage: true,
    };
    let name = "app".parse().unwrap();
    world
        .engine
        .revoke(&name, which, crate::world::PATIENT)
        .await
        .unwrap();
    assert_eq!(world.state("app").await, "abandoned");
    let journal = world.journal("app").await;
    assert_eq!(journal.next_action_at, Some(journal.due_at));
    assert_eq!(health(&world, &journal), Health::Ok);
    assert_eq!(world.keys(&app).len(), 1);
}

#[tokio::test]
async fn an_abandoned_rotation_does_not_hold_up_a_removal() {
    let (world, app) = unproved().await;
    serve_until_given_up(&world, &app).await;
    let removed = world.engine.remove(&"app".parse().unwrap()).await.unwrap();
    assert_eq!(removed.unwrap().stay, [app.keys[0].key_id]);
}

#[tokio::test]
async fn p8_e1_a_removal_that_keeps_failing_holds_up_no_urgent_rotation() {
    let (world, app) = unproved().await;
    let dead = Fault::on(Kind::RemovePassword, Action::HangUp);
    world.sandbox.inject(dead.always());
    serve_until(&world, "abandoning", 3).await;
    let stuck = world.journal("app").await.removals[0].key_id;
    world.sandbox.set_replication(Replication::default());
    world.serve("app", 30, async |_| {}).await;
    assert_eq!(
        world.state("app").await,
        "abandoning",
        "there is time: the removal comes first"
    );
    assert_eq!(world.count(Kind::AddPassword, &app), 1);

    let end = app.keys[0].end.unwrap();
    world.clock.set(end - TimeDelta::days(2));
    let order = Order {
        patience: Duration::from_secs(60),
        ..Order::DUE
    };
    world.advance("app", order).await;
    let journal = world.journal("app").await;
    assert_eq!(journal.unpromoted().unwrap().state.name(), "abandoning");
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.signs_in(&app, &world.file("app")).everywhere);
    assert_eq!(
        journal.removals[0].key_id, stuck,
        "P7: it is kept until it is gone"
    );
    assert_eq!(world.keys(&app).len(), 3);

    world.sandbox.clear_faults();
    world.serve("app", 1, async |_| {}).await;
    assert!(!world.keys(&app).contains(&stuck));
    let journal = world.journal("app").await;
    assert!(journal.unpromoted().is_none() && journal.abandoned().is_none());
    assert_eq!(
        world.count(Kind::AddPassword, &app),
        2,
        "nothing follows: it has been overtaken"
    );
}

#[tokio::test]
async fn a_rollback_is_followed_by_no_rotation_that_was_abandoned() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    let replication = Replication {
        count: 1,
        tokens: Lag::Fixed(Duration::from_secs(1_000 * 86_400)),
        ..Replication::default()
    };
    world.sandbox.settle();
    world.sandbox.set_replication(replication);
    world.clock.advance(Duration::from_secs(86_400));
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "minted");
    while world.state("app").await != "abandoned" {
        let at = world.journal("app").await.next_action_at.unwrap();
        world.clock.set(at.max(world.clock.now()));
        world.advance("app", Order::DUE).await;
        if world.state("app").await == "abandoning" {
            world.sandbox.set_replication(Replication::default());
        }
    }
    let name = "app".parse().unwrap();
    world.engine.rollback(&name, Duration::ZERO).await.unwrap();
    assert_eq!(world.current("app").await, app.keys[0].key_id);
    let adds = world.count(Kind::AddPassword, &app);
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(
        world.count(Kind::AddPassword, &app),
        adds,
        "nobody asked for another"
    );
}
