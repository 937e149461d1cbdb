//! What a person changes about a connection, over weeks.

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::connection::Declared;
use keywheel::journal::{AttemptName, Rotation, State};
use keywheel::rotation::adopt::AdoptFault;
use keywheel::rotation::advance::Removed;
use keywheel::sandbox::{Action, Fault, GraphError, Kind, SignInError};
use keywheel::store::Store;

use crate::world::World;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

async fn edited(world: &World, change: impl FnOnce(&mut Declared)) {
    let before = world.journal("app").await.declared;
    let mut after = before.clone();
    change(&mut after);
    let edited = world.engine.edit(&before, after).await.unwrap();
    assert!(edited.is_some(), "nobody else is at work");
}

#[tokio::test]
async fn p8_what_is_overdue_stays_so_after_another_time_of_day_is_declared() {
    let world = World::new().await;
    world.adopted().await;
    let due_at = world.journal("app").await.due_at;
    world.clock.set(due_at + TimeDelta::hours(3));
    let an_hour_later = |declared: &mut Declared| {
        declared.rotate_at = Some("11:00:00".parse().unwrap());
    };
    edited(&world, an_hour_later).await;
    let now = world.journal("app").await;
    assert!(now.due_at <= world.clock.now(), "{}", now.due_at);
    assert!(now.next_action_at <= Some(world.clock.now()));
    world.due("app").await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn a_longer_interval_moves_the_next_rotation_from_the_same_date() {
    let world = World::new().await;
    let application = world.application("app");
    let more = "pull = true\ninterval_days = 10\ntimezone = \"UTC\"";
    world.adopt("app", &application, more).await.unwrap();
    let before = world.journal("app").await;
    edited(&world, |declared| declared.interval_days = Some(20)).await;
    let after = world.journal("app").await;
    assert_eq!(after.anchor, before.anchor);
    assert_eq!(after.due_at, before.due_at + TimeDelta::days(10));
    assert_eq!(after.next_action_at, Some(after.due_at));
}

#[tokio::test]
async fn p5_nothing_is_changed_while_another_holds_the_lock_or_has_edited_meanwhile() {
    let world = World::new().await;
    let application = world.adopted().await;
    let name = "app".parse().unwrap();
    let journal = world.journal("app").await;
    let ids = (application.tenant_id, application.client_id);
    let lease = world.store.try_lock(journal.id, ids).await.unwrap();
    assert!(lease.is_some());
    assert!(world.engine.pause(&name).await.unwrap().is_none());
    assert!(world.engine.resume(&name).await.unwrap().is_none());
    assert!(world.engine.remove(&name).await.unwrap().is_none());
    drop(lease);
    let before = journal.declared.clone();
    edited(&world, |declared| declared.interval_days = Some(20)).await;
    let late = world.engine.edit(&before, before.clone()).await.unwrap();
    assert!(late.is_none(), "it would undo what another one wrote");
    assert_eq!(world.journal("app").await.declared.interval_days, Some(20));
}

#[tokio::test]
async fn a_pause_holds_the_revocation_and_resume_lets_it_go() {
    let world = World::new().await;
    let application = world.adopted().await;
    world.rotate("app").await;
    let name = "app".parse().unwrap();
    world.engine.pause(&name).await.unwrap().unwrap();
    assert_eq!(world.journal("app").await.next_action_at, None);
    world.clock.advance(8 * DAY);
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2);
    world.engine.resume(&name).await.unwrap().unwrap();
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 1);
    let actions = world.actions().await;
    assert!(actions.contains(&"paused".into()) && actions.contains(&"resumed".into()));
}

#[tokio::test]
async fn a_removed_connection_rests_and_comes_back_within_thirty_days() {
    let world = World::new().await;
    let application = world.adopted().await;
    world.rotate("app").await;
    let name = "app".parse().unwrap();
    let removed = world.engine.remove(&name).await.unwrap().unwrap();
    assert_eq!(removed.stay.len(), 2, "both stay, in its overlap");
    world.clock.advance(20 * DAY);
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 2);
    world.engine.restore(&name).await.unwrap().unwrap();
    world.due("app").await;
    assert_eq!(world.keys(&application).len(), 1, "the overlap is over");

    world.engine.remove(&name).await.unwrap().unwrap();
    world.clock.advance(30 * DAY);
    let late = world.engine.restore(&name).await.unwrap_err();
    assert!(matches!(late, AdoptFault::Engine(_)), "{late:?}");
    assert!(late.to_string().contains("no longer kept"), "{late}");
}

#[tokio::test]
async fn p2_a_file_that_moves_during_an_overlap_gets_the_secret_at_once() {
    let world = World::new().await;
    let application = world.adopted().await;
    let file = world.file("app");
    let away = world.folder.path().join("away");
    world.rotate("app").await;
    edited(&world, |declared| {
        let keywheel::connection::DestinationSpec::File(spec) = &mut declared.destinations[0];
        spec.path.clone_from(&away);
    })
    .await;
    // A previous secret waits for it, so it is handed over at once.
    world.due("app").await;
    let current = world.current("app").await;
    assert!(world.holds(&application, &away, current));
    assert!(world.holds(&application, &file, current), "left as it was");
}

#[tokio::test]
async fn p7_what_a_removed_connection_leaves_unfinished_is_named() {
    let world = World::new().await;
    let application = world.adopted().await;
    // The answer is lost, then the permission: the attempt's outcome can't be found out.
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    let denied = Fault::on(Kind::GetApplication, Action::Refuse(GraphError::Denied));
    world.sandbox.inject(denied.nth(2).always());
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "blocked");
    let attempt = attempt_of(&world.rotation("app").await);
    let removed = remove(&world).await;
    assert_eq!(removed.unknown, [attempt]);
    let given_up = |action: &'static str| {
        let events = world.events();
        async move { events.await.into_iter().find(|it| it.action == action) }
    };
    let event = given_up("name-given-up").await.unwrap();
    assert_eq!(event.result, attempt.to_string());

    // Restored, found, and not to be removed: it is a Key ID now.
    world.engine.restore(&"app".parse().unwrap()).await.unwrap();
    world.sandbox.clear_faults();
    let denied = Fault::on(Kind::RemovePassword, Action::Refuse(GraphError::Denied));
    world.sandbox.inject(denied.always());
    world.days_later(1).await;
    let orphan = world.keys(&application)[1];
    let removed = remove(&world).await;
    assert_eq!(removed.unremoved, [orphan]);
    assert_eq!(removed.unknown, []);
    let event = given_up("removal-given-up").await.unwrap();
    assert_eq!(event.key_id, Some(orphan));
}

#[tokio::test]
async fn p7_a_secret_that_was_made_and_never_used_is_named_as_such() {
    let world = World::new().await;
    let application = world.adopted().await;
    // Disabled while the new secret was being proved.
    let disabled = Action::RefuseSignIn(SignInError::DisabledApplication(application.client_id));
    let fault = Fault::on(Kind::Token, disabled).nth(2).always();
    world.sandbox.inject(fault);
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "blocked");
    let [first, pending] = world.keys(&application)[..] else {
        panic!("not minted");
    };
    let removed = remove(&world).await;
    assert_eq!(removed.stay, [first, pending]);
    assert_eq!(removed.unused, [pending]);
    let events = world.events().await;
    let event = events.iter().find(|it| it.action == "unused-secret-left");
    assert_eq!(event.unwrap().key_id, Some(pending));
}

async fn remove(world: &World) -> Removed {
    let name = "app".parse().unwrap();
    world.engine.remove(&name).await.unwrap().unwrap()
}

fn attempt_of(rotation: &Rotation) -> AttemptName {
    match rotation.state.effective() {
        State::Intended { attempt, .. } => *attempt,
        state => panic!("no attempt in {state:?}"),
    }
}
