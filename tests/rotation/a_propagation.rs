//! A: a new secret takes time to work.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{
    Action, Fault, Kind, Lag, Options, Registered, Replication, Routing, Rules, SignInError,
};
use secrecy::ExposeSecret;

use crate::world::{World, start};

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Token replicas that lag like this, one after the other answering.
fn tokens(lags: &[Duration]) -> impl FnOnce(&mut Options) + use<> {
    let replication = Replication {
        count: lags.len(),
        tokens: Lag::Each(lags.to_vec()),
        reads: Lag::None,
        routing: Routing::RoundRobin,
    };
    |options| options.replication = replication
}

/// A pass as the service makes it, until `state` or the end of so many days.
async fn serve_until(world: &World, state: &str, days: i64) {
    let end = world.clock.now() + TimeDelta::days(days);
    while world.state("app").await != state && world.clock.now() < end {
        let at = world.journal("app").await.next_action_at.unwrap();
        world.clock.set(at.max(world.clock.now()));
        world.advance("app", Order::DUE).await;
    }
}

#[tokio::test]
async fn a1_p2_nothing_is_swapped_until_the_new_secret_works() {
    for lag in [4, 18, 600] {
        let lag = Duration::from_secs(lag);
        let world = World::with(tokens(&[lag]), "").await;
        let app = world.adopted().await;
        let old = app.keys[0].key_id;
        world.sandbox.on_call(|_, _| async {});
        let mut heard_promoted_at = None;
        world.rotate("app").await;
        for event in world.events().await {
            if event.action == "promoted" {
                heard_promoted_at = Some(event.at);
            }
        }
        let took = heard_promoted_at.unwrap() - start();
        assert!(took.to_std().unwrap() >= lag, "promoted after {took}");
        assert!(
            took.to_std().unwrap() < lag + minutes(1),
            "promoted after {took}"
        );
        assert_eq!(world.state("app").await, "overlapping");
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
        assert_eq!(world.keys(&app), [old, world.current("app").await]);
        assert!(world.signs_in(&app, &world.file("app")).everywhere);
    }
}

#[tokio::test]
async fn a2_only_successes_in_a_row_count_each_over_a_new_connection() {
    let world = World::with(tokens(&[Duration::ZERO, Duration::ZERO, minutes(2)]), "").await;
    let app = world.adopted().await;
    world.sandbox.forget_calls();
    world.rotate("app").await;
    let heard = world.heard.0.lock().unwrap().clone();
    let proofs: Vec<&str> = heard
        .iter()
        .filter_map(|it| match it {
            it if it.contains("NotYet") => Some("no"),
            it if it.contains("Proved") => Some("yes"),
            _ => None,
        })
        .collect();
    assert!(proofs.contains(&"no"), "one replica refused it: {proofs:?}");
    assert_eq!(proofs[proofs.len() - 4..], ["no", "yes", "yes", "yes"]);
    let two_in_a_row_before = proofs[..proofs.len() - 3]
        .windows(2)
        .any(|it| it == ["yes"; 2]);
    assert!(two_in_a_row_before, "{proofs:?}");
    let calls = world.sandbox.calls_of(Kind::Token, app.client_id);
    let fresh = calls.iter().filter(|call| call.new_connection).count();
    assert!(
        fresh >= proofs.len(),
        "each proof over a connection of its own"
    );
    assert!(world.signs_in(&app, &world.file("app")).everywhere);
}

#[tokio::test]
async fn a3_a_slow_secret_is_proved_on_along_the_ladder_and_nobody_is_bothered() {
    for hours in [1, 3, 9] {
        let lag = minutes(hours * 60);
        let world = World::with(tokens(&[lag]), "").await;
        let app = world.adopted().await;
        let old = app.keys[0].key_id;
        world.rotate_once("app").await;
        while world.clock.now() < start() + lag {
            assert_eq!(world.state("app").await, "minted", "{hours} h");
            assert_eq!(world.current("app").await, old);
            assert!(!world.file("app").exists());
            let at = world.journal("app").await.next_action_at.unwrap();
            world.clock.set(at.max(world.clock.now()));
            world.advance("app", Order::DUE).await;
        }
        serve_until(&world, "overlapping", 1).await;
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
        let late = world.clock.now() - start() - TimeDelta::from_std(lag).unwrap();
        assert!(late < TimeDelta::hours(6), "{hours} h: {late} late");
    }
}

#[tokio::test]
async fn a3_p2_a_secret_that_never_works_is_abandoned_after_give_up() {
    let world = World::with(tokens(&[minutes(60 * 24 * 100)]), "").await;
    let app = world.adopted().await;
    let old = app.keys[0].key_id;
    world.rotate_once("app").await;
    let new = world.keys(&app)[1];
    serve_until(&world, "abandoning", 3).await;
    let given_up = world.clock.now() - start();
    assert!((24..31).contains(&given_up.num_hours()), "{given_up}");
    // No way back: it works now, and goes all the same.
    world.sandbox.settle();
    serve_until(&world, "abandoned", 1).await;
    assert!(!world.keys(&app).contains(&new));
    assert_eq!(world.current("app").await, old);
    assert!(world.keys(&app).contains(&old), "P2: it was never touched");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
}

#[tokio::test]
async fn a3_p8_nothing_is_abandoned_while_the_current_secret_is_about_to_expire() {
    let world = World::with(tokens(&[minutes(60 * 26)]), "").await;
    let app = world.adopted().await;
    // A day and a half before the end of the current secret.
    world
        .clock
        .set(app.keys[0].end.unwrap() - TimeDelta::hours(36));
    world.rotate_once("app").await;
    serve_until(&world, "overlapping", 3).await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
    assert!(!world.actions().await.contains(&"abandoning".to_owned()));
    assert!(world.signs_in(&app, &world.file("app")).everywhere);
}

/// Reads that lag, tokens that do not, and the reverse.
fn uneven(reads: Duration, tokens: Duration) -> impl FnOnce(&mut Options) {
    move |options| {
        options.replication = Replication {
            count: 2,
            reads: Lag::Fixed(reads),
            tokens: Lag::Fixed(tokens),
            routing: Routing::Random,
        };
    }
}

#[tokio::test]
async fn a4_only_a_fresh_token_proves_a_secret_not_a_listing() {
    let world = World::with(uneven(Duration::ZERO, minutes(5)), "").await;
    let app = world.adopted().await;
    world.rotate("app").await;
    let calls = world.sandbox.calls_of(Kind::Token, app.client_id);
    let refused = calls.iter().filter(|call| call.status == Some(401)).count();
    assert!(refused > 3, "listed, and not usable: {refused} refusals");
    assert!(world.signs_in(&app, &world.file("app")).everywhere);

    let world = World::with(uneven(minutes(15), Duration::ZERO), "").await;
    world.adopted().await;
    world.rotate("app").await;
    assert!(
        world.clock.now() < start() + TimeDelta::minutes(1),
        "usable, and not listed"
    );
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn a4_p2_the_old_secret_stays_until_the_new_one_is_listed_and_nobody_is_alarmed() {
    let world = World::with(uneven(minutes(4), Duration::ZERO), "").await;
    let app = world.adopted().await;
    let overlap = Some("0s".parse().unwrap());
    world
        .advance("app", Order::rotate(overlap, false, Duration::ZERO))
        .await;
    let old = app.keys[0].key_id;
    while world.clock.now() < start() + TimeDelta::minutes(4) {
        assert!(world.keys(&app).contains(&old));
        assert_ne!(
            world.state("app").await,
            "blocked",
            "P2's look: it is only young"
        );
        let at = world.journal("app").await.next_action_at.unwrap();
        world.clock.set(at.max(world.clock.now()));
        world.advance("app", Order::DUE).await;
    }
    serve_until(&world, "completed", 1).await;
    assert_eq!(world.keys(&app), [world.current("app").await]);
}

fn unknown_application(app: &Registered) -> SignInError {
    SignInError::UnknownApplication {
        application: app.client_id.to_string(),
        tenant: "Contoso".into(),
    }
}

#[tokio::test]
async fn a5_what_is_permanent_for_an_old_secret_may_be_propagation_for_a_new_one() {
    for (nth, error) in [(0, "7000222"), (1, "700016")] {
        let world = World::new().await;
        let app = world.adopted().await;
        let refusals = [
            SignInError::ExpiredSecret(app.client_id),
            unknown_application(&app),
        ];
        let fault = Fault::on(Kind::Token, Action::RefuseSignIn(refusals[nth].clone()));
        // The first token is for Graph, unless adopting has left one: from then on, proofs.
        world.sandbox.inject(fault.nth(2).times(8));
        world.rotate("app").await;
        assert_eq!(world.state("app").await, "overlapping", "{error}");
        assert_eq!(world.count(Kind::AddPassword, &app), 1, "{error}");
        assert!(
            world.clock.now() < start() + TimeDelta::minutes(2),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a5_p7_for_an_established_secret_and_for_a_tenant_it_is_permanent() {
    let refusals = |app: &Registered| {
        [
            SignInError::ExpiredSecret(app.client_id),
            unknown_application(app),
            SignInError::UnknownTenant(app.tenant_id.to_string()),
            SignInError::InvalidSecret(app.client_id),
        ]
    };
    for nth in 0..4 {
        let mut world = World::new().await;
        let app = world.adopted().await;
        world.restart().await; // no cached token
        let error = refusals(&app)[nth].clone();
        world
            .sandbox
            .inject(Fault::on(Kind::Token, Action::RefuseSignIn(error)).always());
        world.sandbox.forget_calls();
        world.rotate_once("app").await;
        assert_eq!(world.state("app").await, "blocked");
        assert!(
            world
                .rotation("app")
                .await
                .retry
                .last
                .unwrap()
                .remedy
                .is_some()
        );
        world.serve("app", 3, async |_| {}).await;
        let calls = world.sandbox.calls().len();
        assert!((2..6).contains(&calls), "{calls} calls in three days");
        world.sandbox.clear_faults();
        world.serve("app", 2, async |_| {}).await;
        assert_eq!(
            world.state("app").await,
            "overlapping",
            "it unblocks by itself"
        );
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
    }
}

#[tokio::test]
async fn a6_p1_odd_characters_arrive_unchanged() {
    for seed in 0..4 {
        let nasty = |options: &mut Options| {
            options.seed = seed;
            options.rules.alphabet = Rules::NASTY_ALPHABET.to_owned();
        };
        let world = World::with(nasty, "").await;
        let app = world.application("app");
        let json = world.folder.path().join("app.json");
        let more = format!(
            "{}\n[[destination]]\nkind = \"file\"\nname = \"json\"\npath = \"{}\"\n\
             format = \"json\"\nkey = \"secret\"\n",
            world.to_file("app"),
            json.display()
        );
        world.adopt("app", &app, &more).await.unwrap();
        world.rotate("app").await;
        assert_eq!(world.state("app").await, "overlapping");
        let value = world.key(&app, world.current("app").await).value;
        let raw = std::fs::read(world.file("app")).unwrap();
        assert!(raw == value.expose_secret().as_bytes());
        let object: serde_json::Value =
            serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        assert!(object["secret"] == value.expose_secret());
    }
}

#[tokio::test]
async fn a7_no_decision_rests_on_one_read() {
    // Of three replicas one is minutes behind: reads alternate for that long.
    for lags in [
        [minutes(0), minutes(0), minutes(4)],
        [minutes(4), minutes(0), minutes(0)],
        [minutes(0), minutes(4), minutes(4)],
    ] {
        let replication = Replication {
            count: 3,
            reads: Lag::Each(lags.to_vec()),
            tokens: Lag::None,
            routing: Routing::RoundRobin,
        };
        let world = World::with(|options| options.replication = replication, "").await;
        let app = world.adopted().await;
        let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
        world.sandbox.inject(lost);
        let overlap = Some("0s".parse().unwrap());
        world
            .advance("app", Order::rotate(overlap, false, Duration::ZERO))
            .await;
        world
            .serve("app", 2, async |world| {
                let orphans = world.orphans("app", &app, &[]).await;
                assert!(orphans.len() <= 1, "P4: {orphans:?}");
                let journal = world.journal("app").await;
                let current = journal.current().unwrap().key_id;
                assert!(world.keys(&app).contains(&current));
                assert_ne!(world.state("app").await, "blocked");
            })
            .await;
        assert_eq!(world.state("app").await, "completed");
        assert_eq!(world.keys(&app), [world.current("app").await]);
        assert_eq!(world.count(Kind::AddPassword, &app), 2);
    }
}

#[tokio::test]
async fn a7_p3_gone_is_only_said_once_every_replica_agrees() {
    let replication = Replication {
        count: 2,
        reads: Lag::Each(vec![minutes(0), minutes(9)]),
        tokens: Lag::None,
        routing: Routing::RoundRobin,
    };
    let world = World::with(|options| options.replication = replication, "").await;
    world.adopted().await;
    let overlap = Some("0s".parse().unwrap());
    world
        .advance("app", Order::rotate(overlap, false, Duration::ZERO))
        .await;
    world.serve("app", 1, async |_| {}).await;
    let events = world.events().await;
    let at = |action: &str| events.iter().find(|it| it.action == action).unwrap().at;
    let waited = at("gone") - at("revoking");
    assert!(waited >= TimeDelta::minutes(9), "{waited}");
    assert!(waited < TimeDelta::minutes(12), "{waited}");
    let removals = world.sandbox.calls().into_iter();
    assert_eq!(
        removals
            .filter(|call| call.kind == Kind::RemovePassword)
            .count(),
        1
    );
}
