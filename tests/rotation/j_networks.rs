//! J: what networks make of answers.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::Clock;
use keywheel::entra::{Cloud, Entra};
use keywheel::rotation::advance::Order;
use keywheel::sandbox::{Action, Answer, Fault, Kind};
use reqwest::StatusCode;

use crate::world::{World, start};

const KINDS: [Kind; 4] = [
    Kind::Token,
    Kind::GetApplication,
    Kind::AddPassword,
    Kind::RemovePassword,
];

/// A rotation without overlap, in which something strikes three calls of a kind.
async fn survives(kind: Kind, fault: Fault, case: &str) {
    let mut world = World::new().await;
    let app = world.adopted().await;
    world.restart().await; // no cached token
    let url = world.sandbox.url();
    let cloud = Cloud::new("lab", &url, &url, None).unwrap();
    // Short for a test, long for a busy machine.
    let timeout = Duration::from_millis(600);
    world.engine.entra = Entra::new(vec![cloud], timeout, world.engine.clock.clone());
    world.sandbox.inject(fault.times(3));
    let overlap = Some("0s".parse().unwrap());
    world
        .advance("app", Order::rotate(overlap, false, Duration::ZERO))
        .await;
    world
        .serve("app", 1, async |world| {
            assert_ne!(
                world.state("app").await,
                "blocked",
                "{case}: transient first"
            );
        })
        .await;
    assert_eq!(world.state("app").await, "completed", "{case}");
    assert_eq!(world.keys(&app), [world.current("app").await], "{case}");
    assert!(world.signs_in(&app, &world.file("app")).primary, "{case}");
    let calls = world.sandbox.calls_of(kind, app.client_id).len();
    assert!(calls < 40, "{case}: {calls} calls");
}

#[tokio::test]
async fn j3_slow_and_endless_answers_and_redirects_are_bounded_and_outlived() {
    for kind in KINDS {
        for action in [
            Action::Endless,
            Action::Delay(Duration::from_millis(900)),
            Action::Redirect("https://login.example.test/".into()),
        ] {
            for after in [false, true] {
                let case = format!("{action:?} to {kind:?}, after effect: {after}");
                let fault = Fault::on(kind, action.clone());
                let fault = if after { fault.after_effect() } else { fault };
                survives(kind, fault, &case).await;
            }
        }
    }
}

#[tokio::test]
async fn j4_portals_cut_answers_and_unknown_codes_are_transient_first() {
    let teapot = r#"{"error":{"code":"Teapot","message":"short and stout"}}"#;
    let odd = Action::Answer(Answer::json(StatusCode::IM_A_TEAPOT, teapot.into()));
    for kind in KINDS {
        for action in [Action::Html, Action::Truncate, odd.clone()] {
            let case = format!("{action:?} to {kind:?}");
            // There is nothing to cut in an empty answer.
            if kind == Kind::RemovePassword && matches!(action, Action::Truncate) {
                continue;
            }
            survives(kind, Fault::on(kind, action), &case).await;
        }
    }
}

#[tokio::test]
async fn j4_p7_a_portal_is_told_in_clear_words() {
    let mut world = World::new().await;
    world.adopted().await;
    world.restart().await;
    world
        .sandbox
        .inject(Fault::on(Kind::Token, Action::Html).always());
    world.rotate_once("app").await;
    let failure = world.rotation("app").await.retry.last.unwrap();
    assert_eq!(failure.code, "unexpected-answer");
    assert!(failure.message.contains("portal"), "{}", failure.message);
    // However long it lasts, it is neither given up nor hammered.
    world.serve("app", 5, async |_| {}).await;
    let calls = world.sandbox.calls().len();
    assert!((15..60).contains(&calls), "{calls} calls in five days");
    world.sandbox.clear_faults();
    world.serve("app", 1, async |_| {}).await;
    assert_eq!(world.state("app").await, "overlapping");
    assert!(world.clock.now() - start() < TimeDelta::days(7));
}
