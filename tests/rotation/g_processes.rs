//! G: several processes, several stores.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::rotation::advance::{Order, Stop};
use keywheel::sandbox::{Action, Fault, Key, Kind, NewPassword, Registered};

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
