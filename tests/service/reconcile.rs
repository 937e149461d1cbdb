//! Drift: what somebody else changed in Entra is found, told, and healed where a promise allows it.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::rotation::advance::Reconciled;
use keywheel::rotation::drift::Drift;
use keywheel::rotation::standing::is_blocked;
use keywheel::sandbox::{
    Action, Fault, GraphError, Kind, Lag, NewPassword, Registered, Replication,
};
use keywheel::store::Store;

use crate::world::{World, start};

/// Longer than a secret counts as young.
const HOUR: Duration = Duration::from_secs(3_600);

async fn reconcile(world: &World) -> Reconciled {
    world
        .engine
        .reconcile(&"app".parse().unwrap())
        .await
        .unwrap()
}

async fn settled() -> (World, Registered) {
    let world = World::new().await;
    let application = world.adopted().await;
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![]));
    (world, application)
}

#[tokio::test]
async fn what_agrees_is_not_looked_at_again_for_hours() {
    let (world, _) = settled().await;
    let now = world.clock.now();
    let waiting = async |before| world.store.unreconciled(before, 9).await.unwrap().len();
    assert_eq!(waiting(now).await, 0);
    assert_eq!(waiting(now + TimeDelta::seconds(1)).await, 1);
    assert!(
        !world
            .actions()
            .await
            .iter()
            .any(|it| it.starts_with("drift"))
    );
}

#[tokio::test]
async fn c8_a_foreign_secret_is_told_once_and_those_that_were_there_are_not() {
    let world = World::new().await;
    let application = world.adopted().await;
    let end = start() + TimeDelta::days(90);
    let add = || {
        world
            .sandbox
            .add_key(application.client_id, NewPassword::until(end))
            .unwrap()
            .key_id
    };
    add();
    assert_eq!(
        reconcile(&world).await,
        Reconciled::Done(vec![]),
        "it was there at first"
    );
    let key_id = add();
    let appeared = Drift::ForeignAppeared { key_id };
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![appeared]));
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![]));
    let told = world.actions().await;
    assert_eq!(
        told.iter()
            .filter(|it| *it == "drift-foreign-appeared")
            .count(),
        1
    );
    // What a rotation of ours makes is not foreign.
    world.rotate("app").await;
    world.clock.advance(HOUR);
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![]));
}

#[tokio::test]
async fn d5_where_the_current_secret_is_gone_the_previous_one_is_current_again() {
    let (world, application) = settled().await;
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    world.clock.advance(HOUR);
    let (gone, previous) = (world.current("app").await, application.keys[0].key_id);
    world.sandbox.delete_key(application.client_id, gone);
    let drift = Drift::CurrentGone { key_id: gone };
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![drift]));
    assert_eq!(world.current("app").await, previous);
    // The consumers can sign in again, and a new secret is made at once, whatever the window.
    assert!(world.signs_in(&application, &world.file("app")).primary);
    world.due("app").await;
    assert!(![gone, previous].contains(&world.current("app").await));
    assert!(world.signs_in(&application, &world.file("app")).primary);
}

#[tokio::test]
async fn d5_while_a_token_lives_a_new_secret_is_made_at_once_whatever_the_window() {
    let (world, application) = settled().await;
    world
        .edit("app", |declared| {
            declared.only = Some(vec!["fri".to_owned()].try_into().unwrap());
        })
        .await;
    let gone = world.current("app").await;
    world.sandbox.delete_key(application.client_id, gone);
    reconcile(&world).await;
    let journal = world.journal("app").await;
    assert!(journal.due_at <= world.clock.now());
    world.due("app").await;
    assert_ne!(world.current("app").await, gone);
    assert!(world.signs_in(&application, &world.file("app")).primary);
}

#[tokio::test]
async fn d5_where_nothing_signs_in_any_more_a_clear_instruction_is_given() {
    let (mut world, application) = settled().await;
    let gone = world.current("app").await;
    world.sandbox.delete_key(application.client_id, gone);
    world.restart().await;
    assert!(matches!(reconcile(&world).await, Reconciled::Unread { .. }));
    world.due("app").await;
    let journal = world.journal("app").await;
    assert!(is_blocked(&journal));
    let last = journal
        .rotations
        .last()
        .unwrap()
        .retry
        .last
        .clone()
        .unwrap();
    assert!(
        last.remedy.unwrap().contains("connection edit"),
        "{}",
        last.message
    );
}

#[tokio::test]
async fn a7_one_read_that_does_not_list_it_is_no_drift() {
    let world = World::with(
        |options| {
            options.replication = Replication {
                count: 3,
                reads: Lag::Fixed(Duration::from_secs(40)),
                ..Replication::default()
            };
        },
        "",
    )
    .await;
    let application = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(HOUR);
    let none = Action::Set("passwordCredentials", serde_json::json!([]));
    let fault = Fault::on(Kind::GetApplication, none).of(application.client_id);
    world.sandbox.inject(fault.times(2));
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![]));
}

#[tokio::test]
async fn p8_an_end_that_was_moved_moves_the_rotation_too() {
    let (world, application) = settled().await;
    let due_at = world.journal("app").await.due_at;
    let sooner = start() + TimeDelta::days(20);
    assert!(
        world
            .sandbox
            .set_end(application.client_id, application.keys[0].key_id, sooner)
    );
    let Reconciled::Done(drift) = reconcile(&world).await else {
        panic!()
    };
    assert!(matches!(drift[..], [Drift::EndChanged { .. }]));
    let journal = world.journal("app").await;
    assert_eq!(journal.current().unwrap().expires_at, Some(sooner));
    assert!(journal.due_at < due_at);
}

#[tokio::test]
async fn p7_a_list_that_fails_is_told_and_is_no_drift() {
    let (world, _) = settled().await;
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, Action::Html).always());
    assert!(matches!(reconcile(&world).await, Reconciled::Unread { .. }));
    let told = world.actions().await;
    assert!(told.contains(&"reconcile-failed".to_owned()));
    assert!(!told.iter().any(|it| it.starts_with("drift")));
    assert_eq!(world.journal("app").await.rotations, []);
}

#[tokio::test]
async fn an_application_that_is_not_found_is_told_and_nothing_is_decided_by_it() {
    let (world, _) = settled().await;
    let before = world.journal("app").await;
    let missing = Action::Refuse(GraphError::NotFound("x".into()));
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, missing).always());
    assert!(matches!(reconcile(&world).await, Reconciled::Unread { .. }));
    let after = world.journal("app").await;
    assert_eq!(
        (after.due_at, &after.secrets),
        (before.due_at, &before.secrets)
    );
    assert!(
        world
            .actions()
            .await
            .contains(&"reconcile-failed".to_owned())
    );
}

#[tokio::test]
async fn p8_a_read_that_is_denied_makes_no_rotation_due() {
    let (world, _) = settled().await;
    let due_at = world.journal("app").await.due_at;
    let denied = Action::Refuse(GraphError::Denied);
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, denied));
    assert!(matches!(reconcile(&world).await, Reconciled::Unread { .. }));
    assert_eq!(world.journal("app").await.due_at, due_at);
}

#[tokio::test]
async fn a4_what_signs_in_is_not_gone_whatever_is_listed() {
    let (world, _) = settled().await;
    world.rotate("app").await;
    world.clock.advance(HOUR);
    let before = world.journal("app").await;
    let none = Action::Set("passwordCredentials", serde_json::json!([]));
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, none).always());
    assert_eq!(reconcile(&world).await, Reconciled::Done(vec![]));
    let after = world.journal("app").await;
    assert_eq!(
        (after.due_at, after.secrets),
        (before.due_at, before.secrets)
    );
}

#[tokio::test]
async fn a1_a_young_secret_is_not_compared_yet() {
    let (world, _) = settled().await;
    world.rotate("app").await;
    assert_eq!(reconcile(&world).await, Reconciled::Later);
}

#[tokio::test]
async fn those_that_can_t_be_compared_keep_no_other_waiting() {
    let (world, _) = settled().await;
    world
        .edit("app", |declared| declared.identity = Some("nobody".into()))
        .await;
    let later = world.clock.now() + TimeDelta::hours(7);
    world.clock.set(later);
    let name = "app".parse().unwrap();
    assert!(world.engine.reconcile(&name).await.is_err());
    assert!(world.store.unreconciled(later, 9).await.unwrap().is_empty());
}
