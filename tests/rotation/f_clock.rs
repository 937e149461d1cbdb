//! F11: a clock that is at odds with the server's stops rotations, and says so.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::journal::Journal;
use keywheel::rotation::advance::Order;
use keywheel::rotation::standing::{Health, standing};
use keywheel::sandbox::{Kind, Registered};

use crate::world::World;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn changes(world: &World, app: &Registered) -> usize {
    world.count(Kind::AddPassword, app) + world.count(Kind::RemovePassword, app)
}

fn health(world: &World, journal: &Journal) -> Health {
    let terms = world.engine.terms(journal).unwrap();
    standing(journal, &terms, world.clock.now()).health
}

#[tokio::test]
async fn f11_p7_an_implausible_clock_adds_nothing_and_says_so() {
    for minutes in [-6, 6, 60 * 24 * 400] {
        let world = World::new().await;
        let app = world.adopted().await;
        world.sandbox.set_date_offset(TimeDelta::minutes(minutes));
        world.rotate_once("app").await;
        assert_eq!(changes(&world, &app), 0, "{minutes} min");
        let journal = world.journal("app").await;
        let failure = world.rotation("app").await.retry.last.unwrap();
        assert_eq!(failure.code, "clock-implausible");
        assert!(!failure.permanent);
        let here = world.clock.now();
        for at in [here, here + TimeDelta::minutes(minutes)] {
            let shown = at.format("%FT%T").to_string();
            assert!(failure.message.contains(&shown), "{}", failure.message);
        }
        assert!(failure.remedy.unwrap().contains("NTP"));
        assert_eq!(health(&world, &journal), Health::Retrying);
        assert!(
            journal.watches.is_empty(),
            "nothing was sent, nothing is looked for"
        );

        // The clock is set right.
        world.sandbox.set_date_offset(TimeDelta::zero());
        let next = journal.next_action_at.unwrap();
        assert!(
            next <= here + TimeDelta::minutes(1),
            "along the ladder: {next}"
        );
        world.clock.set(next);
        world.due("app").await;
        assert_eq!(world.state("app").await, "overlapping");
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
    }
}

#[tokio::test]
async fn f11_a_clock_that_is_off_by_minutes_hinders_nothing() {
    for minutes in [-4, 4] {
        let world = World::new().await;
        world.adopted().await;
        world.sandbox.set_date_offset(TimeDelta::minutes(minutes));
        world.rotate_once("app").await;
        assert_eq!(world.state("app").await, "overlapping");
    }
}

#[tokio::test]
async fn f11_p2_an_implausible_clock_revokes_nothing_and_deliveries_go_on() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    let so_far = changes(&world, &app);
    world.clock.advance(WEEK);
    // By both clocks the overlap is over.
    world.sandbox.set_date_offset(TimeDelta::days(3));
    world.advance("app", Order::DUE).await;
    assert_eq!(changes(&world, &app), so_far);
    assert_eq!(world.last_code("app").await.unwrap(), "clock-implausible");

    let file = world.file("app");
    std::fs::remove_file(&file).unwrap();
    let name = "app".parse().unwrap();
    world
        .engine
        .deliver(&name, None, Duration::ZERO)
        .await
        .unwrap();
    assert!(world.holds(&app, &file, world.current("app").await));

    world.sandbox.set_date_offset(TimeDelta::zero());
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
}
