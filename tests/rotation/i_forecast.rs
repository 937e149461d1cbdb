//! P9: whatever a connection is in the middle of, and whatever is asked for: every change that the
//! run makes was named by the forecast made just before.

use std::time::Duration;

use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::rotation::advance::Order;
use keywheel::rotation::forecast::Change;
use keywheel::rotation::plan::Ask;
use keywheel::sandbox::{Action, Fault, GraphError, Kind, Registered};

use crate::by_hand::{undelivered, unproved};
use crate::world::World;

const SOON: Duration = Duration::from_secs(300);
const DAYS: Duration = Duration::from_secs(9 * 86_400);
const MONTH: Duration = Duration::from_secs(32 * 86_400);

/// In the middle of what a connection is found.
#[derive(Debug, Clone, Copy)]
enum Case {
    Idle,
    Overlapping(&'static str),
    OverlappingTwice,
    Delivering,
    DeliveringInOverlap,
    UntilTheNextRotation,
    Proving,
    ProvingInOverlap,
    Abandoning,
    Blocked,
    Removing,
    Lost,
    Watching,
}

const CASES: [Case; 14] = [
    Case::Idle,
    Case::Overlapping("7d"),
    Case::Overlapping("next-rotation"),
    Case::OverlappingTwice,
    Case::Delivering,
    Case::DeliveringInOverlap,
    Case::UntilTheNextRotation,
    Case::Proving,
    Case::ProvingInOverlap,
    Case::Abandoning,
    Case::Blocked,
    Case::Removing,
    Case::Lost,
    Case::Watching,
];

fn by_hand(overlap: Option<&str>, revoke_now: bool) -> Order {
    let overlap = overlap.map(|it| it.parse().unwrap());
    Order::rotate(overlap, revoke_now, SOON)
}

fn impatient(overlap: Option<&str>) -> Order {
    Order {
        patience: Duration::ZERO,
        ..by_hand(overlap, false)
    }
}

/// What is asked for, as `rotate` does.
fn orders() -> Vec<(&'static str, Order)> {
    let due = |ask, revoke_now| Order {
        ask,
        clear_backoff: ask == Ask::DueNow,
        revoke_now,
        patience: SOON,
    };
    vec![
        ("NAME", by_hand(None, false)),
        ("NAME --overlap 0s", by_hand(Some("0s"), false)),
        (
            "NAME --overlap next-rotation",
            by_hand(Some("next-rotation"), false),
        ),
        ("NAME --revoke-now", by_hand(None, true)),
        ("--due", due(Ask::Due, false)),
        ("--due --revoke-now", due(Ask::Due, true)),
        ("--due --force", due(Ask::DueNow, false)),
        ("--due --force --revoke-now", due(Ask::DueNow, true)),
    ]
}

/// When it is asked: soon after, and when overlaps, or a whole interval, are over.
fn times(order: Order) -> [Duration; 2] {
    match order.ask {
        Ask::Rotate(_) => [SOON, MONTH],
        _ => [DAYS, MONTH],
    }
}

/// The reload command works again.
fn repair(world: &World) {
    let _ = std::fs::remove_file(world.folder.path().join("broken"));
}

fn refuse_to_reload(world: &World) {
    std::fs::write(world.folder.path().join("broken"), "").unwrap();
}

async fn in_the_middle_of(case: Case) -> (World, Registered) {
    match case {
        Case::Delivering => undelivered().await,
        Case::Proving => {
            let (world, app, _) = unproved().await;
            (world, app)
        }
        Case::Abandoning => {
            let (world, app, pending) = unproved().await;
            let dead = Fault::on(Kind::RemovePassword, Action::HangUp);
            world.sandbox.inject(dead);
            let which = keywheel::rotation::advance::Which::Key {
                key_id: pending,
                accept_outage: true,
            };
            let name = "app".parse().unwrap();
            let revoked = world.engine.revoke(&name, which, Duration::ZERO).await;
            revoked.unwrap();
            assert_eq!(world.state("app").await, "abandoning");
            (world, app)
        }
        _ => {
            let (world, app) = reloading().await;
            begin(case, &world, &app).await;
            (world, app)
        }
    }
}

/// An application whose reload command fails while a file is there.
async fn reloading() -> (World, Registered) {
    let world = World::new().await;
    let app = world.application("app");
    let more = format!(
        "{}reload = [\"/bin/sh\", \"-c\", \"test ! -e {}\"]\n",
        world.to_file("app"),
        world.folder.path().join("broken").display()
    );
    world.adopt("app", &app, &more).await.unwrap();
    (world, app)
}

async fn begin(case: Case, world: &World, app: &Registered) {
    match case {
        Case::Overlapping(overlap) => {
            world.advance("app", by_hand(Some(overlap), false)).await;
        }
        Case::OverlappingTwice => {
            world.rotate("app").await;
            world.clock.advance(Duration::from_secs(86_400));
            world.rotate("app").await;
        }
        Case::DeliveringInOverlap | Case::UntilTheNextRotation => {
            if matches!(case, Case::DeliveringInOverlap) {
                world.rotate("app").await;
                world.clock.advance(Duration::from_secs(86_400));
            }
            refuse_to_reload(world);
            let until = matches!(case, Case::UntilTheNextRotation).then_some("next-rotation");
            world.advance("app", impatient(until)).await;
            assert_eq!(world.state("app").await, "delivering");
        }
        Case::ProvingInOverlap => {
            world.rotate("app").await;
            world.clock.advance(Duration::from_secs(3_600));
            let refusal = keywheel::sandbox::SignInError::InvalidSecret(app.client_id);
            let fault = Fault::on(Kind::Token, Action::RefuseSignIn(refusal)).nth(2);
            world.sandbox.inject(fault.always());
            world.advance("app", impatient(None)).await;
            world.sandbox.clear_faults();
            assert_eq!(world.state("app").await, "minted");
        }
        Case::Blocked => {
            world.rotate("app").await;
            world.clock.advance(Duration::from_secs(3_600));
            let denied = Action::Refuse(GraphError::Denied);
            let fault = Fault::on(Kind::AddPassword, denied);
            world.sandbox.inject(fault);
            world.advance("app", impatient(None)).await;
            assert_eq!(world.state("app").await, "blocked");
        }
        Case::Removing => {
            let dead = Fault::on(Kind::RemovePassword, Action::HangUp).always();
            world.sandbox.inject(dead);
            world.advance("app", by_hand(Some("0s"), false)).await;
            world.sandbox.clear_faults();
            assert_eq!(world.journal("app").await.removals.len(), 1);
        }
        Case::Lost => {
            let lost = Fault::on(Kind::AddPassword, Action::HangUp);
            world.sandbox.inject(lost);
            world.rotate_once("app").await;
        }
        Case::Watching => {
            let lost = Fault::on(Kind::AddPassword, Action::HangUp);
            world.sandbox.inject(lost);
            world.rotate("app").await;
            assert_eq!(world.journal("app").await.watches.len(), 1);
        }
        _ => {}
    }
}

/// What was changed, in the world and by name.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    added: usize,
    removed: Vec<KeyId>,
    delivered: usize,
}

impl Changes {
    fn named(forecast: &[Change], until: chrono::DateTime<chrono::Utc>) -> Self {
        let count = |wanted: fn(&Change) -> bool| forecast.iter().filter(|it| wanted(it)).count();
        let mut removed: Vec<KeyId> = forecast
            .iter()
            .filter_map(|it| match it {
                Change::Revoke {
                    key_id,
                    at: Some(at),
                } if *at <= until => Some(*key_id),
                _ => None,
            })
            .collect();
        removed.sort();
        Self {
            added: count(|it| matches!(it, Change::AddPassword { .. })),
            removed,
            delivered: count(|it| matches!(it, Change::Deliver { .. })),
        }
    }

    async fn made(world: &World, app: &Registered, order: Order) -> Self {
        let adds = world.count(Kind::AddPassword, app);
        let events = world.events().await.len();
        let mut removed = world.keys(app);
        world.advance("app", order).await;
        removed.retain(|key| !world.keys(app).contains(key));
        removed.sort();
        let happened = world.events().await.split_off(events);
        let delivered = happened.iter().filter(|it| it.action == "delivered");
        Self {
            added: world.count(Kind::AddPassword, app) - adds,
            removed,
            delivered: delivered.count(),
        }
    }
}

#[tokio::test]
async fn i3_p9_whatever_it_is_in_the_middle_of_the_forecast_names_every_change() {
    let mut wrong = Vec::new();
    for case in CASES {
        for (asked, order) in orders() {
            for later in times(order) {
                let (world, app) = in_the_middle_of(case).await;
                repair(&world);
                world.clock.advance(later);
                let journal = world.journal("app").await;
                let forecast = world.engine.forecast(&journal, order).unwrap();
                let made = Changes::made(&world, &app, order).await;
                let named = Changes::named(&forecast, world.clock.now());
                if made != named {
                    wrong.push(format!(
                        "{case:?}, {later:?} later, {asked}:\n  made  {made:?}\n  named {named:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}
