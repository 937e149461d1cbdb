//! K: orphans, swept only when asked.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::rotation::advance::{Order, OrphansFault, Stop};
use keywheel::sandbox::{Action, Fault, GraphError, Kind, NewPassword, Registered};
use keywheel::store::Change;

use crate::world::World;

fn put(world: &World, app: &Registered, name: String) -> KeyId {
    let new = NewPassword {
        display_name: Some(name),
        ..NewPassword::until(world.clock.now() + TimeDelta::days(90))
    };
    world.sandbox.add_key(app.client_id, new).unwrap().key_id
}

/// An application on which an attempt of ours has shown up that nobody looks for any more.
async fn with_orphan() -> (World, Registered, KeyId) {
    let world = World::new().await;
    let app = world.adopted().await;
    // The answer is lost, nothing is listed for eight days, and then it is there after all.
    world
        .sandbox
        .inject(Fault::on(Kind::AddPassword, Action::HangUp));
    world.rotate_once("app").await;
    let name = world.rotation("app").await;
    let keywheel::journal::State::Intended { attempt, .. } = name.state.effective() else {
        panic!("{name:?}")
    };
    let name = attempt.to_string();
    world.serve("app", 9, async |_| {}).await;
    assert!(
        world.journal("app").await.watches.is_empty(),
        "P4: seven days are over"
    );
    let orphan = put(&world, &app, name);
    (world, app, orphan)
}

async fn listed(world: &World) -> Vec<KeyId> {
    let found = world
        .engine
        .orphans(&"app".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    found.iter().map(|orphan| orphan.key_id).collect()
}

async fn sweep(world: &World) -> Stop {
    let name = "app".parse().unwrap();
    world
        .engine
        .remove_orphans(&name, Duration::from_secs(600))
        .await
        .unwrap()
}

#[tokio::test]
async fn k1_orphans_are_listed_and_go_only_when_asked() {
    let (world, app, orphan) = with_orphan().await;
    let removals = world.count(Kind::RemovePassword, &app);
    assert_eq!(listed(&world).await, [orphan]);
    world.serve("app", 2, async |_| {}).await;
    assert!(
        world.keys(&app).contains(&orphan),
        "a listing removes nothing"
    );
    assert_eq!(world.count(Kind::RemovePassword, &app), removals);
    let current = world.current("app").await;
    sweep(&world).await;
    assert_eq!(world.keys(&app), [current]);
    assert_eq!(listed(&world).await, []);
    let journal = world.journal("app").await;
    assert!(journal.removals.is_empty(), "gone, reliably");
    assert_eq!(world.current("app").await, current);
}

#[tokio::test]
async fn k1_p7_what_can_not_be_removed_yet_is_kept_and_retried() {
    let (world, app, orphan) = with_orphan().await;
    world
        .sandbox
        .inject(Fault::on(Kind::RemovePassword, Action::HangUp).times(2));
    let name = "app".parse().unwrap();
    world
        .engine
        .remove_orphans(&name, Duration::ZERO)
        .await
        .unwrap();
    assert!(world.keys(&app).contains(&orphan));
    assert_eq!(world.journal("app").await.removals[0].key_id, orphan);
    world.serve("app", 1, async |_| {}).await;
    assert!(!world.keys(&app).contains(&orphan));
}

#[tokio::test]
async fn k1_p7_a_list_that_fails_is_not_an_empty_one() {
    let (world, _, _) = with_orphan().await;
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, Action::HangUp));
    let fault = world
        .engine
        .orphans(&"app".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(fault, OrphansFault::Unread(failure) if failure.code == "interrupted"));
}

#[tokio::test]
async fn k1_a_secret_that_is_in_use_or_being_made_is_no_orphan() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(Duration::from_secs(60));
    // Minted and not proved: the first token is for Graph.
    world
        .sandbox
        .inject(Fault::on(Kind::Token, Action::HangUp).nth(2).always());
    world.rotate_once("app").await;
    world.sandbox.clear_faults();
    assert_eq!(world.state("app").await, "minted");
    assert_eq!(world.keys(&app).len(), 3);
    assert_eq!(listed(&world).await, []);
    sweep(&world).await;
    assert_eq!(world.keys(&app).len(), 3);
}

#[tokio::test]
async fn k2_p3_a_name_that_was_forged_or_copied_is_somebody_elses() {
    let (world, app, orphan) = with_orphan().await;
    let journal = world.journal("app").await;
    let ours = journal.current().unwrap().attempt.unwrap();
    let copied = put(&world, &app, ours.to_string());
    let forged = put(
        &world,
        &app,
        format!("keywheel/{}/01BX5ZZKBKACTAV9WEVGEMMVRZ", ours.instance),
    );
    let other = world.application("other");
    world.adopt("other", &other, "pull = true").await.unwrap();
    world.rotate("other").await;
    let of_other = world
        .journal("other")
        .await
        .current()
        .unwrap()
        .attempt
        .unwrap();
    let moved = put(&world, &app, of_other.to_string());
    let plain = put(&world, &app, "keywheel".into());
    assert_eq!(listed(&world).await, [orphan]);
    sweep(&world).await;
    let current = world.current("app").await;
    assert_eq!(world.keys(&app), [current, copied, forged, moved, plain]);
}

#[tokio::test]
async fn k2_p3_a_copied_name_that_is_still_looked_for_is_left_alone_and_ends_the_looking() {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    // Nobody says 204 to its removal, so that its name is looked for further.
    let silent = Fault::on(Kind::RemovePassword, Action::HangUp).after_effect();
    world.sandbox.inject(silent);
    world.rotate_once("app").await;
    // A person makes a secret of the same name while the lost one is being removed.
    let lost = world.sandbox.keys(app.client_id)[1].clone();
    let name = lost.display_name.unwrap();
    let patience = Duration::from_secs(90);
    world.advance("app", Order::resume(patience)).await;
    assert!(!world.keys(&app).contains(&lost.key_id), "removed");
    let copied = put(&world, &app, name.clone());
    let mut watched = false;
    let passes = world
        .serve("app", 8, async |world| {
            let watches = world.journal("app").await.watches;
            watched |= watches.iter().any(|it| it.attempt.to_string() == name);
        })
        .await;
    assert!(
        watched,
        "P4: replicas may still show what nobody said 204 to"
    );
    assert!(passes < 60, "{passes}");
    assert!(world.keys(&app).contains(&copied));
}

#[tokio::test]
async fn k3_p3_the_secrets_of_another_instance_are_never_swept() {
    let (world, app, orphan) = with_orphan().await;
    let name = "keywheel/01ARZ3NDEKTSV4RRFFQ69G5FAV/01BX5ZZKBKACTAV9WEVGEMMVRZ";
    let theirs = put(&world, &app, name.into());
    assert_eq!(listed(&world).await, [orphan]);
    sweep(&world).await;
    assert_eq!(world.keys(&app), [world.current("app").await, theirs]);
}

/// A connection whose answer to an add was lost, and that was removed before anybody could look.
async fn removed_with_a_lost_answer() -> (World, Registered) {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    let denied = Fault::on(Kind::GetApplication, Action::Refuse(GraphError::Denied));
    world.sandbox.inject(denied.nth(2).always());
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "blocked");
    world.sandbox.clear_faults();
    (world, app)
}

async fn adopted_again(world: &World, app: &Registered) {
    let name = "app".parse().unwrap();
    world.engine.remove(&name).await.unwrap().unwrap();
    let more = world.to_file("app");
    world.adopt("app", app, &more).await.unwrap();
}

async fn foreign(world: &World) -> Vec<KeyId> {
    let name = "app".parse().unwrap();
    let foreign = world.engine.foreign(&name).await.unwrap().unwrap();
    foreign.iter().map(|password| password.key_id).collect()
}

#[tokio::test]
async fn k1_p4_a_name_that_an_earlier_connection_left_open_is_looked_for_further() {
    let (world, app) = removed_with_a_lost_answer().await;
    assert_eq!(world.keys(&app).len(), 2);
    adopted_again(&world, &app).await;
    assert_eq!(world.journal("app").await.watches.len(), 1);
    world.serve("app", 3, async |_| {}).await;
    assert_eq!(world.keys(&app), [app.keys[0].key_id], "it is removed");
}

#[tokio::test]
async fn k1_p7_the_orphan_of_an_earlier_connection_is_ours() {
    let (world, app) = removed_with_a_lost_answer().await;
    let orphan = world.keys(&app)[1];
    adopted_again(&world, &app).await;
    // Nobody looks for it any more.
    let watches = world.journal("app").await.watches;
    let done = watches.iter().map(|it| Change::WatchDone(it.attempt));
    world.commit("app", done.collect()).await;
    assert_eq!(foreign(&world).await, []);
    assert_eq!(listed(&world).await, [orphan]);
    sweep(&world).await;
    assert_eq!(world.keys(&app), [app.keys[0].key_id]);
}

#[tokio::test]
async fn k1_p3_what_an_earlier_connection_has_handed_out_is_no_orphan() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    let used = world.current("app").await;
    adopted_again(&world, &app).await;
    assert_eq!(listed(&world).await, []);
    assert_eq!(foreign(&world).await, [used]);
}

#[tokio::test]
async fn e2_p4_a_young_key_that_went_without_a_204_is_looked_for_further() {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    world.rotate_once("app").await;
    world.clock.advance(Duration::from_secs(2));
    world.advance("app", Order::DUE).await;
    let orphan = world.journal("app").await.removals[0].key_id;
    // A replica that does not know it yet says that it is not there.
    world.sandbox.delete_key(app.client_id, orphan);
    let mut watched = false;
    world
        .serve("app", 1, async |world| {
            let journal = world.journal("app").await;
            watched |= journal.removals.is_empty() && !journal.watches.is_empty();
        })
        .await;
    assert!(watched, "nobody has said 204");
}
