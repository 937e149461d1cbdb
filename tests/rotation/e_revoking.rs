//! E: the old secret goes, and what is in the way of that.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::KeyId;
use keywheel::journal::State;
use keywheel::rotation::advance::Order;
use keywheel::rotation::standing::{Health, standing};
use keywheel::sandbox::{
    Action, Answer, Fault, GraphError, Kind, Lag, NewApplication, NewPassword, Permission,
    Registered, Replication, RetryAfter, Routing, SignInError,
};

use crate::world::{PATIENT, World, start};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Rotated, and just before the end of the overlap.
async fn overlapping() -> (World, Registered, KeyId) {
    let world = World::new().await;
    let application = world.adopted().await;
    world.rotate("app").await;
    let new = world.current("app").await;
    (world, application, new)
}

async fn health(world: &World) -> Health {
    let journal = world.journal("app").await;
    let terms = world.engine.terms(&journal).unwrap();
    standing(&journal, &terms, world.clock.now()).health
}

fn unavailable() -> Action {
    Action::Answer(Answer::empty(StatusCode::SERVICE_UNAVAILABLE))
}

#[tokio::test]
async fn e1_a_failed_revocation_keeps_its_key_id_until_the_key_is_gone() {
    let failures = [
        Action::Throttle(RetryAfter::Seconds(60)),
        Action::Answer(Answer::empty(StatusCode::INTERNAL_SERVER_ERROR)),
        unavailable(),
        Action::HangUp,
    ];
    for failure in failures {
        let (world, application, new) = overlapping().await;
        let said = format!("{failure:?}");
        let fault = Fault::on(Kind::RemovePassword, failure).times(3);
        world.sandbox.inject(fault);
        world.clock.advance(WEEK);
        world.advance("app", Order::DUE).await;
        let journal = world.journal("app").await;
        assert_eq!(world.state("app").await, "revoking", "{said}");
        assert_eq!(journal.removals.len(), 1, "{said}: P7");
        assert_eq!(health(&world).await, Health::Retrying, "{said}: P7");
        assert!(journal.next_action_at.is_some(), "{said}");
        world.due("app").await;
        assert_eq!(world.state("app").await, "completed", "{said}");
        assert_eq!(world.keys(&application), [new], "{said}");
    }
}

#[tokio::test]
async fn e1_a_dead_line_after_the_removal_took_effect_is_no_failure_in_the_end() {
    let (world, application, new) = overlapping().await;
    let fault = Fault::on(Kind::RemovePassword, Action::HangUp).after_effect();
    world.sandbox.inject(fault);
    world.days_later(7).await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [new]);
}

#[tokio::test]
async fn e1_a_revocation_that_is_not_allowed_blocks_until_it_is() {
    let (world, application, _) = overlapping().await;
    let fault = Fault::on(Kind::RemovePassword, Action::Refuse(GraphError::Denied)).always();
    world.sandbox.inject(fault);
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.state("app").await, "blocked");
    assert_eq!(health(&world).await, Health::Blocked, "P7");
    let since = blocked_since(&world).await;
    world.clock.advance(Duration::from_secs(86_400));
    world.advance("app", Order::DUE).await;
    assert_eq!(blocked_since(&world).await, since);
    world.sandbox.clear_faults();
    world.clock.advance(Duration::from_secs(86_400));
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 1);
    assert_eq!(world.state("app").await, "revoking", "204: blocked no more");
    assert_eq!(health(&world).await, Health::Waiting);
    world.due("app").await;
    assert_eq!(world.state("app").await, "completed");
}

async fn blocked_since(world: &World) -> chrono::DateTime<chrono::Utc> {
    match world.rotation("app").await.state {
        State::Blocked { since, .. } => since,
        state => panic!("{state:?}"),
    }
}

#[tokio::test]
async fn e2_not_found_is_not_gone_while_it_is_listed() {
    let (world, application, new) = overlapping().await;
    let old = application.keys[0].key_id;
    let refusal = Action::Refuse(GraphError::NoSuchKey(old));
    let fault = Fault::on(Kind::RemovePassword, refusal).times(1);
    world.sandbox.inject(fault);
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.state("app").await, "revoking");
    assert_eq!(world.journal("app").await.removals.len(), 1, "P7");
    world.due("app").await;
    assert_eq!(world.keys(&application), [new], "removed by a later call");
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn e2_what_somebody_else_removed_is_gone_once_reads_agree() {
    let (world, application, new) = overlapping().await;
    world
        .sandbox
        .delete_key(application.client_id, application.keys[0].key_id);
    world.days_later(7).await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [new]);
}

/// The secret is a minute old when it is adopted and replaced at once.
#[tokio::test]
async fn e2_an_adopted_key_that_replicas_do_not_know_yet_is_not_gone() {
    let world = World::new().await;
    let end = start() + TimeDelta::days(60);
    let mut new = NewApplication::rotating_itself(world.tenant, "app", end);
    new.passwords = vec![NewPassword {
        start: Some(start() - TimeDelta::minutes(1)),
        ..NewPassword::until(end)
    }];
    let application = world.sandbox.add_application(new);
    let more = world.to_file("app");
    world.adopt("app", &application, &more).await.unwrap();
    let old = world.current("app").await;
    let unknown = Action::Refuse(GraphError::NoSuchKey(old));
    let fault = Fault::on(Kind::RemovePassword, unknown);
    world.sandbox.inject(fault);
    // Once it is to go, a replica that has not heard of it answers every read for four minutes.
    world.rotate("app").await;
    let current = world.current("app").await;
    let listed = serde_json::json!([{ "keyId": current, "displayName": null, "hint": null,
        "startDateTime": null, "endDateTime": null, "customKeyIdentifier": null }]);
    let lagging = Action::Set("passwordCredentials", listed);
    let fault = Fault::on(Kind::GetApplication, lagging).nth(2).times(12);
    world.sandbox.inject(fault);
    let name = "app".parse().unwrap();
    let previous = keywheel::rotation::advance::Which::Previous;
    world.engine.revoke(&name, previous, PATIENT).await.unwrap();
    assert_eq!(world.keys(&application), [current], "P7");
}

#[tokio::test]
async fn e3_a_read_that_fails_does_not_mean_gone() {
    let (world, application, _) = overlapping().await;
    let fault = Fault::on(Kind::RemovePassword, unavailable()).always();
    world.sandbox.inject(fault);
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    world.sandbox.clear_faults();
    world
        .sandbox
        .delete_key(application.client_id, application.keys[0].key_id);
    for failure in [
        unavailable(),
        Action::Html,
        Action::Truncate,
        Action::HangUp,
    ] {
        let fault = Fault::on(Kind::GetApplication, failure).always();
        world.sandbox.inject(fault);
        world.clock.advance(Duration::from_secs(6 * 3600));
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(120));
            world.advance("app", Order::DUE).await;
        }
        assert_eq!(world.journal("app").await.removals.len(), 1, "P7");
        world.sandbox.clear_faults();
    }
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn e4_what_is_said_to_be_removed_and_stays_listed_raises_an_alarm_and_is_removed_again() {
    let (world, application, new) = overlapping().await;
    let lie = Action::Answer(Answer::empty(StatusCode::NO_CONTENT));
    let fault = Fault::on(Kind::RemovePassword, lie).times(4);
    world.sandbox.inject(fault);
    let order = Order {
        patience: Duration::from_secs(1200),
        ..Order::DUE
    };
    world.clock.advance(WEEK);
    world.advance("app", order).await;
    let results: Vec<String> = world.events().await.into_iter().map(|e| e.result).collect();
    assert!(results.contains(&"still-listed".to_owned()), "P7");
    assert_eq!(health(&world).await, Health::Retrying, "P7");
    let day = world.sandbox.calls().len();
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [new]);
    let calls = world.sandbox.calls().len() - day;
    assert!(calls < 1_000, "no tight loop: {calls} calls");
}

#[tokio::test]
async fn e5_an_overlap_survives_restarts() {
    let (mut world, application, new) = overlapping().await;
    for _ in 0..6 {
        world.restart().await;
        world.days_later(1).await;
        assert_eq!(world.keys(&application).len(), 2);
    }
    world.restart().await;
    world.days_later(1).await;
    assert_eq!(world.keys(&application), [new]);
}

#[tokio::test]
async fn e5_a_second_rotation_inside_an_overlap_revokes_nothing_early() {
    let (world, application, second) = overlapping().await;
    world.days_later(3).await;
    world.rotate("app").await;
    let third = world.current("app").await;
    assert_eq!(world.keys(&application).len(), 3);
    world.days_later(4).await;
    assert_eq!(world.keys(&application), [second, third]);
    world.days_later(2).await;
    assert_eq!(world.keys(&application), [second, third], "6 days of 7");
    world.days_later(1).await;
    assert_eq!(world.keys(&application), [third]);
}

#[tokio::test]
async fn e5_when_somebody_deletes_the_new_key_during_the_overlap_nothing_is_revoked() {
    let (world, application, new) = overlapping().await;
    let old = application.keys[0].key_id;
    world.sandbox.delete_key(application.client_id, new);
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application), [old], "P2");
    assert_eq!(world.state("app").await, "blocked", "P7");
    let failure = world.rotation("app").await.retry.last.unwrap();
    assert_eq!(failure.code, "current-key-vanished");
    world
        .engine
        .rollback(&"app".parse().unwrap(), PATIENT)
        .await
        .unwrap();
    assert_eq!(world.current("app").await, old);
    assert!(world.holds(&application, &world.file("app"), old));
    world.days_later(8).await;
    assert_eq!(world.keys(&application), [old]);
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn e5_one_read_that_does_not_list_the_current_key_proves_nothing() {
    let replication = Replication {
        count: 2,
        reads: Lag::Each(vec![Duration::from_secs(40)]),
        tokens: Lag::None,
        routing: Routing::RoundRobin,
    };
    let world = World::with(|options| options.replication = replication, "").await;
    let application = world.adopted().await;
    world
        .advance("app", Order::rotate(None, true, PATIENT))
        .await;
    assert_eq!(world.state("app").await, "completed", "never blocked");
    assert!(
        !world
            .events()
            .await
            .iter()
            .any(|e| e.result == "current-key-vanished")
    );
    assert_eq!(world.keys(&application), [world.current("app").await]);
}

#[tokio::test]
async fn e6_the_last_usable_secret_is_never_removed() {
    let world = World::new().await;
    let application = world.adopted().await;
    let only = world.current("app").await;
    let which = keywheel::rotation::advance::Which::Key {
        key_id: only,
        accept_outage: true,
    };
    let name = "app".parse().unwrap();
    let refused = world.engine.revoke(&name, which, PATIENT).await;
    assert_eq!(crate::by_hand::code(refused), "last-usable", "P3");
    assert_eq!(world.keys(&application), [only]);
}

#[tokio::test]
async fn e7_an_old_secret_that_expires_during_the_overlap_ends_it_as_any_other() {
    let world = World::new().await;
    let end = start() + TimeDelta::days(5);
    let new = NewApplication::rotating_itself(world.tenant, "app", end);
    let application = world.sandbox.add_application(new);
    world
        .adopt("app", &application, &world.to_file("app"))
        .await
        .unwrap();
    world.rotate("app").await;
    world.days_later(7).await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(world.keys(&application), [world.current("app").await]);
}

#[tokio::test]
async fn e8_signed_in_as_self_the_old_secret_is_revoked_with_the_new_one() {
    let (mut world, application, new) = overlapping().await;
    world.restart().await;
    world.sandbox.forget_calls();
    // The old one would still sign in; from now on nobody knows it but the directory's readers.
    world
        .sandbox
        .delete_key(application.client_id, application.keys[0].key_id);
    world.days_later(7).await;
    let tokens = world.sandbox.calls_of(Kind::Token, application.client_id);
    assert!(tokens.iter().all(|call| call.status == Some(200)));
    let removed = world
        .sandbox
        .calls_of(Kind::RemovePassword, application.client_id);
    assert_eq!(removed[0].caller, Some(application.client_id));
    assert_eq!(world.keys(&application), [new]);
}

#[tokio::test]
async fn e9_one_key_id_goes_and_never_all_others() {
    let (world, application, second) = overlapping().await;
    let foreign = world
        .sandbox
        .add_key(
            application.client_id,
            NewPassword::until(start() + TimeDelta::days(90)),
        )
        .unwrap()
        .key_id;
    world.days_later(3).await;
    world.rotate("app").await;
    let third = world.current("app").await;
    world.days_later(4).await;
    let mut left = world.keys(&application);
    left.sort();
    let mut expected = [second, foreign, third];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn p2_no_revocation_before_the_servers_clock_says_so() {
    let (world, application, _) = overlapping().await;
    world.sandbox.set_date_offset(TimeDelta::minutes(-4));
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 2);
    let failure = world.rotation("app").await.retry.last.unwrap();
    assert_eq!(failure.code, "clock-differs");
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
}

#[tokio::test]
async fn e1_a_permission_that_is_lost_blocks_and_found_again_unblocks() {
    let (world, application, _) = overlapping().await;
    world
        .sandbox
        .set_permission(application.client_id, Permission::None);
    world.clock.advance(WEEK);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.keys(&application).len(), 2);
    assert_eq!(health(&world).await, Health::Blocked);
    world
        .sandbox
        .set_permission(application.client_id, Permission::ReadWriteOwnedBy);
    world.days_later(1).await;
    assert_eq!(world.state("app").await, "completed");
    assert_eq!(health(&world).await, Health::Ok);
}

#[tokio::test]
async fn e5_p2_the_last_look_proves_the_current_secret_again() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(Duration::from_secs(7 * 86_400));
    // A token for Graph is had; what proves the secret is refused.
    let refused = Action::RefuseSignIn(SignInError::InvalidSecret(app.client_id));
    let proofs = Fault::on(Kind::Token, refused).nth(2).always();
    world.sandbox.inject(proofs);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.count(Kind::RemovePassword, &app), 0);
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.keys(&app).len(), 2);
}

#[tokio::test]
async fn e5_p2_a_removal_that_is_tried_again_looks_again() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    world.clock.advance(Duration::from_secs(7 * 86_400));
    let lost = Fault::on(Kind::RemovePassword, Action::HangUp);
    world.sandbox.inject(lost);
    world.advance("app", Order::DUE).await;
    assert_eq!(world.state("app").await, "revoking");
    // Meanwhile somebody deletes the current one.
    let current = world.current("app").await;
    world.sandbox.delete_key(app.client_id, current);
    world.serve("app", 2, async |_| {}).await;
    assert_eq!(
        world.keys(&app),
        [app.keys[0].key_id],
        "the last usable one"
    );
}
