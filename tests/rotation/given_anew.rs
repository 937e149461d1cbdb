//! `connection edit --secret-file`: the remedy for a current secret that is lost can be followed.

use keywheel::store::Share;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::journal::{Retry, Role, Secret};
use keywheel::rotation::adopt::{AdoptFault, Adopted};
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{Action, Fault, Kind, Lag, NewPassword, Registered, Replication};
use keywheel::store::{Change, Store};

use crate::world::{World, start};

const DAY: Duration = Duration::from_secs(86_400);

/// Somebody makes a secret in the portal, and gives it.
async fn give(world: &World, app: &Registered) -> Result<Option<Adopted>, AdoptFault> {
    let new = NewPassword::until(world.clock.now() + TimeDelta::days(90));
    let given = world.sandbox.add_key(app.client_id, new).unwrap();
    let name = "app".parse().unwrap();
    let value = given.value.clone();
    world
        .engine
        .readopt(&name, value, Some(given.key_id), false)
        .await
}

/// A new secret does not sign in for years.
fn slow_tokens() -> Replication {
    Replication {
        count: 1,
        tokens: Lag::Fixed(1_000 * DAY),
        ..Replication::default()
    }
}

#[tokio::test]
async fn p7_the_remedy_for_a_current_secret_that_is_gone_can_be_followed() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.sandbox.delete_key(app.client_id, app.keys[0].key_id);
    world.clock.advance(31 * DAY);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.state("app").await, "blocked");
    let blocked = world.rotation("app").await;
    let given = give(&world, &app).await.unwrap().unwrap();
    assert_eq!(world.current("app").await, given.key_id);
    let journal = world.journal("app").await;
    assert_eq!(journal.unpromoted().unwrap().id, blocked.id);

    // The rotation that waited for it goes on.
    world.serve("app", 10, async |_| {}).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
    assert_eq!(world.state("app").await, "completed");
    assert!(world.holds(&app, &world.file("app"), world.current("app").await));
}

#[tokio::test]
async fn p7_a_secret_can_be_given_while_an_abandoned_one_can_not_be_removed() {
    let replication = slow_tokens();
    let world = World::with(|options| options.replication = replication, "").await;
    let app = world.adopted().await;
    world.rotate_once("app").await;
    while world.state("app").await != "abandoning" {
        let at = world.journal("app").await.next_action_at.unwrap();
        world.clock.set(at.max(world.clock.now()));
        if world.clock.now() > start() + TimeDelta::hours(23) {
            let dead = Fault::on(Kind::RemovePassword, Action::HangUp);
            world.sandbox.inject(dead.always());
        }
        world.advance("app", Order::DUE).await;
    }
    let abandoned = world.rotation("app").await.state.new_key().unwrap();
    world.sandbox.delete_key(app.client_id, app.keys[0].key_id);
    world.serve("app", 3, async |_| {}).await;
    assert_eq!(world.state("app").await, "abandoning");
    world.sandbox.set_replication(Replication::default());
    world.sandbox.clear_faults();
    let given = give(&world, &app).await.unwrap().unwrap();
    world.serve("app", 9, async |_| {}).await;
    assert_eq!(world.current("app").await, given.key_id);
    assert!(!world.keys(&app).contains(&abandoned), "it is removed now");
}

#[tokio::test]
async fn p4_no_secret_is_given_while_another_is_being_proved() {
    let replication = slow_tokens();
    let world = World::with(|options| options.replication = replication, "").await;
    let app = world.adopted().await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp);
    world.sandbox.inject(lost);
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "intended");
    // What became of the call is not known: without a secret that signs in it never would be.
    let given = give(&world, &app).await.unwrap().unwrap();
    assert_eq!(world.current("app").await, given.key_id);
    let minted = async || {
        let journal = world.journal("app").await;
        let state = journal.unpromoted().map(|it| it.state.name());
        state == Some("minted")
    };
    while !minted().await {
        world.clock.advance(Duration::from_secs(20));
        world.advance("app", Order::DUE).await;
    }
    let said = give(&world, &app).await.unwrap_err().to_string();
    assert!(said.contains("rotation"), "{said}");
    assert_eq!(
        world.count(Kind::AddPassword, &app),
        2,
        "P4: the first one made nothing"
    );
}

#[tokio::test]
async fn p7_a_value_that_is_missing_is_journalled_and_not_asked_for_at_every_tick() {
    let world = World::new().await;
    world.adopted().await;
    let journal = world.journal("app").await;
    let current = journal.current().unwrap();
    let valueless = Secret {
        key_id: keywheel::entra::KeyId(uuid::Uuid::from_u128(1)),
        generation: 2,
        ..current.clone()
    };
    let before = Secret {
        role: Role::Previous,
        ..current.clone()
    };
    let changes = vec![Change::Secret(before), Change::Secret(valueless)];
    world.commit("app", changes).await;
    world.advance("app", Order::DUE).await;
    let journal = world.journal("app").await;
    let retry = journal
        .delivery("app")
        .map(|it| it.retry.clone())
        .unwrap_or(Retry::default());
    let failure = retry.last.unwrap();
    assert_eq!(failure.code, "no-value");
    assert!(failure.permanent);
    assert!(failure.remedy.unwrap().contains("--secret-file"));
    let now = world.clock.now() + TimeDelta::hours(1);
    assert_eq!(world.store.due(now, Share::ALL).await.unwrap(), []);
}
