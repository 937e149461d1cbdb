//! Killed from outside while a request is under way: it takes effect, and nobody reads the answer.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keywheel::clock::{Clock, SystemClock};
use keywheel::sandbox::Stage;
use rustix::process::{Pid, Signal, kill_process};

use crate::points::{Ended, at_every_point};
use crate::rotation::Again;
use crate::world::{Identity, NAME, Shape, World};

/// A request that has arrived takes effect so much later than its sender dies.
const LATE: Duration = Duration::from_millis(10);

/// Every call of a rotation to its end; its sender is killed at `stage`.
async fn killed_at(stage: Stage, identity: Identity) {
    let shape = Shape {
        identity,
        lag: false,
        overlap: "0s",
    };
    let kills = at_every_point(move |call| async move {
        let label = format!("{identity:?}, killed at call {call}, {stage:?}");
        let world = World::new(shape, label).await;
        kill_at_call(&world, stage, call);
        let output = world.run(&["rotate", NAME], None).await;
        world.sandbox.on_call(|_, _| async {});
        world.recovers(Again::Due, false).await;
        match output.status.signal() {
            Some(9) => Ended::Killed,
            _ => Ended::ByItself,
        }
    })
    .await;
    assert!(kills >= 10, "only {kills} calls");
}

/// Has the sandbox kill who sends the `call`-th request.
fn kill_at_call(world: &World, stage: Stage, call: u64) {
    let counted = AtomicU64::new(0);
    let pid = world.pid.clone();
    world.sandbox.on_call(move |at, _| {
        let its_turn = at == stage && counted.fetch_add(1, Ordering::SeqCst) + 1 == call;
        if its_turn && let Some(pid) = Pid::from_raw(pid.load(Ordering::SeqCst)) {
            kill_process(pid, Signal::KILL).unwrap();
        }
        async move {
            if its_turn {
                SystemClock.sleep(LATE).await;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_b1_killed_just_before_a_call_takes_effect() {
    killed_at(Stage::BeforeEffect, Identity::Itself).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_b1_killed_just_after_a_call_took_effect() {
    killed_at(Stage::AfterEffect, Identity::Itself).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_b1_killed_as_another_just_before_a_call_takes_effect() {
    killed_at(Stage::BeforeEffect, Identity::Another).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_b1_killed_as_another_just_after_a_call_took_effect() {
    killed_at(Stage::AfterEffect, Identity::Another).await;
}

#[tokio::test]
#[should_panic(expected = "does not sign in")]
async fn p2_a_consumer_that_is_cut_off_is_noticed() {
    let shape = Shape {
        identity: Identity::Itself,
        lag: false,
        overlap: "0s",
    };
    let world = World::new(shape, "cut off".into()).await;
    let application = &world.application;
    let adopted = application.keys[0].key_id;
    world.sandbox.delete_key(application.client_id, adopted);
    world.consumers_sign_in();
}
