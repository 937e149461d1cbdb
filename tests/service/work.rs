//! F, G: many connections at once, and one that misbehaves.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::connection::ConnectionName;
use keywheel::rotation::advance::Engine;
use keywheel::rotation::observe::{Moment, Observer};
use keywheel::sandbox::{Action, Fault, Kind, NewApplication};
use keywheel::service::{Ended, Limits, Work};
use keywheel::store::Store;

use crate::world::World;

const LIMITS: Limits = Limits {
    passes: 8,
    passes_per_tenant: 6,
};

/// Panics in the middle of one connection's rotation.
#[derive(Debug)]
struct Clumsy;

impl Observer for Clumsy {
    fn observe(&self, connection: &ConnectionName, moment: &Moment<'_>) {
        assert!(
            connection.as_str() != "bad" || !matches!(moment, Moment::Minted { .. }),
            "a fault of Keywheel's own"
        );
    }
}

async fn adopt(world: &World, name: &str) {
    let application = world.application(name);
    let more = format!("rotate_at = \"10:00\"\n{}", world.to_file(name));
    world.adopt(name, &application, &more).await.unwrap();
}

/// Works until nothing is due; how each pass ended.
async fn settle(work: &mut Work, engine: &Arc<Engine>) -> Vec<Ended> {
    let mut ends = Vec::new();
    loop {
        work.look(engine).await.unwrap();
        if work.under_way() == 0 {
            return ends;
        }
        ends.push(work.one_done(engine).await);
    }
}

async fn engine(world: &World) -> Engine {
    world.another_engine().await
}

#[tokio::test]
async fn g8_a_panic_in_one_connection_stops_no_other_and_is_tried_again_later() {
    let world = World::new().await;
    for name in ["bad", "good", "other"] {
        adopt(&world, name).await;
    }
    let clumsy = Engine {
        observer: Arc::new(Clumsy),
        ..engine(&world).await
    };
    let mut work = Work::new(LIMITS);
    world.clock.set(world.journal("bad").await.due_at);
    let ends = settle(&mut work, &Arc::new(clumsy)).await;
    assert!(ends.contains(&Ended::Panicked), "{ends:?}");
    for name in ["good", "other"] {
        assert_eq!(world.state(name).await, "overlapping");
    }
    // What it had written is whole: a sound engine goes on with the same secret.
    let sound = Arc::new(engine(&world).await);
    assert_eq!(
        settle(&mut work, &sound).await,
        [],
        "it is let alone for a while"
    );
    world.clock.advance(Duration::from_secs(60));
    settle(&mut work, &sound).await;
    assert_eq!(world.state("bad").await, "overlapping");
    let journal = world.journal("bad").await;
    let application = (journal.declared.tenant_id, journal.declared.client_id);
    assert_eq!(
        world
            .sandbox
            .calls_of(Kind::AddPassword, application.1)
            .len(),
        1,
        "P4"
    );
}

#[tokio::test]
async fn f9_what_is_due_exactly_now_is_rotated_once() {
    let world = World::new().await;
    adopt(&world, "app").await;
    let due_at = world.journal("app").await.due_at;
    let engine = Arc::new(engine(&world).await);
    let mut work = Work::new(LIMITS);
    world.clock.set(due_at - TimeDelta::seconds(1));
    assert_eq!(settle(&mut work, &engine).await, []);
    world.clock.set(due_at);
    assert_eq!(settle(&mut work, &engine).await, [Ended::Well]);
    assert_eq!(settle(&mut work, &engine).await, []);
    let journal = world.journal("app").await;
    assert_eq!(
        world
            .sandbox
            .calls_of(Kind::AddPassword, journal.declared.client_id)
            .len(),
        1
    );
}

#[tokio::test]
async fn f8_after_time_off_those_that_expire_first_go_first() {
    let world = World::new().await;
    for (name, days) in [("late", 90), ("soon", 35), ("middle", 60)] {
        let end = world.clock.now() + TimeDelta::days(days);
        let new = NewApplication::rotating_itself(world.tenant, name, end);
        let application = world.sandbox.add_application(new);
        let more = world.to_file(name);
        world.adopt(name, &application, &more).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(33 * 86_400));
    let engine = Arc::new(engine(&world).await);
    let mut work = Work::new(Limits {
        passes: 1,
        passes_per_tenant: 1,
    });
    settle(&mut work, &engine).await;
    let events = world.events().await;
    let order: Vec<String> = events
        .iter()
        .filter(|event| event.action == "promoted")
        .map(|event| event.connection.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(order, ["soon", "middle", "late"]);
}

#[tokio::test]
async fn b3_f12_one_tenant_that_has_to_wait_holds_up_no_other() {
    let world = World::new().await;
    for n in 0..10 {
        adopt(&world, &format!("slow-{n}")).await;
    }
    let other = world.sandbox.add_tenant("Fabrikam");
    let end = world.clock.now() + TimeDelta::days(60);
    let new = NewApplication::rotating_itself(other, "other", end);
    let application = world.sandbox.add_application(new);
    let more = world.to_file("other");
    world.adopt("other", &application, &more).await.unwrap();
    let due_at = world
        .journal("other")
        .await
        .due_at
        .max(world.journal("slow-0").await.due_at);
    world.clock.set(due_at);
    world
        .sandbox
        .throttle(world.tenant, due_at + TimeDelta::minutes(10));
    let engine = Arc::new(engine(&world).await);
    let mut work = Work::new(LIMITS);
    settle(&mut work, &engine).await;
    assert_eq!(world.state("other").await, "overlapping");
    assert!(world.clock.now() < due_at + TimeDelta::minutes(2));
    // And those that had to wait are done once the time is over, none of them twice.
    while world.clock.now() < due_at + TimeDelta::minutes(20) {
        let next = world.store.next_action_at().await.unwrap().unwrap();
        world
            .clock
            .set(next.max(world.clock.now() + TimeDelta::seconds(1)));
        settle(&mut work, &engine).await;
    }
    for n in 0..10 {
        let name = format!("slow-{n}");
        assert_eq!(world.state(&name).await, "overlapping", "{name}");
    }
}

#[tokio::test]
async fn f14_a_failure_is_tried_along_a_ladder_that_survives_a_restart() {
    let world = World::new().await;
    adopt(&world, "app").await;
    let due_at = world.journal("app").await.due_at;
    world.clock.set(due_at);
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, Action::Html).always());
    let mut tries = Vec::new();
    while world.clock.now() < due_at + TimeDelta::hours(24) {
        // A process that is new each time: nothing but the store remembers.
        let engine = Arc::new(engine(&world).await);
        let mut work = Work::new(LIMITS);
        if !settle(&mut work, &engine).await.is_empty() {
            tries.push((world.clock.now() - due_at).num_seconds());
        }
        let next = world.store.next_action_at().await.unwrap().unwrap();
        world
            .clock
            .set(next.max(world.clock.now() + TimeDelta::seconds(1)));
    }
    let gaps: Vec<i64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] <= 60, "seconds at first: {gaps:?}");
    assert!(*gaps.last().unwrap() >= 3_600, "hours at last: {gaps:?}");
    assert!(tries.len() > 8 && tries.len() < 60, "{gaps:?}");
}
