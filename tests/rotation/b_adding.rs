//! B: adding a secret, which is not idempotent.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::{Cloud, Entra, KeyId};
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{
    Action, Answer, Audience, Fault, GraphError, Key, Kind, Lag, ManagementPolicy, NewApplication,
    NewPassword, Permission, Registered, Replication, RetryAfter, Routing, Stage,
};
use reqwest::StatusCode;
use uuid::Uuid;

use crate::world::World;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An answer of a gateway in front of Graph.
fn gateway(status: u16) -> Action {
    let status = StatusCode::from_u16(status).unwrap();
    Action::Answer(Answer::text(status, "text/html", "<h1>Oops</h1>".into()))
}

/// All that can happen to the answer of `addPassword` so that its outcome is unknown.
fn lost_answers() -> Vec<(String, Fault)> {
    let on = |action| Fault::on(Kind::AddPassword, action);
    let mut lost = vec![
        ("line dropped before".into(), on(Action::HangUp)),
        ("line dropped".into(), on(Action::HangUp).after_effect()),
        ("cut short".into(), on(Action::Truncate)),
        ("a portal before".into(), on(Action::Html)),
        ("a portal".into(), on(Action::Html).after_effect()),
        ("endless".into(), on(Action::Endless).after_effect()),
        ("b8: no secretText".into(), on(Action::Omit("secretText"))),
        ("b8: no keyId".into(), on(Action::Omit("keyId"))),
    ];
    for status in [408, 500, 502, 503, 504] {
        lost.push((format!("{status} before"), on(gateway(status))));
        lost.push((format!("{status}"), on(gateway(status)).after_effect()));
    }
    for status in [400, 409, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let busy = on(Action::RefuseAs(status, GraphError::Concurrency));
        lost.push((format!("b2: concurrency as {status} before"), busy.clone()));
        lost.push((format!("b2: concurrency as {status}"), busy.after_effect()));
    }
    lost
}

/// Without lag, and with as much as replicas usually have.
fn replications() -> [(&'static str, Replication); 2] {
    let lagging = Replication {
        count: 3,
        reads: Lag::realistic(),
        tokens: Lag::realistic(),
        routing: Routing::Random,
    };
    [("no lag", Replication::default()), ("lag", lagging)]
}

/// A connection whose application also holds a secret of somebody else's.
async fn world_with_foreign(replication: Replication) -> (World, Registered, KeyId) {
    let world = World::with(|options| options.replication = replication, "").await;
    let application = world.adopted().await;
    let end = world.clock.now() + TimeDelta::days(300);
    let foreign = world
        .sandbox
        .add_key(application.client_id, NewPassword::until(end));
    (world, application, foreign.unwrap().key_id)
}

/// What must be so whatever happened to an answer: a service that runs on for ten days ends with
/// one new current secret, no orphan, and never more than one of them on the way.
async fn converges(world: &World, app: &Registered, foreign: KeyId, case: &str) {
    world.sandbox.forget_calls();
    let old = app.keys[0].key_id;
    let passes = world
        .serve("app", 10, async |world| {
            let orphans = world.orphans("app", app, &[foreign]).await;
            assert!(orphans.len() <= 1, "P4, {case}: {orphans:?}");
            assert!(world.keys(app).contains(&foreign), "P3, {case}");
            let file = world.file("app");
            let held = if file.exists() {
                world.signs_in(app, &file).primary
            } else {
                world.keys(app).contains(&old)
            };
            assert!(held, "P2, {case}: the consumer was cut off");
        })
        .await;
    let current = world.current("app").await;
    let mut left = world.keys(app);
    left.retain(|key_id| *key_id != foreign);
    assert_eq!(left, [current], "{case}");
    assert_ne!(current, old, "{case}");
    assert_eq!(world.state("app").await, "completed", "{case}");
    assert!(world.journal("app").await.removals.is_empty(), "{case}");
    assert!(world.holds(app, &world.file("app"), current), "{case}");
    assert!(passes < 100, "{case}: {passes} passes");
    let calls = world.sandbox.calls().len();
    assert!(calls < 250, "{case}: {calls} calls");
}

#[tokio::test]
async fn b1_p4_a_lost_answer_leaves_one_new_secret_and_no_orphan() {
    for (lag, replication) in replications() {
        for (what, fault) in lost_answers() {
            let case = format!("{what}, {lag}");
            let (world, app, foreign) = world_with_foreign(replication.clone()).await;
            world.sandbox.inject(fault);
            world.rotate_once("app").await;
            converges(&world, &app, foreign, &case).await;
            let found = world.actions().await;
            let found = found.iter().filter(|action| *action == "orphan-found");
            assert!(found.count() <= 1, "{case}: an orphan is journalled once");
        }
    }
}

#[tokio::test]
async fn b1_p4_answers_lost_again_and_again_leave_no_orphan() {
    for (lag, replication) in replications() {
        let (world, app, foreign) = world_with_foreign(replication).await;
        let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
        world.sandbox.inject(lost.times(4));
        world.rotate_once("app").await;
        converges(&world, &app, foreign, lag).await;
        assert_eq!(
            world
                .actions()
                .await
                .iter()
                .filter(|a| *a == "orphan-found")
                .count(),
            4
        );
    }
}

#[tokio::test]
async fn b1_p4_a_request_that_times_out_is_looked_for() {
    for fault in [
        Fault::on(Kind::AddPassword, Action::Delay(Duration::from_millis(400))).after_effect(),
        Fault::on(Kind::AddPassword, Action::Delay(Duration::from_millis(400))),
    ] {
        let (mut world, app, foreign) = world_with_foreign(Replication::default()).await;
        let url = world.sandbox.url();
        let cloud = Cloud::new("lab", &url, &url, None).unwrap();
        let timeout = Duration::from_millis(200);
        world.engine.entra = Entra::new(vec![cloud], timeout, world.engine.clock.clone());
        world.sandbox.inject(fault);
        world.rotate_once("app").await;
        assert_eq!(world.last_code("app").await.as_deref(), Some("interrupted"));
        converges(&world, &app, foreign, "time-out").await;
    }
}

#[tokio::test]
async fn b1_p4_a_replica_that_lags_longer_than_the_window_hides_no_orphan_for_good() {
    let replication = Replication {
        count: 1,
        reads: Lag::Fixed(seconds(8 * 60)),
        ..Replication::default()
    };
    let (world, app, foreign) = world_with_foreign(replication).await;
    let lost = Fault::on(Kind::AddPassword, Action::HangUp).after_effect();
    world.sandbox.inject(lost);
    world.rotate_once("app").await;
    converges(&world, &app, foreign, "8 min").await;
}

#[tokio::test]
async fn b1_p4_a_process_that_dies_at_the_call_converges_when_it_starts_again() {
    for (lag, replication) in replications() {
        for stage in [Stage::BeforeEffect, Stage::AfterEffect] {
            let (mut world, app, foreign) = world_with_foreign(replication.clone()).await;
            let order = Order::rotate(None, false, Duration::ZERO);
            world.die_at("app", order, Kind::AddPassword, stage).await;
            assert_eq!(world.state("app").await, "intended");
            converges(&world, &app, foreign, &format!("{stage:?}, {lag}")).await;
        }
    }
}

#[tokio::test]
async fn b1_p4_a_process_that_dies_before_any_call_adds_once() {
    // Right after `intended` is committed: the first call of all is a token.
    let (mut world, app, foreign) = world_with_foreign(Replication::default()).await;
    world.restart().await; // no cached token
    let order = Order::rotate(None, false, Duration::ZERO);
    world
        .die_at("app", order, Kind::Token, Stage::BeforeEffect)
        .await;
    assert_eq!(world.state("app").await, "intended");
    converges(&world, &app, foreign, "before any call").await;
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
}

#[tokio::test]
async fn b1_what_fails_before_the_add_was_sent_leaves_nothing_to_look_for() {
    for kind in [Kind::Token, Kind::GetApplication] {
        let world = World::new().await;
        let app = world.adopted().await;
        let mut world = world;
        world.restart().await;
        world.sandbox.inject(Fault::on(kind, gateway(503)));
        world.rotate("app").await;
        assert_eq!(world.state("app").await, "overlapping");
        assert!(world.journal("app").await.watches.is_empty(), "{kind:?}");
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
        let took = world.clock.now() - crate::world::start();
        assert!(
            took < TimeDelta::seconds(30),
            "{kind:?}: nothing was waited for, {took}"
        );
    }
}

/// The calls to the tenant while it has told everybody to wait, and the time of the next one.
fn calls_after(world: &World, number: u64) -> Vec<TimeDelta> {
    let calls = world.sandbox.calls();
    let told = calls.iter().find(|call| call.number == number).unwrap().at;
    let later = calls.iter().filter(|call| call.number > number);
    later.map(|call| call.at - told).collect()
}

#[tokio::test]
async fn b3_the_whole_tenant_waits_as_long_as_it_was_told() {
    let cases = [
        (Kind::AddPassword, RetryAfter::Seconds(90), 90),
        (Kind::AddPassword, RetryAfter::Date(90), 90),
        (Kind::AddPassword, RetryAfter::Missing, 10),
        (Kind::GetApplication, RetryAfter::Seconds(3_000), 3_000),
        (Kind::Token, RetryAfter::Seconds(90), 90),
        (Kind::Token, RetryAfter::Date(90), 90),
        (Kind::Token, RetryAfter::Missing, 60),
        (Kind::RemovePassword, RetryAfter::Seconds(400), 400),
    ];
    for (kind, told, wait) in cases {
        let case = format!("{kind:?} {told:?}");
        let world = World::new().await;
        world.adopted().await;
        let other = world.application("other");
        world.adopt("other", &other, "pull = true").await.unwrap();
        let mut world = world;
        world.restart().await;
        world
            .sandbox
            .inject(Fault::on(kind, Action::Throttle(told)));
        let overlap = Some("0s".parse().unwrap());
        world
            .advance("app", Order::rotate(overlap, false, Duration::ZERO))
            .await;
        let throttled = async |world: &World| {
            let calls = world.sandbox.calls();
            calls
                .iter()
                .find(|call| call.status == Some(429))
                .map(|call| call.number)
        };
        while throttled(&world).await.is_none() {
            world
                .clock
                .set(world.journal("app").await.next_action_at.unwrap());
            world.advance("app", Order::DUE).await;
        }
        let number = throttled(&world).await.unwrap();
        // Another connection of the tenant asks at once, and is not let through; nor is a person.
        world
            .advance("other", Order::rotate(overlap, false, Duration::ZERO))
            .await;
        world
            .advance("app", Order::rotate(overlap, false, Duration::ZERO))
            .await;
        assert_eq!(calls_after(&world, number), [], "{case}");
        assert_eq!(
            world.last_code("app").await.as_deref(),
            Some("throttled"),
            "{case}"
        );
        world.serve("app", 1, async |_| {}).await;
        let next = calls_after(&world, number)[0].num_seconds();
        // A date is a whole second; the time now is not.
        assert!((wait - 1..=wait).contains(&next), "{case}: after {next} s");
        assert_eq!(world.state("app").await, "completed", "{case}");
    }
}

#[tokio::test]
async fn b4_a_404_that_passes_is_retried_and_one_that_lasts_is_for_a_person() {
    let world = World::new().await;
    let app = world.adopted().await;
    let not_found = || Action::Refuse(GraphError::NotFound("x".into()));
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, not_found()).times(3));
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);

    world.clock.advance(seconds(60));
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, not_found()).always());
    world.sandbox.forget_calls();
    world.rotate_once("app").await;
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(world.state("app").await, "blocked");
    let reads = world.count(Kind::GetApplication, &app);
    assert!((4..12).contains(&reads), "{reads} reads in a day");
}

#[tokio::test]
async fn b4_404s_after_another_trouble_do_not_block_at_once() {
    let world = World::new().await;
    world.adopted().await;
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, Action::HangUp).times(6));
    let not_found = Action::Refuse(GraphError::NotFound("x".into()));
    world
        .sandbox
        .inject(Fault::on(Kind::GetApplication, not_found).nth(7));
    world.rotate("app").await;
    assert_eq!(world.state("app").await, "overlapping");
    let blocked = world
        .heard
        .0
        .lock()
        .unwrap()
        .iter()
        .any(|it| it.contains("permanent: true"));
    assert!(!blocked, "one 404 after an outage proves nothing");
}

#[tokio::test]
async fn b4_an_application_that_was_just_created_is_adopted() {
    let replication = Replication {
        count: 1,
        reads: Lag::Fixed(seconds(5)),
        ..Replication::default()
    };
    let world = World::with(|options| options.replication = replication, "").await;
    let end = world.clock.now() + TimeDelta::days(60);
    let app = world.sandbox.add_application(NewApplication {
        fresh: true,
        ..NewApplication::rotating_itself(world.tenant, "app", end)
    });
    world.adopt("app", &app, "pull = true").await.unwrap();
}

#[tokio::test]
async fn b5_p7_no_permission_is_one_call_a_day_and_says_what_to_grant() {
    let world = World::new().await;
    let app = world.adopted().await;
    world
        .sandbox
        .set_permission(app.client_id, Permission::ReadAll);
    world.clock.advance(seconds(7_200));
    world.rotate_once("app").await;
    assert_eq!(world.state("app").await, "blocked");
    assert_eq!(world.count(Kind::AddPassword, &app), 1);
    let failure = world.rotation("app").await.retry.last.unwrap();
    assert_eq!(failure.code, "Authorization_RequestDenied");
    let remedy = failure.remedy.unwrap();
    for word in ["Application.ReadWrite.OwnedBy", "admin consent", "owner"] {
        assert!(remedy.contains(word), "{remedy}");
    }
    world.clock.advance(seconds(23 * 3_600));
    world.advance("app", Order::DUE).await;
    assert_eq!(
        world.count(Kind::AddPassword, &app),
        1,
        "once a day is enough"
    );
    world
        .sandbox
        .set_permission(app.client_id, Permission::ReadWriteOwnedBy);
    world.serve("app", 2, async |_| {}).await;
    assert_eq!(world.state("app").await, "overlapping");
    assert_eq!(world.keys(&app).len(), 2);
}

#[tokio::test]
async fn b6_p7_a_policy_blocks_and_is_named() {
    let id = Uuid::from_u128(0xb6);
    let cases = [
        (
            ManagementPolicy::Lifetime {
                id,
                longest: seconds(30 * 86_400),
            },
            "lifetime_days",
        ),
        (ManagementPolicy::NoPasswords { id }, "certificate"),
    ];
    for (policy, remedy) in cases {
        let world = World::new().await;
        let app = world.adopted().await;
        world.sandbox.set_policies(app.client_id, vec![policy]);
        world.rotate_once("app").await;
        assert_eq!(world.count(Kind::AddPassword, &app), 1);
        assert_eq!(world.state("app").await, "blocked");
        let failure = world.rotation("app").await.retry.last.unwrap();
        assert!(
            failure.message.contains(&id.to_string()),
            "{}",
            failure.message
        );
        assert!(failure.remedy.unwrap().contains(remedy));
        assert_eq!(world.keys(&app).len(), 1);
    }
}

#[tokio::test]
async fn b6_the_end_is_always_sent() {
    let world = World::new().await;
    let app = world.adopted().await;
    world.rotate("app").await;
    let key = world.key(&app, world.current("app").await);
    assert_eq!(
        key.end.unwrap(),
        crate::world::start() + TimeDelta::days(67)
    );
}

/// An application that can hold two secrets, both taken: one of ours and one of somebody else's.
async fn full(world: &World, more: &str) -> (Registered, Key) {
    let end = world.clock.now() + TimeDelta::days(60);
    let app = world.sandbox.add_application(NewApplication {
        audience: Audience::AnyOrganisationAndPersonal,
        ..NewApplication::rotating_itself(world.tenant, "app", end)
    });
    let more = format!("{more}\n{}", world.to_file("app"));
    world.adopt("app", &app, &more).await.unwrap();
    let other = NewPassword::until(end);
    let foreign = world.sandbox.add_key(app.client_id, other).unwrap();
    (app, foreign)
}

#[tokio::test]
async fn b7_p3_a_full_application_blocks_with_a_choice_and_loses_nothing() {
    for more in ["", "on_limit = \"revoke-previous\""] {
        let world = World::new().await;
        let (app, foreign) = full(&world, more).await;
        world.rotate_once("app").await;
        assert_eq!(world.state("app").await, "blocked");
        assert_eq!(world.keys(&app), [app.keys[0].key_id, foreign.key_id]);
        let failure = world.rotation("app").await.retry.last.unwrap();
        assert_eq!(failure.code, "TooManyAppPasswords");
        assert!(failure.remedy.unwrap().contains("on_limit"));
    }
}

#[tokio::test]
async fn b7_p2_a_previous_secret_gives_way_only_where_the_connection_says_so() {
    let refusals = [Some(GraphError::SizeExceeded), None];
    for (allowed, refusal) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let world = World::new().await;
        let more = if allowed {
            "on_limit = \"revoke-previous\""
        } else {
            ""
        };
        let end = world.clock.now() + TimeDelta::days(60);
        let app = world.sandbox.add_application(NewApplication {
            audience: Audience::AnyOrganisationAndPersonal,
            ..NewApplication::rotating_itself(world.tenant, "app", end)
        });
        let more = format!("{more}\n{}", world.to_file("app"));
        world.adopt("app", &app, &more).await.unwrap();
        world.rotate("app").await;
        let (first, second) = (app.keys[0].key_id, world.current("app").await);
        assert_eq!(world.keys(&app), [first, second]);
        if let Some(error) = refusals[refusal].clone() {
            world
                .sandbox
                .inject(Fault::on(Kind::AddPassword, Action::Refuse(error)));
        }
        let before = world.clock.now();
        let patience = seconds(600);
        world
            .advance("app", Order::rotate(None, false, patience))
            .await;
        if allowed {
            let third = world.current("app").await;
            assert_eq!(world.keys(&app), [second, third]);
            assert_eq!(world.state("app").await, "overlapping");
            assert!(
                world.clock.now() - before < TimeDelta::minutes(5),
                "room is used at once"
            );
        } else {
            assert_eq!(world.state("app").await, "blocked");
            assert_eq!(world.keys(&app), [first, second]);
        }
        assert!(world.signs_in(&app, &world.file("app")).primary);
    }
}

#[tokio::test]
async fn b9_the_servers_own_dates_are_kept_and_odd_credentials_do_no_harm() {
    let world = World::new().await;
    let app = world.adopted().await;
    world
        .sandbox
        .add_key(app.client_id, NewPassword::default())
        .unwrap();
    let nameless = NewPassword {
        display_name: Some(String::new()),
        without_hint: true,
        ..NewPassword::default()
    };
    world.sandbox.add_key(app.client_id, nameless).unwrap();
    let end = serde_json::json!("2026-04-01T00:00:00.1234567Z");
    world.sandbox.inject(Fault::on(
        Kind::AddPassword,
        Action::Set("endDateTime", end),
    ));
    let name = serde_json::json!("something else");
    world.sandbox.inject(Fault::on(
        Kind::AddPassword,
        Action::Set("displayName", name),
    ));
    world.rotate("app").await;
    let journal = world.journal("app").await;
    let expires_at = journal.current().unwrap().expires_at.unwrap();
    assert_eq!(expires_at.timestamp(), 1_775_001_600);
    assert!(journal.due_at < expires_at, "P8: by the server's own date");
    assert_eq!(world.state("app").await, "overlapping");
}

#[tokio::test]
async fn b9_p8_a_start_in_the_far_future_holds_no_rotation_back() {
    let world = World::new().await;
    let app = world.adopted().await;
    let start = serde_json::json!("2036-04-01T00:00:00Z");
    world.sandbox.inject(Fault::on(
        Kind::AddPassword,
        Action::Set("startDateTime", start),
    ));
    world.rotate("app").await;
    world.serve("app", 35, async |_| {}).await;
    assert_eq!(world.count(Kind::AddPassword, &app), 2);
}

/// An identity that owns the application `app`, and may read others.
async fn with_rotator(mut world: World) -> World {
    let end = world.clock.now() + TimeDelta::days(600);
    let rotator = world.sandbox.add_application(NewApplication {
        permission: Permission::ReadWriteAll,
        passwords: vec![NewPassword::until(end)],
        ..NewApplication::new(world.tenant, "rotator")
    });
    let file = world.folder.path().join("rotator.secret");
    use secrecy::ExposeSecret;
    std::fs::write(&file, rotator.keys[0].value.expose_secret()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let more = format!(
        "[[identity]]\nname = \"rotator\"\nkind = \"client-secret\"\ntenant_id = \"{}\"\n\
         client_id = \"{}\"\nsecret_file = \"rotator.secret\"\ncloud = \"lab\"\n",
        rotator.tenant_id, rotator.client_id
    );
    world.configure(&more).await;
    world
}

#[tokio::test]
async fn b10_a_secret_on_the_service_principal_is_found_out_and_said() {
    let world = with_rotator(World::new().await).await;
    let end = world.clock.now() + TimeDelta::days(60);
    let app = world.sandbox.add_application(NewApplication {
        service_principal_passwords: vec![NewPassword {
            value: Some("sp.secret~of-the-service-principal".to_owned().into()),
            key_id: Some(KeyId(Uuid::from_u128(10))),
            ..NewPassword::until(end)
        }],
        ..NewApplication::rotating_itself(world.tenant, "app", end)
    });
    for key_id in [Some(KeyId(Uuid::from_u128(10))), None] {
        let declared = world.declared("app", &app, "pull = true");
        let mut candidate = world.candidate(declared, &app);
        candidate.secret = "sp.secret~of-the-service-principal".to_owned().into();
        candidate.key_id = key_id;
        let fault = world.engine.adopt(candidate).await.unwrap_err().to_string();
        assert!(fault.contains("service principal"), "{fault}");
    }
    assert!(world.store_is_empty().await);
}

#[tokio::test]
async fn b11_an_object_id_for_the_client_id_is_refused_saying_which() {
    let world = with_rotator(World::new().await).await;
    let app = world.application("app");
    let mut wrong = app.clone();
    wrong.client_id = keywheel::entra::ClientId(app.object_id.0);
    for (more, word) in [
        ("identity = \"rotator\"", "object ID"),
        ("", "AADSTS700016"),
    ] {
        let more = format!("pull = true\n{more}");
        let fault = world.adopt("app", &wrong, &more).await.unwrap_err();
        let text = format!("{fault:?}");
        assert!(text.contains(word), "{text}");
    }
    wrong.client_id = keywheel::entra::ClientId(Uuid::from_u128(11));
    let fault = world.adopt("app", &wrong, "pull = true").await.unwrap_err();
    assert!(
        fault.to_string().contains(&wrong.client_id.to_string()),
        "{fault}"
    );
    assert!(world.store_is_empty().await);
}
