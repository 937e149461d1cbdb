//! G: several processes, several stores.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::rotation::adopt::{AdoptFault, Adopted, Candidate};
use keywheel::rotation::advance::{Engine, Order, Stop};
use keywheel::sandbox::{Action, Fault, Key, Kind, NewPassword, Registered};
use keywheel::store::HistoryFilter;

use crate::world::World;

/// A secret that another instance has just made, and not finished with.
fn pending_of_another(world: &World, app: &Registered, days: i64) -> Key {
    let end = world.clock.now() + TimeDelta::days(days);
    let name = "keywheel/01ARZ3NDEKTSV4RRFFQ69G5FAV/01BX5ZZKBKACTAV9WEVGEMMVRZ";
    let new = NewPassword {
        display_name: Some(name.to_owned()),
        ..NewPassword::until(end)
    };
    world.sandbox.add_key(app.client_id, new).unwrap()
}

#[tokio::test]
async fn g5_p5_a_key_of_another_instance_blocks_adopting() {
    let world = World::new().await;
    let app = world.application("app");
    let theirs = pending_of_another(&world, &app, 30).key_id;
    let fault = world.adopt("app", &app, "pull = true").await.unwrap_err();
    assert!(fault.to_string().contains(&theirs.to_string()), "{fault}");
    assert!(
        fault.to_string().contains("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "{fault}"
    );
    assert!(world.store_is_empty().await);
}

/// One store has rotated `app`, whose consumer holds that secret; what another is to adopt.
async fn rotated_elsewhere() -> (World, Registered, Key, Engine) {
    let world = World::new().await;
    let app = world.adopted().await;
    world
        .advance(
            "app",
            Order::rotate(Some("0s".parse().unwrap()), false, SAT),
        )
        .await;
    let theirs = world.key(&app, world.current("app").await);
    assert_eq!(world.keys(&app), [theirs.key_id]);
    let other = world.another_instance().await;
    (world, app, theirs, other)
}

const SAT: Duration = Duration::from_secs(300);

fn candidate(world: &World, app: &Registered, secret: &Key, take_over: bool) -> Candidate {
    Candidate {
        secret: secret.value.clone(),
        take_over,
        ..world.candidate(world.declared("app", app, "pull = true"), app)
    }
}

fn code(adopted: Result<Adopted, AdoptFault>) -> String {
    match adopted {
        Err(AdoptFault::Check { code, remedy, .. }) => {
            assert!(remedy.unwrap().contains("--take-over"));
            code
        }
        other => panic!("not refused by a check: {other:?}"),
    }
}

#[tokio::test]
async fn g5_p2_p5_what_another_instance_made_is_adopted_only_when_a_person_says_so() {
    let (world, app, theirs, other) = rotated_elsewhere().await;
    let name = "app".parse().unwrap();
    let adopted = other.adopt(candidate(&world, &app, &theirs, false)).await;
    assert_eq!(code(adopted), "other-instance");
    assert!(other.store.journals().await.unwrap().is_empty());

    let adopted = other.adopt(candidate(&world, &app, &theirs, true)).await;
    let adopted = adopted.unwrap();
    let instance = world.engine.instances[0].to_string();
    let said = adopted.notes.iter().any(|note| note.contains(&instance));
    assert!(said, "P7: {:?}", adopted.notes);
    let history = other.store.history(HistoryFilter::default()).await.unwrap();
    let taken = history.iter().find(|it| it.action == "taken-over").unwrap();
    assert_eq!(taken.key_id, Some(theirs.key_id));
    assert!(taken.result.contains(&instance), "{}", taken.result);
    // Ours from here on: it goes as any other, and stands in the way of nothing.
    other
        .advance(&name, Order::rotate(None, false, SAT))
        .await
        .unwrap();
    let journal = other.journal(&name).await.unwrap();
    let current = journal.current().unwrap().key_id;
    let value = world.key(&app, theirs.key_id).value;
    let corrected = other.readopt(&name, value, None, false).await;
    assert_eq!(corrected.unwrap().unwrap().key_id, theirs.key_id);
    assert_eq!(world.keys(&app), [theirs.key_id, current]);
}

#[tokio::test]
async fn g5_p2_p5_given_anew_by_hand_it_is_refused_as_well() {
    let (world, app, theirs, other) = rotated_elsewhere().await;
    let name = "app".parse().unwrap();
    let end = world.clock.now() + TimeDelta::days(60);
    let portal = NewPassword::until(end);
    let portal = world.sandbox.add_key(app.client_id, portal).unwrap();
    // Its own secret, made in the portal, is adopted while that of the other store is away.
    world.sandbox.delete_key(app.client_id, theirs.key_id);
    other
        .adopt(candidate(&world, &app, &portal, false))
        .await
        .unwrap();
    let name_of_theirs = theirs.display_name.clone();
    let again = NewPassword {
        display_name: name_of_theirs,
        ..NewPassword::until(end)
    };
    let again = world.sandbox.add_key(app.client_id, again).unwrap();
    let given =
        |take_over| other.readopt(&name, again.value.clone(), Some(again.key_id), take_over);
    let refused = given(false).await.map(Option::unwrap);
    assert_eq!(code(refused), "other-instance");
    let adopted = given(true).await.unwrap().unwrap();
    assert_eq!(adopted.key_id, again.key_id);
    let history = other.store.history(HistoryFilter::default()).await.unwrap();
    assert!(history.iter().any(|it| it.action == "taken-over"), "P7");
}

#[tokio::test]
async fn g5_p5_a_check_that_was_postponed_finds_it_too() {
    let (world, app, theirs, other) = rotated_elsewhere().await;
    let name = "app".parse().unwrap();
    let postponed = Candidate {
        key_id: Some(theirs.key_id),
        check: false,
        ..candidate(&world, &app, &theirs, false)
    };
    other.adopt(postponed).await.unwrap();
    other
        .advance(&name, Order::rotate(None, false, SAT))
        .await
        .unwrap();
    let journal = other.journal(&name).await.unwrap();
    let failure = journal.rotations[0].retry.last.clone().unwrap();
    assert_eq!(failure.code, "other-instance");
    assert_eq!(world.keys(&app), [theirs.key_id]);
    // The way out that is named, beside the rotation that it stands in the way of.
    let readopted = other.readopt(&name, theirs.value.clone(), None, true).await;
    assert_eq!(readopted.unwrap().unwrap().key_id, theirs.key_id);
    other.advance(&name, Order::resume(SAT)).await.unwrap();
    let journal = other.journal(&name).await.unwrap();
    let current = journal.current().unwrap().key_id;
    assert_eq!(world.keys(&app), [theirs.key_id, current]);
}

#[tokio::test]
async fn g5_p3_p5_a_key_of_another_instance_blocks_rotating_and_is_left_alone() {
    let world = World::new().await;
    let app = world.adopted().await;
    let ours = app.keys[0].key_id;
    let theirs = pending_of_another(&world, &app, 30).key_id;
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "blocked");
    assert_eq!(
        world.last_code("app").await.as_deref(),
        Some("other-instance")
    );
    world.serve("app", 20, async |_| {}).await;
    assert_eq!(world.keys(&app), [ours, theirs]);
    assert_eq!(world.count(Kind::AddPassword, &app), 0);
    assert_eq!(world.count(Kind::RemovePassword, &app), 0);
    // Once it is gone, the rotation goes on by itself.
    world.sandbox.delete_key(app.client_id, theirs);
    world.serve("app", 2, async |_| {}).await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn g5_a_dead_key_of_another_instance_hinders_nobody() {
    let world = World::new().await;
    let app = world.adopted().await;
    let theirs = pending_of_another(&world, &app, 1).key_id;
    world.clock.advance(Duration::from_secs(2 * 86_400));
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.keys(&app).contains(&theirs), "P3");
}

#[tokio::test]
async fn g6_changes_of_one_application_are_spaced() {
    let gap = Duration::from_secs(10);
    let world = World::with(|options| options.rules.mutation_gap = gap, "").await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost.times(2));
    let overlap = Some("0s".parse().unwrap());
    for _ in 0..3 {
        world
            .advance("app", Order::rotate(overlap, false, Duration::ZERO))
            .await;
        world.serve("app", 1, async |_| {}).await;
    }
    assert_eq!(world.keys(&app), [world.current("app").await]);
    let calls = world.sandbox.calls().into_iter();
    let changes: Vec<_> = calls
        .filter(|call| matches!(call.kind, Kind::AddPassword | Kind::RemovePassword))
        .collect();
    assert!(changes.len() >= 8, "{}", changes.len());
    for pair in changes.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= TimeDelta::seconds(10), "{apart}");
    }
    let refused = changes.iter().filter(|call| call.status == Some(409));
    assert_eq!(refused.count(), 0, "never too close for Entra");
}

#[tokio::test]
async fn g6_p5_changes_of_one_application_are_serialised() {
    let world = World::new().await;
    let app = world.adopted().await;
    let order = Order::rotate(None, false, Duration::from_secs(60));
    let passes = (0..8).map(|_| world.advance("app", order));
    let stops = join_all(passes).await;
    let busy = stops.iter().filter(|stop| **stop == Stop::Busy).count();
    assert_eq!(busy, 7, "{stops:?}");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
    let keys: Vec<KeyId> = world.keys(&app);
    assert_eq!(keys.len(), 2);
}

/// All at once, on one task.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        match pending.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}
