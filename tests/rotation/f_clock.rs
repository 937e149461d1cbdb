//! F11: a clock that is at odds with the server's stops rotations, and says so.

use keywheel::store::Share;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::journal::{Delivery, Journal, Outcome, Retry, State};
use keywheel::rotation::advance::Order;
use keywheel::rotation::standing::{Health, standing};
use keywheel::sandbox::{
    Action, Answer, Fault, GraphError, Kind, Lag, NewApplication, NewPassword, Registered,
    Replication, Stage,
};
use keywheel::store::{Change, Store};
use tokio::sync::Notify;

use crate::world::{World, start};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// The host's clock is wrong by `by`, while the server's is right.
fn wrong_clock(world: &World, by: TimeDelta) {
    world.clock.set(world.clock.now() + by);
    world.sandbox.set_date_offset(-by);
}

fn right_clock(world: &World, by: TimeDelta) {
    world.clock.set(world.clock.now() - by);
    world.sandbox.set_date_offset(TimeDelta::zero());
}

async fn pass(world: &World) {
    world.advance("app", Order::DUE).await;
}

/// An hour of passes, 20 seconds apart.
async fn an_hour_of_passes(world: &World) {
    for _ in 0..180 {
        world.clock.advance(Duration::from_secs(20));
        pass(world).await;
    }
}

async fn is_unknown(world: &World) -> bool {
    let state = world.rotation("app").await.state;
    matches!(
        state.effective(),
        State::Intended {
            outcome: Outcome::Unknown { .. },
            ..
        }
    )
}

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

#[tokio::test]
async fn f11_p8_a_look_by_a_wrong_clock_does_not_hold_a_rotation_for_weeks() {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp);
    world.sandbox.inject(lost);
    world.rotate_once("app").await;
    wrong_clock(&world, TimeDelta::days(20));
    pass(&world).await;
    right_clock(&world, TimeDelta::days(20));
    let before = world.count(Kind::GetApplication, &app);
    an_hour_of_passes(&world).await;
    let reads = world.count(Kind::GetApplication, &app) - before;
    assert!(reads < 15, "{reads} reads in an hour");
    assert_eq!(world.count(Kind::AddPassword, &app), 2, "added again");
}

#[tokio::test]
async fn f11_p8_a_removal_that_a_wrong_clock_confirmed_ends() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(WEEK);
    let unread = Fault::on(Kind::GetApplication, Action::HangUp);
    world.sandbox.inject(unread.nth(2));
    pass(&world).await; // the call, and a read that fails
    assert_eq!(world.state("app").await, "revoking");
    wrong_clock(&world, TimeDelta::days(20));
    pass(&world).await;
    right_clock(&world, TimeDelta::days(20));
    let before = world.count(Kind::GetApplication, &app);
    an_hour_of_passes(&world).await;
    let reads = world.count(Kind::GetApplication, &app) - before;
    assert!(reads < 15, "{reads} reads in an hour");
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn f11_p4_a_clock_that_is_set_forward_between_two_reads_makes_no_absence_window() {
    let world = World::new().await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp);
    world.sandbox.inject(lost);
    world.rotate_once("app").await;
    world.clock.advance(Duration::from_secs(2));
    pass(&world).await;
    wrong_clock(&world, TimeDelta::days(20));
    pass(&world).await;
    world.clock.advance(Duration::from_secs(20));
    let before = world.count(Kind::GetApplication, &app);
    pass(&world).await;
    assert_eq!(world.count(Kind::GetApplication, &app), before + 1);
    assert!(is_unknown(&world).await, "three reads within 20 seconds");
    world.clock.advance(Duration::from_secs(20));
    pass(&world).await;
    assert!(!is_unknown(&world).await);
}

#[tokio::test]
async fn f11_p8_a_next_action_that_a_wrong_clock_wrote_silences_no_connection() {
    let world = World::new().await;
    let app = world.adopted().await;
    let off = TimeDelta::hours(59 * 24 + 20);
    wrong_clock(&world, off);
    pass(&world).await;
    right_clock(&world, off);
    let passes = world.serve("app", 58, async |_| {}).await;
    assert!(passes < 30, "{passes} passes");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
}

#[tokio::test]
async fn f11_p8_what_a_clock_that_was_ahead_planned_is_planned_anew_once() {
    let world = World::new().await;
    world.adopted().await;
    let due = async || {
        let due = world
            .store
            .due(world.clock.now(), Share::ALL)
            .await
            .unwrap();
        due.iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    let before = world.journal("app").await;
    // It is synchronised, and a second off.
    world.clock.set(world.clock.now() - TimeDelta::seconds(1));
    assert!(due().await.is_empty());
    world.clock.set(world.clock.now() - TimeDelta::hours(1));
    assert_eq!(due().await, ["app"]);
    pass(&world).await;
    assert!(due().await.is_empty());
    let after = world.journal("app").await;
    assert_eq!(after.next_action_at, before.next_action_at);
}

#[tokio::test]
async fn f11_p8_a_rotation_that_a_fast_clock_began_ends_before_it_has_made_anything() {
    let world = World::new().await;
    let app = world.adopted().await;
    let due = world.journal("app").await.due_at;
    wrong_clock(&world, TimeDelta::days(40));
    pass(&world).await;
    assert_eq!(world.last_code("app").await.unwrap(), "clock-implausible");
    right_clock(&world, TimeDelta::days(40));
    let so_far = world.sandbox.calls().len();
    world.serve("app", 1, async |_| {}).await;
    assert!(due > world.clock.now());
    assert_eq!(world.sandbox.calls().len(), so_far, "not a single call");
    let journal = world.journal("app").await;
    assert!(journal.rotations.is_empty(), "none follows it");
    assert_eq!(journal.next_action_at, Some(due));
    let events = world.events().await;
    let said = events.iter().rfind(|it| it.action == "abandoned").unwrap();
    assert_eq!(said.result, "not-due");
    assert_eq!(said.rotation_id, Some(world.rotation("app").await.id));

    world.serve("app", 31, async |_| {}).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 1, "when it is due");
}

#[tokio::test]
async fn f11_a_rotation_that_a_fast_clock_began_goes_on_by_hand() {
    let world = World::new().await;
    let app = world.adopted().await;
    wrong_clock(&world, TimeDelta::days(40));
    pass(&world).await;
    right_clock(&world, TimeDelta::days(40));
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
}

/// A rotation whose delivery fails until what stands in its way is taken away.
async fn delivering(world: &World) -> Registered {
    let app = world.adopted().await;
    let place = world.file("app");
    // What is at the place can't be replaced from the add on.
    world.sandbox.on_call(move |stage, call| {
        let place = place.clone();
        let add = stage == Stage::BeforeEffect && call.kind == Kind::AddPassword;
        async move {
            if add {
                let _ = std::fs::remove_file(&place);
                std::fs::create_dir(&place).unwrap();
            }
        }
    });
    world.rotate_once("app").await;
    world.sandbox.on_call(|_, _| async {});
    assert_eq!(world.state("app").await, "delivering");
    app
}

#[tokio::test]
async fn f11_p2_an_overlap_that_began_under_a_wrong_clock_is_neither_shorter_nor_longer() {
    for off in [-9, 9] {
        let world = World::new().await;
        let app = delivering(&world).await;
        // Ten days on somebody mends it and boots the host, whose clock is wrong.
        world.clock.advance(10 * DAY);
        wrong_clock(&world, TimeDelta::days(off));
        std::fs::remove_dir(world.file("app")).unwrap();
        pass(&world).await;
        assert_eq!(world.state("app").await, "overlapping");
        right_clock(&world, TimeDelta::days(off));
        world.serve("app", 6, async |_| {}).await;
        assert_eq!(world.keys(&app).len(), 2, "P2: the overlap is seven days");
        world.serve("app", 2, async |_| {}).await;
        assert_eq!(world.keys(&app).len(), 1, "and no longer");
    }
}

#[tokio::test]
async fn f11_p2_an_overlap_begins_by_a_server_s_time_after_a_restart_too() {
    let mut world = World::new().await;
    let app = delivering(&world).await;
    std::fs::remove_dir(world.file("app")).unwrap();
    // Killed when the delivery is committed, and before the overlap is.
    let journal = world.journal("app").await;
    world.commit("app", vec![held(&journal)]).await;
    world.restart().await;
    world.clock.advance(10 * DAY);
    wrong_clock(&world, TimeDelta::days(-9));
    let proofs = world.count(Kind::Token, &app);
    pass(&world).await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.count(Kind::Token, &app), proofs + 1, "one is asked");
    right_clock(&world, TimeDelta::days(-9));
    let due = world.clock.now() + 7 * DAY;
    let State::Overlapping { revoke_at, .. } = world.rotation("app").await.state else {
        panic!("not overlapping")
    };
    assert!((revoke_at.unwrap() - due).abs() <= TimeDelta::seconds(1));
}

fn held(journal: &Journal) -> Change {
    let delivery = journal.delivery("app").unwrap();
    Change::Delivery(Delivery {
        holds: delivery.wants,
        retry: Retry::default(),
        ..delivery.clone()
    })
}

#[tokio::test]
async fn f11_p8_a_rotation_of_a_wrong_clock_that_was_abandoned_holds_no_schedule_up() {
    let replication = Replication {
        count: 1,
        tokens: Lag::Fixed(1_000 * DAY),
        ..Replication::default()
    };
    let world = World::with(|options| options.replication = replication, "").await;
    let app = world.adopted().await;
    let off = TimeDelta::hours(59 * 24 + 20);
    wrong_clock(&world, off);
    world.rotate_once("app").await;
    assert_eq!(world.last_code("app").await.unwrap(), "clock-implausible");
    right_clock(&world, off);
    pass(&world).await;
    assert_eq!(world.state("app").await, "minted");
    while world.state("app").await != "abandoning" {
        let at = world.journal("app").await.next_action_at.unwrap();
        world.clock.set(at.max(world.clock.now()));
        pass(&world).await;
    }
    world.sandbox.set_replication(Replication::default());
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(
        world.count(Kind::AddPassword, &app),
        2,
        "what was asked for is done"
    );
}

/// An application whose secret lives longer than any clock of these tests is off, adopted.
async fn long_lived(world: &World) -> Registered {
    let end = start() + TimeDelta::days(900);
    let mut new = NewApplication::rotating_itself(world.tenant, "app", end);
    new.passwords = vec![NewPassword::until(end)];
    let app = world.sandbox.add_application(new);
    let more = format!("lifetime_days = 700\n{}", world.to_file("app"));
    world.adopt("app", &app, &more).await.unwrap();
    app
}

#[tokio::test]
async fn f7_p8_a_rotation_by_hand_under_a_wrong_clock_moves_no_schedule() {
    for off in [400, -395] {
        let world = World::new().await;
        long_lived(&world).await;
        wrong_clock(&world, TimeDelta::days(off));
        world.rotate_once("app").await;
        right_clock(&world, TimeDelta::days(off));
        world.due("app").await;
        assert_eq!(world.state("app").await, "overlapping");
        let days = (world.journal("app").await.due_at - start()).num_days();
        assert_eq!(days, 30, "a full interval follows");
    }
}

#[tokio::test]
async fn f7_p8_a_promotion_under_a_wrong_clock_moves_no_schedule() {
    for off in [400, -395] {
        let world = World::new().await;
        long_lived(&world).await;
        let seen = world.journal("app").await.due_at;
        // A host resumes, and its clock is off until it has been synchronised.
        let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (reached, released) = (here.clone(), go.clone());
        world.sandbox.on_call(move |stage, call| {
            let added = stage == Stage::AfterEffect && call.kind == Kind::AddPassword;
            let (here, go) = (here.clone(), go.clone());
            async move {
                if added {
                    here.notify_one();
                    go.notified().await;
                }
            }
        });
        let resumes = async {
            reached.notified().await;
            wrong_clock(&world, TimeDelta::days(off));
            released.notify_one();
        };
        tokio::join!(world.rotate_once("app"), resumes);
        world.sandbox.on_call(|_, _| async {});
        right_clock(&world, TimeDelta::days(off));
        world.due("app").await;
        assert_eq!(world.state("app").await, "overlapping");
        assert_eq!(world.journal("app").await.due_at, seen);
    }
}

#[tokio::test]
async fn f11_the_latest_rotation_is_the_one_that_was_written_last() {
    let world = World::new().await;
    world.adopted().await;
    world.clock.advance(DAY);
    world.rotate("app").await;
    let first = world.rotation("app").await;
    // It was a day ahead.
    world.clock.set(start() + TimeDelta::minutes(1));
    world.sandbox.settle();
    world.rotate_once("app").await;
    let second = world.rotation("app").await;
    assert_ne!(second.id, first.id);
    assert!(second.started_at < first.started_at);
    let open = world.journal("app").await.rotations;
    assert_eq!(
        open.iter().map(|it| it.id).collect::<Vec<_>>(),
        [first.id, second.id]
    );
}

#[tokio::test]
async fn f11_p8_the_last_days_of_a_secret_win_over_any_due_time() {
    let world = World::new().await;
    let app = world.adopted().await;
    let schedule = Change::Schedule {
        anchor: (start() + TimeDelta::days(400)).date_naive(),
        due_at: start() + TimeDelta::days(430),
    };
    world.commit("app", vec![schedule]).await;
    pass(&world).await;
    world.serve("app", 56, async |_| {}).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 0);
    world.serve("app", 2, async |_| {}).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
    let due = world.journal("app").await.due_at;
    assert_eq!((due - start()).num_days(), 57 + 30);
}

#[tokio::test]
async fn f11_a3_a_clock_that_is_set_forward_gives_no_new_secret_up() {
    let world = slow_tokens().await;
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "minted");
    wrong_clock(&world, TimeDelta::days(20));
    pass(&world).await;
    assert_eq!(world.state("app").await, "minted", "refused but twice");
    right_clock(&world, TimeDelta::days(20));
    world.sandbox.set_replication(Replication::default());
    world.sandbox.settle();
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn f11_a3_a_secret_that_was_minted_by_a_fast_clock_is_given_up_as_any_other() {
    let world = slow_tokens().await;
    world.rotate_once("app").await;
    let mut rotation = world.rotation("app").await;
    let State::Minted { new, minted_at } = rotation.state else {
        panic!("{:?}", rotation.state)
    };
    rotation.state = State::Minted {
        new,
        minted_at: minted_at + TimeDelta::days(400),
    };
    world.commit("app", vec![Change::Rotation(rotation)]).await;
    world.serve("app", 2, async |_| {}).await;
    let actions = world.actions().await;
    assert!(actions.contains(&"abandoning".to_owned()), "{actions:?}");
}

/// A new secret does not sign in for years.
async fn slow_tokens() -> World {
    let replication = Replication {
        count: 1,
        tokens: Lag::Fixed(1_000 * DAY),
        ..Replication::default()
    };
    let world = World::with(|options| options.replication = replication, "").await;
    world.adopted().await;
    world
}

#[tokio::test]
async fn f11_what_a_wrong_clock_wrote_of_the_future_is_not_waited_for() {
    let world = World::new().await;
    let app = world.adopted().await;
    let refused = Action::Refuse(GraphError::Denied);
    world.sandbox.inject(Fault::on(Kind::AddPassword, refused));
    world.rotate_once("app").await;
    let mut rotation = world.rotation("app").await;
    let later = world.clock.now() + TimeDelta::days(20);
    rotation.retry.not_before = Some(later);
    let written = vec![Change::Rotation(rotation), Change::Mutated(later)];
    world.commit("app", written).await;
    pass(&world).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 2);
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn p2_a_delivery_that_is_resumed_proves_the_secret_once_more() {
    let mut world = World::new().await;
    let app = delivering(&world).await;
    let file = world.file("app");
    std::fs::remove_dir(&file).unwrap();
    let current = world.current("app").await;
    world.sandbox.delete_key(app.client_id, current);
    world.restart().await;
    world.clock.advance(DAY);
    pass(&world).await;
    assert!(!file.exists(), "it is not handed out");
    assert_eq!(world.state("app").await, "delivering");
}

#[tokio::test]
async fn e4_f11_a_call_that_a_wrong_clock_dates_later_makes_nobody_patient() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(WEEK);
    // It is said to be gone, and is listed all the same.
    let said = Action::Answer(Answer::empty(StatusCode::NO_CONTENT));
    world.sandbox.inject(Fault::on(Kind::RemovePassword, said));
    pass(&world).await;
    let mut removal = world.journal("app").await.removals[0].clone();
    removal.called_at = removal.called_at.map(|at| at + TimeDelta::days(400));
    world.commit("app", vec![Change::Removal(removal)]).await;
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(world.keys(&app).len(), 1);
}
