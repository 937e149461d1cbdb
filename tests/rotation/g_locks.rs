//! G: several processes on one store.

use keywheel::store::Share;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use keywheel::clock::Clock;
use keywheel::rotation::advance::{Order, Stop, Which};
use keywheel::sandbox::{Kind, Registered, Stage};
use keywheel::store::Store;

use crate::world::{PATIENT, World};

fn added(world: &World, application: &Registered) -> usize {
    let calls = world
        .sandbox
        .calls_of(Kind::AddPassword, application.client_id);
    calls.len()
}

#[tokio::test]
async fn g1_while_one_works_the_other_says_busy_and_changes_nothing() {
    let world = World::new().await;
    let application = world.adopted().await;
    let other = Arc::new(world.another_engine().await);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let answers = heard.clone();
    world.sandbox.on_call(move |stage, call| {
        let (other, answers) = (other.clone(), answers.clone());
        async move {
            if stage == Stage::AfterEffect && call.kind == Kind::AddPassword {
                let name = "app".parse().unwrap();
                let order = Order::rotate(None, false, PATIENT);
                let rotate = other.advance(&name, order).await.unwrap();
                let revoke = other.revoke(&name, Which::Previous, PATIENT).await.unwrap();
                let deliver = other.deliver(&name, None, PATIENT).await.unwrap();
                let rollback = other.rollback(&name, PATIENT).await.unwrap();
                answers
                    .lock()
                    .unwrap()
                    .extend([rotate, revoke, deliver, rollback]);
            }
        }
    });
    world.rotate("app").await;
    let answers = heard.lock().unwrap();
    assert_eq!(answers.len(), 4);
    assert!(
        answers.iter().all(|stop| *stop == Stop::Busy),
        "{answers:?}"
    );
    assert_eq!(added(&world, &application), 1, "P5");
}

#[tokio::test]
async fn g2_a_killed_holder_lets_go_at_once() {
    let world = World::new().await;
    let application = world.adopted().await;
    // The lock's file is there from now on.
    world.advance("app", Order::DUE).await;
    let folder = world.engine.settings.store_path.with_file_name("locks");
    let lock = folder.join(format!(
        "{}.{}.lock",
        application.tenant_id, application.client_id
    ));
    assert!(lock.exists());
    let mut holder = Command::new("flock")
        .args(["--no-fork", "--exclusive"])
        .arg(&lock)
        .args(["sleep", "600"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while world.advance("app", Order::DUE).await != Stop::Busy {
        tokio::task::yield_now().await;
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_ne!(world.advance("app", Order::DUE).await, Stop::Busy);
}

#[tokio::test]
async fn g4_the_need_is_checked_again_inside_the_lock() {
    let world = World::new().await;
    let application = world.adopted().await;
    let other = world.another_engine().await;
    world.clock.set(world.journal("app").await.due_at);
    let found = world
        .store
        .due(world.clock.now(), Share::ALL)
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "both have found it due");
    world.due("app").await;
    other.advance(&found[0].name, Order::DUE).await.unwrap();
    assert_eq!(added(&world, &application), 1);
}

#[tokio::test]
async fn g4_of_two_at_the_same_moment_one_rotates() {
    let world = World::new().await;
    let application = world.adopted().await;
    let other = world.another_engine().await;
    let name = "app".parse().unwrap();
    for round in 1..=5 {
        world.clock.set(world.journal("app").await.due_at);
        let (one, two) = tokio::join!(
            world.engine.advance(&name, Order::DUE),
            other.advance(&name, Order::DUE)
        );
        one.unwrap();
        two.unwrap();
        world.due("app").await;
        assert_eq!(added(&world, &application), round);
    }
}
